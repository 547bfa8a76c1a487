from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Filter(_message.Message):
    __slots__ = ("condition", "all_of", "any_of", "none_of", "ids", "everything")
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    ALL_OF_FIELD_NUMBER: _ClassVar[int]
    ANY_OF_FIELD_NUMBER: _ClassVar[int]
    NONE_OF_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    EVERYTHING_FIELD_NUMBER: _ClassVar[int]
    condition: Condition
    all_of: FilterList
    any_of: FilterList
    none_of: FilterList
    ids: IdList
    everything: bool
    def __init__(self, condition: _Optional[_Union[Condition, _Mapping]] = ..., all_of: _Optional[_Union[FilterList, _Mapping]] = ..., any_of: _Optional[_Union[FilterList, _Mapping]] = ..., none_of: _Optional[_Union[FilterList, _Mapping]] = ..., ids: _Optional[_Union[IdList, _Mapping]] = ..., everything: bool = ...) -> None: ...

class FilterList(_message.Message):
    __slots__ = ("filters",)
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    filters: _containers.RepeatedCompositeFieldContainer[Filter]
    def __init__(self, filters: _Optional[_Iterable[_Union[Filter, _Mapping]]] = ...) -> None: ...

class IdList(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Condition(_message.Message):
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
    equals: _struct_pb2.Value
    not_equals: _struct_pb2.Value
    less_than: _struct_pb2.Value
    at_most: _struct_pb2.Value
    greater_than: _struct_pb2.Value
    at_least: _struct_pb2.Value
    one_of: _struct_pb2.ListValue
    none_of: _struct_pb2.ListValue
    contains_any: _struct_pb2.ListValue
    contains_all: _struct_pb2.ListValue
    starts_with: str
    exists: bool
    before: _timestamp_pb2.Timestamp
    since: _timestamp_pb2.Timestamp
    contains_text: str
    ignore_case: bool
    def __init__(self, field: _Optional[str] = ..., equals: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., not_equals: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., less_than: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., at_most: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., greater_than: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., at_least: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., one_of: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ..., none_of: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ..., contains_any: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ..., contains_all: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ..., starts_with: _Optional[str] = ..., exists: bool = ..., before: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., contains_text: _Optional[str] = ..., ignore_case: bool = ...) -> None: ...
