from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from pgfox.v1 import documents_pb2 as _documents_pb2
from pgfox.v1 import filter_pb2 as _filter_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SearchMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEARCH_MODE_UNSPECIFIED: _ClassVar[SearchMode]
    SEARCH_MODE_VECTOR: _ClassVar[SearchMode]
    SEARCH_MODE_FULL_TEXT: _ClassVar[SearchMode]
    SEARCH_MODE_HYBRID: _ClassVar[SearchMode]

class Completeness(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPLETENESS_UNSPECIFIED: _ClassVar[Completeness]
    COMPLETENESS_EXACT: _ClassVar[Completeness]
    COMPLETENESS_APPROXIMATE: _ClassVar[Completeness]
    COMPLETENESS_TRUNCATED: _ClassVar[Completeness]

class ShortReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SHORT_REASON_UNSPECIFIED: _ClassVar[ShortReason]
    SHORT_REASON_FEW_DOCUMENTS: _ClassVar[ShortReason]
    SHORT_REASON_OUT_OF_TIME: _ClassVar[ShortReason]
    SHORT_REASON_FEW_MATCHES: _ClassVar[ShortReason]
    SHORT_REASON_MAX_DISTANCE: _ClassVar[ShortReason]
SEARCH_MODE_UNSPECIFIED: SearchMode
SEARCH_MODE_VECTOR: SearchMode
SEARCH_MODE_FULL_TEXT: SearchMode
SEARCH_MODE_HYBRID: SearchMode
COMPLETENESS_UNSPECIFIED: Completeness
COMPLETENESS_EXACT: Completeness
COMPLETENESS_APPROXIMATE: Completeness
COMPLETENESS_TRUNCATED: Completeness
SHORT_REASON_UNSPECIFIED: ShortReason
SHORT_REASON_FEW_DOCUMENTS: ShortReason
SHORT_REASON_OUT_OF_TIME: ShortReason
SHORT_REASON_FEW_MATCHES: ShortReason
SHORT_REASON_MAX_DISTANCE: ShortReason

class SearchParams(_message.Message):
    __slots__ = ("exact", "ef_search", "probes")
    EXACT_FIELD_NUMBER: _ClassVar[int]
    EF_SEARCH_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    exact: bool
    ef_search: int
    probes: int
    def __init__(self, exact: bool = ..., ef_search: _Optional[int] = ..., probes: _Optional[int] = ...) -> None: ...

class Examples(_message.Message):
    __slots__ = ("positive_ids", "negative_ids")
    POSITIVE_IDS_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_IDS_FIELD_NUMBER: _ClassVar[int]
    positive_ids: _containers.RepeatedScalarFieldContainer[str]
    negative_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, positive_ids: _Optional[_Iterable[str]] = ..., negative_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Fusion(_message.Message):
    __slots__ = ("vector_weight", "full_text_weight", "rank_constant", "candidates")
    VECTOR_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    FULL_TEXT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    RANK_CONSTANT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    vector_weight: float
    full_text_weight: float
    rank_constant: int
    candidates: int
    def __init__(self, vector_weight: _Optional[float] = ..., full_text_weight: _Optional[float] = ..., rank_constant: _Optional[int] = ..., candidates: _Optional[int] = ...) -> None: ...

class Diversity(_message.Message):
    __slots__ = ("weight", "candidates")
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    weight: float
    candidates: int
    def __init__(self, weight: _Optional[float] = ..., candidates: _Optional[int] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("collection", "text", "vector", "document_id", "examples", "limit", "filter", "mode", "params", "max_distance", "include_vector", "include_full_text", "group_by_document", "explain", "read_mask", "fusion", "diversity", "full_text")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTOR_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FULL_TEXT_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    FUSION_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    FULL_TEXT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    text: str
    vector: _documents_pb2.Vector
    document_id: str
    examples: Examples
    limit: int
    filter: _filter_pb2.Filter
    mode: SearchMode
    params: SearchParams
    max_distance: float
    include_vector: bool
    include_full_text: bool
    group_by_document: bool
    explain: bool
    read_mask: _field_mask_pb2.FieldMask
    fusion: Fusion
    diversity: Diversity
    full_text: str
    def __init__(self, collection: _Optional[str] = ..., text: _Optional[str] = ..., vector: _Optional[_Union[_documents_pb2.Vector, _Mapping]] = ..., document_id: _Optional[str] = ..., examples: _Optional[_Union[Examples, _Mapping]] = ..., limit: _Optional[int] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., mode: _Optional[_Union[SearchMode, str]] = ..., params: _Optional[_Union[SearchParams, _Mapping]] = ..., max_distance: _Optional[float] = ..., include_vector: bool = ..., include_full_text: bool = ..., group_by_document: bool = ..., explain: bool = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., fusion: _Optional[_Union[Fusion, _Mapping]] = ..., diversity: _Optional[_Union[Diversity, _Mapping]] = ..., full_text: _Optional[str] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("ordinal", "text", "start", "end")
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ordinal: int
    text: str
    start: int
    end: int
    def __init__(self, ordinal: _Optional[int] = ..., text: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class SearchResult(_message.Message):
    __slots__ = ("document", "distance", "score", "chunk", "vector_rank", "full_text_rank")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    VECTOR_RANK_FIELD_NUMBER: _ClassVar[int]
    FULL_TEXT_RANK_FIELD_NUMBER: _ClassVar[int]
    document: _documents_pb2.Document
    distance: float
    score: float
    chunk: Chunk
    vector_rank: int
    full_text_rank: int
    def __init__(self, document: _Optional[_Union[_documents_pb2.Document, _Mapping]] = ..., distance: _Optional[float] = ..., score: _Optional[float] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., vector_rank: _Optional[int] = ..., full_text_rank: _Optional[int] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("plan_node", "index", "no_index_reason", "rows_scanned", "rows_filtered", "notes", "plan_json")
    PLAN_NODE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NO_INDEX_REASON_FIELD_NUMBER: _ClassVar[int]
    ROWS_SCANNED_FIELD_NUMBER: _ClassVar[int]
    ROWS_FILTERED_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    PLAN_JSON_FIELD_NUMBER: _ClassVar[int]
    plan_node: str
    index: str
    no_index_reason: str
    rows_scanned: int
    rows_filtered: int
    notes: _containers.RepeatedScalarFieldContainer[str]
    plan_json: str
    def __init__(self, plan_node: _Optional[str] = ..., index: _Optional[str] = ..., no_index_reason: _Optional[str] = ..., rows_scanned: _Optional[int] = ..., rows_filtered: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ..., plan_json: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("embed", "wait", "database")
    EMBED_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    embed: _duration_pb2.Duration
    wait: _duration_pb2.Duration
    database: _duration_pb2.Duration
    def __init__(self, embed: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., database: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("results", "completeness", "usage", "timing", "short_reason", "explanation", "notes")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    COMPLETENESS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    SHORT_REASON_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SearchResult]
    completeness: Completeness
    usage: _documents_pb2.Usage
    timing: Timing
    short_reason: ShortReason
    explanation: Explanation
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, results: _Optional[_Iterable[_Union[SearchResult, _Mapping]]] = ..., completeness: _Optional[_Union[Completeness, str]] = ..., usage: _Optional[_Union[_documents_pb2.Usage, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., short_reason: _Optional[_Union[ShortReason, str]] = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class SearchBatchRequest(_message.Message):
    __slots__ = ("collection", "searches")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SEARCHES_FIELD_NUMBER: _ClassVar[int]
    collection: str
    searches: _containers.RepeatedCompositeFieldContainer[SearchRequest]
    def __init__(self, collection: _Optional[str] = ..., searches: _Optional[_Iterable[_Union[SearchRequest, _Mapping]]] = ...) -> None: ...

class SearchBatchResponse(_message.Message):
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[SearchResponse]
    def __init__(self, responses: _Optional[_Iterable[_Union[SearchResponse, _Mapping]]] = ...) -> None: ...
