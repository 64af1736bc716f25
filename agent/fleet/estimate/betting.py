"""An interval for the mean of a finite population that needs no more than bounds of each value.

Betting while drawing without replacement: I. Waudby-Smith and A. Ramdas, *J. R. Stat. Soc. B* 86 (2024) 1, sections 4
and 5. A gambler bets on each value against a supposed mean m; if m is true the capital stays a fair game, so a capital
of 2 / alpha refutes it. Bets depend on earlier values only, so the order must be random, and says nothing else: the
capital is the mean of games in several shuffled orders, which is fair too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.intervals import Interval
from wattshed.agent.fleet.estimate.sample import sums
from wattshed.agent.fleet.estimate.student import quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.fleet.estimate.fitting import Fitted
    from wattshed.agent.fleet.estimate.sample import Sample

ORDERS = 16
BOLDEST = 0.9
"""Share of what could be lost at most on one value."""


def bounded(found: Fitted, value: NDArray[np.float64], total: float, meter_se: float, confidence: float) -> Interval:
    """Interval for the total of ``value``, float64[u], from the limits of the population's strata.

    The strata's intervals hold together, each with its share of what may be missed (Bonferroni); what was taken whole
    is exact. ``meter_se`` is as for ``intervals.interval``.

    Raises
    ------
    InputError
        If hosts are not the sampling unit, equally likely to be drawn, or a limit is missing or exceeded.
    """
    sample = found.design.sample
    hosts, n = sample.population.hosts, sample.sampled
    left = np.flatnonzero(hosts > n)
    limits = _limits(found, left)
    values = sums(sample.unit_host, value, len(sample.names))
    _check(sample, values, limits)
    lower = upper = float(values[~np.isin(sample.stratum, left)].sum())
    each = 1.0 - (1.0 - confidence) / max(left.size, 1)
    for h in left:
        low, high = mean_within(values[sample.stratum == h], int(hosts[h]), float(limits[h]), each)
        lower, upper = lower + float(hosts[h]) * low, upper + float(hosts[h]) * high
    meters = quantile(confidence, math.inf) * meter_se
    return Interval(total - math.hypot(total - lower, meters), total + math.hypot(upper - total, meters), "bounded")


def _limits(found: Fitted, strata: NDArray[np.int64]) -> NDArray[np.float64]:
    sample = found.design.sample
    limits = sample.population.limits
    plain = found.design.equal and not found.design.two_stages and not found.calibration.known.size
    if sample.primary != "host" or not plain:
        raise InputError("--interval bounded needs --method stratified, with hosts as the sampling unit")
    if limits is None or not (limits[strata] > 0.0).all():
        raise InputError(
            "--interval bounded needs the most that one host of each stratum can draw; add a column limit to the "
            "population"
        )
    return limits


def _check(sample: Sample, values: NDArray[np.float64], limits: NDArray[np.float64]) -> None:
    most = limits[sample.stratum]
    if (outside := (values < 0.0) | (values > most)).any():
        i = int(np.flatnonzero(outside)[0])
        raise InputError(
            f"{sample.names[i]!r} has {values[i]:g}, outside 0 to {most[i]:g}, the limit of its stratum: "
            "correct the value or the limit"
        )


def mean_within(
    value: NDArray[np.float64], members: int, most: float, confidence: float, *, seed: int = 1
) -> tuple[float, float]:
    """Interval for the mean of a population of values in [0, ``most``], from a random sample without replacement.

    Parameters
    ----------
    value : float64[n]
    members : int
        Of the population, n of them drawn.
    most : float
        Above 0.
    confidence : float
        At least this often the interval covers, whatever the population.
    seed : int
        Of the shuffles.
    """
    n = value.size
    if n == members:
        return float(value.mean()), float(value.mean())
    x = value / most
    least, largest = float(x.sum()) / members, (float(x.sum()) + members - n) / members
    if n == 0:
        return 0.0, most
    random = np.random.default_rng(seed)
    orders = np.stack([random.permutation(x) for _ in range(ORDERS)])
    enough = math.log(2.0 / (1.0 - confidence))
    lower = _refuted(orders, members, enough, least, largest)
    upper = 1.0 - _refuted(1.0 - orders, members, enough, 1.0 - largest, 1.0 - least)
    return lower * most, upper * most


def _refuted(x: NDArray[np.float64], members: int, enough: float, least: float, largest: float) -> float:
    """Largest mean that is refuted from below: float64[orders, n] in [0, 1]."""
    n = x.shape[1]
    before = np.cumsum(x, axis=1) - x
    count = np.arange(n)
    # Bets of the plug-in strategy; half a value of 1/2 and of variance 1/4 stands for what was seen before the first.
    means = (0.5 + np.cumsum(x, axis=1)) / (count + 2.0)
    squares = 0.25 + np.cumsum((x - means) ** 2, axis=1)
    variance = np.hstack([np.full((x.shape[0], 1), 0.25), (squares / (count + 2.0))[:, :-1]])
    bets = np.sqrt(2.0 * enough / (n * variance))

    def refuted(mean: float) -> bool:
        left = (members * mean - before) / (members - count)
        if (left <= 0.0).all(axis=1).any():
            return True
        with np.errstate(divide="ignore", invalid="ignore"):
            bet = np.minimum(bets, np.where(left > 0.0, BOLDEST / left, math.inf))
            step = np.where(left > 0.0, 1.0 + bet * (x - left), np.where(x > left, math.inf, 1.0))
        # A mean below what is known already is refuted by what was drawn.
        won = np.log(step).sum(axis=1)
        top = float(won.max())
        return top + math.log(float(np.mean(np.exp(won - top)))) >= enough if math.isfinite(top) else top > 0.0

    low, high = least, largest
    if not refuted(low):
        return low
    for _ in range(34):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
