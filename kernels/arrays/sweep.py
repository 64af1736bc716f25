"""One pass over a GPU's samples, window by window: what `kernels.windows` and its CUDA twin are made of."""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import numpy as np

from wattshed.kernels.columns import first_at
from wattshed.kernels.entry import b1, i32, i64, kernel, written
from wattshed.kernels.int128 import MASK
from wattshed.kernels.jit import jit

# Columns of the result while it is made: int64[w, 6].
COUNT, LOW, HIGH, SUM, ENERGY, COVERED = range(6)


@jit
def _inside(time_us, power_mw, max_gap_us, row):
    """Fill ``row`` from its readings (at least one) and the intervals between them."""
    n = len(time_us)
    energy = np.uint64(0)
    shortest = np.int64(0)
    longest = np.int64(0)
    low = power_mw[0]
    high = low
    total = np.int64(low)
    for i in range(1, n):
        dt = time_us[i] - time_us[i - 1]
        power = power_mw[i]
        shortest = min(shortest, dt)
        longest = max(longest, dt)
        low = min(low, power)
        high = max(high, power)
        total += np.int64(power)
        energy += np.uint64(np.uint32(dt)) * np.uint64(np.uint32(power + power_mw[i - 1]))
    covered = time_us[n - 1] - time_us[0]
    if longest > min(max_gap_us, MASK):
        energy = np.uint64(0)
        covered = np.int64(0)
        for i in range(1, n):
            dt = time_us[i] - time_us[i - 1]
            if dt <= max_gap_us:
                covered += dt
                energy += np.uint64((np.int64(power_mw[i]) + np.int64(power_mw[i - 1])) * dt)
    row[COUNT] = n
    row[LOW] = low
    row[HIGH] = high
    row[SUM] = total
    row[ENERGY] = np.int64(energy)
    row[COVERED] = covered
    return low > 0 and shortest >= 0


@jit
def sweep(time_us, power_mw, lo, hi, first, last, window_us, max_gap_us, out):
    """Fill ``out`` with windows ``first`` to ``last`` of the GPU of rows ``lo:hi``; False if a row is unusable."""
    usable = True
    a = first_at(time_us, lo, hi, first * window_us, lo)
    guess = 0
    for k in range(first, last):
        row = out[k - first]
        begin = k * window_us
        end = begin + window_us
        b = first_at(time_us, a, hi, end, a + guess)
        guess = b - a
        row[:] = 0
        if b > a:
            usable = _inside(time_us[a:b], power_mw[a:b], max_gap_us, row)
            if not usable:
                break
            if b < hi and time_us[b] - time_us[b - 1] <= max_gap_us:
                span = end - time_us[b - 1]
                row[ENERGY] += (np.int64(power_mw[b]) + np.int64(power_mw[b - 1])) * span
                row[COVERED] += span
        if a > lo and a < hi and time_us[a] - time_us[a - 1] <= max_gap_us:
            span = min(time_us[a], end) - begin
            row[ENERGY] += (np.int64(power_mw[a]) + np.int64(power_mw[a - 1])) * span
            row[COVERED] += span
        a = b
    return usable


@kernel(i64[:], i32[:], i64[:], i64[:], i64[:], i64[:], i64[:], i64, i64, written(i64[:, :]), written(b1[:]), i64, i64)
def sweep_all(time_us, power_mw, offsets, gpu, begin, end, place, window_us, max_gap_us, out, usable, first, last):
    """Sweep tasks ``first:last``: windows ``begin[j]:end[j]`` of GPU ``gpu[j]``, into the rows from ``place[j]`` on.

    It stops at the first task with an unusable row.
    """
    for j in range(first, last):
        lo = offsets[gpu[j]]
        hi = offsets[gpu[j] + 1]
        rows = out[place[j] : place[j] + end[j] - begin[j]]
        usable[j] = sweep(time_us, power_mw, lo, hi, begin[j], end[j], window_us, max_gap_us, rows)
        if not usable[j]:
            break
