"""Reads whole lists, page by page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pgfox import v1
from pgfox._aio_client import Client as AioClient
from pgfox._client import Client
from pgfox._filter import Where
from pgfox._methods import refuse_client

DEFAULT_DOCUMENTS_PER_PAGE = 1_000
DEFAULT_COLLECTIONS_PER_PAGE = 100


def list_all(
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
) -> Iterator[v1.Document]:
    """Every document of a collection, or every one that matches a filter: `for document in list_all(client, "films")`.

    A page is fetched when the previous one is used up, so that at most one page is in memory. A document that is
    stored, changed or deleted meanwhile may or may not appear. No other document is left out or repeated.

    Args:
        order, descending: the order of the documents. Default: by id.
        include_vector: return the vectors too.
        fields: the fields to return, as in `read_mask`, such as `["text", "metadata.title"]`. None: text and metadata.
        page_size: maximum number of documents per page, 1 to 1,000.
        timeout: deadline in seconds of each page. Default: that of the client.

    Raises:
        PgfoxError: a page could not be fetched.
    """
    refuse_client(client, AioClient, "async for ... in pgfox.aio.list_all(...)")
    request = documents_request(collection, filter, order, descending, include_vector, fields, page_size)
    while True:
        page = client.ListDocuments(request, timeout=timeout)
        yield from page.documents
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def list_collections(client: Client, *, timeout: float | None = None) -> Iterator[v1.Collection]:
    """Every collection, in the order of the names. `timeout` is the deadline in seconds of each page."""
    refuse_client(client, AioClient, "async for ... in pgfox.aio.list_collections(...)")
    request = v1.ListCollectionsRequest(page_size=DEFAULT_COLLECTIONS_PER_PAGE)
    while True:
        page = client.ListCollections(request, timeout=timeout)
        yield from page.collections
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def documents_request(
    collection: str,
    filter: v1.Filter | Where | None,
    order: v1.DocumentOrder,
    descending: bool,
    include_vector: bool,
    fields: Iterable[str],
    page_size: int,
) -> v1.ListDocumentsRequest:
    if isinstance(fields, str):
        raise TypeError(f"fields takes a list: write [{fields!r}]")
    return v1.ListDocumentsRequest(
        collection=collection,
        filter=filter,
        order=order,
        descending=descending,
        include_vector=include_vector,
        read_mask={"paths": list(fields)},
        page_size=page_size,
    )
