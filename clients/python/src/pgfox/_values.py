"""Converts JSON values, as metadata and filters contain them, between Python and the messages of protobuf."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from typing import Any, overload
from uuid import UUID

from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Struct, Value

from pgfox._paths import quoted

# Beyond these a double cannot represent every integer.
MAX_INTEGER = 2**53
# Maximum nesting of objects and lists, the server's limit.
MAX_DEPTH = 32


class RefusedError(Exception):
    """A value that JSON cannot represent. It collects the path of the value while it is raised."""

    def __init__(self, kind: type[TypeError] | type[ValueError], rule: str) -> None:
        super().__init__(rule)
        self.kind = kind
        self.rule = rule
        self.steps: list[str | int] = []

    def error(self, path: str) -> TypeError | ValueError:
        """The error for the caller. `path` is the path of the whole."""
        for step in reversed(self.steps):
            if isinstance(step, int):
                path += f"[{step}]"
            else:
                path += f".{quoted(step)}" if path else quoted(step)
        return self.kind(f"{path} {self.rule}")


def value(value: Any) -> Value:
    """One JSON value, for a message with a `google.protobuf.Value`. It accepts the same values as `struct`.

    Raises:
        TypeError, ValueError: the same as for `struct`.
    """
    message = Value()
    try:
        put(message, value, 0)
    except RefusedError as refusal:
        failure = refusal.error("the value")
    else:
        return message
    raise failure


def struct(values: Mapping[str, Any], path: str = "metadata") -> Struct:
    """A JSON object, for metadata: `v1.UpdateMetadataRequest(metadata=pgfox.struct({"seen": now}))`.

    It accepts JSON values, and also tuples and sets (as lists, sets in order), NumPy's scalars and arrays, enums (their
    value), `date` ("2024-05-01"), `datetime` with a zone (in UTC: "2024-05-01T12:00:00Z"), `UUID`, and `Decimal` when a
    double spells the same number.

    Args:
        path: the name of the object in errors.

    Raises:
        TypeError: a value or key has a type that JSON does not have, such as bytes. The text names its path, such as
            `metadata.cut.scenes[3]`, and the remedy.
        ValueError: a value would change: an integer beyond 2^53, NaN, a `datetime` without a zone.
    """
    message = Struct()
    fill(message, values, path)
    return message


@overload
def plain(message: Struct) -> dict[str, Any]: ...
@overload
def plain(message: ListValue) -> list[Any]: ...
@overload
def plain(message: Value) -> Any: ...
def plain(message: Struct | ListValue | Value) -> Any:
    """A JSON object, list or value as a dict, a list or a plain value.

    Numbers without a fraction, within 2^53, are `int`.
    """
    if isinstance(message, Struct):
        return {key: plain(item) for key, item in message.fields.items()}
    if isinstance(message, ListValue):
        return [plain(item) for item in message.values]
    kind = message.WhichOneof("kind")
    if kind == "number_value":
        number = message.number_value
        return int(number) if number.is_integer() and -MAX_INTEGER <= number <= MAX_INTEGER else number
    if kind == "struct_value":
        return plain(message.struct_value)
    if kind == "list_value":
        return plain(message.list_value)
    return None if kind is None or kind == "null_value" else getattr(message, kind)


def fill(message: Struct, values: Mapping[str, Any], path: str) -> None:
    """Sets an empty message to the values; its errors are those of `struct`."""
    try:
        if not isinstance(values, Mapping):
            raise RefusedError(TypeError, f"is a {_name(values)}, not a dict")
        _put_fields(message, values, 1)
    except RefusedError as refusal:
        failure = refusal.error(path)
    else:
        return
    # Outside the handler, so that the traceback is short.
    raise failure


def put(message: Value, value: Any, depth: int) -> None:
    """Sets an empty message to a value that is within `depth` objects and lists; raises a RefusedError."""
    kind = type(value)
    if kind is str:
        try:
            message.string_value = value
        except ValueError:
            raise RefusedError(
                ValueError, f"is {value!r}, which has half a character: UTF-8 cannot represent it"
            ) from None
    elif kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            shown = value if value.bit_length() < 256 else f"an integer of {value.bit_length()} bits"
            rule = f"is {shown}, beyond 2^53, which a JSON number does not hold exactly: send it as a string"
            raise RefusedError(ValueError, rule)
        message.number_value = value
    elif kind is float:
        if not math.isfinite(value):
            raise RefusedError(ValueError, f"is {value}, which JSON has no number for: leave it out or send None")
        message.number_value = value
    elif kind is bool:
        message.bool_value = value
    elif value is None:
        message.null_value = NULL_VALUE
    elif kind is dict:
        _put_fields(message.struct_value, value, depth + 1)
    elif kind is list:
        _put_items(message.list_value, value, depth + 1)
    else:
        put(message, _simple(value), depth)


def instant(moment: datetime) -> datetime:
    """The time in UTC. Refuses one without a zone."""
    if is_missing(moment):
        raise RefusedError(ValueError, "is NaT, which is not a time")
    if moment.utcoffset() is None:
        rule = "has no zone: add it, such as .replace(tzinfo=timezone.utc) or .astimezone()"
        raise RefusedError(ValueError, f"is the datetime {moment}, which {rule}")
    return moment.astimezone(timezone.utc)


def spelled(moment: datetime) -> str:
    """The time in RFC 3339 format, in UTC."""
    return instant(moment).isoformat().replace("+00:00", "Z")


def is_missing(value: Any) -> bool:
    """Whether it is None, NaN, or the missing value of pandas."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (Real, Decimal)) and value != value


