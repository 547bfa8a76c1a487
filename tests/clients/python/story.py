"""The story of tests/clients/README.md with the Python client."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc

import pgfox
from pgfox import F, v1

SENTENCES = [
    ("diet", "Foxes are omnivores: predators of small animals that also eat fruit", 1990),
    ("sounds", "Foxes can make over 40 different sounds", 2000),
    ("hunting", "Foxes use the magnetic field of the Earth when they hunt", 2010),
    ("kits", "Baby foxes are called kits", 2020),
]
QUESTION = "I was wondering, how many sounds can foxes make?"
COLLECTION = os.environ["STORY_COLLECTION"]
VECTORS = f"{COLLECTION}_vectors"
ATTACHED = f"{COLLECTION}_attached"

client = pgfox.connect(os.environ["PGFOX_SERVER"])


def expect(holds: object, *seen: object) -> None:
    if not holds:
        raise AssertionError(f"saw {seen}")


def search(**query: Any) -> v1.SearchRequest:
    return v1.SearchRequest(collection=COLLECTION, limit=3, **query)


def ids(found: v1.SearchResponse) -> list[str]:
    return [result.document.id for result in found.results]


def count(collection: str, filter: pgfox.Where | None = None) -> int:
    return client.CountDocuments(v1.CountDocumentsRequest(collection=collection, filter=filter)).count


def since(year: int) -> pgfox.Where:
    return F("year") >= year


def create() -> None:
    client.CreateCollection(v1.CreateCollectionRequest(collection={"name": COLLECTION}))
    collection = client.GetCollection(v1.GetCollectionRequest(name=COLLECTION)).collection
    expect(collection.embedding.model == "local/all-MiniLM-L6-v2", collection)
    expect(collection.embedding.dimensions == 384, collection)


def ingest() -> None:
    documents = [
        pgfox.document(topic, text=text, metadata={"topic": topic, "year": year}) for topic, text, year in SENTENCES
    ]
    request = v1.IngestRequest(collection=COLLECTION, documents=documents)
    response = client.Ingest(request)
    expect((response.upserted_count, response.updated_count) == (4, 0), response)
    response = client.Ingest(request)
    expect((response.upserted_count, response.unchanged_count) == (0, 4), response)


def ingest_stream() -> None:
    documents = (
        v1.Document(id=f"more-{i}", text=f"Note {i} of a long list", metadata={"topic": "notes", "year": 1900 + i % 50})
        for i in range(300)
    )
    acknowledged: list[int] = []
    totals = pgfox.ingest(
        client,
        COLLECTION,
        documents,
        documents_per_request=100,
        on_acknowledged=lambda totals, _: acknowledged.append(totals.documents),
    )
    expect((totals.documents, totals.upserted, totals.embedded) == (300, 300, 300), totals)
    expect(acknowledged == [100, 200, 300], acknowledged)
    expect(count(COLLECTION) == 304, count(COLLECTION))


def build_index() -> None:
    progress = list(client.BuildIndex(v1.BuildIndexRequest(collection=COLLECTION, spec={"hnsw": {}})))
    done = [step.fraction_done for step in progress]
    expect(done == sorted(done) and done[-1] == 1, done)
    expect(progress[-1].phase == v1.INDEX_PHASE_READY, progress[-1])


def search_text() -> None:
    found = client.Search(search(text=QUESTION))
    best = found.results[0]
    expect(best.document.text == "Foxes can make over 40 different sounds", found)
    expect(best.HasField("distance") and best.distance > 0, best)
    expect(found.completeness == v1.COMPLETENESS_APPROXIMATE, found)


def search_vector() -> None:
    request = v1.GetDocumentsRequest(collection=COLLECTION, ids=["kits"], include_vector=True)
    vector = client.GetDocuments(request).documents[0].vector
    for query in (vector, pgfox.vector(list(vector.values)), pgfox.vector(pgfox.array(vector))):
        best = client.Search(search(vector=query)).results[0]
        expect(best.document.id == "kits" and abs(best.distance) < 1e-3, best)


def search_id() -> None:
    found = ids(client.Search(search(document_id="kits")))
    expect(len(found) == 3 and "kits" not in found, found)


def filter_() -> None:
    found = ids(client.Search(search(text=QUESTION, filter=since(2005))))
    expect(sorted(found) == ["hunting", "kits"], found)
    listed = client.ListDocuments(v1.ListDocumentsRequest(collection=COLLECTION, filter=since(2005))).documents
    expect([document.id for document in listed] == ["hunting", "kits"], listed)
    metadata = pgfox.metadata(listed[0])
    expect(metadata == {"topic": "hunting", "year": 2010} and type(metadata["year"]) is int, metadata)
    expect(count(COLLECTION, since(2005)) == 2, count(COLLECTION, since(2005)))
    loud = F.everything & F("topic").contains_text("OUND", ignore_case=True)
    expect(count(COLLECTION, loud) == 1, count(COLLECTION, loud))
    request = v1.FacetDocumentsRequest(collection=COLLECTION, field="topic", filter=since(1950))
    topics = {pgfox.plain(facet.value): facet.count for facet in client.FacetDocuments(request).values}
    expect(topics == {"diet": 1, "sounds": 1, "hunting": 1, "kits": 1}, topics)


def fails(kind: type[pgfox.PgfoxError], call: Any, request: Any, **options: Any) -> pgfox.PgfoxError:
    try:
        response = call(request, **options)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}, but {response}")


def bad_request() -> None:
    request = search(text=QUESTION, max_distance=-1)
    request.limit = -1
    request.params.ef_search = -1
    error = fails(pgfox.InvalidArgumentError, client.Search, request)
    expect(isinstance(error, ValueError) and error.code() == grpc.StatusCode.INVALID_ARGUMENT, error)
    expect(error.reason == v1.ERROR_REASON_INVALID_FIELD, error)
    rules = dict(error.violations)
    expect({"limit", "params.ef_search"} <= set(rules), rules)
    expect(all(f"{field} {rule}" in str(error) for field, rule in rules.items()), str(error))
    expect(error.request_id, vars(error))

    error = fails(pgfox.InvalidArgumentError, client.Search, search(vector=pgfox.vector([1, 2, 3])))
    expect(error.reason == v1.ERROR_REASON_DIMENSION_MISMATCH, error)
    expect(error.metadata == {"expected": "384", "actual": "3"}, error.metadata)

    error = fails(pgfox.NotFoundError, client.Search, v1.SearchRequest(collection="no_such", text="x"))
    expect(error.reason == v1.ERROR_REASON_COLLECTION_NOT_FOUND, error)


def deadline() -> None:
    words = [f"word{i}" for i in range(300)]
    documents = [v1.Document(id=f"slow-{i}", text=" ".join(random.sample(words, 200))) for i in range(1000)]
    request = v1.IngestRequest(collection=COLLECTION, documents=documents)
    started = time.monotonic()
    error = fails(pgfox.DeadlineExceededError, client.Ingest, request, timeout=0.05)
    expect(isinstance(error, TimeoutError), type(error))
    expect(time.monotonic() - started < 2, time.monotonic() - started)


def tls_and_key() -> None:
    server, key = os.environ["PGFOX_TLS_SERVER"], os.environ["PGFOX_API_KEY"]
    ca = Path(os.environ["PGFOX_CA"]).read_bytes()
    with pgfox.connect(server, ca=ca, api_key=key) as trusted:
        expect(ids(trusted.Search(search(text=QUESTION)))[0] == "sounds")
        expect(key not in repr(trusted), repr(trusted))
    for wrong in (None, "wrong"):
        with pgfox.connect(server, ca=ca, api_key=wrong) as stranger:
            error = fails(pgfox.UnauthenticatedError, stranger.Search, search(text=QUESTION))
            expect(error.reason == v1.ERROR_REASON_UNAUTHENTICATED and isinstance(error, PermissionError), error)
    with pgfox.connect(f"https://{server.split('://')[-1]}", api_key=key) as blind:
        error = fails(pgfox.UnavailableError, blind.Search, search(text=QUESTION))
        expect("set `ca`" in str(error) and error.attempts == 1, error)


def dead_server() -> None:
    dead = os.environ["PGFOX_DEAD_SERVER"]
    started = time.monotonic()
    with pgfox.connect(dead, timeout=2) as nobody:
        error = fails(pgfox.UnavailableError, nobody.Search, search(text=QUESTION))
    expect(isinstance(error, ConnectionError) and dead in str(error) and error.attempts > 1, error)
    expect(time.monotonic() - started < 3, time.monotonic() - started)


def resume() -> None:
    embedding = {"dimensions": 384}
    client.CreateCollection(v1.CreateCollectionRequest(collection={"name": VECTORS, "embedding": embedding}))
    chance = random.Random(1)

    def documents() -> Iterable[v1.Document]:
        for i in range(2000):
            yield v1.Document(id=f"v-{i}", vector=pgfox.vector([chance.uniform(-1, 1) for _ in range(384)]))

    interruptions: list[pgfox.PgfoxError] = []
    with pgfox.connect(os.environ["PGFOX_CUT_SERVER"]) as cut:
        totals = pgfox.ingest(
            cut,
            VECTORS,
            documents(),
            documents_per_request=50,
            on_interrupted=lambda error, _: interruptions.append(error),
        )
    expect(interruptions, "no interruption")
    expect(totals.documents == 2000, totals)
    # What was stored but not acknowledged is sent again and found unchanged.
    expect(totals.upserted + totals.unchanged == 2000 and totals.updated == 0, totals)
    expect(count(VECTORS) == 2000, count(VECTORS))
    listed = list(pgfox.list_all(client, VECTORS, page_size=300))
    expect({document.id for document in listed} == {f"v-{i}" for i in range(2000)}, len(listed))
    expect({document.version for document in listed} == {1}, "a document was written twice")


def attached() -> None:
    source = v1.Source(table=os.environ["STORY_TABLE"], text_columns=["content"])
    # An empty embedding: callers send vectors.
    collection = v1.Collection(name=ATTACHED, embedding=v1.Embedding(), source=source)
    created = client.CreateCollection(v1.CreateCollectionRequest(collection=collection)).collection
    expect(created.source.id_columns == ["id", "lang"] and created.document_count == 4, created)

    def nearest(*values: float, **options: Any) -> list[str]:
        query = v1.SearchRequest(collection=ATTACHED, vector=pgfox.vector(values), limit=2, **options)
        return ids(client.Search(query))

    # A key of several columns is an id that is a JSON array.
    expect(nearest(0, 1, 0, filter=since(2005)) == ['[4, "en"]', '[3, "en"]'], nearest(0, 1, 0, filter=since(2005)))
    request = v1.GetDocumentsRequest(collection=ATTACHED, ids=[json.dumps([2, "en"])])
    [sounds] = client.GetDocuments(request).documents
    expect(sounds.text == SENTENCES[1][1] and pgfox.metadata(sounds) == {"year": 2000}, sounds)

    climbing = pgfox.document(
        json.dumps([5, "en"]), text="Foxes climb trees", vector=[1, 1, 1], metadata={"year": 2024}
    )
    stored = client.Ingest(v1.IngestRequest(collection=ATTACHED, documents=[climbing]))
    expect((stored.upserted_count, stored.updated_count) == (1, 0), stored)
    expect(nearest(1, 1, 1)[0] == '[5, "en"]', nearest(1, 1, 1))

    words = v1.SearchRequest(collection=ATTACHED, text="trees", mode=v1.SEARCH_MODE_FULL_TEXT)
    error = fails(pgfox.FailedPreconditionError, client.Search, words)
    expect(error.reason == v1.ERROR_REASON_COLLECTION_ATTACHED and source.table in str(error), error)

    # The table stays, which tests/clients/run.sh checks.
    client.DeleteCollection(v1.DeleteCollectionRequest(name=ATTACHED))
    fails(pgfox.NotFoundError, client.GetCollection, v1.GetCollectionRequest(name=ATTACHED))


def delete() -> None:
    response = client.DeleteDocuments(v1.DeleteDocumentsRequest(collection=COLLECTION, filter=since(2005)))
    expect(response.deleted_count == 2, response)
    for name in (COLLECTION, VECTORS):
        client.DeleteCollection(v1.DeleteCollectionRequest(name=name))
        fails(pgfox.NotFoundError, client.GetCollection, v1.GetCollectionRequest(name=name))


STEPS = {
    "create": create,
    "ingest": ingest,
    "ingest-stream": ingest_stream,
    "build-index": build_index,
    "search-text": search_text,
    "search-vector": search_vector,
    "search-id": search_id,
    "filter": filter_,
    "bad-request": bad_request,
    "deadline": deadline,
    "tls-and-key": tls_and_key,
    "dead-server": dead_server,
    "resume": resume,
    "attached": attached,
    "delete": delete,
}

for name, step in STEPS.items():
    try:
        step()
    except Exception as error:
        print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
        sys.exit(1)
    print(f"ok {name}", flush=True)
