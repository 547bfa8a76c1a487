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
    """The distance between two vectors. It decides the operator and the operator class of the index."""
    __slots__ = ()
    DISTANCE_UNSPECIFIED: _ClassVar[Distance]
    """Unspecified: means DISTANCE_L2."""
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
    """Unspecified: means VECTOR_TYPE_VECTOR up to 2,000 dimensions, VECTOR_TYPE_HALFVEC above."""
    VECTOR_TYPE_VECTOR: _ClassVar[VectorType]
    """4-byte floats, pgvector's `vector`. Can be indexed up to 2,000 dimensions."""
    VECTOR_TYPE_HALFVEC: _ClassVar[VectorType]
    """2-byte floats, pgvector's `halfvec`: half the size, about three significant digits, values of at most 65,504. Can be
    indexed up to 4,000 dimensions.
    """

class ChunkingMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """How to split a long text."""
    __slots__ = ()
    CHUNKING_METHOD_UNSPECIFIED: _ClassVar[ChunkingMethod]
    """Unspecified: means CHUNKING_METHOD_NONE."""
    CHUNKING_METHOD_NONE: _ClassVar[ChunkingMethod]
    """Texts are not split: a document has one vector. If the text is longer than the model reads, the vector covers only
    its beginning, and `IngestResponse.truncated_count` counts the document.
    """
    CHUNKING_METHOD_TEXT: _ClassVar[ChunkingMethod]
    """Between paragraphs if possible, else between sentences, words or characters. Each chunk is as large as `max_size`
    allows.
    """
    CHUNKING_METHOD_MARKDOWN: _ClassVar[ChunkingMethod]
    """The same for Markdown: between sections, blocks and list items first."""

class ChunkUnit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """The unit of the size of a chunk."""
    __slots__ = ()
    CHUNK_UNIT_UNSPECIFIED: _ClassVar[ChunkUnit]
    """Unspecified: means CHUNK_UNIT_TOKENS if the server can count the tokens of the model, else CHUNK_UNIT_CHARACTERS."""
    CHUNK_UNIT_CHARACTERS: _ClassVar[ChunkUnit]
    """Unicode characters."""
    CHUNK_UNIT_TOKENS: _ClassVar[ChunkUnit]
    """Tokens of the model's own tokenizer, without those that the model adds. Only for local models and OpenAI's own
    models.
    """

class MetadataIndexType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """The filters that an index over metadata serves."""
    __slots__ = ()
    METADATA_INDEX_TYPE_UNSPECIFIED: _ClassVar[MetadataIndexType]
    """Unspecified: means METADATA_INDEX_TYPE_GIN."""
    METADATA_INDEX_TYPE_GIN: _ClassVar[MetadataIndexType]
    """All fields at once, a GIN index: `equals`, `one_of`, `contains_any` and `contains_all`."""
    METADATA_INDEX_TYPE_NUMBER: _ClassVar[MetadataIndexType]
    """The numbers of one field, a btree index: `less_than`, `at_most`, `greater_than` and `at_least`."""
    METADATA_INDEX_TYPE_STRING: _ClassVar[MetadataIndexType]
    """The strings of one field, a btree index: the same comparisons and `starts_with`."""
    METADATA_INDEX_TYPE_TIME: _ClassVar[MetadataIndexType]
    """The times of one field, a btree index: `before` and `since`."""
    METADATA_INDEX_TYPE_BOOLEAN: _ClassVar[MetadataIndexType]
    """The booleans of one field, a btree index: `equals`."""
    METADATA_INDEX_TYPE_STRING_LIST: _ClassVar[MetadataIndexType]
    """The strings in the list of one field, a GIN index: `contains_any` and `contains_all`, and `equals` and `one_of` of its
    elements (`genres[]`).
    """
