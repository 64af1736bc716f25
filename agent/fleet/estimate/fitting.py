"""A sample brought together with how it was drawn and with what is known beside it: all totals follow from that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError, counted
from wattshed.agent.fleet.estimate.calibration import (
    ALL,
    CLOSE,
    by_raking,
    by_ratio,
    by_regression,
    by_strata,
    nothing_known,
)
from wattshed.agent.fleet.estimate.design import drawn
from wattshed.agent.fleet.estimate.jobs import by_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from wattshed.agent.fleet.estimate.calibration import Calibrated, Margins
    from wattshed.agent.fleet.estimate.design import Design, Spread
    from wattshed.agent.fleet.estimate.sample import Sample


HOSTS_A_TOTAL = 7
"""Degrees of freedom for each known total that is fitted, below which intervals cover less than 93 %."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A sample, how it was drawn, and what it was fitted to: all that totals and their errors follow from."""

    design: Design
    calibration: Calibrated
    said: tuple[str, ...] = ()

    @property
    def unmeasured(self) -> bool:
        """Whether a stratum has no measurement, so that no total of the population can be had."""
        sample = self.design.sample
        return bool(((sample.sampled == 0) & (sample.population.hosts > 0)).any())

    @property
    def weight(self) -> NDArray[np.float64]:
        """Members of the population for which each unit stands, fitted: float64[u]."""
        return self.design.weight * self.calibration.g

    def spread(self, value: NDArray[np.float64]) -> Spread:
        """Find the sampling error of the total of ``value`` (float64[u])."""
        return self.design.spread(self.calibration.residual(value))


def fitted(
    sample: Sample, method: str, *, margins: Margins | None = None, joint: NDArray[np.float64] | None = None
) -> Fitted:
    """Bring a sample together with its design and with what is known.

    Raises
    ------
    InputError
        If the method needs what the files do not hold.
    """
    said: tuple[str, ...] = ()
    if method in ("stratified", "ratio", "regression"):
        sample, said = by_job(sample)
    design = drawn(sample, method, joint)
    weight = design.weight
    if method == "regression":
        calibration = by_regression(sample, weight, margins)
    elif method == "ratio":
        if margins is not None:
            raise InputError("--calibrate cannot be used with --method ratio; use --method regression")
        calibration = by_ratio(sample, weight)
    elif margins is not None:
        calibration = by_raking(sample, weight, margins)
    elif sample.hosts_are_units:
        calibration = by_strata(sample, weight)
    else:
        calibration = nothing_known(sample)
    if (below := int((weight * calibration.g < 0.0).sum())) > 0:
        many = f"{below} of {calibration.g.size} measured values"
        said = (*said, f"the known totals give {many} a weight below 0: they lie far from the sample; check them")
    if margins is not None and method in ("stratified", "regression") and sample.primary == "host":
        said = (*said, *_other_hosts(sample, margins))
    # A ratio takes the place of the mean, and costs nothing beside it.
    return Fitted(design, calibration, said if method == "ratio" else (*said, *_hardly_left(design, calibration)))


def _other_hosts(sample: Sample, margins: Margins) -> Iterator[str]:
    """Say where the known counts are not of as many hosts as the population has: the total follows the counts."""
    hosts = int(sample.population.hosts.sum())
    counts = {name: sum(theirs.values()) for name, theirs in margins.counts.items()} | {
        name: total for name, total in margins.totals.items() if name == ALL
    }
    for name, count in counts.items():
        if abs(count - hosts) > CLOSE * hosts:
            yield f"known counts of {name}: {count:,.10g} hosts, and the population has {hosts:,}; correct either file"


def _hardly_left(design: Design, calibration: Calibrated) -> Iterator[str]:
    """Say where as many totals were fitted as hosts were measured, nearly: what is left is less than the error."""
    sample, hosts = design.sample, design.open
    if not calibration.known.size:
        return
    own = (sample.unit_stratum[:, None] == np.arange(hosts.size)).astype(np.float64)
    known = np.column_stack([own, calibration.known])
    scale = np.abs(known).max(axis=0)
    known = known[:, scale > 0.0] / scale[scale > 0.0]
    fitted_to = int(np.linalg.matrix_rank(known)) - int((sample.sampled > 0).sum())
    left = int(np.maximum(hosts - 1, 0).sum())
    if fitted_to > 0 and left < HOSTS_A_TOTAL * fitted_to:
        totals, units = counted(fitted_to, "known total"), counted(int(hosts.sum()), sample.primary)
        yield (
            f"{totals} beside the strata fitted to {units}: the sampling error comes out too small; "
            "measure more, or give fewer totals"
        )
