"""Going through everything that is listed page by page."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import islice
from typing import Any

import grpc
import pytest
from standin import UNAVAILABLE, Failure, StandIn

import pgfox
from pgfox import F, v1


class SyncPages:
    def documents(self, endpoint: str, **options: Any) -> list[str]:
        with pgfox.connect(endpoint) as client:
            return [document.id for document in pgfox.list_all(client, "films", **options)]

    def collections(self, endpoint: str) -> list[str]:
        with pgfox.connect(endpoint) as client:
            return [collection.name for collection in pgfox.list_collections(client)]


class AioPages:
    def documents(self, endpoint: str, **options: Any) -> list[str]:
        async def main() -> list[str]:
            async with pgfox.aio.connect(endpoint) as client:
                return [document.id async for document in pgfox.aio.list_all(client, "films", **options)]

        return asyncio.run(main())

    def collections(self, endpoint: str) -> list[str]:
        async def main() -> list[str]:
            async with pgfox.aio.connect(endpoint) as client:
                return [collection.name async for collection in pgfox.aio.list_collections(client)]

        return asyncio.run(main())


@pytest.fixture(params=[SyncPages, AioPages], ids=["sync", "aio"])
def pages(request: pytest.FixtureRequest) -> SyncPages | AioPages:
    pages: SyncPages | AioPages = request.param()
    return pages


@pytest.mark.parametrize(("count", "calls"), [(0, 1), (1, 1), (10, 1), (11, 2), (25, 3)])
def test_all_documents(server: StandIn, pages: SyncPages | AioPages, count: int, calls: int) -> None:
    server.listed = count
    assert pages.documents(server.endpoint, page_size=10) == [str(n) for n in range(count)]
    assert server.calls == ["ListDocuments"] * calls


def test_all_collections(server: StandIn, pages: SyncPages | AioPages) -> None:
    server.listed = 250
    assert pages.collections(server.endpoint) == [f"c{n}" for n in range(250)]
    assert server.calls == ["ListCollections"] * 3


def test_what_is_asked_for(server: StandIn, pages: SyncPages | AioPages) -> None:
    server.listed = 2
    where = F("year") >= 2000
    pages.documents(
        server.endpoint,
        filter=where,
        order=v1.DOCUMENT_ORDER_CREATE_TIME,
        descending=True,
        include_vector=True,
        fields=["metadata.title"],
        page_size=1,
        timeout=5,
    )
    request = v1.ListDocumentsRequest(
        collection="films",
        filter=where.filter,
        order=v1.DOCUMENT_ORDER_CREATE_TIME,
        descending=True,
        include_vector=True,
        read_mask={"paths": ["metadata.title"]},
        page_size=1,
    )
    assert server.requests[0] == request
    request.page_token = "1"
    assert server.requests[1] == request
    assert all(seconds < 5.1 for seconds in server.time_remaining)
    server.requests.clear()
    pages.documents(server.endpoint)
    assert server.requests[0] == v1.ListDocumentsRequest(
        collection="films", order=v1.DOCUMENT_ORDER_ID, page_size=1000, read_mask={}
    )
    with pytest.raises(TypeError, match=r"fields takes a list: write \['text'\]"):
        pages.documents(server.endpoint, fields="text")


def test_a_page_is_tried_again_and_fails_as_a_call_does(server: StandIn, pages: SyncPages | AioPages) -> None:
    server.listed = 3
    server.failures.append(UNAVAILABLE)
    assert len(pages.documents(server.endpoint, page_size=2)) == 3
    server.failures.append(Failure(grpc.StatusCode.NOT_FOUND, reason="COLLECTION_NOT_FOUND"))
    with pytest.raises(pgfox.NotFoundError) as failed:
        pages.documents(server.endpoint)
    assert failed.value.reason == v1.ERROR_REASON_COLLECTION_NOT_FOUND


def test_pages_are_fetched_as_they_are_needed(server: StandIn) -> None:
    server.listed = 100
    with pgfox.connect(server.endpoint) as client:
        documents = pgfox.list_all(client, "films", page_size=10)
        assert server.calls == []
        assert len(list(islice(documents, 15))) == 15
        assert len(server.calls) == 2

    async def main() -> None:
        async with (
            pgfox.aio.connect(server.endpoint) as client,
            aclosing(pgfox.aio.list_all(client, "films", page_size=10)) as documents,
        ):
            async for document in documents:
                if document.id == "14":
                    break

    server.calls.clear()
    asyncio.run(main())
    assert len(server.calls) == 2
