"""Vectors from and to arrays."""

from __future__ import annotations

import subprocess
import sys
from array import array as floats
from typing import Any

import numpy as np
import pytest

import pgfox
from pgfox import v1

VALUES = [0.5, -1.25, 3.0]


@pytest.mark.parametrize(
    "values",
    [
        VALUES,
        tuple(VALUES),
        iter(VALUES),
        floats("f", VALUES),
        floats("d", VALUES),
        *(np.array(VALUES, dtype) for dtype in ("f2", "f4", "f8", ">f4", "longdouble")),
        np.array([VALUES, VALUES]).T[:, 0],
        np.array(VALUES[::-1])[::-1],
        [np.float32(value) for value in VALUES],
    ],
    ids=lambda values: f"{type(values).__name__} {getattr(values, 'dtype', '')}",
)
def test_from_numbers_of_any_kind(values: Any) -> None:
    assert pgfox.vector(values) == v1.Vector(values=VALUES)


@pytest.mark.parametrize("count", [0, 1, 31, 32, 384, 4095, 4096, 16_000])
def test_there_and_back(count: int) -> None:
    values = np.random.default_rng(1).standard_normal(count).astype(np.float32)
    vector = pgfox.vector(values)
    assert vector == v1.Vector(values=values.tolist())
    assert pgfox.vector(values.tolist()) == vector
    back = pgfox.array(vector)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, values)
    back += 1  # It is the caller's own.


def test_integers_become_floats() -> None:
    assert pgfox.vector(np.array([1, 2])) == pgfox.vector([1, 2]) == v1.Vector(values=[1, 2])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e39])
@pytest.mark.parametrize("make", [list, np.array], ids=["list", "numpy"])
def test_values_that_are_not_finite_are_named(bad: float, make: Any) -> None:
    with pytest.raises(ValueError, match=r"value 1 of the vector is -?(nan|inf) as a 4-byte float"):
        pgfox.vector(make([0.0, bad, bad]))


@pytest.mark.parametrize("shape", [(), (1, 3), (3, 1)])
def test_other_than_one_dimension(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"one dimension, not the {len(shape)} of shape"):
        pgfox.vector(np.zeros(shape))


@pytest.mark.parametrize(
    "bad",
    ["abc", b"abcd", bytearray(4), ["a"], [None], [[1.0]], 1.0, np.array(["a"]), np.array([True]), np.array([1j])],
    ids=repr,
)
def test_what_is_no_vector(bad: Any) -> None:
    with pytest.raises(TypeError):
        pgfox.vector(bad)


def test_numpy_is_not_needed() -> None:
    program = "import sys; sys.modules['numpy'] = None; import pgfox; print(pgfox.vector([1, 2]).values)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[1.0, 2.0]\n"
