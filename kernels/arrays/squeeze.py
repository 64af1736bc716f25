"""Leaving out the rows without a reading, so that what follows may take quick loops."""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.kernels.columns import CHUNK, cut_into_chunks
from wattshed.kernels.entry import i32, i64, kernel, written
from wattshed.kernels.jit import jit
from wattshed.kernels.threads import each

if TYPE_CHECKING:
    from numpy.typing import NDArray


@jit
def squeeze(time_us, power_mw, to_us, to_mw):
    """Copy the rows whose reading is one (> 0) and return how many; what lies behind them is overwritten too.

    There is no branch: whether the next row is broken cannot be foreseen.
    """
    n: Any = 0
    for i in range(len(power_mw)):
        to_us[n] = time_us[i]
        to_mw[n] = power_mw[i]
        n += np.int64(power_mw[i] > 0)
    return n


@kernel(i32[:], i64[:], written(i64[:]), i64, i64)
def _count(power_mw, rows, counts, first, last):
    """Count the readings of chunks ``first:last``."""
    for k in range(first, last):
        n = np.int64(0)
        for power in power_mw[rows[k] : rows[k + 1]]:
            n += np.int64(power > 0)
        counts[k] = n


@kernel(i64[:], i32[:], i64[:], i64[:], written(i64[:]), written(i32[:]), i64, i64)
def _copy(time_us, power_mw, rows, place, to_us, to_mw, first, last):
    """Copy the readings of chunks ``first:last``, each to its place, and nothing behind it."""
    for k in range(first, last):
        at = place[k]
        if place[k + 1] - at == rows[k + 1] - rows[k]:
            for i in range(rows[k], rows[k + 1]):
                to_us[at + i - rows[k]] = time_us[i]
                to_mw[at + i - rows[k]] = power_mw[i]
        else:
            for i in range(rows[k], rows[k + 1]):
                if power_mw[i] > 0:
                    to_us[at] = time_us[i]
                    to_mw[at] = power_mw[i]
                    at += 1


def valid_rows(
    time_us: NDArray[np.int64], power_mw: NDArray[np.int32], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Copy the rows whose reading is one (> 0), still GPU-major, on all threads.

    Parameters
    ----------
    time_us, power_mw, offsets
        As for :func:`kernels.energy.integrate`.

    Returns
    -------
    time_us, power_mw, offsets
    """
    owner, rows = cut_into_chunks(offsets, CHUNK)
    count, size = len(rows) - 1, len(time_us)
    place = np.zeros(count + 1, np.int64)
    each(_count, count, power_mw, rows, place[1:], rows=size)
    np.cumsum(place, out=place)
    to_us, to_mw = np.empty(place[-1], np.int64), np.empty(place[-1], np.int32)
    each(_copy, count, time_us, power_mw, rows, place, to_us, to_mw, rows=size)
    return to_us, to_mw, place[owner]
