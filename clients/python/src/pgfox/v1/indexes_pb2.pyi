from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IndexPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INDEX_PHASE_UNSPECIFIED: _ClassVar[IndexPhase]
    INDEX_PHASE_QUEUED: _ClassVar[IndexPhase]
    INDEX_PHASE_WAITING: _ClassVar[IndexPhase]
    INDEX_PHASE_TRAINING: _ClassVar[IndexPhase]
    INDEX_PHASE_BUILDING: _ClassVar[IndexPhase]
    INDEX_PHASE_VALIDATING: _ClassVar[IndexPhase]
    INDEX_PHASE_FINISHING: _ClassVar[IndexPhase]
    INDEX_PHASE_READY: _ClassVar[IndexPhase]

class IndexState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INDEX_STATE_UNSPECIFIED: _ClassVar[IndexState]
    INDEX_STATE_BUILDING: _ClassVar[IndexState]
    INDEX_STATE_READY: _ClassVar[IndexState]
INDEX_PHASE_UNSPECIFIED: IndexPhase
INDEX_PHASE_QUEUED: IndexPhase
INDEX_PHASE_WAITING: IndexPhase
INDEX_PHASE_TRAINING: IndexPhase
INDEX_PHASE_BUILDING: IndexPhase
INDEX_PHASE_VALIDATING: IndexPhase
INDEX_PHASE_FINISHING: IndexPhase
INDEX_PHASE_READY: IndexPhase
INDEX_STATE_UNSPECIFIED: IndexState
INDEX_STATE_BUILDING: IndexState
INDEX_STATE_READY: IndexState

class Hnsw(_message.Message):
    __slots__ = ("m", "ef_construction")
    M_FIELD_NUMBER: _ClassVar[int]
    EF_CONSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    m: int
    ef_construction: int
    def __init__(self, m: _Optional[int] = ..., ef_construction: _Optional[int] = ...) -> None: ...

class IvfFlat(_message.Message):
    __slots__ = ("lists",)
    LISTS_FIELD_NUMBER: _ClassVar[int]
    lists: int
    def __init__(self, lists: _Optional[int] = ...) -> None: ...

class IndexSpec(_message.Message):
    __slots__ = ("hnsw", "ivf_flat", "allow_few_rows")
    HNSW_FIELD_NUMBER: _ClassVar[int]
    IVF_FLAT_FIELD_NUMBER: _ClassVar[int]
    ALLOW_FEW_ROWS_FIELD_NUMBER: _ClassVar[int]
    hnsw: Hnsw
    ivf_flat: IvfFlat
    allow_few_rows: bool
    def __init__(self, hnsw: _Optional[_Union[Hnsw, _Mapping]] = ..., ivf_flat: _Optional[_Union[IvfFlat, _Mapping]] = ..., allow_few_rows: bool = ...) -> None: ...

class BuildIndexRequest(_message.Message):
    __slots__ = ("collection", "spec", "rebuild")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REBUILD_FIELD_NUMBER: _ClassVar[int]
    collection: str
    spec: IndexSpec
    rebuild: bool
    def __init__(self, collection: _Optional[str] = ..., spec: _Optional[_Union[IndexSpec, _Mapping]] = ..., rebuild: bool = ...) -> None: ...

class BuildIndexResponse(_message.Message):
    __slots__ = ("phase", "fraction_done", "elapsed", "index", "warnings")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    FRACTION_DONE_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    phase: IndexPhase
    fraction_done: float
    elapsed: _duration_pb2.Duration
    index: Index
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, phase: _Optional[_Union[IndexPhase, str]] = ..., fraction_done: _Optional[float] = ..., elapsed: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., index: _Optional[_Union[Index, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Index(_message.Message):
    __slots__ = ("name", "spec", "state", "size_bytes", "scan_count", "create_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SCAN_COUNT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: IndexSpec
    state: IndexState
    size_bytes: int
    scan_count: int
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[IndexSpec, _Mapping]] = ..., state: _Optional[_Union[IndexState, str]] = ..., size_bytes: _Optional[int] = ..., scan_count: _Optional[int] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListIndexesRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class ListIndexesResponse(_message.Message):
    __slots__ = ("indexes",)
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    indexes: _containers.RepeatedCompositeFieldContainer[Index]
    def __init__(self, indexes: _Optional[_Iterable[_Union[Index, _Mapping]]] = ...) -> None: ...

class DropIndexRequest(_message.Message):
    __slots__ = ("collection", "name")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    collection: str
    name: str
    def __init__(self, collection: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class DropIndexResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
