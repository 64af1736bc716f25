"""What the boards are made of: graphs, numbers, tables and bars, all alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardRangeMapOptions,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    RangeMap,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from queries import HOST, NODES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Panel = timeseries.Panel | stat.Panel | table.Panel | bargauge.Panel | statetimeline.Panel

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
LIMIT = "#e02f44"
"""The colour of limits, on every board."""
NO_JOBS = {"_idle": "#8e8e8e", "_unattributed": "#b59f5b", "_other": "#7a8ca3", "ended jobs": "#5f6b7a"}
"""Who is no job of this moment, in muted colours of its own: what these names mean is the same everywhere."""


NO_NAME = [
    {"type": "special", "options": {"match": match, "result": {"text": "(none)", "index": i}}}
    for i, match in enumerate(("null", "empty"))
]
"""A label that does not apply, in a table: said, and not an empty cell."""


def query_of(expr: str, legend: str, ref: str, *, instant: bool = False, columns: bool = False) -> prometheus.Dataquery:
    """Make a query: over the time range, or of its end; ``columns`` makes its labels columns of a table."""
    query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(ref).datasource(SOURCE)
    if columns:
        query = query.format(PromQueryFormat.TABLE)
    return query.instant() if instant or columns else query.range()


def graph_of(
    title: str,
    unit: str,
    text: str,
    exprs: Mapping[str, str],
    *,
    stacked: bool = False,
    wide: int = 12,
    lines: Mapping[float, str] | None = None,
    link: Mapping[str, str] | None = None,
) -> timeseries.Panel:
    """Make a time series panel: gaps stay gaps.

    Parameters
    ----------
    exprs : mapping of str to str
        Legend -> expression. Series whose name ends in " limit" are dashed lines, and never stacked.
    lines : mapping of float to str, optional
        Thresholds to draw: value -> colour.
    link : mapping of str to str, optional
        Title -> address, of every series.
    """
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE if wide > 8 else LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
        .calcs(["mean", "max", "lastNotNull"] if wide > 8 else [])
    )
    if wide > 8:
        legend = legend.sort_by("Mean").sort_desc(sort_desc=True)
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
        .fill_opacity(60 if stacked else 0)
        .span_nulls(False)
        .legend(legend)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .override_by_regexp("/ limit$/", _as_limit())
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    for name, colour in NO_JOBS.items():
        panel = panel.override_by_name(name, [_colour(colour)])
    if lines:
        panel = panel.thresholds(_thresholds(lines)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        )
    if link:
        panel = panel.data_links([dashboard.DashboardLink(name).url(url) for name, url in link.items()])
    for i, (name, expr) in enumerate(exprs.items()):
        panel = panel.with_target(query_of(expr, name, chr(65 + i)))
    return panel


def number_of(
    title: str,
    unit: str,
    text: str,
    expr: str,
    *,
    decimals: int | None = None,
    wide: int = 4,
    limits: Mapping[float, str] | None = None,
    none: str = "unknown",
) -> stat.Panel:
    """Make a panel of one large number, as of the end of the time range.

    ``limits`` colour it from a value on; ``none`` is what stands there where there is no number.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(text)
        .unit(unit)
        .datasource(SOURCE)
        .height(4)
        .span(wide)
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.VALUE)
        .thresholds(_thresholds(limits or {}))
        .no_value(none)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(query_of(expr, "", "A", instant=True))
    )
    return panel.decimals(decimals) if decimals is not None else panel


def table_of(
    title: str,
    text: str,
    exprs: Mapping[str, tuple[str, str]],
    *,
    wide: int = 12,
    tall: int = 9,
    hidden: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    links: Mapping[str, tuple[str, str]] | None = None,
) -> table.Panel:
    """Make a table of what queries give at the end of the time range: a row for each set of labels.

    Parameters
    ----------
    exprs : mapping of str to (str, str)
        Column -> unit and expression; the table is sorted by the first, largest on top. No column: the labels alone.
    hidden : sequence of str
        Labels that are there for links, and not shown.
    names : mapping of str to str, optional
        Label -> heading.
    links : mapping of str to (str, str), optional
        Heading -> title and address of a link.
    """
    values = [f"Value #{chr(65 + i)}" for i in range(len(exprs))] if len(exprs) > 1 else ["Value"]
    headings = dict(names or {}) | dict(zip(values, exprs, strict=True))
    columns = {
        "excludeByName": {"Time": True, "__name__": True},
        "renameByName": headings,
        "indexByName": {name: i for i, name in enumerate([*(names or {}), *values])},
    }
    panel = (
        table.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .height(tall)
        .span(wide)
        .filterable(filterable=True)
        .sort_by([common.TableSortByFieldState().display_name(next(iter(exprs))).desc(desc=True)])
    )
    if len(exprs) > 1:
        panel = panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    panel = panel.with_transformation(DataTransformerConfig(id_val="organize", options=columns))
    for i, (name, (unit, expr)) in enumerate(exprs.items()):
        panel = panel.with_target(query_of(expr, "", chr(65 + i), columns=True))
        panel = panel.override_by_name(name, [DynamicConfigValue(id_val="unit", value=unit), _decimals(unit)])
    for name in (names or {}).values():
        panel = panel.override_by_name(name, [DynamicConfigValue(id_val="mappings", value=NO_NAME)])
    for label in hidden:
        panel = panel.override_by_name(label, [DynamicConfigValue(id_val="custom.hidden", value=True)])
    for heading, (said, url) in (links or {}).items():
        panel = panel.override_by_name(
            heading, [DynamicConfigValue(id_val="links", value=[{"title": said, "url": url}])]
        )
    return panel


