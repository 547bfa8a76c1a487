"""Filters: select documents by their metadata."""
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Filter(_message.Message):
    """Selects documents. At most 8 levels of filters, 256 conditions and lists of ids, and 1,000 values or ids in a list.

    An absent field and a field that is null are the same: the value is missing. If a value is missing, positive tests
    are false and negative tests are true. The negative tests are `not_equals`, `Condition.none_of`, `exists` false,
    `equals` null and `Filter.none_of`. A positive test is also false if the value has another type: "7" does not equal
    7, and is neither less nor greater.
    """
    __slots__ = ("condition", "all_of", "any_of", "none_of", "ids", "everything")
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    ALL_OF_FIELD_NUMBER: _ClassVar[int]
    ANY_OF_FIELD_NUMBER: _ClassVar[int]
    NONE_OF_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    EVERYTHING_FIELD_NUMBER: _ClassVar[int]
    condition: Condition
    """One field."""
    all_of: FilterList
    """All of these filters are true."""
    any_of: FilterList
    """At least one of these filters is true."""
    none_of: FilterList
    """None of these filters is true."""
    ids: IdList
    """The document has one of these ids."""
    everything: bool
    """Every document matches. Must be true. Use it to select all documents in calls that refuse an absent filter."""
    def __init__(self, condition: _Optional[_Union[Condition, _Mapping[str, _Any]]] = ..., all_of: _Optional[_Union[FilterList, _Mapping[str, _Any]]] = ..., any_of: _Optional[_Union[FilterList, _Mapping[str, _Any]]] = ..., none_of: _Optional[_Union[FilterList, _Mapping[str, _Any]]] = ..., ids: _Optional[_Union[IdList, _Mapping[str, _Any]]] = ..., everything: bool = ...) -> None: ...

class FilterList(_message.Message):
    """A list of filters to combine."""
    __slots__ = ("filters",)
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    filters: _containers.RepeatedCompositeFieldContainer[Filter]
    """The filters, at least one: an empty list would match everything or nothing by accident."""
    def __init__(self, filters: _Optional[_Iterable[_Union[Filter, _Mapping[str, _Any]]]] = ...) -> None: ...

class IdList(_message.Message):
    """Ids of documents."""
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    """The ids, 1 to 1,000."""
    def __init__(self, ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Condition(_message.Message):
    """A test of one field of the metadata."""
    __slots__ = ("field", "equals", "not_equals", "less_than", "at_most", "greater_than", "at_least", "one_of", "none_of", "contains_any", "contains_all", "starts_with", "exists", "before", "since", "contains_text", "ignore_case")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    EQUALS_FIELD_NUMBER: _ClassVar[int]
    NOT_EQUALS_FIELD_NUMBER: _ClassVar[int]
    LESS_THAN_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_FIELD_NUMBER: _ClassVar[int]
    GREATER_THAN_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    ONE_OF_FIELD_NUMBER: _ClassVar[int]
    NONE_OF_FIELD_NUMBER: _ClassVar[int]
    CONTAINS_ANY_FIELD_NUMBER: _ClassVar[int]
    CONTAINS_ALL_FIELD_NUMBER: _ClassVar[int]
    STARTS_WITH_FIELD_NUMBER: _ClassVar[int]
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    CONTAINS_TEXT_FIELD_NUMBER: _ClassVar[int]
    IGNORE_CASE_FIELD_NUMBER: _ClassVar[int]
    field: str
    """The field: a key, or keys separated by dots that lead through objects, such as `author.name`. Put a key with
    characters other than letters, digits, `_` and `-` in double quotes, and write `"` and `\\` in it as `\\"` and `\\\\`:
    `"first.name"`. `[]` after a key leads into the elements of a list: `variants[].color` means the color of each
    variant, and `tags[]` means each tag. A positive test is true if it is true for at least one element. A negative
    test is true if its opposite is true for no element, so also if there is no list. 1 to 16 keys, at most 1,024
    bytes.
    """
    equals: _struct_pb2.Value
    """The value equals this one. Numbers are compared as numbers; an object or a list is compared as a whole. null: the
    value is missing.
    """
    not_equals: _struct_pb2.Value
    """The value does not equal this one, or is missing. null: there is a value."""
    less_than: _struct_pb2.Value
    """The value is less. A number or a string; strings are compared by their code points."""
    at_most: _struct_pb2.Value
    """The value is less or equal. A number or a string."""
    greater_than: _struct_pb2.Value
    """The value is greater. A number or a string."""
    at_least: _struct_pb2.Value
    """The value is greater or equal. A number or a string."""
    one_of: _struct_pb2.ListValue
    """The value is one of these: 1 to 1,000 strings, numbers and booleans."""
    none_of: _struct_pb2.ListValue
    """The value is none of these, or is missing. 1 to 1,000 strings, numbers and booleans."""
    contains_any: _struct_pb2.ListValue
    """The value is a list with at least one of these: 1 to 1,000 strings, numbers and booleans."""
    contains_all: _struct_pb2.ListValue
    """The value is a list with all of these: 1 to 1,000 strings, numbers and booleans."""
    starts_with: str
    """The value is a string that starts with this one. Must not be empty."""
    exists: bool
    """True: there is a value. False: the value is missing."""
    before: _timestamp_pb2.Timestamp
    """The value is a string with a time before this one, such as "2024-05-01T12:00:00Z". The format is RFC 3339; it may
    have a space instead of the T, no seconds, an offset such as +0200 or +02, or only a date. Without a zone the
    time is in UTC. Times are compared to the microsecond.
    """
    since: _timestamp_pb2.Timestamp
    """The value is a string with this time or a later one."""
    contains_text: str
    """The value is a string that contains this one. Must not be empty."""
    ignore_case: bool
    """Compare strings without regard to case, in every script and with any locale of the database, by the full case
    folding of Unicode: "ß" equals "SS", and "ς" equals "Σ". Allowed with `equals`, `not_equals`, `one_of`, `none_of`,
    `contains_any`, `contains_all`, `starts_with` and `contains_text`, whose values must then be strings. Refused with
    any other test. No index serves it.
    """
    def __init__(self, field: _Optional[str] = ..., equals: _Optional[_Union[_struct_pb2.Value, _Mapping[str, _Any]]] = ..., not_equals: _Optional[_Union[_struct_pb2.Value, _Mapping[str, _Any]]] = ..., less_than: _Optional[_Union[_struct_pb2.Value, _Mapping[str, _Any]]] = ..., at_most: _Optional[_Union[_struct_pb2.Value, _Mapping[str, _Any]]] = ..., greater_than: _Optional[_Union[_struct_pb2.Value, _Mapping[str, _Any]]] = ..., at_least: _Optional[_Union[_struct_pb2.Value, _Mapping[str, _Any]]] = ..., one_of: _Optional[_Union[_struct_pb2.ListValue, _Mapping[str, _Any]]] = ..., none_of: _Optional[_Union[_struct_pb2.ListValue, _Mapping[str, _Any]]] = ..., contains_any: _Optional[_Union[_struct_pb2.ListValue, _Mapping[str, _Any]]] = ..., contains_all: _Optional[_Union[_struct_pb2.ListValue, _Mapping[str, _Any]]] = ..., starts_with: _Optional[str] = ..., exists: bool = ..., before: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping[str, _Any]]] = ..., contains_text: _Optional[str] = ..., ignore_case: bool = ...) -> None: ...
