"""Collects single samples, as line readers find them, into rows of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.inputs.quantities import ENERGY_MJ, POWER_MW, REASONS, SHARE_PPM, scaled_text
from wattshed.agent.inputs.report import BadLine
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser

_BLOCK = 1 << 16


class Samples:
    """A block of samples in the making.

    Parameters
    ----------
    report : SourceReport
    clock : TimestampParser
        Turns naive stamps into UTC.
    """

    def __init__(self, report: SourceReport, clock: TimestampParser) -> None:
        self._report, self._clock = report, clock
        self._rows: list[tuple[int, int, int, int, int, int, int]] = []
        self._naive: list[bool] = []

    def add(
        self,
        gpu: int,
        stamp: tuple[int, bool],
        *,
        line: int,
        power: str | None = None,
        energy: str | None = None,
        instant: str | None = None,
        util: str | None = None,
        pid: int = MISSING,
        energy_unit: Fraction = ENERGY_MJ["mJ"],
        power_unit: Fraction = POWER_MW["W"],
        column: int = 0,
    ) -> None:
        """Add one sample; texts that are not numbers are counted, and it is kept if another number of it is good.

        Parameters
        ----------
        gpu : int
            Number in `agent.traces.foreign.gpus.Gpus`.
        stamp : (int, bool)
            Microseconds, and whether they are local time.
        line, column : int
            Where it stands, for the report.
        power, energy, instant, util : str or None
            Cells; None where the format has none.
        """
        self._report.rows += 1
        if self._report.first is None:
            self._report.first = BadLine(line, column, power or energy or "", "")
        power_mw, reason = scaled_text(power, power_unit, POWER_MW) if power is not None else (MISSING, 0)
        counter, counter_reason = scaled_text(energy, energy_unit, ENERGY_MJ) if energy is not None else (MISSING, 0)
        instant_mw = scaled_text(instant, power_unit, POWER_MW)[0] if instant is not None else MISSING
        util_ppm = scaled_text(util, SHARE_PPM["%"], SHARE_PPM)[0] if util is not None else MISSING
        reason = reason or (counter_reason if power is None else 0)
        if reason:
            text = power if power is not None else energy
            self._report.reject(REASONS[reason], line=line, column=column, text=text or "")
        if power_mw >= 0 or counter >= 0 or instant_mw >= 0 or pid >= 0:
            self._rows.append((gpu, stamp[0], power_mw, counter, instant_mw, util_ppm, pid))
            self._naive.append(stamp[1])

    def full(self) -> Iterator[Rows]:
        """Yield a block when one is complete."""
        if len(self._rows) >= _BLOCK:
            yield from self.rest()

    def rest(self) -> Iterator[Rows]:
        """Yield what there is."""
        if not self._rows:
            return
        columns = np.array(self._rows, np.int64).T
        naive = np.array(self._naive, bool)
        times = columns[1].copy()
        if naive.any():
            times[naive] = self._clock.utc(times[naive])
        self._rows, self._naive = [], []
        yield Rows.of(
            columns[0],
            times,
            power_mw=columns[2],
            counter_mj=columns[3],
            instant_mw=columns[4],
            util_ppm=columns[5],
            pid=columns[6],
        )
