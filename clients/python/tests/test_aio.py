"""Calls of asyncio are coroutines: they work wherever a coroutine works."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
import pytest
from standin import Failure, StandIn

import pgfox
from pgfox import v1

SEARCH = v1.SearchRequest(collection="c", text="t")
T = TypeVar("T")


def run(server: StandIn, program: Callable[[pgfox.aio.Client], Awaitable[T]]) -> T:
    async def main() -> T:
        async with pgfox.aio.connect(server.endpoint) as client:
            result = await program(client)
            # A finished call leaves no task.
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return result

    return asyncio.run(main())


def ids(found: v1.SearchResponse) -> list[str]:
    return [result.document.id for result in found.results]


def test_a_call_is_a_coroutine(server: StandIn) -> None:
    async def program(client: pgfox.aio.Client) -> None:
        assert inspect.iscoroutinefunction(client.Search)
        assert "documents nearest" in (client.Search.__doc__ or "")
        call = client.Search(SEARCH)
        assert inspect.iscoroutine(call)
        # It starts when it is awaited.
        await asyncio.sleep(0.05)
        assert server.calls == []
        assert ids(await call) == ["found"]

    run(server, program)


def test_tasks(server: StandIn) -> None:
    async def program(client: pgfox.aio.Client) -> None:
        task = asyncio.create_task(client.Search(SEARCH))
        assert "Client.Search" in repr(task)
        assert ids(await task) == ["found"]
        assert len(await asyncio.gather(*(client.Search(SEARCH) for _ in range(5)))) == 5
        assert ids(await asyncio.wait_for(client.Search(SEARCH), 5)) == ["found"]
        done, _ = await asyncio.wait([asyncio.ensure_future(client.Search(SEARCH))])
        assert ids(done.pop().result()) == ["found"]
        loop = asyncio.get_running_loop()
        threadsafe = asyncio.run_coroutine_threadsafe(client.Search(SEARCH), loop)
        assert ids(await asyncio.wrap_future(threadsafe)) == ["found"]

    run(server, program)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup came with Python 3.11")
def test_a_task_group(server: StandIn) -> None:
    async def program(client: pgfox.aio.Client) -> None:
        if sys.version_info >= (3, 11):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(client.Search(SEARCH)) for _ in range(3)]
            assert [ids(task.result()) for task in tasks] == [["found"]] * 3
            server.failures.append(Failure(grpc.StatusCode.NOT_FOUND, reason="COLLECTION_NOT_FOUND"))
            with pytest.raises(BaseExceptionGroup) as failed:  # noqa: F821  # ruff looks at the oldest Python
                async with asyncio.TaskGroup() as group:
                    group.create_task(client.Search(SEARCH))
            assert isinstance(failed.value.exceptions[0], pgfox.NotFoundError)

    run(server, program)


@pytest.mark.parametrize("how", ["task", "wait_for"])
def test_a_cancel_reaches_the_server(server: StandIn, how: str) -> None:
    server.gate.clear()

    async def program(client: pgfox.aio.Client) -> None:
        if how == "wait_for":
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.Search(SEARCH), 0.5)
        else:
            task = asyncio.create_task(client.Search(SEARCH))
            await server.called()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.sleep(0.2)

    run(server, program)
    server.gate.set()
    assert server.cancelled.wait(10)
    assert server.calls == ["Search"]


def test_a_deadline_starts_when_the_call_does(server: StandIn) -> None:
    async def program(client: pgfox.aio.Client) -> None:
        late = client.Search(SEARCH, timeout=5)
        await asyncio.sleep(0.5)
        await late
        server.gate.clear()
        started = time.monotonic()
        with pytest.raises(pgfox.DeadlineExceededError):
            await client.Search(SEARCH, timeout=0.2)
        assert time.monotonic() - started < 3

    run(server, program)
    assert server.time_remaining[0] > 4.6


def test_the_call_of_grpc_is_at_hand(server: StandIn) -> None:
    async def program(client: pgfox.aio.Client) -> None:
        found, call = await client.Search.with_call(SEARCH)
        assert ids(found) == ["found"]
        assert await call.code() == grpc.StatusCode.OK
        assert await call.trailing_metadata() is not None

    run(server, program)


def test_headers_of_a_call_are_pairs_or_a_dict(server: StandIn) -> None:
    async def program(client: pgfox.aio.Client) -> None:
        await client.Search(SEARCH, metadata={"x-request-id": "a"})
        await client.Search(SEARCH, metadata=[("x-request-id", "b")])
        await client.Search(SEARCH, metadata=grpc.aio.Metadata(("x-request-id", "c")))

    run(server, program)
    with pgfox.connect(server.endpoint) as client:
        client.Search(SEARCH, metadata={"x-request-id": "d"})  # type: ignore[arg-type]  # the types are those of gRPC
    assert [metadata["x-request-id"] for metadata in server.metadata] == ["a", "b", "c", "d"]


def test_what_is_no_request_is_refused_by_name(server: StandIn) -> None:
    rule = r"Search takes a v1\.SearchRequest, not a dict"

    async def program(client: pgfox.aio.Client) -> None:
        with pytest.raises(TypeError, match=rule):
            await client.Search({"collection": "c"})  # type: ignore[arg-type]

    run(server, program)
    with pgfox.connect(server.endpoint) as client:
        with pytest.raises(TypeError, match=rule):
            client.Search({"collection": "c"})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"not a CountDocumentsRequest"):
            client.Search.future(v1.CountDocumentsRequest())  # type: ignore[arg-type]
        assert "documents nearest" in (client.Search.__doc__ or "")
        assert "index" in (client.BuildIndex.__doc__ or "")
    assert server.calls == []


def test_a_client_of_the_other_kind_is_refused(server: StandIn) -> None:
    async def program(client: pgfox.aio.Client) -> None:
        with pytest.raises(TypeError, match=r"<pgfox\.aio\.Client .*write await pgfox\.aio\.ingest"):
            pgfox.ingest(client, "c", [])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"pgfox\.aio\.list_all"):
            next(pgfox.list_all(client, "c"))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"pgfox\.aio\.list_collections"):
            next(pgfox.list_collections(client))  # type: ignore[arg-type]
        with pgfox.connect(server.endpoint) as other:
            with pytest.raises(TypeError, match=r"<pgfox\.Client .*write pgfox\.ingest"):
                await pgfox.aio.ingest(other, "c", [])  # type: ignore[arg-type]
            with pytest.raises(TypeError, match=r"pgfox\.list_all"):
                await anext(pgfox.aio.list_all(other, "c"))  # type: ignore[arg-type]
            with pytest.raises(TypeError, match=r"pgfox\.list_collections"):
                await anext(pgfox.aio.list_collections(other))  # type: ignore[arg-type]

    run(server, program)
    assert server.calls == []


@pytest.mark.parametrize("name", ["on_acknowledged", "on_interrupted"])
def test_a_callback_that_nobody_awaits_is_refused(server: StandIn, name: str) -> None:
    async def callback(*_: object) -> None:
        raise AssertionError

    async def program(client: pgfox.aio.Client) -> None:
        with pytest.raises(TypeError, match=f"{name} is called and not awaited"):
            await pgfox.aio.ingest(client, "c", [v1.Document(id="a")], **{name: callback})  # type: ignore[arg-type]

    run(server, program)
    assert server.stored == []
