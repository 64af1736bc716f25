"""A reading of the counter that is held back, and what the one after it makes of it: dip, jump, stale, or a reset.

See `kernels.billing.layout.Suspect` for what it may be, and `kernels.billing.verdicts` for when one is held back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.kernels.billing.holes import RESET_US, UNTOLD_US, total_of
from wattshed.kernels.billing.layout import Suspect
from wattshed.kernels.billing.settling import (
    HNJ_PER_MJ,
    all_final,
    begun_anew,
    by_counter,
    by_power,
    close_standing,
    sane,
    uncover,
)
from wattshed.kernels.billing.trusting import believe, stands_still, start_from
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    from wattshed.kernels.billing.layout import Books

UNDECIDED_US = 30_000_000
"""A suspicious counter that stays undecided this long starts a new epoch; a hole is estimated after it."""


@jit
def hold_back(books: Books, t: int, c: int, kind: int) -> None:
    """Hold back a reading that cannot be, or not yet, or may be old, until another one says which."""
    s = books.state
    s.suspect_mj, s.suspect_us, s.suspect = c, t, kind
    s.suspect_booked_hnj = 0
    s.shape_us = t
    s.still_since_us = -1
    books.open.mark = books.open.end


@jit
def hold_back_step(books: Books, t: int, c: int) -> None:
    """Hold back a reading that cannot be the next one of the counter: it fell, or rose by too much."""
    hold_back(books, t, c, Suspect.DIP if c < books.state.counter_mj else Suspect.JUMP)


@jit
def drop_suspect(books: Books) -> None:
    """Treat what was held back as a bad reading: the base before it holds."""
    if books.state.suspect == Suspect.DIP:
        books.diagnostics.rejected_dip += 1
    else:
        books.diagnostics.rejected_step += 1
    books.state.suspect = Suspect.NONE
    books.open.mark = books.open.end


@jit
def judge_suspect(books: Books, t: int, c: int, unseen: int, onward: bool) -> None:
    """Decide by a reading that does not fit the old base either; ``onward``: it counts on from the suspect."""
    s = books.state
    repeats = c == s.suspect_mj
    if repeats and stands_still(books, t, unseen):
        books.diagnostics.stuck += 1
        s.stuck_us = t
        close_standing(books)
    elif (onward and s.stuck_us < s.suspect_us) or (repeats and t - s.suspect_us > UNDECIDED_US):
        _new_epoch(books, t, c, onward)
    elif not repeats:
        hold_back_step(books, t, c)


@jit
def judge_stale(books: Books, t: int, c: int, unseen: int) -> bool:
    """Decide by the reading after it what the first one after a hole was.

    Returns whether that is decided, and this reading is to be judged itself; else the first one stays a suspect.
    """
    s, stretch = books.state, books.open
    if c == s.suspect_mj:
        if stands_still(books, t, unseen):
            _stale_is_stuck(books, t)
            return True
        return False
    moved = c > s.suspect_mj and sane(c - s.suspect_mj, t - s.suspect_us, books.bound_mw)
    seen = total_of(books.intervals, stretch.mark, stretch.end)
    in_time = t - books.intervals.t0_us[stretch.first] <= UNDECIDED_US
    catches_up = 0 < seen * 3 < (c - s.suspect_mj) * HNJ_PER_MJ * 2 and in_time
    fits = sane(c - s.counter_mj, t - s.base_us, books.bound_mw)
    if c > s.suspect_mj and (catches_up or not moved) and fits:
        s.suspect = Suspect.NONE  # it was old: this one has the hole
        stretch.mark = stretch.end
    else:
        book_stale(books, moved)
    return True


@jit
def book_stale(books: Books, moved: bool) -> None:
    """Book what the first reading after a hole said; ``moved``: a later one shows that it was not old.

    If not, its value may be as old as the reading before it: what the counter says next is measured from there.
    """
    s = books.state
    base_us, shape_us = s.base_us, s.shape_us
    s.suspect = Suspect.NONE
    believe(books, s.suspect_us, s.suspect_mj, s.stuck_us >= 0)
    s.shape_us = shape_us
    if not moved:
        s.base_us = base_us


@jit
def _stale_is_stuck(books: Books, t: int) -> None:
    """Let the first reading after a hole be a lower bound of it, for it was seen to stand.

    The value may be as old as the hole: what the counter says next is measured from before that.
    """
    s, stretch = books.state, books.open
    books.diagnostics.stuck += 1
    said = (s.suspect_mj - s.counter_mj) * HNJ_PER_MJ
    books.diagnostics.counter_hnj += said
    uncover(books, t)
    by_power(books, stretch.first, stretch.mark, max(said - s.booked_since_hnj, 0), UNTOLD_US)
    by_power(books, stretch.mark, stretch.end, 0, UNTOLD_US)
    s.counter_mj, s.suspect = s.suspect_mj, Suspect.NONE
    s.booked_since_hnj -= said
    s.booked_us, s.stuck_us = books.intervals.t1_us[stretch.end - 1], t
    all_final(stretch)


@jit
def _new_epoch(books: Books, t: int, c: int, onward: bool) -> None:
    """Let the counter go on from the suspect, or from here if it is undecided still."""
    s, stretch = books.state, books.open
    if s.suspect == Suspect.DIP:
        s.high_water_mj, s.high_water_us = s.counter_mj, s.base_us
        s.high_water_booked_hnj = s.booked_since_hnj
    uncover(books, t)
    begun_anew(books)
    s.booked_since_hnj = 0
    if onward and stretch.end > stretch.mark:
        rest = (c - s.suspect_mj) * HNJ_PER_MJ - s.suspect_booked_hnj
        books.diagnostics.counter_hnj += max(rest, 0)
        by_counter(books, stretch.mark, stretch.end, rest, rest if s.booked_us <= s.suspect_us else 0)
    else:
        by_power(books, stretch.mark, stretch.end, 0, RESET_US)
        s.booked_since_hnj = 0
    s.suspect = Suspect.NONE
    start_from(s, t, c)
    all_final(stretch)
