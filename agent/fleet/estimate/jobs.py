"""Whether hosts were drawn one by one or came with their jobs; if with their jobs, the job is the sampling unit.

Hosts of one job draw alike, so a few whole jobs are few observations, however many hosts they have: intervals that
take such hosts for random ones cover the truth in 5 % of samples. Random hosts seldom meet in one job. With M hosts in
a host's job, n of N hosts drawn, the pairs that meet number n (n - 1) / (2 (N - 1)) mean(M - 1) in expectation.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from wattshed.agent.fleet.estimate.sample import Sample

JOB, JOB_HOSTS = "job", "job_hosts"

TOGETHER = 1.8
"""Pairs of hosts in one job over those expected of random hosts, from which jobs were drawn.

Whole jobs that are a share f of all hosts have 1 / f: of many hosts less is enough, for it cannot be chance.
"""

BY_CHANCE = 0.01
"""Pairs that chance would give this often prove nothing."""


def by_job(sample: Sample) -> tuple[Sample, tuple[str, ...]]:
    """Make the job the primary unit of a sample of hosts, if that is how its hosts were drawn.

    Parameters
    ----------
    sample : Sample
        One of hosts. Without a column ``job`` it is returned as it is; hosts whose cell is empty are by themselves.
        ``job_hosts``, the hosts of the whole job in the stratum, lets the number of pairs be judged.

    Returns
    -------
    sample : Sample
    said : tuple of str
        What was found, where the unit has changed.
    """
    if sample.primary != "host" or JOB not in sample.columns:
        return sample, ()
    keys = _keys(sample)
    members = Counter(keys)
    pairs = sum(m * (m - 1) // 2 for m in members.values())
    whole = np.array([i for i, n in enumerate(sample.sampled) if n == sample.population.hosts[i]], np.int64)
    if not pairs or np.isin(sample.stratum, whole).all():
        return sample, ()
    told = f"{len(members)} jobs have the {len(sample.names)} measured hosts"
    if JOB_HOSTS in sample.columns:
        expected = _expected(sample)
        share = len(sample.names) / max(int(sample.population.hosts[sample.sampled > 0].sum()), 1)
        if pairs <= min(TOGETHER, 0.5 + 0.5 / share) * expected or _at_least(pairs, expected) > BY_CHANCE:
            return sample, ()
        said = (
            f"{told}, {pairs} pairs of them in one job where {expected:.3g} are expected of random hosts: jobs were "
            "drawn, not hosts, so the job is the sampling unit"
        )
    else:
        said = (
            f"{told}: the job is taken for the sampling unit, since the hosts may have come with it; add a column "
            f"{JOB_HOSTS}, the hosts of the whole job, to have that judged"
        )
    return _grouped(sample, keys), (said,)


def both_by_job(now: Sample, before: Sample) -> tuple[Sample, Sample, tuple[str, ...]]:
    """Give two samples one sampling unit: the job, if the hosts of either came with theirs.

    Returns
    -------
    now, before : Sample
    said : tuple of str
        What was found of the earlier one.

    Raises
    ------
    InputError
        If the units differ, and no column ``job`` makes them alike.
    """
    (new, _), (old, said) = by_job(now), by_job(before)
    units = {new.primary, old.primary}
    if len(units) == 1:
        return new, old, said
    by_host = new if new.primary == "host" else old
    if units != {"host", JOB} or JOB not in by_host.columns:
        column = "cluster" if "cluster" in units else JOB
        raise InputError(
            f"--against: the sampling unit of the new sample is the {new.primary}, of the old one the {old.primary}; "
            f"give both a column {column}"
        )
    if by_host is new:
        return _grouped(new, _keys(new)), old, said
    return new, _grouped(old, _keys(old)), (f"its hosts are taken by {JOB}, since those of the new sample came so",)


def _keys(sample: Sample) -> list[tuple[int, str]]:
    """Stratum and job of each host; one without a job is by itself."""
    jobs = [job or f"host {name}" for job, name in zip(_of_hosts(sample, JOB), sample.names, strict=True)]
    return list(zip(sample.stratum.tolist(), jobs, strict=True))


def _grouped(sample: Sample, keys: list[tuple[int, str]]) -> Sample:
    index = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    group = np.array([index[key] for key in keys], np.int64)
    return replace(
        sample,
        names=tuple(job for _, job in index),
        stratum=np.array([stratum for stratum, _ in index], np.int64),
        units=np.full(len(index), -1, np.int64),
        unit_host=group[sample.unit_host],
        primary=JOB,
        hosts_are_units=True,
    )


def _of_hosts(sample: Sample, column: str) -> list[str]:
    """Text of each primary unit."""
    found = [""] * len(sample.names)
    for host, text in zip(sample.unit_host.tolist(), sample.columns[column], strict=True):
        found[host] = text
    return found


def _expected(sample: Sample) -> float:
    """Pairs of hosts in one job that random hosts would make."""
    others = np.empty(len(sample.names))
    for i, text in enumerate(_of_hosts(sample, JOB_HOSTS)):
        if text and not (text.isascii() and text.isdecimal() and int(text) > 0):
            raise InputError(f"{JOB_HOSTS}: {text!r} of {sample.names[i]!r} is not a whole number above 0")
        others[i] = int(text or 1) - 1
    n, hosts = sample.sampled, np.maximum(sample.population.hosts, 2)
    each = (n * (n - 1) / (2.0 * (hosts - 1.0) * np.maximum(n, 1)))[sample.stratum]
    return float(each @ others)


def _at_least(pairs: int, expected: float) -> float:
    """Bound the chance of so many events or more where fewer are expected (Poisson, by Chernoff)."""
    if expected <= 0.0:
        return 0.0
    return math.exp(pairs - expected - pairs * math.log(pairs / expected)) if pairs > expected else 1.0
