"""The fleet's answers: JSON for programs, tables for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.printing.paragraphs import TableRows, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wattshed.agent.fleet.estimate.estimators import Estimate
    from wattshed.agent.fleet.live.site import FleetEstimate

FLEET_SCHEMA = "wattshed.fleet/1"


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
        "hosts": {"known": fleet.hosts_known, "reporting": fleet.hosts_reporting},
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
    rows = [
        (
            p.boundary,
            shown(p.mean_w, "W"),
            "no interval" if p.lower_w is None or p.upper_w is None else between(p.lower_w, p.upper_w, "W"),
        )
        for p in fleet.boundaries
    ]
    lines: list[str | TableRows] = [
        f"{fleet.hosts_reporting} of {fleet.hosts_known} hosts report",
        table(("boundary", "power", f"{fleet.estimate.confidence:.0%} interval"), rows),
    ]
    lines += [f"site {name}: {shown(left, 'W')} left of the supply" for name, left in fleet.headroom_w.items()]
    for name, bill in fleet.bills.items():
        parts = [f"{bill.energy_kwh:,.0f} kWh"]
        parts += [] if bill.cost is None else [f"cost {bill.cost:,.0f}"]
        parts += [] if bill.carbon_kg is None else [f"{bill.carbon_kg / 1000:,.1f} t CO2e"]
        parts += [] if bill.carbon_free_share is None else [f"{bill.carbon_free_share:.1%} carbon-free by the hour"]
        lines.append(f"site {name}, at this power over its hours (a day): {', '.join(parts)}")
    return [*lines, *_warned(fleet.warnings)]


def _warned(warnings: Iterable[str]) -> list[str]:
    return [f"warning: {w}" for w in warnings]
