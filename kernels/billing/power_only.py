"""The simple case at the speed of memory: power only, no counter.

Then booking needs no intervals: the sums of `kernels.billing.reconcile.merge` and `kernels.billing.split.split`, and
the histogram of power, follow from one pass over the columns as they lie in the file. Rows are taken block by block. A
block without a gap and with good readings alone is summed by vector code; any other is walked row by row. Both give the
very integers, and the state, of `merge`. Whole runs of windows are booked by `kernels.billing.power_runs`.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

from typing import Any

import numpy as np

from wattshed.kernels.billing.histogram import BEFORE, BEFORE_T, HELD, SEEN_T, pour_many, touch
from wattshed.kernels.billing.histogram import pour as into_bin
from wattshed.kernels.billing.layout import Diagnostics, GpuState
from wattshed.kernels.billing.reconcile import MOST_HNJ, follow, is_reading
from wattshed.kernels.entry import b1, i32, i64, kernel, rows, u32, written
from wattshed.kernels.fetching import fetch
from wattshed.kernels.jit import jit, loop_of

BLOCK = 4_096
"""Rows that are looked at twice, once for their sums and once for the histogram: they stay in the nearest cache."""
LINE = 16
"""Rows of four bytes in a line of the caches."""
SOON = 16
"""So many windows before it is booked a window's first rows are fetched."""
_WORD = np.uint64(0xFFFFFFFF)
LONGEST_SUMMED_US = 0x7FFFFFFF
"""A block with a longer interval is walked: of two up to this, the sum fits 32 bits."""


def _sum_block(times, powers):
    """Sum the intervals between all rows: (energy, equal neighbours, lowest, highest reading, longest interval).

    A falling time shows as an interval beyond any gap.
    """
    apart, words = np.diff(times.astype(np.uint64)), powers.astype(np.uint32)
    energy = ((apart & _WORD) * (words[:-1] + words[1:]).astype(np.uint64)).sum(dtype=np.uint64)
    equal = np.uint32(np.count_nonzero(words[:-1] == words[1:]))
    return energy, equal, words.min(), words.max(), apart.max(initial=np.uint64(0))


@loop_of(_sum_block)
def _sum_block_by_rows(times, powers):
    energy = np.uint64(0)
    equal = np.uint32(0)
    low = high = np.uint32(powers[0])
    longest = np.uint64(0)
    times_next, powers_next = times[1:], powers[1:]  # sliced first, or the loop is not vectorised
    for i in range(len(powers_next)):
        apart = np.uint64(times_next[i]) - np.uint64(times[i])
        longest = max(longest, apart)
        span = np.uint64(np.uint32(apart))
        before, power = np.uint32(powers[i]), np.uint32(powers_next[i])
        low, high = min(low, power), max(high, power)
        energy += span * np.uint64(np.uint32(before + power))
        equal += np.uint32(before == power)
    return energy, equal, low, high, longest


def _static_block(times, powers, twice_idle):
    """Sum what of a good block lies below idle power."""
    apart, words = np.diff(times.astype(np.uint64)), powers.astype(np.uint32)
    below = np.minimum(words[:-1] + words[1:], twice_idle).astype(np.uint64)
    return np.int64(((apart & _WORD) * below).sum(dtype=np.uint64))


@loop_of(_static_block)
def _static_block_by_rows(times, powers, twice_idle):
    static = np.uint64(0)
    times_next, powers_next = times[1:], powers[1:]
    for i in range(len(powers_next)):
        span = np.uint64(np.uint32(times_next[i] - times[i]))
        static += span * np.uint64(min(np.uint32(powers[i] + powers_next[i]), twice_idle))
    return np.int64(static)


def pour_block(times, powers, bins, coming_times, coming_powers):  # noqa: ARG001 - which the loop fetches
    """Add the weights of a good block: every reading's two intervals, but for the last reading, whose weight is kept.

    The first reading is left to the caller. What comes next is fetched meanwhile. Returns the interval before the last.
    """
    apart = np.diff(times.astype(np.int64))
    pour_many(bins, powers[1:-1].astype(np.int64), apart[:-1] + apart[1:])
    return apart[-1]


