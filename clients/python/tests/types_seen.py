"""What type checkers see. mypy is what tests this; nothing here runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pgfox
from pgfox import v1

if TYPE_CHECKING:
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

    def errors(error: pgfox.PgfoxError) -> None:
        assert_type(error.reason, v1.ErrorReason)
        assert_type(error.violations[0].field, str)
