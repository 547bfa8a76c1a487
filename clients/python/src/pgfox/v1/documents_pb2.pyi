"""Documents: the objects that pgfox stores and finds."""
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from pgfox.v1 import errors_pb2 as _errors_pb2
from pgfox.v1 import filter_pb2 as _filter_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DocumentOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """The order in which documents are listed."""
    __slots__ = ()
    DOCUMENT_ORDER_UNSPECIFIED: _ClassVar[DocumentOrder]
    """Unspecified: means DOCUMENT_ORDER_ID."""
    DOCUMENT_ORDER_ID: _ClassVar[DocumentOrder]
    """By id, compared by bytes."""
    DOCUMENT_ORDER_CREATE_TIME: _ClassVar[DocumentOrder]
    """In the order in which they were first stored."""

class MetadataUpdate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    """How new metadata changes the metadata of a document."""
    __slots__ = ()
    METADATA_UPDATE_UNSPECIFIED: _ClassVar[MetadataUpdate]
    """Unspecified: means METADATA_UPDATE_MERGE."""
    METADATA_UPDATE_MERGE: _ClassVar[MetadataUpdate]
    """Merge by RFC 7396: a value replaces the existing one, null removes it, and objects are merged recursively."""
    METADATA_UPDATE_REPLACE: _ClassVar[MetadataUpdate]
    """Replace the whole metadata."""
DOCUMENT_ORDER_UNSPECIFIED: DocumentOrder
"""Unspecified: means DOCUMENT_ORDER_ID."""
DOCUMENT_ORDER_ID: DocumentOrder
"""By id, compared by bytes."""
DOCUMENT_ORDER_CREATE_TIME: DocumentOrder
"""In the order in which they were first stored."""
METADATA_UPDATE_UNSPECIFIED: MetadataUpdate
"""Unspecified: means METADATA_UPDATE_MERGE."""
METADATA_UPDATE_MERGE: MetadataUpdate
"""Merge by RFC 7396: a value replaces the existing one, null removes it, and objects are merged recursively."""
METADATA_UPDATE_REPLACE: MetadataUpdate
"""Replace the whole metadata."""

class Vector(_message.Message):
    """A vector of 4-byte floats."""
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    """The elements, each finite. Their number is the number of dimensions of the collection."""
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class Document(_message.Message):
    """A text or another object with a vector, and its metadata."""
    __slots__ = ("id", "text", "vector", "metadata", "version", "create_time", "update_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    """The caller's id, 1 to 512 bytes of UTF-8 without NUL. Storing a document replaces the one with the same id."""
    text: str
    """The text, at most 8 MiB of UTF-8 without NUL. In a collection with a model the text is embedded, unless it is empty or
    only white space; in one without a model it is stored beside the vector.
    """
    vector: Vector
    """The vector. In a collection with a model it is used as it is, instead of embedding the text. A document that gets no
    vector in either way is stored without one: a search by vectors does not find it, a search by words does. Responses
    contain the vector only if it is requested.
    """
    metadata: _struct_pb2.Struct
    """Any JSON object, at most 1 MiB as JSON, stored as jsonb. Objects and lists may be nested at most 32 deep, including
    the metadata itself. Numbers are doubles, so send an integer beyond 2^53 as a string. NUL characters, NaN,
    infinities and a `Value` without a kind are refused.
    """
    version: int
    """Output only, in GetDocuments and ListDocuments: 1 when the document is first stored, and one more with every
    change.
    """
    create_time: _timestamp_pb2.Timestamp
    """Output only, in GetDocuments and ListDocuments: when the document was first stored."""
    update_time: _timestamp_pb2.Timestamp
    """Output only, in GetDocuments and ListDocuments: when the document was last changed."""
    def __init__(self, id: _Optional[str] = ..., text: _Optional[str] = ..., vector: _Optional[_Union[Vector, _Mapping[str, _Any]]] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping[str, _Any]]] = ..., version: _Optional[int] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., update_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ...) -> None: ...

