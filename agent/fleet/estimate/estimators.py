"""Population totals with design-based intervals: stratified, ratio, cluster and two-stage sampling of a finite fleet.

Notation: N_h and n_h primary units (hosts, or jobs) of stratum h in the population and in the sample, w = N_h / n_h.
Formulas: W. G. Cochran, *Sampling Techniques*, 3rd ed., chapters 5 (stratified), 6 (combined ratio), 9A (clusters)
and 11 (two stages); the design effect is defined as in R's ``survey::svytotal(deff = TRUE)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.sample import sums
from wattshed.agent.fleet.estimate.student import quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.fleet.estimate.sample import Sample

METHODS = ("stratified", "ratio", "cluster", "two-stage")

LARGE_SHARE = 0.05
"""A sampled unit above this share of the total, and three times its stratum's mean, calls for a take-all stratum."""


@dataclass(frozen=True, slots=True)
class StratumEstimate:
    """One stratum: its part of the total (None where nothing was measured), and its part of the sampling error.

    ``mean`` and ``sd`` are of the primary units' totals; ``se`` is None where there is no variance.
    """

    stratum: str
    hosts: int
    sampled: int
    take_all: bool
    mean: float | None
    sd: float | None
    total: float | None
    se: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A total with its interval.

    Attributes
    ----------
    total : float or None
        None where a stratum has no measurement, and so no total can be had.
    se : float or None
        Standard error, sampling and meters together; None, with a warning, where the sample gives no variance.
    sampling_se, meter_se : float or None
        The two parts of it; only the first shrinks with more hosts.
    df : int
        Degrees of freedom of the sampling variance.
    lower, upper : float or None
    confidence : float
    method : str
    strata : tuple of StratumEstimate
    deff : float or None
        Variance over that of a simple random sample of as many units.
    measured_total : float
        Total of the strata that were measured.
    warnings : tuple of str
    """

    total: float | None
    se: float | None
    sampling_se: float | None
    meter_se: float
    df: int
    lower: float | None
    upper: float | None
    confidence: float
    method: str
    strata: tuple[StratumEstimate, ...]
    deff: float | None
    measured_total: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Terms:
    """What a method makes of the sample.

    Attributes
    ----------
    z, residual : float64[n]
        Of each primary unit: what is totalled, and what has the variance.
    within : float64[H]
        Second-stage variance; NaN where it cannot be known.
    total : float
    strata : float64[H]
        Parts of the total.
    element, weight : float64
        What a simple random sample would have drawn.
    within_df : int64[H]
        Degrees of freedom inside the hosts.
    """

    z: NDArray[np.float64]
    residual: NDArray[np.float64]
    within: NDArray[np.float64]
    total: float
    strata: NDArray[np.float64]
    element: NDArray[np.float64]
    weight: NDArray[np.float64]
    within_df: NDArray[np.int64]


def estimate(sample: Sample, method: str, *, confidence: float = 0.95, meter_gain_sigma: float = 0.0) -> Estimate:
    """Estimate the population total of the sample's value.

    Parameters
    ----------
    sample : Sample
    method : {"stratified", "ratio", "cluster", "two-stage"}
    confidence : float
    meter_gain_sigma : float
        One sigma of the gain error that all meters share, as a fraction. It does not shrink with more hosts.

    Raises
    ------
    InputError
        If the method needs what the files do not hold (sizes for a ratio, units for two stages).
    """
    population, sampled = sample.population, sample.sampled
    terms = _terms(sample, method)
    variance, means, deviations = _between(terms.residual, terms.z, sample)
    variance = variance + terms.within
    variance[population.hosts == 0] = 0.0
    unmeasured = [population.strata[h] for h in np.flatnonzero((sampled == 0) & (population.hosts > 0))]
    single = [population.strata[h] for h in np.flatnonzero(np.isnan(variance) & (sampled > 0))]
    alike = (variance == 0.0) & (sampled > 1) & (sampled < population.hosts)
    flat = [population.strata[h] for h in np.flatnonzero(alike)]
    # A stratum taken whole adds no variance, and so no degrees of freedom (docs/decisions/0301).
    df = int(np.sum(np.where(sampled < population.hosts, np.maximum(sampled - 1, 0), terms.within_df)))
    total = None if unmeasured else terms.total
    sampling = float(np.sum(variance))
    sampling_se = None if unmeasured or single else math.sqrt(sampling)
    meter_se = abs(terms.total) * meter_gain_sigma
    half = _half_width(sampling_se, meter_se, df, confidence)
    known = total is not None and half is not None
    strata = tuple(
        StratumEstimate(
            name,
            int(population.hosts[h]),
            int(sampled[h]),
            bool(sampled[h] == population.hosts[h]),
            _known(means[h]),
            _known(deviations[h]),
            _known(terms.strata[h]) if population.hosts[h] else 0.0,
            _known(math.sqrt(variance[h]) if variance[h] >= 0 else math.nan),
        )
        for h, name in enumerate(population.strata)
    )
    return Estimate(
        total=total,
        se=None if sampling_se is None else math.hypot(sampling_se, meter_se),
        sampling_se=sampling_se,
        meter_se=meter_se,
        df=df,
        lower=total - half if total is not None and half is not None else None,
        upper=total + half if total is not None and half is not None else None,
        confidence=confidence,
        method=method,
        strata=strata,
        deff=_design_effect(sampling, terms) if known else None,
        measured_total=terms.total,
        warnings=(*_warnings(unmeasured, single, flat, method), *_large_units(sample, terms), *sample.warnings),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _half_width(sampling_se: float | None, meter_se: float, df: int, confidence: float) -> float | None:
    """Half of the interval: Student's t for the sample, the normal distribution for the meters' shared gain."""
    if sampling_se is None:
        return None
    meters = quantile(confidence, math.inf) * meter_se
    return meters if sampling_se == 0.0 else math.hypot(quantile(confidence, df) * sampling_se, meters)


def _between(
    residual: NDArray[np.float64], z: NDArray[np.float64], sample: Sample
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Variance between hosts of each stratum's total (NaN unknown), mean and deviation of ``z``: float64[H] each."""
    hosts, n = sample.population.hosts.astype(np.float64), sample.sampled
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums(sample.stratum, z, n.size) / n
        deviations = np.sqrt(_squares(z, sample) / (n - 1))
        variance = hosts**2 * (1.0 - n / hosts) * (_squares(residual, sample) / (n - 1)) / n
    variance[(n == hosts) & (n > 0)] = 0.0
    deviations[n < 2] = math.nan
    return variance, means, deviations


