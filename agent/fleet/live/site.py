"""The fleet as it is now: measured hosts and an inventory, to power at every boundary with its interval."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.boundary.reference import find
from wattshed.agent.fleet.estimate.estimators import Estimate, estimate
from wattshed.agent.fleet.estimate.sample import from_hosts
from wattshed.agent.fleet.estimate.student import quantile
from wattshed.agent.fleet.live.hourly import Bill, Hours, bill
from wattshed.agent.fleet.live.ladder import Power, climb
from wattshed.agent.wire.query import Prometheus, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from wattshed.agent.fleet.live.inventory import Inventory, Site, Stratum

POWER_RULE = "wattshed:host_gpu_power_watts"
GPUS_RULE = "wattshed:host_gpus"
"""The recording rules that are read (docs/fleet.md); a label ``host`` wins over ``instance``."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a server knows: stratum -> host -> W, and what was wrong with the rest."""

    powers: Mapping[str, Mapping[str, float]]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetEstimate:
    """The fleet's power: the estimate at the GPU boundary, and the ladder above it.

    ``prior`` names the strata that rest on a data sheet. ``headroom_w`` and ``bills`` are by site.
    """

    estimate: Estimate
    boundaries: tuple[Power, ...]
    hosts_known: int
    hosts_reporting: int
    prior: tuple[str, ...]
    headroom_w: Mapping[str, float]
    bills: Mapping[str, Bill]
    warnings: tuple[str, ...]


def ask(server: Prometheus, inventory: Inventory) -> Measured:
    """Read the recording rules; a dead server measures nothing, and a warning says so."""
    try:
        points = server.query(POWER_RULE)
        counts = {_host(p.labels): p.value for p in server.query(GPUS_RULE)}
    except ServerError as error:
        return Measured({}, (f"{error}; nothing was measured",))
    gpus = {s.name: s.gpus_per_host for s in inventory.strata}
    powers: dict[str, dict[str, float]] = {}
    strangers: list[str] = []
    partial: list[str] = []
    invented: list[str] = []
    double = 0
    for point in points:
        host = _host(point.labels)
        if point.labels.get("simulated"):
            invented.append(host)
            continue
        name = inventory.stratum_of(point.labels.get("stratum", ""), host)
        if name is None or not host or point.value < 0.0:
            strangers.append(host)
            continue
        watts, seen = point.value, counts.get(host)
        if seen is not None and 0 < seen < gpus[name]:
            # A host with a lost GPU stands for whole ones: its other GPUs say what that one would draw.
            watts *= gpus[name] / seen
            partial.append(host)
        double += host in powers.setdefault(name, {})
        powers[name][host] = watts
    said = []
    if not points:
        said.append(
            f"{server.url} has no series {POWER_RULE}; load the recording rules, and check that hosts are scraped"
        )
    if invented:
        said.append(f"{len(invented)} hosts are simulated and left out (such as {invented[0]!r})")
    if strangers:
        said.append(
            f"{len(strangers)} hosts are in no stratum of the inventory and left out (such as {strangers[0]!r})"
        )
    if partial:
        said.append(f"{len(partial)} hosts report fewer GPUs than they have and are scaled up (such as {partial[0]!r})")
    if double:
        said.append(
            f"{double} hosts have more than one series of {POWER_RULE}; the last was taken, check the rules' labels"
        )
    return Measured(powers, tuple(said))


def _host(labels: Mapping[str, str]) -> str:
    return labels.get("host") or labels.get("instance", "")


def measure_one(inventory: Inventory, host: str, gpu_w: float, stratum: str = "") -> Measured:
    """Take one host for all that is measured: what a daemon with an inventory knows by itself.

    ``gpu_w`` is the mean power of the host's GPUs, W; ``stratum`` its own, or empty to go by the host's name.
    """
    name = inventory.stratum_of(stratum, host)
    if name is None:
        return Measured({}, (f"host {host!r} is in no stratum of the inventory; give its stratum a match expression",))
    return Measured({name: {host: gpu_w}})


