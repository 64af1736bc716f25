"""What a sample does not support, in words: each with what to do. The thresholds are those tested in docs/fleet.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.fleet.estimate.intervals import skewness
from wattshed.agent.fleet.estimate.sample import sums

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from wattshed.agent.fleet.estimate.design import Design, Spread
    from wattshed.agent.fleet.estimate.intervals import Interval

LARGE_SHARE = 0.05
"""A sampled unit above this share of the total, and three times its stratum's mean, calls for a take-all stratum."""

VERY_SKEWED = 0.2
"""Skewness of the total above which a nominal interval may cover less than 93 % (Cochran, 2.15)."""

FEW, MOST_OF_FEW = 5, 0.2
"""A stratum with fewer sampled units and more than this share of the total has a variance that is hardly known."""


UNSEEN = 0.05
"""Chance with which a sample misses a kind of host that is as large as it is said to be."""


def cautions(design: Design, spread: Spread, value: NDArray[np.float64], bounds: Interval) -> tuple[str, ...]:
    """Say what makes the interval doubtful.

    Parameters
    ----------
    design : Design
    spread : Spread
        Sampling error of the total.
    value : float64[u]
        Weighted values of the units, which sum to the total.
    bounds : Interval
        Of the total.
    """
    if bounds.kind == "bounded":
        return ()  # it covers whatever the population is
    return (
        *_unmeasured(design),
        *_single(design, spread),
        *_flat(design, spread),
        *_few(design, spread, value),
        *_skewed(spread),
        *_unseen(design, value, bounds),
        *_large_units(design, value),
    )


def _named(design: Design, which: NDArray[np.bool_]) -> str:
    return ", ".join(design.sample.population.strata[h] for h in np.flatnonzero(which))


def _unmeasured(design: Design) -> Iterator[str]:
    sample = design.sample
    if (none := (sample.sampled == 0) & (sample.population.hosts > 0)).any():
        yield (
            f"no measurement in stratum {_named(design, none)}: the total of the population is unknown; "
            "measure at least two hosts there"
        )


def _single(design: Design, spread: Spread) -> Iterator[str]:
    sample = design.sample
    if (single := np.isnan(spread.variance) & (sample.sampled > 0)).any():
        unit = "host or GPU" if design.two_stages else sample.primary
        yield (
            f"no variance in stratum {_named(design, single)} (one measured {unit} that represents more): no interval "
            "can be given; measure a second one"
        )


def _flat(design: Design, spread: Spread) -> Iterator[str]:
    if (flat := (spread.variance == 0.0) & (design.open > 1)).any():
        yield (
            f"the sample of stratum {_named(design, flat)} has no spread at all: its sampling error comes out as 0, "
            "which no sample proves; check that the values are measured, or measure more"
        )


def _few(design: Design, spread: Spread, value: NDArray[np.float64]) -> Iterator[str]:
    n = design.open
    parts = sums(design.sample.unit_stratum, value, n.size)
    total = float(parts.sum())
    few = (n > 1) & (n < FEW) & (spread.variance > 0.0) & (parts > MOST_OF_FEW * abs(total))
    if few.any():
        yield (
            f"more than {MOST_OF_FEW:.0%} of the total and fewer than {FEW} measured {design.sample.primary}s in "
            f"stratum {_named(design, few)}: the spread is hardly known; measure {FEW} there"
        )


def _skewed(spread: Spread) -> Iterator[str]:
    if np.isnan(spread.variance).any():
        return
    if abs(g := skewness(spread)) > VERY_SKEWED:
        yield (
            f"the sampling error is skewed ({g:.2g}): the interval may cover less than it says; measure more, put the "
            "largest hosts into a stratum that is taken whole, or give limits and --interval bounded"
        )


def _unseen(design: Design, value: NDArray[np.float64], bounds: Interval) -> Iterator[str]:
    """Say how many hosts of another kind a sample may have missed, if they would leave a narrow interval.

    Of K such hosts among N none is among n drawn with chance (1 - n / N)^K or less.
    """
    sample, n = design.sample, design.sample.counted
    # Of jobs that were met by chance nobody knows how many there are; that they were is said anyway.
    if bounds.lower is None or bounds.upper is None or not design.equal or sample.hosts_are_units:
        return
    hosts = sample.population.hosts
    half = 0.5 * (bounds.upper - bounds.lower)
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = np.minimum(np.log(UNSEEN) / np.log1p(-n / hosts), hosts - n)
        change = missed / hosts * sums(sample.unit_stratum, value, n.size)
    # Strata of fewer hosts have a warning of their own.
    change[(n < FEW) | (n == hosts)] = 0.0
    if half > 0.0 and abs(change[h := int(np.argmax(np.abs(change)))]) > half:
        unit, stratum = sample.primary, sample.population.strata[h]
        yield (
            f"the {n[h]} measured {unit}s of stratum {stratum} may have missed a kind of {unit} that is "
            f"{missed[h] / hosts[h]:.1%} of it, and could change the total by more than the interval says: measure "
            "more, or give limits and --interval bounded"
        )


def _large_units(design: Design, value: NDArray[np.float64]) -> Iterator[str]:
    """Name sampled units so large that the interval would cover too rarely."""
    sample, total = design.sample, float(value.sum())
    if not total > 0.0:
        return
    weighted = sums(sample.unit_host, value, len(sample.names))
    counts = np.bincount(sample.unit_host, minlength=len(sample.names))
    own = weighted * counts / sums(sample.unit_host, design.weight, len(sample.names))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums(sample.stratum, own, sample.sampled.size) / sample.sampled
    share = own / total
    large = (share > LARGE_SHARE) & (own > 3.0 * means[sample.stratum]) & (design.left > 0.0)
    for i in np.flatnonzero(large)[:5]:
        yield (
            f"{sample.names[i]!r} alone holds {share[i]:.1%} of the total: the interval covers less than it says; "
            "put it into a stratum of its own that is taken whole"
        )
