"""A stand-in for a pgfox server, in this process: it fails as the test wants and records its requests."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from pgfox import v1
from pgfox.v1.pgfox_service_pb2_grpc import PgfoxServiceServicer, add_PgfoxServiceServicer_to_server


class Failure(grpc.Status):
    """A status as pgfox answers it."""

    def __init__(
        self,
        code: grpc.StatusCode,
        details: str = "told to fail",
        reason: str = "",
        retry_delay: float | None = None,
        violations: dict[str, str] | None = None,
        domain: str = "pgfox",
        **metadata: str,
    ) -> None:
        parts: list[Message] = []
        if reason:
            parts.append(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata))
        if violations:
            fields = [
                error_details_pb2.BadRequest.FieldViolation(field=field, description=rule)
                for field, rule in violations.items()
            ]
            parts.append(error_details_pb2.BadRequest(field_violations=fields))
        if retry_delay is not None:
            delay = Duration()
            delay.FromNanoseconds(round(retry_delay * 1e9))
            parts.append(error_details_pb2.RetryInfo(retry_delay=delay))
        status = status_pb2.Status(code=code.value[0], message=details)
        for part in parts:
            status.details.add().Pack(part)
        self.code = code
        self.details = details
        self.trailing_metadata = (("x-request-id", "r1"),)
        if parts:
            self.trailing_metadata += (("grpc-status-details-bin", status.SerializeToString()),)


UNAVAILABLE = Failure(grpc.StatusCode.UNAVAILABLE, reason="SHUTTING_DOWN", retry_delay=0.01)

# What a stream does with a request instead of storing it.
Act = Failure | str


class StandIn(PgfoxServiceServicer):
    """Stores documents in memory. `failures` are answered before anything else, one each call."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        self.failures: deque[Failure] = deque()
        self.acts: dict[int, list[Act]] = {}
        """What IngestStream does with the request of this sequence, once each: fail, "end", "swap" or "hang"."""
        self.calls: list[str] = []
        self.first_call = threading.Event()
        self.time_remaining: list[float] = []
        self.metadata: list[dict[str, Any]] = []
        self.stored: list[str] = []
        self.sequences: list[int] = []
        self.streams = 0
        self.gate = threading.Event()
        """Search and IngestStream answer only while it is set."""
        self.gate.set()
        self.idle: float | None = None
        """Seconds without a request after which IngestStream is cut, as proxies do."""
        self.text = ""
        self.listed = 0
        """How many documents and collections there are to list."""
        self.requests: list[Any] = []
        self.cancelled = threading.Event()
        """Set when the caller of a Search is gone before its answer."""
        self._server = grpc.server(
            ThreadPoolExecutor(16),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 17 << 20)],
        )
        add_PgfoxServiceServicer_to_server(self, self._server)
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port(address)}"
        self._server.start()

    def stop(self) -> None:
        self.gate.set()
        self._server.stop(0).wait(5)

    async def called(self) -> None:
        """Waits for the first call."""
        assert await asyncio.to_thread(self.first_call.wait, 10)

    def _enter(self, name: str, context: grpc.ServicerContext) -> None:
        self.calls.append(name)
        self.first_call.set()
        remaining = context.time_remaining()
        self.time_remaining.append(remaining if remaining is not None and remaining < 1e8 else float("inf"))
        self.metadata.append({key: value for key, value in context.invocation_metadata()})  # noqa: C416
        if self.failures:
            context.abort_with_status(self.failures.popleft())

    def Search(self, request: Any, context: Any) -> v1.SearchResponse:
        self._enter("Search", context)
        self.gate.wait(10)
        if not context.is_active():
            self.cancelled.set()
        return v1.SearchResponse(results=[{"document": {"id": "found", "text": self.text}}])

    def Ingest(self, request: Any, context: Any) -> v1.IngestResponse:
        self._enter("Ingest", context)
        return v1.IngestResponse(upserted_count=len(request.documents))

    def FacetDocuments(self, request: Any, context: Any) -> v1.FacetDocumentsResponse:
        self._enter("FacetDocuments", context)
        return v1.FacetDocumentsResponse(values=[{"value": {"string_value": "Crime"}, "count": 2}])

    def ListDocuments(self, request: Any, context: Any) -> v1.ListDocumentsResponse:
        self._enter("ListDocuments", context)
        self.requests.append(request)
        start = int(request.page_token or 0)
        ids = [str(n) for n in range(self.listed)][start : start + request.page_size]
        end = start + len(ids)
        return v1.ListDocumentsResponse(
            documents=[{"id": id} for id in ids], next_page_token=str(end) if end < self.listed else ""
        )

    def ListCollections(self, request: Any, context: Any) -> v1.ListCollectionsResponse:
        self._enter("ListCollections", context)
        start = int(request.page_token or 0)
        end = min(start + request.page_size, self.listed)
        return v1.ListCollectionsResponse(
            collections=[{"name": f"c{n}"} for n in range(start, end)],
            next_page_token=str(end) if end < self.listed else "",
        )

    def CreateCollection(self, request: Any, context: Any) -> v1.CreateCollectionResponse:
        self._enter("CreateCollection", context)
        return v1.CreateCollectionResponse()

    def DeleteCollection(self, request: Any, context: Any) -> v1.DeleteCollectionResponse:
        self._enter("DeleteCollection", context)
        return v1.DeleteCollectionResponse()

    def DropIndex(self, request: Any, context: Any) -> v1.DropIndexResponse:
        self._enter("DropIndex", context)
        return v1.DropIndexResponse()

    def BuildIndex(self, request: Any, context: Any) -> Iterator[v1.BuildIndexResponse]:
        yield v1.BuildIndexResponse(phase=v1.INDEX_PHASE_BUILDING)
        self._enter("BuildIndex", context)
        yield v1.BuildIndexResponse(phase=v1.INDEX_PHASE_READY)

    def IngestStream(self, requests: Any, context: Any) -> Iterator[v1.IngestResponse]:
        self.streams += 1
        self._enter("IngestStream", context)
        cut = threading.Timer(self.idle or 0, context.cancel)
        if self.idle:
            cut.start()
        for request in requests:
            cut.cancel()
            self.gate.wait(10)
            acts = self.acts.get(request.sequence)
            act = acts.pop(0) if acts else None
            if isinstance(act, Failure):
                context.abort_with_status(act)
            if act == "end":
                return
            if act == "hang":
                # Until the client or the test is gone.
                threading.Event().wait(3)
                return
            self.sequences.append(request.sequence)
            self.stored += [document.id for document in request.documents if document.text != "bad"]
            errors = [
                v1.DocumentError(index=i, id=document.id, reason=v1.ERROR_REASON_INVALID_FIELD, message="bad")
                for i, document in enumerate(request.documents)
                if document.text == "bad"
            ]
            yield v1.IngestResponse(
                sequence=request.sequence + (act == "swap"),
                upserted_count=len(request.documents) - len(errors),
                errors=errors,
                usage=v1.Usage(tokens=len(request.documents)),
            )
            if self.idle:
                cut = threading.Timer(self.idle, context.cancel)
                cut.start()


Start = Callable[[], StandIn]
