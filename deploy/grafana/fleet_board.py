"""The dashboard of the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boards import choice, new_board, price, rows_of
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue
from panels import LIMIT, graph_of, number_of
from queries import JOULES_PER_KWH, JOULES_PER_WH, RANGE

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard
    from panels import Panel


POWER = "wattshed_fleet_power_watts"
BOUNDARY = 'boundary=~"$boundary"'
DOTS = {"fill": "dot", "dash": [2, 4]}
LARGEST = "At the outermost boundary chosen: boundaries hold each other, so they are never added up."


def build() -> dashboard.Dashboard:
    """Show the fleet: an estimate with its interval, at named boundaries."""
    start = new_board(
        "wattshed-fleet",
        "wattshed: fleet",
        "Power of a whole fleet, estimated from the hosts that report, with its 95 % interval, by boundary.",
        choice("boundary", "Boundary", f"label_values({POWER}, boundary)"),
        *price(),
    )
    return rows_of(start, {"": _now(), "Power": _power(), "The estimate": _estimate()})


def _now() -> tuple[Panel, ...]:
    used = f"max(increase(wattshed_fleet_energy_joules_total{{{BOUNDARY}}}{RANGE}))"
    return (
        number_of(
            "Power now", "watt", f"Mean of the estimate. {LARGEST}", f'max({POWER}{{{BOUNDARY}, bound="mean"}})', wide=3
        ),
        number_of(
            "Half interval", "percentunit", "The widest of the chosen boundaries, by its mean; 95 %.",
            f'max(({POWER}{{{BOUNDARY}, bound="upper"}} - ignoring (bound) {POWER}{{{BOUNDARY}, bound="lower"}}) / 2'
            f' / ignoring (bound) {POWER}{{{BOUNDARY}, bound="mean"}})',
            decimals=1, wide=3,
        ),
        number_of("Energy", "watth", LARGEST, f"{used} / {JOULES_PER_WH}", wide=3),
        number_of(
            "Cost, $currency", "none", f"Energy times the price above. {LARGEST}",
            f"{used} / {JOULES_PER_KWH} * $price", decimals=2, wide=3,
        ),
        number_of(
            "Of the supply", "percentunit", "Upper bound of the power by what the feed can carry, where that is known.",
            f'max({POWER}{{{BOUNDARY}, bound="upper"}} / on (boundary) group_left () '
            "max by (boundary) (wattshed_fleet_supply_watts))",
            decimals=1, wide=3, limits={0.9: LIMIT},
        ),
        number_of("Hosts known", "none", "In the inventory.", 'max(wattshed_fleet_hosts{state="known"})', wide=3),
        number_of("Hosts reporting", "none", "Now.", 'max(wattshed_fleet_hosts{state="reporting"})', wide=3),
        number_of(
            "Highest 15 minutes", "watt", "Mean of the highest stretch of 15 minutes since the estimate began.",
            f'max(wattshed_fleet_peak_watts{{{BOUNDARY}, window="15m"}})', wide=3,
        ),
    )  # fmt: skip


def _power() -> tuple[Panel, ...]:
    return (
        graph_of(
            "Power with its interval", "watt",
            "Mean, and the ends of the 95 % interval, dotted: hosts that do not report are estimated from those that "
            "do. No interval where the sample gives none. Dashed: what the feed can carry.",
            {
                "{{boundary}} mean": f'{POWER}{{{BOUNDARY}, bound="mean"}}',
                "{{boundary}} upper": f'{POWER}{{{BOUNDARY}, bound="upper"}}',
                "{{boundary}} lower": f'{POWER}{{{BOUNDARY}, bound="lower"}}',
                "{{boundary}} supply limit": f"max by (boundary) (wattshed_fleet_supply_watts{{{BOUNDARY}}})",
            },
            wide=24,
        ).override_by_regexp("/ (upper|lower)$/", [DynamicConfigValue(id_val="custom.lineStyle", value=DOTS)]),
    )  # fmt: skip


def _estimate() -> tuple[Panel, ...]:
    return (
        graph_of(
            "Hosts", "none", "Known to the inventory, and reporting: the fewer report, the wider the interval.",
            {"{{state}}": 'max by (state) (wattshed_fleet_hosts{state=~"known|reporting"})'}, wide=8,
        ),
        graph_of(
            "Hosts by state", "none",
            "What the scheduler says of them, where the inventory or a rule asks it; together they are all that are "
            "known. Contradicted: they draw more than their state allows.",
            {"{{state}}": 'max by (state) (wattshed_fleet_hosts{state!~"known|reporting"}) > 0'}, stacked=True, wide=8,
        ),
        graph_of(
            "Peak", "watt", "Highest mean over a window since the estimate began, by boundary.",
            {"{{boundary}} {{window}}": f"wattshed_fleet_peak_watts{{{BOUNDARY}}}"}, wide=8,
        ),
    )  # fmt: skip
