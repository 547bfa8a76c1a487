"""The errors of pgfox, with all details from the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from pgfox import v1

if TYPE_CHECKING:
    from pgfox._ingest import IngestTotals

# The domain of google.rpc.ErrorInfo.
DOMAIN = "pgfox"
# The names of the reasons, without their prefix.
REASONS: dict[str, Any] = {name.removeprefix("ERROR_REASON_"): number for name, number in v1.ErrorReason.items()}
NAMES = {number: name for name, number in REASONS.items()}


class Metadatum(NamedTuple):
    """A header or trailer, as gRPC has it; but of all its kinds of calls the same, and it can be pickled."""

    key: str
    value: str | bytes


class Violation(NamedTuple):
    """A field of a request that breaks a rule."""

    field: str
    """Its path, such as `documents[3].vector`."""
    rule: str
    """The rule, such as `must have 384 values, not 3`."""


class PgfoxError(grpc.RpcError):
    """A call failed. The subclasses are for codes that programs often catch.

    `code()`, `details()`, `initial_metadata()` and `trailing_metadata()` are those of gRPC. It can be pickled, and its
    text says everything that a person needs.
    """

    reason: v1.ErrorReason
    """Why the call failed, for programs, such as `v1.ERROR_REASON_COLLECTION_NOT_FOUND`. `v1.ERROR_REASON_UNSPECIFIED`,
    which is 0, if the answer is not from pgfox, as for a lost connection."""
    metadata: dict[str, str]
    """What the reason is about, such as `{"collection": "films"}`; the proto documents the keys for each reason."""
    violations: tuple[Violation, ...]
    """Every field that breaks a rule. Empty if the error is not about fields. For `ingest`, `documents[3]` is
    the fourth document after the first `acknowledged.documents` of the stream."""
    retry_delay: float | None
    """Seconds to wait before retrying the call, if the server says so."""
    request_id: str | None
    """The id of the call, which is also in the server's log. None if the server did not answer."""
    attempts: int
    """Number of attempts."""
    elapsed: float
    """Seconds that all attempts took."""
    acknowledged: IngestTotals | None
    """For `ingest`: what is stored, which is the first `acknowledged.documents` documents of the stream."""

    def __init__(
        self,
        code: grpc.StatusCode,
        details: str,
        *,
        reason: v1.ErrorReason = v1.ERROR_REASON_UNSPECIFIED,
        metadata: dict[str, str] | None = None,
        violations: tuple[Violation, ...] = (),
        retry_delay: float | None = None,
        request_id: str | None = None,
        initial_metadata: tuple[Metadatum, ...] = (),
        trailing_metadata: tuple[Metadatum, ...] = (),
        text: str | None = None,
    ) -> None:
        super().__init__(code, details)
        self.reason = reason
        self.metadata = metadata or {}
        self.violations = violations
        self.retry_delay = retry_delay
        self.request_id = request_id
        self.attempts = 1
        self.elapsed = 0.0
        self.acknowledged = None
        self._initial_metadata = initial_metadata
        self._trailing_metadata = trailing_metadata
        self._text = details if text is None else text

    def code(self) -> grpc.StatusCode:
        """The gRPC code."""
        code: grpc.StatusCode = self.args[0]
        return code

    def details(self) -> str:
        """What happened, as the server or gRPC says it. The text of the error also names an unreachable server."""
        details: str = self.args[1]
        return details

    def initial_metadata(self) -> tuple[Metadatum, ...]:
        """The headers of the answer. Empty if there was no answer."""
        return self._initial_metadata

    def trailing_metadata(self) -> tuple[Metadatum, ...]:  # type: ignore[override]  # the type of gRPC's is private
        """The trailers of the answer, such as `grpc-status-details-bin`. Empty if there was no answer."""
        return self._trailing_metadata

    def is_retryable(self) -> bool:
        """Whether the same call may succeed later."""
        code = self.code()
        if code == grpc.StatusCode.UNAVAILABLE:
            return not _is_misconfigured(self.details())
        return code == grpc.StatusCode.RESOURCE_EXHAUSTED and self.retry_delay is not None

    def __str__(self) -> str:
        reason = f" ({NAMES[self.reason]})" if self.reason else ""
        text = f"{self.code().name}{reason}: {self._text}"
        if len(self.violations) > 1:
            text += "".join(f"\n  {field} {rule}" for field, rule in self.violations)
        elif self.violations and self.violations[0].rule not in text:
            text += f": {self.violations[0].field} {self.violations[0].rule}"
        if self.attempts > 1:
            text += f" (the last of {self.attempts} attempts in {self.elapsed:.1f} s)"
        return text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    @staticmethod
    def of(error: grpc.RpcError, endpoint: str) -> PgfoxError:
        """The error that gRPC raised for a call to `endpoint`, in the class of its code."""
        if isinstance(error, PgfoxError):
            return error
        # The documentation of RpcError says only that it is a Call too.
        call: Any = error
        code: grpc.StatusCode = call.code()
        details: str = call.details() or ""
        initial_metadata, trailing_metadata = _pairs(call.initial_metadata()), _pairs(call.trailing_metadata())
        headers: dict[str, Any] = dict(initial_metadata)
        trailers: dict[str, Any] = dict(trailing_metadata)
        status = _status(trailers.get("grpc-status-details-bin") or b"")
        reason, metadata = v1.ERROR_REASON_UNSPECIFIED, dict[str, str]()
        violations: tuple[Violation, ...] = ()
        retry_delay = None
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry_info = error_details_pb2.RetryInfo()
        for detail in status.details:
            if detail.Unpack(info) and info.domain == DOMAIN:
                # A newer server has reasons that this client does not know.
                reason = REASONS.get(info.reason, v1.ERROR_REASON_UNSPECIFIED)
                metadata = dict(info.metadata)
            elif detail.Unpack(bad_request):
                violations = tuple(Violation(v.field, v.description) for v in bad_request.field_violations)
            elif detail.Unpack(retry_info):
                retry_delay = retry_info.retry_delay.ToTimedelta().total_seconds()
        text = details
        if not status.details and code == grpc.StatusCode.UNAVAILABLE:
            text = f"no answer from {endpoint}: {details}; {_advice(details)}"
        if not status.details and code == grpc.StatusCode.DEADLINE_EXCEEDED:
            text = f"no answer from {endpoint} in time: {details}"
        return CLASSES.get(code, PgfoxError)(
            code,
            details,
            reason=reason,
            metadata=metadata,
            violations=violations,
            retry_delay=retry_delay,
            request_id=trailers.get("x-request-id") or headers.get("x-request-id"),
            initial_metadata=initial_metadata,
            trailing_metadata=trailing_metadata,
            text=text,
        )