def extrapolate(inventory: Inventory, measured: Measured, *, confidence: float = 0.95) -> FleetEstimate:
    """Power of the whole fleet from the hosts that report.

    A stratum without a measurement gets the data sheet's wide prior. An inventory that knows fewer hosts than report is
    contradicted: no interval is given.
    """
    reporting = {name: len(hosts) for name, hosts in measured.powers.items()}
    contradicted = [s for s in inventory.strata if reporting.get(s.name, 0) > s.hosts]
    population = inventory.population
    for s in contradicted:
        # The hosts that report exist, whatever the inventory says.
        population.hosts[population.strata.index(s.name)] = reporting[s.name]
    sample = from_hosts(population, measured.powers)
    found = estimate(sample, "stratified", confidence=confidence, meter_gain_sigma=inventory.meter_gain_sigma)
    priors = _priors(inventory, found)
    gpu_w, bounded = _with_priors(found, priors)
    bounded = bounded and not contradicted
    half = NormalDist().inv_cdf(0.5 + confidence / 2.0) * inventory.meter_gain_sigma
    boundaries = climb(inventory, gpu_w, Range.relative(1.0, half), bounded=bounded)
    sites = {site.name: _site_watts(inventory, site, gpu_w) for site in inventory.sites}
    headroom = {s.name: s.supply_limit_w - sites[s.name][1] for s in inventory.sites if s.supply_limit_w is not None}
    said = (
        *measured.warnings,
        *_contradictions(contradicted, reporting),
        *_unlike_a_sample(inventory, reporting, priors),
        *(["one host reports: there is no sampling interval"] if _is_alone(found, reporting) else []),
        *(w for w in found.warnings if not w.startswith("no measurement in stratum")),
        *_assumptions(inventory),
        *(
            f"site {name!r} draws {-left / 1e6:.3g} MW more than its supply limit"
            for name, left in headroom.items()
            if left < 0.0
        ),
    )
    warnings = tuple(dict.fromkeys(said))
    gpu = boundaries[0]
    whole = replace(
        found,
        total=gpu.mean_w,
        lower=gpu.lower_w,
        upper=gpu.upper_w,
        se=found.se if bounded and not priors else None,
        method="stratified" if not priors else "prior" if not sample.names else "stratified+prior",
        warnings=warnings,
    )
    return FleetEstimate(
        whole,
        boundaries,
        sum(s.hosts for s in inventory.strata),
        sum(reporting.values()),
        tuple(priors),
        headroom,
        {s.name: _site_bill(s, *sites[s.name]) for s in inventory.sites},
        warnings,
    )


def _contradictions(strata: Iterable[Stratum], reporting: Mapping[str, int]) -> Iterator[str]:
    for s in strata:
        yield (
            f"{reporting[s.name]} hosts report in stratum {s.name!r}, and the inventory knows {s.hosts}: "
            "no interval can be given; correct the inventory"
        )


def _unlike_a_sample(inventory: Inventory, reporting: Mapping[str, int], priors: Mapping[str, Range]) -> Iterator[str]:
    """Say of each stratum that was not measured, or in part only, what its figure rests on."""
    for s in inventory.strata:
        if s.name in priors:
            yield (
                f"no measurement in stratum {s.name!r}: {s.hosts} hosts rest on a data sheet "
                f"({s.model or 'unknown model'}), not on a sample"
            )
        elif 0 < (n := reporting.get(s.name, 0)) < s.hosts:
            yield (
                f"{n} of {s.hosts} hosts report in stratum {s.name!r}: "
                "the interval takes them for a random sample of it"
            )


def _is_alone(found: Estimate, reporting: Mapping[str, int]) -> bool:
    return found.measured_total > 0.0 and sum(reporting.values()) == 1


def _assumptions(inventory: Inventory) -> Iterator[str]:
    for site in inventory.sites:
        yield from site.assumptions
    if any(not s.node.fitted for s in inventory.strata):
        yield "node power rests on an assumed model; fit it where a BMC can be read (wattshed fleet node)"


def _priors(inventory: Inventory, found: Estimate) -> dict[str, Range]:
    """GPU watts of the strata that nobody measured, from the reference table."""
    unmeasured = {s.stratum for s in found.strata if s.sampled == 0 and s.hosts > 0}
    return {s.name: _prior(s) for s in inventory.strata if s.name in unmeasured}


def _prior(stratum: Stratum) -> Range:
    gpus = stratum.hosts * stratum.gpus_per_host
    known = find(stratum.model)
    each = known.typical if known is not None else Range(400.0, 10.0, 1400.0)
    return Range(each.value * gpus, each.low * gpus, each.high * gpus)


def _with_priors(found: Estimate, priors: Mapping[str, Range]) -> tuple[dict[str, Range], bool]:
    """GPU power by stratum, with sampling intervals, and whether all of them have one."""
    powers: dict[str, Range] = {}
    bounded = True
    for s in found.strata:
        if s.stratum in priors:
            powers[s.stratum] = priors[s.stratum]
        elif s.total is None or s.se is None:
            bounded = False
            powers[s.stratum] = Range.exact(s.total or 0.0)
        else:
            half = quantile(found.confidence, max(found.df, 1)) * s.se if s.se > 0.0 else 0.0
            powers[s.stratum] = Range(s.total, s.total - half, s.total + half)
    return powers, bounded


def _site_watts(inventory: Inventory, site: Site, gpu_w: Mapping[str, Range]) -> tuple[float, float]:
    """Central IT and facility power of one site, W."""
    powers = climb(replace(inventory, sites=(site,)), gpu_w, Range.exact(1.0), bounded=False)
    return powers[2].mean_w, powers[3].mean_w


def _site_bill(site: Site, it_w: float, facility_w: float) -> Bill:
    """Energy, cost and carbon of a day at the present power (of the table's hours, where there is one)."""
    if site.hours is not None:
        by_hour = site.pue.by_hour(it_w) if it_w > 0.0 else None
        return bill(facility_w if by_hour is None else it_w * by_hour, site.hours)
    day = bill(facility_w, Hours())
    cost = None if site.price_per_kwh is None else day.energy_kwh * site.price_per_kwh
    carbon = None if site.carbon_g_per_kwh is None else day.energy_kwh * site.carbon_g_per_kwh / 1000.0
    return replace(day, cost=cost, carbon_kg=carbon)
