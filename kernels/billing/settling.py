"""Closing the books of an open stretch: its intervals become final, by power, by the counter, or as a new epoch says.

Which it is, `kernels.billing.verdicts`, `kernels.billing.counter_resets` and `kernels.billing.reconcile` decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.kernels.billing.holes import RESET_US, UNTOLD_US, estimate, fill, put_before, total_of
from wattshed.kernels.billing.layout import Suspect
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    from wattshed.kernels.billing.layout import Books, Open

HNJ_PER_MJ = 2_000_000
SLACK_US = 1_000_000  # a counter is published in steps: a reading may carry energy from before the last one
MAX_STEP_MJ = 2_000_000_000_000  # 2 GJ, a month at 800 W: with what a window may hold beside, int64 is not exceeded


@jit
def sane(step_mj: int, dt_us: int, bound_mw: int) -> bool:
    """Return whether a board of this limit can use ``step_mj`` in ``dt_us``: 1.5 x limit, a second of slack."""
    return 0 <= step_mj <= MAX_STEP_MJ and step_mj * 1_000_000 // (dt_us + SLACK_US) <= bound_mw + bound_mw // 2


@jit
def all_final(stretch: Open) -> None:
    """Let nothing be open any more."""
    stretch.first = stretch.mark = stretch.end


@jit
def settle(books: Books, lo: int, hi: int) -> int:
    """Note in the level that the counter may come back to what intervals lo..hi, now final, hold; returns that."""
    booked: int = total_of(books.intervals, lo, hi)
    if books.state.high_water_mj >= 0:
        books.state.high_water_booked_hnj += booked
    return booked


@jit
def settle_by_power(books: Books, lo: int, hi: int) -> int:
    """Intervals lo..hi are final as power has them: the counter's next difference holds them too."""
    booked: int = settle(books, lo, hi)
    books.diagnostics.by_power_hnj += booked
    if books.state.counter_mj >= 0:
        books.state.booked_since_hnj += booked
    return booked


@jit
def by_power(books: Books, lo: int, hi: int, told: int, longest: int) -> int:
    """Settle intervals lo..hi by power, and a hole before them by an estimate: the counter does not say what they used.

    ``told`` (hnj) and ``longest`` (us) are those of `kernels.billing.holes.estimate`.
    """
    estimated, unknown = estimate(books.intervals, lo, hi, told, longest)
    books.diagnostics.estimated_us += estimated
    books.diagnostics.unknown_us += unknown
    booked: int = settle_by_power(books, lo, hi)
    return booked


@jit
def by_counter(books: Books, lo: int, hi: int, rest: int, least: int) -> None:
    """Settle intervals lo..hi by what the counter says of them, ``rest``.

    Was part of the counter's time booked by power before, that may be a little less than nothing, or more than a board
    can use (but at ``least`` so much is this stretch's own): then the next stretch makes up for it.
    """
    intervals, most_mw = books.intervals, books.bound_mw + books.bound_mw // 2
    now = max(rest, 0)
    if intervals.hole[lo] == 0 and now > least:
        most = 2.0 * float(most_mw) * float(intervals.t1_us[hi - 1] - intervals.t0_us[lo])
        if float(now) > most:
            now = min(now, max(int(most), least, total_of(intervals, lo, hi)))
    fill(intervals, lo, hi, now, most_mw)
    books.diagnostics.by_counter_hnj += settle(books, lo, hi)
    books.state.booked_since_hnj = now - rest


@jit
def uncover(books: Books, t: int) -> None:
    """Put intervals where the open stretch, up to ``t``, has none: what nobody read is an interval of its own."""
    s, stretch, intervals = books.state, books.open, books.intervals
    suspect = s.suspect != Suspect.NONE
    middle = s.suspect_us if suspect else t
    until = intervals.t0_us[stretch.first] if stretch.first < stretch.mark else middle
    added = put_before(
        intervals, stretch.first, stretch.end, s.booked_us, until, s.before_mw, s.back_mw, books.max_gap_us
    )
    stretch.mark += added
    stretch.end += added
    if suspect:
        until = intervals.t0_us[stretch.mark] if stretch.mark < stretch.end else t
        since = max(middle, s.booked_us)
        stretch.end += put_before(
            intervals, stretch.mark, stretch.end, since, until, s.before_mw, s.back_mw, books.max_gap_us
        )


@jit
def _told_anew(books: Books) -> int:
    """Return what the suspect low value says about the intervals before it, should the counter have restarted."""
    s, stretch, intervals, bound = books.state, books.open, books.intervals, books.bound_mw
    if s.suspect != Suspect.DIP or not sane(s.suspect_mj, s.suspect_us - s.base_us, bound):
        return 0
    told = s.suspect_mj * HNJ_PER_MJ
    read = stretch.first < stretch.mark and intervals.hole[stretch.first] == 0
    # The books were closed before a hole, so that all of it is the hole's; else power may have booked of it.
    if read or stretch.first == stretch.mark or not sane(s.suspect_mj, s.suspect_us - s.booked_us, bound):
        told = max(told - s.booked_since_hnj, 0)
    if read:
        # More than a board can use is of a hole that was booked as nothing.
        length = intervals.t1_us[stretch.mark - 1] - intervals.t0_us[stretch.first]
        told = min(told, 2 * (bound + bound // 2) * length)
    return int(told)


@jit
def begun_anew(books: Books) -> None:
    """Settle what lies before a suspect that is a new epoch: its first value is a lower bound for that."""
    s, stretch = books.state, books.open
    if s.suspect == Suspect.DIP:
        books.diagnostics.resets += 1
    else:
        books.diagnostics.rejected_step += 1
    told = _told_anew(books)
    before = s.booked_since_hnj
    books.diagnostics.counter_hnj += before + by_power(books, stretch.first, stretch.mark, told, RESET_US)


@jit
def close_standing(books: Books) -> None:
    """Book all that is open by power, since the suspect is stuck."""
    s, stretch = books.state, books.open
    uncover(books, books.intervals.t1_us[stretch.end - 1])
    longest = RESET_US if s.suspect == Suspect.DIP else UNTOLD_US
    by_power(books, stretch.first, stretch.mark, _told_anew(books), longest)
    s.suspect_booked_hnj += by_power(books, stretch.mark, stretch.end, 0, UNTOLD_US)
    s.booked_us = books.intervals.t1_us[stretch.end - 1]
    all_final(stretch)


@jit
def close(books: Books) -> None:
    """Book all that is open by power, since the counter does not say."""
    s, stretch = books.state, books.open
    if s.suspect == Suspect.NONE:
        stretch.mark = stretch.end
    uncover(books, s.booked_us if stretch.end == stretch.first else books.intervals.t1_us[stretch.end - 1])
    by_power(books, stretch.first, stretch.mark, 0, UNTOLD_US)
    s.suspect_booked_hnj += by_power(books, stretch.mark, stretch.end, 0, UNTOLD_US)
    if stretch.end > stretch.first:
        s.booked_us = books.intervals.t1_us[stretch.end - 1]
    all_final(stretch)
