"""pgfox: semantic search on PostgreSQL and pgvector.

`connect` returns the generated stub with a deadline, the API key and retries; `pgfox.v1` has its messages. `pgfox.aio`
is the same for asyncio. `ingest` streams any number of documents into a collection, and `list_all` returns them.
`document` and `metadata` turn plain values into messages and back, and `F` builds filters.
"""

from pgfox import aio
from pgfox._client import Client, connect
from pgfox._documents import document, metadata
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
from pgfox._filter import F, Where
from pgfox._ingest import IngestTotals, SkippedDocument
from pgfox._pages import list_all, list_collections
from pgfox._stream import ingest
from pgfox._tables import documents
from pgfox._values import plain, struct, value
from pgfox._vectors import array, vector
from pgfox._version import __version__

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "Client",
    "DeadlineExceededError",
    "F",
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
    "Where",
    "__version__",
    "aio",
    "array",
    "connect",
    "document",
    "documents",
    "ingest",
    "list_all",
    "list_collections",
    "metadata",
    "plain",
    "struct",
    "value",
    "vector",
]
