"""The bootstrap of a sample of hosts or jobs, as a check on the formulas; and why there is none of GPUs.

Rescaling bootstrap of Rao and Wu (Journal of the American Statistical Association 83, 1988): n_h - 1 hosts are drawn
with replacement in each stratum, and their mean's deviation is shrunk by the finite-population correction.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from wattshed.agent.fleet.estimate.sample import Sample

UNITS = ("host", "job", "gpu")

GPU_REFUSED = (
    "GPUs of one training job rise and fall together, so resampling GPUs one by one understates the error "
    "(29 times in a simulated 121 MW fleet: 0.06 MW by GPU, 0.18 by host, 1.85 by job); resample hosts or jobs"
)


def check_unit(unit: str) -> None:
    """Refuse to resample what is not independent.

    Raises
    ------
    InputError
        For ``gpu``, with the reason; for a unit that does not exist.
    """
    if unit == "gpu":
        raise InputError(f"no bootstrap by GPU: {GPU_REFUSED}")
    if unit not in UNITS:
        raise InputError(f"cannot resample by {unit!r}; choose host or job")


def bootstrap_se(sample: Sample, replicates: int, *, unit: str = "host", seed: int = 1) -> float | None:
    """Estimate the standard error of the expanded total from resampled primary units.

    Parameters
    ----------
    sample : Sample
        Its primary units are what ``unit`` says: hosts, or jobs if it was read as clusters.
    replicates : int
    unit : {"host", "job"}
    seed : int

    Returns
    -------
    float or None
        None where a stratum that is not taken whole has fewer than two primary units.

    Raises
    ------
    InputError
        If ``unit`` is ``gpu``.
    """
    check_unit(unit)
    random = np.random.default_rng(seed)
    y = sample.totals
    replicated = np.zeros(replicates)
    for h, (hosts, n) in enumerate(zip(sample.population.hosts.tolist(), sample.sampled.tolist(), strict=True)):
        if n == hosts:
            continue
        if n < 2:
            return None
        values = y[sample.stratum == h]
        drawn = random.multinomial(n - 1, np.full(n, 1.0 / n), size=replicates) @ values / (n - 1)
        replicated += hosts * math.sqrt(1.0 - n / hosts) * (drawn - values.mean())
    return float(np.std(replicated, ddof=1))
