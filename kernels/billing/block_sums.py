"""Blocks of power readings that were summed by themselves, joined to the accounts as if they had been walked through.

A device sums blocks of rows without knowing what came before (`kernels.cuda_power`), and so does the CPU where owners
hold the GPUs. Whether a block may be taken as a whole is decided here, in the order of time: one without a gap, with
good readings alone, that begins where the accounts stand and in which nobody comes or goes, is; any other is walked row
by row. Integers and states are those of `kernels.billing.reconcile.merge` and `kernels.billing.split.split`, window by
window: a segment of time in which the owners are the same is split at its end, and at the end of its window.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import numpy as np

from wattshed.kernels.billing import crossing
from wattshed.kernels.billing.histogram import BEFORE, BEFORE_T, HELD, SEEN_T, touch
from wattshed.kernels.billing.histogram import pour as into_bin
from wattshed.kernels.billing.layout import Diagnostics, GpuState, IntervalColumns
from wattshed.kernels.billing.power_only import LONGEST_SUMMED_US, highest_believed, pour_block, walk
from wattshed.kernels.billing.reconcile import MOST_HNJ
from wattshed.kernels.billing.shares import before_in, here_in
from wattshed.kernels.billing.split import Cursor, Split, SplitSegment, begin, share_out, take_segment
from wattshed.kernels.billing.usage import OwnerUse, SweepPlace, UsageRows, next_edge, pass_edge
from wattshed.kernels.entry import b1, f64, i32, i64, kernel, rows, u32, written
from wattshed.kernels.jit import jit

FIELDS = 9
ENERGY, STATIC, LOW, HIGH, LONGEST, LEAD, SINCE, INNER, PEAK = range(FIELDS)
"""What is known of a block: its energy and what of it is below idle power (hnj), lowest and highest reading (mW), the
longest interval (us). Its runs of equal readings: how far the first one goes, since when the last one goes on, and the
longest of those that begin within (us; -1 none). And the highest mean of an interval (mW)."""
FELL = 1 << 62
"""For the longest interval, where time falls."""
ROW, WINDOW, BLOCK, PLACES = range(4)
"""Where `join_gpu` stands: the row, the window and the block that come next."""
STILL, MOVED, HIGHEST, COVERED, OPEN = range(5)
"""What is open of a segment: static and dynamic energy (hnj), the highest power (mW), the time (us)."""


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
def _enter(one, rows, begin, end, power, s, happened, segment, out):
    """Enter a good block, whose first row was walked."""
    out[0] += one[ENERGY]
    segment[STILL] += one[STATIC]
    segment[MOVED] += one[ENERGY] - one[STATIC]
    segment[HIGHEST] = max(segment[HIGHEST], one[PEAK])
    segment[COVERED] += end - begin
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


@jit
def _pass_edges(upto, usage, at, here, before, parts, segment):
    """Let those come and go who do until a moment; what is open was used before them."""
    edge = next_edge(usage, at, upto + 1)
    while edge <= upto:
        _close(usage, at.present, here, before, parts, segment)
        at = pass_edge(usage, at, edge, here.rows)
        edge = next_edge(usage, at, upto + 1)
    return at


@jit
def _close(usage, present, here, before, parts, segment):
    """Split what is open among those who are there."""
    if segment[COVERED] > 0:
        whole = SplitSegment(segment[STILL], segment[MOVED], segment[HIGHEST], segment[COVERED], 0.0)
        share_out(whole, usage, here, present, before, parts, 0)
    segment[:] = 0


@jit
def _take_interval(one, since_us, idle_mw, usage, at, here, before, parts, segment):
    """Take an interval, cut where somebody comes or goes, and at the end of a window where somebody is there."""
    cursor, cut, until = begin(one, 0, 1, Cursor(0, 0, 0, 0)), crossing.no_cut(), one.t1_us[0]
    while cursor.interval < 1:
        edge = next_edge(usage, at, until + 1)
        if at.present > 0 and cursor.at_us < since_us < until:
            edge = min(edge, since_us)
        part, cursor, cut = take_segment(edge, 1, cursor, cut, one, idle_mw, True, usage, at)
        segment[STILL] += part.static_hnj
        segment[MOVED] += part.dynamic_hnj
        segment[HIGHEST] = max(segment[HIGHEST], part.peak_mw)
        segment[COVERED] += part.covered_us
        if cursor.interval < 1:
            _close(usage, at.present, here, before, parts, segment)
            at = pass_edge(usage, at, edge, here.rows)
    return at


@kernel(
    i64[:], i32[:], i64[:], i64[:], i64[:, :], written(b1[:]), i64[:], i64[:], written(i64[:]), written(rows(GpuState)),
    written(rows(Diagnostics)), i64, i64, i64, b1, written(i64[:]), written(u32[:, :]), rows(OwnerUse), i64[:], i64[:],
    written(i64[:]), written(i64[:, :]), written(f64[:]), written(i64[:, :]), written(i64[:, :]), written(i64[:]),
    written(i64[:, :]), written(i64[:]),
)  # fmt: skip
def join_gpu(
    times, powers, begins, ends, sums, taken, until, since_us, place, state, diagnostics, ceiling, max_gap, idle_mw,
    pour, last, bins, row, by_start, by_end, sweep, room, used, of_rows, of_gpu, segment, interval, out,
):  # fmt: skip
    """Book one GPU's rows from ``place`` on, and move it; stops before a reading without a bin, or when full.

    Parameters
    ----------
    times, powers : int64[n], us; int32[n], mW
    begins, ends : int64[k]
        Rows of each block; a window's blocks are its own.
    sums : int64[k, FIELDS]
        What is known of each block.
    taken : bool[k]
        Gets which were taken: the weights of their readings are still to be added to the bins, but for those of the
        interval before the first row and before the last one.
    until, since_us : int64[w]
        Where each window's rows end, and when it began (us).
    place : int64[PLACES]
    state, diagnostics : GPU_STATE[1], DIAGNOSTICS[1]
        Of the GPU.
    ceiling, max_gap, idle_mw : int, mW, us, mW
    pour : bool
        Whether there is a histogram: ``last`` and ``bins`` are its own.
    row, by_start, by_end, sweep, room, used, of_rows, of_gpu, segment
        Of an `kernels.billing.owner_sweep.OwnerSweep`.
    interval : int64[5, 1]
        Room.
    out : int64[3]
        Gets energy, and, last, the reading at which it stopped because there was no bin (else 0).
    """
    s, happened = state[0], diagnostics[0]
    usage = UsageRows(row, by_start, by_end)
    m = len(row)
    here, before = here_in(room, 0, 0, m), before_in(room, used, 0, 0, m)
    parts = Split(
        of_rows[0], of_rows[1], of_rows[2], of_rows[3], of_rows[4], of_rows[5], of_rows[6], of_rows[7],
        of_gpu[0], of_gpu[1],
    )  # fmt: skip
    one = IntervalColumns(interval[0], interval[1], interval[2], interval[3], interval[4], interval[4][:0])
    at = SweepPlace(sweep[0], sweep[1], sweep[2], sweep[3], sweep[4])
    out[:] = 0
    stop = False
    while not stop and place[WINDOW] < len(until):
        since = since_us[place[WINDOW]]
        while place[ROW] < until[place[WINDOW]]:
            if out[0] >= MOST_HNJ:
                stop = True
                break
            a, k = place[ROW], place[BLOCK]
            b = ends[k]
            first_us, last_us = times[a], times[b - 1]
            good = a == begins[k] and _is_good(sums[k], b - a, first_us, last_us, ceiling, max_gap)
            highest = sums[k, HIGH] if good else highest_believed(powers[a:b], ceiling)
            if pour and max(highest, last[BEFORE]) >= max(bins.shape[1], 1):
                out[2] = max(highest, last[BEFORE])
                stop = True
                break
            i = a
            while i < b:
                t0, p0, seen = s.power_us, s.power_mw, happened.samples
                walk(
                    times[i : i + 1], powers[i : i + 1], np.int64(0), s, happened, ceiling, max_gap, 0, pour, last,
                    bins, out,
                )  # fmt: skip
                i += 1
                if happened.samples > seen and t0 >= 0 and 0 < s.power_us - t0 <= max_gap:
                    one.t0_us[0], one.t1_us[0], one.begin_mw[0], one.end_mw[0] = t0, s.power_us, p0, s.power_mw
                    one.energy_hnj[0] = (p0 + s.power_mw) * (s.power_us - t0)
                    at = _take_interval(one, since, idle_mw, usage, at, here, before, parts, segment)
                # What reaches back to the row before the block is walked, and a block that begins before what was
                # booked, or in which somebody comes or goes.
                if i == a + 1 and good and first_us == s.power_us and (not pour or first_us == last[BEFORE_T]):
                    at = _pass_edges(first_us, usage, at, here, before, parts, segment)
                    if next_edge(usage, at, last_us) >= last_us:
                        _enter(sums[k], b - a, first_us, last_us, np.int64(powers[b - 1]), s, happened, segment, out)
                        if pour:
                            into_bin(bins, np.int64(powers[a]), last[HELD])
                            touch(last, sums[k, LOW], sums[k, HIGH])
                            last[HELD] = last_us - times[b - 2]
                            last[SEEN_T], last[BEFORE_T], last[BEFORE] = last_us, last_us, np.int64(powers[b - 1])
                        taken[k] = True
                        i = b
            place[ROW], place[BLOCK] = b, k + 1
        if not stop:
            _close(usage, at.present, here, before, parts, segment)
            place[WINDOW] += 1
    for i in range(5):
        sweep[i] = at[i]
    if stop and m == 0:
        _close(usage, 0, here, before, parts, segment)


@kernel(i64[:], i32[:], i64[:], i64[:], i64, written(i64[:, :]), i64, i64)
def sum_blocks_here(times, powers, begins, ends, twice_idle, sums, first, last):
    """Sum blocks ``first:last`` of one GPU's rows, as a device does."""
    for k in range(first, last):
        _sum_block(times[begins[k] : ends[k]], powers[begins[k] : ends[k]], twice_idle, sums[k])