DISTANCE_UNSPECIFIED: Distance
"""Unspecified: means DISTANCE_L2."""
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
"""Unspecified: means VECTOR_TYPE_VECTOR up to 2,000 dimensions, VECTOR_TYPE_HALFVEC above."""
VECTOR_TYPE_VECTOR: VectorType
"""4-byte floats, pgvector's `vector`. Can be indexed up to 2,000 dimensions."""
VECTOR_TYPE_HALFVEC: VectorType
"""2-byte floats, pgvector's `halfvec`: half the size, about three significant digits, values of at most 65,504. Can be
indexed up to 4,000 dimensions.
"""
CHUNKING_METHOD_UNSPECIFIED: ChunkingMethod
"""Unspecified: means CHUNKING_METHOD_NONE."""
CHUNKING_METHOD_NONE: ChunkingMethod
"""Texts are not split: a document has one vector. If the text is longer than the model reads, the vector covers only
its beginning, and `IngestResponse.truncated_count` counts the document.
"""
CHUNKING_METHOD_TEXT: ChunkingMethod
"""Between paragraphs if possible, else between sentences, words or characters. Each chunk is as large as `max_size`
allows.
"""
CHUNKING_METHOD_MARKDOWN: ChunkingMethod
"""The same for Markdown: between sections, blocks and list items first."""
CHUNK_UNIT_UNSPECIFIED: ChunkUnit
"""Unspecified: means CHUNK_UNIT_TOKENS if the server can count the tokens of the model, else CHUNK_UNIT_CHARACTERS."""
CHUNK_UNIT_CHARACTERS: ChunkUnit
"""Unicode characters."""
CHUNK_UNIT_TOKENS: ChunkUnit
"""Tokens of the model's own tokenizer, without those that the model adds. Only for local models and OpenAI's own
models.
"""
METADATA_INDEX_TYPE_UNSPECIFIED: MetadataIndexType
"""Unspecified: means METADATA_INDEX_TYPE_GIN."""
METADATA_INDEX_TYPE_GIN: MetadataIndexType
"""All fields at once, a GIN index: `equals`, `one_of`, `contains_any` and `contains_all`."""
METADATA_INDEX_TYPE_NUMBER: MetadataIndexType
"""The numbers of one field, a btree index: `less_than`, `at_most`, `greater_than` and `at_least`."""
METADATA_INDEX_TYPE_STRING: MetadataIndexType
"""The strings of one field, a btree index: the same comparisons and `starts_with`."""
METADATA_INDEX_TYPE_TIME: MetadataIndexType
"""The times of one field, a btree index: `before` and `since`."""
METADATA_INDEX_TYPE_BOOLEAN: MetadataIndexType
"""The booleans of one field, a btree index: `equals`."""
METADATA_INDEX_TYPE_STRING_LIST: MetadataIndexType
"""The strings in the list of one field, a GIN index: `contains_any` and `contains_all`, and `equals` and `one_of` of its
elements (`genres[]`).
"""

class Embedding(_message.Message):
    """The source of the vectors of a collection."""
    __slots__ = ("model", "dimensions", "query_prefix", "document_prefix")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    QUERY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_PREFIX_FIELD_NUMBER: _ClassVar[int]
    model: str
    """The model that turns text into vectors. "openai/<model>", such as "openai/text-embedding-3-small", asks the
    OpenAI-compatible provider of the server. "local/<name>", such as "local/all-MiniLM-L6-v2", runs inside the server.
    Empty: callers send vectors, and `dimensions` is required.
    """
    dimensions: int
    """Elements per vector, 1 to 16,000. 0: the default of the model. Some models, such as
    "openai/text-embedding-3-small", can return fewer. INVALID_ARGUMENT if the model cannot return this number.
    """
    query_prefix: str
    """Prefix for the text of every query, for models that need one, such as "query: " for E5. At most 1,000 bytes."""
    document_prefix: str
    """Prefix for the text of every document before it is embedded, such as "passage: " for E5. At most 1,000 bytes."""
    def __init__(self, model: _Optional[str] = ..., dimensions: _Optional[int] = ..., query_prefix: _Optional[str] = ..., document_prefix: _Optional[str] = ...) -> None: ...

