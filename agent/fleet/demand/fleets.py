"""Fleets that are drawn: many units that each replay a measured trace, here or on the workers of a cluster.

The unit is a job (or host): its GPUs lie on one trace, for they move together. Each unit replays a whole trace, round
and round, from a start of its own: any step of any trace is as likely as any other. Units are exchangeable, so only how
many begin where matters, and those counts are multinomial over all starts. Their sum is the circular convolution of the
trace with the counts, exact by FFT: a fleet of any size costs what one unit does, and its spread falls with the root
of their number, without a floor.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from wattshed.agent.wire.cluster import connected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from wattshed.agent.wire.cluster import Cluster

_SPARSE = 16  # units a start, up to which their starts are drawn one by one
_AT_ONCE = 1 << 22  # starts
_OF_A_TASK = 10  # fleets that a worker draws at a time


class Fleets:
    """Draws fleets of exchangeable units that replay traces.

    Parameters
    ----------
    traces : float64[j, n], W
        One is as likely as another.
    units : int
    seed : int
        The same seed draws the same fleets, however they are spread over threads.
    """

    def __init__(self, traces: NDArray[np.float64], units: int, seed: int) -> None:
        self.units = units
        self._shape, self._seed = traces.shape, seed
        # The mean is added apart, so that rounding is relative to the swing and not to the level.
        self._means = traces.mean(axis=1)
        self._swings = np.fft.rfft(traces - self._means[:, None])

    def starts(self, replicate: int) -> NDArray[np.int64]:
        """How many units of a fleet begin at each step of each trace: int64[j, n]; they sum to ``units``."""
        random = np.random.default_rng((self._seed, replicate))
        cells = self._shape[0] * self._shape[1]
        if self.units > _SPARSE * cells:
            return random.multinomial(self.units, np.full(cells, 1.0 / cells)).reshape(self._shape)
        counts = np.zeros(cells, np.int64)
        for first in range(0, self.units, _AT_ONCE):
            drawn = random.integers(cells, size=min(_AT_ONCE, self.units - first))
            counts += np.bincount(drawn, minlength=cells)
        return counts.reshape(self._shape)

    def draw(self, replicate: int) -> NDArray[np.float64]:
        """Power of a fleet: float64[n], W."""
        return _replayed(self._swings, self._means, self.starts(replicate))


def replay_by_phase(trace_w: NDArray[np.float64], phases: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum of units that replay one trace, unit i late by ``phases[i]`` steps, round and round: float64[n], W, by FFT.

    Parameters
    ----------
    trace_w : float64[n], W
    phases : int64[units], steps
    """
    mean = trace_w.mean(keepdims=True)
    starts = np.bincount(phases % trace_w.size, minlength=trace_w.size)
    return _replayed(np.fft.rfft(trace_w - mean)[None], mean, starts[None])


def _replayed(
    swings: NDArray[np.complex128], means: NDArray[np.float64], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Add up traces (transformed, less their means) that begin so often at each step: float64[n], W."""
    swing = np.fft.irfft((swings * np.fft.rfft(starts)).sum(axis=0), starts.shape[1])
    return np.asarray(swing + float(means @ starts.sum(axis=1)), np.float64)


def over(power_w: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Means over so many steps each, without a rest that is shorter."""
    whole = max(power_w.size // steps, 1) * steps if power_w.size >= steps else power_w.size
    return power_w[:whole].reshape(-1, min(steps, whole)).mean(axis=1) if steps > 1 else power_w


@dataclass(frozen=True, slots=True)
class DrawnFleets:
    """What is kept of fleets that follow each other.

    Attributes
    ----------
    peaks_w, means_w, variances : float64[r], W and W^2
        One for each fleet, over its steps.
    looked : sequence
        What `FleetOrder.look` made of each of the first fleets.
    """

    peaks_w: NDArray[np.float64]
    means_w: NDArray[np.float64]
    variances: NDArray[np.float64]
    looked: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetOrder:
    """What fleets to draw, and what to keep of them; it travels to the workers of a cluster once.

    Attributes
    ----------
    fleets : Fleets
    peak_steps : int
        Peaks are of means over so many steps.
    look : callable, optional
        Shown the power of the first ``most_looks`` fleets, float64[n], W. On a cluster it is pickled.
    most_looks : int
    """

    fleets: Fleets
    peak_steps: int = 1
    look: Callable[[NDArray[np.float64]], Any] | None = None
    most_looks: int = 0

    def draw(self, first: int, last: int) -> DrawnFleets:
        """Draw the fleets from ``first`` to before ``last``; each is the same in whatever company it is drawn."""
        r = last - first
        peaks, means, variances, looked = np.empty(r), np.empty(r), np.empty(r), []
        for i in range(r):
            fleet = self.fleets.draw(first + i)
            peaks[i], means[i], variances[i] = over(fleet, self.peak_steps).max(), fleet.mean(), fleet.var()
            if self.look is not None and first + i < self.most_looks:
                looked.append(self.look(fleet))
        return DrawnFleets(peaks, means, variances, tuple(looked))


class DrawFleets(Protocol):
    """Draws so many fleets, a few at a time and in their order."""

    def __call__(self, order: FleetOrder, replicates: int) -> Iterator[DrawnFleets]:
        """Yield fleets 0 to ``replicates``, each once."""
        ...


def draw_here(order: FleetOrder, replicates: int) -> Iterator[DrawnFleets]:
    """Draw one fleet after the other in this process."""
    return (order.draw(r, r + 1) for r in range(replicates))


@contextmanager
def drawing_on(workers: int, scheduler: str) -> Iterator[DrawFleets]:
    """Draw in so many processes of this machine, on a running Dask cluster, or without both in this process.

    Raises
    ------
    InputError
        See `agent.wire.cluster.connected`.
    """
    if not (workers or scheduler):
        yield draw_here
        return
    with connected(workers, scheduler) as cluster:
        yield partial(_draw_there, cluster)


def _draw_there(cluster: Cluster, order: FleetOrder, replicates: int) -> Iterator[DrawnFleets]:
    told = cluster.send(order)
    stretches = [(first, min(first + _OF_A_TASK, replicates)) for first in range(0, replicates, _OF_A_TASK)]
    return cluster.answers([cluster.submit(FleetOrder.draw, told, *stretch) for stretch in stretches])


def join(several: list[DrawnFleets]) -> DrawnFleets:
    """Fleets that were drawn a few at a time, as if they had been drawn at once."""
    peaks, means, variances = (
        np.concatenate([getattr(some, name) for some in several]) for name in ("peaks_w", "means_w", "variances")
    )
    return DrawnFleets(peaks, means, variances, tuple(one for some in several for one in some.looked))
