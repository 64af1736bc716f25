"""From raw readings to booked energy: merges the driver's energy counter with sampled power, GPU by GPU.

The counter's difference between two readings *is* the energy of that stretch; sampled power gives only the shape inside
it, scaled to fit. Without a counter, power is integrated by trapezoid. The result is a list of *pieces*: stretches of
time with an exact integer energy in half-nanojoules (``hnj``; 1 mJ = 2,000,000 hnj), which later kernels split.

A counter lies in known ways, and each has its rule (`kernels.billing.verdicts`):

* it was *seen* not to move while power flows (stuck: readings that repeat it, more than 2 s apart without their longest
  pause), or is not readable for longer than a gap: power is booked, and what the counter says later is booked on top as
  far as it exceeds that. Its difference is the truth; only one that was stuck and then lacks a fifth has lost it;
* it falls (a driver reload, or a bad reading): nothing is booked from it until a second reading says which. If it comes
  back to the old level it was a dip and the old base holds; if it counts on from the low value it is a new epoch, whose
  first value is a lower bound for the stretch before it, and what it leaves open is estimated by power;
* it jumps further than 1.5 times the power limit allows: likewise held back until a second reading;
* after a hole its first value may be as old as the hole: it is held back until it moves on. One that is then seen to
  stand is a lower bound for the hole, and what it says next is measured from before the hole.

Where neither meter was read for longer than a gap there is a hole, a piece of its own (`kernels.billing.holes`): the
books are closed before it, and what the counter says next, less what power saw since, is the hole's.

State is one row of int64 per GPU (`kernels.billing.layout`), so that windows may be cut anywhere; what a window cannot
book yet is carried over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.kernels.billing.holes import UNTOLD_US, total_of
from wattshed.kernels.billing.layout import (
    AFTER,
    AFTER_FROM,
    AFTER_T,
    BACK_MW,
    BEFORE_MW,
    BEGIN,
    BOOKED_BY_POWER,
    BOOKED_SINCE,
    BOOKED_T,
    COUNTER,
    COVERED,
    DIP,
    END,
    ENERGY,
    FIRST_T,
    GAP,
    GAPS,
    HIGH_WATER_BOOKED,
    HOLE,
    LAST_T,
    MEAN_MW,
    OPEN,
    OPEN_BEGIN,
    OPEN_END,
    OPEN_FROM,
    OPEN_T,
    POWER,
    POWER_HNJ,
    POWER_MAX,
    POWER_MIN,
    POWER_T,
    REJECTED_HIGH,
    REJECTED_NEGATIVE,
    REJECTED_TIME,
    REJECTED_ZERO,
    RUN_MAX,
    RUN_T,
    SAMPLES,
    SEEN_T,
    SHAPE_T,
    STALE,
    STATES,
    SUSPECT_BOOKED,
    SUSPECT_KIND,
    SUSPECT_T,
    T0,
    T1,
    TALLIES,
    Pieces,
)
from wattshed.kernels.billing.settling import begun_anew, by_power, close, settle, uncover
from wattshed.kernels.billing.verdicts import UNDECIDED_US, book_held, take_counter
from wattshed.kernels.columns import as_read
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_HNJ = 1 << 61  # what the caller gives at once may be no more, by the GPUs' limits: a quarter of what int64 holds


def new_state(gpus: int) -> NDArray[np.int64]:
    """State of ``gpus`` GPUs before their first reading: int64[gpus, STATES]."""
    state = np.full((gpus, STATES), -1, np.int64)
    state[:, [RUN_MAX, BOOKED_SINCE, SUSPECT_KIND, HIGH_WATER_BOOKED, OPEN, AFTER, SUSPECT_BOOKED]] = 0
    return state


@jit(allocates=False)
def is_reading(p: Any, ceiling: Any, tally: NDArray[np.int64]) -> Any:
    """Tell whether a power is one that can be believed; if not, count why."""
    if p == 0:
        tally[REJECTED_ZERO] += 1
    elif p < -1:
        tally[REJECTED_NEGATIVE] += 1
    elif p > ceiling:
        tally[REJECTED_HIGH] += 1
    return 0 < p <= ceiling


@jit(allocates=False)
def follow(s: NDArray[np.int64], tally: NDArray[np.int64], t: Any, p: Any, max_gap: Any) -> Any:
    """Count a reading that can be believed; returns the interval that it bridges, -1 over a gap, 0 for the first."""
    tally[SAMPLES] += 1
    known = s[POWER_T] >= 0
    apart = t - s[POWER_T] if known else 0
    if known and p == s[POWER] and apart <= max_gap:
        s[RUN_MAX] = max(s[RUN_MAX], t - s[RUN_T])
    else:
        s[RUN_T] = t
    s[POWER_MIN] = p if s[POWER_MIN] < 0 else min(s[POWER_MIN], p)
    s[POWER_MAX] = max(s[POWER_MAX], p)
    if apart > max_gap:
        tally[GAP] += apart
        tally[GAPS] += 1
        return -1
    tally[COVERED] += apart
    return apart


@jit(allocates=False)
def _merge_gpu(  # type: ignore[no-untyped-def]
    time_us, power_mw, instant_mw, counter_mj, lo, hi, s, tally, ceiling, limit, max_gap, closing, room, base
) -> int:
    """Book one GPU's rows ``lo:hi``; returns the number of final pieces, which start at ``base``."""
    t0, t1, energy, begin, end = room[T0], room[T1], room[ENERGY], room[BEGIN], room[END]
    k = base
    first = base  # pieces first..k are open: shaped by power, not yet booked
    mark = base  # with a suspect, pieces first..mark lie before it and mark..k after it; else mark is k or not used
    if s[OPEN_T] >= 0:
        t0[k], t1[k], energy[k], begin[k], end[k] = s[OPEN_FROM], s[OPEN_T], s[OPEN], s[OPEN_BEGIN], s[OPEN_END]
        k += 1
        mark = k
    if s[AFTER_T] >= 0:
        t0[k], t1[k], energy[k], begin[k], end[k] = s[AFTER_FROM], s[AFTER_T], s[AFTER], -1, -1
        k += 1
    bound = limit if limit > 0 else ceiling

    for row in range(lo, hi):
        t = time_us[row]
        p = power_mw[row]
        c = counter_mj[row]
        if s[COUNTER] >= 0 and instant_mw[row] > 0:
            p = instant_mw[row]  # with a counter only the shape is wanted, and a moving mean blurs it
        if t < s[LAST_T]:
            tally[REJECTED_TIME] += 1
            continue
        s[LAST_T] = t
        if s[FIRST_T] < 0 and (p > 0 or c >= 0):
            s[FIRST_T] = t

        fresh = is_reading(p, ceiling, tally)
        near = s[POWER_T] >= 0 and t - s[POWER_T] <= max_gap
        counted = s[COUNTER] >= 0
        if fresh:
            bridged = follow(s, tally, t, p, max_gap)
            tally[POWER_HNJ] += (s[POWER] + p) * max(bridged, 0)

        # --- the shape: a piece from the last reading to this one ---
        if fresh or c >= 0:
            apart = t - s[SHAPE_T]
            if s[SHAPE_T] >= 0 and apart <= max_gap:
                if apart > 0 and (near or (counted and (fresh or k > first))):
                    t0[k], t1[k] = s[SHAPE_T], t
                    begin[k], end[k] = (s[POWER] if near or not fresh else p), (p if fresh else s[POWER])
                    energy[k] = (begin[k] + end[k]) * apart
                    k += 1
                    s[SHAPE_T] = t
                    if not counted:
                        settle(s, tally, room, first, k, BOOKED_BY_POWER)
                        first = mark = k
                        s[BOOKED_T] = t
            elif counted:
                # A hole. The books before it are closed, so that what the counter says next belongs to the hole alone.
                if s[SUSPECT_KIND] == STALE:
                    first, mark, k = book_held(s, tally, room, first, mark, k, False, bound, max_gap)
                if k > first:
                    first = mark = k = close(s, tally, room, first, mark, k, max_gap)
                # An instant tells little of a load that moves: better the mean of seconds before, and of the one after.
                if s[MEAN_MW] > 0 or s[POWER_T] >= 0:  # else the hole goes on: a counter alone repeated itself
                    s[BEFORE_MW] = s[MEAN_MW] if s[MEAN_MW] > 0 else s[POWER]
                average = np.int64(power_mw[row])
                s[BACK_MW] = average if 0 < average <= ceiling else p if fresh else -1
                s[MEAN_MW] = -1
        if fresh:
            s[POWER_T], s[POWER] = t, p
            s[SHAPE_T] = t
            if not counted:
                s[BOOKED_T] = t

        if c >= 0 and s[POWER_T] < 0 and min(s[SEEN_T], s[SHAPE_T]) >= 0 and t - s[SEEN_T] > max_gap:
            tally[GAP] += t - s[SEEN_T]  # of a GPU that tells its counter alone
            tally[GAPS] += 1
        if c < 0:
            # Too long without the counter; only a hole, of which it alone can tell, waits longer for it.
            if (
                counted
                and k > first
                and t - s[SEEN_T] > max_gap
                and (t0[first] - s[BOOKED_T] <= max_gap or t - t0[first] > UNDECIDED_US)
            ):
                if s[SUSPECT_KIND] == STALE:
                    first, mark, k = book_held(s, tally, room, first, mark, k, False, bound, max_gap)
                first = mark = k = close(s, tally, room, first, mark, k, max_gap)
            continue

        first, mark, k = take_counter(s, tally, room, t, c, first, mark, k, bound, max_gap)

    if closing and s[SUSPECT_KIND] == STALE:
        first, mark, k = book_held(s, tally, room, first, mark, k, False, bound, max_gap)
    suspect = s[SUSPECT_KIND] != 0
    if closing and (
        (k > first and s[SEEN_T] != s[LAST_T]) or (suspect and max(k - first, s[SUSPECT_T] - s[BOOKED_T]) > 0)
    ):
        mark, k = uncover(s, room, first, mark if suspect else k, k, s[SHAPE_T], max_gap)
        if s[SUSPECT_KIND] == DIP:
            begun_anew(s, tally, room, first, mark, bound)
        else:
            by_power(s, tally, room, first, mark, 0, UNTOLD_US)
        by_power(s, tally, room, mark, k, 0, UNTOLD_US)
        if k > first:
            s[BOOKED_T] = t1[k - 1]
        first = mark = k

    # --- what is open goes into the state, as one piece before and one after the suspect ---
    s[OPEN_T], s[OPEN], s[AFTER_T], s[AFTER] = -1, 0, -1, 0
    if s[SUSPECT_KIND] == 0:
        mark = k
    if mark > first:
        s[OPEN_FROM], s[OPEN_T], s[OPEN] = t0[first], t1[mark - 1], total_of(room, first, mark)
        s[OPEN_BEGIN], s[OPEN_END] = begin[first], end[mark - 1]
    if k > mark:
        s[AFTER_FROM], s[AFTER_T], s[AFTER] = t0[mark], t1[k - 1], total_of(room, mark, k)
    return int(first - base)


