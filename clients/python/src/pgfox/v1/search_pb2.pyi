"""Search: the documents nearest to a query."""
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from pgfox.v1 import documents_pb2 as _documents_pb2
from pgfox.v1 import filter_pb2 as _filter_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SearchMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """How documents are found."""
    __slots__ = ()
    SEARCH_MODE_UNSPECIFIED: _ClassVar[SearchMode]
    """Not stated: SEARCH_MODE_VECTOR."""
    SEARCH_MODE_VECTOR: _ClassVar[SearchMode]
    """By the distance of vectors."""
    SEARCH_MODE_FULL_TEXT: _ClassVar[SearchMode]
    """By words. A document matches when it has any of the words of the query, in any form that the language of the
    collection takes for the same; the more of them, the higher it ranks. Words in double quotes match as a phrase, and
    a word or phrase after `-` must not be there. At most 256 words count. In a collection with chunking all this is said
    of each chunk, not of the document. Needs no model.
    """
    SEARCH_MODE_HYBRID: _ClassVar[SearchMode]
    """Both, fused by their ranks; see `Fusion`."""

class Completeness(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """What the results stand for."""
    __slots__ = ()
    COMPLETENESS_UNSPECIFIED: _ClassVar[Completeness]
    """Not stated."""
    COMPLETENESS_EXACT: _ClassVar[Completeness]
    """Every vector, or every text, of the documents that match was compared: these are the nearest."""
    COMPLETENESS_APPROXIMATE: _ClassVar[Completeness]
    """An index was used: nearer documents may be missing. More of `ef_search` or `probes` finds more of them."""
    COMPLETENESS_TRUNCATED: _ClassVar[Completeness]
    """The index gave fewer than `limit` results and the exact search that should fill them up ran out of its time."""

class ShortReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """Why there are fewer results than `limit`."""
    __slots__ = ()
    SHORT_REASON_UNSPECIFIED: _ClassVar[ShortReason]
    """There are as many results as asked for."""
    SHORT_REASON_FEW_DOCUMENTS: _ClassVar[ShortReason]
    """The collection has no more documents with a vector."""
    SHORT_REASON_OUT_OF_TIME: _ClassVar[ShortReason]
    """The index gave fewer, and the exact search that should fill them up ran out of its time."""
    SHORT_REASON_FEW_MATCHES: _ClassVar[ShortReason]
    """No more documents match the filter or the words."""
    SHORT_REASON_MAX_DISTANCE: _ClassVar[ShortReason]
    """The others are farther than `max_distance`."""
SEARCH_MODE_UNSPECIFIED: SearchMode
"""Not stated: SEARCH_MODE_VECTOR."""
SEARCH_MODE_VECTOR: SearchMode
"""By the distance of vectors."""
SEARCH_MODE_FULL_TEXT: SearchMode
"""By words. A document matches when it has any of the words of the query, in any form that the language of the
collection takes for the same; the more of them, the higher it ranks. Words in double quotes match as a phrase, and
a word or phrase after `-` must not be there. At most 256 words count. In a collection with chunking all this is said
of each chunk, not of the document. Needs no model.
"""
SEARCH_MODE_HYBRID: SearchMode
"""Both, fused by their ranks; see `Fusion`."""
COMPLETENESS_UNSPECIFIED: Completeness
"""Not stated."""
COMPLETENESS_EXACT: Completeness
"""Every vector, or every text, of the documents that match was compared: these are the nearest."""
COMPLETENESS_APPROXIMATE: Completeness
"""An index was used: nearer documents may be missing. More of `ef_search` or `probes` finds more of them."""
COMPLETENESS_TRUNCATED: Completeness
"""The index gave fewer than `limit` results and the exact search that should fill them up ran out of its time."""
SHORT_REASON_UNSPECIFIED: ShortReason
"""There are as many results as asked for."""
SHORT_REASON_FEW_DOCUMENTS: ShortReason
"""The collection has no more documents with a vector."""
SHORT_REASON_OUT_OF_TIME: ShortReason
"""The index gave fewer, and the exact search that should fill them up ran out of its time."""
SHORT_REASON_FEW_MATCHES: ShortReason
"""No more documents match the filter or the words."""
SHORT_REASON_MAX_DISTANCE: ShortReason
"""The others are farther than `max_distance`."""

class SearchParams(_message.Message):
    """Settings of one search."""
    __slots__ = ("exact", "ef_search", "probes")
    EXACT_FIELD_NUMBER: _ClassVar[int]
    EF_SEARCH_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    exact: bool
    """Compare the query with every vector instead of using the index: slower, and the measure of recall."""
    ef_search: int
    """Candidates that an HNSW search keeps, 1 to 1,000; raised to `limit` when below it. Absent: the larger of 40 and
    `limit`, with a filter of 200 and `limit`. More is better recall and a slower search. Has no effect on other indexes.
    """
    probes: int
    """Lists that an IVFFlat search reads, 1 to 32,768. Absent: the square root of the number of lists, rounded up, with a
    filter 4 times as many. More is better recall and a slower search. Has no effect on other indexes.
    """
    def __init__(self, exact: bool = ..., ef_search: _Optional[int] = ..., probes: _Optional[int] = ...) -> None: ...

class Examples(_message.Message):
    """Stored documents as a query: more like these, and less like those."""
    __slots__ = ("positive_ids", "negative_ids")
    POSITIVE_IDS_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_IDS_FIELD_NUMBER: _ClassVar[int]
    positive_ids: _containers.RepeatedScalarFieldContainer[str]
    """Ids of documents to be near to, 1 to 100."""
    negative_ids: _containers.RepeatedScalarFieldContainer[str]
    """Ids of documents to be far from, 0 to 100."""
    def __init__(self, positive_ids: _Optional[_Iterable[str]] = ..., negative_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Fusion(_message.Message):
    """How SEARCH_MODE_HYBRID joins the two results: reciprocal rank fusion (Cormack, Clarke and Buettcher, 2009). The score of
    a document is the sum of weight / (rank_constant + rank) over the results that have it, ranks counted from 1.
    """
    __slots__ = ("vector_weight", "full_text_weight", "rank_constant", "candidates")
    VECTOR_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    FULL_TEXT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    RANK_CONSTANT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    vector_weight: float
    """Weight of the vector search, 0 to 1,000. Absent: 1.5."""
    full_text_weight: float
    """Weight of the full-text search, 0 to 1,000. Absent: 1. Not both may be 0."""
    rank_constant: int
    """What is added to every rank, 1 to 1,000: the larger, the less the first ranks stand out. Absent: 10, so that the best
    that only words find is among the first ten results.
    """
    candidates: int
    """Results of each search that are fused, 1 to 1,000, raised to `limit` when below it. Absent: the larger of 100 and
    `limit`.
    """
    def __init__(self, vector_weight: _Optional[float] = ..., full_text_weight: _Optional[float] = ..., rank_constant: _Optional[int] = ..., candidates: _Optional[int] = ...) -> None: ...

class Diversity(_message.Message):
    """Makes results differ from each other: maximal marginal relevance (Carbonell and Goldstein, 1998). Results are chosen one
    by one, each with the largest weight * similarity to the query - (1 - weight) * largest similarity to one chosen before;
    similarity is `SearchResult.score`, between two documents as between query and document. Whatever the weight, a result
    that repeats the text of one chosen before is chosen only when no other candidate is left; one that repeats only the
    vector comes before it.
    """
    __slots__ = ("weight", "candidates")
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    weight: float
    """1: only the query counts, and what repeats comes last. 0: after the first result only the difference counts. Absent: 0.5."""
    candidates: int
    """Results to choose from, 1 to 1,000, raised to `limit` when below it. Absent: the larger of 50 and 4 * `limit`, at most
    1,000.
    """
    def __init__(self, weight: _Optional[float] = ..., candidates: _Optional[int] = ...) -> None: ...

class SearchRequest(_message.Message):
    """Request of Search."""
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
    """Name of the collection."""
    text: str
    """A text, 1 byte to 8 MiB, embedded with the model of the collection, or in SEARCH_MODE_FULL_TEXT looked for by its
    words.
    """
    vector: _documents_pb2.Vector
    """A vector with the dimensions of the collection. Under DISTANCE_COSINE not of length zero."""
    document_id: str
    """The id of a stored document: what is similar to it. The document itself is left out. Of a document in chunks the
    mean of their vectors counts.
    """
    examples: Examples
    """Stored documents to be near to and far from; they are left out. The vector is 2 * p - n, with p and n the means of
    the vectors of either kind, or p alone without negative ones; under DISTANCE_COSINE each vector is first brought
    to length 1.
    """
    limit: int
    """Most results to return, 0 to 1,000, counted after `group_by_document`. 0: 10."""
    filter: _filter_pb2.Filter
    """Only documents that match. Absent: all."""
    mode: SearchMode
    """How to find them. SEARCH_MODE_FULL_TEXT takes a text only."""
    params: SearchParams
    """Settings of this search. Absent: the defaults."""
    max_distance: float
    """Leave out results of the vector search with a larger distance. Not in SEARCH_MODE_FULL_TEXT."""
    include_vector: bool
    """Return the vectors of the documents, or of the chunks that were found, too."""
    include_full_text: bool
    """In a collection with chunking return the whole text of the documents too, not only of the chunk."""
    group_by_document: bool
    """In a collection with chunking return each document once, with its best chunk. Without: every chunk is a result."""
    explain: bool
    """Return how the search was done. Takes at least twice as long, since the query runs once more to be measured."""
    read_mask: _field_mask_pb2.FieldMask
    """Fields of the documents to return: "text", "metadata", or fields of the metadata such as "metadata.title", at most 100;
    the id is always there, and "id" asks for no more. Without "text" the chunks come without their texts too. Absent or
    empty: text and metadata.
    """
    fusion: Fusion
    """Settings of SEARCH_MODE_HYBRID. Absent: the defaults."""
    diversity: Diversity
    """Make results differ from each other. Absent: only the query counts. Not in SEARCH_MODE_FULL_TEXT, and not together
    with `group_by_document`.
    """
    full_text: str
    """The words of SEARCH_MODE_HYBRID, when they are others than `text` or there is no text. At most 8 MiB."""
    def __init__(self, collection: _Optional[str] = ..., text: _Optional[str] = ..., vector: _Optional[_Union[_documents_pb2.Vector, _Mapping[str, _Any]]] = ..., document_id: _Optional[str] = ..., examples: _Optional[_Union[Examples, _Mapping[str, _Any]]] = ..., limit: _Optional[int] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping[str, _Any]]] = ..., mode: _Optional[_Union[SearchMode, str]] = ..., params: _Optional[_Union[SearchParams, _Mapping[str, _Any]]] = ..., max_distance: _Optional[float] = ..., include_vector: bool = ..., include_full_text: bool = ..., group_by_document: bool = ..., explain: bool = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping[str, _Any]]] = ..., fusion: _Optional[_Union[Fusion, _Mapping[str, _Any]]] = ..., diversity: _Optional[_Union[Diversity, _Mapping[str, _Any]]] = ..., full_text: _Optional[str] = ...) -> None: ...

