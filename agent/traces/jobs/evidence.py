"""When each GPU of a host was busy, idle, or neither for sure, as a survey of the trace shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.traces.jobs.survey import SurveyedGpu

LEAST_SAMPLES = 2
FOREIGN_US = 30_000_000
"""A GPU that is busy for so long while no job of the table runs is used by somebody the table does not know."""
BUSY_PPM = 50_000
_ALL_OF_A_RATIO = 10_000  # where no utilisation is above 1 %, 1 was all of the GPU
WHOLLY = 0.95
_STEP = 0.2
_BUSY, _ABOVE_MW = 1.3, 15_000
"""Power so much above idle is use, ..."""
_APART = 0.5
"""... but only where the least of all powers is below this part of the highest: else nothing idle was seen."""


class Evidence:
    """What the survey of a host says.

    Parameters
    ----------
    seen : sequence of SurveyedGpu
        One a GPU.
    idle_mw : int, mW
        Idle power that the user gave; -1 unknown.

    Attributes
    ----------
    busy : bool[g, s]
        By GPU and stretch. What is not busy is idle, or not clearly either.
    owned : bool[g, s]
        The recording knows the owner: nothing to look for there.
    power_mw : int64[g, s]
        Mean power; -1 unknown.
    order : list of int
        Each GPU's place among all by what they did, the hardest worker first: numbers tell nothing.
    """

    def __init__(self, seen: Sequence[SurveyedGpu], idle_mw: int) -> None:
        self.gpus = len(seen)
        self.stretches = len(seen[0].samples)
        self.owned: NDArray[np.bool_] = np.stack([one.owned for one in seen])
        self._watched_us = np.stack([one.observed_us() for one in seen])
        self._enough = np.stack([np.maximum(one.samples, one.utils) for one in seen]) >= LEAST_SAMPLES
        self.power_mw: NDArray[np.int64] = np.where(self._enough, np.stack([one.mean_mw() for one in seen]), -1)
        util = np.where(self._enough, np.stack([one.mean_ppm() for one in seen]), -1)
        if 0 < util.max(initial=0) <= _ALL_OF_A_RATIO:
            util = util * 100
        by_power = np.zeros(self.power_mw.shape, bool)
        models = np.array([one.device.model for one in seen])
        for model in np.unique(models):
            mine = models == model
            told = max(idle_mw, *(one.device.idle_mw for one, is_it in zip(seen, mine, strict=True) if is_it))
            by_power[mine] = _by_power(self.power_mw[mine], told)
        self.busy: NDArray[np.bool_] = (by_power | (util >= BUSY_PPM)) & ~self.owned
        done = np.hstack([self.power_mw, util, self.busy]).tolist()
        ranked = sorted(range(self.gpus), key=done.__getitem__, reverse=True)
        self.order: list[int] = [ranked.index(gpu) for gpu in range(self.gpus)]

    def fit(self, gpu: int, first: int, last: int) -> float:
        """Return for how much of the stretches ``first:last`` that were watched a GPU was busy, 0 to 1."""
        weight = np.where(self._enough[gpu, first:last], np.maximum(self._watched_us[gpu, first:last], 1), 0)
        total = int(weight.sum())
        return float(weight[self.busy[gpu, first:last]].sum() / total) if total else 0.0

    def spread_mw(self, gpus: Collection[int], first: int, last: int) -> int:
        """Return one sigma of the mean power that GPUs drew over the stretches ``first:last``, from one to another."""
        powers = []
        for gpu in sorted(gpus):
            known = np.flatnonzero(self.power_mw[gpu, first:last] > 0) + first
            weight = np.maximum(self._watched_us[gpu, known], 1)
            if known.size:
                powers.append(float((self.power_mw[gpu, known] * weight).sum() / weight.sum()))
        return round(float(np.std(powers))) if powers else 0

    def spans(self, gpu: int, first: int, last: int) -> bool:
        """Return whether a GPU is busy for all of the stretches ``first:last`` and does something else beside them.

        Its power or utilisation must step where they begin and where they end, as far as the trace goes there.
        """
        steps = [
            self._steps(gpu, t)
            for t in (first, last)
            if 0 < t < self.stretches and self._enough[gpu, t - 1 : t + 1].all()
        ]
        return bool(steps) and all(steps) and self.fit(gpu, first, last) >= WHOLLY

    def _steps(self, gpu: int, t: int) -> bool:
        """Return whether a GPU changes what it does between the stretches ``t - 1`` and ``t``."""
        if self.busy[gpu, t - 1] != self.busy[gpu, t]:
            return True
        before, after = int(self.power_mw[gpu, t - 1]), int(self.power_mw[gpu, t])
        return min(before, after) > 0 and abs(before - after) > _STEP * min(before, after) + _ABOVE_MW

    def foreign(self, capacity: NDArray[np.int64]) -> tuple[NDArray[np.bool_], list[bool]]:
        """Find use that the table does not account for.

        Parameters
        ----------
        capacity : int64[s]
            How many GPUs the table's jobs can keep busy.

        Returns
        -------
        bool[g, s], list of bool
            GPUs that are in use, without a break, from or to a time at which no job runs; and the stretches in which
            the jobs can account for all other busy ones.
        """
        foreign = self.busy & (self._watched_us >= FOREIGN_US) & (capacity == 0)
        for steps in (range(1, self.stretches), range(self.stretches - 2, -1, -1)):
            for t in steps:
                before = t + (-1 if steps.step > 0 else 1)
                foreign[:, t] |= foreign[:, before] & (self.busy[:, t] | ~self._enough[:, t])
        others = (self.busy & ~foreign).sum(axis=0)
        return foreign, (others <= capacity).tolist()


def _by_power(power_mw: NDArray[np.int64], idle_mw: int) -> NDArray[np.bool_]:
    """Find from power alone which GPUs of one model are in use, by stretch."""
    known = power_mw > 0
    if not known.any():
        return known
    lowest, highest = int(power_mw[known].min()), int(power_mw.max())
    if idle_mw <= 0 and lowest > highest * _APART:
        return np.zeros(power_mw.shape, bool)
    lowest = idle_mw if idle_mw > 0 else lowest
    # A card's own idle power, where it was seen idle: cards of one node differ by some watts.
    own = np.where(known, power_mw, np.iinfo(np.int64).max).min(axis=1)
    reference = np.where(own <= 2 * lowest, np.maximum(own, 1), lowest)
    busy: NDArray[np.bool_] = known & (power_mw > (reference * _BUSY + _ABOVE_MW)[:, None])
    return busy