def _put_fields(message: Struct, values: Mapping[Any, Any], depth: int) -> None:
    _check_depth(depth)
    fields = message.fields
    if not values:
        # Otherwise a nested object would be missing.
        message.SetInParent()
    for key, item in values.items():
        if not isinstance(key, str):
            raise RefusedError(TypeError, f"has the key {key!r}, which is a {_name(key)}: keys of JSON are strings")
        try:
            put(fields[key], item, depth)
        except RefusedError as refusal:
            refusal.steps.append(key)
            raise
        except ValueError:
            raise RefusedError(ValueError, f"has the key {key!r}, which UTF-8 has no place for") from None


def _put_items(message: ListValue, items: Sequence[Any], depth: int) -> None:
    _check_depth(depth)
    values = message.values
    if not items:
        message.SetInParent()
    for index, item in enumerate(items):
        try:
            put(values.add(), item, depth)
        except RefusedError as refusal:
            refusal.steps.append(index)
            raise


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise RefusedError(
            ValueError, f"is nested too deeply: at most {MAX_DEPTH} levels of objects and lists are allowed"
        )


def _simple(value: Any) -> Any:
    """A value one step nearer to those of JSON; raises a RefusedError."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (date, UUID, Decimal)):
        return _spelled_or_number(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise RefusedError(
            TypeError, f"is {_name(value)}, which JSON has no place for: decode it, or encode it in base64"
        )
    # Before the numbers: NumPy's timedelta64 claims to be one.
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(value, "__array__"):
        return _of_numpy(numpy, numpy.asarray(value))
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    if isinstance(value, Set):
        return _sorted(value)
    if isinstance(value, (Struct, ListValue, Value)):
        return plain(value)
    rule = "leave it out or send None" if is_missing(value) else "convert it, for example by str()"
    raise RefusedError(TypeError, f"is a {_name(value)}, which JSON has no place for: {rule}")


def _spelled_or_number(value: date | UUID | Decimal) -> Any:
    if is_missing(value):
        raise RefusedError(ValueError, f"is {value}, which JSON has no place for: leave it out or send None")
    if isinstance(value, datetime):
        return spelled(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if value == value.to_integral_value() and abs(value) <= MAX_INTEGER:
        return int(value)
    number = float(value)
    if not math.isfinite(number) or Decimal(repr(number)) != value:
        rule = f"is Decimal({str(value)!r}), which a JSON number does not hold exactly: send float() or str() of it"
        raise RefusedError(ValueError, rule)
    return number


def _of_numpy(numpy: Any, array: Any) -> Any:
    kind = array.dtype.kind
    if kind == "M":
        if numpy.isnat(array).any():
            raise RefusedError(ValueError, "is NaT, which JSON has no place for: leave it out or send None")
        if numpy.datetime_data(array.dtype)[0] not in ("D", "W", "M", "Y"):
            raise RefusedError(ValueError, "is a datetime64, which has no zone: make it a datetime with one")
        return numpy.datetime_as_string(array, unit="D").tolist()
    if kind not in "biufOUT":
        raise RefusedError(TypeError, f"has the dtype {array.dtype}, which JSON has no place for: convert it")
    # tolist returns the longest floats unchanged.
    return (array.astype(float) if kind == "f" else array).tolist()


def _sorted(items: Set[Any]) -> list[Any]:
    """In the order of their values, so that the same set is the same list each time."""
    message = ListValue()
    _put_items(message, list(items), 1)
    try:
        return sorted(plain(message), key=lambda item: (type(item).__name__, item))
    except TypeError:
        raise RefusedError(TypeError, "is a set of values that have no order: send a list") from None


def _name(value: object) -> str:
    return type(value).__name__
