"""Columns of energy of any tool: a counter that rises, or energy per interval; told by shape and by power beside.

The rows of all files that are read together are judged as a whole, up to two million of them, so that neither blocks
nor the bounds of files change the answer. A counter rises, and its differences fit the power beside it; energies per
interval go up and down, and their values fit it. What contradicts power in both ways is overruled by it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from wattshed.agent.traces.foreign.rows import Rows


COUNTER, INTERVAL = "total", "interval"
"""How energies of a column may be said to be meant: ``energy=COLUMN:J/total``, ``energy=COLUMN:J/interval``."""
CONTRADICTS, UNCLEAR = "counter_contradicts_power", "energy_kind_unclear"
FACTOR = 2.0
"""A counter that differs from power by more than this contradicts it; two meters of one board never do."""
_LEAST_MW = 2_000  # mean of a board over a log: none draws less
_SHORTEST_GAP_US = 5_000_000
_FALLS = 0.05  # of the steps: counters restart more seldom
_STILL = 5  # steps
_NEAR = 0.005  # relative: power times interval, rounded
_TOTAL = re.compile(r"cumul|counter|since|lifetime|accum|total_energy_consumption|energy\.total", re.IGNORECASE)
_PER_INTERVAL = re.compile(r"delta|interval|diff|increment|(^|[_ .])(per|inc|step)([_ .]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps between rows that follow each other on one GPU, with energies of a column at both ends.

    Attributes
    ----------
    gpu : int64[n]
    length_us, rise_uj, value_uj : int64[n]
        The time between them, what the column rises by, and its value at the end.
    power_uj, end_uj : float64[n], uJ
        By power: the trapezoid, and the power at the end times the length; NaN where power is not known, or over gaps.
    first_uj : int64[g]
        The first value of each GPU.
    """

    gpu: NDArray[np.int64]
    length_us: NDArray[np.int64]
    rise_uj: NDArray[np.int64]
    value_uj: NDArray[np.int64]
    power_uj: NDArray[np.float64]
    end_uj: NDArray[np.float64]
    first_uj: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Rows) -> Steps:
        """Take them from rows in any order; of rows of one stamp the first counts."""
        rows = rows.take(rows.has("energy_uj"))
        rows = rows.take(np.lexsort((rows.time_us, rows.gpu)))
        gpu, time_us, energy = rows.gpu.astype(np.int64), rows.time_us, rows.energy_uj
        power = np.where(rows.filled("power_mw") > 0, rows.filled("power_mw"), np.nan)
        if gpu.size:
            once = np.concatenate(([True], (np.diff(gpu) != 0) | (np.diff(time_us) != 0)))
            gpu, time_us, energy, power = gpu[once], time_us[once], energy[once], power[once]
        first = np.concatenate((np.ones(min(gpu.size, 1), bool), np.diff(gpu) != 0))
        same = ~first[1:]
        length = np.diff(time_us)[same]
        seconds = length / 1e3  # uJ of one mW
        gap_us = max(_SHORTEST_GAP_US, 10 * int(np.median(length))) if length.size else 0
        near = np.where(length <= gap_us, 1.0, np.nan)
        return cls(
            gpu[1:][same],
            length,
            np.diff(energy)[same],
            energy[1:][same],
            ((power[1:] + power[:-1]) / 2)[same] * seconds * near,
            power[1:][same] * seconds * near,
            energy[first],
        )

    def where(self, mask: NDArray[np.bool_]) -> Steps:
        """Select some of them."""
        return Steps(
            self.gpu[mask], self.length_us[mask], self.rise_uj[mask], self.value_uj[mask], self.power_uj[mask],
            self.end_uj[mask], self.first_uj,
        )  # fmt: skip

    @property
    def compared(self) -> Steps:
        """Those over which power is known."""
        return self.where(~np.isnan(self.power_uj))

    @property
    def risen_uj(self) -> int:
        """What a counter counted."""
        return int(np.maximum(self.rise_uj, 0).sum())

    def off_by(self, gpus: list[int]) -> float:
        """Return how many times of power's energy a counter counted on some GPUs."""
        mine = self.where(np.isin(self.gpu, gpus))
        return mine.risen_uj / float(mine.power_uj.sum())

    @property
    def alive(self) -> Steps:
        """Those of GPUs whose power changes, or need not by their energies: a dead sensor overrules nothing."""
        dead = []
        for gpu in np.unique(self.gpu).tolist():
            mine = self.where(self.gpu == gpu)
            power, rates = mine.power_uj / mine.length_us, mine.rise_uj / mine.length_us
            if mine.gpu.size >= _STILL and np.ptp(power) <= 1e-9 * power.max() and np.ptp(rates) > 0.01 * rates.max():
                dead.append(gpu)
        return self.where(~np.isin(self.gpu, dead))

    def falls_softly(self) -> bool:
        """Return whether values fall, if only once, to more than half of what they were: a restart begins at 0."""
        soft = (self.rise_uj < 0) & (2 * self.value_uj > self.value_uj - self.rise_uj)
        return int(soft.sum()) > _FALLS * self.gpu.size

    def falls_often(self) -> bool:
        """Return whether values go up and down, as no counter does: each GPU's may have restarted once."""
        falls = self.gpu[self.rise_uj < 0]
        again = falls.size - np.unique(falls).size
        return again > 0 and falls.size > _FALLS * self.gpu.size


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a column of energies is: its kind (empty: power is used instead), why, and which GPUs are doubtful.

    ``doubts`` has a flag and one sigma relative to the energy for each GPU.
    """

    kind: str
    why: str = ""
    doubts: Mapping[int, tuple[str, float]] | None = None


def judge(steps: Steps, name: str, told: str, most_mw: int) -> Ruling:
    """Decide what a column of energies is.

    Parameters
    ----------
    steps : Steps
    name : str
        Of the column.
    told : str
        `COUNTER` or `INTERVAL` if the user said it.
    most_mw : int, mW
        No GPU draws more.

    Raises
    ------
    InputError
        If it may be either, and one of them is as good as nothing.
    """
    beside = steps.compared
    if told == INTERVAL:
        return Ruling(INTERVAL)
    if told == COUNTER:
        return Ruling(COUNTER, "", _contradictions(beside))
    return _by_power(steps, beside, name, most_mw) if beside.gpu.size else _by_shape(steps, name, most_mw)


def _by_power(steps: Steps, beside: Steps, name: str, most_mw: int) -> Ruling:
    power = float(beside.power_uj.sum())
    off_total, off_interval = _off(beside.risen_uj, power), _off(int(beside.value_uj.sum()), power)
    often = steps.falls_often()
    if off_interval <= FACTOR and (often or steps.falls_softly() or off_interval < off_total):
        made = np.minimum(np.abs(beside.value_uj - beside.end_uj), np.abs(beside.value_uj - beside.power_uj))
        if (made <= _NEAR * beside.value_uj + 1000).mean() >= 1 - _FALLS:
            return Ruling("", "is energy per interval, made of the power beside it: power is integrated instead")
        return Ruling(INTERVAL, "is energy per interval: its values, and not their differences, fit the power beside")
    alive = beside.alive
    if not alive.gpu.size and off_total > FACTOR:
        return _by_shape(steps, name, most_mw)
    if often:
        doubts = {int(gpu): (CONTRADICTS, 1.0) for gpu in np.unique(steps.gpu)}
        return Ruling("", "falls again and again and does not fit the power beside it: power is used instead", doubts)
    return Ruling(COUNTER, "", _contradictions(alive))


def _off(energy_uj: int, power_uj: float) -> float:
    """Return by which factor an energy differs from power's, at least 1."""
    return max(energy_uj / power_uj, power_uj / energy_uj) if energy_uj > 0 and power_uj > 0 else math.inf


