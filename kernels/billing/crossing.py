"""Cutting pieces at the edges of owners: along the straight line between the powers at their ends, or by what is known.

Next to a time in which nobody is there, power is idle until an owner comes and after the last one went, if the readings
on that side say so: the rest of such a piece is the owner's, however steeply power rose and fell in it.

A *hole* is a piece that no reading covers, and whose energy only the counter tells.

The straight line between the powers at its ends is not a shape of what happened inside. What is known is who was there:
until the first owner came or went the power was that before the hole, from the last such edge on that after it, and
between these idle power where nobody was there. Of who was there between them and not at either end no reading tells:
theirs is what the counter says beside the rest, as far as that can be relied on. All is scaled to the piece's energy.
"""

from __future__ import annotations

from wattshed.kernels.billing.shares import portion
from wattshed.kernels.jit import jit

FOREVER = 1 << 62
STEADY = 0.2
"""One sigma, relative, of taking a load to have drawn in a hole what it drew in the seconds beside it."""


@jit(inline="always")
def along_the_line(rest: int, begin_mw: int, end_mw: int, span: int, dt: int) -> tuple[int, int]:
    """Cut ``span`` off a piece of ``rest`` energy and length ``dt``: its energy, and the power at the cut.

    Along the straight line between the powers at its ends; evenly in time where these are not known (-1).
    """
    weights = (begin_mw + end_mw) * dt
    if begin_mw < 0 or weights <= 0:
        return portion(rest, span, dt), begin_mw
    cut_mw = begin_mw + (end_mw - begin_mw) * span // dt
    weight = min((begin_mw + cut_mw) * span, weights)
    return (weight if rest == weights else portion(rest, weight, weights)), cut_mw


@jit(inline="always")
def power_in(
    since: int, first: int, last: int, present: int, begin_mw: int, end_mw: int, idle_mw: int, between_mw: int
) -> int:
    """Power (mW, relative to the rest of the hole) from ``since`` to the next edge, with so many rows present."""
    before = begin_mw if begin_mw >= 0 else end_mw
    after = end_mw if end_mw >= 0 else begin_mw
    if before < 0:
        return 1  # neither is known: evenly in time
    if since < first:
        return before
    if since >= last:
        return after
    if present == 0 and idle_mw >= 0:
        return idle_mw
    return between_mw


@jit
def between(known: int, unknown: int, time_us: int, energy: int, dt: int) -> int:
    """Return the power (mW) of a time of which no reading tells, next to what is known of the rest of the hole.

    What was drawn there is no more certain than the mean power of the hole; what was drawn in the rest is known to
    `STEADY`. What the counter says beside both is divided by the squares of these.

    Parameters
    ----------
    known, unknown : int, nJ
        What the rest and that time would have used by the powers before and after the hole.
    time_us : int, us
        How long it is, > 0.
    energy : int, hnj
        Of the whole hole.
    dt : int, us
        How long that is.
    """
    more = energy / 2.0 - known - unknown
    sure = (STEADY * known) * (STEADY * known)
    unsure = (energy / 2.0 * time_us / dt) * (energy / 2.0 * time_us / dt)
    if sure + unsure <= 0.0:
        return max(unknown // time_us, 1)
    rest = known + more * (sure / (sure + unsure))
    mine = max(unknown + more * (unsure / (sure + unsure)), 0.0)
    # Relative to the powers of the rest, which are scaled with it.
    scale = min(max(known / rest, 0.01), 100.0) if rest > 0.0 else 1.0
    return max(int(mine / time_us * scale), 1)


@jit(inline="always")
def at_rest(power_mw: int, idle_mw: int) -> bool:
    """Tell whether a reading is one of a GPU that rests."""
    return 0 <= power_mw <= idle_mw + idle_mw // 4


@jit(allocates=False)
def nobody_after(  # type: ignore[no-untyped-def]
    edge: int, t1: int, present: int, next_start: int, next_end: int, lo: int, hi: int, by_start, by_end, start, end
) -> bool:
    """Tell whether all who are present leave at an edge, and nobody comes before the piece ends."""
    if next_start < hi - lo and start[lo + by_start[next_start]] < t1:
        return False
    i = next_end
    while i < hi and end[by_end[i]] <= edge:
        present -= start[by_end[i]] < end[by_end[i]]
        i += 1
    return present == 0


@jit(inline="always")
def goes_on(row: int, following: int, hi: int, start, end, owner) -> bool:  # type: ignore[no-untyped-def]
    """Tell whether the row that follows another one is its owner's, without a break: a window ended there."""
    return following < hi and owner[row] == owner[following] and end[row] == start[following]


@jit(allocates=False)
def owners_edges(  # type: ignore[no-untyped-def]
    t0: int, t1: int, next_start: int, next_end: int, lo: int, hi: int, by_start, by_end, start, end, owner
) -> tuple[int, int]:
    """Return when the first and the last owner came or went strictly inside a piece; FOREVER, -1 if none did.

    Where a row follows another of its owner without a break (a window's end), nobody did.
    """
    first, last = FOREVER, -1
    i = next_start
    while i < hi - lo:
        row = lo + by_start[i]
        edge = start[row]
        if edge >= t1:
            break
        came = row == lo or not goes_on(row - 1, row, hi, start, end, owner)
        if edge > t0 and end[row] > edge and came:
            first, last = min(first, edge), max(last, edge)
        i += 1
    i = next_end
    while i < hi:
        row = by_end[i]
        edge = end[row]
        if edge >= t1:
            break
        if edge > t0 and start[row] < edge and not goes_on(row, row + 1, hi, start, end, owner):
            first, last = min(first, edge), max(last, edge)
        i += 1
    return first, last


@jit(allocates=False)
def weigh(  # type: ignore[no-untyped-def]
    t0,
    t1,
    energy,
    first,
    last,
    present,
    begin_mw,
    end_mw,
    idle_mw,
    next_start,
    next_end,
    lo,
    hi,
    by_start,
    by_end,
    start,
    end,
) -> tuple[int, int]:
    """Sum `power_in` x time over a piece, row edge by row edge; returns that, and `between` of it."""
    known, unknown, unknown_us = 0, 0, 0
    mean_mw = (begin_mw + end_mw) // 2 if begin_mw >= 0 and end_mw >= 0 else max(begin_mw, end_mw)
    since = t0
    while since < t1:
        edge = t1
        if next_start < hi - lo:
            edge = min(edge, start[lo + by_start[next_start]])
        if next_end < hi:
            edge = min(edge, end[by_end[next_end]])
        if edge > since:
            power_mw = power_in(since, first, last, present, begin_mw, end_mw, idle_mw, -1)
            if power_mw < 0:
                unknown += mean_mw * (edge - since)
                unknown_us += edge - since
            else:
                known += power_mw * (edge - since)
            since = edge
        while next_end < hi and end[by_end[next_end]] <= edge:
            gone = by_end[next_end]
            present -= start[gone] < end[gone]
            next_end += 1
        while next_start < hi - lo and start[lo + by_start[next_start]] <= edge:
            row = lo + by_start[next_start]
            present += end[row] > edge
            next_start += 1
    if unknown_us == 0:
        return known, mean_mw
    between_mw = between(known, unknown, unknown_us, energy, t1 - t0)
    return known + between_mw * unknown_us, between_mw
