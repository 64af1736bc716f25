"""Several powers of one GPU at one stamp: a clock coarser than the sampling, or rows of what are several GPUs.

The mean of different ones counts, equal ones count once; so the order of the rows does not matter. Both are said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import counted
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.traces.foreign.rows import Rows
    from wattshed.agent.window import Device


@dataclass(slots=True)
class Repeats:
    """Joins rows of one GPU and stamp, and counts what it joins.

    Attributes
    ----------
    stamps : int
        Stamps with different powers of one GPU.
    rows : int
        Rows that repeat the power of another of the same stamp.
    first : str
        The first such stamp of different powers, and its GPU.
    """

    stamps: int = 0
    rows: int = 0
    first: str = ""

    def join(self, rows: Rows, devices: Sequence[Device]) -> Rows:
        """Leave one power a GPU and stamp; rows that hold nothing else go.

        Parameters
        ----------
        rows : Rows
            GPU by GPU, each in the order of time.
        devices : sequence of Device
            What ``rows.gpu`` counts.
        """
        ceiling_mw = np.array([device.ceiling_mw for device in devices], np.int64)
        power = rows.power_mw
        if not power.size:
            return rows
        # What is no power at all is not averaged: it is counted as such later.
        place = np.flatnonzero((power > 0) & (power <= ceiling_mw[rows.gpu]))
        time_us, gpu = rows.time_us[place], rows.gpu[place]
        same = (time_us[1:] == time_us[:-1]) & (gpu[1:] == gpu[:-1])
        if not same.any():
            return rows
        begins = np.concatenate(([True], ~same))
        heads, group = np.flatnonzero(begins), np.cumsum(begins) - 1
        mine = power[place].astype(np.int64)
        sizes = np.bincount(group)
        differ = np.maximum.reduceat(mine, heads) != np.minimum.reduceat(mine, heads)
        self._count(differ, sizes, rows, place[heads], devices)
        joined = rows.filled("power_mw").copy(), rows.filled("instant_mw").copy(), rows.filled("counter_mj").copy()
        ways = (_means, _means, _largest)
        for column, way in zip(joined, ways, strict=True):
            values = column[place]
            column[place] = MISSING
            column[place[heads]] = way(values.astype(np.int64), heads)
        rows = replace(rows, power_mw=joined[0], instant_mw=joined[1], counter_mj=joined[2])
        return rows.take(rows.has("power_mw") | rows.has("counter_mj") | rows.has("instant_mw"))

    def _count(
        self,
        differ: NDArray[np.bool_],
        sizes: NDArray[np.int64],
        rows: Rows,
        heads: NDArray[np.int64],
        devices: Sequence[Device],
    ) -> None:
        self.stamps += int(differ.sum())
        if not (rows.pid >= 0).any():  # else a row for each process repeats the power of its GPU
            self.rows += int((sizes[~differ] - 1).sum())
        if differ.any() and not self.first:
            at = heads[differ][np.argmin(rows.time_us[heads[differ]])]
            device = devices[rows.gpu[at]]
            stamp = datetime.fromtimestamp(int(rows.time_us[at]) / 1e6, UTC)
            self.first = f"{device.host and f'{device.host} '}GPU {device.index} at {stamp:%Y-%m-%d %H:%M:%S} UTC"

    def say(self, report: SourceReport) -> None:
        """Add what was joined to the notes of a source."""
        if self.stamps:
            report.note(
                f"{counted(self.stamps, 'stamp')} with several powers of one GPU, first {self.first}; their mean counts"
            )
        if self.rows:
            report.note(f"{counted(self.rows, 'row')} with the same GPU, time and power as another; they count once")


def _means(values: NDArray[np.int64], heads: NDArray[np.int64]) -> NDArray[np.int64]:
    """Mean of each group's readings, rounded to even."""
    there = values >= 0
    count = np.add.reduceat(there.astype(np.int64), heads)
    total = np.add.reduceat(np.where(there, values, 0), heads)
    return np.where(count > 0, np.rint(total / np.maximum(count, 1)).astype(np.int64), MISSING)


def _largest(values: NDArray[np.int64], heads: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.maximum.reduceat(values, heads)
