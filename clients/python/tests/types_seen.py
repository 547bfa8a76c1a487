"""What type checkers see. mypy is what tests this; nothing here runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pgfox
from pgfox import F, v1

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from google.protobuf.struct_pb2 import Struct
    from typing_extensions import assert_type

    def calls(client: pgfox.Client) -> None:
        found = client.Search(v1.SearchRequest(collection="c", vector=pgfox.vector([1, 2]), mode=v1.SEARCH_MODE_VECTOR))
        assert_type(found, v1.SearchResponse)
        assert_type(found.results[0].document.text, str)
        for progress in client.BuildIndex(v1.BuildIndexRequest()):
            assert_type(progress, v1.BuildIndexResponse)
        totals = pgfox.ingest(client, "c", [v1.Document(id="a", metadata={"year": 1999})])
        assert_type(totals, pgfox.IngestTotals)
        client.Search("no request")  # type: ignore[arg-type]
        v1.SearchRequest(limit="ten")  # type: ignore[arg-type]
        pgfox.ingest(client, "c", ["no document"])  # type: ignore[list-item]

    async def awaited_calls(client: pgfox.aio.Client) -> None:
        assert_type(await client.Search(v1.SearchRequest(), timeout=1), v1.SearchResponse)
        async for progress in client.BuildIndex(v1.BuildIndexRequest()):
            assert_type(progress, v1.BuildIndexResponse)
        assert_type(await pgfox.aio.ingest(client, "c", [v1.Document()]), pgfox.IngestTotals)
        pgfox.ingest(client, "c", [])  # type: ignore[arg-type]

    async def coroutines(client: pgfox.aio.Client) -> None:
        task = asyncio.create_task(client.Search(v1.SearchRequest()))
        assert_type(task, asyncio.Task[v1.SearchResponse])
        assert_type(await task, v1.SearchResponse)
        counts, found = await asyncio.gather(
            client.CountDocuments(v1.CountDocumentsRequest()), client.Search(v1.SearchRequest())
        )
        assert_type(counts, v1.CountDocumentsResponse)
        assert_type(found, v1.SearchResponse)
        assert_type(await asyncio.wait_for(client.Search(v1.SearchRequest()), 1), v1.SearchResponse)
        response, _call = await client.Search.with_call(v1.SearchRequest(), metadata={"x-request-id": "a"})
        assert_type(response, v1.SearchResponse)
        async for document in pgfox.aio.list_all(client, "c", filter=F("a") == 1):
            assert_type(document, v1.Document)
        async for collection in pgfox.aio.list_collections(client):
            assert_type(collection, v1.Collection)
        await client.Search(v1.CountDocumentsRequest())  # type: ignore[arg-type]

    def filters(client: pgfox.Client) -> None:
        where = (F("year") >= 2000) & ~F("genres").contains_any(["Horror"]) | (F("a.b") == None)  # noqa: E711
        assert_type(where, pgfox.Where)
        assert_type(F("a") == 1, pgfox.Where)
        assert_type(F("a") != 1, pgfox.Where)
        assert_type(F("a") < datetime.now(), pgfox.Where)
        assert_type(where & v1.Filter(), pgfox.Where)
        assert_type(where.filter, v1.Filter)
        v1.SearchRequest(filter=where)
        v1.DeleteDocumentsRequest(filter=F.everything)
        for document in pgfox.list_all(client, "c", filter=where):
            assert_type(document, v1.Document)
        for collection in pgfox.list_collections(client):
            assert_type(collection, v1.Collection)
        F("a").starts_with(1)  # type: ignore[arg-type]
        F("a").before("2024-05-01")  # type: ignore[arg-type]

    def plain_values(document: v1.Document) -> None:
        assert_type(pgfox.metadata(document), dict[str, Any])
        assert_type(pgfox.document("a", text="t", vector=[0.5], metadata={"a": datetime.now()}), v1.Document)
        assert_type(pgfox.plain(document.metadata), dict[str, Any])
        assert_type(pgfox.struct({"a": 1}), Struct)
        pgfox.document(None)  # type: ignore[arg-type]

    def tables(pandas: pd.DataFrame, polars: pl.DataFrame) -> None:
        assert_type(pgfox.documents(pandas, id="id", text="t"), Iterator[v1.Document])
        assert_type(pgfox.documents(polars, id="id", vector="v", metadata=["a"]), Iterator[v1.Document])
        pgfox.documents([{"id": 1}], id="id")  # type: ignore[arg-type]

    def errors(error: pgfox.PgfoxError) -> None:
        assert_type(error.reason, v1.ErrorReason)
        assert_type(error.violations[0].field, str)