@loop_of(pour_block)
def _pour_block_by_rows(times, powers, bins, coming_times, coming_powers):
    low, high = bins[0], bins[1]
    times_next = times[1:]
    held = np.uint32(np.int64(times_next[0]) - np.int64(times[0]))
    count, coming = len(times_next), len(coming_powers)
    for first in range(1, count, LINE):
        if first < coming:
            fetch(coming_times, first)
            fetch(coming_powers, first)
        for i in range(first, min(first + LINE, count)):
            after = np.uint32(np.int64(times_next[i]) - np.int64(times[i]))
            weight = np.uint32(held + after)  # of two intervals below 2**31
            level = np.uint32(powers[i])
            total = np.uint32(low[level] + weight)
            low[level] = total
            if total < weight:
                high[level] += np.uint32(1)
            held = after
    return np.int64(held)


@jit
def walk(times, powers, base, s, happened, ceiling, max_gap, twice_idle, pour, last, bins, out):
    """Book rows one by one, as `reconcile.merge` does; returns how many, fewer than all if the sums are full."""
    for i in range(len(powers)):
        t: Any = base + np.int64(times[i])
        p: Any = np.int64(powers[i])
        if t < s.last_us:
            happened.rejected_time += 1
            continue
        s.last_us = last[SEEN_T] = t
        if s.first_us < 0 and p > 0:
            s.first_us = t
        if not is_reading(p, ceiling, happened):
            continue
        bridged = max(follow(s, happened, t, p, max_gap), 0)
        out[0] += (s.power_mw + p) * bridged
        out[1] += min(s.power_mw + p, twice_idle) * bridged
        s.power_us = s.shape_us = s.booked_us = t
        s.power_mw = p
        if pour:
            held = np.int64(0)
            if last[BEFORE] > 0:
                apart = t - last[BEFORE_T]
                held = apart if 0 <= apart <= max_gap else np.int64(0)
                into_bin(bins, last[BEFORE], last[HELD] + held)
                touch(last, last[BEFORE], last[BEFORE])
            last[BEFORE_T], last[BEFORE], last[HELD] = t, p, held
        if out[0] >= MOST_HNJ:
            return i + 1
    return len(powers)


@jit
def _longest_run(times, powers, base, s):
    """Go on with the run of equal readings through a good block's rows but the first."""
    for i in range(1, len(powers)):
        if powers[i] == powers[i - 1]:
            s.longest_run_us = max(s.longest_run_us, base + np.int64(times[i]) - s.run_since_us)
        else:
            s.run_since_us = base + np.int64(times[i])


@jit
def highest_believed(powers, ceiling):
    """Return the highest reading, mW, but no more than the ceiling; 0 if there is none."""
    highest = np.int64(0)
    for i in range(len(powers)):
        highest = max(highest, np.int64(powers[i]))
    return min(highest, ceiling)


