"""Collections: what a set of documents has in common."""
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Distance(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """How near two vectors are. The value decides the operator and the operator class of the index."""
    __slots__ = ()
    DISTANCE_UNSPECIFIED: _ClassVar[Distance]
    """Not stated: DISTANCE_L2."""
    DISTANCE_L2: _ClassVar[Distance]
    """Euclidean distance, pgvector's `<->`. 0 or more, 0 is identical."""
    DISTANCE_COSINE: _ClassVar[Distance]
    """Cosine distance, pgvector's `<=>`: 1 - cosine similarity. 0 to 2, 0 is the same direction. Vectors of length zero
    have no direction and are refused.
    """
    DISTANCE_INNER_PRODUCT: _ClassVar[Distance]
    """Negative inner product, pgvector's `<#>`: smaller is nearer."""
    DISTANCE_L1: _ClassVar[Distance]
    """Taxicab distance, pgvector's `<+>`. 0 or more. HNSW only."""

class VectorType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """How the elements of vectors are stored."""
    __slots__ = ()
    VECTOR_TYPE_UNSPECIFIED: _ClassVar[VectorType]
    """Not stated: VECTOR_TYPE_VECTOR up to 2,000 dimensions, VECTOR_TYPE_HALFVEC above."""
    VECTOR_TYPE_VECTOR: _ClassVar[VectorType]
    """4-byte floats, pgvector's `vector`. Can be indexed up to 2,000 dimensions."""
    VECTOR_TYPE_HALFVEC: _ClassVar[VectorType]
    """2-byte floats, pgvector's `halfvec`: half the size, about three significant digits, values of at most 65,504. Can be
    indexed up to 4,000 dimensions.
    """

class ChunkingMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """Where a long text is split."""
    __slots__ = ()
    CHUNKING_METHOD_UNSPECIFIED: _ClassVar[ChunkingMethod]
    """Not stated: CHUNKING_METHOD_NONE."""
    CHUNKING_METHOD_NONE: _ClassVar[ChunkingMethod]
    """Nowhere: a document has one vector. Of a text longer than the model reads it stands for the beginning only, and
    `IngestResponse.truncated_count` tells.
    """
    CHUNKING_METHOD_TEXT: _ClassVar[ChunkingMethod]
    """Between paragraphs where that is possible, else between sentences, words or characters, so that every chunk is as
    large as it may be.
    """
    CHUNKING_METHOD_MARKDOWN: _ClassVar[ChunkingMethod]
    """The same for Markdown: between sections, blocks and list items first."""

class ChunkUnit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """What the size of a chunk is counted in."""
    __slots__ = ()
    CHUNK_UNIT_UNSPECIFIED: _ClassVar[ChunkUnit]
    """Not stated: CHUNK_UNIT_TOKENS where the tokens of the model can be counted, else CHUNK_UNIT_CHARACTERS."""
    CHUNK_UNIT_CHARACTERS: _ClassVar[ChunkUnit]
    """Unicode characters."""
    CHUNK_UNIT_TOKENS: _ClassVar[ChunkUnit]
    """Tokens of the model's own tokenizer, without those that the model adds. Of local models and of OpenAI's own."""

class MetadataIndexType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """What an index over metadata serves."""
    __slots__ = ()
    METADATA_INDEX_TYPE_UNSPECIFIED: _ClassVar[MetadataIndexType]
    """Not stated: METADATA_INDEX_TYPE_GIN."""
    METADATA_INDEX_TYPE_GIN: _ClassVar[MetadataIndexType]
    """All fields at once, a GIN index: `equals`, `one_of`, `contains_any` and `contains_all`."""
    METADATA_INDEX_TYPE_NUMBER: _ClassVar[MetadataIndexType]
    """The numbers of one field, a btree index: `less_than`, `at_most`, `greater_than` and `at_least`."""
    METADATA_INDEX_TYPE_STRING: _ClassVar[MetadataIndexType]
    """The strings of one field, a btree index: the same comparisons and `starts_with`."""
    METADATA_INDEX_TYPE_TIME: _ClassVar[MetadataIndexType]
    """The times of one field, a btree index: `before` and `since`."""
DISTANCE_UNSPECIFIED: Distance
"""Not stated: DISTANCE_L2."""
DISTANCE_L2: Distance
"""Euclidean distance, pgvector's `<->`. 0 or more, 0 is identical."""
DISTANCE_COSINE: Distance
"""Cosine distance, pgvector's `<=>`: 1 - cosine similarity. 0 to 2, 0 is the same direction. Vectors of length zero
have no direction and are refused.
"""
DISTANCE_INNER_PRODUCT: Distance
"""Negative inner product, pgvector's `<#>`: smaller is nearer."""
DISTANCE_L1: Distance
"""Taxicab distance, pgvector's `<+>`. 0 or more. HNSW only."""
VECTOR_TYPE_UNSPECIFIED: VectorType
"""Not stated: VECTOR_TYPE_VECTOR up to 2,000 dimensions, VECTOR_TYPE_HALFVEC above."""
VECTOR_TYPE_VECTOR: VectorType
"""4-byte floats, pgvector's `vector`. Can be indexed up to 2,000 dimensions."""
VECTOR_TYPE_HALFVEC: VectorType
"""2-byte floats, pgvector's `halfvec`: half the size, about three significant digits, values of at most 65,504. Can be
indexed up to 4,000 dimensions.
"""
CHUNKING_METHOD_UNSPECIFIED: ChunkingMethod
"""Not stated: CHUNKING_METHOD_NONE."""
CHUNKING_METHOD_NONE: ChunkingMethod
"""Nowhere: a document has one vector. Of a text longer than the model reads it stands for the beginning only, and
`IngestResponse.truncated_count` tells.
"""
CHUNKING_METHOD_TEXT: ChunkingMethod
"""Between paragraphs where that is possible, else between sentences, words or characters, so that every chunk is as
large as it may be.
"""
CHUNKING_METHOD_MARKDOWN: ChunkingMethod
"""The same for Markdown: between sections, blocks and list items first."""
CHUNK_UNIT_UNSPECIFIED: ChunkUnit
"""Not stated: CHUNK_UNIT_TOKENS where the tokens of the model can be counted, else CHUNK_UNIT_CHARACTERS."""
CHUNK_UNIT_CHARACTERS: ChunkUnit
"""Unicode characters."""
CHUNK_UNIT_TOKENS: ChunkUnit
"""Tokens of the model's own tokenizer, without those that the model adds. Of local models and of OpenAI's own."""
METADATA_INDEX_TYPE_UNSPECIFIED: MetadataIndexType
"""Not stated: METADATA_INDEX_TYPE_GIN."""
METADATA_INDEX_TYPE_GIN: MetadataIndexType
"""All fields at once, a GIN index: `equals`, `one_of`, `contains_any` and `contains_all`."""
METADATA_INDEX_TYPE_NUMBER: MetadataIndexType
"""The numbers of one field, a btree index: `less_than`, `at_most`, `greater_than` and `at_least`."""
METADATA_INDEX_TYPE_STRING: MetadataIndexType
"""The strings of one field, a btree index: the same comparisons and `starts_with`."""
METADATA_INDEX_TYPE_TIME: MetadataIndexType
"""The times of one field, a btree index: `before` and `since`."""

class Embedding(_message.Message):
    """Where the vectors of a collection come from."""
    __slots__ = ("model", "dimensions", "query_prefix", "document_prefix")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    QUERY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_PREFIX_FIELD_NUMBER: _ClassVar[int]
    model: str
    """The model that turns text into vectors: "openai/<model>", such as "openai/text-embedding-3-small", asks the
    OpenAI-compatible provider of the server; "local/<name>", such as "local/all-MiniLM-L6-v2", runs inside the server.
    Empty: callers send vectors, and `dimensions` is required.
    """
    dimensions: int
    """Elements per vector, 1 to 16,000. 0: as many as the model gives by itself. Some models, such as
    "openai/text-embedding-3-small", give fewer when asked; a number that the model does not give is INVALID_ARGUMENT.
    """
    query_prefix: str
    """Put before the text of every query, for models that want it, such as "query: " for E5. At most 1,000 bytes."""
    document_prefix: str
    """Put before the text of every document before it is embedded, such as "passage: " for E5. At most 1,000 bytes."""
    def __init__(self, model: _Optional[str] = ..., dimensions: _Optional[int] = ..., query_prefix: _Optional[str] = ..., document_prefix: _Optional[str] = ...) -> None: ...

class Chunking(_message.Message):
    """How a long text becomes chunks: passages that are embedded and found one by one. A text that is no larger than one chunk
    is not split, nor is one that comes with a vector of the caller's own. White space around chunks belongs to none, and 64
    characters of it and more divide a text whatever the method.
    """
    __slots__ = ("method", "unit", "max_size", "overlap", "embed_headings")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    EMBED_HEADINGS_FIELD_NUMBER: _ClassVar[int]
    method: ChunkingMethod
    """Where to split."""
    unit: ChunkUnit
    """What sizes are counted in."""
    max_size: int
    """A chunk has at most so many characters or tokens, with its headings if they are embedded. 0: 1,000 characters, or as
    many tokens as the model reads but at most 512. The least is 100 characters or 16 tokens. The maximum is what the model
    reads, with at most 8 characters per token, or 65,528 characters where the server does not know what the model reads.
    """
    overlap: int
    """Characters or tokens that a chunk repeats of the one before, at most; 0 to half of `max_size`. 0: none."""
    embed_headings: bool
    """Put the headings above a chunk before its text when it is embedded, as `Guide > Install` and an empty line, so that its
    vector knows what the passage is about. Only with CHUNKING_METHOD_MARKDOWN. The heading that a chunk begins with is not
    repeated. A quarter of `max_size` is for the headings: when they are longer, the outermost are left out first, and of a
    single one the end; three quarters are for the text. Positions and texts of chunks stay those of the document. When a
    heading changes, the chunks below it are embedded again. Absent: true for CHUNKING_METHOD_MARKDOWN in a new collection.
    """
    def __init__(self, method: _Optional[_Union[ChunkingMethod, str]] = ..., unit: _Optional[_Union[ChunkUnit, str]] = ..., max_size: _Optional[int] = ..., overlap: _Optional[int] = ..., embed_headings: bool = ...) -> None: ...

class MetadataIndex(_message.Message):
    """An index over metadata. Filters work without one; it makes those that match few documents fast."""
    __slots__ = ("field", "type")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    field: str
    """The field, written as in `Condition.field`. Empty with METADATA_INDEX_TYPE_GIN, else required."""
    type: MetadataIndexType
    """What it serves."""
    def __init__(self, field: _Optional[str] = ..., type: _Optional[_Union[MetadataIndexType, str]] = ...) -> None: ...

class Collection(_message.Message):
    """A set of documents that share an embedding and a distance."""
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
    """Unique name: a lower-case letter, then up to 62 lower-case letters, digits and underscores. Also the name of the
    view over the collection in the schema "pgfox".
    """
    embedding: Embedding
    """Where the vectors come from. Absent: the default model of the server. Cannot be changed."""
    distance: Distance
    """How near two vectors are. Cannot be changed."""
    vector_type: VectorType
    """How vectors are stored. Cannot be changed."""
    chunking: Chunking
    """How long texts are split. Absent: not at all, which is given back as CHUNKING_METHOD_NONE. Cannot be changed."""
    text_search_language: str
    """The text search configuration of Postgres that full-text search uses, such as "german" or "simple"; `\\dF` in psql
    lists them. Empty: "english". Cannot be changed.
    """
    metadata_indexes: _containers.RepeatedCompositeFieldContainer[MetadataIndex]
    """Indexes over metadata, at most 16. Empty when the collection is created: one of METADATA_INDEX_TYPE_GIN. Can be
    changed with UpdateCollection, also to none.
    """
    aliases: _containers.RepeatedScalarFieldContainer[str]
    """Other names of the collection, at most 16, written like names. Every request takes them in place of the name, but
    for DeleteCollection. Can be changed with UpdateCollection: an alias that another collection has moves here, in one
    transaction, so that callers see either the one collection or the other.
    """
    document_count: int
    """Output only. Documents stored: exact up to about 100,000, above that the estimate of Postgres, since counting
    millions of rows is slow.
    """
    create_time: _timestamp_pb2.Timestamp
    """Output only. When the collection was created."""
    def __init__(self, name: _Optional[str] = ..., embedding: _Optional[_Union[Embedding, _Mapping[str, _Any]]] = ..., distance: _Optional[_Union[Distance, str]] = ..., vector_type: _Optional[_Union[VectorType, str]] = ..., chunking: _Optional[_Union[Chunking, _Mapping[str, _Any]]] = ..., text_search_language: _Optional[str] = ..., metadata_indexes: _Optional[_Iterable[_Union[MetadataIndex, _Mapping[str, _Any]]]] = ..., aliases: _Optional[_Iterable[str]] = ..., document_count: _Optional[int] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ...) -> None: ...

class CreateCollectionRequest(_message.Message):
    """Request of CreateCollection."""
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    """The collection to create. `name` is required."""
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping[str, _Any]]] = ...) -> None: ...

