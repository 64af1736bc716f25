"""Fleets that are drawn: many units that each replay a measured trace.

The unit is a job (or host): its GPUs lie on one trace, for they move together. Each unit replays a whole trace, round
and round, from a start of its own: any step of any trace is as likely as any other. Units are exchangeable, so only how
many begin where matters, and those counts are multinomial over all starts. Their sum is the circular convolution of the
trace with the counts, exact in whole milliwatts (`kernels.convolution`): a fleet of any size costs what one unit does,
and its spread falls with the root of their number, without a floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.kernels.convolution import MOST, TurnedSums

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_SPARSE = 16  # units a start, up to which their starts are drawn one by one
_AT_ONCE = 1 << 22  # starts


class Fleets:
    """Draws fleets of exchangeable units that replay traces, exact in whole milliwatts.

    Parameters
    ----------
    traces : float64[j, n], W
        One is as likely as another.
    units : int
    seed : int
        The same seed draws the same fleets, on any kind of processor, and however they are spread over threads.
    sums : callable
        Adds up units, as `kernels.convolution.TurnedSums` does, which it is by default.

    Raises
    ------
    InputError
        If so many units could draw 4.6e15 W or more.
    """

    def __init__(
        self,
        traces: NDArray[np.float64],
        units: int,
        seed: int,
        sums: Callable[[NDArray[np.int64], int], AddTurned] = TurnedSums,
    ) -> None:
        self.units = units
        self.shape, self._seed = traces.shape, seed
        if units * float(np.abs(traces).max()) * 1e3 >= MOST:
            raise InputError(f"{units} units of such power are more than can be added up ({MOST / 1e3:.2g} W)")
        self._sums = sums(np.rint(traces * 1e3).astype(np.int64), units)

    def starts(self, replicate: int) -> NDArray[np.int64]:
        """How many units of a fleet begin at each step of each trace: int64[j, n]; they sum to ``units``."""
        random = np.random.default_rng((self._seed, replicate))
        cells = self.shape[0] * self.shape[1]
        if self.units > _SPARSE * cells:
            return random.multinomial(self.units, np.full(cells, 1.0 / cells)).reshape(self.shape)
        counts = np.zeros(cells, np.int64)
        for first in range(0, self.units, _AT_ONCE):
            drawn = random.integers(cells, size=min(_AT_ONCE, self.units - first))
            counts += np.bincount(drawn, minlength=cells)
        return counts.reshape(self.shape)

    def draw(self, replicate: int) -> NDArray[np.float64]:
        """Power of a fleet: float64[n], W, the nearest to a whole number of milliwatts."""
        return np.asarray(self.draw_some(replicate, replicate + 1)[0], np.float64)

    def draw_some(self, first: int, last: int) -> NDArray[np.float64]:
        """Power of the fleets from ``first`` to before ``last``: float64[last - first, n], W."""
        starts = np.array([self.starts(replicate) for replicate in range(first, last)])
        return np.asarray(self._sums(starts) / 1e3, np.float64)


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

    def draw(self, first: int, last: int, together: int = 1) -> DrawnFleets:
        """Draw the fleets from ``first`` to before ``last``; each is the same in whatever company it is drawn.

        So many ``together``, of which the CPU has no use: their arrays only take memory.
        """
        r = last - first
        peaks, means, variances, looked = np.empty(r), np.empty(r), np.empty(r), []
        some = (self.fleets.draw_some(low, min(low + together, last)) for low in range(first, last, together))
        for i, fleet in enumerate(chain.from_iterable(some)):
            peaks[i], means[i], variances[i] = over(fleet, self.peak_steps).max(), fleet.mean(), fleet.var()
            if self.look is not None and first + i < self.most_looks:
                looked.append(self.look(fleet))
        return DrawnFleets(peaks, means, variances, tuple(looked))


class AddTurned(Protocol):
    """Adds up copies of series that are turned round, see `kernels.convolution.TurnedSums`."""

    def __call__(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return int64[r, n] for int64[r, j, n]."""
        ...


def join(several: list[DrawnFleets]) -> DrawnFleets:
    """Fleets that were drawn a few at a time, as if they had been drawn at once."""
    peaks, means, variances = (
        np.concatenate([getattr(some, name) for some in several]) for name in ("peaks_w", "means_w", "variances")
    )
    return DrawnFleets(peaks, means, variances, tuple(one for some in several for one in some.looked))
