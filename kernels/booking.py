"""From raw readings to booked energy: merges the driver's energy counter with sampled power, GPU by GPU.

The counter's difference between two readings *is* the energy of that stretch; sampled power gives only the shape inside
it, scaled to fit. Without a counter, power is integrated by trapezoid. The result is a list of *pieces*: stretches of
time with an exact integer energy in half-nanojoules (``hnj``; 1 mJ = 2,000,000 hnj), which later kernels split.

A counter lies in known ways, and each has its rule here:

* it does not move while power flows (stuck), or is not readable for longer than a gap: power is booked, and what the
  counter says later is booked on top only as far as it exceeds that;
* it falls (a driver reload, or a bad reading): nothing is booked from it until a second reading says which. If it comes
  back to the old level it was a dip and the old base holds; if it counts on from the low value it is a new epoch, whose
  first value is a lower bound for the hole;
* it jumps further than 1.5 times the power limit allows: likewise held back until a second reading.

State is one row of int64 per GPU, so that windows may be cut anywhere; what a window cannot book yet is carried over.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kernels.columns import as_read
from kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

HNJ_PER_MJ = 2_000_000
SLACK_US = 1_000_000  # a counter is published in steps: a reading may carry energy from before the last one
STUCK_US = 2_000_000
SUSPECT_US = 30_000_000  # a suspicious counter that stays undecided this long starts a new epoch
HIGH_WATER_US = 3_600_000_000
MAX_STEP_MJ = 2_000_000_000_000  # 2 GJ, a month at 800 W: with what a window may hold beside, int64 is not exceeded
MOST_HNJ = 1 << 61  # what the caller gives at once may be no more, by the GPUs' limits: a quarter of what int64 holds

# Columns of the state: where the merge stands. -1 is "none".
LAST_T, POWER_T, POWER, SHAPE_T, RUN_T, RUN_MAX, POWER_MIN, POWER_MAX = range(8)
COUNTER, BASE_T, BOOKED_T, BOOKED_SINCE, SEEN_T = range(8, 13)
SUSPECT, SUSPECT_T, SUSPECT_KIND, HIGH_WATER, HIGH_WATER_T, HIGH_WATER_BOOKED = range(13, 19)
OPEN_T, OPEN, AFTER_T, AFTER, FIRST_T, SUSPECT_BOOKED, OPEN_FROM, AFTER_FROM = range(19, 27)
STATES = 27

# Columns of the tally: what happened in this window, to be added to totals of any size by the caller.
SAMPLES, COVERED, GAP, GAPS, POWER_HNJ, COUNTER_HNJ, RESETS = range(7)
REJECTED_ZERO, REJECTED_NEGATIVE, REJECTED_HIGH, REJECTED_TIME = range(7, 11)
REJECTED_STEP, REJECTED_DIP, STUCK, BOOKED_BY_COUNTER, BOOKED_BY_POWER = range(11, 16)
COMPARED_US, COMPARED_POWER, COMPARED_COUNTER = range(16, 19)  # stretches that both of them saw whole
TALLIES = 19

DIP, JUMP = 1, 2


class Pieces(NamedTuple):
    """Booked energy, piece by piece.

    Attributes
    ----------
    starts, counts : int64[g]
        GPU ``i`` owns pieces ``starts[i]:starts[i] + counts[i]``.
    t0_us, t1_us, energy_hnj : int64[*]
        The pieces, ascending in time within a GPU.
    begin_mw, end_mw : int64[*], mW
        Power at the two ends of each piece, which is taken to be straight between them; -1 unknown.
    tally : int64[g, TALLIES]
        What happened in this window, to be added up by the caller.
    """

    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    t0_us: NDArray[np.int64]
    t1_us: NDArray[np.int64]
    energy_hnj: NDArray[np.int64]
    begin_mw: NDArray[np.int64]
    end_mw: NDArray[np.int64]
    tally: NDArray[np.int64]


def new_state(gpus: int) -> NDArray[np.int64]:
    """State of ``gpus`` GPUs before their first reading: int64[gpus, STATES]."""
    state = np.full((gpus, STATES), -1, np.int64)
    state[:, [RUN_MAX, BOOKED_SINCE, SUSPECT_KIND, HIGH_WATER_BOOKED, OPEN, AFTER, SUSPECT_BOOKED]] = 0
    return state


@jit(inline="always")
def _sane(step_mj: int, dt_us: int, bound_mw: int) -> bool:
    """Tell whether a board of this limit can use ``step_mj`` in ``dt_us``: 1.5 x limit, a second of slack."""
    return 0 <= step_mj <= MAX_STEP_MJ and step_mj * 1_000_000 // (dt_us + SLACK_US) <= bound_mw + bound_mw // 2


@jit
def is_reading(p: Any, ceiling: Any, tally: NDArray[np.int64]) -> Any:
    """Tell whether a power is one that can be believed; if not, count why."""
    if p == 0:
        tally[REJECTED_ZERO] += 1
    elif p < -1:
        tally[REJECTED_NEGATIVE] += 1
    elif p > ceiling:
        tally[REJECTED_HIGH] += 1
    return 0 < p <= ceiling


@jit
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


@jit
def _scale(t0, t1, energy, lo: int, hi: int, total: int) -> None:  # type: ignore[no-untyped-def]
    """Scale pieces lo..hi in place so that they sum to ``total`` exactly, by their energy, else by their time."""
    weight = 0
    for k in range(lo, hi):
        weight += energy[k]
    by_time = weight <= 0
    if by_time:
        weight = 0
        for k in range(lo, hi):
            weight += t1[k] - t0[k]
    done = 0
    before = 0
    for k in range(lo, hi):
        done += (t1[k] - t0[k]) if by_time else energy[k]
        upto = total if k == hi - 1 or weight <= 0 else math.floor(float(total) * (float(done) / float(weight)))
        upto = min(max(upto, before), total)
        energy[k] = upto - before
        before = upto


@jit
def _begin_with_hole(  # type: ignore[no-untyped-def]
    t0, t1, energy, begin, end, lo: int, hi: int, since: int, total: int, mark: int
) -> int:
    """Put a piece before pieces lo..hi if they begin later than ``since``; returns how many were put there, 0 or 1.

    Power came back before the counter did: of the ``total`` that the counter tells of pieces lo..mark, the hole has
    what power did not see.
    """
    if lo == hi or t0[lo] <= since:
        return 0
    seen = 0
    for k in range(lo, mark):
        seen += energy[k]
    for k in range(hi, lo, -1):
        t0[k], t1[k], energy[k], begin[k], end[k] = t0[k - 1], t1[k - 1], energy[k - 1], begin[k - 1], end[k - 1]
    t0[lo], t1[lo], energy[lo], begin[lo], end[lo] = since, t0[lo + 1], max(total - seen, 0), -1, -1
    return 1


@jit
def _settle(s, tally, energy, lo: int, hi: int, by: int) -> int:  # type: ignore[no-untyped-def]
    """Pieces lo..hi are final: move the books on to their end."""
    booked = 0
    for k in range(lo, hi):
        booked += energy[k]
    tally[by] += booked
    if by == BOOKED_BY_POWER and s[COUNTER] >= 0:
        s[BOOKED_SINCE] += booked
    if s[HIGH_WATER] >= 0:
        s[HIGH_WATER_BOOKED] += booked
    return booked


@jit
def _merge_gpu(  # type: ignore[no-untyped-def]
    time_us,
    power_mw,
    instant_mw,
    counter_mj,
    lo,
    hi,
    s,
    tally,
    ceiling,
    limit,
    max_gap,
    closing,
    t0,
    t1,
    energy,
    begin,
    end,
    base,
) -> int:
    """Book one GPU's rows ``lo:hi``; returns the number of final pieces, which start at ``base``."""
    k = base
    first = base  # pieces first..k are open: shaped by power, not yet booked
    mark = base  # with a suspect, pieces first..mark lie before it and mark..k after it; else mark is k or not used
    if s[OPEN_T] >= 0:
        t0[k], t1[k], energy[k] = s[OPEN_FROM], s[OPEN_T], s[OPEN]
        k += 1
        mark = k
    if s[AFTER_T] >= 0:
        t0[k], t1[k], energy[k] = s[AFTER_FROM], s[AFTER_T], s[AFTER]
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
        gapped = False
        known = s[POWER_T] >= 0
        if fresh:
            bridged = follow(s, tally, t, p, max_gap)
            gapped = bridged < 0
            tally[POWER_HNJ] += (s[POWER] + p) * max(bridged, 0)

        # --- the shape: a piece from the last reading to this one ---
        reach = t - s[POWER_T] <= max_gap
        if known and reach and t > s[SHAPE_T] and (fresh or c >= 0):
            t0[k], t1[k] = s[SHAPE_T], t
            begin[k], end[k] = s[POWER], p if fresh else s[POWER]
            energy[k] = (begin[k] + end[k]) * (t - s[SHAPE_T])
            k += 1
            s[SHAPE_T] = t
            if s[COUNTER] < 0:
                _settle(s, tally, energy, first, k, BOOKED_BY_POWER)
                first = mark = k
                s[BOOKED_T] = t
        if gapped and s[COUNTER] >= 0 and k > first:
            # Close the books before the hole, so that what the counter says next belongs to the hole alone.
            _settle(s, tally, energy, first, mark, BOOKED_BY_POWER)
            s[SUSPECT_BOOKED] += _settle(s, tally, energy, mark, k, BOOKED_BY_POWER)
            first = mark = k
            s[BOOKED_T] = t1[k - 1]
        if fresh:
            s[POWER_T], s[POWER] = t, p
            s[SHAPE_T] = t
            if s[COUNTER] < 0:
                s[BOOKED_T] = t

        if c < 0:
            if s[COUNTER] >= 0 and t - s[SEEN_T] > max_gap and k > first:
                _settle(s, tally, energy, first, mark, BOOKED_BY_POWER)
                s[SUSPECT_BOOKED] += _settle(s, tally, energy, mark, k, BOOKED_BY_POWER)
                first = mark = k
                s[BOOKED_T] = t1[k - 1]
            continue

        # --- the counter ---
        s[SEEN_T] = t
        if s[COUNTER] < 0:
            s[COUNTER], s[BASE_T], s[BOOKED_T], s[SHAPE_T], s[BOOKED_SINCE] = c, t, t, t, 0
            continue
        if s[HIGH_WATER] >= 0 and t - s[HIGH_WATER_T] > HIGH_WATER_US:
            s[HIGH_WATER], s[HIGH_WATER_BOOKED] = -1, 0
        step = c - s[COUNTER]
        from_base = step >= 0 and _sane(step, t - s[BASE_T], bound)
        accept = False
        if s[SUSPECT_KIND] != 0:
            kind = s[SUSPECT_KIND]
            onward = c > s[SUSPECT] and _sane(c - s[SUSPECT], t - s[SUSPECT_T], bound)
            if from_base and not (kind == JUMP and onward):
                tally[REJECTED_DIP if kind == DIP else REJECTED_STEP] += 1
                s[SUSPECT_KIND] = 0
                accept = True
            elif onward or t - s[SUSPECT_T] > SUSPECT_US:
                if kind == DIP:
                    tally[RESETS] += 1
                    s[HIGH_WATER], s[HIGH_WATER_T] = s[COUNTER], s[BASE_T]
                    s[HIGH_WATER_BOOKED] = s[BOOKED_SINCE]
                else:
                    tally[REJECTED_STEP] += 1
                hole = 0
                for j in range(first, mark):
                    hole += energy[j]
                if kind == DIP and mark > first and _sane(s[SUSPECT], s[SUSPECT_T] - s[BASE_T], bound):
                    hole = max(hole, s[SUSPECT] * HNJ_PER_MJ - s[BOOKED_SINCE])
                    added = _begin_with_hole(t0, t1, energy, begin, end, first, k, s[BOOKED_T], hole, mark)
                    mark += added
                    k += added
                    _scale(t0, t1, energy, first, mark, hole)
                tally[COUNTER_HNJ] += hole + s[BOOKED_SINCE]
                _settle(s, tally, energy, first, mark, BOOKED_BY_POWER)
                if onward:
                    rest = max((c - s[SUSPECT]) * HNJ_PER_MJ - s[SUSPECT_BOOKED], 0)
                    if mark == k:
                        t0[k], t1[k], energy[k] = max(s[SUSPECT_T], s[BOOKED_T]), t, 0
                        k += 1
                    _scale(t0, t1, energy, mark, k, rest)
                    tally[COUNTER_HNJ] += rest
                    _settle(s, tally, energy, mark, k, BOOKED_BY_COUNTER)
                else:
                    _settle(s, tally, energy, mark, k, BOOKED_BY_POWER)
                first = mark = k
                s[SUSPECT_KIND], s[BOOKED_SINCE] = 0, 0
                s[COUNTER], s[BASE_T], s[BOOKED_T], s[SHAPE_T] = c, t, t, t
            elif c != s[SUSPECT]:
                s[SUSPECT], s[SUSPECT_T], s[SUSPECT_KIND] = c, t, DIP if step < 0 else JUMP
                s[SUSPECT_BOOKED] = 0
                mark = k
        elif from_base and step == 0:
            if s[POWER] > 0 and t - s[BASE_T] > STUCK_US and k > first:
                tally[STUCK] += 1
                _settle(s, tally, energy, first, k, BOOKED_BY_POWER)
                first = mark = k
                s[BOOKED_T] = t1[k - 1]
        elif from_base:
            accept = True
        elif s[HIGH_WATER] >= 0 and c >= s[HIGH_WATER] and _sane(c - s[HIGH_WATER], t - s[HIGH_WATER_T], bound):
            # A dip that recovered after all: the old level holds, less what was booked meanwhile.
            tally[REJECTED_DIP] += 1
            s[COUNTER], s[BASE_T], s[BOOKED_SINCE] = s[HIGH_WATER], s[HIGH_WATER_T], s[HIGH_WATER_BOOKED]
            s[HIGH_WATER], s[HIGH_WATER_BOOKED] = -1, 0
            step = c - s[COUNTER]
            accept = True
        else:
            if k == first and t > s[BOOKED_T]:
                t0[k], t1[k], energy[k] = s[BOOKED_T], t, 0  # the hole, if power has no shape for it
                k += 1
            s[SUSPECT], s[SUSPECT_T], s[SUSPECT_KIND] = c, t, DIP if step < 0 else JUMP
            s[SUSPECT_BOOKED] = 0
            mark = k

        if accept:
            said = step * HNJ_PER_MJ
            rest = said - s[BOOKED_SINCE]
            tally[COUNTER_HNJ] += said
            if rest < 0 and rest * -4 > s[BOOKED_SINCE]:
                # The counter stood still for part of the time and lost it: what power said meanwhile stays.
                _settle(s, tally, energy, first, k, BOOKED_BY_POWER)
                s[BOOKED_SINCE] = 0
            else:
                if k > first and t0[first] == s[BOOKED_T] and t1[k - 1] == t and s[BOOKED_SINCE] == 0:
                    tally[COMPARED_US] += t - s[BOOKED_T]
                    tally[COMPARED_COUNTER] += said
                    for j in range(first, k):
                        tally[COMPARED_POWER] += energy[j]
                if k == first and t > s[BOOKED_T]:
                    t0[k], t1[k], energy[k] = s[BOOKED_T], t, 0
                    k += 1
                k += _begin_with_hole(t0, t1, energy, begin, end, first, k, s[BOOKED_T], max(rest, 0), k)
                _scale(t0, t1, energy, first, k, max(rest, 0))
                _settle(s, tally, energy, first, k, BOOKED_BY_COUNTER)
                # Booked by power a little more than the counter says: the next stretch makes up for it.
                s[BOOKED_SINCE] = max(-rest, 0)
            first = mark = k
            s[COUNTER], s[BASE_T], s[BOOKED_T], s[SHAPE_T] = c, t, t, t

    if closing and k > first and (s[SUSPECT_KIND] != 0 or s[SEEN_T] != s[LAST_T]):
        if s[SUSPECT_KIND] == DIP:
            tally[RESETS] += 1
            hole = 0
            for j in range(first, mark):
                hole += energy[j]
            if mark > first and _sane(s[SUSPECT], s[SUSPECT_T] - s[BASE_T], bound):
                hole = max(hole, s[SUSPECT] * HNJ_PER_MJ - s[BOOKED_SINCE])
                added = _begin_with_hole(t0, t1, energy, begin, end, first, k, s[BOOKED_T], hole, mark)
                mark += added
                k += added
                _scale(t0, t1, energy, first, mark, hole)
        _settle(s, tally, energy, first, k, BOOKED_BY_POWER)
        first = mark = k
        s[BOOKED_T] = t1[k - 1]

    # --- what is open goes into the state, as one piece before and one after the suspect ---
    s[OPEN_T], s[OPEN], s[AFTER_T], s[AFTER] = -1, 0, -1, 0
    if s[SUSPECT_KIND] == 0:
        mark = k
    if mark > first:
        s[OPEN_FROM] = t0[first]
    for j in range(first, mark):
        s[OPEN_T] = t1[j]
        s[OPEN] += energy[j]
    if k > mark:
        s[AFTER_FROM] = t0[mark]
    for j in range(mark, k):
        s[AFTER_T] = t1[j]
        s[AFTER] += energy[j]
    return int(first - base)


