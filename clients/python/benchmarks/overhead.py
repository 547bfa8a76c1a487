"""What pgfox.connect costs: calls per second through it and through the raw generated stub, in turns, and their ratio.

usage: python benchmarks/overhead.py [SERVER]    (default 127.0.0.1:50051, no TLS, no keys)

It creates a collection, fills it with 10,000 vectors of 384 dimensions, and deletes it at the end.
"""

from __future__ import annotations

import asyncio
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median
from typing import Any

import grpc
import numpy as np
from google.protobuf.json_format import MessageToDict

import pgfox
from pgfox import v1
from pgfox.v1.pgfox_service_pb2_grpc import PgfoxServiceStub

COLLECTION = "python_overhead"
DIMENSIONS = 384
ROUNDS = 15
SEARCHES = 100
INGESTS = 4
DOCUMENTS = 200
METADATA = {"title": "The Matrix", "year": 1999, "genres": ["Action", "Sci-Fi"], "cut": {"minutes": 136, "seen": True}}

random = np.random.default_rng(1)


def vectors(count: int) -> list[v1.Vector]:
    return [pgfox.vector(row) for row in random.standard_normal((count, DIMENSIONS), dtype=np.float32)]


def searches() -> list[v1.SearchRequest]:
    return [v1.SearchRequest(collection=COLLECTION, vector=vector, limit=10) for vector in vectors(SEARCHES)]


def ingests() -> list[v1.IngestRequest]:
    """Requests that each write all of their documents."""
    return [
        v1.IngestRequest(
            collection=COLLECTION,
            documents=[v1.Document(id=f"bench-{i}", vector=vector) for i, vector in enumerate(vectors(DOCUMENTS))],
        )
        for _ in range(INGESTS)
    ]


class Rates:
    """Calls per second of both, and the time on the processor that a call takes in this process."""

    def __init__(self) -> None:
        self.rates: dict[str, list[float]] = {"raw": [], "pgfox": []}
        self.cpu: dict[str, list[float]] = {"raw": [], "pgfox": []}

    def turns(self) -> Iterator[str]:
        """Both in turns, each as often the first of a pair: the second may find the machine warmer."""
        for round in range(ROUNDS):
            yield from ("raw", "pgfox") if round % 2 else ("pgfox", "raw")

    @contextmanager
    def measured(self, kind: str, calls: int) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.rates[kind].append(calls / (time.perf_counter() - wall))
        self.cpu[kind].append((time.process_time() - cpu) / calls)

    def report(self, name: str) -> None:
        ratio = median(ours / raw for ours, raw in zip(self.rates["pgfox"], self.rates["raw"], strict=True))
        print(f"{name:28} ratio {ratio:.3f}", end="")
        for kind in ("raw", "pgfox"):
            print(f"   {kind} {median(self.rates[kind]):7.1f}/s, {median(self.cpu[kind]) * 1e6:5.0f} us", end="")
        print(flush=True)


def compare(name: str, requests: Callable[[], list[Any]], run: Callable[[str, list[Any]], object]) -> None:
    rates = Rates()
    for kind in rates.turns():
        some = requests()
        with rates.measured(kind, len(some)):
            run(kind, some)
    rates.report(name)


def main(server: str) -> None:
    client = pgfox.connect(server)
    stubs: dict[str, Any] = {"raw": PgfoxServiceStub(grpc.insecure_channel(server)), "pgfox": client}
    embedding = {"dimensions": DIMENSIONS}
    client.CreateCollection(v1.CreateCollectionRequest(collection={"name": COLLECTION, "embedding": embedding}))
    try:
        name = f"Ingest of {DOCUMENTS}, one by one"
        compare(name, ingests, lambda kind, some: [stubs[kind].Ingest(one) for one in some])
        documents = (v1.Document(id=str(i), vector=vector) for i, vector in enumerate(vectors(10_000)))
        pgfox.ingest(client, COLLECTION, documents)
        for _ in client.BuildIndex(v1.BuildIndexRequest(collection=COLLECTION)):
            pass
        threads = ThreadPoolExecutor(8)
        compare("Search, one by one", searches, lambda kind, some: [stubs[kind].Search(one) for one in some])
        compare("Search, 8 threads", searches, lambda kind, some: list(threads.map(stubs[kind].Search, some)))
        asyncio.run(main_aio(server))
    finally:
        client.DeleteCollection(v1.DeleteCollectionRequest(name=COLLECTION))
    compare_conversions()


def compare_conversions() -> None:
    """Prints how long one vector, and the metadata of one document, take there and back."""
    values = random.standard_normal(DIMENSIONS, dtype=np.float32)
    numbers = values.tolist()
    message = pgfox.vector(values)
    document = pgfox.document("a", metadata=METADATA)
    conversions: dict[str, Callable[[], object]] = {
        "v1.Vector(values=array)": lambda: v1.Vector(values=values),
        "v1.Vector(values=array.tolist())": lambda: v1.Vector(values=values.tolist()),
        "pgfox.vector(array)": lambda: pgfox.vector(values),
        "v1.Vector(values=list)": lambda: v1.Vector(values=numbers),
        "pgfox.vector(list)": lambda: pgfox.vector(numbers),
        "np.array(vector.values)": lambda: np.array(message.values, np.float32),
        "pgfox.array(vector)": lambda: pgfox.array(message),
        "v1.Document(metadata=dict)": lambda: v1.Document(id="a", metadata=METADATA),
        "pgfox.document(metadata=dict)": lambda: pgfox.document("a", metadata=METADATA),
        "MessageToDict(document.metadata)": lambda: MessageToDict(document.metadata),
        "pgfox.metadata(document)": lambda: pgfox.metadata(document),
    }
    for name, convert in conversions.items():
        print(f"{name:34} {min(timeit.repeat(convert, number=1000)) * 1000:8.2f} us")


async def main_aio(server: str) -> None:
    stubs: dict[str, Any] = {"raw": PgfoxServiceStub(grpc.aio.insecure_channel(server))}
    stubs["pgfox"] = pgfox.aio.connect(server)

    async def one_by_one(stub: Any, some: list[Any]) -> None:
        for one in some:
            await stub.Search(one)

    async def eight(stub: Any, some: list[Any]) -> None:
        await asyncio.gather(*(one_by_one(stub, some[i::8]) for i in range(8)))

    for name, run in (("asyncio, one by one", one_by_one), ("asyncio, 8 tasks", eight)):
        rates = Rates()
        for kind in rates.turns():
            some = searches()
            with rates.measured(kind, len(some)):
                await run(stubs[kind], some)
        rates.report(f"Search, {name}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
