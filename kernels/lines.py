"""Lines of a block of text: how many end in it, and where a word stands, at the speed of memory.

Texts have `kernels.words.PAD` bytes behind them that may be read.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.entry import i64, kernel, u8, u64, written
from wattshed.kernels.jit import loop_of
from wattshed.kernels.words import load64, mask64, trailing_zeros

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEWLINE = 10
_WORD = 8  # bytes
_ONE, _TWO, _FOUR, _BYTE, _TOP = (np.uint64(value) for value in (1, 2, 4, 8, 56))
_ALL, _LOW = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(0xFF)
_ODD, _PAIRS, _FOURS, _BYTES = (
    np.uint64(value) for value in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F, 0x0101010101010101)
)


def _count(data, size):
    """Do what `newlines` does."""
    return np.count_nonzero(data[:size] == _NEWLINE)


@loop_of(_count)
def _count_by_bytes(data, size):
    count = np.uint64(0)
    for at in range(0, size, 64):
        ends = mask64(data, at, np.uint8(_NEWLINE))
        if size - at < 64:
            ends &= (_ONE << np.uint64(size - at)) - _ONE
        # Bits are added side by side: in pairs, in fours, in bytes, and all bytes by a product.
        ends -= (ends >> _ONE) & _ODD
        ends = (ends & _PAIRS) + ((ends >> _TWO) & _PAIRS)
        count += (((ends + (ends >> _FOUR)) & _FOURS) * _BYTES) >> _TOP
    return np.int64(count)


@kernel(u8[:], i64, returns=i64)
def newlines(data, size):
    """Count the newlines among the first ``size`` bytes."""
    return _count(data, size)


def _search(data, size, word, known, found):
    """Do what `_find` does."""
    mark = int(word).to_bytes(_WORD, "little")[: int(known).bit_length() // 8]
    text = data[: size + len(mark) - 1].tobytes()  # what begins within the text counts
    count, at = 0, text.find(mark)
    while at >= 0:
        if count == len(found):
            return count + 1
        found[count] = at
        count += 1
        at = text.find(mark, at + 1)
    return count


@loop_of(_search)
def _search_by_words(data, size, word, known, found):
    first, second = np.uint8(word & _LOW), np.uint8((word >> _BYTE) & _LOW)
    is_long = (known >> _BYTE) & _LOW
    count = 0
    begins = 0
    while begins < size:
        hits = mask64(data, begins, first)
        if hits and is_long:
            hits &= mask64(data, begins + 1, second)
        if size - begins < 64:
            hits &= (_ONE << np.uint64(size - begins)) - _ONE
        while hits:
            at = begins + trailing_zeros(hits)
            if (load64(data, at) & known) == word:
                if count == len(found):
                    return count + 1
                found[count] = at
                count += 1
            hits &= hits - _ONE
        begins += 64
    return count


@kernel(u8[:], i64, u64, u64, written(i64[:]), returns=i64)
def _find(data, size, word, known, found):
    """Find the bytes of ``word`` that are ``known``; returns how many places, one more than ``found`` has room for."""
    return _search(data, size, word, known, found)


def places(data: NDArray[np.uint8], size: int, mark: bytes, most: int) -> list[int] | None:
    """Find a text.

    Parameters
    ----------
    data : uint8[size + `kernels.words.PAD` or more]
    size : int
        Bytes to look at.
    mark : bytes
        At least one.
    most : int

    Returns
    -------
    list of int or None
        Where it begins, ascending; None if that is in more than ``most`` places.
    """
    begin = mark[:_WORD]
    found = np.empty(most, np.int64)
    known = _ALL >> np.uint64(8 * (_WORD - len(begin)))
    count = _find(data, size, int.from_bytes(begin, "little"), int(known), found)
    if count > most:  # of which some may only begin like it
        text = data[:size].tobytes()
        if text.count(mark) > most:
            return None
        return [match.start() for match in re.finditer(re.escape(mark), text)]
    return [at for at in found[:count].tolist() if data[at : min(at + len(mark), size)].tobytes() == mark]