class InvalidArgumentError(PgfoxError, ValueError):
    """The request breaks rules; `violations` names every field with its rule."""


class NotFoundError(PgfoxError, LookupError):
    """The collection, the document or the index does not exist."""


class AlreadyExistsError(PgfoxError):
    """The name is taken."""


class FailedPreconditionError(PgfoxError):
    """The server, the database or the collection is not in the state that the call needs."""


class AbortedError(PgfoxError):
    """A document is not at the version given in `if_version`, or an index build failed."""


class ResourceExhaustedError(PgfoxError):
    """Something is used up: connections, a quota, the size of a message. With a `retry_delay` it is temporary."""


class DeadlineExceededError(PgfoxError, TimeoutError):
    """The deadline of the call has passed."""


class UnavailableError(PgfoxError, ConnectionError):
    """The server, or something that it needs, cannot be reached."""


class UnauthenticatedError(PgfoxError, PermissionError):
    """The API key is missing or wrong."""


# Every other code is a PgfoxError.
CLASSES: dict[grpc.StatusCode, type[PgfoxError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.ABORTED: AbortedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
}


def _pairs(metadata: Any) -> tuple[Metadatum, ...]:
    return tuple(Metadatum(key, value) for key, value in metadata or ())


def _status(wire: bytes) -> status_pb2.Status:
    try:
        return status_pb2.Status.FromString(wire)
    except DecodeError:
        # The answer came from something other than pgfox. The code and the text still say what happened.
        return status_pb2.Status()


def _is_misconfigured(details: str) -> bool:
    """Whether TLS fails in a way that retrying cannot fix."""
    return any(sign in details for sign in ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "peer certificate"))


def _advice(details: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in details or "peer certificate" in details:
        return "set `ca` to the CA certificate of the server, and call the server by a name in its certificate"
    if "WRONG_VERSION_NUMBER" in details:
        return "the server there does not speak TLS: write http://"
    return "check the address, that pgfox-server runs there, and https:// if it has a certificate"
