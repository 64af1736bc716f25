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
from wattshed.agent.inputs.columns import unit_in_name
from wattshed.agent.inputs.quantities import ENERGY_MJ
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
    return _by_power(steps, beside, name, most_mw) if beside.gpu.size else _by_shape(steps, name, most_mw)


def _by_power(steps: Steps, beside: Steps, name: str, most_mw: int) -> Verdict:
    power = float(beside.power_uj.sum())
    off_total, off_interval = _off(beside.risen_uj, power), _off(int(beside.value_uj.sum()), power)
    often = steps.falls_often()
    if off_interval <= FACTOR and (often or steps.falls_softly() or off_interval < off_total):
        made = np.minimum(np.abs(beside.value_uj - beside.end_uj), np.abs(beside.value_uj - beside.power_uj))
        if (made <= _NEAR * beside.value_uj + 1000).mean() >= 1 - _FALLS:
            return Verdict("", "is energy per interval, made of the power beside it: power is integrated instead")
        return Verdict(INTERVAL, "is energy per interval: its values, and not their differences, fit the power beside")
    alive = beside.alive
    if not alive.gpu.size and off_total > FACTOR:
        return _by_shape(steps, name, most_mw)
    if often:
        doubts = {int(gpu): (CONTRADICTS, 1.0) for gpu in np.unique(steps.gpu)}
        return Verdict("", "falls again and again and does not fit the power beside it: power is used instead", doubts)
    return Verdict(COUNTER, "", _contradictions(alive))


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


def _by_shape(steps: Steps, name: str, most_mw: int) -> Verdict:
    if _PER_INTERVAL.search(name):
        return Verdict(INTERVAL, "is energy per interval by its name")
    scale = float(steps.length_us.sum()) / 1e3
    if not scale:
        return Verdict(COUNTER)
    as_total, as_interval = steps.risen_uj / scale, float(steps.value_uj.sum()) / scale
    plausible = _LEAST_MW <= as_interval <= most_mw
    if plausible and (steps.falls_often() or steps.falls_softly()):
        return Verdict(INTERVAL, "is energy per interval: it falls as no counter does")
    if _TOTAL.search(name) or not (plausible or steps.falls_often()):
        return Verdict(COUNTER)
    if steps.falls_often() or as_total < _LEAST_MW:
        raise InputError(
            f"{name} says {as_total / 1e3:.3g} W if it is a counter and {as_interval / 1e3:.3g} W if it is energy per "
            f"interval; say --columns energy={name}:UNIT/total or energy={name}:UNIT/interval"
        )
    counts_from_0 = steps.gpu.size >= 3 and float(steps.first_uj.mean()) <= 2 * float(steps.rise_uj.mean())
    if counts_from_0:
        return Verdict(COUNTER)
    doubt = min(as_interval / as_total, 1000.0)
    why = (
        f"is taken for a counter ({as_total / 1e3:.3g} W); if it is energy per interval "
        f"({as_interval / 1e3:.3g} W), say --columns energy={name}:UNIT/interval"
    )
    return Verdict(COUNTER, why, {int(gpu): (UNCLEAR, doubt) for gpu in np.unique(steps.gpu)})


def _unit(times: float, name: str) -> str:
    """Ask for the unit that a factor looks like."""
    used = ENERGY_MJ[unit_in_name("energy", name)]
    near = [unit for unit, size in ENERGY_MJ.items() if size != used and 1 / 1.2 < times * float(size / used) < 1.2]
    return f" (is it in {near[0]}?)" if near else ""


