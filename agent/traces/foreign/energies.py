"""Columns of energy of any tool: a counter that rises, or energy per interval; told by shape and by power beside.

The rows of all files that are read together are judged as a whole, up to two million of them, so that neither blocks
nor the bounds of files change the answer. A counter rises, and its differences fit the power beside it; energies per
interval go up and down, and their values fit it. What contradicts power in both ways is overruled by it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError, counted
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.traces.foreign.gpus import Gpus

COUNTER, INTERVAL = "total", "interval"
"""How energies of a column may be said to be meant: ``energy=COLUMN:J/total``, ``energy=COLUMN:J/interval``."""
CONTRADICTS, UNCLEAR = "counter_contradicts_power", "energy_kind_unclear"
FACTOR = 2.0
"""A counter that differs from power by more than this contradicts it; two meters of one board never do."""
_LEAST_MW = 2_000  # mean of a board over a log: none draws less
_SHORTEST_GAP_US = 5_000_000
_FALLS = 0.05  # of the steps: counters restart more seldom
_NEAR = 0.005  # relative: power times interval, rounded
_TOTAL = re.compile(r"cumul|counter|since|lifetime|accum|total_energy_consumption|energy\.total", re.IGNORECASE)
_PER_INTERVAL = re.compile(r"delta|interval|diff|increment|(^|[_ .])(per|inc|step)([_ .]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps between rows that follow each other on one GPU, with energies of a column at both ends.

    Attributes
    ----------
    gpu : int64[n]
    length_us, rise_mj, value_mj : int64[n]
        The time between them, what the column rises by, and its value at the end.
    power_mj, end_mj : float64[n], mJ
        By power: the trapezoid, and the power at the end times the length; NaN where power is not known, or over gaps.
    first_mj : int64[g]
        The first value of each GPU.
    """

    gpu: NDArray[np.int64]
    length_us: NDArray[np.int64]
    rise_mj: NDArray[np.int64]
    value_mj: NDArray[np.int64]
    power_mj: NDArray[np.float64]
    end_mj: NDArray[np.float64]
    first_mj: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Rows) -> Steps:
        """Take them from rows in any order; of rows of one stamp the first counts."""
        rows = rows.take(rows.has("energy_mj"))
        rows = rows.take(np.lexsort((rows.time_us, rows.gpu)))
        gpu, time_us, energy = rows.gpu.astype(np.int64), rows.time_us, rows.energy_mj
        power = np.where(rows.filled("power_mw") > 0, rows.filled("power_mw"), np.nan)
        if gpu.size:
            once = np.concatenate(([True], (np.diff(gpu) != 0) | (np.diff(time_us) != 0)))
            gpu, time_us, energy, power = gpu[once], time_us[once], energy[once], power[once]
        first = np.concatenate((np.ones(min(gpu.size, 1), bool), np.diff(gpu) != 0))
        same = ~first[1:]
        length = np.diff(time_us)[same]
        hours = length / 1e6  # mW x s
        gap_us = max(_SHORTEST_GAP_US, 10 * int(np.median(length))) if length.size else 0
        near = np.where(length <= gap_us, 1.0, np.nan)
        return cls(
            gpu[1:][same],
            length,
            np.diff(energy)[same],
            energy[1:][same],
            ((power[1:] + power[:-1]) / 2)[same] * hours * near,
            power[1:][same] * hours * near,
            energy[first],
        )

    def where(self, mask: NDArray[np.bool_]) -> Steps:
        """Select some of them."""
        return Steps(
            self.gpu[mask], self.length_us[mask], self.rise_mj[mask], self.value_mj[mask], self.power_mj[mask],
            self.end_mj[mask], self.first_mj,
        )  # fmt: skip

    @property
    def compared(self) -> Steps:
        """Those over which power is known."""
        return self.where(~np.isnan(self.power_mj))

    @property
    def risen_mj(self) -> int:
        """What a counter counted."""
        return int(np.maximum(self.rise_mj, 0).sum())

    def falls_often(self) -> bool:
        """Return whether values go up and down, as no counter does: each GPU's may have restarted once."""
        falls = self.gpu[self.rise_mj < 0]
        again = falls.size - np.unique(falls).size
        return again > 0 and falls.size > _FALLS * self.gpu.size


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a column of energies is: its kind (empty: power is used instead), why, and which GPUs are doubtful.

    ``doubts`` has a flag and one sigma relative to the energy for each GPU.
    """

    kind: str
    why: str = ""
    doubts: Mapping[int, tuple[str, float]] | None = None


def judge(steps: Steps, name: str, told: str, most_mw: int) -> Verdict:
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
        return Verdict(INTERVAL)
    if told == COUNTER:
        return Verdict(COUNTER, "", _contradictions(beside))
    return _by_power(steps, beside) if beside.gpu.size else _by_shape(steps, name, most_mw)


def _by_power(steps: Steps, beside: Steps) -> Verdict:
    power = float(beside.power_mj.sum())
    off_total, off_interval = _off(beside.risen_mj, power), _off(int(beside.value_mj.sum()), power)
    often = steps.falls_often()
    if off_interval <= FACTOR and (often or off_interval < off_total):
        made = np.minimum(np.abs(beside.value_mj - beside.end_mj), np.abs(beside.value_mj - beside.power_mj))
        if (made <= _NEAR * beside.value_mj + 1).mean() >= 1 - _FALLS:
            return Verdict("", "is energy per interval, made of the power beside it: power is integrated instead")
        return Verdict(INTERVAL, "is energy per interval: its values, and not their differences, fit the power beside")
    if often:
        doubts = {int(gpu): (CONTRADICTS, 1.0) for gpu in np.unique(steps.gpu)}
        return Verdict("", "falls again and again and does not fit the power beside it: power is used instead", doubts)
    return Verdict(COUNTER, "", _contradictions(beside))


def _off(energy_mj: int, power_mj: float) -> float:
    """Return by which factor an energy differs from power's, at least 1."""
    return max(energy_mj / power_mj, power_mj / energy_mj) if energy_mj > 0 and power_mj > 0 else math.inf