@jit
def _merge(  # type: ignore[no-untyped-def]
    offsets,
    time_us,
    power_mw,
    instant_mw,
    counter_mj,
    state,
    tally,
    ceiling_mw,
    limit_mw,
    max_gap_us,
    closing,
    t0,
    t1,
    energy,
    begin,
    end,
    starts,
    counts,
) -> None:
    for gpu in range(len(counts)):
        starts[gpu] = 2 * offsets[gpu] + 4 * gpu
        counts[gpu] = _merge_gpu(
            time_us, power_mw, instant_mw, counter_mj, offsets[gpu], offsets[gpu + 1], state[gpu], tally[gpu],
            ceiling_mw[gpu], limit_mw[gpu], max_gap_us[gpu], closing, t0, t1, energy, begin, end, starts[gpu],
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
    room = 2 * len(time_us) + 4 * gpus
    t0, t1, energy = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    starts, counts = np.zeros(gpus, np.int64), np.zeros(gpus, np.int64)
    begin, end = np.full(room, -1, np.int64), np.full(room, -1, np.int64)
    tally = np.zeros((gpus, TALLIES), np.int64)
    shape = power_mw if instant_mw is None else instant_mw
    _merge(
        as_read(offsets), as_read(time_us), as_read(power_mw), as_read(shape), as_read(counter_mj), state, tally,
        ceiling_mw, limit_mw, max_gap_us, closing,
        t0, t1, energy, begin, end, starts, counts,
    )  # fmt: skip
    return Pieces(starts, counts, t0, t1, energy, begin, end, tally)