@jit(allocates=False)
def _merge(  # type: ignore[no-untyped-def]
    offsets, time_us, power_mw, instant_mw, counter_mj, state, tally, ceiling_mw, limit_mw, max_gap_us, closing, room,
    starts, counts,
) -> None:  # fmt: skip
    for gpu in range(len(counts)):
        starts[gpu] = 2 * offsets[gpu] + 6 * gpu
        counts[gpu] = _merge_gpu(
            time_us, power_mw, instant_mw, counter_mj, offsets[gpu], offsets[gpu + 1], state[gpu], tally[gpu],
            ceiling_mw[gpu], limit_mw[gpu], max_gap_us[gpu], closing, room, starts[gpu],
        )  # fmt: skip


def merge(
    offsets: NDArray[np.int64],
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    counter_mj: NDArray[np.int64],
    state: NDArray[np.int64],
    ceiling_mw: NDArray[np.int64],
    limit_mw: NDArray[np.int64],
    max_gap_us: NDArray[np.int64],
    *,
    instant_mw: NDArray[np.int32] | None = None,
    closing: bool = False,
) -> Pieces:
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
    state : int64[g, STATES]
        From `new_state` or the window before; changed in place.
    ceiling_mw, limit_mw, max_gap_us : int64[g]
        Per GPU; ``limit_mw`` -1 where unknown (then the ceiling bounds the counter's steps).
    instant_mw : int32[n], mW, optional
        Instant power beside ``power_mw``: with a counter it gives the sharper shape. -1 where there is none.
    closing : bool
        Nothing follows: book what is still open.

    Returns
    -------
    Pieces
    """
    gpus = len(offsets) - 1
    size = 2 * len(time_us) + 6 * gpus  # a row makes one piece, and another where a hole ended before it
    room = np.empty((6, size), np.int64)
    room[HOLE] = 0
    starts, counts = np.zeros(gpus, np.int64), np.zeros(gpus, np.int64)
    tally = np.zeros((gpus, TALLIES), np.int64)
    shape = power_mw if instant_mw is None else instant_mw
    _merge(
        as_read(offsets), as_read(time_us), as_read(power_mw), as_read(shape), as_read(counter_mj), state, tally,
        ceiling_mw, limit_mw, max_gap_us, closing, room, starts, counts,
    )  # fmt: skip
    t0, t1, energy, begin, end, hole = room
    return Pieces(starts, counts, t0, t1, energy, begin, end, hole, tally)
