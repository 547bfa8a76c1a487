"""Recommends books by others that a reader liked and did not like.

    python recommend.py                                         # some readers, and a check over all books
    python recommend.py dracula dorian-gray --not carmilla
    python recommend.py dune --since 1980 --diverse

The ids are those of books.csv: 157 well known books, each with one sentence about it.
"""

import argparse
import contextlib
import csv
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pgfox
from pgfox import F, v1

SERVER = os.environ.get("PGFOX_SERVER", "127.0.0.1:50051")
API_KEY = os.environ.get("PGFOX_API_KEY")
COLLECTION = "example_books"
MODEL = "local/all-MiniLM-L6-v2"

READERS = (
    "murder-on-the-orient-express maltese-falcon",
    "dracula dorian-gray",
    "dracula dorian-gray --not carmilla",
    "dune --since 1970",
    "dune --since 1970 --diverse",
)

# The check: of the five books most like a book, at least this share has its genre. By chance it would be 0.07.
SAME_GENRE_MIN = 0.4
# Searches in one call; the server takes 100.
BATCH = 100


def main() -> None:
    parser = argparse.ArgumentParser(description="Recommends books by others that a reader liked and did not like.")
    parser.add_argument("liked", nargs="*", help="ids of books in books.csv")
    parser.add_argument("--not", nargs="+", default=[], dest="disliked", metavar="ID", help="books to stay away from")
    parser.add_argument("--since", type=int, metavar="YEAR", help="only books of this year or later")
    parser.add_argument("--diverse", action="store_true", help="books that differ from each other")
    reader = parser.parse_args()
    with pgfox.connect(SERVER, api_key=API_KEY) as client:
        store(client)
        if reader.liked:
            recommend(client, reader)
        else:
            found = {}
            for arguments in READERS:
                print(f"\n{arguments}")
                found[arguments] = recommend(client, parser.parse_args(arguments.split()))
            check(found)
            check_genres(client)


def store(client: pgfox.Client) -> None:
    """Brings the collection up to date: what is stored already costs neither an embedding nor a write."""
    collection = v1.Collection(name=COLLECTION, embedding=v1.Embedding(model=MODEL), distance=v1.DISTANCE_COSINE)
    with contextlib.suppress(pgfox.AlreadyExistsError):
        client.CreateCollection(v1.CreateCollectionRequest(collection=collection))
    totals = pgfox.ingest(client, COLLECTION, map(document, books()))
    print(f"{totals.documents} books: {totals.embedded} embedded, {totals.unchanged} stored already")


def books() -> Iterator[dict[str, str]]:
    with open(Path(__file__).with_name("books.csv"), encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def document(book: dict[str, str]) -> v1.Document:
    """What the book is about is embedded. All else is metadata, to filter by and to show."""
    metadata = {"title": book["title"], "author": book["author"], "year": int(book["year"]), "genre": book["genre"]}
    return pgfox.document(book["id"], text=book["description"], metadata=metadata)


def recommend(client: pgfox.Client, reader: argparse.Namespace) -> list[str]:
    """Prints five books near to the liked ones and far from the others, and returns their ids."""
    request = v1.SearchRequest(
        collection=COLLECTION,
        examples=v1.Examples(positive_ids=reader.liked, negative_ids=reader.disliked),
        limit=5,
        diversity=v1.Diversity() if reader.diverse else None,
        filter=None if reader.since is None else F("year") >= reader.since,
    )
    results = client.Search(request).results
    for result in results:
        book = pgfox.metadata(result.document)
        print(f"{result.distance:7.3f}  {book['title']} ({book['author']}, {book['year']}): {book['genre']}")
    return [result.document.id for result in results]


def check(found: dict[str, list[str]]) -> None:
    """Who dislikes one vampire gets no other."""
    vampire = "interview-with-the-vampire"
    if vampire not in found["dracula dorian-gray"] or vampire in found["dracula dorian-gray --not carmilla"]:
        sys.exit(f"{vampire} should be recommended to readers of Dracula, but not to those who dislike Carmilla")


def check_genres(client: pgfox.Client) -> None:
    """Asks for the five books most like each book, and counts how many of them have its genre."""
    genres = {book["id"]: book["genre"] for book in books()}
    ids = list(genres)
    found = []
    for start in range(0, len(ids), BATCH):
        searches = [
            v1.SearchRequest(document_id=id, limit=5, read_mask={"paths": ["id"]}) for id in ids[start : start + BATCH]
        ]
        found += client.SearchBatch(v1.SearchBatchRequest(collection=COLLECTION, searches=searches)).responses
    same = [
        genres[result.document.id] == genres[id]
        for id, response in zip(ids, found, strict=True)
        for result in response.results
    ]
    share = sum(same) / len(same)
    chance = sum(count * (count - 1) for count in Counter(genres.values()).values()) / len(ids) / (len(ids) - 1)
    print(f"\nof the five books most like a book {share:.0%} have its genre; by chance it would be {chance:.0%}")
    if share < SAME_GENRE_MIN:
        sys.exit(f"at least {SAME_GENRE_MIN:.0%} are expected")


if __name__ == "__main__":
    main()