class Chunking(_message.Message):
    """How a long text becomes chunks: passages that are embedded and found one by one. pgfox does not split a text that
    fits into one chunk, or a document with the caller's own vector. White space around chunks belongs to no chunk. A run
    of at least 64 white space characters divides a text, whatever the method.
    """
    __slots__ = ("method", "unit", "max_size", "overlap", "embed_headings")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    EMBED_HEADINGS_FIELD_NUMBER: _ClassVar[int]
    method: ChunkingMethod
    """How to split."""
    unit: ChunkUnit
    """The unit of sizes."""
    max_size: int
    """Maximum number of characters or tokens of a chunk, including its headings if they are embedded. 0: 1,000
    characters, or as many tokens as the model reads, but at most 512. The minimum is 100 characters or 16 tokens. The
    maximum is what the model reads, counting 8 characters per token. If the server does not know what the model reads,
    the maximum is 65,528 characters.
    """
    overlap: int
    """Maximum number of characters or tokens that a chunk repeats of the previous one, 0 to half of `max_size`. 0: none."""
    embed_headings: bool
    """Embed the headings above a chunk together with it, as `Guide > Install` and an empty line before its text, so that
    the vector reflects the topic of the passage. Only with CHUNKING_METHOD_MARKDOWN. If a chunk begins with a heading,
    that heading is not repeated. A quarter of `max_size` is for the headings, and three quarters are for the text. If
    the headings are too long, the outermost ones are left out first, and a single heading is cut at its end. Positions
    and texts of chunks do not include the headings. If a heading changes, the chunks below it are embedded again.
    Absent: true for CHUNKING_METHOD_MARKDOWN in a new collection.
    """
    def __init__(self, method: _Optional[_Union[ChunkingMethod, str]] = ..., unit: _Optional[_Union[ChunkUnit, str]] = ..., max_size: _Optional[int] = ..., overlap: _Optional[int] = ..., embed_headings: bool = ...) -> None: ...

class MetadataIndex(_message.Message):
    """An index over metadata. Filters work without one. An index makes filters fast that match few documents."""
    __slots__ = ("field", "type")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    field: str
    """The field, written as in `Condition.field`. Empty with METADATA_INDEX_TYPE_GIN, else required."""
    type: MetadataIndexType
    """The filters that it serves."""
    def __init__(self, field: _Optional[str] = ..., type: _Optional[_Union[MetadataIndexType, str]] = ...) -> None: ...

class FullText(_message.Message):
    """How full-text search splits and ranks texts.

    The score of a document is BM25 (Robertson and Zaragoza, 2009). It is the sum over the words of the query of qtf *
    ln(1 + (N - df + 0.5) / (df + 0.5)) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average length)). qtf is how
    often the query has the word, and tf is how often the document has it. N is the number of documents, and df is the
    number of documents that have the word. Lengths are in words. N, df and the average length are those of the whole
    collection, even with a filter.

    In collections above 5,000 chunks they are statistics. If statistics are missing, or the number of chunks has changed
    by more than a fifth, a search by words gathers them in the background and says so in `SearchResponse.notes`. Words
    that the statistics do not have are counted. In a collection with chunking each chunk counts as a document.
    """
    __slots__ = ("language", "k1", "b", "progress")
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    K1_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    language: str
    """The language of the texts, which decides about stems and stop words. "english", "german" and the other languages of
    Snowball; "simple": neither stems nor stop words; "auto": the server detects the language of each document. Or the
    name of a text search configuration that the database has beside Postgres's own (`\\dF` in psql lists them).
    Postgres itself then splits texts by it. Empty: "english". Cannot be changed.
    """
    k1: float
    """How much repetitions of a word count, 0 to 10. Absent: 1.2. Can be changed with UpdateCollection."""
    b: float
    """How much the length of a text counts, 0 to 1. Absent: 0.75. Can be changed with UpdateCollection."""
    progress: float
    """Output only. The share of the texts whose words are made by this version of pgfox, 0 to 1. It is below 1 after an
    update of pgfox, while the server makes the other words again in the background. Searches find both meanwhile.
    """
    def __init__(self, language: _Optional[str] = ..., k1: _Optional[float] = ..., b: _Optional[float] = ..., progress: _Optional[float] = ...) -> None: ...

