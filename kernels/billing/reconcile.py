"""From raw readings to booked energy: reconciles the driver's energy counter with sampled power, GPU by GPU.

The counter's difference between two readings *is* the energy of that stretch; sampled power gives only the shape inside
it, scaled to fit. Without a counter, power is integrated by trapezoid. The result is a list of *energy intervals*:
stretches of time with an exact integer energy in half-nanojoules (``hnj``; 1 mJ = 2,000,000 hnj), which later kernels
split.

A counter lies in known ways, and each has its rule (`kernels.billing.verdicts`, `kernels.billing.counter_resets`):

* it was *seen* not to move while power flows (stuck: readings that repeat it, more than 2 s apart without their longest
  pause), or is not readable for longer than a gap: power is booked, and what the counter says later is booked on top as
  far as it exceeds that. Its difference is the truth; only one that was stuck and then lacks a quarter of what power
  booked has lost it;
* it falls (a driver reload, or a bad reading): nothing is booked from it until a second reading says which. If it comes
  back to the old level it was a dip and the old base holds; if it counts on from the low value it is a new epoch, whose
  first value is a lower bound for the stretch before it, and what it leaves open is estimated by power;
* it jumps further than 1.5 times the power limit allows: likewise held back until a second reading;
* after a hole its first value may be as old as the hole: it is held back until it moves on. One that is then seen to
  stand is a lower bound for the hole, and what it says next is measured from before the hole.

Where neither meter was read for longer than a gap there is a hole, an interval of its own (`kernels.billing.holes`):
the books are closed before it, and what the counter says next, less what power saw since, is the hole's.

State is one record per GPU (`kernels.billing.layout.GpuState`), so that windows may be cut anywhere; what a window
cannot book yet is carried over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.kernels.billing.counter_resets import UNDECIDED_US, book_stale
from wattshed.kernels.billing.holes import UNTOLD_US, total_of
from wattshed.kernels.billing.layout import (
    DIAGNOSTICS,
    OPEN,
    Books,
    Diagnostics,
    EnergyIntervals,
    GpuState,
    IntervalColumns,
    Open,
    Suspect,
)
from wattshed.kernels.billing.settling import all_final, begun_anew, by_power, close, settle_by_power, uncover
from wattshed.kernels.billing.trusting import follow_level
from wattshed.kernels.billing.verdicts import take_counter
from wattshed.kernels.entry import b1, i32, i64, kernel, rows, written
from wattshed.kernels.jit import jit
from wattshed.kernels.records import blank

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_HNJ = 1 << 61  # what the caller gives at once may be no more, by the GPUs' limits: a quarter of what int64 holds


class _Readings(NamedTuple):
    """The columns of `merge`."""

    time_us: NDArray[np.int64]
    power_mw: NDArray[np.int32]
    instant_mw: NDArray[np.int32]
    counter_mj: NDArray[np.int64]


def new_state(gpus: int) -> NDArray[np.void]:
    """State of ``gpus`` GPUs before their first reading: GPU_STATE[gpus]."""
    return blank(GpuState, gpus)


@jit
def is_reading(p: int, ceiling: int, diagnostics: Diagnostics) -> bool:
    """Return whether a power can be trusted; if not, count why."""
    if p == 0:
        diagnostics.rejected_zero += 1
    elif p < -1:
        diagnostics.rejected_negative += 1
    elif p > ceiling:
        diagnostics.rejected_high += 1
    return 0 < p <= ceiling


@jit
def follow(s: GpuState, diagnostics: Diagnostics, t: int, p: int, max_gap: int) -> int:
    """Count a reading that can be trusted; returns the time that it bridges, -1 over a gap, 0 for the first."""
    diagnostics.samples += 1
    known = s.power_us >= 0
    apart = t - s.power_us if known else 0
    if known and p == s.power_mw and apart <= max_gap:
        s.longest_run_us = max(s.longest_run_us, t - s.run_since_us)
    else:
        s.run_since_us = t
    s.lowest_mw = p if s.lowest_mw < 0 else min(s.lowest_mw, p)
    s.highest_mw = max(s.highest_mw, p)
    if apart > max_gap:
        diagnostics.gap_us += apart
        diagnostics.gaps += 1
        return -1
    diagnostics.covered_us += apart
    return apart


@jit
def _put_shape(books: Books, t: int, p: int, fresh: bool, near: bool) -> None:
    """Add the interval from the last reading to this one, with the power at its ends; without a counter it is final."""
    s, stretch, intervals = books.state, books.open, books.intervals
    k = stretch.end
    begin = s.power_mw if near or not fresh else p
    end = p if fresh else s.power_mw
    intervals.t0_us[k], intervals.t1_us[k] = s.shape_us, t
    intervals.begin_mw[k], intervals.end_mw[k] = begin, end
    intervals.energy_hnj[k] = (begin + end) * (t - s.shape_us)
    stretch.end += 1
    s.shape_us = t
    if s.counter_mj < 0:
        settle_by_power(books, stretch.first, stretch.end)
        all_final(stretch)
        s.booked_us = t


@jit
def _close_before_hole(books: Books) -> None:
    """Close the books, so that what the counter says next belongs to what nobody reads now."""
    if books.state.suspect == Suspect.STALE:
        book_stale(books, False)
    if books.open.end > books.open.first:
        close(books)


@jit
def _end_hole(books: Books, p: int, fresh: bool, average_mw: int) -> None:
    """Close the books before a hole that a reading ends, and note the power on both sides of it.

    An instant says little about a load that moves: better the mean of seconds before, and of the one after.
    """
    s = books.state
    _close_before_hole(books)
    if s.mean_mw > 0 or s.power_us >= 0:  # else the hole goes on: a counter alone repeated itself
        s.before_mw = s.mean_mw if s.mean_mw > 0 else s.power_mw
    s.back_mw = average_mw if 0 < average_mw <= books.ceiling_mw else p if fresh else -1
    s.mean_mw = -1


@jit
def _misses_counter(books: Books, t: int) -> bool:
    """Return whether what is open waits too long for the counter; a hole, of which it alone can tell, waits longer."""
    s, stretch, intervals = books.state, books.open, books.intervals
    if s.counter_mj < 0 or stretch.end == stretch.first or t - s.seen_us <= books.max_gap_us:
        return False
    since = intervals.t0_us[stretch.first]
    return bool(since - s.booked_us <= books.max_gap_us or t - since > UNDECIDED_US)


@jit
def _take_row(books: Books, t: int, average_mw: int, instant_mw: int, c: int) -> None:
    """Take in one row: its power gives the shape of what is open, its counter books it."""
    s, diagnostics = books.state, books.diagnostics
    if t < s.last_us:
        diagnostics.rejected_time += 1
        return
    counted = s.counter_mj >= 0
    # With a counter only the shape is wanted, and a moving mean blurs it.
    p = instant_mw if counted and instant_mw > 0 else average_mw
    s.last_us = t
    if s.first_us < 0 and (p > 0 or c >= 0):
        s.first_us = t
    fresh = is_reading(p, books.ceiling_mw, diagnostics)
    near = s.power_us >= 0 and t - s.power_us <= books.max_gap_us
    if fresh:
        bridged = follow(s, diagnostics, t, p, books.max_gap_us)
        if not counted:
            diagnostics.power_hnj += (s.power_mw + p) * max(bridged, 0)
    if counted and 0 < average_mw <= books.ceiling_mw:
        follow_level(books, t, average_mw)
    if fresh or c >= 0:
        apart = t - s.shape_us
        if s.shape_us >= 0 and apart <= books.max_gap_us:
            if apart > 0 and (near or (counted and (fresh or books.open.end > books.open.first))):
                _put_shape(books, t, p, fresh, near)
        elif counted:
            _end_hole(books, p, fresh, average_mw)
    if fresh:
        s.power_us, s.power_mw = t, p
        s.shape_us = t
        if not counted:
            s.booked_us = t
    if c >= 0:
        if s.power_us < 0 and min(s.seen_us, s.shape_us) >= 0 and t - s.seen_us > books.max_gap_us:
            diagnostics.gap_us += t - s.seen_us  # of a GPU that has a counter alone
            diagnostics.gaps += 1
        take_counter(books, t, c)
    elif _misses_counter(books, t):
        _close_before_hole(books)


@jit
def _reopen(books: Books) -> None:
    """Put what the window before left open among the intervals again."""
    s, stretch, intervals = books.state, books.open, books.intervals
    k = stretch.end
    if s.open_until_us >= 0:
        intervals.t0_us[k], intervals.t1_us[k], intervals.energy_hnj[k] = s.open_since_us, s.open_until_us, s.open_hnj
        intervals.begin_mw[k], intervals.end_mw[k] = s.open_begin_mw, s.open_end_mw
        k += 1
        stretch.mark = k
    if s.after_until_us >= 0:
        intervals.t0_us[k], intervals.t1_us[k] = s.after_since_us, s.after_until_us
        intervals.energy_hnj[k], intervals.begin_mw[k], intervals.end_mw[k] = s.after_hnj, -1, -1
        k += 1
    stretch.end = k


@jit
def _finish(books: Books) -> None:
    """Nothing follows: book what is still open, and what a suspect says if it is a new epoch."""
    s, stretch = books.state, books.open
    if s.suspect == Suspect.STALE:
        book_stale(books, False)
    suspect = s.suspect != Suspect.NONE
    is_open = stretch.end > stretch.first
    uncovered = suspect and (is_open or s.suspect_us > s.booked_us)
    if not uncovered and not (is_open and s.seen_us != s.last_us):
        return
    if not suspect:
        stretch.mark = stretch.end
    uncover(books, s.shape_us)
    if s.suspect == Suspect.DIP:
        begun_anew(books)
    else:
        by_power(books, stretch.first, stretch.mark, 0, UNTOLD_US)
    by_power(books, stretch.mark, stretch.end, 0, UNTOLD_US)
    if stretch.end > stretch.first:
        s.booked_us = books.intervals.t1_us[stretch.end - 1]
    all_final(stretch)


@jit
def _carry_over(books: Books) -> None:
    """Put what is open into the state, as one interval before and one after the suspect."""
    s, stretch, intervals = books.state, books.open, books.intervals
    first, end = stretch.first, stretch.end
    mark = end if s.suspect == Suspect.NONE else stretch.mark
    s.open_until_us, s.open_hnj, s.after_until_us, s.after_hnj = -1, 0, -1, 0
    if mark > first:
        s.open_since_us, s.open_until_us = intervals.t0_us[first], intervals.t1_us[mark - 1]
        s.open_hnj = total_of(intervals, first, mark)
        s.open_begin_mw, s.open_end_mw = intervals.begin_mw[first], intervals.end_mw[mark - 1]
    if end > mark:
        s.after_since_us, s.after_until_us = intervals.t0_us[mark], intervals.t1_us[end - 1]
        s.after_hnj = total_of(intervals, mark, end)


@jit
def _merge_gpu(readings: _Readings, lo: int, hi: int, books: Books, closing: bool) -> int:
    """Book one GPU's rows ``lo:hi``; returns the number of intervals that are final now."""
    start = books.open.first
    _reopen(books)
    for row in range(lo, hi):
        power_mw: Any = np.int64(readings.power_mw[row])
        instant_mw: Any = np.int64(readings.instant_mw[row])
        _take_row(books, readings.time_us[row], power_mw, instant_mw, readings.counter_mj[row])
    if closing:
        _finish(books)
    _carry_over(books)
    return books.open.first - start


