"""Converts vectors to and from arrays through the bytes of the message, many times faster than by element."""

from __future__ import annotations

import math
import sys
from array import array as floats
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pgfox import v1

if TYPE_CHECKING:
    import numpy
    import numpy.typing

# `repeated float values = 1`, packed: a tag, the length in bytes as a varint, and 4-byte floats, little-endian.
_TAG = b"\x0a"


def vector(values: Iterable[float]) -> v1.Vector:
    """A vector of these values: a NumPy array of any float or integer type, a list, an `array.array`, a tensor.

    They become 4-byte floats, which is how pgfox stores them.

    Raises:
        TypeError: the values are not numbers.
        ValueError: the values have more than one dimension, or one of them is not finite as a 4-byte float.
    """
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(values, "__array__"):
        return _wire(_packed(numpy, numpy.asarray(values)))
    if isinstance(values, (bytes, bytearray, memoryview)):
        raise TypeError(f"a vector is made of numbers, not of {type(values).__name__}")
    packed = floats("f", values)
    # Finite 4-byte floats never add up to infinity here, so an infinite sum shows that one of them is not finite.
    if not math.isfinite(sum(packed)):
        index = next(i for i, value in enumerate(packed) if not math.isfinite(value))
        raise ValueError(f"value {index} of the vector is {packed[index]} as a 4-byte float; values must be finite")
    if sys.byteorder == "big":
        packed.byteswap()
    return _wire(packed.tobytes())


def array(vector: v1.Vector) -> numpy.typing.NDArray[numpy.float32]:
    """The values of a vector as a new NumPy array. Needs NumPy: `pip install pgfox[numpy]`."""
    import numpy

    count = len(vector.values)
    offset = len(_TAG) + len(_varint(4 * count)) if count else 0
    return numpy.frombuffer(vector.SerializeToString(), "<f4", count, offset).astype(numpy.float32)


def _packed(numpy: Any, values: Any) -> bytes:
    if values.ndim != 1:
        raise ValueError(f"a vector has one dimension, not the {values.ndim} of shape {values.shape}")
    if values.dtype.kind not in "fiu":
        raise TypeError(f"a vector is made of numbers, not of {values.dtype}")
    if values.dtype == "<f4":
        packed = values
    else:
        with numpy.errstate(over="ignore"):
            packed = values.astype("<f4")
    finite = numpy.isfinite(packed)
    if not finite.all():
        index = int(finite.argmin())
        raise ValueError(f"value {index} of the vector is {packed[index]} as a 4-byte float; values must be finite")
    wire: bytes = packed.tobytes()
    return wire


def _wire(packed: bytes) -> v1.Vector:
    return v1.Vector.FromString(_TAG + _varint(len(packed)) + packed)


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)
