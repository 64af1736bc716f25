"""Energy between the edges of usage rows, by chunks of samples on all threads; exact integers.

A GPU's edges cut its time into segments. A trapezoid that crosses an edge is cut there along its straight line, as
:mod:`kernels.billing.crossing` does; edges are found by galloping from one to the next.
"""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="arg-type,assignment"
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import numpy as np

from wattshed.kernels.billing.crossing import along_the_line
from wattshed.kernels.columns import first_at
from wattshed.kernels.entry import i32, i64, kernel, written
from wattshed.kernels.int128 import MASK
from wattshed.kernels.jit import jit

HIGHEST_MW = 20_000_000
LONGEST_US = 12 * 3_600_000_000
"""A chunk spans at most this, and one interval more: 2 * HIGHEST_MW * 2 * LONGEST_US is less than 2**62."""

_FOREVER = np.int64(2**63 - 1)


@jit
def cut_rows(time_us, a, hi, size, first, k):
    """Cut rows ``a:hi`` of one GPU at every ``size`` rows and LONGEST_US.

    Fills ``first``, if it is long enough, with the first row of each chunk, from number ``k`` on; returns the number
    after the last.
    """
    while a < hi:
        if k < len(first):
            first[k] = a
        k += 1
        b = min(a + size, hi)
        if time_us[b - 1] - time_us[a] > LONGEST_US:
            b = max(first_at(time_us, a, b, time_us[a] + LONGEST_US + 1, b), a + 1)
        a = b
    return k


@kernel(i64[:], i64[:], i64, written(i64[:]), written(i64[:]))
def cut(time_us, offsets, size, owner, first):
    """Cut every GPU's rows; fills ``owner``, where GPU i owns chunks ``owner[i]:owner[i + 1]``, and ``first``."""
    for gpu in range(len(offsets) - 1):
        owner[gpu + 1] = cut_rows(time_us, offsets[gpu], offsets[gpu + 1], size, first, owner[gpu])


@jit
def _sum_bridged(time_us, power_mw, idle_pair_mw, max_gap_us):
    """Sum the intervals that are not longer than a gap: (static, whole)."""
    static = np.uint64(0)
    energy = np.uint64(0)
    for i in range(1, len(time_us)):
        dt = time_us[i] - time_us[i - 1]
        if dt <= max_gap_us:
            pair_mw = np.int64(power_mw[i]) + np.int64(power_mw[i - 1])
            energy += np.uint64(pair_mw * dt)
            static += np.uint64(min(pair_mw, np.int64(idle_pair_mw)) * dt)
    return static, energy


@jit
def _sum_static(time_us, power_mw, idle_pair_mw):
    """Sum what of all intervals, none of them long, lies below idle power."""
    static = np.uint64(0)
    for i in range(1, len(time_us)):
        pair = np.uint32(power_mw[i] + power_mw[i - 1])
        static += np.uint64(np.uint32(time_us[i] - time_us[i - 1])) * np.uint64(min(pair, idle_pair_mw))
    return static


@jit
def _sum_rows(time_us, power_mw, idle_pair_mw, max_gap_us):
    """Sum all intervals between the rows: (static, whole, least and greatest reading); least is -1 if time falls."""
    energy = np.uint64(0)
    shortest = np.int64(0)
    longest = np.int64(0)
    low = power_mw[0]
    high = power_mw[0]
    for i in range(1, len(time_us)):
        dt = time_us[i] - time_us[i - 1]
        power = power_mw[i]
        shortest = min(shortest, dt)
        longest = max(longest, dt)
        low = min(low, power)
        high = max(high, power)
        energy += np.uint64(np.uint32(dt)) * np.uint64(np.uint32(power + power_mw[i - 1]))
    if longest > min(max_gap_us, MASK):
        static, energy = _sum_bridged(time_us, power_mw, idle_pair_mw, max_gap_us)
    elif 2 * np.int64(low) >= np.int64(idle_pair_mw):  # no reading is below idle power
        static = np.uint64(np.int64(idle_pair_mw) * (time_us[len(time_us) - 1] - time_us[0]))
    else:
        static = _sum_static(time_us, power_mw, idle_pair_mw)
    least = np.int64(low) if shortest >= 0 else np.int64(-1)
    return np.int64(static), np.int64(energy), least, np.int64(high)