class Follow(_message.Message):
    """How a collection learns of changes of its source. pgfox then keeps documents of its own in step with the rows: it embeds
    their texts in the background, so that all modes of search, chunking, metadata indexes and codes work, and the table
    needs no vectors. A row can be found within seconds of its commit. Only changed texts are embedded again.

    Ingest, UpdateMetadata and DeleteDocuments are FAILED_PRECONDITION, reason COLLECTION_ATTACHED: write to the table by SQL.
    A row that cannot be a document, for example because its text is too long, is not retried; SourceStatus names it.
    """
    __slots__ = ("triggers", "updated_at_column")
    TRIGGERS_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_COLUMN_FIELD_NUMBER: _ClassVar[int]
    triggers: bool
    """By triggers on the table, and on its partitions. They append the ids of changed rows to a table of pgfox and do nothing
    else. The role needs TRIGGER on the table. Triggers do not fire for rows that logical replication applies, and where
    session_replication_role is `replica`: a comparison of all rows finds those, once a day by default
    (`--follow-compare-every`). True if `updated_at_column` is empty.
    """
    updated_at_column: str
    """Where triggers cannot be made: a column of the type timestamptz that every change sets to now(). The server reads the
    changed rows every few seconds, so the column needs an index. Only the comparison of all rows finds deleted rows, and
    rows of transactions that take longer than 10 minutes. Use either this or `triggers`.
    """
    def __init__(self, triggers: bool = ..., updated_at_column: _Optional[str] = ...) -> None: ...

class SourceStatus(_message.Message):
    """How far a collection has followed its source."""
    __slots__ = ("pending_count", "failed_count", "oldest_pending_time", "last_error", "rows_per_second", "paused", "compare_progress", "failures")
    PENDING_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    OLDEST_PENDING_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    ROWS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    COMPARE_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    pending_count: int
    """Rows that changed and are not stored yet. At most 1,000,000 are counted."""
    failed_count: int
    """Rows that cannot be documents. They are tried again when they change, and after RetryFailed."""
    oldest_pending_time: _timestamp_pb2.Timestamp
    """When the oldest of the pending changes was made. Absent: none is pending."""
    last_error: str
    """Why nothing is stored at the moment, for example because the provider of the model or the table cannot be read. Empty:
    all is well.
    """
    rows_per_second: float
    """Rows per second that were stored or deleted, over the last minute."""
    paused: bool
    """PauseSource was called."""
    compare_progress: float
    """How much of the table has been read, 0 to 1, while all of its rows are compared: after attaching, after TRUNCATE, and
    from time to time. Absent: no comparison is running.
    """
    failures: _containers.RepeatedCompositeFieldContainer[SourceFailure]
    """The first of the rows that cannot be documents, at most 10, in the order of their ids."""
    def __init__(self, pending_count: _Optional[int] = ..., failed_count: _Optional[int] = ..., oldest_pending_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., last_error: _Optional[str] = ..., rows_per_second: _Optional[float] = ..., paused: bool = ..., compare_progress: _Optional[float] = ..., failures: _Optional[_Iterable[_Union[SourceFailure, _Mapping[str, _Any]]]] = ...) -> None: ...