@jit
def _sum_block(times, powers, twice_idle, one):
    """Fill in what is known of a block; of one that is not good, energies may be anything."""
    energy = np.uint64(0)
    equal, peak = np.uint32(0), np.uint32(0)
    low = high = np.uint32(powers[0])
    longest = np.uint64(0)
    times_next, powers_next = times[1:], powers[1:]  # sliced first, or the loop is not vectorised
    for i in range(len(powers_next)):
        apart = np.uint64(times_next[i]) - np.uint64(times[i])
        longest = max(longest, apart)
        span = np.uint64(np.uint32(apart))
        before, power = np.uint32(powers[i]), np.uint32(powers_next[i])
        both = np.uint32(before + power)
        low, high = min(low, power), max(high, power)
        energy += span * np.uint64(both)
        equal += np.uint32(before == power)
        peak = max(peak, both if span > 0 else np.uint32(0))
    end = times[len(times) - 1]
    one[ENERGY], one[LOW], one[HIGH], one[PEAK] = np.int64(energy), np.int64(low), np.int64(high), np.int64(peak) // 2
    one[LONGEST] = np.int64(min(longest, np.uint64(FELL)))
    static = np.uint64(0)
    if 2 * np.int64(low) >= twice_idle:
        static = np.uint64(twice_idle) * np.uint64(end - times[0])
    else:
        bound = np.uint32(twice_idle)
        for i in range(len(powers_next)):
            span = np.uint64(np.uint32(times_next[i] - times[i]))
            static += span * np.uint64(min(np.uint32(powers[i] + powers_next[i]), bound))
    one[STATIC] = np.int64(static)
    one[LEAD], one[SINCE], one[INNER] = -1, end if len(powers) > 1 else -1, -1
    if equal > 0:
        _runs_in(times, powers, one)


@jit
def _runs_in(times, powers, one):
    """Find the runs of equal readings of a block."""
    one[LEAD], one[SINCE], one[INNER] = -1, -1, -1
    for i in range(1, len(powers)):
        if powers[i] != powers[i - 1]:
            one[SINCE] = times[i]
        elif one[SINCE] < 0:
            one[LEAD] = times[i]
        else:
            one[INNER] = max(one[INNER], times[i] - one[SINCE])


@kernel(i64[:], i32[:], i64[:], i64[:], b1[:], written(u32[:, :]))
def pour_taken(times, powers, begins, ends, taken, bins):
    """Add to the bins what `join_gpu` left out of the blocks that were taken."""
    for k in range(len(taken)):
        if taken[k]:
            a, b = begins[k], ends[k]
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
        i64[:, :], times[:], i64[:], i64[:], i32[:], i64[:], i64, i64, written(i64[:]), written(i32[:]),
        name=f"lay_out_{times.dtype.name}",
    )(_lay_out)
    for times in (u32, i64)
}  # fmt: skip
"""By the dtype of a recording's times."""
