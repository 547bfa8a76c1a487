"""The messages and enums of pgfox.v1, as the protos define them: `v1.SearchRequest`, `v1.DISTANCE_COSINE`, ..."""

from pgfox.v1.collections_pb2 import *
from pgfox.v1.documents_pb2 import *
from pgfox.v1.errors_pb2 import *
from pgfox.v1.filter_pb2 import *
from pgfox.v1.indexes_pb2 import *
from pgfox.v1.search_pb2 import *
