"""The fleet's answers: JSON for programs, tables for people, Markdown for the documentation."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.printing.paragraphs import TableRows, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wattshed.agent.fleet.claims.scenario import BoundaryPower, Claim, Figure, Given, Scenario
    from wattshed.agent.fleet.estimate.estimators import Estimate
    from wattshed.agent.fleet.live.ladder import Power
    from wattshed.agent.fleet.live.site import FleetEstimate

FLEET_SCHEMA = "wattshed.fleet/1"
SCENARIO_SCHEMA = "wattshed.scenario/1"
_MOST_SITES = 20


def estimate_json(found: Estimate, unit: str = "") -> dict[str, Any]:
    """Lay an estimate out as ``wattshed.fleet/1``."""
    return {
        "schema": FLEET_SCHEMA,
        "total": found.total,
        "se": found.se,
        "df": found.df,
        "lower": found.lower,
        "upper": found.upper,
        "confidence": found.confidence,
        "method": found.method,
        "unit": unit,
        "strata": [asdict(s) for s in found.strata],
        "deff": found.deff,
        "sampling_se": found.sampling_se,
        "meter_se": found.meter_se,
        "measured_total": found.measured_total,
        "warnings": list(found.warnings),
    }


def fleet_json(fleet: FleetEstimate) -> dict[str, Any]:
    """Lay a live fleet out as ``wattshed.fleet/1``, with the ladder of boundaries."""
    return {
        **estimate_json(fleet.estimate, "W"),
        "boundary": "gpu",
        "boundaries": [asdict(p) for p in fleet.boundaries],
        "sites": {name: [asdict(p) for p in powers] for name, powers in fleet.sites.items()},
        "hosts": {"known": fleet.hosts_known, "reporting": fleet.hosts_reporting},
        "states": dict(fleet.states),
        "contradicted": list(fleet.contradicted),
        "prior": list(fleet.prior),
        "headroom_w": dict(fleet.headroom_w),
        "per_day": {name: asdict(b) for name, b in fleet.bills.items()},
    }


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else shown(value, unit)


def estimate_parts(found: Estimate, unit: str = "") -> list[str | TableRows]:
    """Lay an estimate out for a terminal."""
    percent = f"{found.confidence:.0%}"
    if found.total is None:
        head = f"total unknown; the measured strata add up to {shown(found.measured_total, unit)}"
    elif found.lower is None or found.upper is None:
        head = f"total {shown(found.total, unit)}, no {percent} interval"
    else:
        head = (
            f"total {shown(found.total, unit)}, {percent} interval {between(found.lower, found.upper, unit)} "
            f"({found.method}, standard error {_number(found.se, unit)}, {found.df} degrees of freedom)"
        )
    rows = [
        (
            s.stratum,
            f"{s.sampled} of {s.hosts}{' (all)' if s.take_all else ''}",
            _number(s.mean, unit),
            _number(s.sd, unit),
            _number(s.total, unit),
            _number(s.se, unit),
        )
        for s in found.strata
    ]
    columns = table(("stratum", "hosts", "mean", "sd", "total", "se"), rows)
    said = ["", "Columns: sd, standard deviation between hosts; se, standard error of the total."]
    if found.deff is not None:
        simple = "the variance of this total over that of a simple random sample of its size"
        said.append(f"Design effect {found.deff:.3g}: {simple}.")
    return [head, "", columns, *said, *_warned(found.warnings)]


def fleet_parts(fleet: FleetEstimate) -> list[str | TableRows]:
    """Lay a live fleet out for a terminal."""
    percent = f"{fleet.estimate.confidence:.0%}"
    rows = [(p.boundary, *_power(p)) for p in fleet.boundaries]
    lines: list[str | TableRows] = [f"{fleet.hosts_reporting} of {fleet.hosts_known} hosts report"]
    if fleet.states:
        lines.append(", ".join(f"{hosts} {state}" for state, hosts in fleet.states.items() if hosts))
    lines.append(table(("boundary", "power", f"{percent} interval"), rows))
    if len(fleet.sites) > 1:
        sites = [(name, *_power(powers[0]), *_power(powers[3])) for name, powers in fleet.sites.items()]
        head = ("site", "GPUs", f"{percent} interval", "facility", f"{percent} interval")
        lines += ["", table(head, sites[:_MOST_SITES])]
        if len(sites) > _MOST_SITES:
            lines.append(f"and {len(sites) - _MOST_SITES} more sites (--json has all)")
    lines += [f"site {name}: {shown(left, 'W')} left of the supply" for name, left in fleet.headroom_w.items()]
    for name, bill in fleet.bills.items():
        parts = [f"{bill.energy_kwh:,.0f} kWh"]
        parts += [] if bill.cost is None else [f"cost {bill.cost:,.0f}"]
        parts += [] if bill.carbon_kg is None else [f"{bill.carbon_kg / 1000:,.1f} t CO2e"]
        parts += [] if bill.carbon_free_share is None else [f"{bill.carbon_free_share:.1%} carbon-free by the hour"]
        lines.append(f"site {name}, at this power over its hours (a day): {', '.join(parts)}")
    return [*lines, *_warned(fleet.warnings)]


def _power(power: Power) -> tuple[str, str]:
    """Power and its interval, as they are shown."""
    lower, upper = power.lower_w, power.upper_w
    return shown(power.mean_w, "W"), "no interval" if lower is None or upper is None else between(lower, upper, "W")


def _warned(warnings: Iterable[str]) -> list[str]:
    return [f"warning: {w}" for w in warnings]


def scenario_json(found: Scenario) -> dict[str, Any]:
    """Lay a scenario out as ``wattshed.scenario/1``."""
    return {
        "schema": SCENARIO_SCHEMA,
        "name": found.name,
        "title": found.title,
        "source": found.source,
        "boundaries": [_boundary_json(b) for b in found.boundaries],
        "energy_kwh_per_year": found.energy_kwh_per_year.value,
        "energy_kwh_per_year_lower": found.energy_kwh_per_year.low,
        "energy_kwh_per_year_upper": found.energy_kwh_per_year.high,
        "energy_of": found.energy_of,
        "claims": [_claim_json(c) for c in found.claims],
        "figures": [_figure_json(f) for f in found.figures],
        "given": [_given_json(g) for g in found.given],
    }


def _boundary_json(b: BoundaryPower) -> dict[str, Any]:
    return {
        "boundary": b.boundary,
        "basis": b.basis,
        "mean_w": b.range.value,
        "lower_w": b.range.low,
        "upper_w": b.range.high,
    }


def _claim_json(c: Claim) -> dict[str, Any]:
    return {
        "text": c.text,
        "claimed": c.claimed,
        "relation": c.relation,
        "tolerance": c.tolerance if c.relation == "about" else None,
        "computed": c.computed.value,
        "lower": c.computed.low,
        "upper": c.computed.high,
        "unit": c.unit,
        "verdict": str(c.verdict),
        "reason": c.reason,
        "source": c.source,
    }


def _figure_json(f: Figure) -> dict[str, Any]:
    return {
        "name": f.name,
        "value": f.range.value,
        "lower": f.range.low,
        "upper": f.range.high,
        "unit": f.unit,
        "about": f.about,
        "formula": f.formula,
    }


def _given_json(g: Given) -> dict[str, Any]:
    """Of a table of values there is one spread, and no interval for each."""
    values = isinstance(g.value, tuple)
    return {
        "name": g.name,
        "value": list(g.value) if isinstance(g.value, tuple) else g.value,
        "low": None if values else g.range.low,
        "high": None if values else g.range.high,
        "spread": g.range.high - 1.0 if values else None,
        "unit": g.unit,
        "source": g.source,
    }


def scenario_parts(found: Scenario, *, explain: bool = False) -> list[str | TableRows]:
    """Lay a scenario out for a terminal; ``explain`` adds every number with its source, and every formula."""
    lines: list[str | TableRows] = [f"{found.name}: {found.title}", f"source: {found.source}", ""]
    lines.append(
        table(
            ("boundary", "power", "95 % interval", "basis"),
            [
                (
                    b.boundary,
                    shown(b.range.value, "W"),
                    "exact" if b.range.is_exact else between(b.range.low, b.range.high, "W"),
                    b.basis,
                )
                for b in found.boundaries
            ],
            left=(0, 3),
        )
    )
    year = found.energy_kwh_per_year
    interval = "" if year.is_exact else f" ({between(year.low * 1e3, year.high * 1e3, 'Wh')})"
    lines += ["", f"energy: {shown(year.value * 1e3, 'Wh')} a year{interval}, of {found.energy_of}", ""]
    for f in found.figures if explain else ():
        span = "" if f.range.is_exact else f" ({between(f.range.low, f.range.high, f.unit)})"
        lines.append(f"{f.name} = {shown(f.range.value, f.unit)}{span}: {f.about}\n    = {f.formula}")
    for g in found.given if explain else ():
        value = f"{len(g.value)} values" if isinstance(g.value, tuple) else shown(g.value, g.unit)
        span = (
            "" if g.range.is_exact or isinstance(g.value, tuple) else f" ({between(g.range.low, g.range.high, g.unit)})"
        )
        lines.append(f"{g.name} = {value}{span}\n    {g.source}")
    lines += [""] if explain else []
    for c in found.claims:
        lines += [f"{c.verdict.upper()}: {c.text}", f"    {c.reason}"]
    return lines


def claims_markdown(scenarios: Iterable[Scenario]) -> str:
    """Write the table of claims and verdicts, for the documentation."""
    lines = ["| scenario | claim | verdict | why |", "|---|---|---|---|"]
    lines += [
        f"| {s.name} | {c.text} | **{c.verdict}** | {c.reason[0].upper()}{c.reason[1:]} |"
        for s in scenarios
        for c in s.claims
    ]
    return "\n".join(lines) + "\n"


def powers_markdown(scenarios: Iterable[Scenario]) -> str:
    """Write the table of powers at their boundaries, for the documentation."""
    lines = ["| scenario | boundary | basis | power | 95 % interval |", "|---|---|---|---:|---:|"]
    lines += [
        f"| {s.name} | {b.boundary} | {b.basis} | {shown(b.range.value, 'W')} | "
        f"{'exact' if b.range.is_exact else between(b.range.low, b.range.high, 'W')} |"
        for s in scenarios
        for b in s.boundaries
    ]
    return "\n".join(lines) + "\n"
