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
    RUN_T,
    SEEN_T,
    SHAPE_T,
    STALE,
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
from wattshed.kernels.billing.settling import (
    HNJ_PER_MJ,
    begun_anew,
    by_counter,
    by_power,
    close,
    close_standing,
    sane,
    uncover,
)
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
    if s[SUSPECT_KIND] == STALE:
        first, mark, k = _judge_held(s, tally, room, t, c, unseen, first, mark, k, bound, max_gap)
        if s[SUSPECT_KIND] == STALE:
            return first, mark, k
    step = c - s[COUNTER]
    from_base = step >= 0 and sane(step, t - s[BASE_T], bound)
    onward = c > s[SUSPECT] and sane(c - s[SUSPECT], t - s[SUSPECT_T], bound)
    if s[SUSPECT_KIND] != 0 and from_base and not (s[SUSPECT_KIND] == JUMP and onward):
        tally[REJECTED_DIP if s[SUSPECT_KIND] == DIP else REJECTED_STEP] += 1
        s[SUSPECT_KIND] = 0
        mark = k
    if s[SUSPECT_KIND] != 0:
        if c == s[SUSPECT] and _stands_still(s, t, unseen, k > first, max_gap):
            tally[STUCK] += 1
            s[STUCK_T] = t
            first = mark = k = close_standing(s, tally, room, first, mark, k, bound, max_gap)
        elif (onward and s[STUCK_T] < s[SUSPECT_T]) or (c == s[SUSPECT] and t - s[SUSPECT_T] > UNDECIDED_US):
            first = mark = k = _new_epoch(s, tally, room, t, c, first, mark, k, onward, bound, max_gap)
        elif c != s[SUSPECT]:
            _suspect(s, t, c, DIP if c < s[COUNTER] else JUMP)
            mark = k
    elif from_base and step == 0:
        if _stands_still(s, t, unseen, k > first, max_gap):
            tally[STUCK] += 1
            s[STUCK_T] = t
            first = mark = k = close(s, tally, room, first, k, k, max_gap)
    elif s[HIGH_WATER] >= 0 and _recovered(s, room, t, c, first, k, from_base, bound, max_gap):
        # A dip that recovered after all: the old level holds, less what was booked meanwhile.
        tally[REJECTED_DIP] += 1
        s[COUNTER], s[BASE_T], s[BOOKED_SINCE] = s[HIGH_WATER], s[HIGH_WATER_T], s[HIGH_WATER_BOOKED]
        s[HIGH_WATER], s[HIGH_WATER_BOOKED] = -1, 0
        first = mark = k = _believe(s, tally, room, t, c, first, k, k, True, bound, max_gap)[1]
    elif from_base:
        if s[RUN_T] >= 0 and (room[T0, first] if k > first else t) - s[BOOKED_T] > max_gap:
            _suspect(s, t, c, STALE)  # it may be as old as the hole
            mark = k
        else:
            k = _believe(s, tally, room, t, c, first, k, k, s[STUCK_T] >= 0, bound, max_gap)[1]
            first = mark = k
    else:
        _suspect(s, t, c, DIP if c < s[COUNTER] else JUMP)
        mark = k
    return first, mark, k


@jit(inline="always", allocates=False)
def _start_from(s, t: int, c: int) -> None:  # type: ignore[no-untyped-def]
    """Let the counter's next difference be from this reading."""
    s[COUNTER], s[BASE_T], s[BOOKED_T], s[SHAPE_T] = c, t, t, t
    s[STILL_T], s[STUCK_T] = -1, -1


@jit(allocates=False)
def _suspect(s, t: int, c: int, kind: int) -> None:  # type: ignore[no-untyped-def]
    """Hold back a reading that cannot be, or not yet, or may be old, until another one says which."""
    s[SUSPECT], s[SUSPECT_T], s[SUSPECT_KIND] = c, t, kind
    s[SUSPECT_BOOKED] = 0
    s[SHAPE_T] = t
    s[STILL_T] = -1


@jit(allocates=False)
def _judge_held(  # type: ignore[no-untyped-def]
    s, tally, room, t: int, c: int, unseen: int, first: int, mark: int, k: int, bound: int, max_gap: int
) -> tuple[int, int, int]:
    """Decide by the reading after it what the first one after a hole was; while that is open it stays a suspect."""
    if c == s[SUSPECT]:
        if _stands_still(s, t, unseen, k > first, max_gap):
            first = mark = k = _held_is_stuck(s, tally, room, t, first, mark, k, max_gap)
        return first, mark, k
    moved = c > s[SUSPECT] and sane(c - s[SUSPECT], t - s[SUSPECT_T], bound)
    seen = total_of(room, mark, k)
    catches_up = 0 < seen * 3 < (c - s[SUSPECT]) * HNJ_PER_MJ * 2 and t - room[T0, first] <= UNDECIDED_US
    if c > s[SUSPECT] and (catches_up or not moved) and sane(c - s[COUNTER], t - s[BASE_T], bound):
        s[SUSPECT_KIND] = 0  # it was old: this one tells of the hole
        return first, k, k
    return book_held(s, tally, room, first, mark, k, moved, bound, max_gap)