class SourceFailure(_message.Message):
    """A row that cannot be a document."""
    __slots__ = ("id", "message")
    ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    """The id of the document."""
    message: str
    """What is wrong with it."""
    def __init__(self, id: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Source(_message.Message):
    """An existing table that a collection serves as it is. Nothing is copied: a search reads the current rows of the table,
    and programs continue to write to it by SQL. pgfox never alters the table.

    The id of a document is the key of its row as text, such as "7". If the key has several columns, the id is a JSON
    array of them, such as `[7, "en"]`. A row without a vector, or with a vector of other dimensions, is a document that
    no search finds. Row-level security of the table applies to the role that the server connects as.

    Ingest, UpdateMetadata and DeleteDocuments change rows. Ingest needs a source with one text column of the type text or
    varchar. Fields of metadata are columns, and must fit their types. A column that the metadata do not name keeps its
    value, or gets its default in a new row. If a constraint, a trigger or a policy of the table refuses a row, the request
    writes nothing and is FAILED_PRECONDITION, reason COLLECTION_ATTACHED; with IngestRequest.skip_invalid the other rows are
    written. UpdateMetadata merges; it replaces only metadata that are one column. A document has no version.

    The role needs SELECT on the table, or on the columns that are named here, and USAGE on its schema. Ingest needs INSERT
    and UPDATE, UpdateMetadata needs UPDATE, DeleteDocuments needs DELETE and UPDATE on a column. BuildIndex needs the owner of the table. CreateCollectionRequest.dry_run lists what would run.
    """
    __slots__ = ("table", "id_columns", "text_columns", "text_template", "vector_column", "metadata_columns", "follow")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    ID_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    TEXT_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    TEXT_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    VECTOR_COLUMN_FIELD_NUMBER: _ClassVar[int]
    METADATA_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    table: str
    """The table, written as in SQL: "documents", "public.documents", or in double quotes: "public.\\"My Documents\\"".
    Without a schema the server's search path finds it. A plain or a partitioned table. Responses name it with its
    schema. Required.
    """
    id_columns: _containers.RepeatedScalarFieldContainer[str]
    """The columns of the key, at most 8: those of the primary key, or of a unique index whose columns are NOT NULL. Allowed
    types are smallint, integer, bigint, uuid, text, varchar and date. Empty: the primary key, or else the only such
    unique index.
    """
    text_columns: _containers.RepeatedScalarFieldContainer[str]
    """The columns of the text, at most 16, each on a line of its own. If this and `text_template` are empty, documents
    have no text. Searches by text still work, since they compare the query with the vectors.
    """
    text_template: str
    """Makes the text from several columns: "{title}: {body}". Names of columns are in braces; `{{` and `}}` are literal
    braces. NULL becomes an empty text. At most 4,000 bytes. Use either this or `text_columns`.
    """
    vector_column: str
    """The column of the vectors, of the type vector or halfvec. Empty: the only such column."""
    metadata_columns: _containers.RepeatedScalarFieldContainer[str]
    """The columns of the metadata, at most 200. Each is a field with the name of the column. Allowed types are numbers,
    booleans, texts, uuid, enums and network addresses; date, timestamp (read as UTC) and timestamptz as RFC 3339; json
    and jsonb; and lists of numbers, booleans, texts and uuid. If the only column of the metadata is json or jsonb, its
    keys are the fields. Empty: every column that is not named elsewhere and has one of these types.
    """
    follow: Follow
    """Follow the changes of the table, and keep documents of pgfox's own. Absent: the collection serves the rows themselves,
    which need vectors. With it, `vector_column` may be empty even if the table has vectors: the server makes them. Required:
    a text or a vector.
    """
    def __init__(self, table: _Optional[str] = ..., id_columns: _Optional[_Iterable[str]] = ..., text_columns: _Optional[_Iterable[str]] = ..., text_template: _Optional[str] = ..., vector_column: _Optional[str] = ..., metadata_columns: _Optional[_Iterable[str]] = ..., follow: _Optional[_Union[Follow, _Mapping[str, _Any]]] = ...) -> None: ...

class Collection(_message.Message):
    """A set of documents that share an embedding and a distance."""
    __slots__ = ("name", "embedding", "distance", "vector_type", "chunking", "text_search_language", "metadata_indexes", "aliases", "document_count", "create_time", "full_text", "source", "source_status", "codes")
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
    FULL_TEXT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_STATUS_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    name: str
    """Unique name: a lower-case letter, then up to 62 lower-case letters, digits and underscores. Also the name of the
    view over the collection in the schema "pgfox".
    """
    embedding: Embedding
    """The source of the vectors. Absent: the default model of the server. Cannot be changed."""
    distance: Distance
    """The distance between vectors. Cannot be changed."""
    vector_type: VectorType
    """How vectors are stored. Cannot be changed."""
    chunking: Chunking
    """How long texts are split. Absent: they are not split, and responses have CHUNKING_METHOD_NONE. Cannot be changed."""
    text_search_language: str
    """The short form of `full_text.language`. If both are set, they must be equal. Cannot be changed."""
    metadata_indexes: _containers.RepeatedCompositeFieldContainer[MetadataIndex]
    """Indexes over metadata, at most 16. If empty at creation, the collection gets one of METADATA_INDEX_TYPE_GIN. Can be
    changed with UpdateCollection, also to none.
    """
    aliases: _containers.RepeatedScalarFieldContainer[str]
    """Additional names of the collection, at most 16, with the same rules as names. Every request except DeleteCollection
    accepts them instead of the name. Can be changed with UpdateCollection. An alias of another collection then moves
    here in one transaction, so that callers see either one collection or the other. Each alias is also a view in the
    schema "pgfox", unless the collection has a source.
    """
    document_count: int
    """Output only. Number of stored documents. Exact up to about 100,000; above that the estimate of Postgres, since
    counting millions of rows is slow.
    """
    create_time: _timestamp_pb2.Timestamp
    """Output only. When the collection was created."""
    full_text: FullText
    """How full-text search splits and ranks texts. Absent: the defaults, with `text_search_language`."""
    source: Source
    """An existing table that holds the documents: the collection is attached to it. `embedding.dimensions` and
    `vector_type` are those of its column. `chunking`, `metadata_indexes` and `full_text` cannot be set. The schema
    "pgfox" has no view over it. SEARCH_MODE_FULL_TEXT, SEARCH_MODE_HYBRID and `IngestRequest.if_version` are
    FAILED_PRECONDITION, reason COLLECTION_ATTACHED. Several collections can be attached to one table. Absent: pgfox
    keeps the documents in its own tables. With `source.follow`, the collection has documents of its own, and everything
    works that works without a source, except that only SQL on the table changes documents. Cannot be changed.
    """
    source_status: SourceStatus
    """Output only. How far the collection has followed its source. Only in GetCollection, and with `source.follow`."""
    codes: Codes
    """Output only. The codes of the vectors, by which searches find the nearest among documents that match declared fields, and
    among vectors with too many dimensions for an index. Absent: the collection has no codes.
    """
    def __init__(self, name: _Optional[str] = ..., embedding: _Optional[_Union[Embedding, _Mapping[str, _Any]]] = ..., distance: _Optional[_Union[Distance, str]] = ..., vector_type: _Optional[_Union[VectorType, str]] = ..., chunking: _Optional[_Union[Chunking, _Mapping[str, _Any]]] = ..., text_search_language: _Optional[str] = ..., metadata_indexes: _Optional[_Iterable[_Union[MetadataIndex, _Mapping[str, _Any]]]] = ..., aliases: _Optional[_Iterable[str]] = ..., document_count: _Optional[int] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., full_text: _Optional[_Union[FullText, _Mapping[str, _Any]]] = ..., source: _Optional[_Union[Source, _Mapping[str, _Any]]] = ..., source_status: _Optional[_Union[SourceStatus, _Mapping[str, _Any]]] = ..., codes: _Optional[_Union[Codes, _Mapping[str, _Any]]] = ...) -> None: ...

class Codes(_message.Message):
    """Codes of the vectors of a collection, which the server makes in the background."""
    __slots__ = ("fields", "progress")
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedCompositeFieldContainer[MetadataIndex]
    """The declared fields that have codes, at most 4. Empty: codes serve searches without a filter only."""
    progress: float
    """How far they are made, 0 to 1. At 1 searches use them. Until then, searches use those that were made before, if there are
    any.
    """
    def __init__(self, fields: _Optional[_Iterable[_Union[MetadataIndex, _Mapping[str, _Any]]]] = ..., progress: _Optional[float] = ...) -> None: ...

class CreateCollectionRequest(_message.Message):
    """Request of CreateCollection."""
    __slots__ = ("collection", "dry_run")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    """The collection to create. `name` is required."""
    dry_run: bool
    """Check everything, but create nothing."""
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping[str, _Any]]] = ..., dry_run: bool = ...) -> None: ...

