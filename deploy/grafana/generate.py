"""Write the Grafana dashboards beside this file: ``python deploy/grafana/generate.py``.

The JSON is committed, and a test compares it with what this makes. Every expression works on wattshed's own series,
scraped with honor_labels: true; none needs a recording rule.
"""

# ruff: noqa: E501 - an expression is easier to read, and to copy, in one line
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    VariableHide,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
HOST = 'instance=~"$instance"'
JOB = 'instance=~"$instance", job=~"$job"'


def _query(expr: str, legend: str, ref: str, *, instant: bool = False) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(ref).datasource(SOURCE)
    return query.instant().format(PromQueryFormat.TABLE) if instant else query.range()


def _graph(
    title: str, unit: str, text: str, exprs: Mapping[str, str], *, stacked: bool = False, wide: int = 12
) -> timeseries.Panel:
    """Make a time series panel; ``exprs`` is legend -> expression."""
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE if wide > 8 else LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
        .calcs(["mean", "max", "lastNotNull"] if wide > 8 else [])
    )
    panel = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .unit(unit)
        .datasource(SOURCE)
        .height(9)
        .span(wide)
        .min(0)
        .line_width(1)
        .fill_opacity(60 if stacked else 8)
        .legend(legend)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    for i, (name, expr) in enumerate(exprs.items()):
        panel = panel.with_target(_query(expr, name, chr(65 + i)))
    return panel


def _number(title: str, unit: str, text: str, expr: str, *, decimals: int | None = None, wide: int = 4) -> stat.Panel:
    panel = (
        stat.Panel()
        .title(title)
        .description(text)
        .unit(unit)
        .datasource(SOURCE)
        .height(4)
        .span(wide)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query(expr, "", "A"))
    )
    return panel.decimals(decimals) if decimals is not None else panel


def _table(
    title: str, text: str, expr: str, *, unit: str, hidden: tuple[str, ...] = (), names: Mapping[str, str] | None = None
) -> table.Panel:
    names = names or {}
    columns = {"excludeByName": dict.fromkeys(("Time", "__name__", *hidden), True), "renameByName": dict(names)}
    return (
        table.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .height(9)
        .span(12)
        .filterable(filterable=True)
        .with_target(_query(expr, "", "A", instant=True))
        .with_transformation(DataTransformerConfig(id_val="organize", options=columns))
        .override_by_name(names.get("Value", "Value"), [DynamicConfigValue(id_val="unit", value=unit)])
    )


def _dashboard(uid: str, title: str, text: str) -> dashboard.Dashboard:
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags(["wattshed", "gpu", "energy"])
        .editable()
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .hide(VariableHide.DONT_HIDE)
        .multi(multi=True)
        .include_all(include_all=True)
        .current(VariableOption(text="All", value="$__all"))
        .all_value(".*")
    )


INSTANCE = _variable("instance", "Host", "label_values(wattshed_gpu_up, instance)")
RATE = "[$__rate_interval]"


