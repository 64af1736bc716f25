"""From a total and its variance to an interval: Student's t, Hall's transform of it, or one that only bounds need.

Degrees of freedom: F. E. Satterthwaite, *Biometrics Bulletin* 2 (1946) 110. Transform: P. Hall, *J. R. Stat. Soc. B*
54 (1992) 221. The thresholds are those with which the intervals of docs/fleet.md cover what they say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.fleet.estimate.student import quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.fleet.estimate.design import Spread

KINDS = ("auto", "t", "hall", "bounded")

SKEWED = 0.1
"""Skewness of the total from which Hall's transform covers more than t."""

FEW, MOST_OF_FEW = 20, 0.1
"""Strata of fewer primary units say nothing of skewness; they may hold this much of the variance."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval, and how it was made: ``kind`` is t, hall or bounded; no bounds where there is no variance."""

    lower: float | None
    upper: float | None
    kind: str


def degrees_of_freedom(spread: Spread) -> float:
    """Satterthwaite's degrees of freedom of the sum of the strata's variances; 0 where there is no variance."""
    known = (spread.df > 0) & (spread.variance > 0)
    variance = spread.variance[known]
    if not variance.size:
        # Without any spread the count that the sample would have had.
        return float(spread.df.sum())
    share = variance / variance.sum()
    return float(1.0 / np.sum(share**2 / spread.df[known]))


def skewness(spread: Spread) -> float:
    """Third standardised moment of the total's sampling error: of the strata that say something of it."""
    cubed = float(np.nansum(spread.variance)) ** 1.5
    return float(np.nansum(spread.third)) / cubed if cubed > 0.0 else 0.0


def hall(x: float, g: float) -> float:
    """Hall's cubic transform of a quantile under skewness g, monotone; x itself where g is nothing."""
    if abs(g) < 1e-9:
        return x
    return 3.0 / g * (math.cbrt(1.0 + g * (x - g / 6.0)) - 1.0)


def interval(
    total: float, spread: Spread, meter_se: float, confidence: float, *, sampled: NDArray[np.int64], kind: str = "auto"
) -> Interval:
    """Interval about a total.

    Parameters
    ----------
    total : float
    spread : Spread
        Its sampling error.
    meter_se : float
        Standard error of the gain that all meters share, normally distributed.
    confidence : float
    sampled : int64[H]
        Primary units of each stratum that were not certain to be drawn.
    kind : {"auto", "t", "hall"}
    """
    if np.isnan(spread.variance).any():
        return Interval(None, None, "none")
    se = math.sqrt(float(spread.variance.sum()))
    df, g = degrees_of_freedom(spread), skewness(spread)
    q = quantile(confidence, df) if df > 0 else 0.0
    bent = kind == "hall" or (kind == "auto" and abs(g) > SKEWED and speaks(spread, sampled))
    below, above = (se * hall(q, g), -se * hall(-q, g)) if bent else (q * se, q * se)
    meters = quantile(confidence, math.inf) * meter_se if meter_se else 0.0
    return Interval(total - math.hypot(below, meters), total + math.hypot(above, meters), "hall" if bent else "t")


def speaks(spread: Spread, sampled: NDArray[np.int64]) -> bool:
    """Whether the strata with most of the variance have units enough to tell its skewness."""
    few = float(spread.variance[sampled < FEW].sum())
    return few < MOST_OF_FEW * float(spread.variance.sum())
