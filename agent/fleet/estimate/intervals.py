"""From a total and its variance to an interval: Student's t, t extended for skewness, or one that only bounds need.

Degrees of freedom: F. E. Satterthwaite, *Biometrics Bulletin* 2 (1946) 110. Skewness: N. J. Johnson, *J. Am. Stat.
Assoc.* 73 (1978) 536; P. Hall, *J. R. Stat. Soc. B* 54 (1992) 221. The thresholds and the factor are those with which
the intervals of docs/fleet.md cover what they say (docs/decisions/1075).
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

KINDS = ("auto", "t", "johnson", "hall", "bounded")

SKEWED = 0.1
"""Skewness of the total from which t is extended on its long side."""

JOHNSON = 3.0
"""Johnson's correction is multiplied by it: a sample that lacks the rarest hosts looks less skewed than its fleet."""

TELL = 10
"""Primary units from which a sample tells its skewness."""

THIRD, MOST_OF_SILENT = 3, 0.1
"""Strata of fewer units have no third moment; they may hold this much of the variance."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval, and how it was made: ``kind`` is t, johnson, hall or bounded; none, where there is no variance."""

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


def johnson(x: float, g: float) -> float:
    """Extend a quantile on the long side under skewness g >= 0, by ``JOHNSON`` times Johnson's correction."""
    return x + JOHNSON * g * (1.0 + 2.0 * x * x) / 6.0


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
    kind : {"auto", "t", "johnson", "hall"}
    """
    if np.isnan(spread.variance).any():
        return Interval(None, None, "none")
    se = math.sqrt(float(spread.variance.sum()))
    df = degrees_of_freedom(spread)
    q = quantile(confidence, df) if df > 0 else 0.0
    below, above, kind = reach(spread, q, sampled=sampled, kind=kind)
    meters = quantile(confidence, math.inf) * meter_se if meter_se else 0.0
    return Interval(total - math.hypot(se * below, meters), total + math.hypot(se * above, meters), kind)


def reach(spread: Spread, q: float, *, sampled: NDArray[np.int64], kind: str = "auto") -> tuple[float, float, str]:
    """Return how many standard errors an interval extends below and above the estimate, and what kind it is.

    Parameters
    ----------
    spread : Spread
    q : float
        Quantile of Student's t.
    sampled : int64[H]
        Primary units of each stratum that were not certain to be drawn.
    kind : {"auto", "t", "johnson", "hall"}
    """
    g = skewness(spread)
    if kind == "auto":
        kind = "johnson" if abs(g) > SKEWED and speaks(spread, sampled) else "t"
    if kind == "hall":
        return hall(q, g), -hall(-q, g), kind
    # What looks like a long side in a sample may be chance: the other side is not shortened.
    long = johnson(q, abs(g)) if kind == "johnson" else q
    return (q, long, kind) if g > 0.0 else (long, q, kind)


def speaks(spread: Spread, sampled: NDArray[np.int64]) -> bool:
    """Whether the strata with most of the variance have units enough to tell its skewness.

    The variance that n units show varies itself: its square is (n + 1) / (n - 1) of what it should be, on average.
    """
    variance = spread.variance
    total = float(variance.sum())
    if float(variance[sampled < THIRD].sum()) >= MOST_OF_SILENT * total:
        return False
    known = (variance > 0.0) & (sampled >= THIRD)
    n = sampled[known].astype(np.float64)
    return total**2 >= TELL * float(np.sum(variance[known] ** 2 * (n - 1.0) / (n + 1.0) / n))