def host() -> dashboard.Dashboard:
    """One host, or some: where its power goes, and how good the data is."""
    by_gpu = "{{instance}} {{gpu}}"
    named = f"* on (instance, gpu_uuid) group_left (gpu) wattshed_gpu_info{{{HOST}}}"
    energy = f"wattshed_gpu_energy_joules_total{{{HOST}}}"
    shares = f"wattshed_job_energy_joules_total{{{HOST}}}"
    return (
        _dashboard("wattshed-host", "wattshed: host", "Power and energy of the GPUs of a host, by GPU and by job.")
        .with_variable(INSTANCE)
        .with_row(dashboard.Row("Now"))
        .with_panel(_number("Power", "watt", "Mean, from the energy counters.", f"sum(rate({energy}{RATE}))"))
        .with_panel(
            _number(
                "Energy in this range", "joule", "GPU boards only.", f"sum(increase({energy}[$__range]))", decimals=2
            )
        )
        .with_panel(_number("GPUs up", "none", "GPUs that can be read.", f"sum(wattshed_gpu_up{{{HOST}}})"))
        .with_panel(
            _number(
                "Jobs",
                "none",
                "Jobs with a share now.",
                f"count(count by (instance, job) (wattshed_job_info{{{HOST}}}))",
            )
        )
        .with_panel(
            _number(
                "Idle share",
                "percentunit",
                "Idle power of GPU time that no job held.",
                f'sum(rate(wattshed_job_energy_joules_total{{{HOST}, job="_idle"}}{RATE})) / sum(rate({energy}{RATE}))',
                decimals=1,
            )
        )
        .with_panel(
            _number(
                "Unattributed share",
                "percentunit",
                "Used by somebody who cannot be named.",
                f'sum(rate(wattshed_job_energy_joules_total{{{HOST}, job="_unattributed"}}{RATE}))'
                f" / sum(rate({energy}{RATE}))",
                decimals=1,
            )
        )
        .with_row(dashboard.Row("Power"))
        .with_panel(
            _graph(
                "Power by GPU",
                "watt",
                "Mean over the interval, from the energy counters: nothing between two scrapes is missed.",
                {by_gpu: f"rate({energy}{RATE}) {named}"},
                stacked=True,
            )
        )
        .with_panel(
            _graph(
                "Power by job",
                "watt",
                "Static and dynamic share together. _idle and _unattributed are no jobs.",
                {"{{job}}": f"sum by (job) (rate({shares}{RATE}))"},
                stacked=True,
            )
        )
        .with_panel(
            _graph(
                "Reading, peak and limit",
                "watt",
                "What the driver reads now, the highest second of the last minute, and the limit in force.",
                {
                    f"{by_gpu} now": f'wattshed_gpu_power_watts{{{HOST}, reading="instant"}} {named}',
                    f"{by_gpu} peak 1 s": f'wattshed_gpu_peak_watts{{{HOST}, window="1s"}} {named}',
                    f"{by_gpu} limit": f'wattshed_gpu_power_limit_watts{{{HOST}, limit="enforced"}} {named}',
                },
            )
        )
        .with_panel(
            _graph(
                "Steepest ramp within a second",
                "watt",
                "Per second, sum over the GPUs of a host: what supplies and feeds have to follow.",
                {
                    "{{instance}} {{direction}}": "sum by (instance, direction) "
                    f'(wattshed_gpu_ramp_watts_per_second{{{HOST}, window="1s"}})'
                },
            )
        )
        .with_row(dashboard.Row("Quality of the data"))
        .with_panel(
            _graph(
                "Meter disagreement",
                "percentunit",
                "(integrated power - counter) / counter. Beyond 25 % one of the two is wrong.",
                {by_gpu: f"wattshed_meter_disagreement_ratio{{{HOST}}} {named}"},
                wide=8,
            ).min(-0.3)
        )
        .with_panel(
            _graph(
                "Time without data",
                "percentunit",
                "Share of the time that no valid reading covers; its power is unknown, not 0.",
                {by_gpu: f"rate(wattshed_gpu_gap_seconds_total{{{HOST}}}{RATE}) {named}"},
                wide=8,
            )
        )
        .with_panel(
            _graph(
                "Rejected readings per second",
                "none",
                "Readings that were no usable number, by reason.",
                {
                    "{{reason}}": f"sum by (reason) (rate(wattshed_gpu_samples_rejected_total{{{HOST}}}{RATE}))"
                    " or vector(0)"
                },
                wide=8,
            )
        )
        .with_panel(
            _graph(
                "Driver calls, 95th percentile",
                "s",
                "Time that calls into the driver take.",
                {
                    "{{call}}": "histogram_quantile(0.95, sum by (call, le) "
                    f"(rate(wattshed_nvml_call_seconds_bucket{{{HOST}}}{RATE})))"
                },
                wide=8,
            )
        )
        .with_panel(
            _graph(
                "Lateness and duty of the sampler",
                "percentunit",
                "Late: seconds late per second. Duty: share of time inside driver calls.",
                {
                    "{{instance}} late": f"rate(wattshed_sampler_late_seconds_total{{{HOST}}}{RATE})",
                    "{{instance}} duty": f"wattshed_sampler_duty_ratio{{{HOST}}}",
                },
                wide=8,
            )
        )
        .with_panel(
            _graph(
                "Faults in the last five minutes",
                "none",
                "By part; each is a line in the agent's log.",
                {"{{part}}": f"sum by (part) (increase(wattshed_faults_total{{{HOST}}}[5m])) or vector(0)"},
                wide=8,
            )
        )
    )


