"""Errors: the reasons that google.rpc.ErrorInfo carries."""
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import Any as _Any, ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """Why a call failed. google.rpc.ErrorInfo carries the name without "ERROR_REASON_" as `reason` and "pgfox" as `domain`."""
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    """Not stated."""
    ERROR_REASON_INVALID_FIELD: _ClassVar[ErrorReason]
    """INVALID_ARGUMENT. Fields break rules. google.rpc.BadRequest names each field with its rule."""
    ERROR_REASON_DIMENSION_MISMATCH: _ClassVar[ErrorReason]
    """INVALID_ARGUMENT. A vector or a model has other dimensions than the collection. Metadata: "expected", "actual".
    google.rpc.BadRequest names each field.
    """
    ERROR_REASON_COLLECTION_NOT_FOUND: _ClassVar[ErrorReason]
    """NOT_FOUND. No collection of that name. Metadata: "collection"."""
    ERROR_REASON_DOCUMENT_NOT_FOUND: _ClassVar[ErrorReason]
    """NOT_FOUND. No document of that id. Metadata: "collection", "ids": the first few of them, separated by commas."""
    ERROR_REASON_INDEX_NOT_FOUND: _ClassVar[ErrorReason]
    """NOT_FOUND. No such index. Metadata: "collection"."""
    ERROR_REASON_COLLECTION_EXISTS: _ClassVar[ErrorReason]
    """ALREADY_EXISTS. The name of the collection is taken. Metadata: "collection"."""
    ERROR_REASON_MODEL_UNAVAILABLE: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The server does not offer the model: no provider is configured, or no such local model.
    Metadata: "model".
    """
    ERROR_REASON_DOCUMENT_WITHOUT_VECTOR: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The document of a similarity search has no vector. Metadata: "collection", "id"."""
    ERROR_REASON_TOO_FEW_ROWS: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. An IVFFlat index would have fewer than 50 rows per list. Metadata: "rows", "lists"."""
    ERROR_REASON_INDEX_UNSUPPORTED: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The distance, the type or the dimensions of the collection cannot have such an index."""
    ERROR_REASON_BUILD_RUNNING: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. An index with other parameters is being built. Metadata: "collection", "index"."""
    ERROR_REASON_BUILD_FAILED: _ClassVar[ErrorReason]
    """ABORTED. The build failed or was stopped; the message says why. No part of the index is left."""
    ERROR_REASON_EXTENSION_MISSING: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The database lacks the vector extension, or it is too old; the message says what to run."""
    ERROR_REASON_DATABASE_UNAVAILABLE: _ClassVar[ErrorReason]
    """UNAVAILABLE, with RetryInfo. The database cannot be reached or is restarting."""
    ERROR_REASON_DATABASE_BUSY: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, with RetryInfo. Every connection to the database is busy and too many calls wait, the database is
    out of a resource, others kept changing the same documents, or another transaction kept a lock that a collection needs.
    Metadata: "collection" for such a lock.
    """
    ERROR_REASON_DATABASE_REFUSED: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The role that the server uses lacks a privilege in the database; the log names it."""
    ERROR_REASON_PROVIDER_UNAVAILABLE: _ClassVar[ErrorReason]
    """UNAVAILABLE, with RetryInfo. The embedding provider cannot be reached, fails, or answers with something else than
    embeddings.
    """
    ERROR_REASON_PROVIDER_RATE_LIMITED: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, with RetryInfo. The embedding provider limits the rate."""
    ERROR_REASON_PROVIDER_QUOTA_EXHAUSTED: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, without RetryInfo. The quota of the embedding provider is used up; repeating does not help."""
    ERROR_REASON_PROVIDER_REFUSED: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The embedding provider refuses the key or the model."""
    ERROR_REASON_DEADLINE_EXCEEDED: _ClassVar[ErrorReason]
    """DEADLINE_EXCEEDED. The deadline of the call, or the longest time the server allows, is over."""
    ERROR_REASON_MESSAGE_TOO_LARGE: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, without RetryInfo. The request or the response is larger than the limit, or the request takes more
    memory than all requests of its kind may.
    """
    ERROR_REASON_UNAUTHENTICATED: _ClassVar[ErrorReason]
    """UNAUTHENTICATED. The API key is missing or wrong."""
    ERROR_REASON_SHUTTING_DOWN: _ClassVar[ErrorReason]
    """UNAVAILABLE, with RetryInfo. The server is shutting down; another one, or the same one later, answers."""
    ERROR_REASON_INTERNAL: _ClassVar[ErrorReason]
    """INTERNAL. A defect of pgfox; its log tells more. Metadata: "id", the id of the log line."""
    ERROR_REASON_COLLECTION_IN_USE: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. Objects of the database, such as a user's view, depend on the collection. Metadata:
    "collection".
    """
    ERROR_REASON_VERSION_MISMATCH: _ClassVar[ErrorReason]
    """ABORTED. A document has another version than `IngestRequest.if_version` says. Metadata: "collection", "ids": the first
    few of them, separated by commas.
    """
    ERROR_REASON_DATABASE_READ_ONLY: _ClassVar[ErrorReason]
    """UNAVAILABLE, with RetryInfo. The database is read-only now: a standby, or a primary that is about to be replaced by one."""
    ERROR_REASON_QUERY_CANCELLED: _ClassVar[ErrorReason]
    """ABORTED. The query was cancelled in the database, by an administrator or another program."""
    ERROR_REASON_SCHEMA_MISSING: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The database lacks the schema of pgfox or a table of its registry; the message says what to do."""
    ERROR_REASON_COLLECTION_DAMAGED: _ClassVar[ErrorReason]
    """FAILED_PRECONDITION. The database lacks a table, a column or another part of the collection. Metadata: "collection"."""
    ERROR_REASON_SERVER_BUSY: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, with RetryInfo. The server has as many calls of this kind waiting as it may."""
    ERROR_REASON_TOO_MANY_BYTES: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, with RetryInfo. The requests that the server works on use up the memory for requests; this one waited
    in vain for its part.
    """
    ERROR_REASON_TOO_MANY_DOCUMENTS: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, without RetryInfo. A filter selects more documents than one call may delete or change; none was.
    Metadata: "collection", "limit".
    """
    ERROR_REASON_TEXT_REFUSED: _ClassVar[ErrorReason]
    """INVALID_ARGUMENT. The embedding provider takes other texts but not this one of a document or a query, most often
    because it is too long.
    """
    ERROR_REASON_HEADERS_TOO_LARGE: _ClassVar[ErrorReason]
    """RESOURCE_EXHAUSTED, without RetryInfo. The headers of the call, its metadata, have more than 16 KiB: names, values, and
    32 bytes for each. Metadata: "bytes", "limit".
    """
ERROR_REASON_UNSPECIFIED: ErrorReason
"""Not stated."""
ERROR_REASON_INVALID_FIELD: ErrorReason
"""INVALID_ARGUMENT. Fields break rules. google.rpc.BadRequest names each field with its rule."""
ERROR_REASON_DIMENSION_MISMATCH: ErrorReason
"""INVALID_ARGUMENT. A vector or a model has other dimensions than the collection. Metadata: "expected", "actual".
google.rpc.BadRequest names each field.
"""
ERROR_REASON_COLLECTION_NOT_FOUND: ErrorReason
"""NOT_FOUND. No collection of that name. Metadata: "collection"."""
ERROR_REASON_DOCUMENT_NOT_FOUND: ErrorReason
"""NOT_FOUND. No document of that id. Metadata: "collection", "ids": the first few of them, separated by commas."""
ERROR_REASON_INDEX_NOT_FOUND: ErrorReason
"""NOT_FOUND. No such index. Metadata: "collection"."""
ERROR_REASON_COLLECTION_EXISTS: ErrorReason
"""ALREADY_EXISTS. The name of the collection is taken. Metadata: "collection"."""
ERROR_REASON_MODEL_UNAVAILABLE: ErrorReason
"""FAILED_PRECONDITION. The server does not offer the model: no provider is configured, or no such local model.
Metadata: "model".
"""
ERROR_REASON_DOCUMENT_WITHOUT_VECTOR: ErrorReason
"""FAILED_PRECONDITION. The document of a similarity search has no vector. Metadata: "collection", "id"."""
ERROR_REASON_TOO_FEW_ROWS: ErrorReason
"""FAILED_PRECONDITION. An IVFFlat index would have fewer than 50 rows per list. Metadata: "rows", "lists"."""
ERROR_REASON_INDEX_UNSUPPORTED: ErrorReason
"""FAILED_PRECONDITION. The distance, the type or the dimensions of the collection cannot have such an index."""
ERROR_REASON_BUILD_RUNNING: ErrorReason
"""FAILED_PRECONDITION. An index with other parameters is being built. Metadata: "collection", "index"."""
ERROR_REASON_BUILD_FAILED: ErrorReason
"""ABORTED. The build failed or was stopped; the message says why. No part of the index is left."""
ERROR_REASON_EXTENSION_MISSING: ErrorReason
"""FAILED_PRECONDITION. The database lacks the vector extension, or it is too old; the message says what to run."""
ERROR_REASON_DATABASE_UNAVAILABLE: ErrorReason
"""UNAVAILABLE, with RetryInfo. The database cannot be reached or is restarting."""
ERROR_REASON_DATABASE_BUSY: ErrorReason
"""RESOURCE_EXHAUSTED, with RetryInfo. Every connection to the database is busy and too many calls wait, the database is
out of a resource, others kept changing the same documents, or another transaction kept a lock that a collection needs.
Metadata: "collection" for such a lock.
"""
ERROR_REASON_DATABASE_REFUSED: ErrorReason
"""FAILED_PRECONDITION. The role that the server uses lacks a privilege in the database; the log names it."""
ERROR_REASON_PROVIDER_UNAVAILABLE: ErrorReason
"""UNAVAILABLE, with RetryInfo. The embedding provider cannot be reached, fails, or answers with something else than
embeddings.
"""
ERROR_REASON_PROVIDER_RATE_LIMITED: ErrorReason
"""RESOURCE_EXHAUSTED, with RetryInfo. The embedding provider limits the rate."""
ERROR_REASON_PROVIDER_QUOTA_EXHAUSTED: ErrorReason
"""RESOURCE_EXHAUSTED, without RetryInfo. The quota of the embedding provider is used up; repeating does not help."""
ERROR_REASON_PROVIDER_REFUSED: ErrorReason
"""FAILED_PRECONDITION. The embedding provider refuses the key or the model."""
ERROR_REASON_DEADLINE_EXCEEDED: ErrorReason
"""DEADLINE_EXCEEDED. The deadline of the call, or the longest time the server allows, is over."""
ERROR_REASON_MESSAGE_TOO_LARGE: ErrorReason
"""RESOURCE_EXHAUSTED, without RetryInfo. The request or the response is larger than the limit, or the request takes more
memory than all requests of its kind may.
"""
ERROR_REASON_UNAUTHENTICATED: ErrorReason
"""UNAUTHENTICATED. The API key is missing or wrong."""
ERROR_REASON_SHUTTING_DOWN: ErrorReason
"""UNAVAILABLE, with RetryInfo. The server is shutting down; another one, or the same one later, answers."""
ERROR_REASON_INTERNAL: ErrorReason
"""INTERNAL. A defect of pgfox; its log tells more. Metadata: "id", the id of the log line."""
ERROR_REASON_COLLECTION_IN_USE: ErrorReason
"""FAILED_PRECONDITION. Objects of the database, such as a user's view, depend on the collection. Metadata:
"collection".
"""
ERROR_REASON_VERSION_MISMATCH: ErrorReason
"""ABORTED. A document has another version than `IngestRequest.if_version` says. Metadata: "collection", "ids": the first
few of them, separated by commas.
"""
ERROR_REASON_DATABASE_READ_ONLY: ErrorReason
"""UNAVAILABLE, with RetryInfo. The database is read-only now: a standby, or a primary that is about to be replaced by one."""
ERROR_REASON_QUERY_CANCELLED: ErrorReason
"""ABORTED. The query was cancelled in the database, by an administrator or another program."""
ERROR_REASON_SCHEMA_MISSING: ErrorReason
"""FAILED_PRECONDITION. The database lacks the schema of pgfox or a table of its registry; the message says what to do."""
ERROR_REASON_COLLECTION_DAMAGED: ErrorReason
"""FAILED_PRECONDITION. The database lacks a table, a column or another part of the collection. Metadata: "collection"."""
ERROR_REASON_SERVER_BUSY: ErrorReason
"""RESOURCE_EXHAUSTED, with RetryInfo. The server has as many calls of this kind waiting as it may."""
ERROR_REASON_TOO_MANY_BYTES: ErrorReason
"""RESOURCE_EXHAUSTED, with RetryInfo. The requests that the server works on use up the memory for requests; this one waited
in vain for its part.
"""
ERROR_REASON_TOO_MANY_DOCUMENTS: ErrorReason
"""RESOURCE_EXHAUSTED, without RetryInfo. A filter selects more documents than one call may delete or change; none was.
Metadata: "collection", "limit".
"""
ERROR_REASON_TEXT_REFUSED: ErrorReason
"""INVALID_ARGUMENT. The embedding provider takes other texts but not this one of a document or a query, most often
because it is too long.
"""
ERROR_REASON_HEADERS_TOO_LARGE: ErrorReason
"""RESOURCE_EXHAUSTED, without RetryInfo. The headers of the call, its metadata, have more than 16 KiB: names, values, and
32 bytes for each. Metadata: "bytes", "limit".
"""
