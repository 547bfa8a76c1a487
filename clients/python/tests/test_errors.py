"""What an error says."""

from __future__ import annotations

import copy
import pickle

import grpc
import pytest
from conftest import Aio, Sync
from google.rpc import status_pb2
from standin import Failure, StandIn

import pgfox
from pgfox import v1

SEARCH = v1.SearchRequest(collection="c", text="t")
BAD = Failure(
    grpc.StatusCode.INVALID_ARGUMENT,
    "limit must be 0 to 1000, not -1 (and 1 more)",
    reason="INVALID_FIELD",
    violations={"limit": "must be 0 to 1000, not -1", "offset": "must be 0 or more"},
    collection="c",
)


def test_a_bad_argument_is_a_value_error_that_names_every_field(server: StandIn, api: Sync | Aio) -> None:
    server.failures.append(BAD)
    with pytest.raises(ValueError, match=r"INVALID_ARGUMENT \(INVALID_FIELD\)") as failed:
        api.call(server.endpoint, "Search", SEARCH)
    error = failed.value
    assert isinstance(error, pgfox.InvalidArgumentError)
    assert isinstance(error, grpc.RpcError)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == BAD.details
    assert error.reason == v1.ERROR_REASON_INVALID_FIELD
    assert error.metadata == {"collection": "c"}
    assert error.violations == (("limit", "must be 0 to 1000, not -1"), ("offset", "must be 0 or more"))
    assert error.violations[1].rule == "must be 0 or more"
    assert error.request_id == "r1"
    assert error.retry_delay is None
    assert "\n  limit must be 0 to 1000, not -1\n  offset must be 0 or more" in str(error)
    assert repr(error) == f"InvalidArgumentError({str(error)!r})"


@pytest.mark.parametrize(
    ("code", "kind", "also"),
    [
        ("INVALID_ARGUMENT", pgfox.InvalidArgumentError, ValueError),
        ("NOT_FOUND", pgfox.NotFoundError, LookupError),
        ("ALREADY_EXISTS", pgfox.AlreadyExistsError, Exception),
        ("FAILED_PRECONDITION", pgfox.FailedPreconditionError, Exception),
        ("ABORTED", pgfox.AbortedError, Exception),
        ("RESOURCE_EXHAUSTED", pgfox.ResourceExhaustedError, Exception),
        ("DEADLINE_EXCEEDED", pgfox.DeadlineExceededError, TimeoutError),
        ("UNAVAILABLE", pgfox.UnavailableError, ConnectionError),
        ("UNAUTHENTICATED", pgfox.UnauthenticatedError, PermissionError),
        ("INTERNAL", pgfox.PgfoxError, Exception),
    ],
)
def test_the_class_is_that_of_the_code(
    server: StandIn, code: str, kind: type[pgfox.PgfoxError], also: type[Exception]
) -> None:
    server.failures.append(Failure(grpc.StatusCode[code], "what happened"))
    with pgfox.connect(server.endpoint, retry=False) as client, pytest.raises(also) as failed:
        client.Search(SEARCH)
    assert type(failed.value) is kind
    assert code in str(failed.value)
    assert "what happened" in str(failed.value)
    assert failed.value.details() == "what happened"
    for again in (pickle.loads(pickle.dumps(failed.value)), copy.copy(failed.value)):
        assert type(again) is kind
        assert str(again) == str(failed.value)
        assert vars(again) == vars(failed.value)
        assert ("x-request-id", "r1") in again.trailing_metadata()


def test_the_tools_of_grpc_read_it(server: StandIn, api: Sync | Aio) -> None:
    server.failures.append(BAD)
    with pytest.raises(pgfox.PgfoxError) as failed:
        api.call(server.endpoint, "Search", SEARCH)
    error = failed.value
    # As grpc_status.rpc_status.from_call does.
    wire = next(value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin")
    assert isinstance(wire, bytes)
    assert error.trailing_metadata()[0].key == "x-request-id"
    status = status_pb2.Status.FromString(wire)
    assert (error.code().value[0], error.details()) == (status.code, status.message)
    assert all(isinstance(key, str) for key, _ in error.initial_metadata())


def test_the_advice_is_in_the_text_and_not_in_the_details(api: Sync | Aio) -> None:
    with pytest.raises(pgfox.UnavailableError, match=r"no answer from http://127\.0\.0\.1:1: ") as failed:
        api.call("127.0.0.1:1", "Search", SEARCH, timeout=1, retry=False)
    assert "no answer" not in failed.value.details()
    assert failed.value.details() in str(failed.value)
    assert failed.value.trailing_metadata() == ()


def test_errors_of_others_have_no_reason(server: StandIn) -> None:
    foreign = Failure(grpc.StatusCode.NOT_FOUND, reason="COLLECTION_NOT_FOUND", domain="other.example")
    newer = Failure(grpc.StatusCode.NOT_FOUND, reason="NOT_YET_KNOWN", hint="x")
    with pgfox.connect(server.endpoint) as client:
        for failure, metadata in ((foreign, {}), (newer, {"hint": "x"})):
            server.failures.append(failure)
            with pytest.raises(LookupError) as failed:
                client.Search(SEARCH)
            assert isinstance(failed.value, pgfox.PgfoxError)
            assert failed.value.reason == v1.ERROR_REASON_UNSPECIFIED
            assert failed.value.metadata == metadata


def test_details_that_cannot_be_read_hide_nothing(server: StandIn) -> None:
    broken = Failure(grpc.StatusCode.NOT_FOUND, "what happened")
    broken.trailing_metadata = (("grpc-status-details-bin", b"\xff"),)
    server.failures.append(broken)
    with pgfox.connect(server.endpoint) as client, pytest.raises(pgfox.NotFoundError, match="what happened"):
        client.Search(SEARCH)


def test_the_traceback_is_short(server: StandIn, api: Sync | Aio) -> None:
    server.failures.append(BAD)
    with pytest.raises(pgfox.PgfoxError) as failed:
        api.call(server.endpoint, "Search", SEARCH)
    assert failed.value.__context__ is None


def test_streams_fail_the_same_way(server: StandIn, api: Sync | Aio) -> None:
    phases = [m.phase for m in api.stream(server.endpoint, "BuildIndex", v1.BuildIndexRequest(collection="c"))]
    assert phases == [v1.INDEX_PHASE_BUILDING, v1.INDEX_PHASE_READY]
    server.failures.append(Failure(grpc.StatusCode.ABORTED, "stopped", reason="BUILD_FAILED"))
    with pytest.raises(pgfox.AbortedError) as failed:
        api.stream(server.endpoint, "BuildIndex", v1.BuildIndexRequest(collection="c"))
    assert failed.value.reason == v1.ERROR_REASON_BUILD_FAILED


def test_a_deadline(server: StandIn, api: Sync | Aio) -> None:
    server.gate.clear()
    with pytest.raises(TimeoutError) as failed:
        api.call(server.endpoint, "Search", SEARCH, timeout=0.1)
    assert isinstance(failed.value, pgfox.DeadlineExceededError)
    assert failed.value.attempts == 1
