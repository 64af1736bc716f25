"""Series of power, onto one even grid: what every figure of a demand is computed from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.kept import SeriesName, Trace
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
    kind : str
        See `agent.fleet.demand.series.LoadRecording`.
    largest_w : sequence of float, W
        The largest of each series while all are known.
    units : mapping of name -> float64[n], W
        Jobs or hosts that it is the sum of, if they are drawn again; else empty.
    """

    step_s: float
    start_us: int
    power_w: NDArray[np.float64]
    kind: str
    largest_w: tuple[float, ...] = ()
    units: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

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
_CELLS = 1 << 23  # series times steps that are held at once
_LEAST, _MOST = 1 << 10, 1 << 16  # steps
_HOLE_STEPS = 10.0
_ON_GRID = 0.01  # of a step: a reading so close to a moment of the grid is the one of that moment


def on_grid(
    recording: LoadRecording, step_s: float | None = None, *, unit: str = "", max_gap_s: float | None = None
) -> Load:
    """Sum of a recording's series on an even grid.

    A job that has not begun or has ended draws nothing; a GPU (or a total) that is not recorded is unknown. Holes
    longer than ten steps are unknown too.

    Parameters
    ----------
    recording : LoadRecording
    step_s : float, optional
        Default: the longest median period of the series.
    unit : {"job", "host", "gpu"}, optional
        Also keep the sum of each of these apart, as far as the recording knows them; "gpu": each series.
    max_gap_s : float, optional, s
        What is known that close between two readings is no hole.

    Raises
    ------
    InputError
        If there are fewer than two readings, or the grid would be absurdly long.
    """
    series = recording.series
    periods = [period for name in series if (period := series.period_us(name)) is not None]
    if not periods:
        raise InputError("a demand needs at least two readings of power over time")
    step = step_s or max(periods) / 1e6
    starts, ends = zip(*map(series.span_us, series), strict=True)
    first, last = (min(starts), max(ends)) if recording.kind == "job" else (max(starts), min(ends))
    n = math.floor((last - first) / (step * 1e6) + 1e-6) + 1
    if not 2 <= n <= MOST_STEPS:
        raise InputError(
            f"{max(n, 0)} steps of {step:g} s are common to all series; at least 2 and at most {MOST_STEPS} are needed"
        )
    hole_us = _HOLE_STEPS * step * 1e6 if max_gap_s is None else max_gap_s * 1e6 / 2.0
    key = _key(recording, unit)
    total = np.zeros(n)
    units = {key(name): np.zeros(n) for name in series} if key is not None else {}
    largest = dict.fromkeys(series, 0.0)
    for low, high in stretches(n, len(series)):
        grid = first + np.rint(np.arange(low, high) * (step * 1e6)).astype(np.int64)
        parts = dict(_parts(recording, grid, step, hole_us))
        here = total[low:high]
        for part in parts.values():
            here += part
        known = ~np.isnan(here)
        for name, part in parts.items():
            largest[name] = max(largest[name], float(part[known].max(initial=0.0)))
            if key is not None:
                units[key(name)][low:high] += part
    return Load(step, first, total, recording.kind, tuple(largest.values()), units)


def _key(recording: LoadRecording, unit: str) -> Callable[[SeriesName], str] | None:
    """Return what names the unit of a series; None where the whole recording is one unit."""
    if unit == "gpu":
        return str
    if unit == "host" and recording.kind != "total" and all(name.host for name in recording.series):
        return lambda name: name.host
    return (lambda name: name.job) if unit and recording.kind == "job" else None


def stretches(n: int, series: int) -> Iterator[tuple[int, int]]:
    """Cut a grid of ``n`` steps so that not too much of ``series`` series is held at once."""
    steps = min(max(_CELLS // series, _LEAST), _MOST)
    return ((low, min(low + steps, n)) for low in range(0, n, steps))


def _parts(
    recording: LoadRecording, grid: NDArray[np.int64], step_s: float, hole_us: float
) -> Iterator[tuple[SeriesName, NDArray[np.float64]]]:
    """Give the values of each series at moments of the grid; a job that is not there has none."""
    half = round(step_s * 5e5)
    for name in recording.series:
        first, last = recording.series.span_us(name)
        of_job = recording.kind == "job"
        if of_job and (last + half < grid[0] or first - half > grid[-1]):
            continue
        trace = recording.series.between(name, int(grid[0]) - half, int(grid[-1]) + half)
        values = _resampled(trace, grid, step_s, hole_us)
        values[(grid < first - step_s * 5e5) | (grid > last + step_s * 5e5)] = 0.0 if of_job else math.nan
        yield name, values


def _resampled(trace: Trace, grid: NDArray[np.int64], step_s: float, hole_us: float) -> NDArray[np.float64]:
    """Values at the grid's points: the readings themselves where they lie on it, else their mean about each point."""
    time, power = trace
    step = step_s * 1e6
    if (regular := _one_each(time, power, grid, _ON_GRID * step)) is not None:
        return regular
    if time.size == 1:
        return np.where(np.abs(time[0] - grid) > hole_us, math.nan, power[0])
    nearest = np.clip(np.searchsorted(time, grid), 1, time.size - 1)
    nearest -= grid - time[nearest - 1] < time[nearest] - grid
    away = np.abs(time[nearest] - grid)
    values = power[nearest]
    off = away > _ON_GRID * step
    if off.any():
        # Not on the grid: the mean over each step, from the exact integral of the straight lines between readings.
        edges = np.concatenate((grid - round(step / 2), [grid[-1] + round(step / 2)]))
        edges = np.clip(edges, time[0], time[-1])
        at, energy = (edges - time[0]) / 1e6, _energy(time, power, edges)
        width = np.diff(at)
        means = np.diff(energy) / np.where(width > 0.0, width, 1.0)
        values = np.where(off & (width > 0.0), means, values)
    values[away > hole_us] = math.nan
    return values


def _one_each(
    time: NDArray[np.int64], power: NDArray[np.float64], grid: NDArray[np.int64], close: float
) -> NDArray[np.float64] | None:
    """Return the readings if there is one at each moment of the grid, as there mostly is; else None."""
    begin = int(np.searchsorted(time, grid[0] - close))
    mine = time[begin : begin + grid.size]
    if mine.size < grid.size or not (np.abs(mine - grid) <= close).all():
        return None
    return power[begin : begin + grid.size].copy()


def _energy(time: NDArray[np.int64], power: NDArray[np.float64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Energy from the first reading to each edge, J, of the straight lines between readings."""
    seconds, at = (time - time[0]) / 1e6, (edges - time[0]) / 1e6
    steps = np.diff(seconds)
    joules = np.concatenate(([0.0], np.cumsum(0.5 * (power[1:] + power[:-1]) * steps)))
    k = np.clip(np.searchsorted(time, edges, side="right") - 1, 0, seconds.size - 2)
    slope = (power[k + 1] - power[k]) / steps[k]
    since = at - seconds[k]
    energy: NDArray[np.float64] = joules[k] + since * (power[k] + 0.5 * slope * since)
    return energy
