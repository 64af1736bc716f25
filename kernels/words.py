"""Eight bytes of text at once, and sixty-four: what numba has no words for, and plain Python has in its own.

Text lies in an array with `PAD` bytes behind it, as words are read beyond its end.
"""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201

from __future__ import annotations

import numpy as np

from wattshed.kernels.jit import jit, written_apart

PAD = 64
"""Bytes behind a text that may be read."""

_ZEROS = np.uint64(0x3030303030303030)
_ABOVE_NINE = np.uint64(0x7676767676767676)
_HIGH = np.uint64(0x8080808080808080)
_TEN, _BYTE, _TWO_BYTES, _HALF = (np.uint64(value) for value in (10, 8, 16, 32))
_PAIRS, _BY_HUNDREDS, _BY_UNITS = (
    np.uint64(value) for value in (0x000000FF000000FF, 0x000F424000000064, 0x0000271000000001)
)


def _compile() -> None:
    from wattshed.kernels import instructions  # numba is imported where something is compiled

    instructions.compile_words(load64, mask64, trailing_zeros)


@written_apart(_compile)  # all three
def load64(data, at):
    """Read ``data[at:at + 8]`` as a little-endian uint64."""
    return np.uint64(int.from_bytes(data[at : at + 8].tobytes(), "little"))


def mask64(data, at, byte):
    """Return a uint64 whose bit j is set where ``data[at + j]`` is a byte, j from 0 to 63."""
    same = np.packbits(data[at : at + 64] == byte, bitorder="little")
    return np.uint64(int.from_bytes(same.tobytes(), "little"))


def trailing_zeros(word):
    """Count the zero bits below the lowest that is set: int64, 64 of none."""
    word = int(word)
    return (word & -word).bit_length() - 1 if word else 64


@jit
def digits_of(word):
    """Count the decimal digits that eight bytes begin with: int64, 0 to 8."""
    apart = word ^ _ZEROS
    return trailing_zeros(((apart + _ABOVE_NINE) | apart) & _HIGH) >> 3


@jit
def number_of(word, count):
    """Read the first ``count`` bytes, 1 to 8 decimal digits, as a number: int64.

    Two digits, then four, then eight are joined by one product each (D. Lemire, Number Parsing at a Gigabyte per
    Second, Software: Practice and Experience 51, 2021).
    """
    digits = (word ^ _ZEROS) << np.uint64(8 * (8 - count))
    pairs = digits * _TEN + (digits >> _BYTE)
    low, high = pairs & _PAIRS, (pairs >> _TWO_BYTES) & _PAIRS
    return np.int64((low * _BY_HUNDREDS + high * _BY_UNITS) >> _HALF)
