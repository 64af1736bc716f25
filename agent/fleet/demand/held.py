"""Power of a series between its readings: a staircase, so that its energy over any stretch of time is exact.

A reading of power holds for the time that is nearer to it than to any other reading. A reading of an energy counter
tells the mean power since the one before. The energy between two moments then does not depend on how a grid divides
the time between them: any resampling conserves it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.kept import SeriesName
    from wattshed.agent.fleet.demand.series import LoadRecording

HOLE_PERIODS = 10.0
"""Nothing is known further than so many periods from any reading, where the user does not say otherwise."""
NO_HOLES = np.empty((0, 2))


@dataclass(frozen=True, slots=True)
class Staircase:
    """Power that is constant between edges.

    Attributes
    ----------
    edges_us : float64[m + 1], us
        Ascending.
    power_w : float64[m], W
        NaN where it is unknown.
    """

    edges_us: NDArray[np.float64]
    power_w: NDArray[np.float64]

    def means(self, edges_us: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean power between successive edges, W: float64[k]; what is unknown or outside counts 0."""
        width = np.diff(edges_us)
        # The usual case to the last digit: one reading in the middle of each cell.
        begin = int(np.searchsorted(self.edges_us, edges_us[0]))
        same = self.edges_us[begin : begin + edges_us.size]
        if same.size == edges_us.size and (same == edges_us).all():
            return self._power(begin, begin + width.size)
        joules = np.zeros(self.edges_us.size)
        np.cumsum(self._power(0, self.power_w.size) * np.diff(self.edges_us), out=joules[1:])
        energy = np.diff(np.interp(edges_us, self.edges_us, joules))
        return np.asarray(energy / np.where(width > 0.0, width, 1.0))

    def _power(self, begin: int, end: int) -> NDArray[np.float64]:
        """Power from one edge to another, W; 0 where it is unknown."""
        power = self.power_w[begin:end]
        unknown = np.isnan(power)
        return np.where(unknown, 0.0, power) if unknown.any() else power


class HeldSeries:
    """One series of a recording, by its energy counter where it has one, else by its readings of power.

    Parameters
    ----------
    recording : LoadRecording
    name : SeriesName
    max_gap_s : float, optional, s
        Readings that close leave no hole between them. By default twenty periods.

    Attributes
    ----------
    by_counter : bool
    period_us : float or None, us
        Median time between readings; None for a single one.
    """

    def __init__(self, recording: LoadRecording, name: SeriesName, max_gap_s: float | None = None) -> None:
        self.name = name
        self.by_counter = name in recording.counted
        self._series = recording.counters if self.by_counter else recording.series
        self.period_us = self._series.period_us(name)
        self._max_gap_s = max_gap_s

    def span_us(self, lone_us: float) -> tuple[float, float]:
        """Begin and end of what it tells, us; a reading without another one holds for ``lone_us``."""
        first, last = self._series.span_us(self.name)
        half = 0.0 if self.by_counter else (self.period_us or lone_us) / 2.0
        return first - half, last + half

    def between(self, start_us: float, end_us: float, lone_us: float) -> Staircase:
        """Return all that it tells of a stretch of time, and somewhat more."""
        time, value, gaps, hole = self._readings(start_us, end_us, lone_us)
        if self.by_counter:
            return _counted(time, value, gaps)
        return _read(time, value, gaps, (self.period_us or lone_us) / 2.0, hole)

    def holes(self, start_us: float, end_us: float, lone_us: float) -> NDArray[np.float64]:
        """Begin and end of what is unknown in a stretch of time, us: float64[h, 2]."""
        if not self.by_counter:  # one that began anew shows in its readings only
            longest_us = self._series.longest_step_us(self.name, math.floor(start_us), math.ceil(end_us))
            if longest_us <= 2.0 * self._hole_us(lone_us):
                return NO_HOLES
        time, _, gaps, hole = self._readings(start_us, end_us, lone_us)
        hole = 0.0 if self.by_counter else hole
        return np.column_stack((time[gaps] + hole, time[gaps + 1] - hole))

    def _readings(
        self, start_us: float, end_us: float, lone_us: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], float]:
        """Return times, values, after which of them there is a gap, and how far each may hold at most."""
        time_us, value = self._series.between(self.name, math.floor(start_us), math.ceil(end_us))
        hole = self._hole_us(lone_us)
        gap = np.diff(time_us) > 2.0 * hole
        if self.by_counter:
            gap |= np.diff(value) < 0.0  # it began anew
        return time_us.astype(np.float64), value, np.flatnonzero(gap), hole

    def _hole_us(self, lone_us: float) -> float:
        """Return how far from a reading it is still known, us."""
        return HOLE_PERIODS * (self.period_us or lone_us) if self._max_gap_s is None else self._max_gap_s * 5e5


def _read(
    time: NDArray[np.float64], power: NDArray[np.float64], gaps: NDArray[np.int64], half: float, hole: float
) -> Staircase:
    """Let each reading hold for what is nearest to it, and into a gap for at most ``hole``."""
    edges = np.concatenate(([time[0] - half], (time[1:] + time[:-1]) / 2.0, [time[-1] + half]))
    if gaps.size:
        # An edge in a gap becomes two, with the unknown between them.
        edges[gaps + 1] = time[gaps] + hole
        edges = np.insert(edges, gaps + 2, time[gaps + 1] - hole)
        power = np.insert(power, gaps + 1, np.nan)
    return Staircase(edges, power)


def _counted(time: NDArray[np.float64], joules: NDArray[np.float64], gaps: NDArray[np.int64]) -> Staircase:
    """Mean power between readings of a counter."""
    power = np.diff(joules) / np.diff(time) * 1e6
    power[gaps] = np.nan
    return Staircase(time, power)
