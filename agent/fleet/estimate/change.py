"""The change between two samples of one population, whose error the hosts measured both times make small.

Of hosts measured twice the differences are one sample. Hosts measured once count by the covariance of what overlaps
(S. M. Tam, *Am. Stat.* 38 (1984) 288): with n_0 and n_1 hosts of N, n_c of them common,
cov = N^2 n_c / (n_0 n_1) (1 - n_0 n_1 / (N n_c)) s_01. In weighted totals U of the hosts it is a sum over the common.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.cautions import cautions_of_change
from wattshed.agent.fleet.estimate.design import Spread, third_moment
from wattshed.agent.fleet.estimate.fitting import fitted
from wattshed.agent.fleet.estimate.intervals import degrees_of_freedom, interval
from wattshed.agent.fleet.estimate.jobs import both_by_job
from wattshed.agent.fleet.estimate.sample import sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.fleet.estimate.fitting import Fitted
    from wattshed.agent.fleet.estimate.sample import Sample

METHODS = ("stratified", "ratio", "cluster")

_ROUNDED = 1e-12
"""Of two variances, what their difference may be by rounding alone."""


@dataclass(frozen=True, slots=True)
class Change:
    """New total less the old one.

    Attributes
    ----------
    before, total : float or None
        The old total, and the change; None where a stratum was not measured both times.
    se, df, lower, upper
        Of the change; ``se`` and the interval are None where a sample gives no variance.
    unpaired_se : float or None
        What the error would be of two samples without a common host.
    matched, only_before, only_now : int
        Primary units measured both times, and once.
    interval : {"t", "johnson", "hall", "none"}
    sampling_unit : {"host", "job", "cluster"}
        Of both samples.
    warnings : tuple of str
        What the two samples together do not support, and what is odd about the earlier one.
    """

    before: float | None
    total: float | None
    se: float | None
    df: float
    lower: float | None
    upper: float | None
    unpaired_se: float | None
    matched: int
    only_before: int
    only_now: int
    interval: str
    sampling_unit: str
    warnings: tuple[str, ...]


def change(
    now: Sample,
    before: Sample,
    method: str,
    *,
    confidence: float = 0.95,
    meter_gain_sigma: float = 0.0,
    kind: str = "auto",
) -> Change:
    """Estimate the change of the total between two samples of the same population.

    Parameters
    ----------
    now, before : Sample
        Their primary units are matched by stratum and name.
    method : {"stratified", "ratio", "cluster"}
    confidence : float
    meter_gain_sigma : float
        One sigma of the gain error that all meters share, both times: it scales the change.
    kind : {"auto", "t", "johnson", "hall"}
        Of the interval.

    Raises
    ------
    InputError
        For another method, if it needs what the files do not hold, or if jobs were drawn once and hosts once.
    """
    if method not in METHODS:
        raise InputError(f"--against cannot be used with --method {method}; choose one of {', '.join(METHODS)}")
    now, before, said = both_by_job(now, before)
    new, old = (fitted(sample, method) for sample in (now, before))
    first, second = (_Weighted.of(found) for found in (old, new))
    common = _common(first, second)
    variances = [found.spread(found.design.sample.value).variance for found in (old, new)]
    variance = variances[0] + variances[1] - 2.0 * _covariance(first, second, common)
    n = np.minimum(old.design.open, new.design.open)
    matched = np.bincount(first.stratum[common[:, 0]], minlength=n.size)
    # What rounding leaves of hosts that did not change, on either side of 0, is no variance.
    variance[variance < _ROUNDED * (variances[0] + variances[1])] = 0.0
    spread = Spread(variance, _third(first, second, common), np.maximum(n - 1.0, 0.0))
    parts = [sums(f.design.sample.unit_stratum, f.weight * f.design.sample.value, n.size) for f in (old, new)]
    totals = [float(part.sum()) for part in parts]
    moved = totals[1] - totals[0]
    unknown = old.unmeasured or new.unmeasured
    sampling = float(spread.variance.sum())
    meter_se = abs(moved) * meter_gain_sigma
    bounds = interval(moved, spread, meter_se, confidence, sampled=n, kind=kind)
    unpaired = float(variances[0].sum() + variances[1].sum())
    return Change(
        None if unknown else totals[0],
        None if unknown else moved,
        None if math.isnan(sampling) else math.hypot(math.sqrt(sampling), meter_se),
        degrees_of_freedom(spread),
        bounds.lower,
        bounds.upper,
        None if math.isnan(unpaired) else math.hypot(math.sqrt(unpaired), meter_se),
        int(matched.sum()),
        len(first.names) - int(matched.sum()),
        len(second.names) - int(matched.sum()),
        bounds.kind,
        now.primary,
        (
            *cautions_of_change(new.design, n, spread, 0.5 * (parts[0] + parts[1]), bounds),
            *(f"earlier sample: {text}" for text in (*said, *old.said, *before.warnings)),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Weighted:
    """Weighted residuals of the primary units of one sample, and for how many members of ``hosts`` each counts."""

    names: tuple[str, ...]
    stratum: NDArray[np.int64]
    total: NDArray[np.float64]
    members: NDArray[np.int64]
    hosts: NDArray[np.int64]

    @classmethod
    def of(cls, found: Fitted) -> _Weighted:
        sample = found.design.sample
        residual = found.design.weight * found.calibration.residual(sample.value)
        total = sums(sample.unit_host, residual, len(sample.names))
        members = sample.measured if sample.hosts_are_units else np.ones(len(sample.names), np.int64)
        return cls(sample.names, sample.stratum, total, members, sample.population.hosts)

    def drawn(self, which: NDArray[np.int64]) -> NDArray[np.float64]:
        """Members of each stratum that these primary units have: float64[H]."""
        return sums(self.stratum[which], self.members[which].astype(np.float64), self.hosts.size)


def _common(first: _Weighted, second: _Weighted) -> NDArray[np.int64]:
    """Pairs of indices of the primary units that are in both: int64[m, 2]."""
    where = {key: i for i, key in enumerate(zip(second.stratum.tolist(), second.names, strict=True))}
    keys = zip(first.stratum.tolist(), first.names, strict=True)
    pairs = [(i, where[key]) for i, key in enumerate(keys) if key in where]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _covariance(first: _Weighted, second: _Weighted, common: NDArray[np.int64]) -> NDArray[np.float64]:
    """Covariance of the two totals, by stratum: float64[H]; 0 where fewer than two units are common."""
    strata = first.hosts.size
    group = first.stratum[common[:, 0]]
    one, two = first.total[common[:, 0]], second.total[common[:, 1]]
    m = np.bincount(group, minlength=strata)
    with np.errstate(invalid="ignore", divide="ignore"):
        off_one = one - (sums(group, one, strata) / m)[group]
        off_two = two - (sums(group, two, strata) / m)[group]
        together = sums(group, off_one * off_two, strata) / (m - 1.0)
        # U = N / n e: N^2 / (n_0 n_1) s_01 of e is s_01 of U.
        both = first.drawn(np.arange(len(first.names))) * second.drawn(np.arange(len(second.names)))
        left = 1.0 - both / (first.hosts * first.drawn(common[:, 0]))
        found = m * left * together
    found[m < 2] = 0.0
    return found


def _third(first: _Weighted, second: _Weighted, common: NDArray[np.int64]) -> NDArray[np.float64]:
    """Third central moment of the change, by stratum: what was measured both times, and once, each by itself."""
    strata = first.hosts.size
    both = second.total[common[:, 1]] - first.total[common[:, 0]]
    parts = [(first.stratum[common[:, 0]], both)]
    for one, which, sign in ((first, common[:, 0], -1.0), (second, common[:, 1], 1.0)):
        rest = np.setdiff1d(np.arange(len(one.names)), which)
        parts.append((one.stratum[rest], sign * one.total[rest]))
    drawn = np.minimum(first.drawn(np.arange(len(first.names))), second.drawn(np.arange(len(second.names))))
    with np.errstate(invalid="ignore", divide="ignore"):
        left = 1.0 - drawn / first.hosts
    # Groups of fewer than three say nothing.
    thirds = [third_moment(group, value, left, strata) for group, value in parts]
    return np.asarray(np.nansum(thirds, axis=0), np.float64)
