"""How the primary units were drawn, and the variance that follows from it: equal or unequal chances, one stage or two.

Notation: pi_i is the chance of primary unit i to be in the sample, w = 1 / pi its weight, U_i the weighted total of
what varies over the units of i. One formula serves all: V_h = n / (n - 1) sum (1 - pi_i) (U_i - mean U)^2. With
pi = n / N it is Cochran's (*Sampling Techniques*, 3rd ed., 5.6); with unequal chances it is K. R. W. Brewer's
(*Combined Survey Sampling Inference*, 2002, ch. 9), which needs no joint chances. Where those are known:
F. Yates and P. M. Grundy, J. R. Stat. Soc. B 15 (1953) 253.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.sample import sums
from wattshed.agent.inputs.tables import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.fleet.estimate.sample import Sample
    from wattshed.agent.inputs.tables import Row

ROUNDED = 1e-6
"""What a probability in a file may be off by."""

METHODS = ("stratified", "ratio", "cluster", "two-stage", "regression", "pps", "pi")


@dataclass(frozen=True, slots=True)
class Spread:
    """What the design makes of weighted residuals.

    Attributes
    ----------
    variance : float64[H]
        Sampling variance of each stratum's part of the total; NaN where it cannot be known.
    third : float64[H]
        Third central moment of the same; NaN below three primary units.
    df : float64[H]
        Degrees of freedom of each variance; 0 where there is none.
    """

    variance: NDArray[np.float64]
    third: NDArray[np.float64]
    df: NDArray[np.float64]


def third_moment(
    group: NDArray[np.int64], part: NDArray[np.float64], left: NDArray[np.float64], strata: int
) -> NDArray[np.float64]:
    """Third central moment of the sum of ``part`` in each stratum over all samples: float64[H].

    Parameters
    ----------
    group : int64[n]
        Stratum of each primary unit.
    part : float64[n]
        Its weighted total.
    left : float64[H]
        Mean chance of a stratum's units not to be drawn.
    strata : int

    Returns
    -------
    float64[H]
        NaN below three units.
    """
    n = np.bincount(group, minlength=strata)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = part - (sums(group, part, strata) / n)[group]
        cubes = sums(group, off**3, strata) * (n / ((n - 1.0) * (n - 2.0)))
        third = n * left * (2.0 * left - 1.0) * cubes
    third[n < 3] = math.nan
    return third


@dataclass(frozen=True, slots=True)
class Design:
    """Chances and weights of a sample.

    Attributes
    ----------
    sample : Sample
    left : float64[n]
        1 - pi of each primary unit: what the rest of the population leaves unknown; 1 where only weights are known.
    weight : float64[u]
        Members of the population for which each unit stands.
    joint : float64[n, n] or None
        Chance of two primary units to be drawn together.
    two_stages : bool
        Whether units were sampled within primary units.
    equal : bool
        Whether the primary units of a stratum had the same chance.
    """

    sample: Sample
    left: NDArray[np.float64]
    weight: NDArray[np.float64]
    joint: NDArray[np.float64] | None = None
    two_stages: bool = False
    equal: bool = True

    @property
    def open(self) -> NDArray[np.int64]:
        """Primary units of each stratum that were not certain to be drawn: int64[H]."""
        strata = len(self.sample.population.strata)
        return np.bincount(self.sample.stratum[self.left > 0.0], minlength=strata)

    def spread(self, residual: NDArray[np.float64]) -> Spread:
        """Moments of the weighted total of ``residual`` (float64[u]) over all samples of this design."""
        sample, n = self.sample, self.open
        strata = n.size
        weighted = self.weight * residual
        totals = sums(sample.unit_host, weighted, len(sample.names))
        chance = self.left > 0.0
        group, part, left = sample.stratum[chance], totals[chance], self.left[chance]
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums(group, part, strata) / n
            off = part - means[group]
            variance = sums(group, left * off**2, strata) * (n / (n - 1.0))
            third = third_moment(group, part, sums(group, left, strata) / n, strata)
        variance[n == 0], third[n == 0] = 0.0, 0.0
        if self.joint is not None:
            variance = np.where(n < 2, variance, self._yates_grundy(totals))
        df = np.maximum(n - 1.0, 0.0)
        if self.two_stages:
            within, within_df = self._within(weighted)
            variance, df = variance + within, np.where(n > 0, df, within_df)
        # A stratum of which nothing was measured has no variance of its own; the total is unknown then.
        variance[(sample.sampled == 0) & (sample.population.hosts > 0)] = math.nan
        variance[sample.population.hosts == 0] = 0.0
        return Spread(variance, third, df)

    def _yates_grundy(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        joint = self.joint
        assert joint is not None  # noqa: S101  (for the type checker: the caller has asked)
        pi = 1.0 - self.left
        pairs = (np.outer(pi, pi) - joint) / joint * (totals[:, None] - totals[None, :]) ** 2
        same = self.sample.stratum[:, None] == self.sample.stratum[None, :]
        found = sums(self.sample.stratum, 0.5 * np.where(same, pairs, 0.0).sum(axis=1), self.open.size)
        return np.where(found < 0.0, math.nan, found)  # it can come out so, and then says nothing

    def _within(self, weighted: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Second-stage variance of each stratum, and degrees of freedom inside the hosts: float64[H] each."""
        sample = self.sample
        m, whole, rows = sample.measured, sample.units.astype(np.float64), sample.unit_host
        means = sums(rows, weighted, m.size) / m
        squares = sums(rows, (weighted - means[rows]) ** 2, m.size)
        with np.errstate(invalid="ignore", divide="ignore"):
            inside = (1.0 - self.left) * (1.0 - m / whole) * m / (m - 1.0) * squares
        inside[m == whole] = 0.0
        strata = self.open.size
        return (
            sums(sample.stratum, inside, strata),
            sums(sample.stratum, np.where(m < whole, m - 1.0, 0.0), strata),
        )


