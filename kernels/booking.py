"""From raw readings to booked energy: merges the driver's energy counter with sampled power, GPU by GPU.

The counter's difference between two readings *is* the energy of that stretch; sampled power gives only the shape inside
it, scaled to fit. Without a counter, power is integrated by trapezoid. The result is a list of *pieces*: stretches of
time with an exact integer energy in half-nanojoules (``hnj``; 1 mJ = 2,000,000 hnj), which later kernels split.

A counter lies in known ways, and each has its rule here:

* it was *seen* not to move while power flows (stuck: readings that repeat it, more than 2 s apart without their longest
  pause), or is not readable for longer than a gap: power is booked, and what the counter says later is booked on top as
  far as it exceeds that. Its difference is the truth; only one that was stuck and then lacks a fifth has lost it;
* it falls (a driver reload, or a bad reading): nothing is booked from it until a second reading says which. If it comes
  back to the old level it was a dip and the old base holds; if it counts on from the low value it is a new epoch, whose
  first value is a lower bound for the stretch before it, and what it leaves open is estimated by power;
* it jumps further than 1.5 times the power limit allows: likewise held back until a second reading.

Where neither meter was read for longer than a gap there is a hole, a piece of its own (`kernels.holes`): the books are
closed before it, and what the counter says next, less what power saw since, is the hole's.

State is one row of int64 per GPU, so that windows may be cut anywhere; what a window cannot book yet is carried over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kernels.columns import as_read
from kernels.holes import BEGIN, END, ENERGY, HOLE, RESET_US, T0, T1, UNTOLD_US, estimate, fill, put_before, total_of
from kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

HNJ_PER_MJ = 2_000_000
SLACK_US = 1_000_000  # a counter is published in steps: a reading may carry energy from before the last one
STUCK_US = 2_000_000
MEAN_US = 3_000_000  # time constant of the power before a hole
UNDECIDED_US = 30_000_000
"""A suspicious counter that stays undecided this long starts a new epoch; a hole is estimated after it."""
HIGH_WATER_US = 3_600_000_000
MAX_STEP_MJ = 2_000_000_000_000  # 2 GJ, a month at 800 W: with what a window may hold beside, int64 is not exceeded
MOST_HNJ = 1 << 61  # what the caller gives at once may be no more, by the GPUs' limits: a quarter of what int64 holds

# Columns of the state: where the merge stands. -1 is "none".
LAST_T, POWER_T, POWER, SHAPE_T, RUN_T, RUN_MAX, POWER_MIN, POWER_MAX = range(8)
COUNTER, BASE_T, BOOKED_T, BOOKED_SINCE, SEEN_T = range(8, 13)
SUSPECT, SUSPECT_T, SUSPECT_KIND, HIGH_WATER, HIGH_WATER_T, HIGH_WATER_BOOKED = range(13, 19)
OPEN_T, OPEN, AFTER_T, AFTER, FIRST_T, SUSPECT_BOOKED, OPEN_FROM, AFTER_FROM = range(19, 27)
STILL_T, STILL_APART, STUCK_T = range(27, 30)  # it repeats itself since, with this pause at most; it was stuck
MEAN_MW, BEFORE_MW, BACK_MW = range(30, 33)  # mean power of the last seconds; power at the two ends of the last hole
OPEN_BEGIN, OPEN_END = 33, 34  # power at the two ends of what is open
STATES = 35

# Columns of the tally: what happened in this window, to be added to totals of any size by the caller.
SAMPLES, COVERED, GAP, GAPS, POWER_HNJ, COUNTER_HNJ, RESETS = range(7)
REJECTED_ZERO, REJECTED_NEGATIVE, REJECTED_HIGH, REJECTED_TIME = range(7, 11)
REJECTED_STEP, REJECTED_DIP, STUCK, BOOKED_BY_COUNTER, BOOKED_BY_POWER = range(11, 16)
COMPARED_US, COMPARED_POWER, COMPARED_COUNTER = range(16, 19)  # stretches that both of them saw whole
ESTIMATED_US, UNKNOWN_US = range(19, 21)  # holes that nothing tells of: estimated by power; booked as nothing
TALLIES = 21

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
    hole : int8[*]
        1 where no reading covers the piece, which is longer than readings may bridge: the counter tells its energy, or
        it is an estimate. Its two powers are those before and after it.
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
    hole: NDArray[np.int8]
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
def _settle(s, tally, room, lo: int, hi: int, by: int) -> int:  # type: ignore[no-untyped-def]
    """Pieces lo..hi are final: move the books on to their end."""
    booked = total_of(room, lo, hi)
    tally[by] += booked
    if by == BOOKED_BY_POWER and s[COUNTER] >= 0:
        s[BOOKED_SINCE] += booked
    if s[HIGH_WATER] >= 0:
        s[HIGH_WATER_BOOKED] += booked
    return booked


@jit
def _by_power(s, tally, room, lo: int, hi: int, told: int, longest: int) -> int:  # type: ignore[no-untyped-def]
    """Settle pieces lo..hi by power, and a hole before them by an estimate: the counter does not say what they used."""
    estimated, unknown = estimate(room, lo, hi, told, longest)
    tally[ESTIMATED_US] += estimated
    tally[UNKNOWN_US] += unknown
    return _settle(s, tally, room, lo, hi, BOOKED_BY_POWER)


@jit
def _by_counter(s, tally, room, lo: int, hi: int, rest: int, least: int, bound: int) -> None:  # type: ignore[no-untyped-def]
    """Settle pieces lo..hi by what the counter says of them, ``rest``.

    Was part of the counter's time booked by power before, that may be a little less than nothing, or more than a board
    can use (but at ``least`` so much is this stretch's own): then the next stretch makes up for it.
    """
    now = max(rest, 0)
    if room[HOLE, lo] == 0 and now > least:
        most = 2.0 * float(bound + bound // 2) * float(room[T1, hi - 1] - room[T0, lo])
        if float(now) > most:
            now = min(now, max(int(most), least, total_of(room, lo, hi)))
    fill(room, lo, hi, now, bound + bound // 2)
    _settle(s, tally, room, lo, hi, BOOKED_BY_COUNTER)
    s[BOOKED_SINCE] = now - rest


@jit
def _uncover(s, room, first: int, mark: int, k: int, t: int, max_gap: int) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    """Put pieces where the open stretch, up to ``t``, has none: what nobody read is a piece of its own.

    Returns where pieces after a suspect begin now, and where all end.
    """
    suspect = s[SUSPECT_KIND] != 0
    middle = s[SUSPECT_T] if suspect else t
    until = room[T0, first] if first < mark else middle
    added = put_before(room, first, k, s[BOOKED_T], until, s[BEFORE_MW], s[BACK_MW], max_gap)
    mark, k = mark + added, k + added
    if suspect:
        until = room[T0, mark] if mark < k else t
        since = max(middle, s[BOOKED_T])
        k += put_before(room, mark, k, since, until, s[BEFORE_MW], s[BACK_MW], max_gap)
    return mark, k


@jit
def _begun_anew(s, tally, room, first: int, mark: int, bound: int) -> None:  # type: ignore[no-untyped-def]
    """Settle pieces first..mark, before a suspect that is a new epoch: its first value is their lower bound."""
    told = 0
    if s[SUSPECT_KIND] == DIP:
        tally[RESETS] += 1
        if _sane(s[SUSPECT], s[SUSPECT_T] - s[BASE_T], bound):
            told = s[SUSPECT] * HNJ_PER_MJ
            # The books were closed before a hole, so that all of it is the hole's; else power may have booked of it.
            if first == mark or room[HOLE, first] == 0 or not _sane(s[SUSPECT], s[SUSPECT_T] - s[BOOKED_T], bound):
                told = max(told - s[BOOKED_SINCE] + s[SUSPECT_BOOKED], 0)
    else:
        tally[REJECTED_STEP] += 1
    before = s[BOOKED_SINCE]
    tally[COUNTER_HNJ] += before + _by_power(s, tally, room, first, mark, told, RESET_US)


@jit
def _close(s, tally, room, first: int, mark: int, k: int, max_gap: int) -> int:  # type: ignore[no-untyped-def]
    """Book all that is open by power, for the counter does not tell; returns where the pieces end now."""
    if s[SUSPECT_KIND] == 0:
        mark = k
    mark, k = _uncover(s, room, first, mark, k, s[BOOKED_T] if k == first else room[T1, k - 1], max_gap)
    _by_power(s, tally, room, first, mark, 0, UNTOLD_US)
    s[SUSPECT_BOOKED] += _by_power(s, tally, room, mark, k, 0, UNTOLD_US)
    if k > first:
        s[BOOKED_T] = room[T1, k - 1]
    return k


@jit
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
                        _settle(s, tally, room, first, k, BOOKED_BY_POWER)
                        first = mark = k
                        s[BOOKED_T] = t
            elif counted:
                # A hole. The books before it are closed, so that what the counter says next belongs to the hole alone.
                if k > first:
                    first = mark = k = _close(s, tally, room, first, mark, k, max_gap)
                # An instant tells little of a load that moves: better the mean of seconds before, and of the one after.
                s[BEFORE_MW] = s[MEAN_MW] if s[MEAN_MW] > 0 else s[POWER]
                average = np.int64(power_mw[row])
                s[BACK_MW] = average if 0 < average <= ceiling else p if fresh else -1
                s[MEAN_MW] = -1
        if fresh:
            s[POWER_T], s[POWER] = t, p
            s[SHAPE_T] = t
            if not counted:
                s[BOOKED_T] = t

        if c < 0:
            # Too long without the counter; only a hole, of which it alone can tell, waits longer for it.
            if (
                counted
                and k > first
                and t - s[SEEN_T] > max_gap
                and (t0[first] - s[BOOKED_T] <= max_gap or t - t0[first] > UNDECIDED_US)
            ):
                first = mark = k = _close(s, tally, room, first, mark, k, max_gap)
            continue

        # --- the counter ---
        unseen = t - s[SEEN_T]
        s[SEEN_T] = t
        if not counted:
            s[COUNTER], s[BASE_T], s[BOOKED_T], s[SHAPE_T], s[BOOKED_SINCE] = c, t, t, t, 0
            s[STILL_T], s[STUCK_T] = -1, -1
            continue
        if s[HIGH_WATER] >= 0 and t - s[HIGH_WATER_T] > HIGH_WATER_US:
            s[HIGH_WATER], s[HIGH_WATER_BOOKED] = -1, 0
        step = c - s[COUNTER]
        from_base = step >= 0 and _sane(step, t - s[BASE_T], bound)
        onward = c > s[SUSPECT] and _sane(c - s[SUSPECT], t - s[SUSPECT_T], bound)
        if s[SUSPECT_KIND] != 0 and from_base and not (s[SUSPECT_KIND] == JUMP and onward):
            tally[REJECTED_DIP if s[SUSPECT_KIND] == DIP else REJECTED_STEP] += 1
            s[SUSPECT_KIND] = 0
            mark = k
        accept = False
        lost = s[STUCK_T] >= 0
        if s[SUSPECT_KIND] != 0:
            if onward or t - s[SUSPECT_T] > UNDECIDED_US:
                if s[SUSPECT_KIND] == DIP:
                    s[HIGH_WATER], s[HIGH_WATER_T] = s[COUNTER], s[BASE_T]
                    s[HIGH_WATER_BOOKED] = s[BOOKED_SINCE]
                mark, k = _uncover(s, room, first, mark, k, t, max_gap)
                _begun_anew(s, tally, room, first, mark, bound)
                s[BOOKED_SINCE] = 0
                if onward and k > mark:
                    rest = (c - s[SUSPECT]) * HNJ_PER_MJ - s[SUSPECT_BOOKED]
                    tally[COUNTER_HNJ] += max(rest, 0)
                    _by_counter(s, tally, room, mark, k, rest, rest if s[BOOKED_T] <= s[SUSPECT_T] else 0, bound)
                else:
                    _by_power(s, tally, room, mark, k, 0, RESET_US)
                    s[BOOKED_SINCE] = 0
                first = mark = k
                s[SUSPECT_KIND] = 0
                s[COUNTER], s[BASE_T], s[BOOKED_T], s[SHAPE_T] = c, t, t, t
                s[STILL_T], s[STUCK_T] = -1, -1
            elif c != s[SUSPECT]:
                s[SUSPECT], s[SUSPECT_T], s[SUSPECT_KIND] = c, t, DIP if step < 0 else JUMP
                s[SUSPECT_BOOKED] = 0
                s[SHAPE_T] = t
                mark = k
        elif from_base and step == 0:
            # Only readings prove that it stands, not a pause, nor a reading right after one: it may be stale.
            if s[STILL_T] < 0 or unseen > max_gap:
                s[STILL_T], s[STILL_APART] = t, 0
            elif unseen > STUCK_US:
                s[STILL_APART] = max(s[STILL_APART], unseen)
            if k > first and s[POWER] > 0 and t - s[POWER_T] <= max_gap and t - s[STILL_T] - s[STILL_APART] > STUCK_US:
                tally[STUCK] += 1
                s[STUCK_T] = t
                first = mark = k = _close(s, tally, room, first, k, k, max_gap)
        elif from_base:
            accept = True
        elif s[HIGH_WATER] >= 0 and c >= s[HIGH_WATER] and _sane(c - s[HIGH_WATER], t - s[HIGH_WATER_T], bound):
            # A dip that recovered after all: the old level holds, less what was booked meanwhile.
            tally[REJECTED_DIP] += 1
            s[COUNTER], s[BASE_T], s[BOOKED_SINCE] = s[HIGH_WATER], s[HIGH_WATER_T], s[HIGH_WATER_BOOKED]
            s[HIGH_WATER], s[HIGH_WATER_BOOKED] = -1, 0
            step = c - s[COUNTER]
            accept = lost = True
        else:
            s[SUSPECT], s[SUSPECT_T], s[SUSPECT_KIND] = c, t, DIP if step < 0 else JUMP
            s[SUSPECT_BOOKED] = 0
            s[SHAPE_T] = t
            mark = k

        if accept:
            said = step * HNJ_PER_MJ
            rest = said - s[BOOKED_SINCE]
            whole = k > first and t0[first] == s[BOOKED_T] and t1[k - 1] == t and s[BOOKED_SINCE] == 0
            tally[COUNTER_HNJ] += said
            if k == first or t0[first] > s[BOOKED_T]:
                _, k = _uncover(s, room, first, k, k, t, max_gap)
            if lost and rest < 0 and rest * -4 > s[BOOKED_SINCE]:
                # It stood still for part of the time and lost it: what power said meanwhile stays.
                _by_power(s, tally, room, first, k, min(said, total_of(room, first, k)), UNTOLD_US)
                s[BOOKED_SINCE] = 0
            elif k > first:
                if whole:
                    tally[COMPARED_US] += t - s[BOOKED_T]
                    tally[COMPARED_COUNTER] += said
                    tally[COMPARED_POWER] += total_of(room, first, k)
                    span = t - s[BOOKED_T]
                    mean = said // (2 * span)
                    known = s[MEAN_MW] > 0 and span < MEAN_US
                    s[MEAN_MW] = s[MEAN_MW] + (mean - s[MEAN_MW]) * span // MEAN_US if known else mean
                _by_counter(s, tally, room, first, k, rest, said if s[BOOKED_T] == s[BASE_T] else 0, bound)
            else:
                s[BOOKED_SINCE] = -rest
            first = mark = k
            s[COUNTER], s[BASE_T], s[BOOKED_T], s[SHAPE_T] = c, t, t, t
            s[STILL_T], s[STUCK_T] = -1, -1

    suspect = s[SUSPECT_KIND] != 0
    if closing and (
        (k > first and s[SEEN_T] != s[LAST_T]) or (suspect and max(k - first, s[SUSPECT_T] - s[BOOKED_T]) > 0)
    ):
        mark, k = _uncover(s, room, first, mark if suspect else k, k, s[SHAPE_T], max_gap)
        if s[SUSPECT_KIND] == DIP:
            _begun_anew(s, tally, room, first, mark, bound)
        else:
            _by_power(s, tally, room, first, mark, 0, UNTOLD_US)
        _by_power(s, tally, room, mark, k, 0, UNTOLD_US)
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


@jit
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
    t0, t1, energy, begin, end = room[:HOLE]
    return Pieces(starts, counts, t0, t1, energy, begin, end, room[HOLE].astype(np.int8), tally)
