"""How many hosts to measure: the sample size for a wanted error, how to spread it over strata, and which jobs.

Formulas: Cochran, *Sampling Techniques*, 3rd ed., 4.4 (size with finite population), 5.5 (Neyman allocation) and 9A.10
(systematic draws in proportion to size, W. G. Madow).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.design import chances
from wattshed.agent.inputs.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """Hosts to measure: without and with the finite-population correction, and by stratum where a pilot is known."""

    infinite: float
    hosts: int
    allocation: tuple[tuple[str, int], ...] = ()


def planned_z(confidence: float) -> float:
    """Return the normal quantile of a two-sided interval; 1.96 for 95 %, as survey tables have it, and never less."""
    exact = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    return max(exact, round(exact, 2))


def sample_size(
    cv: float, error: float, population: int | None = None, *, deff: float = 1.0, confidence: float = 0.95
) -> SamplingPlan:
    """Hosts needed for an interval of plus or minus ``error``: n0 = deff (z cv / e)^2, n = n0 / (1 + n0 / N).

    Parameters
    ----------
    cv : float
        Coefficient of variation of the hosts' power: standard deviation over mean.
    error : float
        Wanted half-width as a fraction of the total, e.g. 0.02.
    population : int or None
        Hosts in the fleet; None is a very large one.
    deff : float
        Design effect: above 1 for clusters, below 1 for good strata.
    confidence : float

    Raises
    ------
    InputError
        If a number lies outside its range.
    """
    if not (math.isfinite(cv) and cv >= 0.0 and error > 0.0 and deff > 0.0 and 0.0 < confidence < 1.0):
        raise InputError("a plan needs cv >= 0, error > 0, deff > 0 and 0 < confidence < 1")
    if population is not None and population < 1:
        raise InputError("a plan needs a population of at least one host")
    infinite = deff * (planned_z(confidence) * cv / error) ** 2
    needed = infinite if population is None else infinite / (1.0 + infinite / population)
    # Two hosts at least, for one gives no variance; a hair below a whole number is that number.
    hosts = max(2, math.ceil(needed - 1e-9))
    return SamplingPlan(infinite, hosts if population is None else min(hosts, population))


def plan_from(strata: Sequence[tuple[str, int, float]], variance: float) -> SamplingPlan:
    """Spread the fewest hosts over strata so that the total has ``variance``: n = (sum N S)^2 / (V + sum N S^2).

    Cochran, 5.25. A stratum of which that takes more hosts than there are is taken whole, and adds no variance.

    Parameters
    ----------
    strata : sequence of (name, N_h, S_h)
        As for `allocate`; a stratum of one host has no S_h, and 0 stands for it.
    variance : float
    """
    first = sum(n * sd for _, n, sd in strata)
    infinite = first**2 / variance if variance > 0.0 else float(sum(n for _, n, _ in strata))
    whole = {name: n for name, n, _ in strata if n == 1}
    rest = [stratum for stratum in strata if stratum[0] not in whole]
    while rest:
        spread = sum(n * sd for _, n, sd in rest)
        below = variance + sum(n * sd**2 for _, n, sd in rest)
        needed = spread**2 / below if below > 0.0 else 0.0
        more = [s for s in rest if needed * s[2] >= spread > 0.0]
        if not more:
            whole |= _least(rest, math.ceil(needed - 1e-9), variance)
            break
        whole |= {name: n for name, n, _ in more}
        rest = [s for s in rest if s not in more]
    allocation = tuple((name, whole[name]) for name, _, _ in strata)
    return SamplingPlan(infinite, sum(n for _, n in allocation), allocation)


def _least(strata: Sequence[tuple[str, int, float]], hosts: int, variance: float) -> dict[str, int]:
    """Spread ``hosts`` over strata, or as many more as rounding to whole hosts takes."""
    while True:
        found = dict(allocate(strata, hosts))
        reached = sum(size**2 * (1.0 / found[name] - 1.0 / size) * sd**2 for name, size, sd in strata)
        if reached <= variance * (1.0 + 1e-9) or sum(found.values()) == sum(size for _, size, _ in strata):
            return found
        hosts = sum(found.values()) + 1


def allocate(strata: Sequence[tuple[str, int, float]], hosts: int) -> tuple[tuple[str, int], ...]:
    """Spread ``hosts`` over strata by N_h S_h (Neyman), two at least in each, none above its N_h.

    Parameters
    ----------
    strata : sequence of (name, N_h, S_h)
        S_h: standard deviation of a host's power in a pilot.
    hosts : int
        To be spread; raised where two hosts a stratum need more.
    """
    given = {name: min(2, size) for name, size, _ in strata}
    open_strata = {name: (size, size * sd) for name, size, sd in strata}
    left = hosts - sum(given.values())
    while left > 0 and (live := {k: v for k, v in open_strata.items() if given[k] < v[0]}):
        spread = sum(w for _, w in live.values())
        # The stratum that is furthest below its Neyman share gets the next host: no rounding to repair afterwards.
        name = max(live, key=lambda k: ((live[k][1] / spread if spread else 1.0) / (given[k] + 0.5), k))
        given[name] += 1
        left -= 1
    return tuple((name, given[name]) for name, _, _ in strata)


@dataclass(frozen=True, slots=True)
class JobDrawn:
    """A job to choose from, or to measure: ``pi`` is its chance to be drawn, 0 while nothing was."""

    stratum: str
    job: str
    hosts: int
    pi: float = 0.0


def read_jobs(path: str | Path) -> list[JobDrawn]:
    """Read ``job,hosts[,stratum]``: the jobs of a fleet.

    Raises
    ------
    InputError
        For a job that appears twice in its stratum, or one without a host.
    """
    jobs: dict[tuple[str, str], JobDrawn] = {}
    for row in read_table(path, ("job", "hosts"), used=("job", "hosts", "stratum")):
        key = row.text("stratum") or "all", row.name("job")
        if key in jobs:
            raise row.error("job", f"{key[1]!r} appears twice; give each job one row")
        jobs[key] = JobDrawn(*key, row.count("hosts", least=1))
    if not jobs:
        raise InputError("lists no job; add a row per job", str(path), 2)
    return list(jobs.values())


def draw_jobs(jobs: Sequence[JobDrawn], number: int, *, seed: int = 1) -> list[JobDrawn]:
    """Draw jobs without replacement, each with a chance in proportion to its hosts.

    The draw is systematic through the strata, in random order within each; a job so large that its chance would exceed
    1 is certain. The same seed gives the same jobs.

    Raises
    ------
    InputError
        If there are fewer jobs.
    """
    if number > len(jobs):
        raise InputError(f"cannot draw {number} jobs of {len(jobs)}")
    random = np.random.default_rng(seed)
    sizes = np.array([job.hosts for job in jobs], np.float64)
    pi = chances(sizes, number, float(sizes.sum()))
    order = sorted(range(len(jobs)), key=dict(enumerate(random.permutation(len(jobs)).tolist())).__getitem__)
    order.sort(key=lambda i: jobs[i].stratum)
    ends = np.cumsum(pi[order])
    # A rounded sum may end a hair below the last mark.
    marks = np.minimum(random.random() + np.arange(number), ends[-1] - 1e-9)
    found = sorted(order[int(np.searchsorted(ends, mark, side="right"))] for mark in marks)
    return [replace(jobs[i], pi=float(pi[i])) for i in found]
