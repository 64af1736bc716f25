"""Series of power, onto one even grid: what every figure of a demand is computed from."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError, counted
from wattshed.agent.fleet.demand.held import NO_HOLES, HeldSeries
from wattshed.agent.fleet.demand.mixing import mixed
from wattshed.kernels.threads import each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.held import Staircase
    from wattshed.agent.fleet.demand.kept import SeriesName
    from wattshed.agent.fleet.demand.series import LoadRecording


@dataclass(frozen=True)
class Load:
    """Power on an even grid.

    Attributes
    ----------
    step_s : float, s
    start_us : int, us
        Middle of the first step.
    power_w : float64[n], W
        Mean power of each step over what is known of it; NaN in a hole of the recording.
    kind : str
        See `agent.fleet.demand.series.LoadRecording`.
    largest_w : sequence of float, W
        The largest of each series while all are known.
    units : mapping of name -> float64[n], W
        Jobs or hosts that it is the sum of, if they are drawn again; else empty.
    known_s : float64[n], s, or None
        How much of each step is known; None: all of what is not NaN. The sum of ``power_w * known_s`` is the energy of
        the recording while all of it is known, whatever the step.
    counted : int
        Of how many series the power is the difference of an energy counter.
    mixing : float
        How far its steps mix readings, see `agent.fleet.demand.mixing`; 0: not at all.
    """

    step_s: float
    start_us: int
    power_w: NDArray[np.float64]
    kind: str
    largest_w: tuple[float, ...] = ()
    units: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    known_s: NDArray[np.float64] | None = None
    counted: int = 0
    mixing: float = 0.0

    @property
    def covered_s(self) -> NDArray[np.float64]:
        """How much of each step is known, s: float64[n]."""
        return np.where(np.isnan(self.power_w), 0.0, self.step_s) if self.known_s is None else self.known_s

    @cached_property
    def steps_w(self) -> NDArray[np.float64]:
        """Power of the steps of which at least half is known, W: float64[n]; NaN for the others.

        Extremes are sought among these: the rest of a step that a recording or a hole cuts is no mean over a step.
        """
        if self.known_s is None:
            return self.power_w
        mostly = self.known_s >= _MOSTLY * self.step_s
        return self.power_w if mostly.all() else np.where(mostly, self.power_w, math.nan)

    @property
    def stretch(self) -> NDArray[np.float64]:
        """Longest stretch without a hole."""
        begin, end = self.longest
        return self.steps_w[begin:end]

    @cached_property
    def longest(self) -> tuple[int, int]:
        """Steps from which and to which the longest stretch without a hole reaches."""
        return longest_stretch(np.isnan(self.steps_w))


def longest_stretch(unknown: NDArray[np.bool_]) -> tuple[int, int]:
    """First step, and the one behind the last, of the longest stretch of steps that are known; (0, 0) if none is.

    Parameters
    ----------
    unknown : bool[n]
    """
    around = np.ones(unknown.size + 2, np.bool_)
    around[1:-1] = unknown
    edges = np.flatnonzero(around[1:] != around[:-1])
    if not edges.size:
        return 0, 0
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest])


MOST_STEPS = 50_000_000
_CELLS = 1 << 23  # series times steps that are held at once
_LEAST, _MOST = 1 << 10, 1 << 16  # steps
_LONG = 1 << 15  # steps of a stretch, from which on threads fill several side by side
_MOSTLY = 0.5 - 1e-9
_SLIVER = 1e-6  # of a step: what the last step is longer by, instead of another one


def on_grid(
    recording: LoadRecording, step_s: float | None = None, *, unit: str = "", max_gap_s: float | None = None
) -> Load:
    """Sum of a recording's series on an even grid, with the energy that they have whatever its step.

    A job that has not begun or has ended draws nothing; a GPU (or a total) that is not recorded is unknown. What is
    further from any reading than ten periods of its series is unknown too, to the microsecond.

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
    series = {name: HeldSeries(recording, name, max_gap_s) for name in recording.series}
    periods = [held.period_us for held in series.values() if held.period_us is not None]
    if not periods:
        raise InputError("a demand needs at least two readings of power over time")
    longest = max(periods)
    step = longest if step_s is None else step_s * 1e6
    starts, ends = zip(*(held.span_us(longest) for held in series.values()), strict=True)
    first, last = (min(starts), max(ends)) if recording.kind == "job" else (max(starts), min(ends))
    n = math.ceil((last - first) / step - _SLIVER)
    if not 2 <= n <= MOST_STEPS:
        raise InputError(
            f"all series have {counted(max(n, 0), 'step')} of {step / 1e6:g} s in common; "
            f"at least 2 and at most {MOST_STEPS:,} are needed"
        )
    even = _Grid(first, last, step, n)
    filled = _Filling(series, even, longest, _key(recording, unit))
    cuts = list(stretches(n, len(series)))
    # Of short stretches more time goes into calls, for which threads wait for each other, than into their arrays.
    long = cuts[0][1] - cuts[0][0] >= _LONG
    each(filled.fill, len(cuts), cuts, rows=n * len(series) if long else 0)
    unknown = filled.known_s <= 0.0
    if unknown.any():
        for power in (filled.total, *filled.units.values()):
            power[unknown] = math.nan
    return Load(
        step / 1e6,
        round(first + step / 2.0),
        filled.total,
        recording.kind,
        tuple(filled.largest.tolist()),
        filled.units,
        filled.known_s,
        sum(held.by_counter for held in series.values()),
        mixed(series.values(), even.edges_us, n, longest),
    )


