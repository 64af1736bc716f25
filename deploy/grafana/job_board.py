"""The dashboard of a job."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, table
from panels import HOST, INSTANCE, JOB, NODES, RATE, choice, graph_of, new_board, nodes, number_of, table_of


def build() -> dashboard.Dashboard:
    """One job, or some: joules, who, and how the GPU time was used."""
    shares = f"wattshed_job_energy_joules_total{{{JOB}, {NODES}}}"
    named = f'wattshed_job_energy_joules_total{{{HOST}, job!~"_.*", {NODES}}}'
    covered = f"/ on (instance, gpu_uuid) group_left () (rate(wattshed_gpu_covered_seconds_total{{{HOST}}}{RATE}) > 0)"
    # GPU time and labels do not say whether a node is simulated; the energy of the same job does.
    chosen = f"and on (instance, job) last_over_time({shares}{RATE})"

    def by(label: str) -> str:
        energy = f"sum by (instance, job) (increase({named}[$__range]))"
        # A job whose label changed has several such series: the one that was there longest counts.
        info = f'topk by (instance, job) (1, count_over_time(wattshed_job_info{{{HOST}, {label}!=""}}[$__range])) ^ 0'
        known = f"sum by ({label}) ({energy} * on (instance, job) group_left ({label}) {info})"
        rest = f"sum by ({label}) ({energy} unless on (instance, job) {info})"  # jobs without such a label: one row
        return f"sort_desc({known} or {rest})"

    def owners(title: str, label: str) -> table.Panel:
        text = f"Energy within the time range by {label}, GPU boards only."
        return table_of(title, text, by(label), unit="joule", names={"Value": "energy"})

    return (
        new_board("wattshed-job", "wattshed: job", "Energy and GPU time of jobs, and of who runs them.")
        .with_variable(nodes())
        .with_variable(INSTANCE)
        .with_variable(choice("job", "Job", f"label_values(wattshed_job_energy_joules_total{{{HOST}, {NODES}}}, job)"))
        .with_row(dashboard.Row("Chosen jobs"))
        .with_panel(
            number_of("Power", "watt", "Mean, static and dynamic.", f"sum(rate({shares}{RATE}) {covered})", wide=6)
        )
        .with_panel(
            number_of("Energy so far", "joule", "Since the agent saw them.", f"sum({shares})", decimals=2, wide=6)
        )
        .with_panel(
            number_of(
                "Dynamic share",
                "percentunit",
                "The part above idle power: what the job's own work costs.",
                f'sum(wattshed_job_energy_joules_total{{{JOB}, component="dynamic", {NODES}}}) / sum({shares})',
                decimals=1,
                wide=6,
            )
        )
        .with_panel(
            number_of(
                "GPUs in use",
                "none",
                "GPU-seconds per second, active and held.",
                f"sum(rate(wattshed_job_gpu_seconds_total{{{JOB}}}{RATE}) {chosen})",
                decimals=1,
                wide=6,
            )
        )
        .with_panel(
            graph_of(
                "Power by job",
                "watt",
                "Mean, all GPUs.",
                {"{{job}}": f"sum by (job) (rate({shares}{RATE}) {covered})"},
                stacked=True,
            )
        )
        .with_panel(
            graph_of(
                "Power by GPU and component",
                "watt",
                "static: idle power of GPU time that the job held. dynamic: all above it.",
                {"{{gpu_uuid}} {{component}}": f"sum by (gpu_uuid, component) (rate({shares}{RATE}) {covered})"},
                stacked=True,
            )
        )
        .with_panel(
            graph_of(
                "GPUs held and active",
                "none",
                "held: kept for the job without a process of it. Other tools do not show these GPUs.",
                {
                    "{{job}} {{state}}": "sum by (job, state) "
                    f"(rate(wattshed_job_gpu_seconds_total{{{JOB}}}{RATE}) {chosen})"
                },
            )
        )
        .with_panel(
            graph_of(
                "Uncertainty of the energy",
                "joule",
                "One standard deviation.",
                {"{{job}}": f"sum by (job) (wattshed_job_energy_sigma_joules{{{JOB}, {NODES}}})"},
            )
        )
        .with_panel(
            table_of(
                "Labels of the jobs",
                "User, account and the other labels of each job.",
                f"wattshed_job_info{{{JOB}}} and on (instance, job) {shares}",
                unit="none",
                hidden=("Value", "endpoint", "service", "prometheus"),
            )
        )
        .with_panel(
            table_of(
                "Energy by job",
                "Within the time range, GPU boards only; _idle and _unattributed are not jobs.",
                f"sort_desc(sum by (job) (increase({shares}[$__range])))",
                unit="joule",
                names={"Value": "energy"},
            )
        )
        .with_row(dashboard.Row("Energy by owner (all jobs of the hosts)"))
        .with_panel(owners("By user", "user").span(8))
        .with_panel(owners("By account", "account").span(8))
        .with_panel(owners("By namespace", "namespace").span(8))
    )
