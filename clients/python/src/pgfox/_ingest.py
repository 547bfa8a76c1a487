"""Ingesting without the network: groups documents into requests, and keeps them until they are acknowledged.

`_stream.ingest` and `aio.ingest` send the requests. Ids make it safe to send a request twice: nothing is lost and
nothing is stored twice.
"""

from __future__ import annotations

import enum
import inspect
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from pgfox import v1
from pgfox._errors import DeadlineExceededError, InvalidArgumentError, PgfoxError, UnavailableError, Violation
from pgfox._retry import Backoff, is_interruption
from pgfox._settings import check_count, check_timeout
from pgfox._tables import is_table

DEFAULT_DOCUMENTS_PER_REQUEST = 500
DEFAULT_BYTES_PER_REQUEST = 2 << 20
DEFAULT_REQUESTS_IN_FLIGHT = 4
DEFAULT_ACKNOWLEDGE_TIMEOUT = 600.0
DEFAULT_RETRY_TIMEOUT = 60.0

# The server's limits for one request: documents, and bytes less room for the rest of the message.
MAX_DOCUMENTS_PER_REQUEST = 1_000
MAX_BYTES_PER_REQUEST = (16 << 20) - (64 << 10)
MAX_REQUESTS_IN_FLIGHT = 100

# Seconds to wait for the end of a stream once everything is acknowledged, or once it is cancelled.
CLOSE_WAIT = 2.0


@dataclass(frozen=True)
class IngestTotals:
    """Counts everything that is acknowledged, which means committed."""

    documents: int = 0
    """Documents, including skipped ones."""
    upserted: int = 0
    """Documents that were inserted or changed."""
    updated: int = 0
    """Documents among `upserted` that existed before."""
    unchanged: int = 0
    """Documents that were already stored unchanged, including documents sent twice after an interruption."""
    skipped: int = 0
    """Documents that the server refused, with `skip_invalid`."""
    existing: int = 0
    """Documents whose id existed, with `only_if_absent`, including documents sent twice after an interruption."""
    embedded: int = 0
    """Embedded texts: documents or their chunks."""
    truncated: int = 0
    """Documents whose text is longer than the model reads."""
    unembedded: int = 0
    """Documents that were stored without a vector because they have no text."""
    full_text_cut: int = 0
    """Documents whose text is so long that full-text search does not know all of it."""
    tokens: int = 0
    """Tokens that the model read."""


@dataclass(frozen=True)
class SkippedDocument:
    """A document that the server refused."""

    position: int
    """Position in the whole stream, from 0."""
    id: str
    """Id of the document, cut to at most 512 bytes."""
    reason: v1.ErrorReason
    """The reason for programs."""
    message: str
    """The reason for people."""


OnAcknowledged = Callable[[IngestTotals, Sequence[SkippedDocument]], object]
OnInterrupted = Callable[[PgfoxError, float], object]


class Step(enum.Enum):
    """The next step of an ingest."""

    SEND = enum.auto()
    """Send `ready` over the connection."""
    READ = enum.auto()
    """Read a document of the source."""
    WAIT = enum.auto()
    """Wait for an acknowledgement."""
    DONE = enum.auto()
    """Nothing: everything is acknowledged."""


