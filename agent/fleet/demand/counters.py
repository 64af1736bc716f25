"""Energy counters of a recording: the readings at which one had moved, and which of them can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.kept import KeptSeries, SeriesName

DOUBT = 2.0
"""A counter whose mean power is not within so many times that of the readings counts another thing."""
JUMP = 3.0
"""A step of more than so many times what the device can draw is no energy: the counter jumped."""
LEAST_READINGS = 8


@dataclass(slots=True)
class _Sums:
    """What a series' two meters told so far."""

    readings: int = 0
    power_mw: int = 0
    counts: int = 0
    last_mj: int = -1
    last_us: int = 0
    energy_mj: int = 0
    time_us: int = 0
    jumped_mj: int = 0

    @property
    def agree(self) -> bool:
        """Whether they tell the same power, but for what readings miss."""
        if self.counts < LEAST_READINGS or self.time_us <= 0:
            return False
        by_counter, by_readings = self.energy_mj / self.time_us * 1e6, self.power_mw / self.readings
        return by_readings / DOUBT < by_counter < by_readings * DOUBT


class CounterReadings:
    """Takes the readings of counters, series by series, in the order of time.

    A reading at which the counter stands where it stood is left out: the energy came between the readings at which it
    moved, and a step of nothing before one of twice the power would be noise.
    """

    def __init__(self, kept: KeptSeries) -> None:
        self._kept = kept
        self._sums: dict[SeriesName, _Sums] = {}

    def add(
        self,
        name: SeriesName,
        time_us: NDArray[np.int64],
        power_mw: NDArray[np.int64],
        counter_mj: NDArray[np.int64],
        *,
        ceiling_mw: int,
    ) -> None:
        """Take readings of a series; a counter that was not read is negative.

        Over a jump, that is a step that the device cannot have drawn, the counter is kept as if it began anew: the
        step is unknown.
        """
        read = counter_mj >= 0
        if not read.any():
            return
        sums = self._sums.setdefault(name, _Sums())
        sums.readings += power_mw.size
        sums.power_mw += int(power_mw.sum(dtype=np.int64))
        time_us, counter_mj = time_us[read], counter_mj[read]
        moved = np.diff(counter_mj, prepend=sums.last_mj) != 0
        time_us, counter_mj = time_us[moved], counter_mj[moved]
        if not time_us.size:
            return
        begun = sums.counts > 0
        steps = np.diff(counter_mj, prepend=sums.last_mj if begun else counter_mj[0])
        apart = np.diff(time_us, prepend=sums.last_us if begun else time_us[0])
        jumped = steps * 1e6 > JUMP * ceiling_mw * apart
        forward = (steps >= 0) & ~jumped
        sums.energy_mj += int(steps[forward].sum())
        sums.time_us += int(apart[forward].sum())
        sums.counts += time_us.size
        sums.last_mj, sums.last_us = int(counter_mj[-1]), int(time_us[-1])
        without = sums.jumped_mj + np.cumsum(np.where(jumped, steps + 1, 0))
        sums.jumped_mj = int(without[-1])
        self._kept.add(name, time_us, counter_mj - without)

    def believed(self) -> tuple[frozenset[SeriesName], int]:
        """Return whose counters are believed, and how many are not."""
        self._kept.settle()
        names = frozenset(name for name, sums in self._sums.items() if sums.agree)
        return names, len(self._sums) - len(names)
