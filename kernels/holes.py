"""What is booked where nothing was read: the rules of the hole, for `kernels.booking`.

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
from typing import TYPE_CHECKING, NamedTuple

from kernels.jit import jit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESET_US = 60_000_000
"""So much of a hole is estimated, at most, over which the counter was reset: a driver is reloaded in seconds, and of a
machine that was away for longer nobody knows what its GPUs did."""
UNTOLD_US = 900_000_000
"""So long a hole is estimated of which the counter may tell later: its difference then corrects the estimate."""


class Room(NamedTuple):
    """Where pieces are put, one column an array; see `kernels.booking.Pieces`."""

    t0: NDArray[np.int64]
    t1: NDArray[np.int64]
    energy: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    hole: NDArray[np.int8]


@jit
def total_of(room, lo: int, hi: int) -> int:  # type: ignore[no-untyped-def]
    """Sum the energy of pieces lo..hi."""
    total = 0
    for k in range(lo, hi):
        total += room.energy[k]
    return total


@jit
def put_before(  # type: ignore[no-untyped-def]
    room, at: int, k: int, since: int, until: int, before_mw: int, after_mw: int, max_gap: int
) -> int:
    """Put the piece ``since``..``until``, which nobody has read, before pieces at..k; returns how many: 0 or 1.

    Longer than a gap it is a hole, and holds nothing yet; else it has the shape of the line between the two powers.
    """
    if until <= since:
        return 0
    t0, t1, energy, begin, end, hole = room
    for j in range(k, at, -1):
        t0[j], t1[j], energy[j] = t0[j - 1], t1[j - 1], energy[j - 1]
        begin[j], end[j], hole[j] = begin[j - 1], end[j - 1], hole[j - 1]
    t0[at], t1[at], energy[at], begin[at], end[at], hole[at] = since, until, 0, before_mw, after_mw, 1
    if until - since <= max_gap:
        hole[at] = 0
        if before_mw > 0 and after_mw > 0:
            energy[at] = (before_mw + after_mw) * (until - since)
    return 1


@jit
def scale(room, lo: int, hi: int, total: int, most_mw: int) -> None:  # type: ignore[no-untyped-def]
    """Scale pieces lo..hi in place so that they sum to ``total`` exactly: by their energy, else by their time.

    Where that would lift a piece above ``most_mw``, each gets of what is more than power saw by how far it lies below.
    """
    t0, t1, energy = room.t0, room.t1, room.energy
    seen = total_of(room, lo, hi)
    high = False
    if total > seen > 0:
        times = float(total) / float(seen)
        for k in range(lo, hi):
            high = high or float(energy[k]) * times > 2.0 * float(most_mw) * float(t1[k] - t0[k])
    weights = 0.0
    for k in range(lo, hi):
        weights += _weight(room, k, seen, high, most_mw)
    high = high and weights > 0.0
    if not high:
        weights = float(seen)
        if seen <= 0:
            for k in range(lo, hi):
                weights += float(t1[k] - t0[k])
    more = total - seen if high else total
    done, before = 0.0, 0
    for k in range(lo, hi):
        done += _weight(room, k, seen, high, most_mw)
        upto = more if k == hi - 1 or weights <= 0.0 else math.floor(float(more) * (done / weights))
        upto = min(max(upto, before), more)
        energy[k] = (energy[k] if high else 0) + upto - before
        before = upto


@jit
def _weight(room, k: int, seen: int, high: bool, most_mw: int) -> float:  # type: ignore[no-untyped-def]
    """By what a piece gets its part: the room below ``most_mw``, else its energy, else its time."""
    dt = float(room.t1[k] - room.t0[k])
    if high:
        return max(2.0 * float(most_mw) * dt - float(room.energy[k]), 0.0)
    return float(room.energy[k]) if seen > 0 else dt


@jit
def fill(room, lo: int, hi: int, total: int, most_mw: int) -> None:  # type: ignore[no-untyped-def]
    """Let pieces lo..hi hold ``total``, which the counter says: a hole gets what power did not see of the others."""
    if hi > lo and room.hole[lo] != 0:
        seen = total_of(room, lo + 1, hi)
        room.energy[lo] = max(total - seen, 0)
        if seen > total:
            scale(room, lo + 1, hi, total, most_mw)
    else:
        scale(room, lo, hi, total, most_mw)


@jit
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
        How much of the hole was estimated, or is booked as nothing since it is too long or no power is known.
    """
    if hi <= lo:
        return 0, 0
    t0, t1, energy, begin, end, hole = room
    if hole[lo] == 0:
        seen = total_of(room, lo, hi)
        if told > seen:
            scale(room, lo, hi, told, told)
        return 0, (t1[hi - 1] - t0[lo] if seen <= 0 else 0)
    energy[lo] = max(told - total_of(room, lo + 1, hi), 0)
    before, after = begin[lo], end[lo]
    if after <= 0:
        after = before
    if before <= 0:
        before = after
    left = t1[lo] - t0[lo]
    if after > 0:
        left = max(left - energy[lo] // (2 * after), 0)
    if left > longest or after <= 0:
        return 0, left
    energy[lo] += (before + after) * left
    return left, 0