class IngestRequest(_message.Message):
    """Request of Ingest and IngestStream."""
    __slots__ = ("collection", "documents", "sequence", "skip_invalid", "only_if_absent", "if_version")
    class IfVersionEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SKIP_INVALID_FIELD_NUMBER: _ClassVar[int]
    ONLY_IF_ABSENT_FIELD_NUMBER: _ClassVar[int]
    IF_VERSION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    """Name of the collection."""
    documents: _containers.RepeatedCompositeFieldContainer[Document]
    """The documents, at most 1,000 and at most 16 MiB in one request. Together they may make at most 20,000 chunks. If an
    id is repeated, the last document wins.
    """
    sequence: int
    """Any number. The response returns it, so that a client knows which of its requests was acknowledged."""
    skip_invalid: bool
    """False: an invalid document refuses the whole request with INVALID_ARGUMENT, and nothing is stored. True: the valid
    documents are stored, and the invalid ones are listed in the response. A document whose text the embedding provider
    refuses counts as invalid. So does one that the table of an attached collection refuses.
    """
    only_if_absent: bool
    """Store only documents whose id does not exist yet. The others stay as they are and are counted in `skipped_count`."""
    if_version: _containers.ScalarMap[str, int]
    """Ids of documents in this request, each with the version that it must have to be replaced; 0: it must not exist. If
    a document has a different version, the request is ABORTED with ERROR_REASON_VERSION_MISMATCH and stores nothing;
    with `skip_invalid`, that document is listed in the response instead. Cannot be combined with `only_if_absent`. At
    most 1,000 entries.
    """
    def __init__(self, collection: _Optional[str] = ..., documents: _Optional[_Iterable[_Union[Document, _Mapping[str, _Any]]]] = ..., sequence: _Optional[int] = ..., skip_invalid: bool = ..., only_if_absent: bool = ..., if_version: _Optional[_Mapping[str, int]] = ...) -> None: ...

class IngestResponse(_message.Message):
    """Response of Ingest and IngestStream, sent after COMMIT."""
    __slots__ = ("sequence", "upserted_count", "updated_count", "unchanged_count", "errors", "usage", "truncated_count", "unembedded_count", "skipped_count", "embedded_count", "full_text_cut_count")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    UPSERTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNEMBEDDED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    EMBEDDED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FULL_TEXT_CUT_COUNT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    """`IngestRequest.sequence`."""
    upserted_count: int
    """Documents that were inserted or changed."""
    updated_count: int
    """Documents among `upserted_count` that existed before."""
    unchanged_count: int
    """Documents that were already stored unchanged. They cost no embedding and no write."""
    errors: _containers.RepeatedCompositeFieldContainer[DocumentError]
    """The skipped documents, with `skip_invalid`."""
    usage: Usage
    """The cost of embedding."""
    truncated_count: int
    """Documents with a text or a chunk that is longer than the model reads: its vector covers only the beginning. If the
    limit was stated by the provider and is not known for the model, the document is embedded again each time it is
    ingested, in case the provider reads more by then.
    """
    unembedded_count: int
    """Documents that were stored without a vector, because they have no text, or because the collection has no model and the
    request has no vector for them. A search by vectors does not find them.
    """
    skipped_count: int
    """Documents that already existed, with `only_if_absent`."""
    embedded_count: int
    """Texts that were embedded: documents or, in a collection with chunking, their new and changed chunks. Equal texts
    are embedded once.
    """
    full_text_cut_count: int
    """Documents with a text or a chunk that full-text search does not know completely, because of the limits of a tsvector:
    1 MB of words; 2,046 bytes and the first 256 positions of each word; and no position after the 16,383rd word, where
    phrases are not found. If Postgres makes the words (see `FullText.language`), they come from the first 200,000
    bytes.
    """
    def __init__(self, sequence: _Optional[int] = ..., upserted_count: _Optional[int] = ..., updated_count: _Optional[int] = ..., unchanged_count: _Optional[int] = ..., errors: _Optional[_Iterable[_Union[DocumentError, _Mapping[str, _Any]]]] = ..., usage: _Optional[_Union[Usage, _Mapping[str, _Any]]] = ..., truncated_count: _Optional[int] = ..., unembedded_count: _Optional[int] = ..., skipped_count: _Optional[int] = ..., embedded_count: _Optional[int] = ..., full_text_cut_count: _Optional[int] = ...) -> None: ...

class DocumentError(_message.Message):
    """Why a document was skipped."""
    __slots__ = ("index", "id", "reason", "message")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    index: int
    """Position in `IngestRequest.documents`, from 0."""
    id: str
    """The id of the document, cut to at most 512 bytes."""
    reason: _errors_pb2.ErrorReason
    """The reason for programs."""
    message: str
    """The reason for people."""
    def __init__(self, index: _Optional[int] = ..., id: _Optional[str] = ..., reason: _Optional[_Union[_errors_pb2.ErrorReason, str]] = ..., message: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    """The cost of embedding."""
    __slots__ = ("tokens", "cached_count")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_COUNT_FIELD_NUMBER: _ClassVar[int]
    tokens: int
    """Tokens that the model read, as the provider counts them."""
    cached_count: int
    """Texts of queries whose vector was in the cache. They cost nothing."""
    def __init__(self, tokens: _Optional[int] = ..., cached_count: _Optional[int] = ...) -> None: ...

class GetDocumentsRequest(_message.Message):
    """Request of GetDocuments."""
    __slots__ = ("collection", "ids", "include_vector", "allow_missing")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTOR_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    collection: str
    """Name of the collection."""
    ids: _containers.RepeatedScalarFieldContainer[str]
    """Ids of the documents, 1 to 1,000. A repeated id is returned once."""
    include_vector: bool
    """Return the vectors too. A document with chunks has the mean of their vectors."""
    allow_missing: bool
    """False: an unknown id is NOT_FOUND, and the message names it. True: unknown ids are listed in `missing_ids`."""
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ..., include_vector: bool = ..., allow_missing: bool = ...) -> None: ...

