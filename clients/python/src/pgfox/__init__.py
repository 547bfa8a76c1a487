"""pgfox: semantic search on PostgreSQL and pgvector.

`connect` gives the generated stub with a deadline, the API key and retries; `pgfox.v1` has its messages. `pgfox.aio` is
the same for asyncio. `ingest` streams any number of documents into a collection.
"""

from pgfox import aio
from pgfox._client import Client, connect
from pgfox._errors import (
    AbortedError,
    AlreadyExistsError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PgfoxError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    Violation,
)
from pgfox._ingest import IngestTotals, SkippedDocument
from pgfox._stream import ingest
from pgfox._vectors import array, vector
from pgfox._version import __version__

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "Client",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "IngestTotals",
    "InvalidArgumentError",
    "NotFoundError",
    "PgfoxError",
    "ResourceExhaustedError",
    "SkippedDocument",
    "UnauthenticatedError",
    "UnavailableError",
    "Violation",
    "__version__",
    "aio",
    "array",
    "connect",
    "ingest",
    "vector",
]
