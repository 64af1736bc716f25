"""What is booked where nothing was read: the rules of the hole, for `kernels.billing.reconcile`.

A stretch is open while nobody has said what it used. It is made of pieces that sampled power gives their shape; before
them may lie a *hole*, a time longer than readings may bridge, of which only the energy counter can tell. Three rules:

* a hole is a piece of its own: what the counter says of the whole stretch, less what power saw of the rest of it, is
  the hole's, and no piece beside it is scaled up to hold it;
* a piece that was read holds no more than a board of this limit can use, if there is another that can hold it;
* where the counter began anew in the hole, its first value tells how long it has counted since; the time before that is
  estimated by the power before and after, if it is not too long, and is counted as estimated.

Numbers in, numbers out: nothing here knows of the state of the merge.
"""

from __future__ import annotations

import math

from wattshed.kernels.billing.layout import BEGIN, END, ENERGY, HOLE, T0, T1
from wattshed.kernels.jit import jit

RESET_US = 60_000_000
"""So much of a hole is estimated, at most, over which the counter was reset: a driver is reloaded in seconds, and of a
machine that was away for longer nobody knows what its GPUs did."""
UNTOLD_US = 900_000_000
"""So long a hole is estimated of which the counter may tell later: its difference then corrects the estimate."""
BOUNDLESS_MW = 1 << 62
"""Where the counter alone says how much it was."""


@jit(allocates=False)
def total_of(room, lo: int, hi: int) -> int:  # type: ignore[no-untyped-def]
    """Sum the energy of pieces lo..hi."""
    total = 0
    for k in range(lo, hi):
        total += room[ENERGY, k]
    return total


@jit(allocates=False)
def put_before(  # type: ignore[no-untyped-def]
    room, at: int, k: int, since: int, until: int, before_mw: int, after_mw: int, max_gap: int
) -> int:
    """Put the piece ``since``..``until``, which nobody has read, before pieces at..k; returns how many: 0 or 1.

    Longer than a gap it is a hole, and holds nothing yet; else it has the shape of the line between the two powers.
    """
    if until <= since:
        return 0
    for j in range(k, at, -1):
        for row in range(len(room)):
            room[row, j] = room[row, j - 1]
    room[T0, at], room[T1, at], room[ENERGY, at] = since, until, 0
    room[BEGIN, at], room[END, at], room[HOLE, at] = before_mw, after_mw, 1
    if until - since <= max_gap:
        room[HOLE, at] = 0
        if before_mw > 0 and after_mw > 0:
            room[ENERGY, at] = (before_mw + after_mw) * (until - since)
    return 1


@jit(allocates=False)
def scale(room, lo: int, hi: int, total: int, most_mw: int) -> None:  # type: ignore[no-untyped-def]
    """Scale pieces lo..hi in place so that they sum to ``total`` exactly: by their energy, else by their time.

    Where that would lift a piece above ``most_mw``, each gets of what is more than power saw by how far it lies below.
    """
    weight = total_of(room, lo, hi)
    by_time = weight <= 0
    if by_time:
        weight = 0
        for k in range(lo, hi):
            weight += room[T1, k] - room[T0, k]
    elif total == weight:
        return
    elif total > weight:
        most = 2.0 * float(most_mw) * (float(weight) / float(total))
        for k in range(lo, hi):
            if float(room[ENERGY, k]) > most * float(room[T1, k] - room[T0, k]) and _spread(
                room, lo, hi, total, most_mw
            ):
                return
    done = 0
    before = 0
    for k in range(lo, hi):
        done += (room[T1, k] - room[T0, k]) if by_time else room[ENERGY, k]
        upto = total if k == hi - 1 or weight <= 0 else math.floor(float(total) * (float(done) / float(weight)))
        upto = min(max(upto, before), total)
        room[ENERGY, k] = upto - before
        before = upto


@jit(allocates=False)
def _spread(room, lo: int, hi: int, total: int, most_mw: int) -> bool:  # type: ignore[no-untyped-def]
    """Add what lacks to ``total`` by how far each piece lies below ``most_mw``; False if none does."""
    below = 0.0
    for k in range(lo, hi):
        below += max(2.0 * float(most_mw) * float(room[T1, k] - room[T0, k]) - float(room[ENERGY, k]), 0.0)
    if below <= 0.0:
        return False
    more = total - total_of(room, lo, hi)
    done, before = 0.0, 0
    for k in range(lo, hi):
        done += max(2.0 * float(most_mw) * float(room[T1, k] - room[T0, k]) - float(room[ENERGY, k]), 0.0)
        upto = more if k == hi - 1 else min(max(math.floor(float(more) * (done / below)), before), more)
        room[ENERGY, k] += upto - before
        before = upto
    return True


@jit(allocates=False)
def fill(room, lo: int, hi: int, total: int, most_mw: int) -> None:  # type: ignore[no-untyped-def]
    """Let pieces lo..hi hold ``total``, which the counter says: a hole gets what power did not see of the others."""
    first = lo
    if room[HOLE, lo] != 0:
        first += 1
        room[ENERGY, lo] = max(total - total_of(room, first, hi), 0)
    scale(room, first, hi, total - (room[ENERGY, lo] if first > lo else 0), most_mw)


@jit(allocates=False)
def estimate(room, lo: int, hi: int, told: int, longest: int) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    """Give pieces lo..hi what power says, and a hole before them what ``told`` and the powers at its ends say.

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
        pieces are marked with it, as `kernels.billing.layout.Pieces` says.
    """
    if hi <= lo:
        return 0, 0
    if room[HOLE, lo] == 0:
        seen = total_of(room, lo, hi)
        if told > seen:
            scale(room, lo, hi, told, BOUNDLESS_MW)
        if seen > 0:
            return 0, 0
        for k in range(lo, hi):
            room[HOLE, k] = room[T0, k] - room[T1, k]
        return 0, room[T1, hi - 1] - room[T0, lo]
    room[ENERGY, lo] = max(told - total_of(room, lo + 1, hi), 0)
    before, after = room[BEGIN, lo], room[END, lo]
    if after <= 0:
        after = before
    if before <= 0:
        before = after
    left = room[T1, lo] - room[T0, lo]
    if after > 0:
        left = max(left - room[ENERGY, lo] // (2 * after), 0)
    if left > longest or after <= 0:
        if left > 0:
            room[HOLE, lo] = -left
        return 0, left
    room[ENERGY, lo] += (before + after) * left
    room[HOLE, lo] = 1 + left
    return left, 0
