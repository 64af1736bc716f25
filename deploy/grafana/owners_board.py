"""The dashboard of owners: users, accounts, namespaces, and what nobody owns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boards import ACCOUNT, INSTANCE, KEPT, NAMESPACE, TO_JOB, USER, new_board, nodes, price, rows_of
from marks import marks
from panels import graph_of, number_of, source_of_data, table_of
from queries import HOST, JOULES_PER_KWH, JOULES_PER_WH, RANGE, RATE, REAL, covered, label_of, owners, shares

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard, table
    from panels import Panel

CHOSEN = f"on (instance, job) group_left (title, user, account, namespace) {owners(RANGE, HOST)}"
USED = f"increase({shares(REAL)}{RANGE}) * {CHOSEN}"
NOBODY = 'job=~"_idle|_unattributed"'
HELD = (
    f'(increase(wattshed_job_gpu_seconds_total{{{HOST}, state="held"}}{RANGE}) '
    f"and on (instance, job) last_over_time({shares(REAL)}{RANGE})) * {CHOSEN}"
)
TO_JOBS = f"/d/wattshed-job?{KEPT}"
BOARD = "At the boundary of the GPU boards: without CPUs, fans and power supplies."


def build() -> dashboard.Dashboard:
    """Who used how many kWh, what they cost, and whose GPUs did nothing."""
    start = new_board(
        "wattshed-owners",
        "wattshed: owners",
        "Energy, cost and idle GPU time of users, accounts and namespaces.",
        nodes(),
        INSTANCE,
        USER,
        ACCOUNT,
        NAMESPACE,
        *price(),
    ).time("now-24h", "now")
    for mark in marks(HOST, jobs=False):
        start = start.annotation(mark)
    return rows_of(
        start,
        {
            "": (source_of_data(), *_numbers()),
            "Who used it": _tables(),
            "Over time": _graphs(),
        },
    )


def _numbers() -> tuple[Panel, ...]:
    nobody = f"sum(increase({shares(NOBODY)}{RANGE}))"
    return (
        number_of(
            "Energy", "watth", f"Of the jobs of the chosen owners. {BOARD}",
            f"sum({USED}) / {JOULES_PER_WH}",
        ),
        number_of(
            "Cost, $currency", "none",
            "Energy times the price above. For what a facility pays, put cooling and losses into the price.",
            f"sum({USED}) / {JOULES_PER_KWH} * $price", decimals=2,
        ),
        number_of(
            "Jobs", "none", "That used energy in this range.", f"count(sum by (job) ({USED}) > 0)",
        ),
        number_of(
            "GPU hours held idle", "none",
            "By the chosen owners: kept for a job, and nothing ran on them.",
            f"sum({HELD}) / 3600", decimals=1, limits={1: "#d97706"},
        ),
        number_of(
            "No job's energy", "watth",
            "_idle and _unattributed of the hosts, whichever owners are chosen: in no row below.",
            f"{nobody} / {JOULES_PER_WH}",
        ),
        number_of(
            "No job's cost, $currency", "none", "The same as money.", f"{nobody} / {JOULES_PER_KWH} * $price",
            decimals=2,
        ),
    )  # fmt: skip


def _tables() -> tuple[Panel, ...]:
    by_job = f"topk(20, sum by (job, title, user, account) ({USED})) / {JOULES_PER_KWH}"
    return (
        _owners("By user", "user"),
        _owners("By account", "account"),
        _owners("By namespace", "namespace"),
        table_of(
            "The twenty jobs that used most", "Of the chosen owners, ended ones too. Click a job for its board.",
            {"kWh": ("kwatth", by_job), "cost": ("none", f"{by_job} * $price")},
            wide=24, hidden=("job",), names={"title": "job name (id)", "user": "user", "account": "account"},
            links={"job name (id)": ("Board of this job", f"{TO_JOB}${{__data.fields.job:percentencode}}")},
        ),
    )  # fmt: skip


def _graphs() -> tuple[Panel, ...]:
    power = f"(rate({shares(REAL)}{RATE}) {covered()} > 0)"
    kept = f"* on (instance, job) group_left () {owners(RATE, HOST)}"
    return tuple(
        graph_of(
            f"Power by {label}", "watt", f"Mean between two points, of jobs that have a {label}. {BOARD}",
            {
                f"{{{{{label}}}}}": f"sum by ({label}) ({power} {kept} "
                f"* on (instance, job) group_left ({label}) {label_of(label, RATE)})"
            },
            stacked=True,
        )
        for label in ("user", "account")
    )  # fmt: skip


def _owners(title: str, label: str) -> table.Panel:
    return table_of(
        title,
        f"Energy, cost and idle GPU hours by {label}. A job whose {label} was changed counts for the one it had "
        f"longest; the row without a name is jobs that have no {label}.",
        {
            "kWh": ("kwatth", f"({_by(label, USED)}) / {JOULES_PER_KWH}"),
            "cost": ("none", f"({_by(label, USED)}) / {JOULES_PER_KWH} * $price"),
            "held idle, GPU h": ("none", f"({_by(label, HELD)}) / 3600"),
        },
        wide=8,
        names={label: label},
        links={label: ("Their jobs", f"{TO_JOBS}&var-{label}=${{__data.fields.{label}:percentencode}}")},
    )


def _by(label: str, used: str) -> str:
    """Sum by the label that each job had longest, and what has none; a label that came late is not another owner's."""
    one = f"sum by (instance, job) ({used})"
    known = f"sum by ({label}) ({one} * on (instance, job) group_left ({label}) {label_of(label, RANGE)})"
    return f"{known} or sum by ({label}) ({one} unless on (instance, job) {label_of(label, RANGE)})"