class Chunk(_message.Message):
    """A passage of a document."""
    __slots__ = ("ordinal", "text", "start", "end")
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ordinal: int
    """Its position among the chunks of the document, from 0."""
    text: str
    """Its text."""
    start: int
    """Where it starts in the text of the document, in Unicode characters from 0."""
    end: int
    """Where it ends: the position after its last character."""
    def __init__(self, ordinal: _Optional[int] = ..., text: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class SearchResult(_message.Message):
    """A document that was found, or a chunk of one."""
    __slots__ = ("document", "distance", "score", "chunk", "vector_rank", "full_text_rank")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    VECTOR_RANK_FIELD_NUMBER: _ClassVar[int]
    FULL_TEXT_RANK_FIELD_NUMBER: _ClassVar[int]
    document: _documents_pb2.Document
    """The document. Its vector is filled only when asked for, and in a collection with chunking so is its text."""
    distance: float
    """What the distance operator of the collection gives, smaller is nearer; for DISTANCE_INNER_PRODUCT the negative inner
    product. Absent when the vector search did not find it, as always in SEARCH_MODE_FULL_TEXT.
    """
    score: float
    """Larger is better. SEARCH_MODE_VECTOR: 1 - distance for DISTANCE_COSINE, the inner product for
    DISTANCE_INNER_PRODUCT, 1 / (1 + distance) for DISTANCE_L2 and DISTANCE_L1. SEARCH_MODE_FULL_TEXT: `ts_rank` of
    Postgres, divided by 1 + the logarithm of the length. SEARCH_MODE_HYBRID: as `Fusion` says. Scores of different modes
    cannot be compared.
    """
    chunk: Chunk
    """What was found of the document. Only in a collection with chunking."""
    vector_rank: int
    """SEARCH_MODE_HYBRID: the rank in the vector search, from 1. Absent when that did not find it."""
    full_text_rank: int
    """SEARCH_MODE_HYBRID: the rank in the full-text search, from 1. Absent when that did not find it."""
    def __init__(self, document: _Optional[_Union[_documents_pb2.Document, _Mapping[str, _Any]]] = ..., distance: _Optional[float] = ..., score: _Optional[float] = ..., chunk: _Optional[_Union[Chunk, _Mapping[str, _Any]]] = ..., vector_rank: _Optional[int] = ..., full_text_rank: _Optional[int] = ...) -> None: ...

class Explanation(_message.Message):
    """How a search was done."""
    __slots__ = ("plan_node", "index", "no_index_reason", "rows_scanned", "rows_filtered", "notes", "plan_json")
    PLAN_NODE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NO_INDEX_REASON_FIELD_NUMBER: _ClassVar[int]
    ROWS_SCANNED_FIELD_NUMBER: _ClassVar[int]
    ROWS_FILTERED_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    PLAN_JSON_FIELD_NUMBER: _ClassVar[int]
    plan_node: str
    """The node of the plan that read the vectors, or in SEARCH_MODE_FULL_TEXT the texts, such as "Index Scan". Empty when none
    had to be read.
    """
    index: str
    """The index that it used. Empty: none."""
    no_index_reason: str
    """Why no vector index was used. Empty when one was, and in SEARCH_MODE_FULL_TEXT."""
    rows_scanned: int
    """Rows that all scans of the plan read."""
    rows_filtered: int
    """The part of them that the filter took out."""
    notes: _containers.RepeatedScalarFieldContainer[str]
    """What the caller should know, such as a filter that compares with a type that the field never has. Looks at the first
    16 conditions, and at 10,000 documents.
    """
    plan_json: str
    """The plan as EXPLAIN (ANALYZE, FORMAT JSON) gives it, for people."""
    def __init__(self, plan_node: _Optional[str] = ..., index: _Optional[str] = ..., no_index_reason: _Optional[str] = ..., rows_scanned: _Optional[int] = ..., rows_filtered: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ..., plan_json: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    """Where the time of a search went, as the server saw it."""
    __slots__ = ("embed", "wait", "database")
    EMBED_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    embed: _duration_pb2.Duration
    """Embedding the text of the query."""
    wait: _duration_pb2.Duration
    """Waiting for a connection to the database."""
    database: _duration_pb2.Duration
    """Running the query."""
    def __init__(self, embed: _Optional[_Union[_duration_pb2.Duration, _Mapping[str, _Any]]] = ..., wait: _Optional[_Union[_duration_pb2.Duration, _Mapping[str, _Any]]] = ..., database: _Optional[_Union[_duration_pb2.Duration, _Mapping[str, _Any]]] = ...) -> None: ...

class SearchResponse(_message.Message):
    """Response of Search."""
    __slots__ = ("results", "completeness", "usage", "timing", "short_reason", "explanation", "notes")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    COMPLETENESS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    SHORT_REASON_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SearchResult]
    """The documents, nearest first; documents at the same distance in no particular but a stable order."""
    completeness: Completeness
    """What the results stand for."""
    usage: _documents_pb2.Usage
    """What embedding cost."""
    timing: Timing
    """Where the time went."""
    short_reason: ShortReason
    """Why there are fewer results than `limit`; SHORT_REASON_UNSPECIFIED when there are not."""
    explanation: Explanation
    """How the search was done, with `explain`."""
    notes: _containers.RepeatedScalarFieldContainer[str]
    """What the caller should know when there are no results, such as a filter that compares with a type that the field
    never has. Looks at the first 16 conditions, and at 10,000 documents.
    """
    def __init__(self, results: _Optional[_Iterable[_Union[SearchResult, _Mapping[str, _Any]]]] = ..., completeness: _Optional[_Union[Completeness, str]] = ..., usage: _Optional[_Union[_documents_pb2.Usage, _Mapping[str, _Any]]] = ..., timing: _Optional[_Union[Timing, _Mapping[str, _Any]]] = ..., short_reason: _Optional[_Union[ShortReason, str]] = ..., explanation: _Optional[_Union[Explanation, _Mapping[str, _Any]]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class SearchBatchRequest(_message.Message):
    """Request of SearchBatch."""
    __slots__ = ("collection", "searches")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SEARCHES_FIELD_NUMBER: _ClassVar[int]
    collection: str
    """Name of the collection of those searches that name none."""
    searches: _containers.RepeatedCompositeFieldContainer[SearchRequest]
    """The searches, 1 to 100. One that cannot be done fails them all, and the error names its position."""
    def __init__(self, collection: _Optional[str] = ..., searches: _Optional[_Iterable[_Union[SearchRequest, _Mapping[str, _Any]]]] = ...) -> None: ...

class SearchBatchResponse(_message.Message):
    """Response of SearchBatch."""
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[SearchResponse]
    """The answers in the order of the searches. Above 16 MiB together the call is RESOURCE_EXHAUSTED: ask for fewer."""
    def __init__(self, responses: _Optional[_Iterable[_Union[SearchResponse, _Mapping[str, _Any]]]] = ...) -> None: ...