class Ingest:
    """The state of one ingest, over all its connections."""

    def __init__(
        self,
        collection: str,
        *,
        skip_invalid: bool,
        only_if_absent: bool,
        documents_per_request: int,
        bytes_per_request: int,
        requests_in_flight: int,
        acknowledge_timeout: float,
        retry_timeout: float,
        on_acknowledged: OnAcknowledged | None,
        on_interrupted: OnInterrupted | None,
    ) -> None:
        for name, callback in (("on_acknowledged", on_acknowledged), ("on_interrupted", on_interrupted)):
            if inspect.iscoroutinefunction(callback):
                raise TypeError(f"{name} is called and not awaited: give a plain function")
        check_count("documents_per_request", documents_per_request, MAX_DOCUMENTS_PER_REQUEST)
        check_count("bytes_per_request", bytes_per_request, MAX_BYTES_PER_REQUEST)
        check_count("requests_in_flight", requests_in_flight, MAX_REQUESTS_IN_FLIGHT)
        check_timeout("acknowledge_timeout", acknowledge_timeout)
        check_timeout("retry_timeout", retry_timeout, may_be_zero=True)
        self._empty = v1.IngestRequest(collection=collection, skip_invalid=skip_invalid, only_if_absent=only_if_absent)
        self._documents_max = documents_per_request
        self._bytes_max = bytes_per_request
        self._in_flight_max = requests_in_flight
        self._retry_timeout = retry_timeout
        self._on_acknowledged = on_acknowledged
        self._on_interrupted = on_interrupted
        self._ready: deque[v1.IngestRequest] = deque()
        self._filling = v1.IngestRequest()
        self._filling_bytes = 0
        self._documents_read = 0
        self._sequence = 0
        self._exhausted = False
        self._backoff: Backoff | None = None
        self.acknowledge_timeout = acknowledge_timeout
        self.unacknowledged: deque[v1.IngestRequest] = deque()
        self.totals = IngestTotals()

    def step(self) -> Step:
        if len(self.unacknowledged) < self._in_flight_max:
            if self._ready:
                return Step.SEND
            if not self._exhausted:
                return Step.READ
        return Step.WAIT if self.unacknowledged else Step.DONE

    def add(self, document: v1.Document) -> None:
        """Takes the next document of the source."""
        position = self._documents_read
        if not isinstance(document, v1.Document):
            remedy = "; pgfox.document(**it) makes one" if isinstance(document, dict) else ""
            raise TypeError(f"document {position} is a {type(document).__name__}, not a pgfox.v1.Document{remedy}")
        # The field's tag and length are added to the size of the document.
        size = document.ByteSize() + 6
        if size > MAX_BYTES_PER_REQUEST:
            rule = f"has {size:,} bytes, more than a request may have ({MAX_BYTES_PER_REQUEST:,})"
            raise InvalidArgumentError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"document {position} of the stream (`{document.id}`) {rule}",
                # Counted from what is acknowledged, as the server counts within the first request that it refuses.
                violations=(Violation(f"documents[{position - self.totals.documents}]", rule),),
            )
        self._documents_read += 1
        if self._filling_bytes + size > self._bytes_max:
            self._close()
        # This copies the document, so that the source may reuse it.
        self._filling.documents.append(document)
        self._filling_bytes += size
        if len(self._filling.documents) == self._documents_max or self._filling_bytes >= self._bytes_max:
            self._close()

    def end(self) -> None:
        """The source has no more documents."""
        self._exhausted = True
        self._close()

    def take(self) -> v1.IngestRequest:
        """The next request to send. It is kept until it is acknowledged."""
        request = self._ready.popleft()
        self.unacknowledged.append(request)
        return request

    def acknowledge(self, response: v1.IngestResponse) -> None:
        expected = self.unacknowledged[0].sequence if self.unacknowledged else None
        if response.sequence != expected:
            raise PgfoxError(
                grpc.StatusCode.INTERNAL,
                f"the server acknowledged request {response.sequence} instead of {expected or 'none'}",
            )
        request = self.unacknowledged.popleft()
        self._backoff = None
        before = self.totals
        skipped = [
            SkippedDocument(before.documents + error.index, error.id, error.reason, error.message)
            for error in response.errors
        ]
        self.totals = IngestTotals(
            documents=before.documents + len(request.documents),
            upserted=before.upserted + response.upserted_count,
            updated=before.updated + response.updated_count,
            unchanged=before.unchanged + response.unchanged_count,
            skipped=before.skipped + len(skipped),
            existing=before.existing + response.skipped_count,
            embedded=before.embedded + response.embedded_count,
            truncated=before.truncated + response.truncated_count,
            unembedded=before.unembedded + response.unembedded_count,
            full_text_cut=before.full_text_cut + response.full_text_cut_count,
            tokens=before.tokens + response.usage.tokens,
        )
        if self._on_acknowledged:
            self._on_acknowledged(self.totals, skipped)

    def interrupted(self, error: PgfoxError) -> float:
        """The pause before the next connection. Raises the error if there will be none."""
        if not is_interruption(error):
            raise error
        backoff = self._backoff or Backoff(self._retry_timeout)
        # Without requests in flight nothing failed: proxies cut idle connections.
        pause = backoff.pause(error) if self.unacknowledged else 0.0
        if pause is None:
            error.attempts = backoff.failures
            error.elapsed = backoff.elapsed()
            raise error
        self._backoff = backoff if self.unacknowledged else None
        if self._on_interrupted:
            self._on_interrupted(error, pause)
        return pause

    def _close(self) -> None:
        """The request that is being filled is ready."""
        if not self._filling.documents:
            return
        self._sequence += 1
        self._filling.MergeFrom(self._empty)
        self._filling.sequence = self._sequence
        self._ready.append(self._filling)
        self._filling = v1.IngestRequest()
        self._filling_bytes = 0


def check_source(documents: object) -> None:
    """Refuses a source whose items are not documents."""
    if is_table(documents):
        remedy = "write pgfox.documents(table, id=..., text=...), which names its columns"
        raise TypeError(f"documents is a {type(documents).__name__}: {remedy}")
    if isinstance(documents, (v1.Document, dict, str)):
        kind = type(documents).__name__
        raise TypeError(f"documents is one {kind}, not an iterable of documents: write [pgfox.document(...)]")


def ended_early() -> PgfoxError:
    return UnavailableError(grpc.StatusCode.UNAVAILABLE, "the server ended the stream early")


def silence(seconds: float) -> PgfoxError:
    text = f"the server acknowledged nothing for {seconds:g} s"
    return DeadlineExceededError(grpc.StatusCode.DEADLINE_EXCEEDED, text)
