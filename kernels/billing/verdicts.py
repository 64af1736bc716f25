"""What a reading of the energy counter is worth, and what it books: the rules of `kernels.billing.reconcile`.

Pieces ``first:k`` of the room are open; with a suspect, ``first:mark`` lie before it and ``mark:k`` after it.
"""

from __future__ import annotations

from wattshed.kernels.billing.holes import RESET_US, UNTOLD_US, total_of
from wattshed.kernels.billing.layout import (
    BASE_T,
    BOOKED_SINCE,
    BOOKED_T,
    COMPARED_COUNTER,
    COMPARED_POWER,
    COMPARED_US,
    COUNTER,
    COUNTER_HNJ,
    DIP,
    HIGH_WATER,
    HIGH_WATER_BOOKED,
    HIGH_WATER_T,
    JUMP,
    MEAN_MW,
    POWER,
    POWER_T,
    REJECTED_DIP,
    REJECTED_STEP,
    SEEN_T,
    SHAPE_T,
    STILL_APART,
    STILL_T,
    STUCK,
    STUCK_T,
    SUSPECT,
    SUSPECT_BOOKED,
    SUSPECT_KIND,
    SUSPECT_T,
    T0,
    T1,
)
from wattshed.kernels.billing.settling import HNJ_PER_MJ, begun_anew, by_counter, by_power, close, sane, uncover
from wattshed.kernels.jit import jit

STUCK_US = 2_000_000
MEAN_US = 3_000_000  # time constant of the power before a hole
UNDECIDED_US = 30_000_000
"""A suspicious counter that stays undecided this long starts a new epoch; a hole is estimated after it."""
HIGH_WATER_US = 3_600_000_000


@jit(inline="always", allocates=False)
def take_counter(  # type: ignore[no-untyped-def]
    s, tally, room, t: int, c: int, first: int, mark: int, k: int, bound: int, max_gap: int
) -> tuple[int, int, int]:
    """Take in a reading ``c`` (mJ) of ``t``; returns which pieces are open then: first, mark and k."""
    unseen = t - s[SEEN_T]
    s[SEEN_T] = t
    if s[COUNTER] < 0:
        _start_from(s, t, c)
        s[BOOKED_SINCE] = 0
        return first, mark, k
    if s[HIGH_WATER] >= 0 and t - s[HIGH_WATER_T] > HIGH_WATER_US:
        s[HIGH_WATER], s[HIGH_WATER_BOOKED] = -1, 0
    step = c - s[COUNTER]
    from_base = step >= 0 and sane(step, t - s[BASE_T], bound)
    onward = c > s[SUSPECT] and sane(c - s[SUSPECT], t - s[SUSPECT_T], bound)
    if s[SUSPECT_KIND] != 0 and from_base and not (s[SUSPECT_KIND] == JUMP and onward):
        tally[REJECTED_DIP if s[SUSPECT_KIND] == DIP else REJECTED_STEP] += 1
        s[SUSPECT_KIND] = 0
        mark = k
    if s[SUSPECT_KIND] != 0:
        if onward or t - s[SUSPECT_T] > UNDECIDED_US:
            first = mark = k = _new_epoch(s, tally, room, t, c, first, mark, k, onward, bound, max_gap)
        elif c != s[SUSPECT]:
            _suspect(s, t, c)
            mark = k
    elif from_base and step == 0:
        if _stands_still(s, t, unseen, k > first, max_gap):
            tally[STUCK] += 1
            s[STUCK_T] = t
            first = mark = k = close(s, tally, room, first, k, k, max_gap)
    elif from_base:
        first = mark = k = _believe(s, tally, room, t, c, first, k, s[STUCK_T] >= 0, bound, max_gap)
    elif s[HIGH_WATER] >= 0 and c >= s[HIGH_WATER] and sane(c - s[HIGH_WATER], t - s[HIGH_WATER_T], bound):
        # A dip that recovered after all: the old level holds, less what was booked meanwhile.
        tally[REJECTED_DIP] += 1
        s[COUNTER], s[BASE_T], s[BOOKED_SINCE] = s[HIGH_WATER], s[HIGH_WATER_T], s[HIGH_WATER_BOOKED]
        s[HIGH_WATER], s[HIGH_WATER_BOOKED] = -1, 0
        first = mark = k = _believe(s, tally, room, t, c, first, k, True, bound, max_gap)
    else:
        _suspect(s, t, c)
        mark = k
    return first, mark, k


@jit(inline="always", allocates=False)
def _start_from(s, t: int, c: int) -> None:  # type: ignore[no-untyped-def]
    """Let the counter's next difference be from this reading."""
    s[COUNTER], s[BASE_T], s[BOOKED_T], s[SHAPE_T] = c, t, t, t
    s[STILL_T], s[STUCK_T] = -1, -1