def _squares(z: NDArray[np.float64], sample: Sample) -> NDArray[np.float64]:
    """Sum of squares about the mean of each stratum: float64[H]."""
    n = sample.sampled
    with np.errstate(invalid="ignore"):
        means = sums(sample.stratum, z, n.size) / n
    return sums(sample.stratum, (z - means[sample.stratum]) ** 2, n.size)


def _terms(sample: Sample, method: str) -> _Terms:
    hosts, n = sample.population.hosts, sample.sampled
    totals = sample.totals
    none, nothing = np.zeros(n.size), np.zeros(n.size, np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = (hosts / n)[sample.stratum]
    if method in ("stratified", "cluster"):
        strata, expanded = _expanded(sample, weight, totals)
        element, each = (totals, weight) if method == "stratified" else (sample.value, weight[sample.unit_host])
        return _Terms(totals, totals, none, expanded, strata, element, each, nothing)
    if method == "ratio":
        sizes = sample.host_sizes
        ratio = _ratio(sample, weight, totals, sizes)
        strata = np.where(hosts > 0, ratio * sample.population.sizes, 0.0)
        return _Terms(totals, totals - ratio * sizes, none, float(strata.sum()), strata, totals, weight, nothing)
    if method == "two-stage":
        return _two_stage(sample, weight)
    raise InputError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")


def _expanded(sample: Sample, weight: NDArray[np.float64], z: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Weighted totals of the strata (float64[H], NaN where nothing was measured), and the sum of the others."""
    strata = sums(sample.stratum, weight * z, sample.sampled.size)
    return np.where(sample.sampled > 0, strata, math.nan), float(strata.sum())


def _ratio(
    sample: Sample, weight: NDArray[np.float64], totals: NDArray[np.float64], sizes: NDArray[np.float64]
) -> float:
    if np.isnan(sizes).any():
        name = sample.names[int(np.flatnonzero(np.isnan(sizes))[0])]
        raise InputError(
            f"the ratio method needs the size of every measured host, and {name!r} has none; add a column size"
        )
    if (missing := np.isnan(sample.population.sizes) & (sample.population.hosts > 0)).any():
        name = sample.population.strata[int(np.flatnonzero(missing)[0])]
        raise InputError(
            f"the ratio method needs the total size of every stratum, and {name!r} has none; add a column size"
        )
    if not (size := float(weight @ sizes)) > 0.0:
        raise InputError("the ratio method needs sizes above 0, and those of the sample sum to 0")
    return float(weight @ totals) / size


def _two_stage(sample: Sample, weight: NDArray[np.float64]) -> _Terms:
    """Units M_i of each host, m_i measured: totals M_i ybar_i, and the variance that the unmeasured units add."""
    if (sample.units < 0).any():
        name = sample.names[int(np.flatnonzero(sample.units < 0)[0])]
        raise InputError(
            f"the two-stage method needs the number of units of each host, and {name!r} has none; add a column units"
        )
    m, whole, n = sample.measured, sample.units.astype(np.float64), sample.sampled
    means = sample.totals / m
    squares = sums(sample.unit_host, (sample.value - means[sample.unit_host]) ** 2, m.size)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit_variance = whole**2 * (1.0 - m / whole) * (squares / (m - 1)) / m
    unit_variance[m == whole] = 0.0
    within = sums(sample.stratum, weight * unit_variance, n.size)
    z = whole * means
    rows = sample.unit_host
    freedom = sums(sample.stratum, np.where(m < whole, m - 1.0, 0.0), n.size).astype(np.int64)
    strata, expanded = _expanded(sample, weight, z)
    return _Terms(z, z, within, expanded, strata, sample.value, (weight * whole / m)[rows], freedom)


def _design_effect(variance: float, terms: _Terms) -> float | None:
    """Variance over that of a simple random sample of as many elements, drawn without replacement."""
    n, weight = terms.element.size, terms.weight
    size = float(np.sum(weight))
    if n < 2 or size <= n:
        return None
    mean = float(weight @ terms.element) / size
    spread = n / (n - 1) * float(weight @ (terms.element - mean) ** 2) / size
    simple = size**2 * spread / n * (1.0 - n / size)
    return variance / simple if simple > 0.0 else None


def _warnings(unmeasured: list[str], single: list[str], flat: list[str], method: str) -> list[str]:
    said = []
    if unmeasured:
        said.append(
            f"no measurement in stratum {', '.join(unmeasured)}: the total of the population is unknown; "
            "measure at least two hosts there"
        )
    if single:
        why = (
            "one measured host or GPU that represents more"
            if method == "two-stage"
            else "one measured host that represents more"
        )
        said.append(
            f"no variance in stratum {', '.join(single)} ({why}): no interval can be given; measure a second one"
        )
    if flat:
        said.append(
            f"the sample of stratum {', '.join(flat)} has no spread at all: its sampling error comes out as 0, which "
            "no sample proves; check that the values are measured, or measure more"
        )
    return said


def _large_units(sample: Sample, terms: _Terms) -> list[str]:
    """Warn of sampled units so large that a normal interval would cover too rarely."""
    n, hosts = sample.sampled, sample.population.hosts
    if not terms.total > 0.0:
        return []
    with np.errstate(invalid="ignore"):
        means = sums(sample.stratum, terms.z, n.size) / n
    share = terms.z / terms.total
    large = (share > LARGE_SHARE) & (terms.z > 3.0 * means[sample.stratum]) & (n < hosts)[sample.stratum]
    return [
        f"{sample.names[i]!r} alone holds {share[i]:.1%} of the total: the interval covers less than it says; "
        "put it into a stratum of its own that is taken whole"
        for i in np.flatnonzero(large)[:5]
    ]
