from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from standin import StandIn

import pgfox
from pgfox import v1


@pytest.fixture
def server() -> Iterator[StandIn]:
    server = StandIn()  # type: ignore[abstract]
    yield server
    server.stop()


class Sync:
    """Calls through `pgfox.connect`."""

    def call(self, endpoint: str, method: str, request: Any, timeout: float | None = None, **connect: Any) -> Any:
        with pgfox.connect(endpoint, **connect) as client:
            return getattr(client, method)(request, timeout=timeout)

    def stream(self, endpoint: str, method: str, request: Any, **connect: Any) -> list[Any]:
        with pgfox.connect(endpoint, **connect) as client:
            return list(getattr(client, method)(request))

    def ingest(self, endpoint: str, documents: Iterable[v1.Document], **options: Any) -> pgfox.IngestTotals:
        with pgfox.connect(endpoint) as client:
            return pgfox.ingest(client, "c", documents, **options)


class Aio:
    """The same through `pgfox.aio.connect`."""

    def call(self, endpoint: str, method: str, request: Any, timeout: float | None = None, **connect: Any) -> Any:
        async def call() -> Any:
            async with pgfox.aio.connect(endpoint, **connect) as client:
                return await getattr(client, method)(request, timeout=timeout)

        return asyncio.run(call())

    def stream(self, endpoint: str, method: str, request: Any, **connect: Any) -> list[Any]:
        async def call() -> list[Any]:
            async with pgfox.aio.connect(endpoint, **connect) as client:
                return [message async for message in getattr(client, method)(request)]

        return asyncio.run(call())

    def ingest(self, endpoint: str, documents: Iterable[v1.Document], **options: Any) -> pgfox.IngestTotals:
        async def call() -> pgfox.IngestTotals:
            async with pgfox.aio.connect(endpoint) as client:
                return await pgfox.aio.ingest(client, "c", documents, **options)

        return asyncio.run(call())


@pytest.fixture(params=[Sync, Aio], ids=["sync", "aio"])
def api(request: pytest.FixtureRequest) -> Sync | Aio:
    api: Sync | Aio = request.param()
    return api


@pytest.fixture
def no_new_threads(server: StandIn) -> Iterator[None]:
    """Fails when the test leaves a thread behind, but for the stand-in's and the one that all of grpc.aio has."""
    before = set(threading.enumerate())
    yield
    others = ("ThreadPoolExecutor", "_poll_wrapper")
    deadline = time.monotonic() + 5
    while left := [t for t in set(threading.enumerate()) - before if not any(name in t.name for name in others)]:
        assert time.monotonic() < deadline, f"threads are left: {left}"
        time.sleep(0.02)