@jit(allocates=False)
def book_held(  # type: ignore[no-untyped-def]
    s, tally, room, first: int, mark: int, k: int, moved: bool, bound: int, max_gap: int
) -> tuple[int, int, int]:
    """Book what the first reading after a hole said; ``moved``: a later one shows that it was not old.

    If not, its value may be as old as the reading before it: what the counter says next is measured from there.
    """
    base_t, shape_t, lost = s[BASE_T], s[SHAPE_T], s[STUCK_T] >= 0
    s[SUSPECT_KIND] = 0
    mark, k = _believe(s, tally, room, s[SUSPECT_T], s[SUSPECT], first, mark, k, lost, bound, max_gap)
    s[SHAPE_T] = shape_t
    if not moved:
        s[BASE_T] = base_t
    return mark, k, k


@jit(allocates=False)
def _held_is_stuck(s, tally, room, t: int, first: int, mark: int, k: int, max_gap: int) -> int:  # type: ignore[no-untyped-def]
    """Let the first reading after a hole be a lower bound of it, for it was seen to stand; returns where pieces end.

    The value may be as old as the hole: what the counter says next is measured from before that.
    """
    tally[STUCK] += 1
    said = (s[SUSPECT] - s[COUNTER]) * HNJ_PER_MJ
    tally[COUNTER_HNJ] += said
    mark, k = uncover(s, room, first, mark, k, t, max_gap)
    by_power(s, tally, room, first, mark, max(said - s[BOOKED_SINCE], 0), UNTOLD_US)
    by_power(s, tally, room, mark, k, 0, UNTOLD_US)
    s[COUNTER], s[SUSPECT_KIND] = s[SUSPECT], 0
    s[BOOKED_SINCE] -= said
    s[BOOKED_T], s[STUCK_T] = room[T1, k - 1], t
    return k


@jit(allocates=False)
def _recovered(  # type: ignore[no-untyped-def]
    s, room, t: int, c: int, first: int, k: int, from_base: bool, bound: int, max_gap: int
) -> bool:
    """Tell whether a counter that fell, and was taken for one that began anew, is back at its old level.

    Where it may also just have counted on, what power says of the stretch decides.
    """
    if c < s[HIGH_WATER] or not sane(c - s[HIGH_WATER], t - s[HIGH_WATER_T], bound):
        return False
    if not from_base:
        return True
    if k == first or room[T0, first] - s[BOOKED_T] > max_gap:
        return False
    seen = total_of(room, first, k)
    on = (c - s[COUNTER]) * HNJ_PER_MJ - s[BOOKED_SINCE] - seen
    back = (c - s[HIGH_WATER]) * HNJ_PER_MJ - s[HIGH_WATER_BOOKED] - seen
    return bool(abs(back) < abs(on))


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
    s, tally, room, t: int, c: int, first: int, mark: int, k: int, lost: bool, bound: int, max_gap: int
) -> tuple[int, int]:
    """Book pieces first..mark, the stretch up to ``t``, by the counter's difference; returns where they, and all, end.

    ``lost``: it was stuck, or began anew and came back, and may lack some of what was used.
    """
    said = (c - s[COUNTER]) * HNJ_PER_MJ
    rest = said - s[BOOKED_SINCE]
    whole = mark > first and room[T0, first] == s[BOOKED_T] and room[T1, mark - 1] == t and s[BOOKED_SINCE] == 0
    tally[COUNTER_HNJ] += said
    if mark == first and s[BOOKED_SINCE] == 0 and t - s[BOOKED_T] <= max_gap:
        _follow_mean(s, t, said)  # without any power, it alone tells what was drawn before a hole
    if mark == first or room[T0, first] > s[BOOKED_T]:
        mark, k = uncover(s, room, first, mark, k, t, max_gap)
    if lost and rest < 0 and rest * -4 > s[BOOKED_SINCE]:
        # It stood still for part of the time and lost it: what power said meanwhile stays.
        by_power(s, tally, room, first, mark, min(said, total_of(room, first, mark)), UNTOLD_US)
        s[BOOKED_SINCE] = 0
    elif mark > first:
        if whole:
            _compare(s, tally, t, said, total_of(room, first, mark))
        by_counter(s, tally, room, first, mark, rest, said if s[BOOKED_T] == s[BASE_T] else 0, bound)
    else:
        s[BOOKED_SINCE] = -rest
    _start_from(s, t, c)
    return mark, k


@jit(inline="always", allocates=False)
def _compare(s, tally, t: int, said: int, seen: int) -> None:  # type: ignore[no-untyped-def]
    """Note of a stretch that both meters saw whole what each says (hnj), and follow its mean power."""
    tally[COMPARED_US] += t - s[BOOKED_T]
    tally[COMPARED_COUNTER] += said
    tally[COMPARED_POWER] += seen
    _follow_mean(s, t, said)


@jit(inline="always", allocates=False)
def _follow_mean(s, t: int, said: int) -> None:  # type: ignore[no-untyped-def]
    """Follow the mean power of the seconds before, by a stretch since the books were closed (hnj)."""
    span = max(t - s[BOOKED_T], 1)
    mean = said // (2 * span)
    known = s[MEAN_MW] > 0 and span < MEAN_US
    s[MEAN_MW] = s[MEAN_MW] + (mean - s[MEAN_MW]) * span // MEAN_US if known else mean
