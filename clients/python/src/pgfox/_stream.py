"""Ingesting from any thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator

from pgfox import v1
from pgfox._aio_client import Client as AioClient
from pgfox._client import Client
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


def ingest(
    client: Client,
    collection: str,
    documents: Iterable[v1.Document],
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

    If the connection breaks, it connects again and sends everything again that was not acknowledged. The documents are
    read in the calling thread, at most `requests_in_flight` requests ahead. A request is sent when it is full or
    `documents` ends. If documents come slowly, a smaller `documents_per_request` stores them sooner.

    Args:
        skip_invalid: store the good documents and report the bad ones, instead of ending with the first bad request.
        only_if_absent: store only documents whose id does not exist, and leave the others as they are.
        documents_per_request: 1 to 1,000.
        bytes_per_request: bytes of documents at which a request is sent, 1 to 16 MiB - 64 KiB. A larger document is
            sent alone.
        requests_in_flight: maximum number of requests that are sent but not acknowledged, 1 to 100. They are kept to
            be sent again.
        acknowledge_timeout: maximum wait in seconds for an acknowledgement over an open connection, above 0 and at
            most 86,400, one day.
        retry_timeout: how many seconds to retry after an interruption without an acknowledgement, at most 86,400;
            0 means no retries.
        on_acknowledged: called with the totals so far and the skipped documents of the last request.
        on_interrupted: called with the error that broke the connection and the pause in seconds before the next one.

    Raises:
        PgfoxError: the server refused, or could not be reached for too long. `acknowledged` says what is stored, and
            `documents[3]` in `violations` is the fourth document after the first `acknowledged.documents`.
        ValueError: an option is outside its range. Nothing was sent.
        Exception: any error of `documents` or of a callback, unchanged. The last call of `on_acknowledged` says what
            is stored.
    """
    refuse_client(client, AioClient, "await pgfox.aio.ingest(...)")
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
    source = iter(documents)
    try:
        while (step := state.step()) is not Step.DONE:
            if step is Step.READ and not state.unacknowledged:
                # A connection can wait until there is something to send.
                _read(state, source)
                continue
            with Connection(client, state.acknowledge_timeout) as connection:
                error = _send(state, source, connection)
            if error:
                time.sleep(state.interrupted(error))
    except PgfoxError as error:
        error.acknowledged = state.totals
        raise
    return state.totals


def _send(state: Ingest, source: Iterator[v1.Document], connection: Connection) -> PgfoxError | None:
    """Sends everything, beginning with what an earlier connection left. Returns what broke the connection."""
    for request in state.unacknowledged:
        connection.write(request)
    while (step := state.step()) is not Step.DONE:
        if step is Step.SEND:
            connection.write(state.take())
        elif step is Step.READ and not connection.has_news():
            _read(state, source)
        else:
            news = connection.read()
            if isinstance(news, PgfoxError):
                return news
            state.acknowledge(news)
    connection.finish()
    return None


def _read(state: Ingest, source: Iterator[v1.Document]) -> None:
    try:
        document = next(source)
    except StopIteration:
        state.end()
    else:
        state.add(document)


class Connection:
    """One IngestStream. gRPC reads the requests in a thread of its own; another one here takes the responses."""

    def __init__(self, client: Client, acknowledge_timeout: float) -> None:
        self._acknowledge_timeout = acknowledge_timeout
        # Neither queue grows beyond the requests in flight.
        self._requests: queue.SimpleQueue[v1.IngestRequest | None] = queue.SimpleQueue()
        self._responses: queue.SimpleQueue[v1.IngestResponse | PgfoxError] = queue.SimpleQueue()
        self._call = client.IngestStream(iter(self._requests.get, None))
        self._reader = threading.Thread(target=self._take, name="pgfox-ingest", daemon=True)

    def __enter__(self) -> Connection:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._call.cancel()
        self._requests.put(None)
        self._reader.join(CLOSE_WAIT)

    def write(self, request: v1.IngestRequest) -> None:
        self._requests.put(request)

    def has_news(self) -> bool:
        return not self._responses.empty()

    def read(self) -> v1.IngestResponse | PgfoxError:
        """The next response, or what is wrong with the stream."""
        try:
            return self._responses.get(timeout=self._acknowledge_timeout)
        except queue.Empty:
            return silence(self._acknowledge_timeout)

    def finish(self) -> None:
        """Everything is stored. Ending the stream properly is only polite."""
        self._requests.put(None)
        self._reader.join(CLOSE_WAIT)

    def _take(self) -> None:
        try:
            for response in self._call:
                self._responses.put(response)
            self._responses.put(ended_early())
        except PgfoxError as error:
            self._responses.put(error)
