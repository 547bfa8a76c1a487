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
    """Unspecified: means SEARCH_MODE_VECTOR."""
    SEARCH_MODE_VECTOR: _ClassVar[SearchMode]
    """By the distance of vectors."""
    SEARCH_MODE_FULL_TEXT: _ClassVar[SearchMode]
    """By words. A document matches if it contains any of the words, in any inflected form. Documents are ranked by BM25:
    rare words count more than common ones, and words count more in short documents. At most 256 words count. In a
    collection with chunking each chunk counts as a document. Needs no model.

    Words in double quotes, also curly ones, match as a phrase. A single `-` before a word or phrase excludes the
    documents that contain it. The `-` counts only at the start or after white space. After it must come a double
    quote, or a word that does not look like an option of a command: the word begins with at least three letters, one
    of them of "aeiouy", or with letters of which one is not ASCII. So `fox -dog` excludes "dog", and `-"xvf"` excludes
    "xvf"; `tar -xvf`, `docker run --rm -it` and `error -1073741819` exclude nothing. A query with nothing but
    exclusions searches for these words instead.
    """
    SEARCH_MODE_HYBRID: _ClassVar[SearchMode]
    """By both, fused; see `Fusion`. The words of `text` have no operators; the words of `full_text` have."""

class FusionMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """How SEARCH_MODE_HYBRID computes one score from the two results."""
    __slots__ = ()
    FUSION_METHOD_UNSPECIFIED: _ClassVar[FusionMethod]
    """Unspecified: means FUSION_METHOD_RELATIVE_SCORE."""
    FUSION_METHOD_RECIPROCAL_RANK: _ClassVar[FusionMethod]
    """Reciprocal rank fusion (Cormack, Clarke and Buettcher, 2009): the sum of weight / (rank_constant + rank) over the
    results that contain the document. Ranks begin with 1.
    """
    FUSION_METHOD_RELATIVE_SCORE: _ClassVar[FusionMethod]
    """Both results are scaled to 0..1. For distances, the farthest candidate is 0 and the nearest is 1; those by DISTANCE_L2
    are squared before, if a model makes the vectors. Scores of words are divided by the best one. The score of a document is the sum of weight * scaled
    result over the results that contain it, divided by the sum of the weights.
    """

