"""Rows of DataFrames and Arrow tables as documents. pandas, polars and pyarrow are optional."""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from pgfox import v1
from pgfox._documents import document_of, set_text, set_vector
from pgfox._values import RefusedError, is_missing, put

# Number of rows that are converted to Python objects at once.
ROWS_AT_ONCE = 1_000

Column: TypeAlias = Callable[[str, bool], Iterable[Any]]
"""Returns the cells of the column with this name, and knows whether they are vectors."""


class ArrowStream(Protocol):
    """Anything that shares its rows by the PyCapsule interface of Arrow, as tables and readers do."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


class ArrowArray(Protocol):
    """Anything that shares one batch of rows by the PyCapsule interface of Arrow."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...


class DataFrame(Protocol):
    """A DataFrame of pandas, even if it lacks the interface of Arrow."""

    def reset_index(self) -> Any: ...


if TYPE_CHECKING:
    Table: TypeAlias = ArrowStream | ArrowArray | DataFrame


def documents(
    table: Table,
    *,
    id: str,
    text: str | None = None,
    vector: str | None = None,
    metadata: Iterable[str] | None = None,
) -> Iterator[v1.Document]:
    """The rows of a table as documents: `pgfox.ingest(client, "films", pgfox.documents(frame, id="key", text="plot"))`.

    The table is a DataFrame of pandas or polars, a Table or RecordBatch of pyarrow, or, if pyarrow is installed,
    anything with the PyCapsule interface of Arrow (`__arrow_c_stream__`). Cells with None, NaN, NaT or NA are left out.

    Args:
        id: the column of the ids: strings, integers or UUIDs. With pandas also the name of the index.
        text: the column of the texts.
        vector: the column of the vectors.
        metadata: the columns that become metadata, under their names. Default: all others.

    Raises:
        ValueError: a column does not exist, or a cell cannot be stored unchanged, as in `pgfox.document`. The text
            names the row, counted from 0, and the column.
        TypeError: this is not a table, or a cell has a type that cannot be stored.
    """
    source = _source(table, id)
    roles = [column for column in (id, text, vector) if column is not None]
    if isinstance(metadata, str):
        raise TypeError(f"metadata takes a list of columns: write [{metadata!r}]")
    fields = [name for name in source.names if name not in roles] if metadata is None else list(metadata)
    for column in (*roles, *fields):
        if column not in source.names:
            raise ValueError(f"there is no column {column!r}; there are: {', '.join(map(repr, source.names))}")
        if source.names.count(column) > 1:
            raise ValueError(f"there is more than one column {column!r}")
        if not isinstance(column, str):
            raise TypeError(
                f"the name of the column {column!r} is not a string: rename it, or name other columns as `metadata`"
            )
    return _documents(source, id, text, vector, fields)


def is_table(source: object) -> bool:
    """Whether it is a table. A loop over a table does not return its rows."""
    return any(hasattr(source, name) for name in ("__arrow_c_stream__", "__arrow_c_array__", "__dataframe__"))


def _documents(
    source: Source, id: str, text: str | None, vector: str | None, fields: list[str]
) -> Iterator[v1.Document]:
    row = 0
    for column in source.batches():
        texts = itertools.repeat(None) if text is None else column(text, False)
        vectors = itertools.repeat(None) if vector is None else column(vector, True)
        metadata = zip(*(column(name, False) for name in fields), strict=True) if fields else itertools.repeat(())
        for cells in zip(column(id, False), texts, vectors, metadata, strict=False):
            yield _document(row, (id, text, vector), cells, fields)
            row += 1


def _document(
    row: int, roles: tuple[str, str | None, str | None], cells: tuple[Any, Any, Any, tuple[Any, ...]], names: list[str]
) -> v1.Document:
    id, text, vector, metadata = cells
    column: str | None = roles[0]
    try:
        document = document_of(None if is_missing(id) else id)
        if not is_missing(text):
            column = roles[1]
            set_text(document, text)
        if not is_missing(vector):
            column = roles[2]
            set_vector(document, vector)
        for name, cell in zip(names, metadata, strict=True):
            if not is_missing(cell):
                column = name
                put(document.metadata.fields[name], cell, 1)
    except RefusedError as refusal:
        failure: Exception = refusal.error(f"row {row}, column {column!r}")
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        failure = kind(f"row {row}, column {column!r}: {error}")
    else:
        return document
    raise failure


class Source(Protocol):
    """A table of some library."""

    names: list[Any]

    def batches(self) -> Iterator[Column]:
        """The rows, some at a time."""
        ...


def _source(table: Any, id: str) -> Source:
    library = type(table).__module__.partition(".")[0]
    if library == "pandas" and hasattr(table, "columns"):
        return Pandas(table, id)
    if library == "polars" and hasattr(table, "iter_slices"):
        return Polars(table)
    if hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__"):
        return Arrow(table)
    raise TypeError(f"a {type(table).__name__} is not a table: neither a DataFrame nor anything that shares Arrow data")


class Pandas:
    """A DataFrame of pandas."""

    def __init__(self, frame: Any, id: str) -> None:
        if id not in frame.columns and id in frame.index.names:
            frame = frame.reset_index()
        self._frame = frame
        self.names = list(frame.columns)

    def batches(self) -> Iterator[Column]:
        # A loop over a Series creates its objects one by one.
        yield lambda name, _: self._frame[name]


class Polars:
    """A DataFrame of polars."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names = list(frame.columns)

    def batches(self) -> Iterator[Column]:
        for rows in self._frame.iter_slices(ROWS_AT_ONCE):
            yield functools.partial(self._cells, rows)

    @staticmethod
    def _cells(rows: Any, name: str, vectors: bool) -> Iterable[Any]:
        column = rows[name]
        # The rows of an array are copied at once. An array has no place for a row without a vector.
        whole = vectors and column.null_count() == 0 and _has_numpy()
        cells: Iterable[Any] = column.to_numpy() if whole else column.to_list()
        return cells


class Arrow:
    """A table that pyarrow can read."""

    def __init__(self, table: Any) -> None:
        try:
            import pyarrow
        except ImportError:
            raise ImportError(f"reading a {type(table).__name__} needs pyarrow: pip install pyarrow") from None
        if hasattr(table, "__arrow_c_stream__"):
            self._reader = pyarrow.RecordBatchReader.from_stream(table)
        else:
            batch = pyarrow.record_batch(table)
            self._reader = pyarrow.RecordBatchReader.from_batches(batch.schema, [batch])
        self.names = list(self._reader.schema.names)

    def batches(self) -> Iterator[Column]:
        for batch in self._reader:
            for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                yield functools.partial(self._cells, batch.slice(start, ROWS_AT_ONCE))

    @staticmethod
    def _cells(rows: Any, name: str, vectors: bool) -> Iterable[Any]:
        column = rows.column(name)
        if not vectors or not hasattr(column, "value_lengths") or not _has_numpy():
            cells: list[Any] = column.to_pylist()
            return cells
        # The vectors as parts of one array, whose values are copied at once.
        values = column.flatten().to_numpy(zero_copy_only=False)
        lengths: list[int | None] = column.value_lengths().to_pylist()
        ends = itertools.accumulate(length or 0 for length in lengths)
        return (
            None if length is None else values[end - length : end] for length, end in zip(lengths, ends, strict=True)
        )


def _has_numpy() -> bool:
    return importlib.util.find_spec("numpy") is not None
