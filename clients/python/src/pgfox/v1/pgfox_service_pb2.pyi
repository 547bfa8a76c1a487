"""pgfox: semantic search on PostgreSQL and pgvector.

Errors. Every error carries exactly one google.rpc.ErrorInfo. Its domain is "pgfox", and its reason is the name of an
ErrorReason without the prefix. INVALID_ARGUMENT adds a google.rpc.BadRequest that names all violations at once, or
as many of the first 100 as fit into the 8 KiB of headers that clients accept. A list with too many entries is
refused before the rest of the request is checked. An error that is worth retrying adds a google.rpc.RetryInfo.

Deadlines. A gRPC deadline is honoured: the call ends with DEADLINE_EXCEEDED, and its database query is cancelled.

Authentication. A server with API keys expects the metadata "authorization: Bearer <key>" in every call except
health.
"""
from pgfox.v1 import collections_pb2 as _collections_pb2
from pgfox.v1 import documents_pb2 as _documents_pb2
from pgfox.v1 import indexes_pb2 as _indexes_pb2
from pgfox.v1 import search_pb2 as _search_pb2
from google.protobuf import descriptor as _descriptor
from typing import Any as _Any, ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
