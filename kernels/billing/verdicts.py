"""What a reading of the energy counter is worth: the rules of `kernels.billing.reconcile`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.kernels.billing.counter_resets import drop_suspect, hold_back, hold_back_step, judge_stale, judge_suspect
from wattshed.kernels.billing.holes import total_of
from wattshed.kernels.billing.layout import Suspect
from wattshed.kernels.billing.settling import HNJ_PER_MJ, close, sane
from wattshed.kernels.billing.trusting import believe, stands_still, start_from
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    from wattshed.kernels.billing.layout import Books

HIGH_WATER_US = 3_600_000_000


@jit
def take_counter(books: Books, t: int, c: int) -> None:
    """Take in a reading ``c`` (mJ) of ``t``."""
    s = books.state
    unseen = t - s.seen_us
    s.seen_us = t
    if s.counter_mj < 0:
        start_from(s, t, c)
        s.booked_since_hnj = 0
        return
    if s.high_water_mj >= 0 and t - s.high_water_us > HIGH_WATER_US:
        s.high_water_mj, s.high_water_booked_hnj = -1, 0
    if s.suspect == Suspect.STALE and not judge_stale(books, t, c, unseen):
        return
    from_base = sane(c - s.counter_mj, t - s.base_us, books.bound_mw)
    onward = c > s.suspect_mj and sane(c - s.suspect_mj, t - s.suspect_us, books.bound_mw)
    if s.suspect != Suspect.NONE and from_base and not (s.suspect == Suspect.JUMP and onward):
        drop_suspect(books)
    if s.suspect != Suspect.NONE:
        judge_suspect(books, t, c, unseen, onward)
    else:
        _judge(books, t, c, unseen, from_base)


@jit
def _judge(books: Books, t: int, c: int, unseen: int, from_base: bool) -> None:
    """Believe a reading, or hold it back; ``from_base``: a board can have used what it says."""
    s, stretch = books.state, books.open
    stretch.mark = stretch.end
    if from_base and c == s.counter_mj:
        if stands_still(books, t, unseen):
            books.diagnostics.stuck += 1
            s.stuck_us = t
            close(books)
    elif s.high_water_mj >= 0 and _recovered(books, t, c, from_base):
        # A dip that recovered after all: the old level holds, less what was booked meanwhile.
        books.diagnostics.rejected_dip += 1
        s.counter_mj, s.base_us, s.booked_since_hnj = s.high_water_mj, s.high_water_us, s.high_water_booked_hnj
        s.high_water_mj, s.high_water_booked_hnj = -1, 0
        believe(books, t, c, True)
    elif not from_base:
        hold_back_step(books, t, c)
    elif s.run_since_us >= 0 and _open_since(books, t) - s.booked_us > books.max_gap_us:
        hold_back(books, t, c, Suspect.STALE)  # it may be as old as the hole
    else:
        believe(books, t, c, s.stuck_us >= 0)


@jit
def _open_since(books: Books, t: int) -> int:
    """Return when what is open begins, ``t`` if nothing is."""
    stretch = books.open
    return books.intervals.t0_us[stretch.first] if stretch.end > stretch.first else t


@jit
def _recovered(books: Books, t: int, c: int, from_base: bool) -> bool:
    """Return whether a counter that fell, and was taken for one that restarted, is back at its old level.

    Where it may also just have counted on, what power says of the stretch decides.
    """
    s, stretch, intervals = books.state, books.open, books.intervals
    if c < s.high_water_mj or not sane(c - s.high_water_mj, t - s.high_water_us, books.bound_mw):
        return False
    if not from_base:
        return True
    if stretch.end == stretch.first or intervals.t0_us[stretch.first] - s.booked_us > books.max_gap_us:
        return False
    seen = total_of(intervals, stretch.first, stretch.end)
    on = (c - s.counter_mj) * HNJ_PER_MJ - s.booked_since_hnj - seen
    back = (c - s.high_water_mj) * HNJ_PER_MJ - s.high_water_booked_hnj - seen
    return bool(abs(back) < abs(on))
