"""Reads whole lists, page by page, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from pgfox import v1
from pgfox._aio_client import Client
from pgfox._client import Client as SyncClient
from pgfox._filter import Where
from pgfox._methods import refuse_client
from pgfox._pages import DEFAULT_COLLECTIONS_PER_PAGE, DEFAULT_DOCUMENTS_PER_PAGE, documents_request


async def list_all(
    client: Client,
    collection: str,
    *,
    filter: v1.Filter | Where | None = None,
    order: v1.DocumentOrder = v1.DOCUMENT_ORDER_ID,
    descending: bool = False,
    include_vector: bool = False,
    fields: Iterable[str] = (),
    page_size: int = DEFAULT_DOCUMENTS_PER_PAGE,
    timeout: float | None = None,
) -> AsyncGenerator[v1.Document, None]:
    """Every document of a collection: `async for document in list_all(client, "films")`.

    The arguments and errors are those of `pgfox.list_all`.
    """
    refuse_client(client, SyncClient, "for ... in pgfox.list_all(...)")
    request = documents_request(collection, filter, order, descending, include_vector, fields, page_size)
    while True:
        page = await client.ListDocuments(request, timeout=timeout)
        for document in page.documents:
            yield document
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def list_collections(client: Client, *, timeout: float | None = None) -> AsyncGenerator[v1.Collection, None]:
    """Every collection, in the order of the names. `timeout` is the deadline in seconds of each page."""
    refuse_client(client, SyncClient, "for ... in pgfox.list_collections(...)")
    request = v1.ListCollectionsRequest(page_size=DEFAULT_COLLECTIONS_PER_PAGE)
    while True:
        page = await client.ListCollections(request, timeout=timeout)
        for collection in page.collections:
            yield collection
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