class Completeness(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """The completeness of the results."""
    __slots__ = ()
    COMPLETENESS_UNSPECIFIED: _ClassVar[Completeness]
    """Unspecified."""
    COMPLETENESS_EXACT: _ClassVar[Completeness]
    """Every vector and every text that could be among the results was compared: these are the best."""
    COMPLETENESS_APPROXIMATE: _ClassVar[Completeness]
    """Better documents may be missing. Either a vector index or codes were used: a larger `ef_search`, `probes` or
    `rerank_candidates` finds more of them. Or the words are so common that not every text with them was scored:
    `exact` scores them all.
    """
    COMPLETENESS_TRUNCATED: _ClassVar[Completeness]
    """The index found fewer than `limit` results, and the exact search that should complete them ran out of time."""

class ShortReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """Why there are fewer results than `limit`."""
    __slots__ = ()
    SHORT_REASON_UNSPECIFIED: _ClassVar[ShortReason]
    """There are as many results as requested."""
    SHORT_REASON_FEW_DOCUMENTS: _ClassVar[ShortReason]
    """The collection has no more documents with a vector."""
    SHORT_REASON_OUT_OF_TIME: _ClassVar[ShortReason]
    """The index found fewer, and the exact search that should complete them ran out of time."""
    SHORT_REASON_FEW_MATCHES: _ClassVar[ShortReason]
    """No more documents match the filter or the words."""
    SHORT_REASON_MAX_DISTANCE: _ClassVar[ShortReason]
    """All other documents are farther than `max_distance`."""
SEARCH_MODE_UNSPECIFIED: SearchMode
"""Unspecified: means SEARCH_MODE_VECTOR."""
SEARCH_MODE_VECTOR: SearchMode
"""By the distance of vectors."""
SEARCH_MODE_FULL_TEXT: SearchMode
"""By words. A document matches if it contains any of the words, in any inflected form. Documents are ranked by BM25:
rare words count more than common ones, and words count more in short documents. At most 256 words count. In a
collection with chunking each chunk counts as a document. Needs no model.

Words in double quotes, also curly ones, match as a phrase. A single `-` before a word or phrase excludes the
documents that contain it. The `-` counts only at the start or after white space. After it must come a double
quote, or a word that does not look like an option of a command: the word begins with at least three letters, one
of them of "aeiouy", or with letters of which one is not ASCII. So `fox -dog` excludes "dog", and `-"xvf"` excludes
"xvf"; `tar -xvf`, `docker run --rm -it` and `error -1073741819` exclude nothing. A query with nothing but
exclusions searches for these words instead.
"""
SEARCH_MODE_HYBRID: SearchMode
"""By both, fused; see `Fusion`. The words of `text` have no operators; the words of `full_text` have."""
FUSION_METHOD_UNSPECIFIED: FusionMethod
"""Unspecified: means FUSION_METHOD_RELATIVE_SCORE."""
FUSION_METHOD_RECIPROCAL_RANK: FusionMethod
"""Reciprocal rank fusion (Cormack, Clarke and Buettcher, 2009): the sum of weight / (rank_constant + rank) over the
results that contain the document. Ranks begin with 1.
"""
FUSION_METHOD_RELATIVE_SCORE: FusionMethod
"""Both results are scaled to 0..1. For distances, the farthest candidate is 0 and the nearest is 1; those by DISTANCE_L2
are squared before, if a model makes the vectors. Scores of words are divided by the best one. The score of a document is the sum of weight * scaled
result over the results that contain it, divided by the sum of the weights.
"""
COMPLETENESS_UNSPECIFIED: Completeness
"""Unspecified."""
COMPLETENESS_EXACT: Completeness
"""Every vector and every text that could be among the results was compared: these are the best."""
COMPLETENESS_APPROXIMATE: Completeness
"""Better documents may be missing. Either a vector index or codes were used: a larger `ef_search`, `probes` or
`rerank_candidates` finds more of them. Or the words are so common that not every text with them was scored:
`exact` scores them all.
"""
COMPLETENESS_TRUNCATED: Completeness
"""The index found fewer than `limit` results, and the exact search that should complete them ran out of time."""
SHORT_REASON_UNSPECIFIED: ShortReason
"""There are as many results as requested."""
SHORT_REASON_FEW_DOCUMENTS: ShortReason
"""The collection has no more documents with a vector."""
SHORT_REASON_OUT_OF_TIME: ShortReason
"""The index found fewer, and the exact search that should complete them ran out of time."""
SHORT_REASON_FEW_MATCHES: ShortReason
"""No more documents match the filter or the words."""
SHORT_REASON_MAX_DISTANCE: ShortReason
"""All other documents are farther than `max_distance`."""

class SearchParams(_message.Message):
    """Settings of one search."""
    __slots__ = ("exact", "ef_search", "probes", "rerank_candidates")
    EXACT_FIELD_NUMBER: _ClassVar[int]
    EF_SEARCH_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    RERANK_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    exact: bool
    """Compare the query with every vector instead of using the index. This is slower, and is the reference for recall. A
    search by words scores every text that has a word of the query, instead of at most 30,000 at a time.
    """
    ef_search: int
    """Candidates that an HNSW search keeps, 1 to 1,000; raised to `limit` if it is lower. Absent: the larger of 40 and
    `limit`; with a filter, the larger of 200 and `limit`. A larger value improves recall and makes the search slower.
    Has no effect on other indexes.
    """
    probes: int
    """Lists that an IVFFlat search reads, 1 to 32,768. Absent: the square root of the number of lists, rounded up; with a
    filter, 4 times as many. A larger value improves recall and makes the search slower. Has no effect on other
    indexes.
    """
    rerank_candidates: int
    """With a filter by declared fields (`Collection.metadata_indexes`), or with vectors that have too many dimensions for an
    index: how many of the best codes are compared by their vectors, 1 to 10,000; raised to `limit` if it is lower.
    Absent: those that may be among the results, at most as many as contained 97 % of the 10 nearest of a sample when the
    codes were made or when a fifth of the vectors was new, and more for a `limit` above 10. A larger value improves
    recall and makes the search slower.
    """
    def __init__(self, exact: bool = ..., ef_search: _Optional[int] = ..., probes: _Optional[int] = ..., rerank_candidates: _Optional[int] = ...) -> None: ...

class Examples(_message.Message):
    """Stored documents as a query: results are similar to some of them and different from others."""
    __slots__ = ("positive_ids", "negative_ids")
    POSITIVE_IDS_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_IDS_FIELD_NUMBER: _ClassVar[int]
    positive_ids: _containers.RepeatedScalarFieldContainer[str]
    """Ids of documents that results should be similar to, 1 to 100."""
    negative_ids: _containers.RepeatedScalarFieldContainer[str]
    """Ids of documents that results should be different from, 0 to 100."""
    def __init__(self, positive_ids: _Optional[_Iterable[str]] = ..., negative_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Fusion(_message.Message):
    """How SEARCH_MODE_HYBRID joins the two results. A weight of 0 switches that search off: documents that only it finds
    are not returned.
    """
    __slots__ = ("vector_weight", "full_text_weight", "rank_constant", "candidates", "method")
    VECTOR_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    FULL_TEXT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    RANK_CONSTANT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    vector_weight: float
    """Weight of the vector search, 0 to 1,000. Absent: 1."""
    full_text_weight: float
    """Weight of the full-text search, 0 to 1,000. Absent: 1. At most one of the two weights may be 0."""
    rank_constant: int
    """With FUSION_METHOD_RECIPROCAL_RANK: the number that is added to every rank, 1 to 1,000. With a larger number the
    first ranks count less. Absent: 10, so that the best document that only words find is among the first ten results.
    """
    candidates: int
    """Results of each search that are fused, 1 to 1,000; raised to `limit` if it is lower. Absent: the larger of 200 and
    `limit`.
    """
    method: FusionMethod
    """How the score of a document is computed."""
    def __init__(self, vector_weight: _Optional[float] = ..., full_text_weight: _Optional[float] = ..., rank_constant: _Optional[int] = ..., candidates: _Optional[int] = ..., method: _Optional[_Union[FusionMethod, str]] = ...) -> None: ...

class Diversity(_message.Message):
    """Makes results differ from each other: maximal marginal relevance (Carbonell and Goldstein, 1998). Results are chosen
    one by one. Each has the largest weight * similarity to the query - (1 - weight) * largest similarity to an earlier
    result. Similarity is `SearchResult.score`, between two documents as between query and document. Whatever the weight,
    a result that repeats the text of an earlier one comes last. A result that repeats only the vector comes before
    those.
    """
    __slots__ = ("weight", "candidates")
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    weight: float
    """1: only the query counts, and repetitions come last. 0: after the first result only the difference counts. Absent:
    0.5.
    """
    candidates: int
    """Results to choose from, 1 to 1,000; raised to `limit` if it is lower. Absent: the larger of 50 and 4 * `limit`, at
    most 1,000.
    """
    def __init__(self, weight: _Optional[float] = ..., candidates: _Optional[int] = ...) -> None: ...

class SearchRequest(_message.Message):
    """Request of Search."""
    __slots__ = ("collection", "text", "vector", "document_id", "examples", "limit", "filter", "mode", "params", "max_distance", "include_vector", "include_full_text", "group_by_document", "explain", "read_mask", "fusion", "diversity", "full_text", "highlight")
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
    HIGHLIGHT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    """Name of the collection."""
    text: str
    """A text, 1 byte to 8 MiB. It is embedded with the model of the collection. SEARCH_MODE_FULL_TEXT searches for its
    words instead.
    """
    vector: _documents_pb2.Vector
    """A vector with the dimensions of the collection. With DISTANCE_COSINE its length must not be zero."""
    document_id: str
    """The id of a stored document: finds similar ones. The document itself is left out. If it has chunks, the mean of
    their vectors counts.
    """
    examples: Examples
    """Stored documents to be similar to and different from; they are left out of the results. The query vector is 2 * p
    - n, where p and n are the means of the vectors of either kind, or p alone without negative ones. With
    DISTANCE_COSINE each vector is first scaled to length 1.
    """
    limit: int
    """Maximum number of results, 0 to 1,000, counted after `group_by_document`. 0: 10."""
    filter: _filter_pb2.Filter
    """Only documents that match. Absent: all."""
    mode: SearchMode
    """How to find them. SEARCH_MODE_FULL_TEXT accepts only a text."""
    params: SearchParams
    """Settings of this search. Absent: the defaults."""
    max_distance: float
    """Leave out results of the vector search with a larger distance. Not in SEARCH_MODE_FULL_TEXT."""
    include_vector: bool
    """Return the vectors too: those of the documents, or of the chunks that were found."""
    include_full_text: bool
    """In a collection with chunking: return the whole texts of the documents, beside the texts of the chunks."""
    group_by_document: bool
    """In a collection with chunking: return each document once, with its best chunk. False: every chunk is a result."""
    explain: bool
    """Return how the search ran. This takes at least twice as long, since the query runs a second time to be measured."""
    read_mask: _field_mask_pb2.FieldMask
    """Fields of the documents to return: "text", "metadata", or fields of the metadata such as "metadata.title", at most
    100. The id is always returned; use "id" to request nothing else. Without "text" the texts of chunks are left out
    too. Absent or empty: text and metadata.
    """
    fusion: Fusion
    """Settings of SEARCH_MODE_HYBRID. Absent: the defaults."""
    diversity: Diversity
    """Make results differ from each other. Absent: only the query counts. Not in SEARCH_MODE_FULL_TEXT, and not together
    with `group_by_document`.
    """
    full_text: str
    """The words of SEARCH_MODE_HYBRID, with the operators of SEARCH_MODE_FULL_TEXT. Empty: the words of `text`, without
    operators. At most 8 MiB.
    """
    highlight: bool
    """Return `SearchResult.highlights`. Only in SEARCH_MODE_FULL_TEXT and SEARCH_MODE_HYBRID. The texts are read even if
    `read_mask` leaves them out. If together they are above 4 times the maximum size of an answer, the call is
    RESOURCE_EXHAUSTED.
    """
    def __init__(self, collection: _Optional[str] = ..., text: _Optional[str] = ..., vector: _Optional[_Union[_documents_pb2.Vector, _Mapping[str, _Any]]] = ..., document_id: _Optional[str] = ..., examples: _Optional[_Union[Examples, _Mapping[str, _Any]]] = ..., limit: _Optional[int] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping[str, _Any]]] = ..., mode: _Optional[_Union[SearchMode, str]] = ..., params: _Optional[_Union[SearchParams, _Mapping[str, _Any]]] = ..., max_distance: _Optional[float] = ..., include_vector: bool = ..., include_full_text: bool = ..., group_by_document: bool = ..., explain: bool = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping[str, _Any]]] = ..., fusion: _Optional[_Union[Fusion, _Mapping[str, _Any]]] = ..., diversity: _Optional[_Union[Diversity, _Mapping[str, _Any]]] = ..., full_text: _Optional[str] = ..., highlight: bool = ...) -> None: ...

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
    __slots__ = ("document", "distance", "score", "chunk", "vector_rank", "full_text_rank", "highlights")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    VECTOR_RANK_FIELD_NUMBER: _ClassVar[int]
    FULL_TEXT_RANK_FIELD_NUMBER: _ClassVar[int]
    HIGHLIGHTS_FIELD_NUMBER: _ClassVar[int]
    document: _documents_pb2.Document
    """The document. Its vector is set only if it was requested; in a collection with chunking this also applies to its
    text.
    """
    distance: float
    """The distance, as the operator of the collection computes it; smaller is nearer. For DISTANCE_INNER_PRODUCT it is
    the negative inner product. Absent if the vector search did not find the document, as always in
    SEARCH_MODE_FULL_TEXT.
    """
    score: float
    """Larger is better. SEARCH_MODE_VECTOR: 1 - distance for DISTANCE_COSINE, the inner product for
    DISTANCE_INNER_PRODUCT, 1 / (1 + distance) for DISTANCE_L2 and DISTANCE_L1. SEARCH_MODE_FULL_TEXT: BM25; see
    `FullText`. SEARCH_MODE_HYBRID: see `FusionMethod`. Scores of different modes cannot be compared.
    """
    chunk: Chunk
    """The chunk that was found. Only in a collection with chunking."""
    vector_rank: int
    """SEARCH_MODE_HYBRID: the rank in the vector search, from 1. Absent if that search did not find the document."""
    full_text_rank: int
    """SEARCH_MODE_HYBRID: the rank in the full-text search, from 1. Absent if that search did not find the document."""
    highlights: _containers.RepeatedCompositeFieldContainer[Highlight]
    """With `highlight`: the best passages of the text, at most 3, without overlap. Passages with the most different words
    and phrases of the query come first, then those with the most words, then the earlier ones. Excluded words do not
    count. Empty if the text has none of the words, for example because only the vector search found it. Only the first
    1 MiB of the text is scanned. Positions count from the start of `chunk.text` in a collection with chunking, else
    from the start of the document's text. Words are found in any inflected form. If the language of the collection is
    a configuration of Postgres that pgfox does not know, they are found only in the form of the query.
    """
    def __init__(self, document: _Optional[_Union[_documents_pb2.Document, _Mapping[str, _Any]]] = ..., distance: _Optional[float] = ..., score: _Optional[float] = ..., chunk: _Optional[_Union[Chunk, _Mapping[str, _Any]]] = ..., vector_rank: _Optional[int] = ..., full_text_rank: _Optional[int] = ..., highlights: _Optional[_Iterable[_Union[Highlight, _Mapping[str, _Any]]]] = ...) -> None: ...

