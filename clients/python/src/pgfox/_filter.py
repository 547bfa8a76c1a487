"""Filters as expressions: `(F("year") >= 2000) & ~F("genres").contains_any(["Horror"])`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from numbers import Real
from typing import Any, ClassVar, NoReturn

from google.protobuf.struct_pb2 import ListValue, Value
from google.protobuf.timestamp_pb2 import Timestamp

from pgfox import v1
from pgfox._paths import quoted
from pgfox._values import RefusedError, instant, put

_MICROSECOND = timedelta(microseconds=1)


class Where(dict[str, Any]):
    """A filter: `&`, `|` and `~` combine it with others, and every message accepts it as a `Filter`.

    It is a dict with the one field of `v1.Filter` that is set. `filter` is the message.
    """

    @classmethod
    def of(cls, filter: v1.Filter | Where) -> Where:
        """A message as an expression, to combine it with others."""
        if isinstance(filter, Where):
            return filter
        if not isinstance(filter, v1.Filter):
            raise TypeError(f"a filter is made from F(...) or is a v1.Filter, not a {type(filter).__name__}")
        node = filter.WhichOneof("node")
        if node is None:
            raise ValueError("the filter is empty; use F.everything to select all documents")
        return cls({node: getattr(filter, node)})

    @property
    def filter(self) -> v1.Filter:
        """A new message each time."""
        return v1.Filter(**self)

    def __and__(self, other: v1.Filter | Where) -> Where:
        """Documents that match both."""
        other = Where.of(other)
        if "everything" in self:
            return other
        if "everything" in other:
            return self
        return _joined("all_of", [*self._parts("all_of"), *other._parts("all_of")])

    def __or__(self, other: v1.Filter | Where) -> Where:  # type: ignore[override]  # that of dict joins dicts
        """Documents that match at least one of both."""
        other = Where.of(other)
        if "everything" in self or "everything" in other:
            return F.everything
        return _joined("any_of", [*self._parts("any_of"), *other._parts("any_of")])

    def __rand__(self, other: v1.Filter) -> Where:
        return Where.of(other) & self

    def __ror__(self, other: v1.Filter) -> Where:  # type: ignore[override]
        return Where.of(other) | self

    def __ior__(self, other: v1.Filter | Where) -> Where:  # type: ignore[override]
        return self | other

    def __invert__(self) -> Where:
        """Documents that do not match."""
        parts = self._parts("none_of")
        if "none_of" in self:
            return Where.of(parts[0]) if len(parts) == 1 else _joined("any_of", parts)
        return _joined("none_of", self._parts("any_of"))

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a filter is neither true nor false: write &, | and ~ for `and`, `or` and `not`, with parentheses around "
            "comparisons, such as (F('a') == 1) & (F('b') < 2); `is None` asks whether there is one"
        )

    def __repr__(self) -> str:
        return f"<pgfox.Where {' '.join(str(self.filter).split())}>"

    def _parts(self, node: str) -> list[v1.Filter]:
        """The filters that this one joins by `node`, or itself. Nesting is limited, the length of a chain is not."""
        return list(self[node].filters) if node in self else [self.filter]


class F:
    """A field of the metadata, to build filters of: `F("year") >= 2000`, `F("author.name") == "Ada"`.

    The path is written as in `Condition.field`: keys separated by dots, `variants[].color` for the color of any
    variant. `F.path("first.name")` quotes keys with characters other than letters, digits, `_` and `-`.

    `==` and `!=` compare with any JSON value, and with None for no value. `<`, `<=`, `>` and `>=` compare with numbers
    and strings. A `date`, or a `datetime` with a zone, is compared as a time. Values of other Python types are
    converted as in `pgfox.struct`.
    """

    everything: ClassVar[Where] = Where(everything=True)
    """Every document. Use it to select all documents explicitly, and as the neutral start of a chain of `&`."""

    # Makes NumPy's scalars leave comparisons to this class.
    __array_ufunc__ = None

    def __init__(self, path: str) -> None:
        if not isinstance(path, str):
            raise TypeError(f"a field is named by a str, not by a {type(path).__name__}")
        self._path = path

    @classmethod
    def path(cls, *keys: str) -> F:
        """The field at these keys, each taken as it is: `F.path("author", "first.name")`."""
        return cls(".".join(map(quoted, keys)))

    @staticmethod
    def ids(ids: Iterable[str]) -> Where:
        """Documents with one of these ids, 1 to 1,000."""
        _refuse_one("ids", ids)
        return Where(ids=v1.IdList(ids=ids))

    def __eq__(self, value: object) -> Where:  # type: ignore[override]  # a bool, as of every object
        return self.equals(value)

    def __ne__(self, value: object) -> Where:  # type: ignore[override]
        return self.not_equals(value)

    def __lt__(self, value: Any) -> Where:
        if isinstance(value, date):
            return self.before(value)
        return self._condition(less_than=self._comparable("<", value))

    def __le__(self, value: Any) -> Where:
        if isinstance(value, date):
            return self._time("before", value, _MICROSECOND)
        return self._condition(at_most=self._comparable("<=", value))

    def __gt__(self, value: Any) -> Where:
        if isinstance(value, date):
            return self._time("since", value, _MICROSECOND)
        return self._condition(greater_than=self._comparable(">", value))

    def __ge__(self, value: Any) -> Where:
        if isinstance(value, date):
            return self.since(value)
        return self._condition(at_least=self._comparable(">=", value))

    def equals(self, value: Any, *, ignore_case: bool = False) -> Where:
        """The value equals this one. None: there is no value."""
        return self._condition(equals=self._value(value), ignore_case=ignore_case)

    def not_equals(self, value: Any, *, ignore_case: bool = False) -> Where:
        """The value does not equal this one, or is missing. None: there is a value."""
        return self._condition(not_equals=self._value(value), ignore_case=ignore_case)

    def one_of(self, values: Iterable[Any], *, ignore_case: bool = False) -> Where:
        """The value is one of these: 1 to 1,000 strings, numbers and booleans."""
        return self._condition(one_of=self._values("one_of", values), ignore_case=ignore_case)

    def none_of(self, values: Iterable[Any], *, ignore_case: bool = False) -> Where:
        """The value is none of these, or is missing."""
        return self._condition(none_of=self._values("none_of", values), ignore_case=ignore_case)

    def contains_any(self, values: Iterable[Any], *, ignore_case: bool = False) -> Where:
        """The value is a list with at least one of these."""
        return self._condition(contains_any=self._values("contains_any", values), ignore_case=ignore_case)

    def contains_all(self, values: Iterable[Any], *, ignore_case: bool = False) -> Where:
        """The value is a list with all of these."""
        return self._condition(contains_all=self._values("contains_all", values), ignore_case=ignore_case)

    def starts_with(self, text: str, *, ignore_case: bool = False) -> Where:
        """The value is a string that starts with this one."""
        return self._condition(starts_with=self._text("starts_with", text), ignore_case=ignore_case)

    def contains_text(self, text: str, *, ignore_case: bool = False) -> Where:
        """The value is a string that contains this one."""
        return self._condition(contains_text=self._text("contains_text", text), ignore_case=ignore_case)

    def exists(self, exists: bool = True) -> Where:
        """There is a value; with False: the value is missing."""
        return self._condition(exists=exists)

    def before(self, time: date) -> Where:
        """The value is a string with a time before this one, a `datetime` with a zone or a `date` (0:00 UTC)."""
        return self._time("before", time)

    def since(self, time: date) -> Where:
        """The value is a string with this time or a later one."""
        return self._time("since", time)

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self!r} is neither true nor false: compare it, or ask {self!r}.exists()")

    def __contains__(self, value: object) -> NoReturn:
        raise TypeError(f"`in` cannot make a filter: write {self!r}.contains_any([{value!r}])")

    # `==` does not compare two fields, so neither a set nor a dict can contain them.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"F({self._path!r})"

    def _condition(self, **test: Any) -> Where:
        return Where(condition=v1.Condition(field=self._path, **test))

    def _value(self, value: Any) -> Value:
        message = Value()
        try:
            put(message, value, 0)
        except RefusedError as refusal:
            failure = refusal.error(f"the value for {self!r}")
        else:
            return message
        raise failure

    def _values(self, test: str, values: Iterable[Any]) -> ListValue:
        _refuse_one(test, values)
        return self._value(list(values)).list_value

    def _comparable(self, operator: str, value: Any) -> Value:
        plain = value.value if isinstance(value, Enum) else value
        if isinstance(plain, bool) or not isinstance(plain, (str, Real, Decimal)):
            kind = type(value).__name__
            raise TypeError(f"{self!r} {operator} compares with a number, a string or a time, not with a {kind}")
        return self._value(value)

    def _text(self, test: str, text: str) -> str:
        if not isinstance(text, str):
            raise TypeError(f"{self!r}.{test} takes a str, not a {type(text).__name__}")
        return text

    def _time(self, test: str, time: date, later: timedelta = timedelta()) -> Where:
        if not isinstance(time, date):
            raise TypeError(f"{self!r}.{test} takes a datetime or a date, not a {type(time).__name__}")
        if not isinstance(time, datetime):
            time = datetime(time.year, time.month, time.day, tzinfo=timezone.utc)
        try:
            moment = instant(time)
        except RefusedError as refusal:
            failure = refusal.error(f"the value for {self!r}")
        else:
            message = Timestamp()
            message.FromDatetime(moment + later)
            return self._condition(**{test: message})
        raise failure


def _joined(node: str, filters: list[v1.Filter]) -> Where:
    return Where({node: v1.FilterList(filters=filters)})


def _refuse_one(test: str, values: object) -> None:
    """Refuses a string, which would be read as a list of its characters."""
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{test} takes a list: write [{values!r}]")