def _contradictions(beside: Steps) -> dict[int, tuple[str, float]]:
    """Find the GPUs whose counter contradicts power; one that stands still is found by the accounts."""
    found = {}
    for gpu in np.unique(beside.gpu).tolist():
        mine = beside.where(beside.gpu == gpu)
        power = float(mine.power_uj.sum())
        if mine.gpu.size >= 3 and mine.risen_uj > 0 and _off(mine.risen_uj, power) > FACTOR:
            found[gpu] = (CONTRADICTS, min(abs(mine.risen_uj / power - 1), 1.0))
    return found


def _by_shape(steps: Steps, name: str, most_mw: int) -> Ruling:
    if _PER_INTERVAL.search(name):
        return Ruling(INTERVAL, "is energy per interval by its name")
    scale = float(steps.length_us.sum()) / 1e3
    if not scale:
        return Ruling(COUNTER)
    as_total, as_interval = steps.risen_uj / scale, float(steps.value_uj.sum()) / scale
    plausible = _LEAST_MW <= as_interval <= most_mw
    if plausible and (steps.falls_often() or steps.falls_softly()):
        return Ruling(INTERVAL, "is energy per interval: it falls as no counter does")
    if _TOTAL.search(name) or not (plausible or steps.falls_often()):
        return Ruling(COUNTER)
    if steps.falls_often() or as_total < _LEAST_MW:
        raise InputError(
            f"{name} says {as_total / 1e3:.3g} W if it is a counter and {as_interval / 1e3:.3g} W if it is energy per "
            f"interval; say --columns energy={name}:UNIT/total or energy={name}:UNIT/interval"
        )
    counts_from_0 = steps.gpu.size >= 3 and float(steps.first_uj.mean()) <= 2 * float(steps.rise_uj.mean())
    if counts_from_0:
        return Ruling(COUNTER)
    doubt = min(as_interval / as_total, 1000.0)
    why = (
        f"is taken for a counter ({as_total / 1e3:.3g} W); if it is energy per interval "
        f"({as_interval / 1e3:.3g} W), say --columns energy={name}:UNIT/interval"
    )
    return Ruling(COUNTER, why, {int(gpu): (UNCLEAR, doubt) for gpu in np.unique(steps.gpu)})