def _contradictions(beside: Steps) -> dict[int, tuple[str, float]]:
    """Find the GPUs whose counter contradicts power; one that stands still is found by the accounts."""
    found = {}
    for gpu in np.unique(beside.gpu).tolist():
        mine = beside.where(beside.gpu == gpu)
        power = float(mine.power_mj.sum())
        if mine.gpu.size >= 3 and mine.risen_mj > 0 and _off(mine.risen_mj, power) > FACTOR:
            found[gpu] = (CONTRADICTS, min(abs(mine.risen_mj / power - 1), 1.0))
    return found


def _by_shape(steps: Steps, name: str, most_mw: int) -> Verdict:
    if _PER_INTERVAL.search(name):
        return Verdict(INTERVAL, "is energy per interval by its name")
    if steps.falls_often():
        return Verdict(INTERVAL, "is energy per interval: it falls again and again, as no counter does")
    seconds = float(steps.length_us.sum()) / 1e6
    if not seconds or _TOTAL.search(name):
        return Verdict(COUNTER)
    as_total, as_interval = steps.risen_mj / seconds, float(steps.value_mj.sum()) / seconds
    if not _LEAST_MW <= as_interval <= most_mw:
        return Verdict(COUNTER)
    if as_total < _LEAST_MW:
        raise InputError(
            f"{name} is a counter that hardly moves ({as_total / 1e3:.3g} W) or energy per interval "
            f"({as_interval / 1e3:.3g} W); say --columns energy={name}:UNIT/total or energy={name}:UNIT/interval"
        )
    counts_from_0 = steps.gpu.size >= 3 and float(steps.first_mj.mean()) <= 2 * float(steps.rise_mj.mean())
    if counts_from_0:
        return Verdict(COUNTER)
    doubt = min(as_interval / as_total - 1, 10.0)
    why = (
        f"is taken for a counter ({as_total / 1e3:.3g} W); if it is energy per interval "
        f"({as_interval / 1e3:.3g} W), say --columns energy={name}:UNIT/interval"
    )
    return Verdict(COUNTER, why, {int(gpu): (UNCLEAR, doubt) for gpu in np.unique(steps.gpu)})


