"""What a reading of the counter that is believed books, and when one that repeats itself is taken to be stuck."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.kernels.billing.holes import UNTOLD_US, total_of
from wattshed.kernels.billing.settling import HNJ_PER_MJ, by_counter, by_power, uncover
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    from wattshed.kernels.billing.layout import Books, GpuState

STUCK_US = 2_000_000
MEAN_US = 3_000_000  # time constant of the power before a hole
STEPS_US = 200_000  # drivers publish a counter every 20 to 100 ms


@jit
def start_from(s: GpuState, t: int, c: int) -> None:
    """Let the counter's next difference be from this reading."""
    if s.counter_mj < 0:  # until now power and its average were the same
        s.level_us, s.level_mw = s.power_us, s.power_mw
    s.level_since_us, s.level_hnj = s.level_us, 0
    s.counter_mj, s.base_us, s.booked_us, s.shape_us = c, t, t, t
    s.still_since_us, s.stuck_us = -1, -1


@jit
def stands_still(books: Books, t: int, unseen: int) -> bool:
    """Return whether a counter that repeats itself is stuck.

    Only readings prove that it stands, not a pause, nor a reading right after one: it may be stale.
    """
    s = books.state
    if s.still_since_us < 0 or unseen > books.max_gap_us:
        s.still_since_us, s.still_pause_us = t, 0
    elif unseen > STUCK_US:
        s.still_pause_us = max(s.still_pause_us, unseen)
    flows = s.power_mw > 0 and t - s.power_us <= books.max_gap_us
    is_open = books.open.end > books.open.first
    return is_open and flows and t - s.still_since_us - s.still_pause_us > STUCK_US


@jit
def believe(books: Books, t: int, c: int, lost: bool) -> None:
    """Book what is open before the suspect, the stretch up to ``t``, by the counter's difference.

    ``lost``: it was stuck, or restarted and came back, and may lack some of what was used.
    """
    s, stretch, intervals = books.state, books.open, books.intervals
    first = stretch.first
    said = (c - s.counter_mj) * HNJ_PER_MJ
    rest = said - s.booked_since_hnj
    none = stretch.mark == first
    whole = not none and intervals.t0_us[first] == s.booked_us and intervals.t1_us[stretch.mark - 1] == t
    books.diagnostics.counter_hnj += said
    if none and s.booked_since_hnj == 0 and t - s.booked_us <= books.max_gap_us:
        _follow_mean(books, t, said)  # without any power, it alone shows what was drawn before a hole
    if none or intervals.t0_us[first] > s.booked_us:
        uncover(books, t)
    mark = stretch.mark
    if lost and rest < 0 and rest * -4 > s.booked_since_hnj:
        # It stood still for part of the time and lost it: what power said meanwhile stays.
        by_power(books, first, mark, min(said, total_of(intervals, first, mark)), UNTOLD_US)
        s.booked_since_hnj = 0
    elif mark > first:
        if whole and s.booked_since_hnj == 0:
            _compare(books, t, said, total_of(intervals, first, mark))
        by_counter(books, first, mark, rest, said if s.booked_us == s.base_us else 0)
    else:
        s.booked_since_hnj = -rest
    start_from(s, t, c)
    stretch.first, stretch.mark = mark, stretch.end


@jit
def follow_level(books: Books, t: int, average_mw: int) -> None:
    """Integrate average power beside a counter: instants are for the shape alone."""
    s = books.state
    apart = t - s.level_us
    if s.level_us >= 0 and apart <= books.max_gap_us:
        seen = (s.level_mw + average_mw) * apart
        books.diagnostics.power_hnj += seen
        s.level_hnj += seen
    else:
        s.level_since_us, s.level_hnj = t, 0
    s.level_us, s.level_mw = t, average_mw


@jit
def _compare(books: Books, t: int, said: int, seen: int) -> None:
    """Note of a stretch that both meters saw whole what each says (hnj), and follow its mean power.

    ``seen`` is of the powers that give the stretch its shape. These may be instants, of which a load that keeps step
    with the readings shows its peaks alone, or its pauses; where average power was read at both ends, that is compared.
    """
    s = books.state
    if s.level_us == t and s.level_since_us == s.booked_us:
        seen = s.level_hnj
    books.diagnostics.compared_us += t - s.booked_us
    books.diagnostics.compared_counter_hnj += said
    books.diagnostics.compared_power_hnj += seen
    _follow_mean(books, t, said)


@jit
def _follow_mean(books: Books, t: int, said: int) -> None:
    """Follow the mean power of the seconds before, by a stretch since the books were closed (hnj).

    A counter is published in steps: over a millisecond one may look like more than any board can use, and over a
    twentieth of a second like twice what was drawn. Where the first stretch is so short, it begins with a power that
    was read.
    """
    s = books.state
    span = max(t - s.booked_us, 1)
    mean = min(said // (2 * span), books.bound_mw + books.bound_mw // 2)
    read = s.power_us >= 0 and t - s.power_us <= books.max_gap_us and span < STEPS_US
    before = s.mean_mw if s.mean_mw > 0 else s.power_mw if read else -1
    s.mean_mw = before + (mean - before) * span // MEAN_US if before > 0 and span < MEAN_US else mean