def drawn(sample: Sample, method: str, joint: NDArray[np.float64] | None = None) -> Design:
    """Find the chances with which a sample was drawn.

    Parameters
    ----------
    sample : Sample
        For ``pi`` with a column ``pi`` or ``weight``.
    method : str
        One of METHODS. ``pps``: in proportion to ``size``; ``pi``: as the file says; the others: equal within a
        stratum.
    joint : float64[n, n] or None
        For ``pps`` and ``pi``.

    Raises
    ------
    InputError
        If the method needs what the files do not hold.
    """
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
    rows = sample.unit_host
    if method == "pi" and "weight" in sample.columns:
        # A weight says for how many a row stands, not that they were drawn without replacement.
        return Design(sample, np.ones(len(sample.names)), sample.numbers("weight"), equal=False)
    if method in ("pps", "pi"):
        pi = _in_proportion(sample) if method == "pps" else _stated(sample)
        return Design(sample, 1.0 - pi, 1.0 / pi[rows], joint, equal=False)
    hosts, n = sample.population.hosts, sample.counted
    with np.errstate(invalid="ignore", divide="ignore"):
        pi = (n / hosts)[sample.stratum]
        weight = (hosts / n)[sample.stratum][rows]
    if method != "two-stage":
        return Design(sample, 1.0 - pi, weight)
    if (sample.units < 0).any():
        name = sample.names[int(np.flatnonzero(sample.units < 0)[0])]
        raise InputError(
            f"the two-stage method needs the number of units of each host, and {name!r} has none; add a column units"
        )
    inside = (sample.units / sample.measured)[rows]
    return Design(sample, 1.0 - pi, weight * inside, two_stages=True)


def _stated(sample: Sample) -> NDArray[np.float64]:
    """Chances of the primary units in the column ``pi``: float64[n], the same for all units of one."""
    each = sample.numbers("pi")
    pi = np.empty(len(sample.names))
    pi[sample.unit_host] = each
    if (odd := (pi[sample.unit_host] != each) | (each > 1.0)).any():
        name = sample.names[int(sample.unit_host[int(np.flatnonzero(odd)[0])])]
        raise InputError(f"pi: {name!r} needs one probability, above 0 and no more than 1")
    return pi