@kernel(
    i64[:], i64[:], i32[:], i32[:], i64[:], written(rows(GpuState)), written(rows(Diagnostics)), written(rows(Open)),
    i64[:], i64[:], i64[:], b1, written(i64[:, :]), written(i64[:]), written(i64[:]),
)  # fmt: skip
def _merge(  # type: ignore[no-untyped-def]
    offsets, time_us, power_mw, instant_mw, counter_mj, state, diagnostics, stretches, ceiling_mw, limit_mw,
    max_gap_us, closing, room, starts, counts,
) -> None:  # fmt: skip
    readings = _Readings(time_us, power_mw, instant_mw, counter_mj)
    intervals = IntervalColumns(room[0], room[1], room[2], room[3], room[4], room[5])
    for gpu in range(len(counts)):
        starts[gpu] = 2 * offsets[gpu] + 6 * gpu
        stretch = stretches[gpu]
        stretch.first = stretch.mark = stretch.end = starts[gpu]
        bound_mw = limit_mw[gpu] if limit_mw[gpu] > 0 else ceiling_mw[gpu]
        books = Books(state[gpu], diagnostics[gpu], stretch, intervals, ceiling_mw[gpu], bound_mw, max_gap_us[gpu])
        counts[gpu] = _merge_gpu(readings, offsets[gpu], offsets[gpu + 1], books, closing)