def bars_of(
    title: str, unit: str, text: str, exprs: Mapping[str, str], *, wide: int = 8, tall: int = 9
) -> bargauge.Panel:
    """Make horizontal bars of what queries give at the end of the time range; ``exprs`` is legend -> expression."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(text)
        .unit(unit)
        .datasource(SOURCE)
        .height(tall)
        .span(wide)
        .min(0)
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .show_unfilled(show_unfilled=False)
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    for name, colour in NO_JOBS.items():
        panel = panel.override_by_name(name, [_colour(colour)])
    for i, (name, expr) in enumerate(exprs.items()):
        panel = panel.with_target(query_of(expr, name, chr(65 + i), instant=True))
    return panel


def states_of(
    title: str, text: str, expr: str, legend: str, states: Mapping[str, str], *, tall: int = 9
) -> statetimeline.Panel:
    """Make a panel with a row for each series, whose values are states: what it was when.

    ``states`` is state -> colour; the value of a state is its place. Twenty rows are a page.
    """
    mapped = {
        str(place): ValueMappingResult(text=name, color=colour) for place, (name, colour) in enumerate(states.items())
    }
    return (
        statetimeline.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .height(tall)
        .span(24)
        .mappings([ValueMap(options=mapped)])
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.FIXED))
        .fill_opacity(80)
        .line_width(0)
        .row_height(0.85)
        .per_page(20)
        .show_value(VisibilityMode.AUTO)
        .merge_values(merge_values=True)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .with_target(query_of(expr, legend, "A"))
    )


def source_of_data(chosen: str = f"wattshed_gpu_info{{{HOST}, {NODES}}}") -> stat.Panel:
    """Make the banner that tells whether the watts below were measured, or are a simulation's."""
    invented = chosen.replace("}", ', simulated="1"}')
    return (
        stat.Panel()
        .title("")
        .description("Whether the GPUs shown are real, or simulated ones whose watts are invented (--meter simulated).")
        .datasource(SOURCE)
        .height(2)
        .span(24)
        .transparent(transparent=True)
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.BACKGROUND)
        .text_mode(BigValueTextMode.VALUE)
        .thresholds(_thresholds({1: "#d97706"}, base="#37872d"))
        .mappings(
            [
                ValueMap(options={"0": ValueMappingResult(text="Measured on GPU boards, as the driver reports it")}),
                RangeMap(
                    options=DashboardRangeMapOptions(
                        from_val=1, to=1e9, result=ValueMappingResult(text="SIMULATED DATA: no GPU drew these watts")
                    )
                ),
            ]
        )
        .no_value("No GPU in this choice: check the data source, the time range and the variables")
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(query_of(f"count({invented}) or 0 * count({chosen})", "", "A", instant=True))
    )


def _as_limit() -> list[DynamicConfigValue]:
    return [
        _colour(LIMIT),
        DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [8, 6]}),
        DynamicConfigValue(id_val="custom.fillOpacity", value=0),
        DynamicConfigValue(id_val="custom.stacking", value={"mode": "none", "group": "A"}),
    ]


def _colour(colour: str) -> DynamicConfigValue:
    return DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})


def _decimals(unit: str) -> DynamicConfigValue:
    return DynamicConfigValue(id_val="decimals", value=3 if unit == "kwatth" else 2)


def _thresholds(lines: Mapping[float, str], base: str = "text") -> dashboard.ThresholdsConfig:
    steps = [Threshold(value=None, color=base)]
    steps += [Threshold(value=value, color=colour) for value, colour in sorted(lines.items())]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
