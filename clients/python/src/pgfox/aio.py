"""pgfox for asyncio: `connect`, `ingest`, `list_all` and `list_collections` as in `pgfox`, over grpc.aio."""

from pgfox._aio_client import Client, connect
from pgfox._aio_pages import list_all, list_collections
from pgfox._aio_stream import ingest

__all__ = ["Client", "connect", "ingest", "list_all", "list_collections"]