class GetDocumentsResponse(_message.Message):
    """Response of GetDocuments."""
    __slots__ = ("documents", "missing_ids")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    MISSING_IDS_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[Document]
    """The documents, in the order of the requested ids. A response above 16 MiB is RESOURCE_EXHAUSTED: request fewer."""
    missing_ids: _containers.RepeatedScalarFieldContainer[str]
    """The unknown ids, with `allow_missing`."""
    def __init__(self, documents: _Optional[_Iterable[_Union[Document, _Mapping[str, _Any]]]] = ..., missing_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ListDocumentsRequest(_message.Message):
    """Request of ListDocuments."""
    __slots__ = ("collection", "filter", "page_size", "page_token", "order", "descending", "include_vector", "read_mask")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    DESCENDING_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTOR_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    collection: str
    """Name of the collection."""
    filter: _filter_pb2.Filter
    """The documents to list. Absent: all."""
    page_size: int
    """Maximum number of documents to return, 0 to 1,000. 0: 100. A page ends before 4 MiB, the default limit of gRPC
    clients. A larger document is returned alone.
    """
    page_token: str
    """`next_page_token` of the previous page. The rest of the request must be the same as for that page, except
    `page_size`. Empty: the first page.
    """
    order: DocumentOrder
    """The order of the documents."""
    descending: bool
    """Reverse the order."""
    include_vector: bool
    """Return the vectors too. A document with chunks has the mean of their vectors."""
    read_mask: _field_mask_pb2.FieldMask
    """Fields of the documents to return: "text", "metadata", or fields of the metadata such as "metadata.title", at most
    100. All other fields are always returned; use "id" to request only those. Absent or empty: text and metadata.
    """
    def __init__(self, collection: _Optional[str] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping[str, _Any]]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., order: _Optional[_Union[DocumentOrder, str]] = ..., descending: bool = ..., include_vector: bool = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping[str, _Any]]] = ...) -> None: ...

class ListDocumentsResponse(_message.Message):
    """Response of ListDocuments."""
    __slots__ = ("documents", "next_page_token", "notes")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[Document]
    """The documents. A document that is stored, changed or deleted between two pages may or may not appear. No other
    document is left out or repeated.
    """
    next_page_token: str
    """Send it as `page_token` to get the next page. Empty: this is the last page."""
    notes: _containers.RepeatedScalarFieldContainer[str]
    """Explains why no document matches, for example because a filter compares with a type that the field never has.
    Checks the first 16 conditions and 10,000 documents.
    """
    def __init__(self, documents: _Optional[_Iterable[_Union[Document, _Mapping[str, _Any]]]] = ..., next_page_token: _Optional[str] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class CountDocumentsRequest(_message.Message):
    """Request of CountDocuments."""
    __slots__ = ("collection", "filter", "estimated")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    collection: str
    """Name of the collection."""
    filter: _filter_pb2.Filter
    """The documents to count. Absent: all."""
    estimated: bool
    """Return the estimate of Postgres' planner instead of counting: fast for any number of documents."""
    def __init__(self, collection: _Optional[str] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping[str, _Any]]] = ..., estimated: bool = ...) -> None: ...

class CountDocumentsResponse(_message.Message):
    """Response of CountDocuments."""
    __slots__ = ("count", "notes")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    count: int
    """The number of documents."""
    notes: _containers.RepeatedScalarFieldContainer[str]
    """Explains a count of 0, for example because a filter compares with a type that the field never has. Checks the first
    16 conditions and 10,000 documents.
    """
    def __init__(self, count: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class FacetDocumentsRequest(_message.Message):
    """Request of FacetDocuments."""
    __slots__ = ("collection", "filter", "field", "limit", "bucket_width")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BUCKET_WIDTH_FIELD_NUMBER: _ClassVar[int]
    collection: str
    """Name of the collection."""
    filter: _filter_pb2.Filter
    """The documents to count. Absent: all."""
    field: str
    """The field whose values are counted, written as in `Condition.field`; required. In a list each different element counts
    once per document.
    """
    limit: int
    """Maximum number of values to return, 0 to 1,000. 0: 10."""
    bucket_width: float
    """Above 0: count numbers in buckets of this width. The value of a bucket is its lower end, a multiple of the width.
    0: count each value.
    """
    def __init__(self, collection: _Optional[str] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping[str, _Any]]] = ..., field: _Optional[str] = ..., limit: _Optional[int] = ..., bucket_width: _Optional[float] = ...) -> None: ...

