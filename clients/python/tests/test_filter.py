"""Filters as expressions."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import reduce
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

import pgfox
from pgfox import F, v1

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def number(value: float) -> Any:
    return {"number_value": value}


def string(value: str) -> Any:
    return {"string_value": value}


def strings(*values: str) -> Any:
    return {"values": [string(value) for value in values]}


def time(value: str) -> Timestamp:
    message = Timestamp()
    message.FromJsonString(value)
    return message


@pytest.mark.parametrize(
    ("where", "condition"),
    [
        (F("year") == 2000, {"field": "year", "equals": number(2000)}),
        (F("a.b") == "x", {"field": "a.b", "equals": string("x")}),
        (F("a") == None, {"field": "a", "equals": {"null_value": 0}}),  # noqa: E711
        (F("a") != None, {"field": "a", "not_equals": {"null_value": 0}}),  # noqa: E711
        (F("a") == True, {"field": "a", "equals": {"bool_value": True}}),  # noqa: E712
        (F("a") == ["x"], {"field": "a", "equals": {"list_value": strings("x")}}),
        (F("a") == UUID(int=1), {"field": "a", "equals": string(str(UUID(int=1)))}),
        (F("a") == NOON, {"field": "a", "equals": string("2024-05-01T12:00:00Z")}),
        (F("a") != "x", {"field": "a", "not_equals": string("x")}),
        (F("a") < 1, {"field": "a", "less_than": number(1)}),
        (F("a") <= 1.5, {"field": "a", "at_most": number(1.5)}),
        (F("a") > Decimal("0.5"), {"field": "a", "greater_than": number(0.5)}),
        (F("a") >= "m", {"field": "a", "at_least": string("m")}),
        (2000 <= F("a"), {"field": "a", "at_least": number(2000)}),  # noqa: SIM300
        (np.int64(5) <= F("a"), {"field": "a", "at_least": number(5)}),
        (np.float32(0.5) == F("a"), {"field": "a", "equals": number(0.5)}),
        (F("a").one_of(["x", 1]), {"field": "a", "one_of": {"values": [string("x"), number(1)]}}),
        (F("a").one_of(np.array(["x"])), {"field": "a", "one_of": strings("x")}),
        (F("a").none_of({"x"}), {"field": "a", "none_of": strings("x")}),
        (F("a").contains_any(["x"]), {"field": "a", "contains_any": strings("x")}),
        (F("a").contains_all(("x", "y")), {"field": "a", "contains_all": strings("x", "y")}),
        (F("a").starts_with("x"), {"field": "a", "starts_with": "x"}),
        (F("a").exists(), {"field": "a", "exists": True}),
        (F("a").exists(False), {"field": "a", "exists": False}),
        (F("a").before(NOON), {"field": "a", "before": time("2024-05-01T12:00:00Z")}),
        (F("a").since(date(2024, 5, 1)), {"field": "a", "since": time("2024-05-01T00:00:00Z")}),
        (
            F("a") < NOON.astimezone(timezone(timedelta(hours=2))),
            {"field": "a", "before": time("2024-05-01T12:00:00Z")},
        ),
        (F("a") <= NOON, {"field": "a", "before": time("2024-05-01T12:00:00.000001Z")}),
        (F("a") > NOON, {"field": "a", "since": time("2024-05-01T12:00:00.000001Z")}),
        (F("a") >= date(2024, 5, 1), {"field": "a", "since": time("2024-05-01T00:00:00Z")}),
        (F("a").contains_text("x", ignore_case=True), {"field": "a", "contains_text": "x", "ignore_case": True}),
        (F("a").equals("x", ignore_case=True), {"field": "a", "equals": string("x"), "ignore_case": True}),
        (F("variants[].color") == "red", {"field": "variants[].color", "equals": string("red")}),
        (
            F.path("author", "first.name", 'a"\\', "\u00e4") == 1,
            {"field": r'author."first.name"."a\"\\"."ä"', "equals": number(1)},
        ),
    ],
    ids=lambda value: str(value)[:70] if isinstance(value, pgfox.Where) else "",
)
def test_a_condition(where: pgfox.Where, condition: dict[str, Any]) -> None:
    expected = v1.Filter(condition=condition)
    assert where.filter == expected
    # Messages take it as it is.
    assert v1.SearchRequest(filter=where).filter == expected
    assert v1.FilterList(filters=[where, where]).filters[1] == expected
    for again in (pickle.loads(pickle.dumps(where)), copy.deepcopy(where)):
        assert type(again) is pgfox.Where
        assert again.filter == expected


def test_ids_and_everything() -> None:
    assert F.ids(["a", "b"]).filter == v1.Filter(ids={"ids": ["a", "b"]})
    assert F.everything.filter == v1.Filter(everything=True)
    assert v1.DeleteDocumentsRequest(filter=F.everything).filter.everything


A, B, C = F("a") == 1, F("b") == 2, F("c") == 3


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (A & B, {"all_of": {"filters": [A, B]}}),
        (A | B, {"any_of": {"filters": [A, B]}}),
        (~A, {"none_of": {"filters": [A]}}),
        (~~A, A),
        (A & B & C, {"all_of": {"filters": [A, B, C]}}),
        (A & (B & C), {"all_of": {"filters": [A, B, C]}}),
        (A | B | C, {"any_of": {"filters": [A, B, C]}}),
        (A | B & C, {"any_of": {"filters": [A, {"all_of": {"filters": [B, C]}}]}}),
        (~(A | B), {"none_of": {"filters": [A, B]}}),
        (~~(A | B), {"any_of": {"filters": [A, B]}}),
        (~(A & B), {"none_of": {"filters": [{"all_of": {"filters": [A, B]}}]}}),
        (F.everything & A, A),
        (A & F.everything, A),
        (A | F.everything, F.everything),
        (A & v1.Filter(**B), {"all_of": {"filters": [A, B]}}),
        (v1.Filter(**A) | B, {"any_of": {"filters": [A, B]}}),
        (pgfox.Where.of(v1.Filter(**A)), A),
    ],
)
def test_combinations(where: pgfox.Where, expected: Any) -> None:
    assert where.filter == v1.Filter(**expected)


def test_a_chain_is_not_nested() -> None:
    def depth(filter: v1.Filter) -> int:
        parts = [part for node in (filter.all_of, filter.any_of, filter.none_of) for part in node.filters]
        return 1 + max(map(depth, parts), default=0)

    conditions = [F("n") == n for n in range(256)]
    for join in (operator.and_, operator.or_):
        where = reduce(join, conditions)
        assert depth(where.filter) == 2
    for n in range(20):
        where = ~(where | (F("n") == n)) if n % 2 else where | (F("m") == n)
    where = A
    where &= B
    where |= C
    assert where.filter == ((A & B) | C).filter
    # Neither changes what it was made of.
    assert A.filter == (F("a") == 1).filter


@pytest.mark.parametrize(
    "slip",
    [
        lambda: bool(A),
        lambda: A and B,
        lambda: A or B,
        lambda: not A,
        lambda: 1 < F("a") < 5,
        lambda: any([A, B]),
        lambda: 1 if A else 2,
    ],
)
def test_a_filter_is_neither_true_nor_false(slip: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match=r"write &, \| and ~ for `and`, `or` and `not`, with parentheses"):
        slip()


@pytest.mark.parametrize(
    ("slip", "kind", "text"),
    [
        (lambda: bool(F("a")), TypeError, r"F\('a'\)\.exists\(\)"),
        (lambda: "x" in F("a"), TypeError, r"write F\('a'\)\.contains_any\(\['x'\]\)"),
        (lambda: F("a").one_of("abc"), TypeError, r"one_of takes a list: write \['abc'\]"),
        (lambda: F.ids("abc"), TypeError, r"ids takes a list: write \['abc'\]"),
        (lambda: F("a") < None, TypeError, "a number, a string or a time, not with a NoneType"),
        (lambda: F("a") >= True, TypeError, "not with a bool"),
        (lambda: F("a") > [1], TypeError, "not with a list"),
        (lambda: F("a") == float("nan"), ValueError, r"the value for F\('a'\) is nan"),
        (lambda: F("a") >= 2**53 + 1, ValueError, r"beyond 2\^53.*send it as a string"),
        (lambda: F("a").one_of([1, b"x"]), TypeError, r"F\('a'\)\[1\] is bytes"),
        (lambda: F("a") == F("b"), TypeError, "is a F"),
        (lambda: F("a") < datetime(2024, 5, 1), ValueError, "has no zone"),
        (lambda: F("a") == datetime(2024, 5, 1), ValueError, "has no zone"),
        (lambda: F("a").before("2024"), TypeError, "before takes a datetime or a date, not a str"),  # type: ignore[arg-type]
        (lambda: F("a").starts_with(1), TypeError, "takes a str, not a int"),  # type: ignore[arg-type]
        (lambda: F(1), TypeError, "named by a str"),  # type: ignore[arg-type]
        (lambda: A & 1, TypeError, r"made from F\(\.\.\.\) or is a v1\.Filter, not a int"),  # type: ignore[operator]
        (lambda: A & F("b"), TypeError, "not a F"),  # type: ignore[operator]
        (lambda: A & v1.Filter(), ValueError, "empty"),
        (lambda: {F("a")}, TypeError, "unhashable"),
    ],
)
def test_slips(slip: Callable[[], object], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        slip()


def test_they_can_be_read() -> None:
    assert repr(F("a.b")) == "F('a.b')"
    assert repr(F("a") == "x") == '<pgfox.Where condition { field: "a" equals { string_value: "x" } }>'