class Energies:
    """Turns a column of energies into a counter, GPU by GPU, once it is known what it is.

    Parameters
    ----------
    gpus : Gpus
    report : SourceReport
        Gets said what was decided.
    """

    def __init__(self, gpus: Gpus, report: SourceReport) -> None:
        self._gpus, self._report = gpus, report
        self._kind: str | None = None
        self._overruled: NDArray[np.int64] = np.empty(0, np.int64)
        self._begun: set[int] = set()
        self._total_mj: dict[int, int] = {}
        self._last_us: dict[int, int] = {}
        self._repeated = self._after_gaps = 0

    def settle(self, rows: Rows, emitted_us: Mapping[str, int]) -> Rows:
        """Decide by the first rows what energies are; those of a counter become readings of it.

        Parameters
        ----------
        rows : Rows
            In any order.
        emitted_us : mapping of host -> us
            Until when windows are made.
        """
        if not rows.energy_mj.size:
            return rows
        if self._kind is None:
            self._decide(rows)
        energy = rows.energy_mj
        if self._overruled.size:
            energy = np.where(np.isin(rows.gpu, self._overruled), MISSING, energy)
        if self._kind == INTERVAL:
            return self._begin(replace(rows, energy_mj=energy), emitted_us)
        none = np.empty(0, np.int64)
        if self._kind != COUNTER:
            return replace(rows, energy_mj=none)
        return replace(rows, energy_mj=none, counter_mj=np.where(energy >= 0, energy, rows.filled("counter_mj")))

    def _decide(self, rows: Rows) -> None:
        name, told = self._gpus.energy
        try:
            verdict = judge(Steps.of(rows), name, told, self._gpus.max_power_mw)
        except InputError as error:
            raise InputError(error.message, self._report.path) from None
        self._kind = verdict.kind
        if verdict.why:
            self._report.note(f"{name} {verdict.why}")
        doubts = verdict.doubts or {}
        for gpu, (flag, sigma) in doubts.items():
            self._gpus.doubt(gpu, flag, sigma)
        against = [gpu for gpu, (flag, _) in doubts.items() if flag == CONTRADICTS]
        if against and self._kind == COUNTER:
            kept = "it counts, as you say" if told else "power is used instead"
            self._report.note(
                f"{name} differs from power by more than {FACTOR:g} times on {counted(len(against), 'GPU')}: {kept}; "
                "is its unit right?"
            )
            self._overruled = np.array([] if told else against, np.int64)
        if self._kind == INTERVAL:
            self._report.note(
                f"{name} is summed, each value over the time since the row before; the first of a GPU is taken to be "
                "as long as the second"
            )

    def _begin(self, rows: Rows, emitted_us: Mapping[str, int]) -> Rows:
        """Give each GPU a row at the start of its first interval."""
        known = rows.has("energy_mj")
        starts: list[tuple[int, int]] = []
        for gpu in sorted(set(np.unique(rows.gpu[known]).tolist()) - self._begun):
            stamps = np.unique(rows.time_us[known & (rows.gpu == gpu)])[:2].tolist()
            if len(stamps) == 2:
                self._begun.add(gpu)
                start_us = 2 * stamps[0] - stamps[1]
                starts.append((gpu, max(start_us, emitted_us.get(self._gpus.devices[gpu].host, start_us))))
        if not starts:
            return rows
        gpus, times = (np.array(column, np.int64) for column in zip(*starts, strict=True))
        return Rows.join([Rows.of(gpus, times, energy_mj=np.zeros(gpus.size, np.int64)), rows])

    def counted(self, rows: Rows, offsets: NDArray[np.int64], numbers: list[int], gaps_us: list[int]) -> Rows:
        """Sum energies per interval to a counter.

        Parameters
        ----------
        rows : Rows
            GPU-major, ascending in time within each.
        offsets : int64[g + 1]
        numbers, gaps_us : list of int
            Of each GPU: its number in `Gpus`, and what is a gap to it, us.
        """
        if not rows.energy_mj.size:
            return rows
        counter = rows.filled("counter_mj").copy()
        for place, (number, gap_us) in enumerate(zip(numbers, gaps_us, strict=True)):
            mine = np.arange(offsets[place], offsets[place + 1])
            mine = mine[rows.energy_mj[mine] >= 0]
            if not mine.size:
                continue
            time_us, energy = rows.time_us[mine], rows.energy_mj[mine].copy()
            steps = np.diff(time_us, prepend=self._last_us.get(number, int(time_us[0]) - 1))
            self._repeated += int((steps == 0).sum())
            self._after_gaps += int((steps > gap_us).sum()) if gap_us > 0 else 0
            energy[steps == 0] = 0
            counter[mine] = self._total_mj.get(number, 0) + np.cumsum(energy)
            self._total_mj[number], self._last_us[number] = int(counter[mine[-1]]), int(time_us[-1])
        return replace(rows, counter_mj=counter, energy_mj=rows.energy_mj[:0])

    def say(self) -> None:
        """Say at the end what was done with rows that are no plain intervals."""
        name = self._gpus.energy[0]
        if self._repeated:
            self._report.note(f"{counted(self._repeated, 'row')} of a stamp that was there before: {name} counts once")
        if self._after_gaps:
            self._report.note(
                f"{counted(self._after_gaps, 'row')} after a gap: {name} is taken for all that was used in it"
            )
