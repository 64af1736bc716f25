"""A live fleet's answers: JSON for programs, tables for people."""

from __future__ import annotations

from dataclasses import asdict
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from wattshed.agent.fleet.boundary.units import between, percent, shown
from wattshed.agent.fleet.estimate.told import estimate_json, warned
from wattshed.agent.printing.paragraphs import TableRows, table

if TYPE_CHECKING:
    from wattshed.agent.fleet.live.ladder import Power
    from wattshed.agent.fleet.live.site import FleetEstimate

_MOST_SITES = 20


def fleet_json(fleet: FleetEstimate) -> dict[str, Any]:
    """Lay a live fleet out as ``wattshed.fleet/1``, with the ladder of boundaries."""
    return {
        **estimate_json(fleet.estimate, "W", boundary="gpu", span="the last minute"),
        "boundaries": [asdict(p) for p in fleet.boundaries],
        "sites": {name: [asdict(p) for p in powers] for name, powers in fleet.sites.items()},
        "hosts": {"known": fleet.hosts_known, "reporting": fleet.hosts_reporting},
        "states": dict(fleet.states),
        "contradicted": list(fleet.contradicted),
        "prior": list(fleet.prior),
        "headroom_w": dict(fleet.headroom_w),
        "per_day": {name: asdict(b) for name, b in fleet.bills.items()},
    }


def fleet_parts(fleet: FleetEstimate) -> list[str | TableRows]:
    """Lay a live fleet out for a terminal."""
    level = percent(fleet.estimate.confidence)
    rows = [(p.boundary, *_power(p)) for p in fleet.boundaries]
    lines: list[str | TableRows] = [f"{fleet.hosts_reporting} of {fleet.hosts_known} hosts report"]
    if fleet.states:
        lines.append(", ".join(f"{hosts} {state}" for state, hosts in fleet.states.items() if hosts))
    lines.append(table(("boundary", "power", f"{level} interval"), rows))
    if len(fleet.sites) > 1:
        few = list(fleet.sites.items())[:_MOST_SITES]
        sites = [(name, p.boundary, *_power(p)) for name, powers in few for p in (powers[0], powers[3])]
        lines += ["", table(("site", "boundary", "power", f"{level} interval"), sites, left=(0, 1)), ""]
        if len(fleet.sites) > len(few):
            lines.append(f"and {len(fleet.sites) - len(few):,} more sites (--json has all)")
    left_over = sorted(fleet.headroom_w.items(), key=itemgetter(1))[:_MOST_SITES]
    lines += [f"site {name}: {shown(left, 'W')} left of the supply" for name, left in left_over]
    for name, bill in list(fleet.bills.items())[:_MOST_SITES]:
        parts = [f"{bill.energy_kwh:,.0f} kWh"]
        parts += [] if bill.cost is None else [f"cost {bill.cost:,.0f}"]
        parts += [] if bill.carbon_kg is None else [f"{bill.carbon_kg / 1000:,.1f} t CO2e"]
        parts += [] if bill.carbon_free_share is None else [f"{bill.carbon_free_share:.1%} carbon-free by the hour"]
        lines.append(f"site {name}, at this power over its hours (a day): {', '.join(parts)}")
    return [*lines, *warned(fleet.warnings)]


def _power(power: Power) -> tuple[str, str]:
    """Power and its interval, as they are shown."""
    lower, upper = power.lower_w, power.upper_w
    return shown(power.mean_w, "W"), "no interval" if lower is None or upper is None else between(lower, upper, "W")
