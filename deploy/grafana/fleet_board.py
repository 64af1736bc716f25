"""The dashboard of the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from panels import NODES, choice, graph_of, new_board, nodes, number_of, rows_of

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard
    from panels import Panel


POWER = "wattshed_fleet_power_watts"
BOUNDARY = f'boundary=~"$boundary", {NODES}'


def build() -> dashboard.Dashboard:
    """Show the fleet: an estimate with its interval, at named boundaries."""
    start = (
        new_board("wattshed-fleet", "wattshed: fleet", "Power of a whole fleet with its 95 % interval, by boundary.")
        .with_variable(nodes())
        .with_variable(choice("boundary", "Boundary", f"label_values({POWER}{{{NODES}}}, boundary)"))
    )
    return rows_of(start, {"Now": _now(), "Power": _power()})


def _now() -> tuple[Panel, ...]:
    return (
        number_of("Largest boundary", "watt", "Mean.", f'max({POWER}{{{BOUNDARY}, bound="mean"}})', decimals=2),
        number_of(
            "Half width of the interval",
            "percentunit",
            "Of the largest boundary, relative to its mean.",
            f'max(({POWER}{{{BOUNDARY}, bound="upper"}} - ignoring (bound) {POWER}{{{BOUNDARY}, bound="lower"}}) / 2'
            f' / ignoring (bound) {POWER}{{{BOUNDARY}, bound="mean"}})',
            decimals=1,
        ),
        number_of(
            "Energy in this range",
            "joule",
            "At the largest boundary.",
            f"max(increase(wattshed_fleet_energy_joules_total{{{BOUNDARY}}}[$__range]))",
            decimals=2,
        ),
        number_of("Hosts known", "none", "In the inventory.", 'max(wattshed_fleet_hosts{state="known"})'),
        number_of("Hosts reporting", "none", "Now.", 'max(wattshed_fleet_hosts{state="reporting"})'),
        number_of(
            "Of the supply",
            "percentunit",
            "Upper bound of power by what the feed can carry.",
            f'max({POWER}{{{BOUNDARY}, bound="upper"}} / on (boundary) group_left () '
            f"max by (boundary) (wattshed_fleet_supply_watts{{{NODES}}}))",
            decimals=1,
        ),
    )


def _power() -> tuple[Panel, ...]:
    return (
        graph_of(
            "Power with its interval",
            "watt",
            "95 % interval; no bounds are drawn where the sample gives none.",
            {"{{boundary}} {{bound}}": f"{POWER}{{{BOUNDARY}}}"},
            wide=24,
        ),
        graph_of(
            "Hosts",
            "none",
            "Known to the inventory, and reporting.",
            {"{{state}}": "max by (state) (wattshed_fleet_hosts)"},
        ),
        graph_of(
            "Peak",
            "watt",
            "Highest mean over the window.",
            {"{{boundary}} {{window}}": f"wattshed_fleet_peak_watts{{{BOUNDARY}}}"},
        ),
    )