class FacetValue(_message.Message):
    """A value of a field, and the number of documents with it."""
    __slots__ = ("value", "count")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    value: _struct_pb2.Value
    """A string, a number or a boolean. With `bucket_width`, the lower end of the bucket."""
    count: int
    """Documents with this value."""
    def __init__(self, value: _Optional[_Union[_struct_pb2.Value, _Mapping[str, _Any]]] = ..., count: _Optional[int] = ...) -> None: ...

class FacetDocumentsResponse(_message.Message):
    """Response of FacetDocuments."""
    __slots__ = ("values", "other_value_count", "without_value_count", "notes")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    OTHER_VALUE_COUNT_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_VALUE_COUNT_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[FacetValue]
    """The most frequent values, in descending order of frequency. Equally frequent values are in the order of the values:
    booleans, numbers, then strings by their code points. With `bucket_width`, the fullest buckets, in the order of the
    values.
    """
    other_value_count: int
    """Number of different values beyond `limit`."""
    without_value_count: int
    """Documents that match the filter but have none of the counted values: the field is absent, null, an object, or a
    list without such values; or, with `bucket_width`, not a number.
    """
    notes: _containers.RepeatedScalarFieldContainer[str]
    """Explains why there are no values, for example because a filter compares with a type that the field never has.
    Checks the first 16 conditions and 10,000 documents.
    """
    def __init__(self, values: _Optional[_Iterable[_Union[FacetValue, _Mapping[str, _Any]]]] = ..., other_value_count: _Optional[int] = ..., without_value_count: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteDocumentsRequest(_message.Message):
    """Request of DeleteDocuments."""
    __slots__ = ("collection", "ids", "filter", "dry_run")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    collection: str
    """Name of the collection."""
    ids: _containers.RepeatedScalarFieldContainer[str]
    """Ids of the documents, 1 to 1,000. Set either this or `filter`."""
    filter: _filter_pb2.Filter
    """The documents to delete. Set either this or `ids`. `Filter.everything` deletes all."""
    dry_run: bool
    """Only count the documents that would be deleted. The count may be more than one call deletes."""
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping[str, _Any]]] = ..., dry_run: bool = ...) -> None: ...

class DeleteDocumentsResponse(_message.Message):
    """Response of DeleteDocuments."""
    __slots__ = ("deleted_count", "notes")
    DELETED_COUNT_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    deleted_count: int
    """Documents that existed and were deleted or, with `dry_run`, would be deleted."""
    notes: _containers.RepeatedScalarFieldContainer[str]
    """Explains why no document matches, for example because a filter compares with a type that the field never has.
    Checks the first 16 conditions and 10,000 documents.
    """
    def __init__(self, deleted_count: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class UpdateMetadataRequest(_message.Message):
    """Request of UpdateMetadata."""
    __slots__ = ("collection", "ids", "filter", "metadata", "update", "dry_run")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    collection: str
    """Name of the collection."""
    ids: _containers.RepeatedScalarFieldContainer[str]
    """Ids of the documents, 1 to 1,000. Set either this or `filter`."""
    filter: _filter_pb2.Filter
    """The documents to change. Set either this or `ids`. `Filter.everything` changes all."""
    metadata: _struct_pb2.Struct
    """The metadata. Required. The limits of `Document.metadata` also apply to the result."""
    update: MetadataUpdate
    """How to change the metadata."""
    dry_run: bool
    """Only count the documents that would change. The count may be more than one call changes."""
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping[str, _Any]]] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping[str, _Any]]] = ..., update: _Optional[_Union[MetadataUpdate, str]] = ..., dry_run: bool = ...) -> None: ...

class UpdateMetadataResponse(_message.Message):
    """Response of UpdateMetadata."""
    __slots__ = ("matched_count", "updated_count", "notes")
    MATCHED_COUNT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_COUNT_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    matched_count: int
    """Documents that were selected and exist."""
    updated_count: int
    """Documents among them that were changed or, with `dry_run`, would be changed. The metadata of the others already has
    the requested value.
    """
    notes: _containers.RepeatedScalarFieldContainer[str]
    """Explains why no document matches, for example because a filter compares with a type that the field never has.
    Checks the first 16 conditions and 10,000 documents.
    """
    def __init__(self, matched_count: _Optional[int] = ..., updated_count: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...
