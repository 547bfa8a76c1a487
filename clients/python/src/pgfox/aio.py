"""pgfox for asyncio: `connect` and `ingest` as in `pgfox`, over grpc.aio."""

from pgfox._aio_client import Client, connect
from pgfox._aio_stream import ingest

__all__ = ["Client", "connect", "ingest"]