@jit
def _sum_segments(time_us, power_mw, a, stop, edges, segment, idle_pair_mw, max_gap_us, out):
    """Sum rows ``a`` to ``stop`` into one row of ``out`` per segment, from number ``segment`` on.

    ``edges`` are the GPU's, ascending; segment i lies before edge i. Returns the number of the last segment, counted
    from ``segment``, and the least and greatest reading.
    """
    i = a
    cursor = time_us[a]
    low = np.int64(power_mw[a])
    high = low
    # Edges are looked for where they would be at a steady rate: searching cold memory costs more than summing it.
    rate = (stop - a) / max(time_us[stop] - time_us[a], np.int64(1))
    row = 0
    rest = np.int64(0)  # of the interval that an edge has cut, after the cursor; and the power at the cursor
    power = np.int64(0)
    while True:
        end = edges[segment + row] if segment + row < len(edges) else _FOREVER
        static = np.int64(0)
        energy = np.int64(0)
        if cursor > time_us[i]:  # inside an interval that an edge has cut
            span = min(time_us[i + 1], end) - cursor
            amount = rest
            if end < time_us[i + 1]:
                amount, power = along_the_line(rest, power, np.int64(power_mw[i + 1]), span, time_us[i + 1] - cursor)
            rest -= amount
            energy += amount
            static += min(amount, np.int64(idle_pair_mw) * span)
            cursor += span
            if cursor == time_us[i + 1]:
                i += 1
        if cursor == time_us[i]:
            j = stop
            if time_us[stop] > end:
                j = first_at(time_us, i, stop + 1, end + 1, i + np.int64((end - cursor) * rate) + 1) - 1
            still, all_of_it, least, greatest = _sum_rows(
                time_us[i : j + 1], power_mw[i : j + 1], idle_pair_mw, max_gap_us
            )
            static += still
            energy += all_of_it
            low = min(low, least)
            high = max(high, greatest)
            i = j
            cursor = time_us[i]
            if j < stop and end > cursor:
                dt = time_us[j + 1] - cursor
                power = np.int64(power_mw[j])
                after = np.int64(power_mw[j + 1])
                rest = (power + after) * dt if dt <= max_gap_us else np.int64(0)
                amount, power = along_the_line(rest, power, after, end - cursor, dt)
                rest -= amount
                energy += amount
                static += min(amount, np.int64(idle_pair_mw) * (end - cursor))
                cursor = end
        out[row, 0] = static
        out[row, 1] = energy - static
        if i == stop:
            return row, low, high
        row += 1


@jit
def sum_chunk(k, time_us, power_mw, offsets, gpu, first, edges, rows, idle_mw, max_gap_us, out, span, bounds):
    """Sum chunk ``k``; row (segment + chunk) of ``out`` is its alone, whatever other threads do.

    ``span[k]`` becomes the first and last segment of the chunk, numbered over all GPUs; ``bounds[k]`` the range of its
    readings.
    """
    g = gpu[k]
    a = first[k]
    stop = min(first[k + 1], offsets[g + 1] - 1)
    own = edges[2 * rows[g] : 2 * rows[g + 1]]
    segment = first_at(own, 0, len(own), time_us[a] + 1, 0)
    at = 2 * rows[g] + g + segment
    idle_pair = np.uint32(2 * min(max(idle_mw[g], 0), HIGHEST_MW))
    last, low, high = _sum_segments(time_us, power_mw, a, stop, own, segment, idle_pair, max_gap_us, out[at + k :])
    span[k, 0] = at
    span[k, 1] = at + last
    bounds[k, 0] = low
    bounds[k, 1] = high


@kernel(
    i64[:], i32[:], i64[:], i64[:], i64[:], i64[:], i64[:], i64[:], i64, written(i64[:, :]), written(i64[:, :]),
    written(i64[:, :]), i64, i64,
)  # fmt: skip
def sum_chunks(
    time_us, power_mw, offsets, gpu, starts, edges, rows, idle_mw, max_gap_us, out, span, bounds, first, last
):  # fmt: skip
    """Sum chunks ``first:last``, of which ``starts`` are the first rows; what follows a broken reading may be left."""
    for k in range(first, last):
        sum_chunk(k, time_us, power_mw, offsets, gpu, starts, edges, rows, idle_mw, max_gap_us, out, span, bounds)
        if bounds[k, 0] <= 0:
            break
