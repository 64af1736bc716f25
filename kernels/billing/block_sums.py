"""Blocks of power readings that somebody else has summed, joined to the accounts as if they had been walked through.

A device sums blocks of rows without knowing what came before (`kernels.cuda_power`). Whether a block may be taken as a
whole is decided here, in the order of time: one without a gap, with good readings alone, that begins where the accounts
stand, is; any other is walked row by row. Integers and states are those of `kernels.billing.power_only`.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import numpy as np

from wattshed.kernels.billing.histogram import BEFORE, BEFORE_T, HELD, SEEN_T, touch
from wattshed.kernels.billing.histogram import pour as into_bin
from wattshed.kernels.billing.layout import Diagnostics, GpuState
from wattshed.kernels.billing.power_only import LONGEST_SUMMED_US, highest_believed, pour_block, walk
from wattshed.kernels.billing.reconcile import MOST_HNJ
from wattshed.kernels.entry import b1, i32, i64, kernel, rows, u32
from wattshed.kernels.jit import jit

FIELDS = 8
ENERGY, STATIC, LOW, HIGH, LONGEST, LEAD, SINCE, INNER = range(FIELDS)
"""What is known of a block: its energy and what of it is below idle power (hnj), lowest and highest reading (mW), the
longest interval (us). And its runs of equal readings: how far the first one goes, since when the last one goes on, and
the longest of those that begin within (us; -1 none)."""
FELL = 1 << 62
"""For the longest interval, where time falls."""


@jit
def _is_good(one, rows, begin, end, ceiling, max_gap):
    """Say whether what is told of a block may be taken as it is."""
    return (
        rows > 2
        and begin >= 0
        and one[LONGEST] <= min(max_gap, LONGEST_SUMMED_US)
        and one[LOW] > 0
        and one[HIGH] <= ceiling
        and np.float64(end - begin) * 2.0 * np.float64(ceiling) < np.float64(MOST_HNJ)
    )


@jit
def _enter(one, rows, begin, end, power, s, happened, out):
    """Enter a good block, whose first row was walked."""
    out[0] += one[ENERGY]
    out[1] += one[STATIC]
    happened.samples += rows - 1
    happened.covered_us += end - begin
    s.lowest_mw = min(s.lowest_mw, one[LOW])
    s.highest_mw = max(s.highest_mw, one[HIGH])
    if one[LEAD] >= 0:
        s.longest_run_us = max(s.longest_run_us, one[LEAD] - s.run_since_us)
    s.longest_run_us = max(s.longest_run_us, one[INNER])
    if one[SINCE] >= 0:
        s.run_since_us = one[SINCE]
    s.last_us = s.power_us = s.shape_us = s.booked_us = end
    s.power_mw = power


@kernel(
    i64[:], i32[:], i64, i64[:, :], b1[:], i64[:], rows(GpuState), rows(Diagnostics), i64, i64, i64, b1, i64[:],
    u32[:, :], i64[:],
)  # fmt: skip
def join_gpu(
    times, powers, size, sums, taken, place, state, diagnostics, ceiling, max_gap, twice_idle, pour, last, bins, out
):
    """Book one GPU's rows from ``place[0]`` on, and move it; stops before a reading without a bin, or when full.

    Parameters
    ----------
    times, powers : int64[n], us; int32[n], mW
    size : int
        Rows of a block.
    sums : int64[k, FIELDS]
        What is known of each block.
    taken : bool[k]
        Gets which were taken: the weights of their readings are still to be added to the bins, but for those of the
        interval before the first row and before the last one.
    place : int64[1]
    state, diagnostics : GPU_STATE[1], DIAGNOSTICS[1]
        Of the GPU.
    ceiling, max_gap, twice_idle : int, mW, us, mW
    pour : bool
        Whether there is a histogram: ``last`` and ``bins`` are its own.
    out : int64[3]
        Gets energy, static energy, and the reading at which it stopped because there was no bin (else 0).
    """
    s, happened = state[0], diagnostics[0]
    out[:] = 0
    n = len(powers)
    while place[0] < n and out[0] < MOST_HNJ:
        a, k = place[0], place[0] // size
        b = min((k + 1) * size, n)
        begin, end = times[a], times[b - 1]
        good = a == k * size and _is_good(sums[k], b - a, begin, end, ceiling, max_gap)
        highest = sums[k, HIGH] if good else highest_believed(powers[a:b], ceiling)
        if pour and max(highest, last[BEFORE]) >= max(bins.shape[1], 1):
            out[2] = max(highest, last[BEFORE])
            return
        upto = a + 1 if good else b  # what reaches back to the row before the block is walked
        place[0] += walk(
            times[a:upto], powers[a:upto], np.int64(0), s, happened, ceiling, max_gap, twice_idle, pour, last, bins, out
        )
        if not good or begin != s.power_us or (pour and begin != last[BEFORE_T]):
            continue  # the rest of a block that begins before what was booked is walked, too
        _enter(sums[k], b - a, begin, end, np.int64(powers[b - 1]), s, happened, out)
        if pour:
            into_bin(bins, np.int64(powers[a]), last[HELD])
            touch(last, sums[k, LOW], sums[k, HIGH])
            last[HELD] = end - times[b - 2]
            last[SEEN_T], last[BEFORE_T], last[BEFORE] = end, end, np.int64(powers[b - 1])
        taken[k] = True
        place[0] = b


@kernel(i64[:], i32[:], i64, b1[:], u32[:, :])
def pour_taken(times, powers, size, taken, bins):
    """Add to the bins what `join_gpu` left out of the blocks that were taken."""
    for k in range(len(taken)):
        if taken[k]:
            a, b = k * size, min((k + 1) * size, len(powers))
            into_bin(bins, np.int64(powers[a]), times[a + 1] - times[a])
            pour_block(times[a:b], powers[a:b], bins, times[b:b], powers[b:b])


def _lay_out(offsets, times, time_at, base_us, powers, power_at, gpu, to, time_us, power_mw):
    """Copy one GPU's rows of windows to where they lie one after the other, from row ``to`` on."""
    for w in range(len(base_us)):
        t, p, base = time_at[w], power_at[w], np.int64(base_us[w])
        for i in range(offsets[w, gpu], offsets[w, gpu + 1]):
            time_us[to] = base + np.int64(times[t + i])
            power_mw[to] = powers[p + i]
            to += 1


LAY_OUT = {
    times.dtype: kernel(
        i64[:, :], times[:], i64[:], i64[:], i32[:], i64[:], i64, i64, i64[:], i32[:],
        name=f"lay_out_{times.dtype.name}",
    )(_lay_out)
    for times in (u32, i64)
}  # fmt: skip
"""By the dtype of a recording's times."""
