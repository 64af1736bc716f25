"""What ``wattshed fleet estimate`` and ``node`` do."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.demand.series import read_series
from wattshed.agent.fleet.estimate.action import estimate_sample
from wattshed.agent.fleet.estimate.node_model import doubts, fit
from wattshed.agent.fleet.estimate.period import energy, period_json, period_of, period_parts, read_times
from wattshed.agent.fleet.estimate.told import warned
from wattshed.agent.fleet.flags import is_given
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.rules import fits_of, survey
from wattshed.agent.fleet.live.site import extrapolate
from wattshed.agent.fleet.printing import answer
from wattshed.agent.fleet.report import (
    fleet_json,
    fleet_parts,
)
from wattshed.agent.printing.paragraphs import TableRows, table
from wattshed.agent.wire.query import Prometheus

if TYPE_CHECKING:
    import argparse

    from wattshed.agent.fleet.demand.series import OpenTrace


def estimate_fleet(args: argparse.Namespace) -> int:
    """``fleet estimate``, from files, from a server, or of a period from some of its hours."""
    live, filed = (args.prometheus, args.inventory), (args.sample, args.population)
    if args.period and not any((*live, *filed)):
        period = period_of(args.period, args.timezone)
        found = energy(
            read_times(args.times, period), period, confidence=args.confidence, meter_gain_sigma=args.meter_sigma
        )
        unit = args.unit or "W"
        return answer(period_json(found, unit), period_parts(found, unit), as_json=args.json)
    if all(live) and not any((*filed, args.period)):
        inventory = read_inventory(args.inventory)
        if is_given(args, "--meter-sigma"):
            inventory = replace(inventory, meter_gain_sigma=args.meter_sigma)
        server = Prometheus(args.prometheus, timeout_s=args.timeout)
        measured = survey(server, inventory, fits_of(server, inventory))
        fleet = extrapolate(inventory, measured, confidence=args.confidence)
        return answer(fleet_json(fleet), fleet_parts(fleet), as_json=args.json)
    if not all(filed) or any((*live, args.period)):
        raise InputError(
            "give --sample and --population, or --prometheus and --inventory, or --period and --times, and no others"
        )
    return estimate_sample(args)


def node(args: argparse.Namespace, open_trace: OpenTrace) -> int:
    """``fleet node``."""
    gpus, whole = (read_series(open_trace([path])) for path in (args.gpu, args.node))
    if len(whole.series) != 1:
        raise InputError("holds more than one series; give the power of one node", args.node)
    try:
        meter = next(iter(whole.series.values()))
        model = fit(list(gpus.series.values()), meter, average_s=args.average)
    except InputError as error:
        raise InputError(error.message, args.node) from None
    said = doubts(model, meter, average_s=args.average)
    document = {"schema": "wattshed.node/1", **asdict(model), "fixed_w": model.fixed_w, "warnings": list(said)}
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
        *warned(said),
    ]
    return answer(document, parts, as_json=args.json)
