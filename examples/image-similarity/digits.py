"""Finds the images most like an image, with vectors made here: the collection has no model.

The images are 1,797 handwritten digits of 8 by 8 pixels, which scikit-learn brings along. The last 297, by other
writers, stay outside of the collection and are what is looked for.
"""

import contextlib
import os
import sys

import numpy
import pgfox
from pgfox import v1
from sklearn.datasets import load_digits

SERVER = os.environ.get("PGFOX_SERVER", "127.0.0.1:50051")
API_KEY = os.environ.get("PGFOX_API_KEY")
COLLECTION = "example_digits"
STORED_COUNT = 1_500
# Searches in one call; the server takes 100.
BATCH = 100

# Below these the search does not do what it should. Comparing with every image gives 0.943 of the same digit.
SAME_DIGIT_MIN = 0.93
RECALL_MIN = 0.97

SHADES = " .:-=+*#%@"


def main() -> None:
    digits = load_digits()
    vectors = embed(digits.images)
    with pgfox.connect(SERVER, api_key=API_KEY) as client:
        store(client, vectors[:STORED_COUNT], digits.target[:STORED_COUNT])
        found = search(client, vectors[STORED_COUNT:])
    print("\nThe first image of each line is looked for, the others are the nearest ones:\n")
    for query in (0, 100, 200):
        print(side_by_side([digits.images[STORED_COUNT + query], *digits.images[found[query][:5]]]))
    check(found, vectors, digits.target)


def embed(images: numpy.ndarray) -> numpy.ndarray:
    """The brightness of the 64 pixels as vectors. For photographs a network such as CLIP would stand here."""
    return images.reshape(len(images), -1).astype("float32")


def store(client: pgfox.Client, vectors: numpy.ndarray, labels: numpy.ndarray) -> None:
    """Brings the collection up to date, and builds its index."""
    # The cosine makes equal what differs only in brightness.
    collection = v1.Collection(
        name=COLLECTION, embedding=v1.Embedding(dimensions=vectors.shape[1]), distance=v1.DISTANCE_COSINE
    )
    with contextlib.suppress(pgfox.AlreadyExistsError):
        client.CreateCollection(v1.CreateCollectionRequest(collection=collection))
    documents = (
        pgfox.document(position, vector=vector, metadata={"digit": label})
        for position, (vector, label) in enumerate(zip(vectors, labels, strict=True))
    )
    totals = pgfox.ingest(client, COLLECTION, documents)
    print(f"{totals.documents} images: {totals.upserted} stored, {totals.unchanged} stored already")
    for _ in client.BuildIndex(v1.BuildIndexRequest(collection=COLLECTION)):
        pass


def search(client: pgfox.Client, vectors: numpy.ndarray) -> list[list[int]]:
    """The positions of the ten stored images nearest to each vector."""
    found = []
    for start in range(0, len(vectors), BATCH):
        # An empty mask of fields would mean all of them; the id is all that is needed.
        searches = [
            v1.SearchRequest(vector=pgfox.vector(vector), read_mask={"paths": ["id"]})
            for vector in vectors[start : start + BATCH]
        ]
        responses = client.SearchBatch(v1.SearchBatchRequest(collection=COLLECTION, searches=searches)).responses
        found += [[int(result.document.id) for result in response.results] for response in responses]
    return found


def side_by_side(images: list[numpy.ndarray]) -> str:
    """The images in characters, two for each pixel."""
    lines = [
        "   ".join("".join(2 * SHADES[int(value / 16 * (len(SHADES) - 1))] for value in row) for row in rows)
        for rows in zip(*images, strict=True)
    ]
    return "\n".join(lines) + "\n"


def check(found: list[list[int]], vectors: numpy.ndarray, labels: numpy.ndarray) -> None:
    """Counts how often the nearest image shows the same digit, and how many of the true nearest ten the index found."""
    nearest = numpy.array([positions[0] for positions in found])
    same_digit = (labels[nearest] == labels[STORED_COUNT:]).mean()
    unit = vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = unit[STORED_COUNT:] @ unit[:STORED_COUNT].T
    true = similarity.argsort(axis=1)[:, -10:]
    recall = numpy.mean(
        [len({*positions} & {*nearest_ten}) / 10 for positions, nearest_ten in zip(found, true.tolist(), strict=True)]
    )
    print(f"{len(found)} searches: the nearest image shows the same digit in {same_digit:.1%}")
    print(f"of the true nearest ten the index found {recall:.1%}")
    if same_digit < SAME_DIGIT_MIN or recall < RECALL_MIN:
        sys.exit(f"at least {SAME_DIGIT_MIN:.0%} and {RECALL_MIN:.0%} are expected")


if __name__ == "__main__":
    main()
