"""What ``wattshed fleet estimate``, ``plan``, ``node`` and ``scenario`` do."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError, counted
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.claims.scenario import load, read, shipped
from wattshed.agent.fleet.demand.series import read_series
from wattshed.agent.fleet.estimate.bootstrap import bootstrap_se, check_unit
from wattshed.agent.fleet.estimate.estimators import estimate
from wattshed.agent.fleet.estimate.node_model import fit
from wattshed.agent.fleet.estimate.planner import SamplingPlan, allocate, sample_size
from wattshed.agent.fleet.estimate.sample import read_population, read_sample
from wattshed.agent.fleet.flags import is_given
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.rules import survey
from wattshed.agent.fleet.live.site import extrapolate
from wattshed.agent.fleet.printing import answer
from wattshed.agent.fleet.report import (
    estimate_json,
    estimate_parts,
    fleet_json,
    fleet_parts,
    scenario_json,
    scenario_parts,
)
from wattshed.agent.printing.paragraphs import TableRows, table
from wattshed.agent.wire.query import Prometheus

if TYPE_CHECKING:
    import argparse

    from wattshed.agent.fleet.demand.series import OpenTrace
    from wattshed.agent.fleet.estimate.estimators import Estimate
    from wattshed.agent.fleet.estimate.sample import Sample


def estimate_fleet(args: argparse.Namespace) -> int:
    """``fleet estimate``, from files or from a server."""
    live, filed = (args.prometheus, args.inventory), (args.sample, args.population)
    if all(live) and not any(filed):
        inventory = read_inventory(args.inventory)
        if is_given(args, "--meter-sigma"):
            inventory = replace(inventory, meter_gain_sigma=args.meter_sigma)
        measured = survey(Prometheus(args.prometheus, timeout_s=args.timeout), inventory)
        fleet = extrapolate(inventory, measured, confidence=args.confidence)
        return answer(fleet_json(fleet), fleet_parts(fleet), as_json=args.json)
    if not all(filed) or any(live):
        raise InputError("give --sample and --population, or --prometheus and --inventory")
    if args.bootstrap:
        check_unit(args.resample)
    population = read_population(args.population)
    sample = read_sample(args.sample, population, cluster=args.method == "cluster" or args.resample == "job")
    found = estimate(sample, args.method, confidence=args.confidence, meter_gain_sigma=args.meter_sigma)
    document = estimate_json(found, args.unit)
    parts = estimate_parts(found, args.unit)
    if args.bootstrap:
        document["bootstrap_se"] = bootstrap_se(sample, args.bootstrap, unit=args.resample)
        shown_se = "none" if document["bootstrap_se"] is None else shown(document["bootstrap_se"], args.unit)
        parts.append(f"bootstrap standard error {shown_se} ({args.bootstrap} replicates by {args.resample})")
    if args.plan:
        planned = _plan_of(found, sample, args.plan)
        document["plan"] = None if planned is None else asdict(planned)
        parts.append("no plan: the sample gives no variance" if planned is None else _plan_text(planned, args.plan))
    return answer(document, parts, as_json=args.json)


def _plan_of(found: Estimate, sample: Sample, error: float) -> SamplingPlan | None:
    """Plan of the next sample from this one as a pilot: Neyman's spread over the strata, and what it then takes.

    With it n = (sum N S)^2 / (V + sum N S^2), V the wanted variance (Cochran, 5.25).
    """
    strata = [(s.stratum, s.hosts, s.sd) for s in found.strata if s.hosts]
    known = [(name, hosts, sd) for name, hosts, sd in strata if sd is not None]
    if found.total is None or len(known) < len(strata) or not known:
        return None
    wanted = (error * found.total / 1.96) ** 2
    first = sum(n * sd for _, n, sd in known)
    infinite = first**2 / wanted if wanted > 0.0 else float(sample.population.hosts.sum())
    needed = first**2 / (wanted + sum(n * sd**2 for _, n, sd in known)) if wanted > 0.0 else infinite
    spread = allocate(known, max(2 * len(known), -int(-needed // 1)))
    return SamplingPlan(infinite, sum(n for _, n in spread), spread)


def _plan_text(plan: SamplingPlan, error: float) -> str:
    spread = ", ".join(f"{name} {hosts}" for name, hosts in plan.allocation)
    return f"an interval of ±{error * 100:.3g}% takes {counted(plan.hosts, 'host')}{': ' + spread if spread else ''}"


def plan(args: argparse.Namespace) -> int:
    """``fleet plan``."""
    found = sample_size(args.cv, args.error, args.hosts, deff=args.deff, confidence=args.confidence)
    document = {"schema": "wattshed.plan/1", "hosts": found.hosts, "hosts_of_an_infinite_fleet": found.infinite}
    return answer(document, [_plan_text(found, args.error)], as_json=args.json)


def node(args: argparse.Namespace, open_trace: OpenTrace) -> int:
    """``fleet node``."""
    gpus, whole = (read_series(open_trace([path])) for path in (args.gpu, args.node))
    if len(whole.series) != 1:
        raise InputError("holds more than one series; give the power of one node", args.node)
    try:
        model = fit(list(gpus.series.values()), next(iter(whole.series.values())), average_s=args.average)
    except InputError as error:
        raise InputError(error.message, args.node) from None
    document = {"schema": "wattshed.node/1", **asdict(model), "fixed_w": model.fixed_w}
    level, slope = model.level_w, model.slope
    rows = [
        (f"level at {shown(model.pivot_w, 'W')} of GPUs", shown(level.value, "W"), between(level.low, level.high, "W")),
        ("slope, node W per GPU W", f"{slope.value:.3f}", between(round(slope.low, 3), round(slope.high, 3), "")),
        ("fixed, with GPUs at 0 W", shown(model.fixed_w, "W"), ""),
        ("GPUs' share of the node's energy", f"{model.gpu_share:.1%}", ""),
    ]
    toml = (
        f"node = {{ level_w = {{ value = {level.value:.1f}, low = {level.low:.1f}, high = {level.high:.1f} }}, "
        f"slope = {{ value = {slope.value:.4f}, low = {max(slope.low, 0.0):.4f}, high = {slope.high:.4f} }}, "
        f"pivot_w = {model.pivot_w:.1f} }}"
    )
    parts: list[str | TableRows] = [
        table(("node model", "value", "95 % interval"), rows),
        "",
        f"for FLEET.toml: {toml}",
    ]
    return answer(document, parts, as_json=args.json)


def scenario(args: argparse.Namespace) -> int:
    """``fleet scenario``: one of them, or the list."""
    if args.name is not None:
        found = load(args.name)
        return answer(scenario_json(found), scenario_parts(found, explain=args.explain), as_json=args.json)
    all_of_them = [read(path) for path in shipped().values()]
    listing = [{"name": s.name, "title": s.title, "verdicts": [str(c.verdict) for c in s.claims]} for s in all_of_them]
    parts = [table(("scenario", "about"), [(s.name, s.title) for s in all_of_them], left=(0, 1))]
    return answer({"schema": "wattshed.scenarios/1", "scenarios": listing}, parts, as_json=args.json)
