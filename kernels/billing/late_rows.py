"""What a split by rows that come late has wrong; it moves no joule.

A driver's rows tell activities up to a second late. Where power moves with them, some of what a heavy kernel draws
falls to who was active a second before, and the best of watts do not mend that. Over a slot of time a second counts for
little: what rows got second by second differs from a split by the slot's sums of activity times watts by about as much
as is wrong. Rows that do not change differ in nothing, nor do jobs whose watts are alike on a GPU that is always busy.

Seen with the simulator of `wattshed bench split` and the true watts, 1:4, training beside inference: with rows 0.7 s
late inference is billed 9.8 % too little, and differs by 9.4 %; 0.8 s: 10.7 and 10.9; not late: 0.0 and 0.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wattshed.kernels.billing.watts import FEATURES
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PART = 0.75
"""One sigma, as a part of what differs. What is wrong was at most 1.1 times what differs in nine of ten bills of each
pattern (jobs that take turns, 1:4, were worst); a 95 % interval then reaches 1.5 times as far as that."""
CELLS = 2
"""Slots that are open at once: a window lies in two at most."""


class LateRows(NamedTuple):
    """What was split by learned watts in each GPU's last two slots.

    Attributes
    ----------
    slot_in : int64[g, CELLS]
        Which slot lies there.
    got : int64[g, CELLS, n], hnj
        What all rows got by their weights as estimated, then each place's.
    weighed : int64[g, CELLS, n]
        Sums of activity (millionths) x time (us) x weight (1024ths).
    owed : int64[g, n], hnj
        One sigma that no row was given yet.
    """

    slot_in: NDArray[np.int64]
    got: NDArray[np.int64]
    weighed: NDArray[np.int64]
    owed: NDArray[np.int64]


@jit
def note(late: LateRows, gpu: int, place: int, slot: int, got_hnj: float, weight: int) -> None:
    """Add a row to its slot; one that is over is settled."""
    at = slot % CELLS
    if late.slot_in[gpu, at] != slot:
        _settle(late, gpu, at)
        late.slot_in[gpu, at] = slot
    late.got[gpu, at, 0] += int(got_hnj)
    late.weighed[gpu, at, 0] += weight
    if place >= FEATURES:
        late.got[gpu, at, place] += int(got_hnj)
        late.weighed[gpu, at, place] += weight


@jit
def _settle(late: LateRows, gpu: int, at: int) -> None:
    """Owe each place one sigma of what differs in a slot, and clear it."""
    whole, weights = late.got[gpu, at, 0], late.weighed[gpu, at, 0]
    for place in range(late.got.shape[2]):
        if place >= FEATURES and weights > 0:
            differs = late.got[gpu, at, place] - whole * (late.weighed[gpu, at, place] / weights)
            late.owed[gpu, place] += int(PART * abs(differs))
        late.got[gpu, at, place] = late.weighed[gpu, at, place] = 0


@jit
def owed_to(late: LateRows, gpu: int, place: int) -> int:
    """Return what is owed to a place (hnj), which it is given thereby."""
    if place < FEATURES:
        return 0
    given = int(late.owed[gpu, place])
    late.owed[gpu, place] = 0
    return given