@jit(allocates=False)
def _suspect(s, t: int, c: int) -> None:  # type: ignore[no-untyped-def]
    """Hold back a reading that cannot be, or not yet, until a second one says which."""
    s[SUSPECT], s[SUSPECT_T], s[SUSPECT_KIND] = c, t, DIP if c < s[COUNTER] else JUMP
    s[SUSPECT_BOOKED] = 0
    s[SHAPE_T] = t


@jit(allocates=False)
def _stands_still(s, t: int, unseen: int, is_open: bool, max_gap: int) -> bool:  # type: ignore[no-untyped-def]
    """Tell whether a counter that repeats itself is stuck.

    Only readings prove that it stands, not a pause, nor a reading right after one: it may be stale.
    """
    if s[STILL_T] < 0 or unseen > max_gap:
        s[STILL_T], s[STILL_APART] = t, 0
    elif unseen > STUCK_US:
        s[STILL_APART] = max(s[STILL_APART], unseen)
    flows = s[POWER] > 0 and t - s[POWER_T] <= max_gap
    return is_open and flows and t - s[STILL_T] - s[STILL_APART] > STUCK_US


@jit(allocates=False)
def _new_epoch(  # type: ignore[no-untyped-def]
    s, tally, room, t: int, c: int, first: int, mark: int, k: int, onward: bool, bound: int, max_gap: int
) -> int:
    """Let the counter go on from the suspect, or from here if it is undecided still; returns where the pieces end."""
    if s[SUSPECT_KIND] == DIP:
        s[HIGH_WATER], s[HIGH_WATER_T] = s[COUNTER], s[BASE_T]
        s[HIGH_WATER_BOOKED] = s[BOOKED_SINCE]
    mark, k = uncover(s, room, first, mark, k, t, max_gap)
    begun_anew(s, tally, room, first, mark, bound)
    s[BOOKED_SINCE] = 0
    if onward and k > mark:
        rest = (c - s[SUSPECT]) * HNJ_PER_MJ - s[SUSPECT_BOOKED]
        tally[COUNTER_HNJ] += max(rest, 0)
        by_counter(s, tally, room, mark, k, rest, rest if s[BOOKED_T] <= s[SUSPECT_T] else 0, bound)
    else:
        by_power(s, tally, room, mark, k, 0, RESET_US)
        s[BOOKED_SINCE] = 0
    s[SUSPECT_KIND] = 0
    _start_from(s, t, c)
    return k


@jit(inline="always", allocates=False)
def _believe(  # type: ignore[no-untyped-def]
    s, tally, room, t: int, c: int, first: int, k: int, lost: bool, bound: int, max_gap: int
) -> int:
    """Book the open stretch by the counter's difference; returns where the pieces end.

    ``lost``: it was stuck, or began anew and came back, and may lack some of what was used.
    """
    said = (c - s[COUNTER]) * HNJ_PER_MJ
    rest = said - s[BOOKED_SINCE]
    whole = k > first and room[T0, first] == s[BOOKED_T] and room[T1, k - 1] == t and s[BOOKED_SINCE] == 0
    tally[COUNTER_HNJ] += said
    if k == first or room[T0, first] > s[BOOKED_T]:
        _, k = uncover(s, room, first, k, k, t, max_gap)
    if lost and rest < 0 and rest * -4 > s[BOOKED_SINCE]:
        # It stood still for part of the time and lost it: what power said meanwhile stays.
        by_power(s, tally, room, first, k, min(said, total_of(room, first, k)), UNTOLD_US)
        s[BOOKED_SINCE] = 0
    elif k > first:
        if whole:
            _compare(s, tally, t, said, total_of(room, first, k))
        by_counter(s, tally, room, first, k, rest, said if s[BOOKED_T] == s[BASE_T] else 0, bound)
    else:
        s[BOOKED_SINCE] = -rest
    _start_from(s, t, c)
    return k


@jit(inline="always", allocates=False)
def _compare(s, tally, t: int, said: int, seen: int) -> None:  # type: ignore[no-untyped-def]
    """Note of a stretch that both meters saw whole what each says (hnj), and follow its mean power."""
    span = t - s[BOOKED_T]
    tally[COMPARED_US] += span
    tally[COMPARED_COUNTER] += said
    tally[COMPARED_POWER] += seen
    mean = said // (2 * span)
    known = s[MEAN_MW] > 0 and span < MEAN_US
    s[MEAN_MW] = s[MEAN_MW] + (mean - s[MEAN_MW]) * span // MEAN_US if known else mean
