"""The dashboard of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from panels import HOST, INSTANCE, JOB, NODES, RATE, choice, graph_of, new_board, nodes, number_of, rows_of, table_of

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard, table
    from panels import Panel


SHARES = f"wattshed_job_energy_joules_total{{{JOB}, {NODES}}}"
NAMED = f'wattshed_job_energy_joules_total{{{HOST}, job!~"_.*", {NODES}}}'
COVERED = f"/ on (instance, gpu_uuid) group_left () (rate(wattshed_gpu_covered_seconds_total{{{HOST}}}{RATE}) > 0)"
# GPU time and labels do not say whether a node is simulated; the energy of the same job does.
CHOSEN = f"and on (instance, job) last_over_time({SHARES}{RATE})"


def build() -> dashboard.Dashboard:
    """One job, or some: joules, who, and how the GPU time was used."""
    start = (
        new_board("wattshed-job", "wattshed: job", "Energy and GPU time of jobs, and of who runs them.")
        .with_variable(nodes())
        .with_variable(INSTANCE)
        .with_variable(choice("job", "Job", f"label_values(wattshed_job_energy_joules_total{{{HOST}, {NODES}}}, job)"))
    )
    return rows_of(
        start,
        {"Chosen jobs": (*_numbers(), *_graphs(), *_tables()), "Energy by owner (all jobs of the hosts)": _who_pays()},
    )


def _numbers() -> tuple[Panel, ...]:
    return (
        number_of("Power", "watt", "Mean, static and dynamic.", f"sum(rate({SHARES}{RATE}) {COVERED})", wide=6),
        number_of("Energy so far", "joule", "Since the agent saw them.", f"sum({SHARES})", decimals=2, wide=6),
        number_of(
            "Dynamic share",
            "percentunit",
            "The part above idle power: what the job's own work costs.",
            f'sum(wattshed_job_energy_joules_total{{{JOB}, component="dynamic", {NODES}}}) / sum({SHARES})',
            decimals=1,
            wide=6,
        ),
        number_of(
            "GPUs in use",
            "none",
            "GPU-seconds per second, active and held.",
            f"sum(rate(wattshed_job_gpu_seconds_total{{{JOB}}}{RATE}) {CHOSEN})",
            decimals=1,
            wide=6,
        ),
    )


def _graphs() -> tuple[Panel, ...]:
    return (
        graph_of(
            "Power by job",
            "watt",
            "Mean, all GPUs.",
            {"{{job}}": f"sum by (job) (rate({SHARES}{RATE}) {COVERED})"},
            stacked=True,
        ),
        graph_of(
            "Power by GPU and component",
            "watt",
            "static: idle power of GPU time that the job held. dynamic: all above it.",
            {"{{gpu_uuid}} {{component}}": f"sum by (gpu_uuid, component) (rate({SHARES}{RATE}) {COVERED})"},
            stacked=True,
        ),
        graph_of(
            "GPUs held and active",
            "none",
            "held: kept for the job without a process of it. Other tools do not show these GPUs.",
            {
                "{{job}} {{state}}": "sum by (job, state) "
                f"(rate(wattshed_job_gpu_seconds_total{{{JOB}}}{RATE}) {CHOSEN})"
            },
        ),
        graph_of(
            "Uncertainty of the energy",
            "joule",
            "One standard deviation.",
            {"{{job}}": f"sum by (job) (wattshed_job_energy_sigma_joules{{{JOB}, {NODES}}})"},
        ),
    )


def _tables() -> tuple[Panel, ...]:
    return (
        table_of(
            "Labels of the jobs",
            "User, account and the other labels of each job.",
            f"wattshed_job_info{{{JOB}}} and on (instance, job) {SHARES}",
            unit="none",
            hidden=("Value", "endpoint", "service", "prometheus"),
        ),
        table_of(
            "Energy by job",
            "Within the time range, GPU boards only; _idle and _unattributed are not jobs.",
            f"sort_desc(sum by (job) (increase({SHARES}[$__range])))",
            unit="joule",
            names={"Value": "energy"},
        ),
    )


def _who_pays() -> tuple[Panel, ...]:
    return (
        _owners("By user", "user").span(8),
        _owners("By account", "account").span(8),
        _owners("By namespace", "namespace").span(8),
    )


def _owners(title: str, label: str) -> table.Panel:
    text = f"Energy within the time range by {label}, GPU boards only."
    return table_of(title, text, _energy_by(label), unit="joule", names={"Value": "energy"})


def _energy_by(label: str) -> str:
    energy = f"sum by (instance, job) (increase({NAMED}[$__range]))"
    # A job whose label changed has several such series: the one that was there longest counts.
    info = f'topk by (instance, job) (1, count_over_time(wattshed_job_info{{{HOST}, {label}!=""}}[$__range])) ^ 0'
    known = f"sum by ({label}) ({energy} * on (instance, job) group_left ({label}) {info})"
    rest = f"sum by ({label}) ({energy} unless on (instance, job) {info})"  # jobs without such a label: one row
    return f"sort_desc({known} or {rest})"
