"""Cutting pieces at the edges of owners, where more is known than the straight line between the powers at their ends.

Next to a time in which nobody is there, power is idle until an owner comes and after the last one went, if the readings
on that side say so: the rest of such a piece is the owner's, however steeply power rose and fell in it.

A *hole* is a piece that no reading covers, and whose energy only the counter tells.

The straight line between the powers at its ends is no shape of what happened inside. What is known is who was there:
until the first owner came or went the power was that before the hole, from the last such edge on that after it;
between these, idle power where nobody was there, else the mean of both. The piece's energy is scaled to that.
"""

from __future__ import annotations

from kernels.jit import jit

FOREVER = 1 << 62


@jit(inline="always")
def power_in(since: int, first: int, last: int, present: int, begin_mw: int, end_mw: int, idle_mw: int) -> int:
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
    return (before + after) // 2


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
        goes_on = row > lo and owner[row - 1] == owner[row] and end[row - 1] == edge
        if edge > t0 and end[row] > edge and not goes_on:
            first, last = min(first, edge), max(last, edge)
        i += 1
    i = next_end
    while i < hi:
        row = by_end[i]
        edge = end[row]
        if edge >= t1:
            break
        goes_on = row + 1 < hi and owner[row + 1] == owner[row] and start[row + 1] == edge
        if edge > t0 and start[row] < edge and not goes_on:
            first, last = min(first, edge), max(last, edge)
        i += 1
    return first, last


@jit(allocates=False)
def weigh(  # type: ignore[no-untyped-def]
    t0,
    t1,
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
) -> int:
    """Sum `power_in` x time over a piece, row edge by row edge."""
    total = 0
    since = t0
    while since < t1:
        edge = t1
        if next_start < hi - lo:
            edge = min(edge, start[lo + by_start[next_start]])
        if next_end < hi:
            edge = min(edge, end[by_end[next_end]])
        if edge > since:
            total += power_in(since, first, last, present, begin_mw, end_mw, idle_mw) * (edge - since)
            since = edge
        while next_end < hi and end[by_end[next_end]] <= edge:
            gone = by_end[next_end]
            present -= start[gone] < end[gone]
            next_end += 1
        while next_start < hi - lo and start[lo + by_start[next_start]] <= edge:
            row = lo + by_start[next_start]
            present += end[row] > edge
            next_start += 1
    return total
