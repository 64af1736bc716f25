"""Closing the books of an open stretch: its pieces become final, by power, by the counter, or as a new epoch says.

Which it is, `kernels.billing.verdicts` and `kernels.billing.reconcile` decide. Pieces ``first:k`` of the room are open;
with a suspect, ``first:mark`` lie before it and ``mark:k`` after it.
"""

from __future__ import annotations

from wattshed.kernels.billing.holes import RESET_US, UNTOLD_US, estimate, fill, put_before, total_of
from wattshed.kernels.billing.layout import (
    BACK_MW,
    BASE_T,
    BEFORE_MW,
    BOOKED_BY_COUNTER,
    BOOKED_BY_POWER,
    BOOKED_SINCE,
    BOOKED_T,
    COUNTER,
    COUNTER_HNJ,
    DIP,
    ESTIMATED_US,
    HIGH_WATER,
    HIGH_WATER_BOOKED,
    HOLE,
    REJECTED_STEP,
    RESETS,
    SUSPECT,
    SUSPECT_BOOKED,
    SUSPECT_KIND,
    SUSPECT_T,
    T0,
    T1,
    UNKNOWN_US,
)
from wattshed.kernels.jit import jit

HNJ_PER_MJ = 2_000_000
SLACK_US = 1_000_000  # a counter is published in steps: a reading may carry energy from before the last one
MAX_STEP_MJ = 2_000_000_000_000  # 2 GJ, a month at 800 W: with what a window may hold beside, int64 is not exceeded


@jit(inline="always", allocates=False)
def sane(step_mj: int, dt_us: int, bound_mw: int) -> bool:
    """Tell whether a board of this limit can use ``step_mj`` in ``dt_us``: 1.5 x limit, a second of slack."""
    return 0 <= step_mj <= MAX_STEP_MJ and step_mj * 1_000_000 // (dt_us + SLACK_US) <= bound_mw + bound_mw // 2


@jit(allocates=False)
def settle(s, tally, room, lo: int, hi: int, by: int) -> int:  # type: ignore[no-untyped-def]
    """Pieces lo..hi are final: move the books on to their end."""
    booked = total_of(room, lo, hi)
    tally[by] += booked
    if by == BOOKED_BY_POWER and s[COUNTER] >= 0:
        s[BOOKED_SINCE] += booked
    if s[HIGH_WATER] >= 0:
        s[HIGH_WATER_BOOKED] += booked
    return booked


@jit(allocates=False)
def by_power(s, tally, room, lo: int, hi: int, told: int, longest: int) -> int:  # type: ignore[no-untyped-def]
    """Settle pieces lo..hi by power, and a hole before them by an estimate: the counter does not say what they used."""
    estimated, unknown = estimate(room, lo, hi, told, longest)
    tally[ESTIMATED_US] += estimated
    tally[UNKNOWN_US] += unknown
    return settle(s, tally, room, lo, hi, BOOKED_BY_POWER)


@jit(allocates=False)
def by_counter(s, tally, room, lo: int, hi: int, rest: int, least: int, bound: int) -> None:  # type: ignore[no-untyped-def]
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
    settle(s, tally, room, lo, hi, BOOKED_BY_COUNTER)
    s[BOOKED_SINCE] = now - rest


@jit(allocates=False)
def uncover(s, room, first: int, mark: int, k: int, t: int, max_gap: int) -> tuple[int, int]:  # type: ignore[no-untyped-def]
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


@jit(allocates=False)
def _told_anew(s, room, first: int, mark: int, bound: int) -> int:  # type: ignore[no-untyped-def]
    """Return what the low value that is suspect tells of pieces first..mark before it, should it count anew."""
    if s[SUSPECT_KIND] != DIP or not sane(s[SUSPECT], s[SUSPECT_T] - s[BASE_T], bound):
        return 0
    told = s[SUSPECT] * HNJ_PER_MJ
    # The books were closed before a hole, so that all of it is the hole's; else power may have booked of it.
    if first == mark or room[HOLE, first] == 0 or not sane(s[SUSPECT], s[SUSPECT_T] - s[BOOKED_T], bound):
        told = max(told - s[BOOKED_SINCE] + s[SUSPECT_BOOKED], 0)
    if first < mark and room[HOLE, first] == 0:
        # More than a board can use is of a hole that was booked as nothing.
        told = min(told, 2 * (bound + bound // 2) * (room[T1, mark - 1] - room[T0, first]))
    return int(told)


@jit(allocates=False)
def begun_anew(s, tally, room, first: int, mark: int, bound: int) -> None:  # type: ignore[no-untyped-def]
    """Settle pieces first..mark, before a suspect that is a new epoch: its first value is their lower bound."""
    tally[RESETS if s[SUSPECT_KIND] == DIP else REJECTED_STEP] += 1
    told = _told_anew(s, room, first, mark, bound)
    before = s[BOOKED_SINCE]
    tally[COUNTER_HNJ] += before + by_power(s, tally, room, first, mark, told, RESET_US)


@jit(allocates=False)
def close_standing(s, tally, room, first: int, mark: int, k: int, bound: int, max_gap: int) -> int:  # type: ignore[no-untyped-def]
    """Book all that is open by power, for the suspect stands still; returns where the pieces end now."""
    mark, k = uncover(s, room, first, mark, k, room[T1, k - 1], max_gap)
    told = _told_anew(s, room, first, mark, bound)
    by_power(s, tally, room, first, mark, told, RESET_US if s[SUSPECT_KIND] == DIP else UNTOLD_US)
    s[SUSPECT_BOOKED] += by_power(s, tally, room, mark, k, 0, UNTOLD_US)
    s[BOOKED_T] = room[T1, k - 1]
    return k


@jit(allocates=False)
def close(s, tally, room, first: int, mark: int, k: int, max_gap: int) -> int:  # type: ignore[no-untyped-def]
    """Book all that is open by power, for the counter does not tell; returns where the pieces end now."""
    if s[SUSPECT_KIND] == 0:
        mark = k
    mark, k = uncover(s, room, first, mark, k, s[BOOKED_T] if k == first else room[T1, k - 1], max_gap)
    by_power(s, tally, room, first, mark, 0, UNTOLD_US)
    s[SUSPECT_BOOKED] += by_power(s, tally, room, mark, k, 0, UNTOLD_US)
    if k > first:
        s[BOOKED_T] = room[T1, k - 1]
    return k
