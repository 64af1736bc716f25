"""From sorted hosts to what they draw: measured groups by their sample, silent hosts by what their state allows."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.estimate.design import Spread, third_moment
from wattshed.agent.fleet.estimate.estimators import Estimate, estimate
from wattshed.agent.fleet.estimate.intervals import reach
from wattshed.agent.fleet.estimate.sample import Population, from_hosts
from wattshed.agent.fleet.estimate.student import quantile
from wattshed.agent.fleet.live.ladder import Draw
from wattshed.agent.fleet.live.node_fits import METER_SIGMA, MOST_NODE_W
from wattshed.agent.fleet.live.responses import ALL, FEWEST, RESTING, idle_gpu_w, typical_gpu_w
from wattshed.agent.fleet.live.states import SORTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wattshed.agent.fleet.estimate.estimators import StratumEstimate
    from wattshed.agent.fleet.live.responses import Responses, Silent, StateGroup

WRONG, RIGHT = 0.5, 49.5
"""Before hosts have shown it, one state in a hundred is taken to be wrong, as if fifty hosts had said so."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What the fleet draws.

    Attributes
    ----------
    draws : tuple of Draw
    sample : Estimate
        Of the hosts that answer, by group.
    prior : tuple of str
        Strata of which hosts rest on a data sheet.
    short : tuple of StateGroup
        Groups with too few answers for an interval.
    """

    draws: tuple[Draw, ...]
    sample: Estimate
    prior: tuple[str, ...]
    short: tuple[StateGroup, ...]


def draws_of(
    responses: Responses, *, confidence: float, meter_gain_sigma: float, node_w: Mapping[str, float] | None = None
) -> Drawn:
    """Estimate what all hosts draw, with intervals at ``confidence``; ``node_w`` is what nodes' own meters show, W."""
    groups: dict[str, list[StateGroup]] = {}
    for group in responses.groups:
        groups.setdefault(group.key, []).append(group)
    hosts = np.array([sum(g.hosts for g in sample) for sample in groups.values()], np.int64)
    population = Population(tuple(groups), hosts, np.full(hosts.size, np.nan))
    answers = {key: _answers(sample) for key, sample in groups.items()}
    # Each group has an interval of its own, below.
    sample = estimate(
        from_hosts(population, answers), "stratified", confidence=confidence, meter_gain_sigma=meter_gain_sigma
    )
    found = {s.stratum: s for s in sample.strata}
    draws: list[Draw] = []
    short: list[StateGroup] = []
    prior: dict[str, None] = {}
    for key, same in groups.items():
        n, of = len(answers[key]), found[key]
        for group in same:
            if n == 0:
                draws.append(_by_data_sheet(group))
                prior[group.stratum.name] = None
                continue
            mean, se = of.mean or 0.0, of.se
            below, above = _reach(answers[key], of, quantile(confidence, max(sample.df, 1)))
            few = group.state != ALL and n < FEWEST and n < of.hosts
            short += [group] if few else []
            total = mean * group.hosts
            power = Range(total, total - below * group.hosts, total + above * group.hosts)
            bounded = se is not None and not few
            draw = Draw(group.stratum.name, key, power, Range.exact(group.hosts), bounded=bounded)
            draws += _by_their_meters(draw, group, node_w or {})
    idle_w = _idle_w(groups, answers)
    for silent in responses.silent:
        name = silent.stratum.name
        draws += _silent(silent, idle_w.get(name, idle_gpu_w(silent.stratum).high * silent.stratum.gpus_per_host))
    draws += _wrong_states(responses, answers, idle_w, confidence)
    return Drawn(tuple(draws), sample, tuple(prior), tuple(short))


def _reach(answers: Mapping[str, float], of: StratumEstimate, q: float) -> tuple[float, float]:
    """Return how far the interval of a mean host extends below and above, W.

    The quantile is the total's: what is sampled elsewhere says how well the spread is known. Each group is extended
    for its own skewness, which is wider together than for that of the total.
    """
    if not of.se:
        return 0.0, 0.0
    n, one = np.array([len(answers)]), np.zeros(len(answers), np.int64)
    part = np.array(list(answers.values())) * (of.hosts / len(answers))
    third = third_moment(one, part, 1.0 - n / of.hosts, 1)
    below, above, _ = reach(Spread(np.array([of.se**2]), third, n - 1.0), q, sampled=n)
    return below * of.se / of.hosts, above * of.se / of.hosts


def _by_their_meters(draw: Draw, group: StateGroup, node_w: Mapping[str, float]) -> list[Draw]:
    """Take apart the hosts of a group whose nodes have meters: they are measured, and the others modelled.

    A meter that shows less than the node's GPUs, or what no node draws, measures nothing.
    """
    able = group.answers.items() if group.stratum.live else ()
    metered = [host for host, watts in able if watts <= node_w.get(host, -1.0) <= MOST_NODE_W]
    if not metered:
        return [draw]
    watts, power = math.fsum(group.answers[host] for host in metered), draw.gpu_w
    others = replace(
        draw,
        gpu_w=Range(power.value - watts, power.low - watts, power.high - watts),
        hosts=Range.exact(group.hosts - len(metered)),
    )
    read = Draw(
        draw.stratum,
        f"node meters, {draw.key}",
        Range.exact(watts),
        Range.exact(len(metered)),
        bounded=draw.bounded,
        node_w=math.fsum(node_w[host] for host in metered),
        node_sigma=METER_SIGMA,
    )
    return [read, others] if group.hosts > len(metered) else [replace(read, gpu_w=power)]


