"""Population totals with design-based intervals: how a sample was drawn, what is known beside it, and the interval.

W. G. Cochran, *Sampling Techniques*, 3rd ed., chapters 5 (stratified), 6 (combined ratio), 9A (clusters) and 11 (two
stages); the design effect is defined as in R's ``survey::svytotal(deff = TRUE)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.fleet.estimate.betting import bounded
from wattshed.agent.fleet.estimate.cautions import cautions, cautions_of_part
from wattshed.agent.fleet.estimate.fitting import fitted
from wattshed.agent.fleet.estimate.intervals import Interval, degrees_of_freedom, interval, skewness
from wattshed.agent.fleet.estimate.sample import sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.fleet.estimate.calibration import Margins
    from wattshed.agent.fleet.estimate.change import Change
    from wattshed.agent.fleet.estimate.design import Spread
    from wattshed.agent.fleet.estimate.fitting import Fitted
    from wattshed.agent.fleet.estimate.sample import Sample


@dataclass(frozen=True, slots=True)
class StratumEstimate:
    """One stratum: its part of the total (None where nothing was measured), and its part of the sampling error.

    ``mean`` and ``sd`` are of what ``hosts`` counts; ``se`` is None where there is no variance.
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
class DomainEstimate:
    """One value of a column: the total of its part of the population, estimated from the whole sample.

    ``sampled`` counts measured units in it; ``mean`` is a unit's; ``interval`` says how the interval was made, and
    ``warnings`` what it does not support.
    """

    domain: str
    sampled: int
    total: float | None
    se: float | None
    df: float
    lower: float | None
    upper: float | None
    mean: float | None
    mean_se: float | None
    interval: str
    warnings: tuple[str, ...]


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
    df : float
        Degrees of freedom of the sampling variance, by Satterthwaite.
    lower, upper : float or None
    confidence : float
    method : str
    strata : tuple of StratumEstimate
    deff : float or None
        Variance over that of a simple random sample of as many units.
    measured_total : float
        Total of the strata that were measured.
    warnings : tuple of str
    sampling_unit : {"host", "job", "cluster"}
    interval : {"t", "johnson", "hall", "bounded", "none"}
        How the interval was made.
    skewness : float or None
        Of the total's sampling error.
    domains : tuple of DomainEstimate
    change : Change or None
        Since an earlier sample, where there is one.
    """

    total: float | None
    se: float | None
    sampling_se: float | None
    meter_se: float
    df: float
    lower: float | None
    upper: float | None
    confidence: float
    method: str
    strata: tuple[StratumEstimate, ...]
    deff: float | None
    measured_total: float
    warnings: tuple[str, ...]
    sampling_unit: str = "host"
    interval: str = "t"
    skewness: float | None = None
    domains: tuple[DomainEstimate, ...] = ()
    change: Change | None = None


def estimate(
    sample: Sample,
    method: str,
    *,
    confidence: float = 0.95,
    meter_gain_sigma: float = 0.0,
    margins: Margins | None = None,
    joint: NDArray[np.float64] | None = None,
    by: str = "",
    kind: str = "auto",
) -> Estimate:
    """Estimate the population total of the sample's value.

    Parameters
    ----------
    sample : Sample
    method : str
        One of ``design.METHODS``.
    confidence : float
    meter_gain_sigma : float
        One sigma of the gain error that all meters share, as a fraction. It does not shrink with more hosts.
    margins : Margins or None
        Known totals of the population: fitted linearly by ``regression``, else by raking.
    joint : float64[n, n] or None
        Joint chances of the primary units, for ``pps`` and ``pi``.
    by : str
        Further column of the sample, for each of whose values a total is estimated too.
    kind : {"auto", "t", "johnson", "hall", "bounded"}
        Of the interval.

    Raises
    ------
    InputError
        If the method needs what the files do not hold (sizes for a ratio, units for two stages).
    """
    found = fitted(sample, method, margins=margins, joint=joint)
    sample = found.design.sample
    asked = _Asked(found, kind, confidence, meter_gain_sigma)
    spread = found.spread(sample.value)
    values = found.weight * sample.value
    total = float(values.sum())
    sampling_se, meter_se = asked.se(spread), abs(total) * meter_gain_sigma
    bounds = asked.interval(sample.value, total, spread)
    return Estimate(
        total=None if found.unmeasured else total,
        se=None if sampling_se is None else math.hypot(sampling_se, meter_se),
        sampling_se=sampling_se,
        meter_se=meter_se,
        df=degrees_of_freedom(spread),
        lower=bounds.lower,
        upper=bounds.upper,
        confidence=confidence,
        method=method,
        strata=_strata(found, spread),
        deff=None if sampling_se is None else _design_effect(sampling_se**2, found),
        measured_total=total,
        warnings=(*found.said, *cautions(found.design, spread, values, bounds), *sample.warnings),
        sampling_unit=sample.primary,
        interval=bounds.kind,
        skewness=None if sampling_se is None else skewness(spread),
        domains=tuple(_domain(asked, by, name) for name in sorted(set(sample.columns[by]))) if by else (),
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A fitted sample, and the kind of interval that is wanted of its totals."""

    found: Fitted
    kind: str
    confidence: float
    gain_sigma: float

    def se(self, spread: Spread) -> float | None:
        """Return the standard error of sampling, None where a stratum gives none."""
        variance = float(spread.variance.sum())
        return None if math.isnan(variance) else math.sqrt(variance)

    def interval(self, value: NDArray[np.float64], total: float, spread: Spread) -> Interval:
        """Interval of the total of ``value`` (float64[u])."""
        if self.found.unmeasured:
            return Interval(None, None, "none")
        meter_se = abs(total) * self.gain_sigma
        if self.kind == "bounded":
            return bounded(self.found, value, total, meter_se, self.confidence)
        return interval(total, spread, meter_se, self.confidence, sampled=self.found.design.open, kind=self.kind)


