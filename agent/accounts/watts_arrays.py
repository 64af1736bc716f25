"""The arrays in which a host's watts are learned: a row for each GPU, a place in it for each job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.kernels.billing.late_rows import CELLS, LateRows
from wattshed.kernels.billing.slots import RING, Slots
from wattshed.kernels.billing.watts import FEATURES, USES, Beliefs, KeptStates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

NEVER_US = 1 << 62
MOST_W = 1e6
"""No board draws so much."""


@dataclass(slots=True)
class WattsArrays:
    """What `kernels.billing.watts` works on, with room for some GPUs and jobs.

    Attributes
    ----------
    slots : Slots
    beliefs : Beliefs
    states : KeptStates
    late : LateRows
    held_s : float64[g], s
        For how long each GPU was held back by its power limit so far, as the driver counts it; NaN unknown.
    seen_us : int64[g, n], us
        When the owner of each place was seen last; far in the future where there is none.
    uses, spent : int64[g, 6], int64[g, n, 2]
        See `kernels.billing.watts.close`.
    """

    slots: Slots
    beliefs: Beliefs
    states: KeptStates
    late: LateRows
    held_s: NDArray[np.float64]
    seen_us: NDArray[np.int64]
    uses: NDArray[np.int64]
    spent: NDArray[np.int64]

    @classmethod
    def of(cls, gpus: int, places: int) -> WattsArrays:
        """Make them for so many GPUs, with so many places for jobs."""
        n, zeros = FEATURES + places, np.zeros((gpus, RING), np.int64)
        return cls(
            Slots(np.full((gpus, RING), -1, np.int64), zeros, zeros.copy(), np.zeros((gpus, RING, n), np.int64)),
            Beliefs(np.zeros((gpus, n)), np.zeros((gpus, n, n)), np.ones(gpus), np.zeros((gpus, n)), np.zeros(gpus)),
            KeptStates(np.full((gpus, 2), -1, np.int64), np.zeros((gpus, 2, n)), np.zeros((gpus, 2, n, n))),
            LateRows(
                np.full((gpus, CELLS), -1, np.int64),
                np.zeros((gpus, CELLS, n), np.int64),
                np.zeros((gpus, CELLS, n), np.int64),
                np.zeros((gpus, n), np.int64),
            ),
            np.full(gpus, np.nan),
            np.full((gpus, n), NEVER_US),
            np.zeros((gpus, len(USES)), np.int64),
            np.zeros((gpus, n, 2), np.int64),
        )

    @property
    def gpus(self) -> int:
        """How many there are."""
        return len(self.uses)

    @property
    def places(self) -> int:
        """For how many jobs there is room on each."""
        return int(self.beliefs.mean.shape[1]) - FEATURES

    def all(self) -> tuple[NDArray[Any], ...]:
        """Return every array."""
        return (*self.late, *self.learned())

    def learned(self) -> tuple[NDArray[Any], ...]:
        """Return those that `kernels.billing.learning.learn` takes, in its order."""
        return (*self.slots, *self.beliefs, *self.states, self.held_s, self.seen_us, self.uses, self.spent)

    def with_room(self, gpus: int, places: int) -> WattsArrays:
        """Return them with room for at least so many GPUs and jobs."""
        gpus, places = max(gpus, self.gpus), max(places, self.places)
        if (gpus, places) == (self.gpus, self.places):
            return self
        larger = WattsArrays.of(gpus, places)
        for old, new in zip(self.all(), larger.all(), strict=True):
            new[tuple(slice(0, size) for size in old.shape)] = old
        return larger

    def moved(self, place: Mapping[int, int], gpus: int) -> WattsArrays:
        """Return them with the GPUs renumbered by ``place`` (old to new), of which there are ``gpus`` then."""
        found = WattsArrays.of(gpus, self.places)
        old, new = (
            np.array([pair[side] for pair in place.items() if pair[0] < self.gpus], np.int64) for side in (0, 1)
        )
        for mine, theirs in zip(self.all(), found.all(), strict=True):
            theirs[new] = mine[old]
        return found

    def begin(self, gpu: int, place: int, spread: float) -> None:
        """Believe of the job at a place what is believed of strangers."""
        mean, covariance, _, before, prior_w = self.beliefs
        mean[gpu, place] = before[gpu, place] = 0.0
        covariance[gpu, place] = covariance[gpu, :, place] = 0.0
        one_w = spread * float(prior_w[gpu])
        covariance[gpu, place, place] = one_w * one_w  # to the last bit what kernels take a stranger's to be
        _, states, doubts = self.states
        states[gpu, :, place] = 0.0
        doubts[gpu, :, place] = doubts[gpu, :, :, place] = 0.0
        doubts[gpu, :, place, place] = covariance[gpu, place, place]
        self.slots.active[gpu, :, place] = 0
        self.late.got[gpu, :, place] = self.late.weighed[gpu, :, place] = self.late.owed[gpu, place] = 0
        self.spent[gpu, place] = 0

    def meet(self, gpu: int, prior_w: float | None) -> None:
        """Believe of a GPU's common line what its limits say; None: keep it, and be as unsure of it as at first."""
        if prior_w is not None:
            self.beliefs.prior_w[gpu] = self.beliefs.mean[gpu, 0] = prior_w
        self.beliefs.covariance[gpu, 0] = self.beliefs.covariance[gpu, :, 0] = 0.0
        self.beliefs.covariance[gpu, 0, 0] = self.beliefs.prior_w[gpu] ** 2
        if prior_w is not None:  # what is split before any slot is closed
            self.states.mean[gpu, :, 0], self.states.covariance[gpu, :, 0, 0] = prior_w, prior_w * prior_w

    def forget(self, gpu: int) -> None:
        """Begin anew with a GPU."""
        prior_w = float(self.beliefs.prior_w[gpu])
        fresh = WattsArrays.of(1, self.places)
        for mine, blank in zip(self.all()[:-2], fresh.all()[:-2], strict=True):
            mine[gpu] = blank[0]
        self.meet(gpu, prior_w)

    def plain(self, gpu: int, places: Sequence[int]) -> dict[str, Any]:
        """Lay out what was learned on a GPU of the jobs at some places, as plain values; see `open_slots`."""
        at = np.array([*range(FEATURES), *places], np.int64)
        square = np.ix_(at, at)
        beliefs, states = self.beliefs, self.states
        return {
            "mean": beliefs.mean[gpu, at].tolist(),
            "covariance": beliefs.covariance[gpu][square].tolist(),
            "inflation": float(beliefs.inflation[gpu]),
            "before": beliefs.before[gpu, at].tolist(),
            "prior_w": float(beliefs.prior_w[gpu]),
            "slot": states.slot[gpu].tolist(),
            "mean_of": states.mean[gpu][:, at].tolist(),
            "covariance_of": [one[square].tolist() for one in states.covariance[gpu]],
            "uses": self.uses[gpu].tolist(),
            "spent": self.spent[gpu, at].tolist(),
        }

    def open_slots(self, gpu: int, places: Sequence[int]) -> list[list[int]]:
        """Lay out what late rows have wrong, then a GPU's slots that are not closed yet, and the one before them."""
        at = [*range(FEATURES), *places]
        number, flags, energy, active = self.slots
        rows = np.flatnonzero(number[gpu] >= max(int(self.states.slot[gpu, 0]), 0)).tolist()
        return [
            self._late(gpu, at),
            *(
                [int(number[gpu, r]), int(flags[gpu, r]), int(energy[gpu, r]), *active[gpu, r, at].tolist()]
                for r in rows
            ),
        ]

    def _late(self, gpu: int, at: Sequence[int]) -> list[int]:
        """Lay out what `restore` gives back to ``late``; nothing where nothing was split by learned watts."""
        if (self.late.slot_in[gpu] < 0).all():
            return []
        slot_in, *others = self.late
        return [*slot_in[gpu].tolist(), *(value for one in others for value in one[gpu][..., at].ravel().tolist())]

    @classmethod
    def of_plain(cls, places: Sequence[int], values: Mapping[str, Any], open_slots: Sequence[Any]) -> WattsArrays:
        """Make those of one GPU of what `plain` laid out, and of who was seen when and what `open_slots` did.

        Raises
        ------
        ValueError, LookupError, TypeError, OverflowError
            It is not that.
        """
        found = cls.of(1, max(places, default=FEATURES) - FEATURES + 1)
        at = np.array([*range(FEATURES), *places], np.int64)
        square, n = np.ix_(at, at), len(at)
        beliefs, states = found.beliefs, found.states
        beliefs.mean[0, at] = _array(values["mean"], n, most=MOST_W)
        beliefs.covariance[0][square] = _array(values["covariance"], n, n, most=MOST_W**2)
        beliefs.inflation[0] = _array(values["inflation"], least=0, most=MOST_W)
        beliefs.before[0, at] = _array(values["before"], n, most=MOST_W)
        beliefs.prior_w[0] = _array(values["prior_w"], least=0, most=MOST_W)
        states.slot[0] = _array(values["slot"], 2, kind=np.int64)
        states.mean[0][:, at] = _array(values["mean_of"], 2, n, most=MOST_W)
        for which, one in enumerate(_array(values["covariance_of"], 2, n, n, most=MOST_W**2)):
            states.covariance[0, which][square] = one
        found.uses[0] = _array(values["uses"], len(USES), kind=np.int64, least=0)
        found.spent[0, at] = _array(values["spent"], n, 2, kind=np.int64, least=0)
        seen_us, late, *slots = open_slots
        found.seen_us[0, list(places)] = _array(seen_us, len(places), kind=np.int64)
        if late:
            parts = _array(late, CELLS + (2 * CELLS + 1) * n, kind=np.int64)
            found.late.slot_in[0], parts = parts[:CELLS], parts[CELLS:].reshape(2 * CELLS + 1, n)
            found.late.got[0][:, at], found.late.weighed[0][:, at] = parts[:CELLS], parts[CELLS:-1]
            found.late.owed[0, at] = parts[-1]
        for number, flags, energy, *active in _array(slots, len(slots), 3 + n, kind=np.int64) if slots else ():
            r = number % RING
            found.slots.number[0, r], found.slots.flags[0, r], found.slots.energy_hnj[0, r] = number, flags, energy
            found.slots.active[0, r, at] = active
        return found

    def take(self, gpu: int, one: WattsArrays) -> None:
        """Take those of one GPU over, for which there is room."""
        for mine, its in zip(self.all(), one.all(), strict=True):
            mine[gpu : gpu + 1][tuple(slice(0, size) for size in its.shape)] = its


def _array(
    values: Any,
    *shape: int,
    kind: type[np.generic] = np.float64,
    least: float | None = None,
    most: float = float(NEVER_US),
) -> NDArray[Any]:
    """Make an array of this very shape, of numbers from ``least`` to ``most``; by default as far below zero.

    Raises
    ------
    ValueError, TypeError, OverflowError
        There are more or fewer, or others.
    """
    found = np.array(values, kind)
    if found.shape != shape or not ((found >= (-most if least is None else least)) & (found <= most)).all():
        raise ValueError(f"they are no {'x'.join(map(str, shape)) or 'single'} numbers up to {most:g}")
    return found
