"""Errors: the reasons that google.rpc.ErrorInfo carries."""
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import Any as _Any, ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """Why a call failed. google.rpc.ErrorInfo carries the name without "ERROR_REASON_" as `reason`, and "pgfox" as
    `domain`.
    """
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    """Unspecified."""
    ERROR_REASON_INVALID_FIELD: _ClassVar[ErrorReason]
    """INVALID_ARGUMENT. Fields break rules. google.rpc.BadRequest names each field with its rule."""
    ERROR_REASON_DIMENSION_MISMATCH: _ClassVar[ErrorReason]
    """INVALID_ARGUMENT. A vector or a model does not have the dimensions of the collection. Metadata: "expected",
    "actual". google.rpc.BadRequest names each field.
    """
    ERROR_REASON_COLLECTION_NOT_FOUND: _ClassVar[ErrorReason]
    """NOT_FOUND. There is no collection with this name. Metadata: "collection"."""
    ERROR_REASON_DOCUMENT_NOT_FOUND: _ClassVar[ErrorReason]
    """NOT_FOUND. There is no document with this id. Metadata: "collection", "ids": the first few of them, separated by
    commas.
    """
    ERROR_REASON_INDEX_NOT_FOUND: _ClassVar[ErrorReason]
    """NOT_FOUND. The index does not exist. Metadata: "collection"."""
    ERROR_REASON_COLLECTION_EXISTS: _ClassVar[ErrorReason]
    """ALREADY_EXISTS. The name of the collection is taken. Metadata: "collection"."""
    ERROR_REASON_MODEL_UNAVAILABLE: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The server does not offer the model: no provider is configured, or it has no such local model.
    Metadata: "model".
    """
    ERROR_REASON_DOCUMENT_WITHOUT_VECTOR: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The document of a similarity search has no vector. Metadata: "collection", "id"."""
    ERROR_REASON_TOO_FEW_ROWS: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. An IVFFlat index would have fewer than 50 rows per list. Metadata: "rows", "lists"."""
    ERROR_REASON_INDEX_UNSUPPORTED: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. An index of this kind does not support the distance, the type or the dimensions of the
    collection.
    """
    ERROR_REASON_BUILD_RUNNING: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. An index with other parameters is being built. Metadata: "collection", "index"."""
    ERROR_REASON_BUILD_FAILED: _ClassVar[ErrorReason]
    """ABORTED. The build failed or was stopped. The message says why. Nothing of the index is left."""
    ERROR_REASON_EXTENSION_MISSING: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The database lacks the vector extension, or the extension is too old. The message says what to
    run.
    """
    ERROR_REASON_DATABASE_UNAVAILABLE: _ClassVar[ErrorReason]
    """UNAVAILABLE, with RetryInfo. The database cannot be reached or is restarting."""
    ERROR_REASON_DATABASE_BUSY: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, with RetryInfo. All database connections are in use and too many calls wait, the database is
    out of a resource, other writers kept changing the same documents, or another transaction holds a lock that a
    collection needs. Metadata: "collection" for such a lock.
    """
    ERROR_REASON_DATABASE_REFUSED: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The database role of the server lacks a privilege. The log names it. For the table of an attached
    collection the message has the statement that grants it, or that its owner runs instead.
    """
    ERROR_REASON_PROVIDER_UNAVAILABLE: _ClassVar[ErrorReason]
    """UNAVAILABLE, with RetryInfo. The embedding provider cannot be reached, fails, or answers with something other than
    embeddings.
    """
    ERROR_REASON_PROVIDER_RATE_LIMITED: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, with RetryInfo. The embedding provider limits the rate."""
    ERROR_REASON_PROVIDER_QUOTA_EXHAUSTED: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, without RetryInfo. The quota of the embedding provider is used up. Retrying does not help."""
    ERROR_REASON_PROVIDER_REFUSED: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The embedding provider refuses the key or the model."""
    ERROR_REASON_DEADLINE_EXCEEDED: _ClassVar[ErrorReason]
    """DEADLINE_EXCEEDED. The deadline of the call, or the server's maximum time for it, has passed."""
    ERROR_REASON_MESSAGE_TOO_LARGE: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, without RetryInfo. The request or the response is above the size limit, or the request needs
    more memory than all requests of its kind may use together.
    """
    ERROR_REASON_UNAUTHENTICATED: _ClassVar[ErrorReason]
    """UNAUTHENTICATED. The API key is missing or wrong."""
    ERROR_REASON_SHUTTING_DOWN: _ClassVar[ErrorReason]
    """UNAVAILABLE, with RetryInfo. The server is shutting down. Another server, or this one later, will answer."""
    ERROR_REASON_INTERNAL: _ClassVar[ErrorReason]
    """INTERNAL. A defect of pgfox. The server's log has the details. Metadata: "id", the id of the log line."""
    ERROR_REASON_COLLECTION_IN_USE: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. Objects in the database, such as a user's view, depend on the collection. Metadata:
    "collection".
    """
    ERROR_REASON_VERSION_MISMATCH: _ClassVar[ErrorReason]
    """ABORTED. A document is not at the version given in `IngestRequest.if_version`. Metadata: "collection", "ids": the
    first few of them, separated by commas.
    """
    ERROR_REASON_DATABASE_READ_ONLY: _ClassVar[ErrorReason]
    """UNAVAILABLE, with RetryInfo. The database is read-only now: it is a standby, or a primary that a standby is about
    to replace.
    """
    ERROR_REASON_QUERY_CANCELLED: _ClassVar[ErrorReason]
    """ABORTED. The query was cancelled in the database, by an administrator or another program."""
    ERROR_REASON_SCHEMA_MISSING: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The database lacks the schema of pgfox or a table of its registry. The message says what to
    do.
    """
    ERROR_REASON_COLLECTION_DAMAGED: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The database lacks a table, a column or another part of the collection. Metadata: "collection"."""
    ERROR_REASON_SERVER_BUSY: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, with RetryInfo. The maximum number of calls of this kind is already waiting."""
    ERROR_REASON_TOO_MANY_BYTES: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, with RetryInfo. Running requests use up the memory for requests, and this one did not get its
    share in time.
    """
    ERROR_REASON_TOO_MANY_DOCUMENTS: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, without RetryInfo. A filter selects more documents than one call may delete or change. Nothing
    was changed. Metadata: "collection", "limit".
    """
    ERROR_REASON_TEXT_REFUSED: _ClassVar[ErrorReason]
    """INVALID_ARGUMENT. The embedding provider refuses this text of a document or a query but accepts other texts.
    Usually the text is too long.
    """
    ERROR_REASON_HEADERS_TOO_LARGE: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, without RetryInfo. The headers of the call, which include its metadata, have more than 16 KiB,
    counted as names, values, and 32 bytes for each header. Metadata: "bytes", "limit".
    """
    ERROR_REASON_COLLECTION_ATTACHED: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The collection is attached to a table of your own, which does not allow this, or a constraint, a
    trigger or a policy of the table refuses a row. The message says why, or what to do instead. Metadata: "collection",
    "table".
    """
    ERROR_REASON_SOURCE_CHANGED: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The table that a collection is attached to, or one of its columns, is gone or has another type.
    The message names it. Metadata: "collection", "table".
    """
    ERROR_REASON_SOURCE_NOT_FOLLOWED: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The collection follows no table, so that there is nothing to pause, resume or retry. Metadata:
    "collection".
    """
