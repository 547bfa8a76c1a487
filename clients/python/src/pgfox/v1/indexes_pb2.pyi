"""Indexes: vector indexes make approximate search fast."""
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IndexPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """The progress of a build."""
    __slots__ = ()
    INDEX_PHASE_UNSPECIFIED: _ClassVar[IndexPhase]
    """Unspecified."""
    INDEX_PHASE_QUEUED: _ClassVar[IndexPhase]
    """Recorded but not begun: other builds come first."""
    INDEX_PHASE_WAITING: _ClassVar[IndexPhase]
    """Waiting for transactions that began earlier."""
    INDEX_PHASE_TRAINING: _ClassVar[IndexPhase]
    """Learning the centres of an IVFFlat index."""
    INDEX_PHASE_BUILDING: _ClassVar[IndexPhase]
    """Reading rows into the index."""
    INDEX_PHASE_VALIDATING: _ClassVar[IndexPhase]
    """Adding the rows that were written meanwhile."""
    INDEX_PHASE_FINISHING: _ClassVar[IndexPhase]
    """Gathering statistics and dropping the replaced index."""
    INDEX_PHASE_READY: _ClassVar[IndexPhase]
    """Complete and in use."""

class IndexState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """State of an index."""
    __slots__ = ()
    INDEX_STATE_UNSPECIFIED: _ClassVar[IndexState]
    """Unspecified."""
    INDEX_STATE_BUILDING: _ClassVar[IndexState]
    """Being built; searches do not use it yet."""
    INDEX_STATE_READY: _ClassVar[IndexState]
    """Complete; searches use it."""
INDEX_PHASE_UNSPECIFIED: IndexPhase
"""Unspecified."""
INDEX_PHASE_QUEUED: IndexPhase
"""Recorded but not begun: other builds come first."""
INDEX_PHASE_WAITING: IndexPhase
"""Waiting for transactions that began earlier."""
INDEX_PHASE_TRAINING: IndexPhase
"""Learning the centres of an IVFFlat index."""
INDEX_PHASE_BUILDING: IndexPhase
"""Reading rows into the index."""
INDEX_PHASE_VALIDATING: IndexPhase
"""Adding the rows that were written meanwhile."""
INDEX_PHASE_FINISHING: IndexPhase
"""Gathering statistics and dropping the replaced index."""
INDEX_PHASE_READY: IndexPhase
"""Complete and in use."""
INDEX_STATE_UNSPECIFIED: IndexState
"""Unspecified."""
INDEX_STATE_BUILDING: IndexState
"""Being built; searches do not use it yet."""
INDEX_STATE_READY: IndexState
"""Complete; searches use it."""

class Hnsw(_message.Message):
    """Parameters of an HNSW index, a graph of neighbours. Compared with IVFFlat it is slower to build, has better recall at
    the same speed, and can be built before there is data.
    """
    __slots__ = ("m", "ef_construction")
    M_FIELD_NUMBER: _ClassVar[int]
    EF_CONSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    m: int
    """Links per element and layer, 2 to 100. 0: 16. A larger value improves recall, but makes the index larger and the
    build slower.
    """
    ef_construction: int
    """Candidates during the build, 4 to 1,000 and at least 2 * m. 0: 64. A larger value improves recall, but makes the
    build slower.
    """
    def __init__(self, m: _Optional[int] = ..., ef_construction: _Optional[int] = ...) -> None: ...

class IvfFlat(_message.Message):
    """Parameters of an IVFFlat index: vectors sorted into lists around centres. The build learns the centres from the rows,
    and they never move afterwards. Build it after loading the data, and again when much of the data has changed.
    """
    __slots__ = ("lists",)
    LISTS_FIELD_NUMBER: _ClassVar[int]
    lists: int
    """Number of lists, 1 to 32,768. 0: pgvector's recommendation, rows / 1,000 up to a million rows, the square root of
    the rows above that, at least 1.
    """
    def __init__(self, lists: _Optional[int] = ...) -> None: ...

