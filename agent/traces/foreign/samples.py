"""Collects single samples, as line readers find them, into rows of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.inputs.quantities import REASONS, reason_of, scaled_text
from wattshed.agent.inputs.report import BadLine
from wattshed.agent.inputs.unit_tables import ENERGY_MJ, POWER_MW, SHARE_PPM
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.agent.window import MISSING
from wattshed.kernels.word_rows import DASH, NOT_AVAILABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from fractions import Fraction

    from numpy.typing import NDArray

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser

_BLOCK = 1 << 16
_NAMES = ("power_mw", "counter_mj", "instant_mw", "util_ppm", "pid")
_TOLD = 8  # bad lines at once; a report keeps fewer
ABSENT = {DASH: "-", NOT_AVAILABLE: "N/A"}
"""Words for "no reading" that kernels know."""


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
        self._parts: list[NDArray[np.int64]] = []  # int64[n, 8], as `_rows` with `_naive`
        self._count = 0

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
            self._count += 1

    def add_all(
        self,
        gpu: NDArray[np.int64],
        time_us: NDArray[np.int64],
        *,
        naive: bool,
        line: NDArray[np.int64],
        numbers: Mapping[str, NDArray[np.int64]],
    ) -> None:
        """Add samples that were read from their bytes, as `add` does one by one; one was added before.

        Parameters
        ----------
        gpu, time_us, line : int64[n]
        naive : bool
            Of all stamps.
        numbers : mapping of name -> int64[n]
            ``power`` and ``instant`` (mW), ``energy`` (mJ), ``util`` (ppm), ``pid``; below zero where there is none: of
            the first that is there, `ABSENT` says what stands in its place.
        """
        self._report.rows += gpu.size
        told = numbers.get("power", numbers.get("energy"))
        if told is not None:
            places = np.flatnonzero(told < 0)
            for place in places[:_TOLD].tolist():
                text = ABSENT[int(told[place])]
                self._report.reject(reason_of(text), line=int(line[place]), text=text)
            self._report.reject(reason_of(ABSENT[-1]), places.size - min(places.size, _TOLD))
        part = np.full((gpu.size, 8), MISSING, np.int64)
        part[:, 0], part[:, 1], part[:, 7] = gpu, time_us, naive
        for place, name in ((2, "power"), (3, "energy"), (4, "instant"), (5, "util"), (6, "pid")):
            if name in numbers:
                np.maximum(numbers[name], MISSING, out=part[:, place])
        self._settle()
        kept = (part[:, [2, 3, 6]] >= 0).any(axis=1)
        self._parts.append(part if kept.all() else part[kept])
        self._count += self._parts[-1].shape[0]

    def full(self) -> Iterator[Rows]:
        """Yield the blocks that are complete."""
        if self._count >= _BLOCK:
            self._settle()
            found = np.concatenate(self._parts)
            whole = self._count - self._count % _BLOCK
            self._parts, self._count = [found[whole:]], self._count - whole
            for begin in range(0, whole, _BLOCK):
                yield self._block(found[begin : begin + _BLOCK])

    def rest(self) -> Iterator[Rows]:
        """Yield what there is."""
        yield from self.full()
        self._settle()
        if self._count:
            found = np.concatenate(self._parts)
            self._parts, self._count = [], 0
            yield self._block(found)

    def _settle(self) -> None:
        """Put the samples that came one by one behind the others."""
        if self._rows:
            self._parts.append(np.column_stack((np.array(self._rows, np.int64), np.array(self._naive, np.int64))))
            self._rows, self._naive = [], []

    def _block(self, samples: NDArray[np.int64]) -> Rows:
        columns = [np.ascontiguousarray(column) for column in samples.T]  # each by itself, for some are kept for long
        naive, times = columns[7].astype(bool), columns[1]
        if naive.any():
            times[naive] = self._clock.utc(times[naive])
        found: dict[str, Any] = {
            name: column
            for name, column in zip(_NAMES, columns[2:7], strict=True)
            if int(column.max()) != MISSING  # what no row has is left out
        }
        return Rows.of(columns[0], times, **found)
