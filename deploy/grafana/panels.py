"""What the dashboards are made of: panels, tables and variables, all alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
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
    from collections.abc import Mapping, Sequence

    Panel = timeseries.Panel | stat.Panel | table.Panel

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
HOST = 'instance=~"$instance"'
JOB = 'instance=~"$instance", job=~"$job"'
NODES = 'simulated=~"$nodes"'
"""Energies and powers of simulated nodes carry simulated="1", real ones no such label: a board shows the real ones
unless asked."""


def query_of(expr: str, legend: str, ref: str, *, instant: bool = False) -> prometheus.Dataquery:
    """Make a query: over the time range, or as a table of now."""
    query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(ref).datasource(SOURCE)
    return query.instant().format(PromQueryFormat.TABLE) if instant else query.range()


def graph_of(
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
        panel = panel.with_target(query_of(expr, name, chr(65 + i)))
    return panel


def number_of(title: str, unit: str, text: str, expr: str, *, decimals: int | None = None, wide: int = 4) -> stat.Panel:
    """Make a panel of one large number."""
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
        .with_target(query_of(expr, "", "A"))
    )
    return panel.decimals(decimals) if decimals is not None else panel


def table_of(
    title: str, text: str, expr: str, *, unit: str, hidden: tuple[str, ...] = (), names: Mapping[str, str] | None = None
) -> table.Panel:
    """Make a table of what a query gives now, without ``hidden`` columns; ``names`` renames the others."""
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
        .with_target(query_of(expr, "", "A", instant=True))
        .with_transformation(DataTransformerConfig(id_val="organize", options=columns))
        .override_by_name(names.get("Value", "Value"), [DynamicConfigValue(id_val="unit", value=unit)])
    )


def new_board(uid: str, title: str, text: str) -> dashboard.Dashboard:
    """Begin a dashboard, with the choice of a data source."""
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


def rows_of(board: dashboard.Dashboard, rows: Mapping[str, Sequence[Panel]]) -> dashboard.Dashboard:
    """Add rows to a dashboard: title -> panels."""
    for title, panels in rows.items():
        board = board.with_row(dashboard.Row(title))
        for panel in panels:
            board = board.with_panel(panel)
    return board


def choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """Make a variable of the values that a label query gives, all of them by default."""
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


def nodes() -> dashboard.CustomVariable:
    """Make the choice of nodes: real ones (0 on wattshed_gpu_info, no label on the rest), simulated ones, or both."""
    return (
        dashboard.CustomVariable("nodes")
        .label("Nodes")
        .values("real : 0?,simulated : 1,both : .*")
        .current(VariableOption(text="real", value="0?"))
    )


INSTANCE = choice("instance", "Host", f"label_values(wattshed_gpu_info{{{NODES}}}, instance)")
RATE = "[$__rate_interval]"
