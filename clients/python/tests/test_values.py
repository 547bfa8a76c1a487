"""Plain values as metadata, and back."""

from __future__ import annotations

import enum
import json
import subprocess
import sys
from collections import OrderedDict, deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import ListValue, Struct, Value

import pgfox
from pgfox import v1

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
EARLY = datetime(2024, 5, 1, 1, 2, 3, 456, tzinfo=timezone(timedelta(hours=2)))
KEY = UUID("12345678-1234-5678-1234-567812345678")


class Color(enum.Enum):
    RED = "red"
    BLUE = 2


class Size(enum.IntEnum):
    LARGE = 3


class Name(str):
    pass


def there_and_back(value: Any) -> Any:
    return pgfox.metadata(pgfox.document("a", metadata={"k": value}))["k"]


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            True,
            False,
            0,
            1,
            -7,
            2**53,
            -(2**53),
            0.5,
            -1e300,
            "",
            "text",
            "\u00e4\U0001f98a",
            [],
            {},
            [[]],
            {"": {}},
        ),
        [1, [2.5, {"a": None}], "x"],
        {"a": {"b": [True, False]}, "first.name": "x"},
    ],
    ids=repr,
)
def test_json_comes_back_as_it_was(value: Any) -> None:
    back = there_and_back(value)
    assert back == value
    # True is equal to 1, and 1.0 as well.
    assert json.dumps(back, sort_keys=True) == json.dumps(value, sort_keys=True)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (3.0, 3),
        ((1, "a"), [1, "a"]),
        (range(3), [0, 1, 2]),
        (deque([1]), [1]),
        ({"b", "a", "c"}, ["a", "b", "c"]),
        (frozenset([3, "x", True, 2.5]), [True, 2.5, 3, "x"]),
        ({"k": 1}.keys(), ["k"]),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        (Name("x"), "x"),
        (Color.RED, "red"),
        (Color.BLUE, 2),
        (Size.LARGE, 3),
        (date(2024, 5, 1), "2024-05-01"),
        (NOON, "2024-05-01T12:00:00Z"),
        (EARLY, "2024-04-30T23:02:03.000456Z"),
        (KEY, str(KEY)),
        (Decimal("0.1"), 0.1),
        (Decimal("12.50"), 12.5),
        (Decimal(10), 10),
        (Fraction(1, 2), 0.5),
        (np.int64(7), 7),
        (np.uint8(7), 7),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.array([1, 2]), [1, 2]),
        (np.array([[0.5], [1.5]], "f2"), [[0.5], [1.5]]),
        (np.array(["a", None], object), ["a", None]),
        (np.array(7), 7),
        (np.datetime64("2024-05-01"), "2024-05-01"),
        (np.array(["2024-05-01"], "M8[D]"), ["2024-05-01"]),
        (pd.Timestamp(NOON), "2024-05-01T12:00:00Z"),
        (pd.Series([1, 2]), [1, 2]),
        (pgfox.struct({"a": 1}), {"a": 1}),
        (pgfox.value([1]), [1]),
        (pgfox.value([1]).list_value, [1]),
    ],
    ids=lambda value: f"{type(value).__name__} {value!r}"[:60],
)
def test_other_values_become_those_of_json(value: Any, stored: Any) -> None:
    back = there_and_back(value)
    assert back == stored
    assert type(back) is type(stored)


@pytest.mark.parametrize(
    ("value", "kind", "remedy"),
    [
        (2**53 + 1, ValueError, r"is 9007199254740993, beyond 2\^53, .* send it as a string"),
        (-(2**60), ValueError, r"beyond 2\^53"),
        (np.uint64(2**63), ValueError, r"beyond 2\^53"),
        (10**5000, ValueError, "is an integer of 16610 bits"),
        (float("nan"), ValueError, "is nan, .* leave it out or send None"),
        (float("-inf"), ValueError, "is -inf"),
        (np.float32("nan"), ValueError, "is nan"),
        (np.array([np.inf])[0], ValueError, "is inf"),
        (Decimal("NaN"), ValueError, "NaN"),
        (Decimal("Infinity"), ValueError, r"Decimal\('Infinity'\)"),
        (Decimal("0.1234567890123456789"), ValueError, "does not hold exactly"),
        (Decimal(2**53 + 1), ValueError, "does not hold exactly"),
        (datetime(2024, 5, 1), ValueError, r"2024-05-01 00:00:00, which has no zone: .*timezone\.utc"),
        (np.datetime64("2024-05-01T12:00"), ValueError, "no zone"),
        (np.datetime64("NaT"), ValueError, "NaT"),
        (pd.NaT, ValueError, "NaT"),
        (pd.NA, TypeError, "NAType.*leave it out"),
        ("\ud800", ValueError, "UTF-8"),
        (b"x", TypeError, "is bytes, .* base64"),
        (bytearray(b"x"), TypeError, "base64"),
        (memoryview(b"x"), TypeError, "base64"),
        (1j, TypeError, "is a complex"),
        (np.array([1j]), TypeError, "dtype complex128"),
        (np.timedelta64(1), TypeError, "dtype timedelta64"),
        (timedelta(1), TypeError, "is a timedelta.*convert it"),
        (time(12), TypeError, "is a time"),
        (object(), TypeError, "is a object"),
        ((n for n in "ab"), TypeError, "is a generator"),
        (v1.Document(), TypeError, "is a Document"),
        ({1: "x"}, TypeError, "has the key 1, which is a int: keys of JSON are strings"),
        ({(1,), (None,)}, TypeError, "no order"),
    ],
    ids=lambda value: value.__class__.__name__,
)
def test_what_json_has_no_place_for_is_refused_with_its_path(value: Any, kind: type[Exception], remedy: str) -> None:
    with pytest.raises(kind, match=rf"^metadata\.a\.b\[3\] .*{remedy}") as bad:
        pgfox.document("x", metadata={"a": {"b": [0, 1, 2, value]}})
    assert type(bad.value) is kind
    assert bad.value.__context__ is None