def _strata(found: Fitted, spread: Spread) -> tuple[StratumEstimate, ...]:
    """Each stratum of the population."""
    design, sample = found.design, found.design.sample
    population, n = sample.population, sample.sampled
    totals = sums(sample.unit_stratum, found.weight * sample.value, n.size)
    # What ``hosts`` counts: primary units, their totals expanded by what was not measured within them, or units.
    z, group, counted = sample.value, sample.unit_stratum, sample.counted
    if design.two_stages:
        z = z * (sample.units / sample.measured)[sample.unit_host]
    if not sample.hosts_are_units:
        z, group = sums(sample.unit_host, z, len(sample.names)), sample.stratum
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums(group, z, n.size) / counted
        deviations = np.sqrt(sums(group, (z - means[group]) ** 2, n.size) / (counted - 1))
    deviations[counted < 2] = math.nan
    return tuple(
        StratumEstimate(
            name,
            int(population.hosts[h]),
            int(counted[h]),
            bool(counted[h] == population.hosts[h]),
            _known(means[h]),
            _known(deviations[h]),
            None if population.hosts[h] and not n[h] else float(totals[h]),
            _known(math.sqrt(spread.variance[h]) if spread.variance[h] >= 0 else math.nan),
        )
        for h, name in enumerate(population.strata)
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _domain(asked: _Asked, by: str, name: str) -> DomainEstimate:
    """Total and mean of the units that have ``name`` in the column ``by``, from the whole sample."""
    found = asked.found
    sample = found.design.sample
    inside = np.array([text == name for text in sample.columns[by]], np.float64)
    value = sample.value * inside
    total, members = float(found.weight @ value), float(found.weight @ inside)
    spread = found.spread(value)
    bounds = asked.interval(value, total, spread)
    sampling_se = asked.se(spread)
    # Fitted weights may cancel out.
    mean = total / members if members else math.nan
    mean_se = asked.se(found.spread((value - mean * inside) / members)) if members else None
    return DomainEstimate(
        name,
        int(inside.sum()),
        None if found.unmeasured else total,
        None if sampling_se is None else math.hypot(sampling_se, abs(total) * asked.gain_sigma),
        degrees_of_freedom(spread),
        bounds.lower,
        bounds.upper,
        None if found.unmeasured else _known(mean),
        None if mean_se is None else math.hypot(mean_se, abs(mean) * asked.gain_sigma),
        bounds.kind,
        cautions_of_part(found.design, inside > 0.0, mean_se / abs(mean) if mean_se and mean else 0.0, bounds),
    )


def _design_effect(variance: float, found: Fitted) -> float | None:
    """Variance over that of a simple random sample of as many units, drawn without replacement."""
    value, weight = found.design.sample.value, found.weight
    n, size = value.size, float(np.sum(weight))
    if n < 2 or size <= n:
        return None
    mean = float(weight @ value) / size
    spread = n / (n - 1) * float(weight @ (value - mean) ** 2) / size
    simple = size**2 * spread / n * (1.0 - n / size)
    return variance / simple if simple > 0.0 else None