ERROR_REASON_UNSPECIFIED: ErrorReason
"""Unspecified."""
ERROR_REASON_INVALID_FIELD: ErrorReason
"""INVALID_ARGUMENT. Fields break rules. google.rpc.BadRequest names each field with its rule."""
ERROR_REASON_DIMENSION_MISMATCH: ErrorReason
"""INVALID_ARGUMENT. A vector or a model does not have the dimensions of the collection. Metadata: "expected",
"actual". google.rpc.BadRequest names each field.
"""
ERROR_REASON_COLLECTION_NOT_FOUND: ErrorReason
"""NOT_FOUND. There is no collection with this name. Metadata: "collection"."""
ERROR_REASON_DOCUMENT_NOT_FOUND: ErrorReason
"""NOT_FOUND. There is no document with this id. Metadata: "collection", "ids": the first few of them, separated by
commas.
"""
ERROR_REASON_INDEX_NOT_FOUND: ErrorReason
"""NOT_FOUND. The index does not exist. Metadata: "collection"."""
ERROR_REASON_COLLECTION_EXISTS: ErrorReason
"""ALREADY_EXISTS. The name of the collection is taken. Metadata: "collection"."""
ERROR_REASON_MODEL_UNAVAILABLE: ErrorReason
"""FAILED_PRECONDITION. The server does not offer the model: no provider is configured, or it has no such local model.
Metadata: "model".
"""
ERROR_REASON_DOCUMENT_WITHOUT_VECTOR: ErrorReason
"""FAILED_PRECONDITION. The document of a similarity search has no vector. Metadata: "collection", "id"."""
ERROR_REASON_TOO_FEW_ROWS: ErrorReason
"""FAILED_PRECONDITION. An IVFFlat index would have fewer than 50 rows per list. Metadata: "rows", "lists"."""
ERROR_REASON_INDEX_UNSUPPORTED: ErrorReason
"""FAILED_PRECONDITION. An index of this kind does not support the distance, the type or the dimensions of the
collection.
"""
ERROR_REASON_BUILD_RUNNING: ErrorReason
"""FAILED_PRECONDITION. An index with other parameters is being built. Metadata: "collection", "index"."""
ERROR_REASON_BUILD_FAILED: ErrorReason
"""ABORTED. The build failed or was stopped. The message says why. Nothing of the index is left."""
ERROR_REASON_EXTENSION_MISSING: ErrorReason
"""FAILED_PRECONDITION. The database lacks the vector extension, or the extension is too old. The message says what to
run.
"""
ERROR_REASON_DATABASE_UNAVAILABLE: ErrorReason
"""UNAVAILABLE, with RetryInfo. The database cannot be reached or is restarting."""
ERROR_REASON_DATABASE_BUSY: ErrorReason
"""RESOURCE_EXHAUSTED, with RetryInfo. All database connections are in use and too many calls wait, the database is
out of a resource, other writers kept changing the same documents, or another transaction holds a lock that a
collection needs. Metadata: "collection" for such a lock.
"""
ERROR_REASON_DATABASE_REFUSED: ErrorReason
"""FAILED_PRECONDITION. The database role of the server lacks a privilege. The log names it. For the table of an attached
collection the message has the statement that grants it, or that its owner runs instead.
"""
ERROR_REASON_PROVIDER_UNAVAILABLE: ErrorReason
"""UNAVAILABLE, with RetryInfo. The embedding provider cannot be reached, fails, or answers with something other than
embeddings.
"""
ERROR_REASON_PROVIDER_RATE_LIMITED: ErrorReason
"""RESOURCE_EXHAUSTED, with RetryInfo. The embedding provider limits the rate."""
ERROR_REASON_PROVIDER_QUOTA_EXHAUSTED: ErrorReason
"""RESOURCE_EXHAUSTED, without RetryInfo. The quota of the embedding provider is used up. Retrying does not help."""
ERROR_REASON_PROVIDER_REFUSED: ErrorReason
"""FAILED_PRECONDITION. The embedding provider refuses the key or the model."""
ERROR_REASON_DEADLINE_EXCEEDED: ErrorReason
"""DEADLINE_EXCEEDED. The deadline of the call, or the server's maximum time for it, has passed."""
ERROR_REASON_MESSAGE_TOO_LARGE: ErrorReason
"""RESOURCE_EXHAUSTED, without RetryInfo. The request or the response is above the size limit, or the request needs
more memory than all requests of its kind may use together.
"""
ERROR_REASON_UNAUTHENTICATED: ErrorReason
"""UNAUTHENTICATED. The API key is missing or wrong."""
ERROR_REASON_SHUTTING_DOWN: ErrorReason
"""UNAVAILABLE, with RetryInfo. The server is shutting down. Another server, or this one later, will answer."""
ERROR_REASON_INTERNAL: ErrorReason
"""INTERNAL. A defect of pgfox. The server's log has the details. Metadata: "id", the id of the log line."""
ERROR_REASON_COLLECTION_IN_USE: ErrorReason
"""FAILED_PRECONDITION. Objects in the database, such as a user's view, depend on the collection. Metadata:
"collection".
"""
ERROR_REASON_VERSION_MISMATCH: ErrorReason
"""ABORTED. A document is not at the version given in `IngestRequest.if_version`. Metadata: "collection", "ids": the
first few of them, separated by commas.
"""
ERROR_REASON_DATABASE_READ_ONLY: ErrorReason
"""UNAVAILABLE, with RetryInfo. The database is read-only now: it is a standby, or a primary that a standby is about
to replace.
"""
ERROR_REASON_QUERY_CANCELLED: ErrorReason
"""ABORTED. The query was cancelled in the database, by an administrator or another program."""
ERROR_REASON_SCHEMA_MISSING: ErrorReason
"""FAILED_PRECONDITION. The database lacks the schema of pgfox or a table of its registry. The message says what to
do.
"""
ERROR_REASON_COLLECTION_DAMAGED: ErrorReason
"""FAILED_PRECONDITION. The database lacks a table, a column or another part of the collection. Metadata: "collection"."""
ERROR_REASON_SERVER_BUSY: ErrorReason
"""RESOURCE_EXHAUSTED, with RetryInfo. The maximum number of calls of this kind is already waiting."""
ERROR_REASON_TOO_MANY_BYTES: ErrorReason
"""RESOURCE_EXHAUSTED, with RetryInfo. Running requests use up the memory for requests, and this one did not get its
share in time.
"""
ERROR_REASON_TOO_MANY_DOCUMENTS: ErrorReason
"""RESOURCE_EXHAUSTED, without RetryInfo. A filter selects more documents than one call may delete or change. Nothing
was changed. Metadata: "collection", "limit".
"""
ERROR_REASON_TEXT_REFUSED: ErrorReason
"""INVALID_ARGUMENT. The embedding provider refuses this text of a document or a query but accepts other texts.
Usually the text is too long.
"""
ERROR_REASON_HEADERS_TOO_LARGE: ErrorReason
"""RESOURCE_EXHAUSTED, without RetryInfo. The headers of the call, which include its metadata, have more than 16 KiB,
counted as names, values, and 32 bytes for each header. Metadata: "bytes", "limit".
"""
ERROR_REASON_COLLECTION_ATTACHED: ErrorReason
"""FAILED_PRECONDITION. The collection is attached to a table of your own, which does not allow this, or a constraint, a
trigger or a policy of the table refuses a row. The message says why, or what to do instead. Metadata: "collection",
"table".
"""
ERROR_REASON_SOURCE_CHANGED: ErrorReason
"""FAILED_PRECONDITION. The table that a collection is attached to, or one of its columns, is gone or has another type.
The message names it. Metadata: "collection", "table".
"""
ERROR_REASON_SOURCE_NOT_FOLLOWED: ErrorReason
"""FAILED_PRECONDITION. The collection follows no table, so that there is nothing to pause, resume or retry. Metadata:
"collection".
"""
