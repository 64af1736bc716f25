"""Whether a sample looks as if its tail had no end: then the rarest hosts decide the total, and it has too few of them.

Logarithms of lognormal values are even, those of a Pareto tail are skewed, like those of a fleet of a few busy hosts
among idle ones. What tells the last two apart are the largest values: of one kind they lie close together, in a tail
each is a multiple of the one before. The thresholds are those tested in docs/fleet.md (docs/decisions/1076).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 20
"""Values above 0 from which a tail can be told."""

SKEWED = 0.5
"""Skewness of the logarithms: a lognormal fleet has 0."""

APART = 0.2
"""Mean logarithm of the upper values over the least of them; those of one kind are closer."""

FAR = 10.0
"""A value of so many times the mean is more than what intervals assume (`intervals.JOHNSON`)."""


def endless(value: NDArray[np.float64]) -> bool:
    """Tell whether the values of a stratum, float64[n], look like a sample of a tail without an end."""
    log = np.log(value[value > 0.0])
    if log.size < FEWEST or log.min() == log.max():
        return False
    off = log - log.mean()
    if np.mean(off**3) <= SKEWED * np.mean(off**2) ** 1.5:
        return False
    upper = log[log > 0.5 * (log.min() + log.max())]
    return bool(value.max() > FAR * value.mean() or np.sum(upper - upper.min()) > APART * (upper.size - 1))
