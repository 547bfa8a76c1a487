"""Documents from plain values, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any
from uuid import UUID

from pgfox import v1
from pgfox._values import fill, plain
from pgfox._vectors import vector as vector_of


def document(
    id: str | int | UUID,
    *,
    text: str | None = None,
    vector: v1.Vector | Iterable[float] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> v1.Document:
    """A document from plain values: `pgfox.document("1", text="...", metadata={"released": date(1999, 3, 31)})`.

    Args:
        id: a string. Integers and UUIDs become strings.
        text: the text to embed, or to store beside the vector.
        vector: a vector, or anything that `pgfox.vector` accepts.
        metadata: a dict of JSON values, or of values that `pgfox.struct` converts: dates, sets, NumPy's scalars, ...

    Raises:
        TypeError, ValueError: a value cannot be stored as it is; the text names it, such as `metadata.cut.scenes[3]`.
    """
    message = document_of(id)
    if text is not None:
        set_text(message, text)
    if vector is not None:
        set_vector(message, vector)
    if metadata is not None:
        fill(message.metadata, metadata, "metadata")
    return message


def metadata(document: v1.Document) -> dict[str, Any]:
    """The metadata of a document as a dict. Numbers without a fraction, within 2^53, are `int`.

    It is the caller's own: changing it changes nothing in the document.
    """
    if not isinstance(document, v1.Document):
        raise TypeError(f"metadata takes a v1.Document, not a {type(document).__name__}")
    return plain(document.metadata)


def document_of(id: object) -> v1.Document:
    """A document with an id and nothing else."""
    if isinstance(id, str):
        return v1.Document(id=id)
    if isinstance(id, UUID) or (isinstance(id, Integral) and not isinstance(id, bool)):
        return v1.Document(id=str(id))
    raise TypeError(f"id is a {type(id).__name__}, not a str, an int or a UUID")


def set_text(document: v1.Document, text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"text is a {type(text).__name__}, not a str")
    document.text = text


def set_vector(document: v1.Document, vector: v1.Vector | Iterable[float]) -> None:
    document.vector.CopyFrom(vector if isinstance(vector, v1.Vector) else vector_of(vector))