def _answers(sample: list[StateGroup]) -> dict[str, float]:
    if len(sample) == 1:
        return sample[0].answers
    return {f"{g.stratum.name} {host}": watts for g in sample for host, watts in g.answers.items()}


def _by_data_sheet(group: StateGroup) -> Draw:
    gpus = group.hosts * group.stratum.gpus_per_host
    each = idle_gpu_w(group.stratum) if group.state in RESTING else typical_gpu_w(group.stratum)
    return Draw(group.stratum.name, f"data sheet, {group.key}", each.times(gpus), Range.exact(group.hosts))


def _idle_w(groups: Mapping[str, list[StateGroup]], answers: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """GPU power of an idle host by stratum, W: the mean of those that are idle, where enough of them answer."""
    return {
        group.stratum.name: math.fsum(answers[key].values()) / len(answers[key])
        for key, sample in groups.items()
        if len(answers[key]) >= FEWEST
        for group in sample
        if group.state in RESTING
    }


def _silent(hosts: Silent, idle_w: float) -> Iterator[Draw]:
    """Hosts for which no other stands; those whose BMC was read have their nodes' power from it."""
    name, gpus = hosts.stratum.name, hosts.stratum.gpus_per_host
    most_w = typical_gpu_w(hosts.stratum).high * gpus
    for state, members, high_w in (("down", hosts.down, idle_w), ("unknown", hosts.unknown, most_w)):
        read = [m.node_w for m in members if m.node_w is not None]
        if read:
            watts = sum(min(w, high_w) for w in read)
            power = Range(sum(min(w, idle_w) for w in read) / 2.0, 0.0, watts)
            yield Draw(name, f"{state} and read, {name}", power, Range.exact(len(read)), node_w=math.fsum(read))
        on = sum(m.on is True and m.node_w is None for m in members)
        rest = len(members) - len(read) - on
        for count, where, powered in ((on, "on", on), (rest, "silent", 0)):
            if count:
                # As likely off as idle; one that only does not answer may run a job.
                power = Range(count * idle_w / 2.0, 0.0, count * high_w)
                hosts_on = Range(max(count / 2.0, powered), powered, count)
                yield Draw(name, f"{state} and {where}, {name}", power, hosts_on)


def _wrong_states(
    responses: Responses, answers: Mapping[str, Mapping[str, float]], idle_w: Mapping[str, float], confidence: float
) -> Iterator[Draw]:
    """Silent hosts whose state is wrong, as many as the hosts that answer let expect.

    One that should be idle may run a job: how often shows in those that answer, and is part of the estimate. Among
    those that are off or down, which never answer, nothing is seen: some may run jobs, and as many more may pass for
    busy, so that they only widen the interval.
    """
    seen = sum(state in RESTING for _, state, _ in responses.contradicted)
    wrong, right = WRONG + seen, RIGHT + responses.resting - seen
    silent_in: Counter[tuple[str, bool]] = Counter()
    for group in responses.groups:
        if group.state in SORTED:
            silent_in[group.stratum.name, group.state in RESTING] += group.hosts - len(group.answers)
    for silent in responses.silent:
        stratum, name = silent.stratum, silent.stratum.name
        busy = answers.get(f"{name} (busy)", {})
        typical = typical_gpu_w(stratum).value * stratum.gpus_per_host
        job_w = math.fsum(busy.values()) / len(busy) if len(busy) >= FEWEST else typical
        if resting := silent_in[name, True]:
            more_w = max(job_w - idle_w.get(name, 0.0), 0.0)
            jobs = beta_binomial(resting, wrong, right, confidence)
            yield Draw(name, f"wrong states, idle, {name}", jobs.times(more_w), Range.exact(0.0))
        if stopped := silent.off + sum(m.node_w is None for m in silent.down):
            most = beta_binomial(stopped, wrong, right, confidence).high
            yield Draw(name, f"wrong states, off, {name}", Range(0.0, 0.0, most * job_w), Range(0.0, 0.0, most))
            most = min(most, float(silent_in[name, False]))
            yield Draw(name, f"wrong states, busy, {name}", Range(0.0, -most * job_w, 0.0), Range(0.0, -most, 0.0))


def beta_binomial(count: int, wrong: float, right: float, confidence: float) -> Range:
    """How many of ``count`` hosts are wrong: mean and interval of the beta-binomial distribution.

    Parameters
    ----------
    count : int
    wrong, right : float
        Parameters of the beta distribution of the share that is wrong: hosts seen, and those that are assumed.
    confidence : float
    """
    x = np.arange(count, dtype=np.float64)
    steps = np.log(count - x) + np.log(wrong + x) - np.log(x + 1.0) - np.log(right + count - x - 1.0)
    logs = np.concatenate(([0.0], np.cumsum(steps)))
    sums = np.cumsum(np.exp(logs - logs.max()))
    tail = (1.0 - confidence) / 2.0
    low, high = np.searchsorted(sums / sums[-1], (tail, 1.0 - tail))
    mean = count * wrong / (wrong + right)
    return Range(mean, min(float(low), mean), max(float(high), mean))
