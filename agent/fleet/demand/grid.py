"""Series of power, onto one even grid: what every figure of a demand is computed from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.series import LoadRecording


@dataclass(frozen=True, slots=True)
class Load:
    """Power on an even grid.

    Attributes
    ----------
    step_s : float, s
    start_us : int, us
    power_w : float64[n], W
        Mean power of each step; NaN in a hole of the recording.
    parts : mapping of name -> float64[n]
        The series it is the sum of (one, or one per job or GPU).
    kind : str
    """

    step_s: float
    start_us: int
    power_w: NDArray[np.float64]
    parts: Mapping[str, NDArray[np.float64]]
    kind: str

    @property
    def stretch(self) -> NDArray[np.float64]:
        """Longest stretch without a hole."""
        edges = np.flatnonzero(np.diff(np.concatenate(([1], np.isnan(self.power_w).astype(np.int8), [1]))))
        if not edges.size:
            return self.power_w[:0]
        starts, ends = edges[::2], edges[1::2]
        longest = int(np.argmax(ends - starts))
        return self.power_w[starts[longest] : ends[longest]]


MOST_STEPS = 50_000_000


def on_grid(recording: LoadRecording, step_s: float | None = None) -> Load:
    """Sum of a recording's series on an even grid.

    A job that has not begun or has ended draws nothing; a GPU (or a total) that is not recorded is unknown. Holes
    longer than ten steps are unknown too.

    Parameters
    ----------
    recording : LoadRecording
    step_s : float, optional
        Default: the longest median period of the series.

    Raises
    ------
    InputError
        If there are fewer than two readings, or the grid would be absurdly long.
    """
    times = [t for t, _ in recording.series.values()]
    periods = [float(np.median(np.diff(t))) for t in times if t.size > 1]
    if not periods:
        raise InputError("a demand needs at least two readings of power over time")
    step = step_s or max(periods) / 1e6
    starts, ends = [int(t[0]) for t in times], [int(t[-1]) for t in times]
    first, last = (min(starts), max(ends)) if recording.kind == "job" else (max(starts), min(ends))
    n = math.floor((last - first) / (step * 1e6) + 1e-6) + 1
    if not 2 <= n <= MOST_STEPS:
        raise InputError(
            f"{max(n, 0)} steps of {step:g} s are common to all series; at least 2 and at most {MOST_STEPS} are needed"
        )
    grid = first + np.rint(np.arange(n) * (step * 1e6)).astype(np.int64)
    parts: dict[str, NDArray[np.float64]] = {}
    total = np.zeros(grid.size)
    for name, (time, power) in recording.series.items():
        parts[name] = _resampled(time, power, grid, step, recording.kind)
        total += parts[name]
    return Load(step, first, total, parts, recording.kind)


def _resampled(
    time: NDArray[np.int64], power: NDArray[np.float64], grid: NDArray[np.int64], step_s: float, kind: str
) -> NDArray[np.float64]:
    """Values at the grid's points: the readings themselves where they lie on it, else their mean about each point."""
    step = step_s * 1e6
    nearest = (
        np.clip(np.searchsorted(time, grid), 1, max(time.size - 1, 1))
        if time.size > 1
        else np.zeros(grid.size, np.int64)
    )
    if time.size > 1:
        nearest = nearest - (grid - time[nearest - 1] < time[nearest] - grid)
    away = np.abs(time[nearest] - grid)
    values = power[nearest]
    if time.size > 1 and (away > 0.01 * step).any():
        # Not on the grid: the mean over each step, from the exact integral of the straight lines between readings.
        edges = np.concatenate((grid - round(step / 2), [grid[-1] + round(step / 2)]))
        edges = np.clip(edges, time[0], time[-1])
        seconds = (time - time[0]) / 1e6
        joules = np.concatenate(([0.0], np.cumsum(0.5 * (power[1:] + power[:-1]) * np.diff(seconds))))
        at = (edges - time[0]) / 1e6
        k = np.clip(np.searchsorted(seconds, at, side="right") - 1, 0, seconds.size - 2)
        slope = (power[k + 1] - power[k]) / (seconds[k + 1] - seconds[k])
        energy = joules[k] + (at - seconds[k]) * (power[k] + 0.5 * slope * (at - seconds[k]))
        width = np.diff(at)
        means = np.diff(energy) / np.where(width > 0.0, width, 1.0)
        values = np.where((away > 0.01 * step) & (width > 0.0), means, values)
    values[away > 10.0 * step] = math.nan
    outside = (grid < time[0] - step / 2) | (grid > time[-1] + step / 2)
    values[outside] = 0.0 if kind == "job" else math.nan
    return values