def merge(
    offsets: NDArray[np.int64],
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    counter_mj: NDArray[np.int64],
    state: NDArray[np.void],
    ceiling_mw: NDArray[np.int64],
    limit_mw: NDArray[np.int64],
    max_gap_us: NDArray[np.int64],
    *,
    instant_mw: NDArray[np.int32] | None = None,
    closing: bool = False,
) -> EnergyIntervals:
    """Book the rows of one window.

    Parameters
    ----------
    offsets : int64[g + 1]
        GPU ``i`` owns rows ``offsets[i]:offsets[i + 1]``, ascending in time.
    time_us : int64[n], us
    power_mw : int32[n], mW
        -1 where the row has no power reading; 0, negative and more than ``ceiling_mw`` are rejected and counted.
    counter_mj : int64[n], mJ
        -1 where the row has no counter reading.
    state : GPU_STATE[g]
        From `new_state` or the window before; changed in place.
    ceiling_mw, limit_mw, max_gap_us : int64[g]
        Per GPU; ``limit_mw`` -1 where unknown (then the ceiling bounds the counter's steps).
    instant_mw : int32[n], mW, optional
        Instant power beside ``power_mw``: with a counter it gives the sharper shape. -1 where there is none.
    closing : bool
        Nothing follows: book what is still open.

    Returns
    -------
    EnergyIntervals
    """
    gpus = len(offsets) - 1
    size = 2 * len(time_us) + 6 * gpus  # a row makes one interval, and another where a hole ended before it
    room = np.empty((6, size), np.int64)
    intervals = IntervalColumns(*room)
    intervals.hole[:] = 0
    starts, counts = np.zeros(gpus, np.int64), np.zeros(gpus, np.int64)
    diagnostics, stretches = np.zeros(gpus, DIAGNOSTICS), np.zeros(gpus, OPEN)
    shape = power_mw if instant_mw is None else instant_mw
    # Readings may be columns of a table.
    given = map(np.ascontiguousarray, (offsets, time_us, power_mw, shape, counter_mj))
    _merge(*given, state, diagnostics, stretches, ceiling_mw, limit_mw, max_gap_us, closing, room, starts, counts)
    return EnergyIntervals(starts, counts, *intervals, diagnostics)
