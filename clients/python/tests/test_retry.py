"""Which calls are made again, when, and for how long."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import grpc
import pytest
from conftest import Aio, Sync
from standin import UNAVAILABLE, Failure, StandIn

import pgfox
from pgfox import v1
from pgfox._retry import Backoff

SEARCH = v1.SearchRequest(collection="c", text="t")


def test_an_unavailable_server_is_tried_again(server: StandIn, api: Sync | Aio) -> None:
    server.failures.extend([UNAVAILABLE, UNAVAILABLE])
    started = time.monotonic()
    assert api.call(server.endpoint, "Search", SEARCH, timeout=2).results[0].document.id == "found"
    # 50 to 100 ms and 100 to 200 ms.
    assert 0.15 <= time.monotonic() - started < 2
    assert server.calls == ["Search"] * 3
    # All of them share one deadline.
    assert server.time_remaining[2] < server.time_remaining[0] - 0.14


def test_the_server_says_when_to_come_back(server: StandIn, api: Sync | Aio) -> None:
    server.failures.append(Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="DATABASE_BUSY", retry_delay=0.5))
    started = time.monotonic()
    api.call(server.endpoint, "Search", SEARCH)
    assert 0.5 <= time.monotonic() - started < 2
    assert len(server.calls) == 2


def test_what_is_never_tried_again(server: StandIn, api: Sync | Aio) -> None:
    quota = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="PROVIDER_QUOTA_EXHAUSTED")
    for failure in (quota, Failure(grpc.StatusCode.INTERNAL), Failure(grpc.StatusCode.ABORTED, retry_delay=0.01)):
        server.failures.append(failure)
        with pytest.raises(pgfox.PgfoxError) as failed:
            api.call(server.endpoint, "Search", SEARCH)
        assert failed.value.attempts == 1
        assert "attempts" not in str(failed.value)
    for method, request in (
        ("CreateCollection", v1.CreateCollectionRequest()),
        ("DeleteCollection", v1.DeleteCollectionRequest()),
        ("DropIndex", v1.DropIndexRequest()),
        ("Ingest", v1.IngestRequest(if_version={"a": 1})),
    ):
        server.calls.clear()
        server.failures.append(UNAVAILABLE)
        with pytest.raises(pgfox.UnavailableError):
            api.call(server.endpoint, method, request)
        assert server.calls == [method]
    for repeated, harmless in (("Ingest", v1.IngestRequest()), ("FacetDocuments", v1.FacetDocumentsRequest())):
        server.calls.clear()
        server.failures.append(UNAVAILABLE)
        api.call(server.endpoint, repeated, harmless)
        assert server.calls == [repeated] * 2


def test_retries_can_be_switched_off(server: StandIn, api: Sync | Aio) -> None:
    server.failures.append(UNAVAILABLE)
    with pytest.raises(pgfox.UnavailableError):
        api.call(server.endpoint, "Search", SEARCH, retry=False)
    assert server.calls == ["Search"]


def test_it_ends_with_the_deadline_and_says_how_often_it_tried(server: StandIn, api: Sync | Aio) -> None:
    server.failures.extend([UNAVAILABLE] * 100)
    started = time.monotonic()
    with pytest.raises(pgfox.UnavailableError, match=r"the last of [2-9] attempts in \d\.\d s") as failed:
        api.call(server.endpoint, "Search", SEARCH, timeout=1)
    assert 0.2 < time.monotonic() - started < 1.5
    assert failed.value.attempts == len(server.calls)
    assert failed.value.reason == v1.ERROR_REASON_SHUTTING_DOWN
    # If the deadline leaves no room for a pause, the call ends at once.
    server.failures.clear()
    server.failures.append(Failure(grpc.StatusCode.UNAVAILABLE, reason="SHUTTING_DOWN", retry_delay=0.9))
    started = time.monotonic()
    with pytest.raises(pgfox.UnavailableError):
        api.call(server.endpoint, "Search", SEARCH, timeout=0.8)
    assert time.monotonic() - started < 0.5


def test_nobody_there(api: Sync | Aio) -> None:
    started = time.monotonic()
    with pytest.raises(
        pgfox.UnavailableError, match=r"no answer from http://127\.0\.0\.1:1: .*check the address"
    ) as failed:
        api.call("127.0.0.1:1", "Search", SEARCH, timeout=1)
    assert isinstance(failed.value, ConnectionError)
    assert failed.value.attempts > 1
    assert time.monotonic() - started < 1.5


def test_one_that_listens_but_never_answers(api: Sync | Aio) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(pgfox.DeadlineExceededError, match=f"no answer from http://{endpoint} in time"):
            api.call(endpoint, "Search", SEARCH, timeout=0.5)


def test_a_server_that_comes_back_is_found(server: StandIn, api: Sync | Aio) -> None:
    endpoint = server.endpoint
    server.stop()
    back: list[StandIn] = []
    timer = threading.Timer(1.0, lambda: back.append(StandIn(endpoint)))  # type: ignore[abstract]
    timer.start()
    started = time.monotonic()
    try:
        assert api.call(endpoint, "Search", SEARCH).results
        assert 0.9 < time.monotonic() - started < 8
    finally:
        timer.join()
        back[0].stop()


def test_a_cancel_in_a_pause_is_heard(server: StandIn) -> None:
    server.failures.append(Failure(grpc.StatusCode.UNAVAILABLE, reason="SHUTTING_DOWN", retry_delay=20))

    async def call() -> None:
        async with pgfox.aio.connect(server.endpoint) as client:
            task = asyncio.create_task(client.Search(SEARCH))
            await server.called()
            await asyncio.sleep(0.2)
            started = time.monotonic()
            assert task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.monotonic() - started < 5
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(call())
    assert server.calls == ["Search"]


def test_a_future_is_not_tried_again(server: StandIn) -> None:
    server.failures.append(UNAVAILABLE)
    with pgfox.connect(server.endpoint) as client:
        future = client.Search.future(SEARCH)
        assert isinstance(future.exception(), pgfox.UnavailableError)
        done: list[object] = []
        future.add_done_callback(done.append)
        assert done == [future]
        with pytest.raises(pgfox.UnavailableError):
            future.result()
    assert server.calls == ["Search"]


def test_pauses_grow_to_five_seconds() -> None:
    backoff = Backoff(1000)
    error = pgfox.UnavailableError(grpc.StatusCode.UNAVAILABLE, "")
    pauses = [backoff.pause(error) or 0 for _ in range(10)]
    for pause, whole in zip(pauses, (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5, 5), strict=True):
        assert whole / 2 <= pause <= whole