def _millijoules(energy_uj: NDArray[np.int64], rows: Rows) -> NDArray[np.int64]:
    """Return energies as readings of the counter, in mJ, and those that there are already."""
    counter: NDArray[np.int64] = np.where(energy_uj >= 0, (energy_uj + 500) // 1000, rows.filled("counter_mj"))
    return counter


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
        self._total_uj: dict[int, int] = {}
        self._last_us: dict[int, int] = {}
        self._repeated = self._after_gaps = 0

    @property
    def decided(self) -> bool:
        """Whether it is known what energies are."""
        return self._kind is not None

    def settle(self, rows: Rows, emitted_us: Mapping[str, int]) -> Rows:
        """Decide by the first rows what energies are; those of a counter become readings of it.

        Parameters
        ----------
        rows : Rows
            In any order.
        emitted_us : mapping of host -> us
            Until when windows are made.
        """
        if not rows.energy_uj.size:
            return rows
        if self._kind is None:
            self._decide(rows)
        energy = rows.energy_uj
        if self._overruled.size:
            energy = np.where(np.isin(rows.gpu, self._overruled), MISSING, energy)
        if self._kind == INTERVAL:
            return self._begin(replace(rows, energy_uj=energy), emitted_us)
        none = np.empty(0, np.int64)
        if self._kind != COUNTER:
            return replace(rows, energy_uj=none)
        return replace(rows, energy_uj=none, counter_mj=_millijoules(energy, rows))

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
            times = Steps.of(rows).compared.off_by(against)
            self._report.note(
                f"{name} as a counter says {times:.3g} times what power says on {counted(len(against), 'GPU')}"
                f"{_unit(times, name)}: {kept}"
            )
            self._overruled = np.array([] if told else against, np.int64)
        if self._kind == INTERVAL:
            self._report.note(
                f"{name} is summed, each value over the time since the row before; the first of a GPU is taken to be "
                "as long as the second"
            )

    def _begin(self, rows: Rows, emitted_us: Mapping[str, int]) -> Rows:
        """Give each GPU a row at the start of its first interval."""
        known = rows.has("energy_uj")
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
        return Rows.join([Rows.of(gpus, times, energy_uj=np.zeros(gpus.size, np.int64)), rows])

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
        if not rows.energy_uj.size:
            return rows
        counter = rows.filled("counter_mj").copy()
        for place, (number, gap_us) in enumerate(zip(numbers, gaps_us, strict=True)):
            mine = np.arange(offsets[place], offsets[place + 1])
            mine = mine[rows.energy_uj[mine] >= 0]
            if not mine.size:
                continue
            time_us, energy = rows.time_us[mine], rows.energy_uj[mine].copy()
            steps = np.diff(time_us, prepend=self._last_us.get(number, int(time_us[0]) - 1))
            self._repeated += int((steps == 0).sum())
            self._after_gaps += int((steps > gap_us).sum()) if gap_us > 0 else 0
            energy[steps == 0] = 0
            total = self._total_uj.get(number, 0) + np.cumsum(energy)
            counter[mine] = total // 1000
            self._total_uj[number], self._last_us[number] = int(total[-1]), int(time_us[-1])
        return replace(rows, counter_mj=counter, energy_uj=rows.energy_uj[:0])

    def say(self) -> None:
        """Say at the end what was done with rows that are no plain intervals."""
        name = self._gpus.energy[0]
        if self._repeated:
            self._report.note(f"{counted(self._repeated, 'row')} of a stamp that was there before: {name} counts once")
        if self._after_gaps:
            self._report.note(
                f"{counted(self._after_gaps, 'row')} after a gap: {name} is taken for all that was used in it"
            )


def known(blocks: Iterable[Rows], gpus: Gpus, report: SourceReport, held_rows: int = 2_000_000) -> Iterator[Rows]:
    """Pass rows on with what energies are, for a look at them that makes no windows."""
    energies, held, count = Energies(gpus, report), list[Rows](), 0
    for block in blocks:
        if not block.energy_uj.size:
            yield block
            continue
        if not held and energies.decided:
            yield energies.settle(block, {})
            continue
        held.append(block)
        count += len(block)
        if count > held_rows:
            yield energies.settle(Rows.join(held), {})
            held = []
    if held:
        yield energies.settle(Rows.join(held), {})
