"""How the books of a GPU lie in arrays of int64: where its merge stands, what happened, and the pieces booked.

State and tally are one row a GPU; pieces are columns of one *room*. What is done with them is
`kernels.billing.reconcile`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Columns of the state: where the merge stands. -1 is "none".
LAST_T, POWER_T, POWER, SHAPE_T, RUN_T, RUN_MAX, POWER_MIN, POWER_MAX = range(8)
COUNTER, BASE_T, BOOKED_T, BOOKED_SINCE, SEEN_T = range(8, 13)
SUSPECT, SUSPECT_T, SUSPECT_KIND, HIGH_WATER, HIGH_WATER_T, HIGH_WATER_BOOKED = range(13, 19)
OPEN_T, OPEN, AFTER_T, AFTER, FIRST_T, SUSPECT_BOOKED, OPEN_FROM, AFTER_FROM = range(19, 27)
STILL_T, STILL_APART, STUCK_T = range(27, 30)  # it repeats itself since, with this pause at most; it was stuck
MEAN_MW, BEFORE_MW, BACK_MW = range(30, 33)  # mean power of the last seconds; power at the two ends of the last hole
OPEN_BEGIN, OPEN_END = 33, 34  # power at the two ends of what is open
STATES = 35

# Columns of the tally: what happened in this window, to be added to totals of any size by the caller.
SAMPLES, COVERED, GAP, GAPS, POWER_HNJ, COUNTER_HNJ, RESETS = range(7)
REJECTED_ZERO, REJECTED_NEGATIVE, REJECTED_HIGH, REJECTED_TIME = range(7, 11)
REJECTED_STEP, REJECTED_DIP, STUCK, BOOKED_BY_COUNTER, BOOKED_BY_POWER = range(11, 16)
COMPARED_US, COMPARED_POWER, COMPARED_COUNTER = range(16, 19)  # stretches that both of them saw whole
ESTIMATED_US, UNKNOWN_US = range(19, 21)  # holes that nothing tells of: estimated by power; booked as nothing
TALLIES = 21

# Kinds of suspect: the counter fell, or rose by more than a board can use; or it is the first value after a hole.
DIP, JUMP, STALE = 1, 2, 3

T0, T1, ENERGY, BEGIN, END, HOLE = range(6)
"""Rows of the room where pieces are put, int64[6, *]; see `Pieces`."""


class Pieces(NamedTuple):
    """Booked energy, piece by piece.

    Attributes
    ----------
    starts, counts : int64[g]
        GPU ``i`` owns pieces ``starts[i]:starts[i] + counts[i]``.
    t0_us, t1_us, energy_hnj : int64[*]
        The pieces, ascending in time within a GPU.
    begin_mw, end_mw : int64[*], mW
        Power at the two ends of each piece, which is taken to be straight between them; -1 unknown.
    hole : int64[*]
        Not 0 where no reading covers the piece, which is longer than readings may bridge; its two powers are those
        before and after it. 1: the counter tells its energy; more: for so many us of it that is an estimate. Below 0:
        so many us of it are booked as nothing.
    tally : int64[g, TALLIES]
        What happened in this window, to be added up by the caller.
    """

    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    t0_us: NDArray[np.int64]
    t1_us: NDArray[np.int64]
    energy_hnj: NDArray[np.int64]
    begin_mw: NDArray[np.int64]
    end_mw: NDArray[np.int64]
    hole: NDArray[np.int64]
    tally: NDArray[np.int64]