@dataclass(frozen=True, slots=True)
class _Grid:
    """``n`` steps from ``first_us``; the last one ends at ``last_us``."""

    first_us: float
    last_us: float
    step_us: float
    n: int

    def edges_us(self, low: int, high: int) -> NDArray[np.float64]:
        """Edges of some steps, us: float64[high - low + 1]."""
        edges = self.first_us + np.arange(low, high + 1) * self.step_us
        if high == self.n:
            edges[-1] = self.last_us
        return np.asarray(edges)


class _Filling:
    """Sums of series on a grid, filled stretch by stretch, by several threads.

    Parameters
    ----------
    series : mapping of name -> HeldSeries
    even : _Grid
    lone_us : float, us
        For which a reading without another one holds.
    key : callable, optional
        Names the unit of a series, if units are kept apart.
    """

    def __init__(
        self,
        series: Mapping[SeriesName, HeldSeries],
        even: _Grid,
        lone_us: float,
        key: Callable[[SeriesName], str] | None,
    ) -> None:
        self._series, self._grid, self._lone_us, self._key = series, even, lone_us, key
        self._lock = threading.Lock()
        self.total, self.known_s = np.zeros(even.n), np.empty(even.n)
        self.units = {key(name): np.zeros(even.n) for name in series} if key is not None else {}
        self.largest = np.zeros(len(series))

    def fill(self, cuts: Sequence[tuple[int, int]], begin: int, end: int) -> None:
        """Fill the stretches from ``begin`` to ``end``."""
        for low, high in cuts[begin:end]:
            self._stretch(low, high)

    def _stretch(self, low: int, high: int) -> None:
        edges = self._grid.edges_us(low, high)
        cells = _cut(self._series, edges, self._lone_us)
        self.known_s[low:high] = cells.known_us / 1e6
        total, mostly = self.total[low:high], cells.known_us >= _MOSTLY * self._grid.step_us
        every = bool(mostly.all())
        largest = np.zeros(len(self._series))
        for place, name, held in _there(self._series, edges, self._lone_us):
            part = cells.means(held)
            total += part
            largest[place] = (part if every else part[mostly]).max(initial=0.0)
            if self._key is not None:
                self.units[self._key(name)][low:high] += part
        with self._lock:
            np.maximum(self.largest, largest, out=self.largest)


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


class _Cells:
    """Steps of a grid, and the holes in them.

    Parameters
    ----------
    edges_us : float64[n + 1], us
    holes_us : float64[h, 2], us
        Of all series; they may overlap.
    """

    def __init__(self, edges_us: NDArray[np.float64], holes_us: NDArray[np.float64]) -> None:
        self._n = edges_us.size - 1
        self._whole = not holes_us.size
        # Without a hole the steps themselves; else they are cut where a hole begins or ends.
        bounds = holes_us.clip(edges_us[0], edges_us[-1])
        self.edges_us = edges_us if self._whole else np.unique(np.concatenate((edges_us, bounds.ravel())))
        width = np.diff(self.edges_us)
        self.known_us = width
        if not self._whole:
            middle = self.edges_us[:-1] + width / 2.0
            begun, ended = (np.searchsorted(np.sort(bounds[:, side]), middle) for side in (0, 1))
            self._known = np.where(begun > ended, 0.0, width)
            self._step = np.searchsorted(edges_us, self.edges_us[:-1], side="right") - 1
            self.known_us = np.bincount(self._step, self._known, self._n)

    def means(self, held: Staircase) -> NDArray[np.float64]:
        """Mean power of a series over what is known of each step, W: float64[n]; 0 where that is nothing."""
        means = held.means(self.edges_us)
        if self._whole:
            return means
        energy = np.bincount(self._step, means * self._known, self._n)
        return np.asarray(energy / np.where(self.known_us > 0.0, self.known_us, 1.0))


def _there(
    series: Mapping[SeriesName, HeldSeries], edges_us: NDArray[np.float64], lone_us: float
) -> Iterator[tuple[int, SeriesName, Staircase]]:
    """Give what is known of each series that is there in a stretch, one after the other, and the how many-th it is."""
    begin, end = float(edges_us[0]), float(edges_us[-1])
    for place, (name, held) in enumerate(series.items()):
        first, last = held.span_us(lone_us)
        if first < end and begin < last:
            yield place, name, held.between(begin, end, lone_us)


def _cut(series: Mapping[SeriesName, HeldSeries], edges_us: NDArray[np.float64], lone_us: float) -> _Cells:
    """Cut the steps of a stretch at the holes of all series."""
    begin, end = float(edges_us[0]), float(edges_us[-1])
    holes = [found for held in series.values() if (found := held.holes(begin, end, lone_us)).size]
    return _Cells(edges_us, np.concatenate(holes) if holes else NO_HOLES)
