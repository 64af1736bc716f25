"""What a board has around its panels: variables, and links to the other boards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableHide,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from panels import SOURCE
from queries import HOST, NODES, owners

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from panels import Panel

KEPT = "${__url_time_range}&${datasource:queryparam}&${nodes:queryparam}&var-price=${price}&var-currency=${currency}"
"""What links take along: the time range and what holds on every board."""
TO_JOB = f"/d/wattshed-job?{KEPT}&var-job="
TO_HOST = f"/d/wattshed-host?{KEPT}&var-instance="
TO_OWNER = f"/d/wattshed-owners?{KEPT}"


def new_board(uid: str, title: str, text: str, *variables: Any) -> dashboard.Dashboard:
    """Begin a board, with the choice of a data source, further variables, and links to the other boards."""
    board = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags(["wattshed", "gpu", "energy"])
        .editable()
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("wattshed")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["wattshed"])
            .keep_time(keep_time=True)
            .include_vars(include_vars=True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in variables:
        board = board.with_variable(variable)
    return board


def rows_of(board: dashboard.Dashboard, rows: Mapping[str, Sequence[Panel]]) -> dashboard.Dashboard:
    """Add rows to a board: title -> panels. A row without a title is the top of the board."""
    for title, panels in rows.items():
        if title:
            board = board.with_row(dashboard.Row(title))
        for panel in panels:
            board = board.with_panel(panel)
    return board


def choice(name: str, label: str, query: str, regex: str = "") -> dashboard.QueryVariable:
    """Make a variable of the values that a query gives, all of them by default: the pattern ``.*``, never a list."""
    variable = (
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
    return variable.regex(regex) if regex else variable


def nodes() -> dashboard.QueryVariable:
    """Make the choice of nodes: real ones, or simulated ones, or both; where there are only simulated ones, these.

    The query makes a series of each choice that there is. Values are patterns of the label simulated: real is no label,
    or the 0 of wattshed_gpu_info. Grafana takes the first by name unless one is chosen.
    """
    each = "group by (simulated) (last_over_time(wattshed_gpu_info[$__range]))"
    text = f'label_replace({each}, "text", "simulated", "simulated", "1")'
    text = f'label_replace({text}, "text", "real", "simulated", "0")'
    value = f'label_replace(label_replace({text}, "value", "1", "simulated", "1"), "value", "0?", "simulated", "0")'
    both = 'label_replace(label_replace(vector(1), "text", "simulated and real", "", ""), "value", ".*", "", "")'
    return (
        dashboard.QueryVariable("nodes")
        .label("Nodes")
        .query(f"query_result({value} or {both})")
        .regex('/text="(?<text>[^"]+)".*value="(?<value>[^"]+)"/')
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi=False)
        .include_all(include_all=False)
    )


def price() -> tuple[dashboard.TextBoxVariable, dashboard.TextBoxVariable]:
    """Make the price of a kWh and its currency, to be typed in; the price is 0.25 unless changed."""
    made = [
        dashboard.TextBoxVariable(name)
        .label(label)
        .default_value(value)
        .current(VariableOption(text=value, value=value))
        for name, label, value in (("price", "Price per kWh", "0.25"), ("currency", "Currency", "EUR"))
    ]
    return made[0], made[1]


INSTANCE = choice("instance", "Host", f"label_values(wattshed_gpu_info{{{NODES}}}, instance)")
GPU = choice("gpu", "GPU", f"label_values(wattshed_gpu_info{{{HOST}, {NODES}}}, gpu)")
USER = choice("user", "User", f"label_values(wattshed_job_info{{{HOST}}}, user)")
ACCOUNT = choice("account", "Account", f'label_values(wattshed_job_info{{{HOST}, user=~"$user"}}, account)')
NAMESPACE = choice(
    "namespace",
    "Namespace",
    f'label_values(wattshed_job_info{{{HOST}, user=~"$user", account=~"$account"}}, namespace)',
)
JOBS = choice(
    "job",
    "Job",
    f"query_result(group by (job, title) ({owners('[$__range]', HOST)}))",
    '/job="(?<value>[^"]+)",title="(?<text>[^"]+)"/',
)
