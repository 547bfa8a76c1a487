"""A catalogue of 1,000 articles: ingest, filters, errors by their reason, a cancelled call and a deadline."""

from __future__ import annotations

import asyncio
import math
import os
import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pgfox
from pgfox import F, v1

SERVER = os.environ.get("PGFOX_SERVER", "127.0.0.1:50051")
API_KEY = os.environ.get("PGFOX_API_KEY")
CA = Path(os.environ["PGFOX_CA"]).read_bytes() if os.environ.get("PGFOX_CA") else None
COLLECTION = "example_catalogue"
DIMENSIONS = 16
ARTICLES = 1_000


def articles() -> Iterator[v1.Document]:
    """Articles as documents; the vectors, which a model would make, are made up."""
    chance = random.Random(1)
    first_day = datetime(2024, 1, 1, tzinfo=timezone.utc)
    for number in range(ARTICLES):
        yield pgfox.document(
            number,
            text=f"Article {number}",
            vector=[chance.gauss(0, 1) for _ in range(DIMENSIONS)],
            metadata={
                "stock": number % 50,
                "price": Decimal(number) / 4,
                "added": first_day + timedelta(days=number),
                "tags": {"sale", "new"} if number % 10 == 0 else {"new"},
                "size": {"width": 10.5, "unit": "cm"},
            },
        )


def create(client: pgfox.Client) -> None:
    embedding = v1.Embedding(dimensions=DIMENSIONS)
    request = v1.CreateCollectionRequest(collection=v1.Collection(name=COLLECTION, embedding=embedding))
    try:
        client.CreateCollection(request)
    except pgfox.PgfoxError as error:
        if error.reason != v1.ERROR_REASON_COLLECTION_EXISTS:
            raise
        print(f"the collection {error.metadata['collection']} exists already")


def find(client: pgfox.Client) -> None:
    query = pgfox.vector([1.0] * DIMENSIONS)
    where = (F("stock") >= 10) & F("tags").contains_any(["sale"]) & ~(F("price") > 100)
    found = client.Search(v1.SearchRequest(collection=COLLECTION, vector=query, filter=where, limit=3))
    for result in found.results:
        stock: int = pgfox.metadata(result.document)["stock"]
        print(f"{result.distance:.3f} {result.document.text}: {stock} left")

    recent = F("added") >= datetime(2026, 1, 1, tzinfo=timezone.utc)
    ids = [document.id for document in pgfox.list_all(client, COLLECTION, filter=recent, page_size=100)]
    count = client.CountDocuments(v1.CountDocumentsRequest(collection=COLLECTION, filter=recent)).count
    print(f"{len(ids)} articles since 2026")
    assert len(ids) == count == ARTICLES - 731


def fail(client: pgfox.Client) -> None:
    try:
        client.Search(v1.SearchRequest(collection=COLLECTION, vector=pgfox.vector([1, 2, 3])))
    except pgfox.InvalidArgumentError as error:
        if error.reason != v1.ERROR_REASON_DIMENSION_MISMATCH:
            raise
        print(f"the collection has {error.metadata['expected']} dimensions, the query {error.metadata['actual']}")
    try:
        pgfox.document("1", metadata={"size": {"widths": [1.5, math.nan]}})
    except ValueError as error:
        print(error)


async def cancel() -> None:
    async with pgfox.aio.connect(SERVER, api_key=API_KEY, ca=CA) as client:
        request = v1.IngestRequest(collection=COLLECTION, documents=list(articles()))
        task = asyncio.create_task(client.Ingest(request))
        await asyncio.sleep(0.01)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            print("cancelled")

        try:
            await client.Ingest(request, timeout=0.001)
        except pgfox.DeadlineExceededError:
            print("not done in 1 ms")

        # All at once. The first failure would end them all.
        requests = [v1.SearchRequest(collection=COLLECTION, document_id=str(n), limit=1) for n in range(20)]
        answers = await asyncio.gather(*(client.Search(request) for request in requests))
        print(f"{sum(len(answer.results) for answer in answers)} neighbours")


def main() -> None:
    with pgfox.connect(SERVER, api_key=API_KEY, ca=CA, timeout=10) as client:
        create(client)
        totals = pgfox.ingest(client, COLLECTION, articles())
        assert totals.documents == ARTICLES
        print(f"{totals.documents} articles")
        find(client)
        fail(client)
        asyncio.run(cancel())
        client.DeleteCollection(v1.DeleteCollectionRequest(name=COLLECTION))


if __name__ == "__main__":
    main()