def test_keys_in_a_path_are_quoted_as_in_filters() -> None:
    with pytest.raises(ValueError, match=r'^metadata\."first\.name"\."\\"" is nan'):
        pgfox.document("x", metadata={"first.name": {'"': float("nan")}})
    with pytest.raises(TypeError, match=r"^metadata is a list, not a dict"):
        pgfox.document("x", metadata=[1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^metadata has the key 1"):
        pgfox.document("x", metadata={1: 2})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"^the value is bytes"):
        pgfox.value(b"")


def test_depth_is_that_of_the_server() -> None:
    def nested(depth: int) -> Any:
        return [nested(depth - 1)] if depth else 1

    assert there_and_back(nested(31)) == nested(31)
    with pytest.raises(ValueError, match=r"^metadata\.k(\[0\]){31} is nested too deeply: at most 32"):
        there_and_back(nested(32))
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested too deeply"):
        there_and_back(endless)


def test_a_document_of_plain_values() -> None:
    document = pgfox.document(7, text="t", vector=np.array([0.5, 1]), metadata={"year": 1999, "tags": ["a"]})
    assert document == v1.Document(
        id="7", text="t", vector=pgfox.vector([0.5, 1]), metadata={"year": 1999, "tags": ["a"]}
    )
    assert pgfox.metadata(document) == {"year": 1999, "tags": ["a"]}
    assert pgfox.document(KEY).id == str(KEY)
    assert pgfox.document("a") == v1.Document(id="a")
    assert pgfox.document("a", vector=document.vector).vector == document.vector
    assert pgfox.metadata(pgfox.document("a")) == {}
    # A vector or an object that is empty is still there.
    assert pgfox.document("a", vector=[]).HasField("vector")
    assert pgfox.document("a", metadata={}).HasField("metadata")
    for bad in (None, True, 1.5, b"a"):
        with pytest.raises(TypeError, match=f"^id is a {type(bad).__name__}, not a str"):
            pgfox.document(bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^text is a int, not a str"):
        pgfox.document("a", text=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"takes a v1\.Document, not a SearchResult"):
        pgfox.metadata(v1.SearchResult())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="value 1 of the vector is nan"):
        pgfox.document("a", vector=[1, float("nan")])


def test_messages_as_plain_values() -> None:
    values = {"a": [1, 0.5, None, True, "x", {"b": []}], "big": 1e300, "limit": 2**53}
    message = pgfox.struct(values)
    assert pgfox.plain(message) == values == MessageToDict(message)
    assert [type(number) for number in pgfox.plain(message)["a"][:2]] == [int, float]
    assert type(pgfox.plain(pgfox.value(float(2**54)))) is float
    assert pgfox.plain(Value()) is None
    assert pgfox.plain(Struct()) == {}
    assert pgfox.plain(ListValue()) == []
    assert v1.UpdateMetadataRequest(metadata=pgfox.struct({"seen": NOON})).metadata["seen"] == "2024-05-01T12:00:00Z"


def test_pandas_and_numpy_are_not_needed() -> None:
    program = (
        "import sys\n"
        "for name in ('numpy', 'pandas', 'polars', 'pyarrow'): sys.modules[name] = None\n"
        "import pgfox\n"
        "print(pgfox.metadata(pgfox.document(1, vector=[1], metadata={'a': (1, 2.5)})))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "{'a': [1, 2.5]}\n"
