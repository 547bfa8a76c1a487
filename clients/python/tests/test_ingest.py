"""Streaming: groups, back-pressure, broken streams, and what is left behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import Aio, Sync
from standin import UNAVAILABLE, Failure, StandIn

import pgfox
from pgfox import v1
from pgfox._ingest import Ingest

pytestmark = pytest.mark.usefixtures("no_new_threads")


def documents(count: int) -> Iterator[v1.Document]:
    return (v1.Document(id=str(i), text="good") for i in range(count))


IDS = [str(i) for i in range(100)]


def test_totals(server: StandIn, api: Sync | Aio) -> None:
    seen: list[int] = []
    totals = api.ingest(
        server.endpoint,
        documents(100),
        documents_per_request=30,
        on_acknowledged=lambda totals, skipped: seen.append(totals.documents),
    )
    assert totals == pgfox.IngestTotals(documents=100, upserted=100, tokens=100)
    assert server.stored == IDS
    assert server.sequences == [1, 2, 3, 4]
    assert seen == [30, 60, 90, 100]
    assert server.streams == 1
    assert server.time_remaining == [float("inf")]


def test_nothing_to_ingest(server: StandIn, api: Sync | Aio) -> None:
    assert api.ingest(server.endpoint, []) == pgfox.IngestTotals()


def test_skipped_documents_have_their_position_in_the_stream(server: StandIn, api: Sync | Aio) -> None:
    skipped: list[pgfox.SkippedDocument] = []
    totals = api.ingest(
        server.endpoint,
        (v1.Document(id=str(i), text="bad" if i in (3, 17) else "good") for i in range(20)),
        documents_per_request=6,
        skip_invalid=True,
        on_acknowledged=lambda _, some: skipped.extend(some),
    )
    assert [(document.position, document.id) for document in skipped] == [(3, "3"), (17, "17")]
    assert skipped[0].reason == v1.ERROR_REASON_INVALID_FIELD
    assert (totals.documents, totals.upserted, totals.skipped) == (20, 18, 2)


@pytest.mark.parametrize(
    "act",
    [
        "end",
        UNAVAILABLE,
        Failure(grpc.StatusCode.CANCELLED),
        Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="DATABASE_BUSY", retry_delay=0.01),
        Failure(grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
    ],
    ids=["end", "unavailable", "cancelled", "busy", "reset"],
)
def test_a_broken_stream_is_taken_up_where_it_broke(server: StandIn, api: Sync | Aio, act: Any) -> None:
    server.acts = {1: [act], 3: [act, act], 10: [act]}
    interruptions: list[pgfox.PgfoxError] = []
    totals = api.ingest(
        server.endpoint,
        documents(100),
        documents_per_request=10,
        on_interrupted=lambda error, pause: interruptions.append(error),
    )
    assert totals.documents == 100
    # Nothing is lost, nothing is stored twice, and nothing is out of order.
    assert server.stored == IDS
    assert server.sequences == list(range(1, 11))
    assert len(interruptions) == 4
    assert server.streams == 5


@pytest.mark.parametrize(
    "failure",
    [
        Failure(grpc.StatusCode.NOT_FOUND, reason="COLLECTION_NOT_FOUND"),
        Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="PROVIDER_QUOTA_EXHAUSTED"),
        Failure(grpc.StatusCode.INTERNAL, "a defect", reason="INTERNAL"),
    ],
    ids=["not found", "quota", "internal"],
)
def test_a_refusal_ends_it_and_tells_what_is_stored(server: StandIn, api: Sync | Aio, failure: Failure) -> None:
    server.acts = {4: [failure] * 100}
    with pytest.raises(pgfox.PgfoxError) as failed:
        api.ingest(server.endpoint, documents(100), documents_per_request=10)
    assert failed.value.code() == failure.code
    assert failed.value.acknowledged
    assert failed.value.acknowledged.documents == len(server.stored) == 30


def test_an_acknowledgement_out_of_order_is_an_error(server: StandIn, api: Sync | Aio) -> None:
    server.acts = {2: ["swap"]}
    with pytest.raises(pgfox.PgfoxError, match="acknowledged request 3 instead of 2") as failed:
        api.ingest(server.endpoint, documents(100), documents_per_request=10)
    assert failed.value.code() == grpc.StatusCode.INTERNAL
    assert failed.value.acknowledged
    assert failed.value.acknowledged.documents == 10


def test_it_gives_up_when_the_server_stays_away(server: StandIn, api: Sync | Aio) -> None:
    server.acts = {2: [UNAVAILABLE] * 100}
    started = time.monotonic()
    with pytest.raises(pgfox.UnavailableError, match="attempts in") as failed:
        api.ingest(server.endpoint, documents(100), documents_per_request=10, retry_timeout=1)
    assert 0.3 < time.monotonic() - started < 3
    assert failed.value.acknowledged
    assert failed.value.acknowledged.documents == 10


def test_a_cut_with_nothing_on_the_way_is_no_failure(server: StandIn, api: Sync | Aio) -> None:
    server.idle = 0.1

    def source() -> Iterator[v1.Document]:
        for document in documents(9):
            time.sleep(0.25)
            yield document

    async def asynchronous_source() -> AsyncIterator[v1.Document]:
        for document in documents(9):
            await asyncio.sleep(0.25)
            yield document

    slow: Any = asynchronous_source() if isinstance(api, Aio) else source()
    pauses: list[float] = []
    totals = api.ingest(
        server.endpoint,
        slow,
        documents_per_request=3,
        retry_timeout=0,
        on_interrupted=lambda error, pause: pauses.append(pause),
    )
    assert totals.documents == 9
    assert server.sequences == [1, 2, 3]
    # After the first and the second request; the third is the last.
    assert pauses == [0, 0]
    # It connects when it has a request, not to wait for one.
    assert server.streams == 3


def test_a_silent_server_is_not_waited_for_forever(server: StandIn, api: Sync | Aio) -> None:
    server.acts = {2: ["hang"]}
    started = time.monotonic()
    with pytest.raises(pgfox.DeadlineExceededError, match=r"nothing for 0\.5 s") as failed:
        api.ingest(server.endpoint, documents(100), documents_per_request=10, acknowledge_timeout=0.5)
    assert 0.4 < time.monotonic() - started < 2
    assert failed.value.acknowledged
    assert failed.value.acknowledged.documents == 10


def test_the_source_is_not_read_ahead_of_the_server(server: StandIn, api: Sync | Aio) -> None:
    read: list[int] = []
    server.gate.clear()
    most = []

    def source() -> Iterator[v1.Document]:
        for i, document in enumerate(documents(100)):
            read.append(i)
            yield document

    def open_gate() -> None:
        most.append(len(read))
        server.gate.set()

    timer = threading.Timer(0.5, open_gate)
    timer.start()
    totals = api.ingest(server.endpoint, source(), documents_per_request=10, requests_in_flight=3)
    timer.join()
    assert totals.documents == 100
    assert most == [30]


def test_what_the_source_raises_comes_out(server: StandIn, api: Sync | Aio) -> None:
    def source() -> Iterator[v1.Document]:
        yield from documents(10)
        raise KeyError("mine")

    told: list[int] = []
    with pytest.raises(KeyError, match="mine"):
        api.ingest(
            server.endpoint,
            source(),
            documents_per_request=5,
            requests_in_flight=1,
            on_acknowledged=lambda totals, _: told.append(totals.documents),
        )
    assert told == [5, 10]
    with pytest.raises(TypeError, match=r"document 0 is a dict, not a pgfox\.v1\.Document"):
        api.ingest(server.endpoint, [{"id": "a"}])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="document 0 is a NoneType"):
        api.ingest(server.endpoint, [None])  # type: ignore[list-item]


def test_a_document_above_a_request_is_named(server: StandIn, api: Sync | Aio) -> None:
    large = [v1.Document(id="a"), v1.Document(id="b", text="x" * (16 << 20))]
    with pytest.raises(pgfox.InvalidArgumentError, match=r"document 1 of the stream \(`b`\) has 16,777,") as failed:
        api.ingest(server.endpoint, large)
    assert failed.value.violations[0].field == "documents[1]"


@pytest.mark.parametrize("refused_by", ["server", "client"])
def test_a_refused_document_is_counted_from_what_is_acknowledged(
    server: StandIn, api: Sync | Aio, refused_by: str
) -> None:
    bad = v1.Document(id="12", text="x" * (16 << 20) if refused_by == "client" else "bad")
    refusal = Failure(
        grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD", violations={"documents[2].id": "must not be empty"}
    )
    server.acts = {3: [refusal]}
    with pytest.raises(pgfox.InvalidArgumentError) as failed:
        # Document 12 is the third of the third request.
        api.ingest(
            server.endpoint,
            [*documents(12), bad, *documents(7)],
            documents_per_request=5,
            requests_in_flight=1,
        )
    assert failed.value.acknowledged
    field = failed.value.violations[0].field
    index = int(field.removeprefix("documents[").partition("]")[0])
    assert failed.value.acknowledged.documents + index == 12
    if refused_by == "server":
        assert (failed.value.acknowledged.documents, index) == (10, 2)


@pytest.mark.parametrize(
    ("option", "value", "range"),
    [
        ("documents_per_request", 0, "1 to 1000"),
        ("documents_per_request", 1_001, "1 to 1000"),
        ("documents_per_request", 1.5, "1 to 1000"),
        ("bytes_per_request", 0, "1 to 16711680"),
        ("bytes_per_request", 16 << 20, "1 to 16711680"),
        ("requests_in_flight", 0, "1 to 100"),
        ("requests_in_flight", 101, "1 to 100"),
        ("acknowledge_timeout", 0, "above 0 and at most 86400 s"),
        ("acknowledge_timeout", 86_401, "above 0 and at most 86400 s"),
        ("acknowledge_timeout", float("nan"), "above 0 and at most 86400 s"),
        ("retry_timeout", -1, "0 to 86400 s"),
        ("retry_timeout", 86_401, "0 to 86400 s"),
        ("retry_timeout", None, "0 to 86400 s"),
    ],
)
def test_options_outside_their_range_are_refused_before_any_request(
    server: StandIn, api: Sync | Aio, option: str, value: Any, range: str
) -> None:
    read: list[str] = []

    def source() -> Iterator[v1.Document]:
        read.append(option)
        yield v1.Document(id="1")

    with pytest.raises(ValueError, match=f"^{option} must be {range}, not {value}$"):
        api.ingest(server.endpoint, source(), **{option: value})
    assert (read, server.streams) == ([], 0)


def test_options_at_the_ends_of_their_range(server: StandIn, api: Sync | Aio) -> None:
    totals = api.ingest(
        server.endpoint,
        documents(1),
        documents_per_request=1_000,
        bytes_per_request=(16 << 20) - (64 << 10),
        requests_in_flight=100,
        acknowledge_timeout=86_400,
        retry_timeout=0,
    )
    assert totals.documents == 1


def grouped(sizes: list[int], **options: int) -> list[int]:
    """The documents of each request."""
    state = Ingest(
        "c",
        skip_invalid=True,
        only_if_absent=False,
        acknowledge_timeout=1,
        retry_timeout=1,
        on_acknowledged=None,
        on_interrupted=None,
        **({"documents_per_request": 4, "bytes_per_request": 1000, "requests_in_flight": 100} | options),
    )
    for i, size in enumerate(sizes):
        state.add(v1.Document(id=str(i), text="x" * size))
    state.end()
    requests = [state.take() for _ in range(len(state._ready))]
    assert all(request.collection == "c" and request.skip_invalid for request in requests)
    assert [request.sequence for request in requests] == list(range(1, len(requests) + 1))
    assert [int(document.id) for request in requests for document in request.documents] == list(range(len(sizes)))
    assert all(request.ByteSize() <= 16 << 20 for request in requests)
    return [len(request.documents) for request in requests]


def test_requests_are_bounded_by_count_and_bytes() -> None:
    assert grouped([10] * 10) == [4, 4, 2]
    assert grouped([10, 2000, 10, 600, 600, 10]) == [1, 1, 2, 2]
    assert grouped([]) == []
    most = (16 << 20) - (64 << 10)
    assert grouped([8 << 20] * 3, bytes_per_request=most) == [1, 1, 1]
    assert grouped([most - 100], bytes_per_request=most) == [1]


def test_a_source_may_use_its_document_again(server: StandIn, api: Sync | Aio) -> None:
    def source() -> Iterator[v1.Document]:
        document = v1.Document()
        for i in range(100):
            document.id = str(i)
            yield document

    api.ingest(server.endpoint, source(), documents_per_request=30)
    assert server.stored == IDS


def test_an_asynchronous_source(server: StandIn) -> None:
    async def source() -> AsyncIterator[v1.Document]:
        for document in documents(100):
            await asyncio.sleep(0)
            yield document

    async def ingest() -> pgfox.IngestTotals:
        async with pgfox.aio.connect(server.endpoint) as client:
            return await pgfox.aio.ingest(client, "c", source(), documents_per_request=30)

    assert asyncio.run(ingest()).documents == 100
    assert server.stored == IDS


def test_a_cancelled_ingest_leaves_no_task(server: StandIn) -> None:
    server.gate.clear()

    async def ingest() -> int:
        async with pgfox.aio.connect(server.endpoint) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(pgfox.aio.ingest(client, "c", documents(100)), 0.3)
            return len(asyncio.all_tasks())

    assert asyncio.run(ingest()) == 1


INTERRUPTED = """
import sys, threading, pgfox
from pgfox import v1

client = pgfox.connect(sys.argv[1])
documents = (v1.Document(id=str(i)) for i in range(100))
print("started", flush=True)
try:
    if sys.argv[2] == "ingest":
        pgfox.ingest(client, "c", documents, documents_per_request=10)
    elif sys.argv[2] == "search":
        client.Search(v1.SearchRequest())
    else:
        list(client.IngestStream(iter([v1.IngestRequest(sequence=1)])))
except KeyboardInterrupt:
    left = [thread.name for thread in threading.enumerate() if "pgfox" in thread.name]
    print("interrupted", left, flush=True)
"""


@pytest.mark.parametrize("call", ["ingest", "search", "stream"])
def test_ctrl_c_ends_it_at_once(server: StandIn, call: str, tmp_path: Path) -> None:
    server.gate.clear()
    program = tmp_path / "program.py"
    program.write_text(INTERRUPTED)
    command = [sys.executable, str(program), server.endpoint, call]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "started\n"
            deadline = time.monotonic() + 10
            while not server.calls and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=5)
        finally:
            process.kill()
    assert (out, err, process.returncode) == ("interrupted []\n", "", 0)