@jit
def _book_block(
    times, powers, base, s, happened, ceiling, max_gap, twice_idle, pour, last, bins, out, coming_times, coming_powers,
):  # fmt: skip
    """Book one block; returns how many rows were booked: none if a reading has no bin, which is then in ``out``."""
    n = len(powers)
    energy, equal, low, high, longest = _sum_block(times, powers)
    begin, end = base + np.int64(times[0]), base + np.int64(times[n - 1])
    good = (
        n > 2
        and longest <= np.uint64(min(max_gap, np.int64(LONGEST_SUMMED_US)))
        and low > 0
        and np.int64(high) <= ceiling
        and np.float64(end - begin) * 2.0 * np.float64(ceiling) < np.float64(MOST_HNJ)
    )
    # The reading before the block is poured too, and the bins that it once had may have been given back since.
    highest = max(np.int64(high) if good else highest_believed(powers, ceiling), last[BEFORE])
    if pour and highest > 0 and highest >= bins.shape[1]:
        out[2] = highest
        return 0
    if not good:
        return walk(times, powers, base, s, happened, ceiling, max_gap, twice_idle, pour, last, bins, out)
    # What reaches back to the row before the block is walked.
    walk(times[:1], powers[:1], base, s, happened, ceiling, max_gap, twice_idle, pour, last, bins, out)
    if begin != s.power_us or (pour and begin != last[BEFORE_T]):  # the block begins before what was booked
        return 1 + walk(times[1:], powers[1:], base, s, happened, ceiling, max_gap, twice_idle, pour, last, bins, out)
    out[0] += np.int64(energy)
    # Where no reading is below idle power, all of that is static, and nobody has to look.
    always = 2 * np.int64(low) >= twice_idle
    out[1] += twice_idle * (end - begin) if always else _static_block(times, powers, np.uint32(twice_idle))
    happened.samples += n - 1
    happened.covered_us += end - begin
    s.lowest_mw = min(s.lowest_mw, np.int64(low))
    s.highest_mw = max(s.highest_mw, np.int64(high))
    if equal:
        _longest_run(times, powers, base, s)
    else:
        s.run_since_us = end
    s.last_us = s.power_us = s.shape_us = s.booked_us = end
    s.power_mw = np.int64(powers[n - 1])
    if pour:
        into_bin(bins, last[BEFORE], last[HELD] + np.int64(times[1]) - np.int64(times[0]))
        last[HELD] = pour_block(times, powers, bins, coming_times, coming_powers)
        touch(last, np.int64(low), np.int64(high))
        last[SEEN_T], last[BEFORE_T], last[BEFORE] = end, end, np.int64(powers[n - 1])
    return n


def _book_gpu(
    offsets, times, time_at, base_us, power_mw, power_at, gpu, place, state, diagnostics, ceiling, max_gap, twice_idle,
    pour, last, bins, out,
):  # fmt: skip
    """Book one GPU from ``place`` (window, row) on, and move it; stops before a reading without a bin, or when full.

    ``state`` and ``diagnostics`` are the GPU's own. ``out`` gets energy, static energy, and the reading at which it
    stopped because there was no bin (else 0).
    """
    s, happened = state[0], diagnostics[0]
    out[:] = 0
    for w in range(place[0], len(base_us)):
        a, end = offsets[w, gpu], offsets[w, gpu + 1]
        if w == place[0]:
            a = max(a, place[1])
        soon = min(w + SOON, len(base_us) - 1)
        fetch(times, time_at[soon] + offsets[soon, gpu])
        fetch(power_mw, power_at[soon] + offsets[soon, gpu])
        while a < end:
            b = min(a + BLOCK, end)
            v = w if b < end else min(w + 1, len(base_us) - 1)
            c = b if b < end else offsets[v, gpu]
            d = min(c + BLOCK, offsets[v, gpu + 1])
            a += _book_block(
                times[time_at[w] + a : time_at[w] + b], power_mw[power_at[w] + a : power_at[w] + b], base_us[w],
                s, happened, ceiling, max_gap, twice_idle, pour, last, bins, out,
                times[time_at[v] + c : time_at[v] + d], power_mw[power_at[v] + c : power_at[v] + d],
            )  # fmt: skip
            if out[2] > 0 or out[0] >= MOST_HNJ:
                place[0], place[1] = w, a
                return
    place[0] = len(base_us)


BOOK_GPU = {
    times.dtype: kernel(
        i64[:, :], times[:], i64[:], i64[:], i32[:], i64[:], i64, written(i64[:]), written(rows(GpuState)),
        written(rows(Diagnostics)), i64, i64, i64, b1, written(i64[:]), written(u32[:, :]), written(i64[:]),
        name=f"book_gpu_{times.dtype.name}",
    )(_book_gpu)
    for times in (u32, i64)
}  # fmt: skip
"""By the dtype of a recording's times."""