class CreateCollectionResponse(_message.Message):
    """Response of CreateCollection."""
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    """The collection as created, with every default filled in."""
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping[str, _Any]]] = ...) -> None: ...

class GetCollectionRequest(_message.Message):
    """Request of GetCollection."""
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    """Name of the collection."""
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetCollectionResponse(_message.Message):
    """Response of GetCollection."""
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    """The collection."""
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping[str, _Any]]] = ...) -> None: ...

class ListCollectionsRequest(_message.Message):
    """Request of ListCollections."""
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    """How many collections to return at most, 0 to 1,000. 0: 100. A page ends before 4 MiB, which clients of gRPC receive
    by default.
    """
    page_token: str
    """`next_page_token` of the page before. Empty: the first page."""
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCollectionsResponse(_message.Message):
    """Response of ListCollections."""
    __slots__ = ("collections", "next_page_token")
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    collections: _containers.RepeatedCompositeFieldContainer[Collection]
    """Collections in the order of their names."""
    next_page_token: str
    """Send as `page_token` to get the next page. Empty: there is none."""
    def __init__(self, collections: _Optional[_Iterable[_Union[Collection, _Mapping[str, _Any]]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateCollectionRequest(_message.Message):
    """Request of UpdateCollection."""
    __slots__ = ("collection", "update_mask")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    """The collection: `name` tells which, the fields of `update_mask` what they shall be."""
    update_mask: _field_mask_pb2.FieldMask
    """What to change: "metadata_indexes", "aliases" or both. Required. An index that is added is built before the call
    returns, while searches and writes go on. The change of indexes belongs to the database, not to this call: it goes
    on when the client goes away, calling again with the same indexes waits for it, and other changes take their turn. An
    index that cannot be built is ABORTED, reason BUILD_FAILED, and leaves nothing.
    """
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping[str, _Any]]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping[str, _Any]]] = ...) -> None: ...

class UpdateCollectionResponse(_message.Message):
    """Response of UpdateCollection."""
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    """The collection as it is now."""
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping[str, _Any]]] = ...) -> None: ...

class DeleteCollectionRequest(_message.Message):
    """Request of DeleteCollection."""
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    """Name of the collection, not an alias."""
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteCollectionResponse(_message.Message):
    """Response of DeleteCollection."""
    __slots__ = ()
    def __init__(self) -> None: ...