def job() -> dashboard.Dashboard:
    """One job, or some: joules, who, and how the GPU time was used."""
    shares = f"wattshed_job_energy_joules_total{{{JOB}}}"
    real = f'wattshed_job_energy_joules_total{{{HOST}, job!~"_.*"}}'

    def by(label: str) -> str:
        energy = f"sum by (instance, job) (increase({real}[$__range]))"
        info = f'max by (instance, job, {label}) (last_over_time(wattshed_job_info{{{HOST}, {label}!=""}}[$__range]))'
        named = f"sum by ({label}) ({energy} * on (instance, job) group_left ({label}) {info})"
        rest = f"sum by ({label}) ({energy} unless on (instance, job) {info})"  # jobs without such a label: one row
        return f"sort_desc({named} or {rest})"

    def owners(title: str, label: str) -> table.Panel:
        text = f"Energy within the time range by {label}, GPU boards only."
        return _table(title, text, by(label), unit="joule", names={"Value": "energy"})

    return (
        _dashboard("wattshed-job", "wattshed: job", "Energy and GPU time of jobs, and of who runs them.")
        .with_variable(INSTANCE)
        .with_variable(
            _variable("job", "Job", 'label_values(wattshed_job_energy_joules_total{instance=~"$instance"}, job)')
        )
        .with_row(dashboard.Row("Chosen jobs"))
        .with_panel(_number("Power", "watt", "Mean, static and dynamic.", f"sum(rate({shares}{RATE}))", wide=6))
        .with_panel(
            _number("Energy so far", "joule", "Since the agent saw them.", f"sum({shares})", decimals=2, wide=6)
        )
        .with_panel(
            _number(
                "Of it dynamic",
                "percentunit",
                "The part above idle power: what the job's own work costs.",
                f'sum(wattshed_job_energy_joules_total{{{JOB}, component="dynamic"}}) / sum({shares})',
                decimals=1,
                wide=6,
            )
        )
        .with_panel(
            _number(
                "GPUs in use",
                "none",
                "GPU-seconds per second, active and held.",
                f"sum(rate(wattshed_job_gpu_seconds_total{{{JOB}}}{RATE}))",
                decimals=1,
                wide=6,
            )
        )
        .with_panel(
            _graph(
                "Power by job",
                "watt",
                "Mean, all GPUs.",
                {"{{job}}": f"sum by (job) (rate({shares}{RATE}))"},
                stacked=True,
            )
        )
        .with_panel(
            _graph(
                "Power by GPU and component",
                "watt",
                "static: idle power of GPU time that the job held. dynamic: all above it.",
                {"{{gpu_uuid}} {{component}}": f"sum by (gpu_uuid, component) (rate({shares}{RATE}))"},
                stacked=True,
            )
        )
        .with_panel(
            _graph(
                "GPUs held and active",
                "none",
                "held: kept for the job without a process of it. These are the GPUs that nobody sees.",
                {"{{job}} {{state}}": f"sum by (job, state) (rate(wattshed_job_gpu_seconds_total{{{JOB}}}{RATE}))"},
            )
        )
        .with_panel(
            _graph(
                "Uncertainty of the energy",
                "joule",
                "One standard deviation.",
                {"{{job}}": f"sum by (job) (wattshed_job_energy_sigma_joules{{{JOB}}})"},
            )
        )
        .with_panel(
            _table(
                "Who they are",
                "Labels of the jobs.",
                f"wattshed_job_info{{{JOB}}}",
                unit="none",
                hidden=("Value", "endpoint", "service", "prometheus"),
            )
        )
        .with_panel(
            _table(
                "Energy by job",
                "Within the time range, GPU boards only; _idle and _unattributed are no jobs.",
                f"sort_desc(sum by (job) (increase({shares}[$__range])))",
                unit="joule",
                names={"Value": "energy"},
            )
        )
        .with_row(dashboard.Row("Who pays (every job of the hosts)"))
        .with_panel(owners("By user", "user").span(8))
        .with_panel(owners("By account", "account").span(8))
        .with_panel(owners("By namespace", "namespace").span(8))
    )


