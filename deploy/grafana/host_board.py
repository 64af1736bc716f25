"""The dashboard of a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from panels import HOST, INSTANCE, NODES, RATE, graph_of, new_board, nodes, number_of, rows_of

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard
    from panels import Panel


BY_GPU = "{{instance}} {{gpu}}"
NAMED = f"* on (instance, gpu_uuid) group_left (gpu) wattshed_gpu_info{{{HOST}, {NODES}}}"
ENERGY = f"wattshed_gpu_energy_joules_total{{{HOST}, {NODES}}}"
SHARES = f"wattshed_job_energy_joules_total{{{HOST}, {NODES}}}"
# Joules by the seconds that they cover, not by the clock's: right too where a GPU is read seldom, or not at all.
COVERED = f"/ on (instance, gpu_uuid) group_left () (rate(wattshed_gpu_covered_seconds_total{{{HOST}}}{RATE}) > 0)"


def build() -> dashboard.Dashboard:
    """One host, or some: where its power goes, and how good the data is."""
    start = (
        new_board("wattshed-host", "wattshed: host", "Power and energy of the GPUs of a host, by GPU and by job.")
        .with_variable(nodes())
        .with_variable(INSTANCE)
    )
    return rows_of(start, {"Now": _now(), "Power": _power(), "Quality of the data": _quality()})


def _now() -> tuple[Panel, ...]:
    return (
        number_of("Power", "watt", "Mean, from the energy counters.", f"sum(rate({ENERGY}{RATE}) {COVERED})"),
        number_of(
            "Energy in this range", "joule", "GPU boards only.", f"sum(increase({ENERGY}[$__range]))", decimals=2
        ),
        number_of("GPUs up", "none", "GPUs that can be read.", f"sum(wattshed_gpu_up{{{HOST}}} {NAMED})"),
        number_of(
            "Jobs",
            "none",
            "Jobs with a share now.",
            f'count(count by (instance, job) (wattshed_job_energy_joules_total{{{HOST}, job!~"_.*", {NODES}}}))',
        ),
        number_of(
            "Idle share",
            "percentunit",
            "Idle power of GPU time that no job held.",
            _share_of("_idle"),
            decimals=1,
        ),
        number_of(
            "Unattributed share",
            "percentunit",
            "Used by somebody unknown.",
            _share_of("_unattributed"),
            decimals=1,
        ),
    )


def _power() -> tuple[Panel, ...]:
    return (
        graph_of(
            "Power by GPU",
            "watt",
            "Mean over the interval, from the energy counters: nothing between two scrapes is missed.",
            {BY_GPU: f"rate({ENERGY}{RATE}) {COVERED} {NAMED}"},
            stacked=True,
        ),
        graph_of(
            "Power by job",
            "watt",
            "Static and dynamic share together. _idle and _unattributed are not jobs.",
            {"{{job}}": f"sum by (job) (rate({SHARES}{RATE}) {COVERED})"},
            stacked=True,
        ),
        graph_of(
            "Reading, peak and limit",
            "watt",
            "What the driver reads now, the highest second of the last minute, and the limit in force.",
            {
                f"{BY_GPU} now": f'wattshed_gpu_power_watts{{{HOST}, reading="instant", {NODES}}} {NAMED}',
                f"{BY_GPU} peak 1 s": f'wattshed_gpu_peak_watts{{{HOST}, window="1s", {NODES}}} {NAMED}',
                f"{BY_GPU} limit": f'wattshed_gpu_power_limit_watts{{{HOST}, limit="enforced", {NODES}}} {NAMED}',
            },
        ),
        graph_of(
            "Steepest ramp within a second",
            "watt",
            "Per second, sum over the GPUs of a host: what supplies and feeds have to follow.",
            {
                "{{instance}} {{direction}}": "sum by (instance, direction) "
                f'(wattshed_gpu_ramp_watts_per_second{{{HOST}, window="1s", {NODES}}})'
            },
        ),
    )


def _quality() -> tuple[Panel, ...]:
    return (
        graph_of(
            "Meter disagreement",
            "percentunit",
            "(integrated power - counter) / counter. Beyond 25 % one of the two is wrong.",
            {BY_GPU: f"wattshed_meter_disagreement_ratio{{{HOST}, {NODES}}} {NAMED}"},
            wide=8,
        ).min(-0.3),
        graph_of(
            "Time without data",
            "percentunit",
            "Share of the time that no valid reading covers; its power is unknown, not 0.",
            {BY_GPU: f"rate(wattshed_gpu_gap_seconds_total{{{HOST}}}{RATE}) {NAMED}"},
            wide=8,
        ),
        graph_of(
            "Rejected readings per second",
            "none",
            "Readings without a usable number, by reason.",
            {"{{reason}}": f"sum by (reason) (rate(wattshed_gpu_samples_rejected_total{{{HOST}}}{RATE})) or vector(0)"},
            wide=8,
        ),
        graph_of(
            "Driver calls, 95th percentile",
            "s",
            "Time that calls into the driver take.",
            {
                "{{call}}": "histogram_quantile(0.95, sum by (call, le) "
                f"(rate(wattshed_nvml_call_seconds_bucket{{{HOST}}}{RATE})))"
            },
            wide=8,
        ),
        graph_of(
            "Lateness and duty of the sampler",
            "percentunit",
            "Late: seconds late per second. Duty: share of time inside driver calls.",
            {
                "{{instance}} late": f"rate(wattshed_sampler_late_seconds_total{{{HOST}}}{RATE})",
                "{{instance}} duty": f"wattshed_sampler_duty_ratio{{{HOST}}}",
            },
            wide=8,
        ),
        graph_of(
            "Faults in the last five minutes",
            "none",
            "By part; each is a line in the agent's log.",
            {"{{part}}": f"sum by (part) (increase(wattshed_faults_total{{{HOST}}}[5m])) or vector(0)"},
            wide=8,
        ),
    )


def _share_of(owner: str) -> str:
    part = f'wattshed_job_energy_joules_total{{{HOST}, job="{owner}", {NODES}}}'
    return f"sum(rate({part}{RATE})) / sum(rate({ENERGY}{RATE}))"