class IndexSpec(_message.Message):
    """The index to build."""
    __slots__ = ("hnsw", "ivf_flat", "allow_few_rows")
    HNSW_FIELD_NUMBER: _ClassVar[int]
    IVF_FLAT_FIELD_NUMBER: _ClassVar[int]
    ALLOW_FEW_ROWS_FIELD_NUMBER: _ClassVar[int]
    hnsw: Hnsw
    """A graph of neighbours."""
    ivf_flat: IvfFlat
    """Lists around centres."""
    allow_few_rows: bool
    """Build an IVFFlat index even with fewer than 50 rows per list, although recall will be poor. False:
    FAILED_PRECONDITION.
    """
    def __init__(self, hnsw: _Optional[_Union[Hnsw, _Mapping[str, _Any]]] = ..., ivf_flat: _Optional[_Union[IvfFlat, _Mapping[str, _Any]]] = ..., allow_few_rows: bool = ...) -> None: ...

class BuildIndexRequest(_message.Message):
    """Request of BuildIndex."""
    __slots__ = ("collection", "spec", "rebuild")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REBUILD_FIELD_NUMBER: _ClassVar[int]
    collection: str
    """Name of the collection."""
    spec: IndexSpec
    """The index to build. Absent: HNSW with its defaults."""
    rebuild: bool
    """Build again even if a complete index with the same parameters exists. An IVFFlat index needs this when much of the
    data has changed. False: such an index is reported as ready at once.
    """
    def __init__(self, collection: _Optional[str] = ..., spec: _Optional[_Union[IndexSpec, _Mapping[str, _Any]]] = ..., rebuild: bool = ...) -> None: ...

class BuildIndexResponse(_message.Message):
    """Progress of BuildIndex, sent at least once a second. The last message has INDEX_PHASE_READY."""
    __slots__ = ("phase", "fraction_done", "elapsed", "index", "warnings")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    FRACTION_DONE_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    phase: IndexPhase
    """The current phase of the build."""
    fraction_done: float
    """The finished share of the whole build, 0 to 1. It never decreases during a build."""
    elapsed: _duration_pb2.Duration
    """Time since the build began, even if this call attached to it later."""
    index: Index
    """The index. Its size is known when it is ready."""
    warnings: _containers.RepeatedScalarFieldContainer[str]
    """Warnings, for example about too little memory for a fast build. Each text is sent once."""
    def __init__(self, phase: _Optional[_Union[IndexPhase, str]] = ..., fraction_done: _Optional[float] = ..., elapsed: _Optional[_Union[_duration_pb2.Duration, _Mapping[str, _Any]]] = ..., index: _Optional[_Union[Index, _Mapping[str, _Any]]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Index(_message.Message):
    """A vector index."""
    __slots__ = ("name", "spec", "state", "size_bytes", "scan_count", "create_time", "made_by_sql")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SCAN_COUNT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    MADE_BY_SQL_FIELD_NUMBER: _ClassVar[int]
    name: str
    """Its name in Postgres, unique in the database."""
    spec: IndexSpec
    """Its parameters, with every default filled in."""
    state: IndexState
    """Its state."""
    size_bytes: int
    """Its size on disk in bytes."""
    scan_count: int
    """Index scans since statistics began, as Postgres counts them."""
    create_time: _timestamp_pb2.Timestamp
    """When its build began. When pgfox found it, if it was made by SQL."""
    made_by_sql: bool
    """The index was made by SQL on the table of an attached collection. Searches use it and DropIndex does not drop it."""
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[IndexSpec, _Mapping[str, _Any]]] = ..., state: _Optional[_Union[IndexState, str]] = ..., size_bytes: _Optional[int] = ..., scan_count: _Optional[int] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., made_by_sql: bool = ...) -> None: ...

class ListIndexesRequest(_message.Message):
    """Request of ListIndexes."""
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    """Name of the collection."""
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class ListIndexesResponse(_message.Message):
    """Response of ListIndexes."""
    __slots__ = ("indexes",)
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    indexes: _containers.RepeatedCompositeFieldContainer[Index]
    """The complete index, if any, followed by the one that is being built, if any."""
    def __init__(self, indexes: _Optional[_Iterable[_Union[Index, _Mapping[str, _Any]]]] = ...) -> None: ...

class DropIndexRequest(_message.Message):
    """Request of DropIndex."""
    __slots__ = ("collection", "name")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    collection: str
    """Name of the collection."""
    name: str
    """Name of the index, as in `Index.name`. Empty: every index of the collection. NOT_FOUND if there is none."""
    def __init__(self, collection: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class DropIndexResponse(_message.Message):
    """Response of DropIndex."""
    __slots__ = ()
    def __init__(self) -> None: ...
