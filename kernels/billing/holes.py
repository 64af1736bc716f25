"""What is booked where nothing was read: the rules of the hole, for `kernels.billing.reconcile`.

A stretch is open while nobody has said what it used. It is made of intervals that sampled power gives their shape;
before them may lie a *hole*, a time longer than readings may bridge, of which only the energy counter can tell. Three
rules:

* a hole is an interval of its own: what the counter says of the whole stretch, less what power saw of the rest of it,
  is the hole's, and no interval beside it is scaled up to hold it;
* an interval that was read holds no more than a board of this limit can use, if there is another that can hold it;
* where the counter restarted in the hole, its first value shows how long it has counted since; the time before that is
  estimated by the power before and after, if it is not too long, and is counted as estimated.

Numbers in, numbers out: nothing here knows of the state of the merge.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    from wattshed.kernels.billing.layout import IntervalColumns

RESET_US = 60_000_000
"""So much of a hole is estimated, at most, over which the counter was reset: a driver is reloaded in seconds, and of a
machine that was away for longer nobody knows what its GPUs did."""
UNTOLD_US = 900_000_000
"""So long a hole is estimated of which the counter may tell later: its difference then corrects the estimate."""
BOUNDLESS_MW = 1 << 62
"""Where the counter alone says how much it was."""


@jit
def total_of(intervals: IntervalColumns, lo: int, hi: int) -> int:
    """Sum the energy of intervals lo..hi."""
    total = 0
    for k in range(lo, hi):
        total += intervals.energy_hnj[k]
    return total


@jit
def put_before(
    intervals: IntervalColumns, at: int, k: int, since: int, until: int, before_mw: int, after_mw: int, max_gap: int
) -> int:
    """Put the interval ``since``..``until``, which nobody has read, before intervals at..k; returns how many: 0 or 1.

    Longer than a gap it is a hole, and holds nothing yet; else it has the shape of the line between the two powers.
    """
    if until <= since:
        return 0
    for j in range(k, at, -1):
        for column in intervals:
            column[j] = column[j - 1]
    intervals.t0_us[at], intervals.t1_us[at], intervals.energy_hnj[at] = since, until, 0
    intervals.begin_mw[at], intervals.end_mw[at], intervals.hole[at] = before_mw, after_mw, 1
    if until - since <= max_gap:
        intervals.hole[at] = 0
        if before_mw > 0 and after_mw > 0:
            intervals.energy_hnj[at] = (before_mw + after_mw) * (until - since)
    return 1


@jit
def scale(intervals: IntervalColumns, lo: int, hi: int, total: int, most_mw: int) -> None:
    """Scale intervals lo..hi in place so that they sum to ``total`` exactly: by their energy, else by their time.

    Where that would lift an interval above ``most_mw``, each gets of what is more than power saw by how far it lies
    below.
    """
    weight = total_of(intervals, lo, hi)
    by_time = weight <= 0
    if by_time:
        weight = 0
        for k in range(lo, hi):
            weight += intervals.t1_us[k] - intervals.t0_us[k]
    elif total == weight:
        return
    elif total > weight:
        most = 2.0 * float(most_mw) * (float(weight) / float(total))
        for k in range(lo, hi):
            if float(intervals.energy_hnj[k]) > most * float(intervals.t1_us[k] - intervals.t0_us[k]) and _spread(
                intervals, lo, hi, total, most_mw
            ):
                return
    done = 0
    before = 0
    for k in range(lo, hi):
        done += (intervals.t1_us[k] - intervals.t0_us[k]) if by_time else intervals.energy_hnj[k]
        upto = total if k == hi - 1 or weight <= 0 else math.floor(float(total) * (float(done) / float(weight)))
        upto = min(max(upto, before), total)
        intervals.energy_hnj[k] = upto - before
        before = upto


@jit
def _spread(intervals: IntervalColumns, lo: int, hi: int, total: int, most_mw: int) -> bool:
    """Add what lacks to ``total`` by how far each interval lies below ``most_mw``; False if none does."""
    below = 0.0
    for k in range(lo, hi):
        below += max(
            2.0 * float(most_mw) * float(intervals.t1_us[k] - intervals.t0_us[k]) - float(intervals.energy_hnj[k]), 0.0
        )
    if below <= 0.0:
        return False
    more = total - total_of(intervals, lo, hi)
    done, before = 0.0, 0
    for k in range(lo, hi):
        done += max(
            2.0 * float(most_mw) * float(intervals.t1_us[k] - intervals.t0_us[k]) - float(intervals.energy_hnj[k]), 0.0
        )
        upto = more if k == hi - 1 else min(max(math.floor(float(more) * (done / below)), before), more)
        intervals.energy_hnj[k] += upto - before
        before = upto
    return True


@jit
def fill(intervals: IntervalColumns, lo: int, hi: int, total: int, most_mw: int) -> None:
    """Let intervals lo..hi hold ``total``, which the counter says: a hole gets what power did not see of the others."""
    first = lo
    if intervals.hole[lo] != 0:
        first += 1
        intervals.energy_hnj[lo] = max(total - total_of(intervals, first, hi), 0)
    scale(intervals, first, hi, total - (intervals.energy_hnj[lo] if first > lo else 0), most_mw)


@jit
def estimate(intervals: IntervalColumns, lo: int, hi: int, told: int, longest: int) -> tuple[int, int]:
    """Give intervals lo..hi what power says, and a hole before them what ``told`` and the powers at its ends say.

    Parameters
    ----------
    told : int, hnj
        What the counter says of an end of the stretch, however long that is; 0 if it says nothing.
    longest : int, us
        So much of a hole may be estimated.

    Returns
    -------
    estimated, unknown : int, us
        How much of the hole was estimated, or is booked as nothing since it is too long or no power is known. The
        intervals are marked with it, as `kernels.billing.layout.EnergyIntervals` says.
    """
    if hi <= lo:
        return 0, 0
    if intervals.hole[lo] == 0:
        seen = total_of(intervals, lo, hi)
        if told > seen:
            scale(intervals, lo, hi, told, BOUNDLESS_MW)
        if seen > 0:
            return 0, 0
        for k in range(lo, hi):
            intervals.hole[k] = intervals.t0_us[k] - intervals.t1_us[k]
        return 0, intervals.t1_us[hi - 1] - intervals.t0_us[lo]
    intervals.energy_hnj[lo] = max(told - total_of(intervals, lo + 1, hi), 0)
    before, after = intervals.begin_mw[lo], intervals.end_mw[lo]
    if after <= 0:
        after = before
    if before <= 0:
        before = after
    left = intervals.t1_us[lo] - intervals.t0_us[lo]
    if after > 0:
        left = max(left - intervals.energy_hnj[lo] // (2 * after), 0)
    if left > longest or after <= 0:
        if left > 0:
            intervals.hole[lo] = -left
        return 0, left
    intervals.energy_hnj[lo] += (before + after) * left
    intervals.hole[lo] = 1 + left
    return left, 0