class Highlight(_message.Message):
    """A passage that has words of the query. It begins and ends between sentences, or else between words, without white
    space.
    """
    __slots__ = ("start", "end", "text", "words")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    start: int
    """Where it starts, in Unicode characters from 0."""
    end: int
    """Where it ends: the position after its last character."""
    text: str
    """Its text, at most 200 characters."""
    words: _containers.RepeatedCompositeFieldContainer[Span]
    """The words of the query in it, in order, at most 50. They do not overlap: `XK-4711` is one, and so is each word of a
    phrase. If a word has more than 200 characters, its span ends after the first 200. Positions count like `start`.
    """
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ..., text: _Optional[str] = ..., words: _Optional[_Iterable[_Union[Span, _Mapping[str, _Any]]]] = ...) -> None: ...

class Span(_message.Message):
    """A part of a text."""
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: int
    """Where it starts, in Unicode characters from 0."""
    end: int
    """Where it ends: the position after its last character."""
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class Explanation(_message.Message):
    """How a search ran."""
    __slots__ = ("plan_node", "index", "no_index_reason", "rows_scanned", "rows_filtered", "notes", "plan_json")
    PLAN_NODE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NO_INDEX_REASON_FIELD_NUMBER: _ClassVar[int]
    ROWS_SCANNED_FIELD_NUMBER: _ClassVar[int]
    ROWS_FILTERED_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    PLAN_JSON_FIELD_NUMBER: _ClassVar[int]
    plan_node: str
    """The node of the plan that read the vectors, or in SEARCH_MODE_FULL_TEXT the texts, such as "Index Scan". Empty if
    none had to be read.
    """
    index: str
    """The index that it used. Empty: none."""
    no_index_reason: str
    """Why no vector index was used. Empty if one was used, and in SEARCH_MODE_FULL_TEXT."""
    rows_scanned: int
    """Number of rows that all scans of the plan read."""
    rows_filtered: int
    """Number of these rows that the filter removed."""
    notes: _containers.RepeatedScalarFieldContainer[str]
    """Notes for the caller, for example about a filter that compares with a type that the field never has. Checks the
    first 16 conditions and 10,000 documents.
    """
    plan_json: str
    """The plan in JSON, as EXPLAIN (ANALYZE, FORMAT JSON) prints it, for people."""
    def __init__(self, plan_node: _Optional[str] = ..., index: _Optional[str] = ..., no_index_reason: _Optional[str] = ..., rows_scanned: _Optional[int] = ..., rows_filtered: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ..., plan_json: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    """How long each step of a search took, measured by the server."""
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
    __slots__ = ("results", "completeness", "usage", "timing", "short_reason", "explanation", "notes", "excluded_words")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    COMPLETENESS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    SHORT_REASON_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_WORDS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SearchResult]
    """The documents, nearest first. Documents at the same distance are in a stable but unspecified order."""
    completeness: Completeness
    """The completeness of the results."""
    usage: _documents_pb2.Usage
    """The cost of embedding."""
    timing: Timing
    """How long each step took."""
    short_reason: ShortReason
    """Why there are fewer results than `limit`. SHORT_REASON_UNSPECIFIED if there are not."""
    explanation: Explanation
    """How the search ran, with `explain`."""
    notes: _containers.RepeatedScalarFieldContainer[str]
    """Notes for the caller, for example about a filter that compares with a type that the field never has, a query that
    has only stop words, or missing statistics of words. Conditions are checked only if there are no results: the first
    16, and 10,000 documents.
    """
    excluded_words: _containers.RepeatedScalarFieldContainer[str]
    """The words and phrases that are excluded from the results, as the caller typed them."""
    def __init__(self, results: _Optional[_Iterable[_Union[SearchResult, _Mapping[str, _Any]]]] = ..., completeness: _Optional[_Union[Completeness, str]] = ..., usage: _Optional[_Union[_documents_pb2.Usage, _Mapping[str, _Any]]] = ..., timing: _Optional[_Union[Timing, _Mapping[str, _Any]]] = ..., short_reason: _Optional[_Union[ShortReason, str]] = ..., explanation: _Optional[_Union[Explanation, _Mapping[str, _Any]]] = ..., notes: _Optional[_Iterable[str]] = ..., excluded_words: _Optional[_Iterable[str]] = ...) -> None: ...

class SearchBatchRequest(_message.Message):
    """Request of SearchBatch."""
    __slots__ = ("collection", "searches")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SEARCHES_FIELD_NUMBER: _ClassVar[int]
    collection: str
    """Name of the collection for searches that name none."""
    searches: _containers.RepeatedCompositeFieldContainer[SearchRequest]
    """The searches, 1 to 100. If one of them fails, all fail, and the error names its position."""
    def __init__(self, collection: _Optional[str] = ..., searches: _Optional[_Iterable[_Union[SearchRequest, _Mapping[str, _Any]]]] = ...) -> None: ...

class SearchBatchResponse(_message.Message):
    """Response of SearchBatch."""
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[SearchResponse]
    """The answers in the order of the searches. If they are above 16 MiB together, the call is RESOURCE_EXHAUSTED:
    request fewer.
    """
    def __init__(self, responses: _Optional[_Iterable[_Union[SearchResponse, _Mapping[str, _Any]]]] = ...) -> None: ...
