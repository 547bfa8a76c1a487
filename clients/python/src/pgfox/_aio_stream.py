"""Ingesting from an event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable

import grpc

from pgfox import v1
from pgfox._aio_client import Client
from pgfox._client import Client as SyncClient
from pgfox._errors import PgfoxError
from pgfox._ingest import (
    CLOSE_WAIT,
    DEFAULT_ACKNOWLEDGE_TIMEOUT,
    DEFAULT_BYTES_PER_REQUEST,
    DEFAULT_DOCUMENTS_PER_REQUEST,
    DEFAULT_REQUESTS_IN_FLIGHT,
    DEFAULT_RETRY_TIMEOUT,
    Ingest,
    IngestTotals,
    OnAcknowledged,
    OnInterrupted,
    Step,
    check_source,
    ended_early,
    silence,
)
from pgfox._methods import refuse_client


async def ingest(
    client: Client,
    collection: str,
    documents: AsyncIterable[v1.Document] | Iterable[v1.Document],
    *,
    skip_invalid: bool = False,
    only_if_absent: bool = False,
    documents_per_request: int = DEFAULT_DOCUMENTS_PER_REQUEST,
    bytes_per_request: int = DEFAULT_BYTES_PER_REQUEST,
    requests_in_flight: int = DEFAULT_REQUESTS_IN_FLIGHT,
    acknowledge_timeout: float = DEFAULT_ACKNOWLEDGE_TIMEOUT,
    retry_timeout: float = DEFAULT_RETRY_TIMEOUT,
    on_acknowledged: OnAcknowledged | None = None,
    on_interrupted: OnInterrupted | None = None,
) -> IngestTotals:
    """Streams documents into a collection and returns when everything is committed.

    The arguments and errors are those of `pgfox.ingest`. The documents may also come from a plain iterable, which
    should not block.
    """
    refuse_client(client, SyncClient, "pgfox.ingest(...)")
    check_source(documents)
    state = Ingest(
        collection,
        skip_invalid=skip_invalid,
        only_if_absent=only_if_absent,
        documents_per_request=documents_per_request,
        bytes_per_request=bytes_per_request,
        requests_in_flight=requests_in_flight,
        acknowledge_timeout=acknowledge_timeout,
        retry_timeout=retry_timeout,
        on_acknowledged=on_acknowledged,
        on_interrupted=on_interrupted,
    )
    source = aiter(documents if isinstance(documents, AsyncIterable) else _each(documents))
    try:
        while (step := state.step()) is not Step.DONE:
            if step is Step.READ and not state.unacknowledged:
                # A connection can wait until there is something to send.
                await _read(state, source)
                continue
            async with Connection(client, state.acknowledge_timeout) as connection:
                error = await _send(state, source, connection)
            if error:
                await asyncio.sleep(state.interrupted(error))
    except PgfoxError as error:
        error.acknowledged = state.totals
        raise
    return state.totals


async def _each(documents: Iterable[v1.Document]) -> AsyncIterator[v1.Document]:
    for document in documents:
        yield document


async def _send(state: Ingest, source: AsyncIterator[v1.Document], connection: Connection) -> PgfoxError | None:
    """Sends everything, beginning with what an earlier connection left. Returns what broke the connection."""
    for request in state.unacknowledged:
        await connection.write(request)
    while (step := state.step()) is not Step.DONE:
        if step is Step.SEND:
            await connection.write(state.take())
        elif step is Step.READ and not connection.has_news():
            await _read(state, source)
        else:
            news = await connection.read()
            if isinstance(news, PgfoxError):
                return news
            state.acknowledge(news)
    await connection.finish()
    return None


async def _read(state: Ingest, source: AsyncIterator[v1.Document]) -> None:
    try:
        document = await anext(source)
    except StopAsyncIteration:
        state.end()
    else:
        state.add(document)


class Connection:
    """One IngestStream. A task takes the responses, so that the server never waits for its own to be read."""

    def __init__(self, client: Client, acknowledge_timeout: float) -> None:
        self._acknowledge_timeout = acknowledge_timeout
        # It does not grow beyond the requests in flight.
        self._responses: asyncio.Queue[v1.IngestResponse | Exception] = asyncio.Queue()
        self._call = client.IngestStream()

    async def __aenter__(self) -> Connection:
        self._reader = asyncio.create_task(self._take())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()
        self._reader.cancel()
        await asyncio.wait([self._reader], timeout=CLOSE_WAIT)

    async def write(self, request: v1.IngestRequest) -> None:
        try:
            await asyncio.wait_for(self._call.write(request), self._acknowledge_timeout)
        except asyncio.TimeoutError:
            self._responses.put_nowait(silence(self._acknowledge_timeout))
        except (grpc.RpcError, asyncio.InvalidStateError):
            # The stream is broken, and the reader learns why.
            pass

    def has_news(self) -> bool:
        return not self._responses.empty()

    async def read(self) -> v1.IngestResponse | PgfoxError:
        """The next response, or what is wrong with the stream."""
        try:
            news = await asyncio.wait_for(self._responses.get(), self._acknowledge_timeout)
        except asyncio.TimeoutError:
            return silence(self._acknowledge_timeout)
        if isinstance(news, (v1.IngestResponse, PgfoxError)):
            return news
        raise news

    async def finish(self) -> None:
        """Everything is stored. Ending the stream properly is only polite."""
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            await self._call.done_writing()
        await asyncio.wait([self._reader], timeout=CLOSE_WAIT)

    async def _take(self) -> None:
        try:
            async for response in self._call:
                self._responses.put_nowait(response)
            self._responses.put_nowait(ended_early())
        except PgfoxError as error:
            # grpc.aio says only this if a stream ends while it writes, even if the server said why. The next connection
            # gets the reason.
            is_unknown = error.details() == "Internal error from Core"
            self._responses.put_nowait(ended_early() if is_unknown else error)
        except Exception as error:
            self._responses.put_nowait(error)