class Statement(_message.Message):
    """SQL that pgfox runs, for the administrator of the database."""
    __slots__ = ("purpose", "sql")
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    purpose: str
    """When it runs and what for, in a sentence."""
    sql: str
    """The statement."""
    def __init__(self, purpose: _Optional[str] = ..., sql: _Optional[str] = ...) -> None: ...

class CreateCollectionResponse(_message.Message):
    """Response of CreateCollection."""
    __slots__ = ("collection", "statements")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    """The collection as created, with every default filled in; with `dry_run`, as it would be created."""
    statements: _containers.RepeatedCompositeFieldContainer[Statement]
    """With `dry_run` and a `source`: the SQL that would run on the table of the source now, the SQL of a search, and the
    SQL that BuildIndex would run later. If the role lacks privileges, the GRANT statements are included.
    """
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping[str, _Any]]] = ..., statements: _Optional[_Iterable[_Union[Statement, _Mapping[str, _Any]]]] = ...) -> None: ...

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
    """Maximum number of collections to return, 0 to 1,000. 0: 100. A page ends before 4 MiB, the default limit of gRPC
    clients.
    """
    page_token: str
    """`next_page_token` of the previous page. Empty: the first page."""
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCollectionsResponse(_message.Message):
    """Response of ListCollections."""
    __slots__ = ("collections", "next_page_token")
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    collections: _containers.RepeatedCompositeFieldContainer[Collection]
    """Collections in the order of their names."""
    next_page_token: str
    """Send it as `page_token` to get the next page. Empty: this is the last page."""
    def __init__(self, collections: _Optional[_Iterable[_Union[Collection, _Mapping[str, _Any]]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateCollectionRequest(_message.Message):
    """Request of UpdateCollection."""
    __slots__ = ("collection", "update_mask")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    """The name of the collection in `name`, and the new values of the fields in `update_mask`."""
    update_mask: _field_mask_pb2.FieldMask
    """The fields to change: "metadata_indexes", "aliases", "full_text.k1", "full_text.b", "full_text" for the last two,
    or several of these. Required. The call returns when a new index is built. Searches and writes continue meanwhile.
    The change of indexes belongs to the database, not to this call: it continues if the client leaves. Another call
    with the same indexes waits for it, and other changes take turns. If an index cannot be built, the call is ABORTED,
    reason BUILD_FAILED, and nothing of the index is left.
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
    __slots__ = ("name", "drop_indexes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DROP_INDEXES_FIELD_NUMBER: _ClassVar[int]
    name: str
    """Name of the collection, not an alias."""
    drop_indexes: bool
    """Also drop the indexes that BuildIndex made on the table of an attached collection. False: they stay."""
    def __init__(self, name: _Optional[str] = ..., drop_indexes: bool = ...) -> None: ...

class DeleteCollectionResponse(_message.Message):
    """Response of DeleteCollection. The table of an attached collection stays as it is."""
    __slots__ = ("kept_indexes",)
    KEPT_INDEXES_FIELD_NUMBER: _ClassVar[int]
    kept_indexes: _containers.RepeatedScalarFieldContainer[str]
    """The indexes that BuildIndex made on the table of an attached collection and that stay on it, with their schema,
    quoted as in SQL.
    """
    def __init__(self, kept_indexes: _Optional[_Iterable[str]] = ...) -> None: ...

class RetryFailedRequest(_message.Message):
    """Request of RetryFailed."""
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    """Name of a collection that follows its source."""
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RetryFailedResponse(_message.Message):
    """Response of RetryFailed."""
    __slots__ = ("retried_count",)
    RETRIED_COUNT_FIELD_NUMBER: _ClassVar[int]
    retried_count: int
    """The number of rows that are tried again."""
    def __init__(self, retried_count: _Optional[int] = ...) -> None: ...

class PauseSourceRequest(_message.Message):
    """Request of PauseSource."""
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    """Name of a collection that follows its source."""
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class PauseSourceResponse(_message.Message):
    """Response of PauseSource."""
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumeSourceRequest(_message.Message):
    """Request of ResumeSource."""
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    """Name of a collection that follows its source."""
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ResumeSourceResponse(_message.Message):
    """Response of ResumeSource."""
    __slots__ = ()
    def __init__(self) -> None: ...
