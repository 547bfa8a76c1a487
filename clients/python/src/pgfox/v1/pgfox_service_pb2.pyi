from pgfox.v1 import collections_pb2 as _collections_pb2
from pgfox.v1 import documents_pb2 as _documents_pb2
from pgfox.v1 import indexes_pb2 as _indexes_pb2
from pgfox.v1 import search_pb2 as _search_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
