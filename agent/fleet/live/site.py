"""The fleet as it is now: measured hosts and an inventory, to power at every boundary with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

from wattshed.agent.fleet.boundary.hourly import Bill, Hours, bill
from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.boundary.units import shown
from wattshed.agent.fleet.estimate.estimators import Estimate, StratumEstimate
from wattshed.agent.fleet.estimate.node_model import assumed
from wattshed.agent.fleet.live.draws import draws_of
from wattshed.agent.fleet.live.ladder import Power, climb
from wattshed.agent.fleet.live.responses import ALL, FEWEST, sort_hosts
from wattshed.agent.fleet.live.states import SORTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wattshed.agent.fleet.estimate.node_model import NodeModel
    from wattshed.agent.fleet.live.draws import Drawn
    from wattshed.agent.fleet.live.inventory import Inventory, Site, Stratum
    from wattshed.agent.fleet.live.responses import Responses, StateGroup
    from wattshed.agent.fleet.live.rules import Measured

_NAMED = 5
"""Hosts that a warning names, and warnings of one kind."""


@dataclass(frozen=True, slots=True)
class FleetEstimate:
    """The fleet's power: the estimate at the GPU boundary, and the ladder above it.

    Attributes
    ----------
    prior : tuple of str
        Strata of which hosts rest on a data sheet.
    headroom_w, bills, sites : mapping of site -> ...
        What its supply has left, what a day costs, and its power at each boundary.
    states : mapping of state -> hosts
        Empty where nothing is known of them.
    contradicted : tuple of str
        Hosts that draw more than their state allows.
    node_models : mapping of stratum -> (str, NodeModel)
        What it was computed with, and where it is from: "live", "inventory" or "assumed".
    """

    estimate: Estimate
    boundaries: tuple[Power, ...]
    hosts_known: int
    hosts_reporting: int
    prior: tuple[str, ...]
    headroom_w: Mapping[str, float]
    bills: Mapping[str, Bill]
    warnings: tuple[str, ...]
    sites: Mapping[str, tuple[Power, ...]] = field(default_factory=dict)
    states: Mapping[str, int] = field(default_factory=dict)
    contradicted: tuple[str, ...] = ()
    node_models: Mapping[str, tuple[str, NodeModel]] = field(default_factory=dict)


def extrapolate(inventory: Inventory, measured: Measured, *, confidence: float = 0.95) -> FleetEstimate:
    """Power of the whole fleet from the hosts that report, and from what is known of the others.

    Hosts that report stand for others in the same state; without any states, for all of their stratum. A stratum
    without a measurement gets the data sheet's wide prior. An inventory that knows fewer hosts than there are is
    contradicted: no interval is given.
    """
    inventory = _with_models(inventory, measured.nodes.models)
    responses = sort_hosts(inventory, measured)
    drawn = draws_of(
        responses, confidence=confidence, meter_gain_sigma=inventory.meter_gain_sigma, node_w=measured.nodes.power_w
    )
    draws = [replace(d, bounded=d.bounded and d.stratum not in responses.surplus) for d in drawn.draws]
    half = NormalDist().inv_cdf(0.5 + confidence / 2.0) * inventory.meter_gain_sigma
    ladder = climb(inventory, draws, Range.relative(1.0, half), confidence=confidence)
    sites = {site.name: ladder.sites[site.name] for site in inventory.sites}
    headroom = {
        s.name: s.supply_limit_w - sites[s.name][3].mean_w for s in inventory.sites if s.supply_limit_w is not None
    }
    reporting = sum(len(hosts) for hosts in measured.powers.values())
    alone = reporting == 1 and drawn.sample.measured_total > 0.0
    said = (
        *measured.warnings,
        *_surpluses(inventory, responses),
        *_states_said(responses, drawn),
        *_few(list(_unlike_a_sample(responses, drawn)), "strata were measured in part, or not at all"),
        *(["one host reports: there is no sampling interval"] if alone else []),
        *(w for w in drawn.sample.warnings if not w.startswith("no measurement in stratum")),
        *_few(list(_assumptions(inventory)), "assumptions about sites"),
        *(
            f"site {name!r} draws {-left / 1e6:.3g} MW more than its supply limit"
            for name, left in headroom.items()
            if left < 0.0
        ),
    )
    warnings = tuple(dict.fromkeys(said))
    return FleetEstimate(
        _whole(responses, drawn, ladder.fleet[0], warnings),
        ladder.fleet,
        sum(s.hosts for s in inventory.strata),
        reporting,
        drawn.prior,
        headroom,
        {s.name: _site_bill(s, sites[s.name][2].mean_w, sites[s.name][3].mean_w) for s in inventory.sites},
        warnings,
        sites,
        responses.counts,
        tuple(host for host, _, _ in responses.contradicted),
        {s.name: (_model_source(s, measured.nodes.models), s.node) for s in inventory.strata},
    )


def _model_source(stratum: Stratum, fitted: Mapping[str, NodeModel]) -> str:
    if stratum.name in fitted:
        return "live"
    return "assumed" if stratum.node == assumed(stratum.gpus_per_host) else "inventory"


def _with_models(inventory: Inventory, models: Mapping[str, NodeModel]) -> Inventory:
    """Return the inventory with the models that were fitted to its own nodes."""
    if not models:
        return inventory
    strata = (replace(s, node=models[s.name]) if s.name in models else s for s in inventory.strata)
    return replace(inventory, strata=tuple(strata))


def _whole(responses: Responses, drawn: Drawn, gpu: Power, warnings: tuple[str, ...]) -> Estimate:
    """Make the estimate of all hosts: that of those that answer, with the strata and the interval of all."""
    silent = responses.counts and any(s.off or s.down or s.unknown for s in responses.silent)
    bounded = gpu.lower_w is not None
    method = "poststratified" if responses.counts else "stratified"
    return replace(
        drawn.sample,
        total=gpu.mean_w,
        lower=gpu.lower_w,
        upper=gpu.upper_w,
        se=drawn.sample.se if bounded and not drawn.prior and not silent else None,
        strata=_strata(responses, drawn),
        method=method if not drawn.prior else f"{method}+prior" if drawn.sample.measured_total else "prior",
        warnings=warnings,
    )


def _strata(responses: Responses, drawn: Drawn) -> tuple[StratumEstimate, ...]:
    """One row a stratum, however its hosts were sorted."""
    samples = {s.stratum: s for s in drawn.sample.strata}
    groups: dict[str, list[StateGroup]] = {}
    for group in responses.groups:
        groups.setdefault(group.stratum.name, []).append(group)
    power: dict[str, float] = {}
    for draw in drawn.draws:
        power[draw.stratum] = power.get(draw.stratum, 0.0) + draw.gpu_w.value
    rows = []
    for silent in responses.silent:
        name, same = silent.stratum.name, groups.get(silent.stratum.name, [])
        if len(same) == 1 and same[0].state == ALL and not (silent.off or silent.down or silent.unknown):
            rows.append(samples[name])
            continue
        sampled = sum(len(g.answers) for g in same)
        hosts = silent.stratum.hosts + responses.surplus.get(name, 0)
        errors = [(samples[g.key].se, g.hosts / samples[g.key].hosts) for g in same if g.answers]
        se = (
            None
            if any(e is None for e, _ in errors)
            else math.hypot(*(e * part for e, part in errors if e is not None))
        )
        total = power.get(name, 0.0)
        mean = total / hosts if hosts else None
        rows.append(StratumEstimate(name, hosts, sampled, sampled == hosts, mean, None, total, se))
    return tuple(rows)


def _surpluses(inventory: Inventory, responses: Responses) -> Iterator[str]:
    for s in inventory.strata:
        if more := responses.surplus.get(s.name):
            yield (
                f"{s.hosts + more} hosts report in stratum {s.name!r}, and the inventory knows {s.hosts}: "
                "no interval can be given; correct the inventory"
            )


def _states_said(responses: Responses, drawn: Drawn) -> Iterator[str]:
    """Say what is assumed of hosts that do not answer, and what contradicts the states."""
    if responses.contradicted:
        named = ", ".join(f"{host} ({state}, {shown(w, 'W')})" for host, state, w in responses.contradicted[:_NAMED])
        more = f" and {len(responses.contradicted) - _NAMED} more" if len(responses.contradicted) > _NAMED else ""
        yield f"hosts that draw more than their state allows: {len(responses.contradicted)} ({named}{more})"
    yield from _few(
        [
            f"{len(group.answers)} of {group.hosts} {group.state} hosts of stratum {group.stratum.name!r} answer, "
            f"fewer than {FEWEST}: no interval can be given"
            for group in drawn.short
        ],
        "states have too few answers",
    )
    down = sum(len(s.down) for s in responses.silent)
    unknown = sum(len(s.unknown) for s in responses.silent)
    silent = sum(g.hosts - len(g.answers) for g in responses.groups if g.state in SORTED)
    if silent:
        yield f"hosts that do not answer, taken to draw what others in the same state draw: {silent}"
    if down:
        yield f"hosts that are down, taken to draw between nothing and an idle host's power: {down}"
    if unknown:
        what = "which may be off or run a job, from 0 to their design power"
        yield f"hosts of unknown state, {what}: {unknown}"
    if responses.strangers:
        yield (
            f"hosts with a state that are in no stratum of the inventory, left out: {len(responses.strangers)} "
            f"(such as {responses.strangers[0]!r}); give the strata match expressions"
        )


def _few(said: list[str], what: str) -> list[str]:
    """Leave a few of many remarks of one kind, and say how many more there are."""
    return said if len(said) <= _NAMED else [*said[:_NAMED], f"{len(said) - _NAMED:,} more {what}"]


def _unlike_a_sample(responses: Responses, drawn: Drawn) -> Iterator[str]:
    """Say of each stratum that was not measured, or in part only, what its figure rests on."""
    for group in responses.groups:
        stratum = group.stratum
        if not group.answers and stratum.name in drawn.prior:
            which = "" if group.state == ALL else f"{group.state} "
            yield (
                f"no measurement in stratum {stratum.name!r}: {group.hosts} {which}hosts rest on a data sheet "
                f"({stratum.model or 'unknown model'}), not on a sample"
            )
        elif group.state == ALL and not group.is_whole:
            yield (
                f"{len(group.answers)} of {group.hosts} hosts report in stratum {stratum.name!r}: "
                "the interval takes them for a random sample of it"
            )


def _assumptions(inventory: Inventory) -> Iterator[str]:
    if any(not s.node.fitted for s in inventory.strata):
        yield "node power rests on an assumed model; fit it where a BMC can be read (wattshed fleet node)"
    for site in inventory.sites:
        yield from site.assumptions


def _site_bill(site: Site, it_w: float, facility_w: float) -> Bill:
    """Energy, cost and carbon of a day at the present power (of the table's hours, where there is one)."""
    if site.hours is not None:
        by_hour = site.pue.by_hour(it_w) if it_w > 0.0 else None
        return bill(facility_w if by_hour is None else it_w * by_hour, site.hours)
    day = bill(facility_w, Hours())
    cost = None if site.price_per_kwh is None else day.energy_kwh * site.price_per_kwh
    carbon = None if site.carbon_g_per_kwh is None else day.energy_kwh * site.carbon_g_per_kwh / 1000.0
    return replace(day, cost=cost, carbon_kg=carbon)
