"""Columns of energy of any tool become a counter, GPU by GPU, once it is known what they are (`energy_kinds`).

The rows of all files that are read together are judged as a whole, up to two million of them, so that neither blocks
nor the bounds of files change the answer. Energies per interval are summed in microjoules, and rounded in their sum.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError, counted
from wattshed.agent.inputs.columns import unit_in_name
from wattshed.agent.inputs.unit_tables import ENERGY_MJ
from wattshed.agent.traces.foreign.energy_kinds import CONTRADICTS, COUNTER, INTERVAL, Steps, judge
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.traces.foreign.gpus import Gpus


def _unit(times: float, name: str) -> str:
    """Ask for the unit that a factor looks like."""
    used = ENERGY_MJ[unit_in_name("energy", name)]
    near = [unit for unit, size in ENERGY_MJ.items() if size != used and 1 / 1.2 < times * float(size / used) < 1.2]
    return f" (is it in {near[0]}?)" if near else ""


def _millijoules(energy_uj: NDArray[np.int64], rows: Rows) -> NDArray[np.int64]:
    """Return energies as readings of the counter, in mJ, and those that there are already."""
    counter: NDArray[np.int64] = np.where(energy_uj >= 0, (energy_uj + 500) // 1000, rows.filled("counter_mj"))
    return counter


class EnergyColumns:
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
    energies, held, count = EnergyColumns(gpus, report), list[Rows](), 0
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
