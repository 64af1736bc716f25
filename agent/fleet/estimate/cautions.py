"""What a sample does not support, in words: each with what to do. The thresholds are those tested in docs/fleet.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.fleet.estimate.intervals import skewness
from wattshed.agent.fleet.estimate.sample import sums
from wattshed.agent.fleet.estimate.student import quantile
from wattshed.agent.fleet.estimate.tails import endless

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from wattshed.agent.fleet.estimate.design import Design, Spread
    from wattshed.agent.fleet.estimate.intervals import Interval

LARGE_SHARE = 0.05
"""A sampled unit above this share of the total, and three times its stratum's mean, calls for a take-all stratum."""

VERY_SKEWED = 0.2
"""Skewness of the total above which Student's t may cover less than 93 % (Cochran, 2.15)."""

STANDS_FOR = 0.1
"""Part of the total for which one measured unit of a stratum may stand: with more, too few of them were measured."""

FEWEST = 5
"""Units of a stratum below which a missed kind of host is not asked for."""

FEWEST_OF_PART = 3
"""Units of a part (a value of a column) below which it has no spread to speak of."""

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
    parts = sums(design.sample.unit_stratum, value, design.open.size)
    return (
        *_unmeasured(design),
        *_single(design, spread),
        *_flat(design, spread),
        *_few(design, design.open, spread, parts),
        *_skewed(spread, bounds),
        *_endless(design, spread, value, bounds),
        *(
            f"{text}: measure more, or give limits and --interval bounded"
            for text in _unseen(design, design.sample.counted, parts, bounds)
        ),
        *_large_units(design, value),
    )


def cautions_of_change(
    design: Design, sampled: NDArray[np.int64], spread: Spread, parts: NDArray[np.float64], bounds: Interval
) -> tuple[str, ...]:
    """Say what makes the interval of a change doubtful.

    Parameters
    ----------
    design : Design
        Of either sample.
    sampled : int64[H]
        Primary units that were measured and not certain to be drawn: the smaller number of both samples.
    spread : Spread
        Sampling error of the change.
    parts : float64[H]
        The strata's totals, between the two samples.
    bounds : Interval
        Of the change.
    """
    still = ("no host that was measured both times changed: the interval holds only if no other host did",)
    return (
        *(still if len(spread.variance) and not spread.variance.any() else ()),
        *_few(design, sampled, spread, parts),
        *_skewed(spread, bounds),
        *(f"{text}: measure more both times" for text in _unseen(design, sampled, parts, bounds)),
    )


def cautions_of_part(design: Design, inside: NDArray[np.bool_], spread: float, bounds: Interval) -> tuple[str, ...]:
    """Say what makes the interval of a part's total doubtful.

    Parameters
    ----------
    design : Design
    inside : bool[u]
        Which units are in it.
    spread : float
        Standard error of the mean over the mean of those.
    bounds : Interval
        Of the total.
    """
    hosts = np.unique(design.sample.unit_host[inside])
    left = design.left[hosts]
    n = int((left > 0.0).sum())
    if bounds.lower is None or bounds.kind == "bounded" or not n:
        return ()
    unit = design.sample.primary
    if n < FEWEST_OF_PART:
        return (f"fewer than {FEWEST_OF_PART} measured {unit}s: measure more",)
    members = float(np.sum(1.0 / (1.0 - left[(left > 0.0) & (left < 1.0)])))
    missed = float(_missed(np.array([n]), np.array([round(members)]))[0])
    if design.equal and missed > quantile(0.95, n - 1.0) * spread:
        return (
            f"{n} measured {unit}s may have missed a kind that changes it more than the interval says: measure more",
        )
    return ()


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
    unknown = np.isnan(spread.variance) & (sample.sampled > 0)
    if (below := unknown & (design.open > 1) & (not design.two_stages)).any():
        yield (
            f"the joint probabilities give stratum {_named(design, below)} a variance below 0, which says nothing: no "
            "interval can be given; check them, or leave out --joint"
        )
    if (single := unknown & ~below).any():
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


def _few(design: Design, sampled: NDArray[np.int64], spread: Spread, parts: NDArray[np.float64]) -> Iterator[str]:
    """Name strata of which each measured unit stands for much of the total, float64[H] of it being ``parts``."""
    unit, hosts = design.sample.primary, design.sample.population.hosts
    most = STANDS_FOR * abs(float(parts.sum())) * (1.0 + 1e-9)
    few = (sampled > 1) & (spread.variance > 0.0) & (parts > most * sampled)
    if few.any():
        needed = np.minimum(np.ceil(parts[few] / most), hosts[few])
        yield (
            f"each measured {unit} of stratum {_named(design, few)} stands for more than {STANDS_FOR:.0%} of the "
            f"total: so few hardly tell spread and skewness; measure {int(needed.max())} there"
        )


def _skewed(spread: Spread, bounds: Interval) -> Iterator[str]:
    if bounds.kind == "t" and abs(g := skewness(spread)) > VERY_SKEWED:
        yield (
            f"the sampling error is skewed ({g:.2g}): Student's t may cover less than it says; measure more, put the "
            "largest hosts into a stratum that is taken whole, or give limits and --interval bounded"
        )


def _endless(design: Design, spread: Spread, value: NDArray[np.float64], bounds: Interval) -> Iterator[str]:
    """Name strata with most of the variance whose tail looks endless."""
    if bounds.kind != "johnson" or skewness(spread) < 0.0:
        return
    sample = design.sample
    totals = sums(sample.unit_host, value, len(sample.names))
    chance = design.left > 0.0
    found = np.array([endless(totals[chance & (sample.stratum == h)]) for h in range(spread.variance.size)])
    if float(spread.variance[found].sum()) > 0.5 * float(spread.variance.sum()):
        yield (
            f"the {sample.primary}s of stratum {_named(design, found)} vary as if a few were far larger than the rest: "
            "the sample may lack some of these, and the interval may cover less than it says; put the largest into a "
            "stratum that is taken whole, or give limits and --interval bounded"
        )


def _missed(n: NDArray[np.int64], hosts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the hosts that n of them may miss: of K hosts none is drawn with a chance of (1 - n / N)^K or less."""
    missed = np.zeros(n.size)
    rest = (n > 0) & (n < hosts)
    missed[rest] = np.minimum(np.log(UNSEEN) / np.log1p(-n[rest] / hosts[rest]), (hosts - n)[rest]) / hosts[rest]
    return missed


def _unseen(design: Design, n: NDArray[np.int64], parts: NDArray[np.float64], bounds: Interval) -> Iterator[str]:
    """Say how many hosts of another kind a sample may have missed, if they would leave a narrow interval.

    They are taken to differ from the others by as much as a mean host draws.
    """
    sample = design.sample
    # Of jobs that were met by chance nobody knows how many there are; that they were is said anyway.
    if bounds.lower is None or bounds.upper is None or not design.equal or sample.hosts_are_units:
        return
    half = 0.5 * (bounds.upper - bounds.lower)
    missed = _missed(n, sample.population.hosts)
    # Strata of fewer hosts have a warning of their own.
    differ = np.where(n < FEWEST, 0.0, missed * np.abs(parts))
    if half > 0.0 and differ[h := int(np.argmax(differ))] > half:
        unit, stratum = sample.primary, sample.population.strata[h]
        yield (
            f"the {n[h]} measured {unit}s of stratum {stratum} may have missed a kind of {unit} that is "
            f"{missed[h]:.1%} of it, and could change the total by more than the interval says"
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