def _in_proportion(sample: Sample) -> NDArray[np.float64]:
    """Chances n x / X of each stratum's primary units, those above 1 taken for certain: float64[n]."""
    sizes, known, n = sample.host_sizes, sample.population.sizes, sample.sampled
    pi = np.empty(len(sample.names))
    for h in np.flatnonzero(n):
        inside = sample.stratum == h
        name = sample.population.strata[h]
        if np.isnan(known[h]) or not (sizes[inside] > 0.0).all():
            raise InputError(
                f"the method pps needs a size above 0 of every measured host of stratum {name!r}, and the stratum's "
                "total; add a column size to both files"
            )
        total = float(sizes[inside].sum())
        if total > known[h] * (1.0 + 1e-9):
            raise InputError(
                f"the measured hosts of stratum {name!r} have a size of {total:g}, the stratum {known[h]:g}"
            )
        pi[inside] = chances(sizes[inside], int(n[h]), float(known[h]))
    return pi


def chances(sizes: NDArray[np.float64], draws: int, total: float) -> NDArray[np.float64]:
    """Inclusion probabilities of units in proportion to size: float64[n]; what would exceed 1 is certain.

    Parameters
    ----------
    sizes : float64[n]
        Sizes above 0, of the population or of the sample: units that are certain are in both.
    draws : int
        Units of the sample.
    total : float
        Size of the population.
    """
    certain = np.zeros(sizes.size, bool)
    while True:
        rest, left = draws - int(certain.sum()), total - float(sizes[certain].sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            pi = np.where(certain, 1.0, rest * sizes / left)
        if not (more := ~certain & (pi >= 1.0 - 1e-12)).any():
            return pi
        certain |= more


def read_joint(path: str | Path, sample: Sample, method: str) -> NDArray[np.float64]:
    """Read ``host,other,pi``, a row per pair of primary units that are both in the sample: float64[n, n].

    Parameters
    ----------
    path : path
    sample : Sample
    method : {"pps", "pi"}
        Its chances bound those of pairs: a pair is not drawn more often than either of it.

    Raises
    ------
    InputError
        For a name that is not in the sample, a probability that the pair cannot have, a pair that is missing, or that
        has two probabilities; with weights, which are no chances.
    """
    if "weight" in sample.columns:
        raise InputError("--joint needs the probability of each host: give a column pi instead of weight")
    index = {name: i for i, name in enumerate(sample.names)}
    if len(index) < len(sample.names):
        raise InputError("cannot tell hosts of one name in two strata apart; give each a name of its own", str(path))
    pi = 1.0 - drawn(sample, method).left
    joint = np.full((len(index), len(index)), math.nan)
    for row in read_table(path, columns := ("host", "other", "pi"), used=columns):
        pair = []
        for column in ("host", "other"):
            if (name := row.name(column)) not in index:
                raise row.error(column, f"{name!r} is not in the sample")
            pair.append(index[name])
        i, j = pair
        chance = row.number("pi")
        _check_chance(row, chance, pi[i], pi[j])
        if not np.isnan(joint[i, j]) and joint[i, j] != chance:
            raise row.error("pi", f"{row.text('pi')} here and {joint[i, j]:g} above for the same pair; give it once")
        joint[i, j] = joint[j, i] = chance
    np.fill_diagonal(joint, 1.0)
    same = sample.stratum[:, None] == sample.stratum[None, :]
    if (missing := np.argwhere(np.isnan(joint) & same)).size:
        one, other = (sample.names[i] for i in missing[0])
        raise InputError(f"has no probability of the pair {one!r}, {other!r}", str(path))
    return np.where(np.isnan(joint), 1.0, joint)


def _check_chance(row: Row, chance: float, one: float, other: float) -> None:
    """Refuse what two units that are drawn with the chances ``one`` and ``other`` cannot have together."""
    if not 0.0 < chance <= 1.0:
        raise row.error("pi", f"{row.text('pi')} is not a probability above 0")
    least, most = one + other - 1.0, min(one, other)
    if chance > most * (1.0 + ROUNDED):
        raise row.error("pi", f"{row.text('pi')} exceeds {most:.6g}, the smaller probability of the two hosts")
    if chance < least * (1.0 - ROUNDED):
        raise row.error(
            "pi", f"{row.text('pi')} is below {least:.6g}, the least that the two hosts' probabilities allow"
        )
