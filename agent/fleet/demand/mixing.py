"""What an even grid takes from fast swings: a step of it holds a share of one reading, and the rest of the next.

Stamps of programs that poll are not even, and drift against any grid. A step with shares 1 - a and a passes
1 - 2 a (1 - a) (1 - cos w) of the power of a swing that turns by w from step to step: at half the sampling rate a
third, if all shares are as likely. The energy of a step stays exact; the swing has to be given back what it lost.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.held import HeldSeries

_PIECES, _STEPS = 8, 1 << 10  # of a grid that are looked at
_SERIES = 16
_ALIKE = 0.1  # by which a period may differ from a step whose readings are mixed two by two, as a share of it
_LEAST_PASSED = 0.1
"""Of power: what the grid takes below that is not given back, for it would be noise."""


def mixed(
    series: Iterable[HeldSeries], edges_us: Callable[[int, int], NDArray[np.float64]], n: int, lone_us: float
) -> float:
    """Mean of a (1 - a) over the steps of a grid.

    Parameters
    ----------
    series : iterable of HeldSeries
        Of which some are looked at; those with another period than the steps have no part in it.
    edges_us : callable
        Gives the edges of the steps from one to another, us; some pieces of the ``n`` steps are looked at.
    n : int
    lone_us : float, us
        See `HeldSeries.between`.
    """
    found = []
    steps = n if n <= _PIECES * _STEPS else _STEPS
    pieces = [edges_us(low, low + steps) for low in sorted({int(at) for at in np.linspace(0, n - steps, _PIECES)})]
    step_us = float(np.diff(pieces[0][:2])[0])
    for held in islice(series, _SERIES):
        alike = held.period_us is not None and abs(held.period_us / step_us - 1.0) < _ALIKE
        found.append(float(np.mean([_of_piece(held, edges, lone_us) for edges in pieces])) if alike else 0.0)
    return float(np.mean(found))


def _of_piece(held: HeldSeries, edges_us: NDArray[np.float64], lone_us: float) -> float:
    """Mean of a (1 - a) of some steps: half of what the squares of the shares lack of 1."""
    cuts = np.concatenate((edges_us, held.between(edges_us[0], edges_us[-1], lone_us).edges_us))
    cuts = np.unique(cuts.clip(edges_us[0], edges_us[-1]))
    step = np.searchsorted(edges_us, cuts[:-1], side="right") - 1
    shares = np.diff(cuts) / np.diff(edges_us)[step]
    return 0.5 * max(1.0 - float(np.bincount(step, shares**2, edges_us.size - 1).mean()), 0.0)


def passed(turn: NDArray[np.float64], mixing: float) -> NDArray[np.float64]:
    """Share of the power of a swing that is left, for its turn from step to step (float64[k], radians)."""
    return np.maximum(1.0 - 2.0 * mixing * (1.0 - np.cos(turn)), _LEAST_PASSED)
