"""The dashboard of the fleet."""

# ruff: noqa: E501 - an expression is easier to read, and to copy, in one line
from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from panels import NODES, choice, graph_of, new_board, nodes, number_of


def build() -> dashboard.Dashboard:
    """Show the fleet: an estimate with its interval, at named boundaries."""
    power = "wattshed_fleet_power_watts"
    boundary = f'boundary=~"$boundary", {NODES}'
    return (
        new_board("wattshed-fleet", "wattshed: fleet", "Power of a whole fleet with its 95 % interval, by boundary.")
        .with_variable(nodes())
        .with_variable(choice("boundary", "Boundary", f"label_values({power}{{{NODES}}}, boundary)"))
        .with_row(dashboard.Row("Now"))
        .with_panel(
            number_of("Largest boundary", "watt", "Mean.", f'max({power}{{{boundary}, bound="mean"}})', decimals=2)
        )
        .with_panel(
            number_of(
                "Half width of the interval",
                "percentunit",
                "Of the largest boundary, relative to its mean.",
                f'max(({power}{{{boundary}, bound="upper"}} - ignoring (bound) {power}{{{boundary}, bound="lower"}}) / 2'
                f' / ignoring (bound) {power}{{{boundary}, bound="mean"}})',
                decimals=1,
            )
        )
        .with_panel(
            number_of(
                "Energy in this range",
                "joule",
                "At the largest boundary.",
                f"max(increase(wattshed_fleet_energy_joules_total{{{boundary}}}[$__range]))",
                decimals=2,
            )
        )
        .with_panel(number_of("Hosts known", "none", "In the inventory.", 'max(wattshed_fleet_hosts{state="known"})'))
        .with_panel(number_of("Hosts reporting", "none", "Now.", 'max(wattshed_fleet_hosts{state="reporting"})'))
        .with_panel(
            number_of(
                "Of the supply",
                "percentunit",
                "Upper bound of power by what the feed can carry.",
                f'max({power}{{{boundary}, bound="upper"}} / on (boundary) group_left () '
                f"max by (boundary) (wattshed_fleet_supply_watts{{{NODES}}}))",
                decimals=1,
            )
        )
        .with_row(dashboard.Row("Power"))
        .with_panel(
            graph_of(
                "Power with its interval",
                "watt",
                "95 % interval; no bounds are drawn where the sample gives none.",
                {"{{boundary}} {{bound}}": f"{power}{{{boundary}}}"},
                wide=24,
            )
        )
        .with_panel(
            graph_of(
                "Hosts",
                "none",
                "Known to the inventory, and reporting.",
                {"{{state}}": "max by (state) (wattshed_fleet_hosts)"},
            )
        )
        .with_panel(
            graph_of(
                "Peak",
                "watt",
                "Highest mean over the window.",
                {"{{boundary}} {{window}}": f"wattshed_fleet_peak_watts{{{boundary}}}"},
            )
        )
    )
