"""DataFrames and Arrow tables as documents."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import Aio, Sync
from standin import StandIn

import pgfox
from pgfox import v1

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)

COLUMNS: dict[str, list[Any]] = {
    "key": ["a", "b", "c"],
    "plot": ["first", None, "third"],
    "vector": [[0.5, 1.0], [1.5, 2.0], None],
    "year": [1999, 2000, None],
    "rating": [8.5, None, 7.0],
    "seen": [True, False, None],
    "at": [NOON, None, NOON],
    "day": [date(2024, 5, 1), None, date(2024, 5, 2)],
    "tags": [["x", "y"], [], None],
    "cut": [{"minutes": 90}, None, {"minutes": None}],
}

EXPECTED = [
    pgfox.document(
        "a",
        text="first",
        vector=[0.5, 1],
        metadata={
            "year": 1999,
            "rating": 8.5,
            "seen": True,
            "at": NOON,
            "day": date(2024, 5, 1),
            "tags": ["x", "y"],
            "cut": {"minutes": 90},
        },
    ),
    pgfox.document("b", vector=[1.5, 2], metadata={"year": 2000, "seen": False, "tags": []}),
    pgfox.document(
        "c",
        text="third",
        metadata={"rating": 7, "at": NOON, "day": date(2024, 5, 2), "cut": {"minutes": None}},
    ),
]


class Capsule:
    """What has the interface of Arrow and nothing else."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def frame_of_arrays(columns: dict[str, list[Any]]) -> pd.DataFrame:
    """Vectors as arrays, nullable and categorical types."""
    frame = pd.DataFrame(columns)
    vectors = [None if vector is None else np.array(vector, np.float32) for vector in columns["vector"]]
    frame["vector"] = pd.Series(vectors, dtype=object)
    frame["year"] = frame["year"].astype("Int64")
    frame["plot"] = frame["plot"].astype("category")
    frame["seen"] = frame["seen"].astype("boolean")
    frame["at"] = pd.to_datetime(frame["at"])
    return frame


