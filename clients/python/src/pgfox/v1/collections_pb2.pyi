from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Distance(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISTANCE_UNSPECIFIED: _ClassVar[Distance]
    DISTANCE_L2: _ClassVar[Distance]
    DISTANCE_COSINE: _ClassVar[Distance]
    DISTANCE_INNER_PRODUCT: _ClassVar[Distance]
    DISTANCE_L1: _ClassVar[Distance]

class VectorType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VECTOR_TYPE_UNSPECIFIED: _ClassVar[VectorType]
    VECTOR_TYPE_VECTOR: _ClassVar[VectorType]
    VECTOR_TYPE_HALFVEC: _ClassVar[VectorType]

class ChunkingMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHUNKING_METHOD_UNSPECIFIED: _ClassVar[ChunkingMethod]
    CHUNKING_METHOD_NONE: _ClassVar[ChunkingMethod]
    CHUNKING_METHOD_TEXT: _ClassVar[ChunkingMethod]
    CHUNKING_METHOD_MARKDOWN: _ClassVar[ChunkingMethod]

class ChunkUnit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHUNK_UNIT_UNSPECIFIED: _ClassVar[ChunkUnit]
    CHUNK_UNIT_CHARACTERS: _ClassVar[ChunkUnit]
    CHUNK_UNIT_TOKENS: _ClassVar[ChunkUnit]

class MetadataIndexType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METADATA_INDEX_TYPE_UNSPECIFIED: _ClassVar[MetadataIndexType]
    METADATA_INDEX_TYPE_GIN: _ClassVar[MetadataIndexType]
    METADATA_INDEX_TYPE_NUMBER: _ClassVar[MetadataIndexType]
    METADATA_INDEX_TYPE_STRING: _ClassVar[MetadataIndexType]
    METADATA_INDEX_TYPE_TIME: _ClassVar[MetadataIndexType]
DISTANCE_UNSPECIFIED: Distance
DISTANCE_L2: Distance
DISTANCE_COSINE: Distance
DISTANCE_INNER_PRODUCT: Distance
DISTANCE_L1: Distance
VECTOR_TYPE_UNSPECIFIED: VectorType
VECTOR_TYPE_VECTOR: VectorType
VECTOR_TYPE_HALFVEC: VectorType
CHUNKING_METHOD_UNSPECIFIED: ChunkingMethod
CHUNKING_METHOD_NONE: ChunkingMethod
CHUNKING_METHOD_TEXT: ChunkingMethod
CHUNKING_METHOD_MARKDOWN: ChunkingMethod
CHUNK_UNIT_UNSPECIFIED: ChunkUnit
CHUNK_UNIT_CHARACTERS: ChunkUnit
CHUNK_UNIT_TOKENS: ChunkUnit
METADATA_INDEX_TYPE_UNSPECIFIED: MetadataIndexType
METADATA_INDEX_TYPE_GIN: MetadataIndexType
METADATA_INDEX_TYPE_NUMBER: MetadataIndexType
METADATA_INDEX_TYPE_STRING: MetadataIndexType
METADATA_INDEX_TYPE_TIME: MetadataIndexType

class Embedding(_message.Message):
    __slots__ = ("model", "dimensions", "query_prefix", "document_prefix")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    QUERY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_PREFIX_FIELD_NUMBER: _ClassVar[int]
    model: str
    dimensions: int
    query_prefix: str
    document_prefix: str
    def __init__(self, model: _Optional[str] = ..., dimensions: _Optional[int] = ..., query_prefix: _Optional[str] = ..., document_prefix: _Optional[str] = ...) -> None: ...

class Chunking(_message.Message):
    __slots__ = ("method", "unit", "max_size", "overlap", "embed_headings")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    EMBED_HEADINGS_FIELD_NUMBER: _ClassVar[int]
    method: ChunkingMethod
    unit: ChunkUnit
    max_size: int
    overlap: int
    embed_headings: bool
    def __init__(self, method: _Optional[_Union[ChunkingMethod, str]] = ..., unit: _Optional[_Union[ChunkUnit, str]] = ..., max_size: _Optional[int] = ..., overlap: _Optional[int] = ..., embed_headings: bool = ...) -> None: ...

class MetadataIndex(_message.Message):
    __slots__ = ("field", "type")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    field: str
    type: MetadataIndexType
    def __init__(self, field: _Optional[str] = ..., type: _Optional[_Union[MetadataIndexType, str]] = ...) -> None: ...

class Collection(_message.Message):
    __slots__ = ("name", "embedding", "distance", "vector_type", "chunking", "text_search_language", "metadata_indexes", "aliases", "document_count", "create_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    VECTOR_TYPE_FIELD_NUMBER: _ClassVar[int]
    CHUNKING_FIELD_NUMBER: _ClassVar[int]
    TEXT_SEARCH_LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_INDEXES_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    embedding: Embedding
    distance: Distance
    vector_type: VectorType
    chunking: Chunking
    text_search_language: str
    metadata_indexes: _containers.RepeatedCompositeFieldContainer[MetadataIndex]
    aliases: _containers.RepeatedScalarFieldContainer[str]
    document_count: int
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., embedding: _Optional[_Union[Embedding, _Mapping]] = ..., distance: _Optional[_Union[Distance, str]] = ..., vector_type: _Optional[_Union[VectorType, str]] = ..., chunking: _Optional[_Union[Chunking, _Mapping]] = ..., text_search_language: _Optional[str] = ..., metadata_indexes: _Optional[_Iterable[_Union[MetadataIndex, _Mapping]]] = ..., aliases: _Optional[_Iterable[str]] = ..., document_count: _Optional[int] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateCollectionRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ...) -> None: ...

class CreateCollectionResponse(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ...) -> None: ...

class GetCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetCollectionResponse(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ...) -> None: ...

class ListCollectionsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCollectionsResponse(_message.Message):
    __slots__ = ("collections", "next_page_token")
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    collections: _containers.RepeatedCompositeFieldContainer[Collection]
    next_page_token: str
    def __init__(self, collections: _Optional[_Iterable[_Union[Collection, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateCollectionRequest(_message.Message):
    __slots__ = ("collection", "update_mask")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UpdateCollectionResponse(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ...) -> None: ...

class DeleteCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteCollectionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