def fleet() -> dashboard.Dashboard:
    """Show the fleet: an estimate with its interval, at named boundaries."""
    power = "wattshed_fleet_power_watts"
    boundary = 'boundary=~"$boundary"'
    return (
        _dashboard("wattshed-fleet", "wattshed: fleet", "Power of a whole fleet with its 95 % interval, by boundary.")
        .with_variable(_variable("boundary", "Boundary", f"label_values({power}, boundary)"))
        .with_row(dashboard.Row("Now"))
        .with_panel(
            _number("Largest boundary", "watt", "Mean.", f'max({power}{{{boundary}, bound="mean"}})', decimals=2)
        )
        .with_panel(
            _number(
                "Half width of the interval",
                "percentunit",
                "Of the largest boundary, relative to its mean.",
                f'max(({power}{{{boundary}, bound="upper"}} - ignoring (bound) {power}{{{boundary}, bound="lower"}}) / 2'
                f' / ignoring (bound) {power}{{{boundary}, bound="mean"}})',
                decimals=1,
            )
        )
        .with_panel(
            _number(
                "Energy in this range",
                "joule",
                "At the largest boundary.",
                f"max(increase(wattshed_fleet_energy_joules_total{{{boundary}}}[$__range]))",
                decimals=2,
            )
        )
        .with_panel(_number("Hosts known", "none", "In the inventory.", 'max(wattshed_fleet_hosts{state="known"})'))
        .with_panel(_number("Hosts reporting", "none", "Now.", 'max(wattshed_fleet_hosts{state="reporting"})'))
        .with_panel(
            _number(
                "Of the supply",
                "percentunit",
                "Upper bound of power by what the feed can carry.",
                f'max({power}{{{boundary}, bound="upper"}} / on (boundary) group_left () '
                "max by (boundary) (wattshed_fleet_supply_watts))",
                decimals=1,
            )
        )
        .with_row(dashboard.Row("Power"))
        .with_panel(
            _graph(
                "Power with its interval",
                "watt",
                "95 % interval; no bounds are drawn where the sample gives none.",
                {"{{boundary}} {{bound}}": f"{power}{{{boundary}}}"},
                wide=24,
            )
        )
        .with_panel(
            _graph(
                "Hosts",
                "none",
                "Known to the inventory, and reporting.",
                {"{{state}}": "max by (state) (wattshed_fleet_hosts)"},
            )
        )
        .with_panel(
            _graph(
                "Peak",
                "watt",
                "Highest mean over the window.",
                {"{{boundary}} {{window}}": f"wattshed_fleet_peak_watts{{{boundary}}}"},
            )
        )
    )


def generate() -> dict[str, str]:
    """Make every dashboard: file name -> JSON text."""
    built = {"host": host(), "job": job(), "fleet": fleet()}
    return {f"wattshed-{name}.json": _text(board) for name, board in built.items()}


def _text(board: dashboard.Dashboard) -> str:
    document: dict[str, Any] = json.loads(json.dumps(board.build(), cls=JSONEncoder))
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def main() -> None:
    """Write them beside this file."""
    for name, text in generate().items():
        path = Path(__file__).parent / name
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