KINDS: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "pandas": pd.DataFrame,
    "pandas of arrays": frame_of_arrays,
    "pandas of arrow": lambda columns: pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": pl.DataFrame,
    "polars of arrays": lambda columns: pl.DataFrame(columns, schema_overrides={"vector": pl.Array(pl.Float32, 2)}),
    "table": pa.table,
    "table of fixed size": lambda columns: pa.table(
        {**columns, "vector": pa.array(columns["vector"], pa.list_(pa.float32(), 2))}
    ),
    "batch": lambda columns: pa.table(columns).to_batches()[0],
    "reader": lambda columns: pa.table(columns).to_reader(),
    "capsule": lambda columns: Capsule(pa.table(columns)),
    "dictionary": lambda columns: pa.table({**columns, "plot": pa.array(columns["plot"]).dictionary_encode()}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_become_documents(kind: str) -> None:
    documents = list(pgfox.documents(KINDS[kind](COLUMNS), id="key", text="plot", vector="vector"))
    assert documents == EXPECTED


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_columns_that_are_named(kind: str) -> None:
    documents = list(pgfox.documents(KINDS[kind](COLUMNS), id="key", metadata=["year"]))
    assert documents == [
        pgfox.document("a", metadata={"year": 1999}),
        pgfox.document("b", metadata={"year": 2000}),
        pgfox.document("c"),
    ]
    assert not any(
        pgfox.metadata(document) for document in pgfox.documents(KINDS[kind](COLUMNS), id="key", metadata=[])
    )


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_many_rows_and_ids_that_are_integers(make: Any) -> None:
    numbers = list(range(2_500))
    documents = list(pgfox.documents(make({"n": numbers, "half": [n / 2 for n in numbers]}), id="n"))
    assert documents == [pgfox.document(n, metadata={"half": n / 2}) for n in numbers]
    assert (
        list(pgfox.documents(make({"n": numbers}).head(0) if make is not pa.table else pa.table({"n": []}), id="n"))
        == []
    )


def test_chunks_and_slices_of_arrow() -> None:
    table = pa.concat_tables([pa.table(COLUMNS), pa.table(COLUMNS)]).slice(1, 4)
    documents = list(pgfox.documents(table, id="key", text="plot", vector="vector"))
    assert documents == [*EXPECTED[1:], *EXPECTED[:2]]
    assert table.num_rows == 4


def test_the_index_of_pandas_may_be_the_id() -> None:
    frame = pd.DataFrame({"plot": ["x"]}, index=pd.Index(["a"], name="key"))
    assert list(pgfox.documents(frame, id="key", text="plot")) == [pgfox.document("a", text="x")]


def frame_of_objects(columns: dict[str, list[Any]]) -> pd.DataFrame:
    """Without the dtypes that turn an integer beside None into a float."""
    return pd.DataFrame(columns, dtype=object)


@pytest.mark.parametrize("make", [frame_of_objects, pl.DataFrame, pa.table])
@pytest.mark.parametrize(
    ("column", "cell", "kind", "rule"),
    [
        ("key", None, TypeError, "id is a NoneType, not a str"),
        ("key", 1.5, TypeError, "id is a float, not a str"),
        ("plot", 7, TypeError, "text is a int, not a str"),
        ("vector", [1.0, float("inf")], ValueError, "value 1 of the vector is inf"),
        ("n", 2**60, ValueError, r"beyond 2\^53"),
        ("n", b"x", TypeError, "is bytes"),
        ("n", datetime(2024, 5, 1, 12), ValueError, "no zone"),
        ("n", [1.0, float("nan")], ValueError, r"\[1\] is nan"),
        ("n", {"a": b"x"}, TypeError, r"\.a is bytes"),
        ("n", float("-inf"), ValueError, "is -inf"),
        ("n", Decimal("0.1234567890123456789"), ValueError, "does not hold exactly"),
    ],
)
def test_a_bad_cell_is_named(make: Any, column: str, cell: Any, kind: type[Exception], rule: str) -> None:
    # The other values of its column have its type, as Arrow requires.
    fine: dict[type, Any] = {float: 1.0, type(None): "a", list: [1.0, 2.0], dict: {"a": None}, bytes: None}
    cells = [None if column == "n" else fine.get(type(cell), cell)] * 1_204 + [cell]
    # A column of strings cannot have one float.
    bad_row = 0 if column == "plot" or cell == 1.5 else 1_204
    nothing = [None] * len(cells)
    columns: dict[str, list[Any]] = {"key": [f"k{n}" for n in range(len(cells))]}
    columns |= dict.fromkeys(("plot", "vector", "n"), nothing)
    columns[column] = cells
    if column == "key":
        del columns["n"]
    with pytest.raises(kind, match=rf"^row {bad_row}, column '{column}'.*{rule}") as failed:
        list(pgfox.documents(make(columns), id="key", text="plot", vector="vector"))
    assert type(failed.value) is kind


def test_what_cannot_be_read_is_said_before_a_row_is() -> None:
    frame = pl.DataFrame({"key": ["a"], "plot": ["x"]})
    for columns in ({"id": "id"}, {"id": "key", "text": "id"}, {"id": "key", "metadata": ["id"]}):
        with pytest.raises(ValueError, match="there is no column 'id'; there are: 'key', 'plot'"):
            pgfox.documents(frame, **columns)
    with pytest.raises(TypeError, match=r"metadata takes a list of columns: write \['plot'\]"):
        pgfox.documents(frame, id="key", metadata="plot")
    with pytest.raises(ValueError, match="more than one column 'a'"):
        pgfox.documents(pd.DataFrame([["x", 1, 2]], columns=["key", "a", "a"]), id="key")
    with pytest.raises(TypeError, match="the name of the column 0 is not a string"):
        pgfox.documents(pd.DataFrame({"key": ["a"], 0: [1]}), id="key")
    for other in ([{"key": "a"}], {"key": ["a"]}, "x", 1):
        with pytest.raises(TypeError, match=f"a {type(other).__name__} is not a table"):
            pgfox.documents(other, id="key")  # type: ignore[arg-type]


def test_a_table_is_ingested(server: StandIn, api: Sync | Aio) -> None:
    frame = pl.DataFrame({"key": [str(n) for n in range(1_000)], "plot": ["x"] * 1_000})
    totals = api.ingest(server.endpoint, pgfox.documents(frame, id="key", text="plot"))
    assert totals.documents == 1_000
    assert server.stored == [str(n) for n in range(1_000)]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (pd.DataFrame({"id": ["a"]}), r"is a DataFrame: write pgfox\.documents\(table, id=\.\.\."),
        (pl.DataFrame({"id": ["a"]}), r"write pgfox\.documents"),
        (pa.table({"id": ["a"]}), r"write pgfox\.documents"),
        ([{"id": "a"}], r"document 0 is a dict, not a pgfox\.v1\.Document; pgfox\.document\(\*\*it\) makes one"),
        (v1.Document(id="a"), r"write \[pgfox\.document\(\.\.\.\)\]"),
        ({"id": "a"}, r"write \[pgfox\.document"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_source_of_something_else_says_what_to_write(
    server: StandIn, api: Sync | Aio, source: Any, text: str
) -> None:
    with pytest.raises(TypeError, match=text):
        api.ingest(server.endpoint, source)
    assert server.stored == []


def test_other_libraries_are_not_needed() -> None:
    program = (
        "import sys\n"
        "sys.modules['pyarrow'] = None\n"
        "import polars as pl, pandas as pd, pgfox\n"
        "for frame in (pl.DataFrame({'k': [1], 'a': [2]}), pd.DataFrame({'k': [1], 'a': [2]})):\n"
        "    print([(document.id, pgfox.metadata(document)) for document in pgfox.documents(frame, id='k')])\n"
        "class Capsule:\n"
        "    def __arrow_c_stream__(self, requested_schema=None): raise AssertionError\n"
        "try: pgfox.documents(Capsule(), id='k')\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    assert lines == ["[('1', {'a': 2})]"] * 2 + ["reading a Capsule needs pyarrow: pip install pyarrow"]
