"""How fast this machine can read memory: the yardstick that every other kernel is measured against."""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.entry import i64, kernel, written
from wattshed.kernels.jit import jit
from wattshed.kernels.threads import each

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 32_768


@jit
def _sum_one(words):
    total = np.int64(0)
    for i in range(len(words)):
        total += words[i]
    return total


@jit
def _sum_two(left, right):
    total = np.int64(0)
    for i in range(len(left)):
        total += left[i] ^ right[i]
    return total


@kernel(i64[:], i64, written(i64[:]), i64, i64)
def _read_one_stream(words, chunk, totals, first, last):
    for k in range(first, last):
        totals[k] = _sum_one(words[k * chunk : (k + 1) * chunk])


@kernel(i64[:], i64, written(i64[:]), i64, i64)
def _read_two_streams(words, chunk, totals, first, last):
    half = len(words) // 2
    for k in range(first, last):
        a = k * chunk
        b = min(a + chunk, half)
        totals[k] = _sum_two(words[a:b], words[half + a : half + b])


def read_once(words: NDArray[np.int64], streams: int = 1, chunk: int = _CHUNK) -> int:
    """Read all of ``words`` once on all threads and return a checksum, so that nothing can be left out.

    Parameters
    ----------
    words : int64[n]
        Much larger than the caches.
    streams : {1, 2}
        Read from one place or from two at once.
    chunk : int
        Words that a thread reads at a stretch.
    """
    read, size = (_read_two_streams, len(words) // 2) if streams == 2 else (_read_one_stream, len(words))
    totals = np.zeros(-(-size // chunk), np.int64)
    each(read, len(totals), words, np.int64(chunk), totals, rows=len(words))
    return int(totals.sum())
