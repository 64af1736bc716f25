"""Fleets that are drawn: many units that each replay a measured trace, here or on the workers of a cluster.

The unit is a job (or host): its GPUs lie on one trace, for they move together. Each unit replays a whole trace, round
and round, from a start of its own: any step of any trace is as likely as any other. Units are exchangeable, so only how
many begin where matters, and those counts are multinomial over all starts. Their sum is the circular convolution of the
trace with the counts, by FFT, which is exact because it is rounded to whole milliwatts: a fleet of any size costs what
one unit does, and its spread falls with the root of their number, without a floor.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.wire.cluster import connected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from wattshed.agent.wire.cluster import Cluster

_SPARSE = 16  # units a start, up to which their starts are drawn one by one
_AT_ONCE = 1 << 22  # starts
_MOST_MW = 1 << 62
_ERROR = 8 * 2.0**-52  # of a convolution, for each doubling of its length: three transforms, and some to spare
_SURE = 0.25  # mW: an error of half of one would be rounded to another number
_OF_A_TASK = 10  # fleets that a worker draws at a time


class Fleets:
    """Draws fleets of exchangeable units that replay traces, exact in whole milliwatts.

    Parameters
    ----------
    traces : float64[j, n], W
        One is as likely as another.
    units : int
    seed : int
        The same seed draws the same fleets, on any kind of processor, and however they are spread over threads.

    Raises
    ------
    InputError
        If so many units could draw 4.6e15 W or more.
    """

    def __init__(self, traces: NDArray[np.float64], units: int, seed: int) -> None:
        self.units = units
        self._shape, self._seed = traces.shape, seed
        if units * float(np.abs(traces).max()) * 1e3 >= _MOST_MW:
            raise InputError(f"{units} units of such power are more than can be added up ({_MOST_MW / 1e3:.2g} W)")
        whole = np.rint(traces * 1e3).astype(np.int64)
        # The mean is added apart, so that the error of a transform is relative to the swing and not to the level.
        self._means = np.rint(whole.mean(axis=1)).astype(np.int64)
        self._swings = _transformed(whole - self._means[:, None], units)

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
        """Power of a fleet: float64[n], W, the nearest to a whole number of milliwatts."""
        starts = self.starts(replicate)
        counts = np.fft.rfft(starts)
        total = np.full(self._shape[1], self._means @ starts.sum(axis=1))
        for shift, swings in self._swings:
            digits = np.rint(np.fft.irfft((swings * counts).sum(axis=0), self._shape[1]))
            total += digits.astype(np.int64) << shift
        return np.asarray(total / 1e3, np.float64)


def _transformed(swings: NDArray[np.int64], units: int) -> tuple[tuple[int, NDArray[np.complex128]], ...]:
    """Transform whole numbers, in as many parts as it takes for their convolution to be rounded to the right ones.

    The error of a convolution by FFT is relative to the product of the norms of what is convolved (N. J. Higham,
    Accuracy and Stability of Numerical Algorithms, 2002, section 24.1). Traces whose sum would not be sure to a quarter
    of a milliwatt are cut into digits, which are small.

    Parameters
    ----------
    swings : int64[j, n], mW
    units : int

    Returns
    -------
    sequence of (int, complex128[j, n // 2 + 1])
        Parts whose multiples by two to the power of the first, added up, are ``swings``.
    """
    cells = swings.size
    counts = min(float(units), 4.0 * math.sqrt(units + units * (units / cells)))  # the norm is rarely half of this
    error = _ERROR * math.log2(4.0 * swings.shape[1]) * counts
    bits = max(4, math.floor(math.log2(_SURE / (error * math.sqrt(cells)))))
    parts, shift = [], 0
    while error * float(np.linalg.norm(swings.astype(np.float64))) > _SURE:
        high = (swings + (1 << (bits - 1))) >> bits
        parts.append((shift, np.fft.rfft(swings - (high << bits))))
        swings, shift = high, shift + bits
    return (*parts, (shift, np.fft.rfft(swings)))


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
