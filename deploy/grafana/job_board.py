"""The dashboard of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boards import (
    ACCOUNT,
    INSTANCE,
    JOBS,
    NAMESPACE,
    TO_HOST,
    TO_JOB,
    TO_OWNER,
    USER,
    new_board,
    nodes,
    price,
    rows_of,
)
from marks import marks
from panels import graph_of, number_of, source_of_data, table_of
from queries import (
    GPUS,
    HOST,
    JOB,
    JOULES_PER_KWH,
    JOULES_PER_WH,
    NODES,
    OF_GPU,
    RANGE,
    RATE,
    REAL,
    covered,
    owners,
    shares,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard
    from panels import Panel

SHARES = shares('job=~"$job"', REAL)
WHO = f"on (instance, job) group_left (title) {owners(RATE)}"
"""Who the jobs are now; those of other owners are left out."""
EVER = f"on (instance, job) group_left (title, user, account, namespace) {owners(RANGE)}"
POWER = f"(rate({SHARES}{RATE}) {covered()} > 0) * {WHO}"
USED = f"increase({SHARES}{RANGE}) * {EVER}"
# GPU time and labels do not say whether a node is simulated; the energy of the same job does.
SECONDS = f"wattshed_job_gpu_seconds_total{{{JOB}}}"
ENDED = "not running"
BOARD = "At the boundary of the GPU boards: without CPUs, fans and power supplies."


def build() -> dashboard.Dashboard:
    """One job, or some: joules, money, who, and how the GPU time was used."""
    start = new_board(
        "wattshed-job",
        "wattshed: job",
        "Energy, cost and GPU time of jobs, on all their hosts.",
        nodes(),
        INSTANCE,
        USER,
        ACCOUNT,
        NAMESPACE,
        JOBS,
        *price(),
    )
    for mark in marks(JOB, jobs=True):
        start = start.annotation(mark)
    return rows_of(
        start,
        {
            "": (source_of_data(), *_numbers()),
            "Power": _power(),
            "The GPUs that the jobs run on": _gpus(),
            "Jobs": _tables(),
        },
    )


def _numbers() -> tuple[Panel, ...]:
    so_far = f"last_over_time({SHARES}{RANGE}) * {EVER}"
    dynamic = so_far.replace(SHARES, shares('job=~"$job"', REAL, 'component="dynamic"'))
    sigma = f"last_over_time(wattshed_job_energy_sigma_joules{{{JOB}, {NODES}}}{RANGE}) * {EVER}"
    return (
        number_of("Power now", "watt", f"Static and dynamic share. {BOARD}", f"sum({POWER})", wide=3, none=ENDED),
        number_of(
            "Energy", "watth",
            f"{BOARD} What a job drew before its first scrape is missing: at most one scrape interval.",
            f"sum({USED}) / {JOULES_PER_WH}", wide=3,
        ),
        number_of(
            "Cost, $currency", "none",
            "Energy times the price above. For what a facility pays, put cooling and losses into the price.",
            f"sum({USED}) / {JOULES_PER_KWH} * $price", decimals=2, wide=3,
        ),
        number_of(
            "Since its start", "watth", "As the agents last counted it within this range, ended jobs too.",
            f"sum({so_far}) / {JOULES_PER_WH}", wide=3,
        ),
        number_of(
            "Uncertainty", "percentunit",
            "One standard deviation of the energy since the start; the jobs' are added, as one meter's are.",
            f"sum({sigma}) / sum({so_far})", decimals=1, wide=3,
        ),
        number_of(
            "Dynamic share", "percentunit",
            "The part of the energy above idle power: what the job's own work costs.",
            f"sum({dynamic}) / sum({so_far})", decimals=1, wide=3,
        ),
        number_of(
            "GPUs held now", "none", "GPU-seconds per second, with or without a process of the job.",
            f"sum({_gpu_time('')})", decimals=1, wide=3, none=ENDED,
        ),
        number_of(
            "Held idle", "none",
            "Kept for the job, and no process of it on them. Other tools do not show these GPUs.",
            f"sum({_gpu_time('held')})", decimals=1, wide=3, none=ENDED, limits={0.5: "#d97706"},
        ),
    )  # fmt: skip


def _gpu_time(state: str) -> str:
    """GPUs by job and state: GPU-seconds per second, of the jobs chosen on the nodes chosen."""
    chosen = SECONDS.replace("}", f', state="{state}"}}') if state else SECONDS
    there = f"and on (instance, job) last_over_time({SHARES}{RATE})"
    return f"(rate({chosen}{RATE}) {there}) * {WHO}"


def _power() -> tuple[Panel, ...]:
    link = {"This job alone": f"{TO_JOB}${{__field.labels.job:percentencode}}"}
    named = f"{POWER} * {OF_GPU} (gpu, host) {GPUS}"
    return (
        graph_of(
            "Power by job", "watt", f"Mean between two points, all GPUs and hosts. {BOARD}",
            {"{{title}}": f"sum by (job, title) ({POWER})"}, stacked=True, link=link,
        ),
        graph_of(
            "Power by GPU", "watt", "What the chosen jobs draw of each GPU; others may draw of it too.",
            {"{{host}} GPU {{gpu}}": f"sum by (instance, host, gpu) ({named})"}, stacked=True,
            link={"Host ${__field.labels.instance}": f"{TO_HOST}${{__field.labels.instance}}"},
        ),
        graph_of(
            "Power by component", "watt",
            "static: idle power of the GPU time that the jobs held. dynamic: all above it.",
            {"{{component}}": f"sum by (component) ({POWER})"}, stacked=True,
        ),
        graph_of(
            "GPUs held and active", "none",
            "active: a process of the job is on the GPU. held: the GPU is kept for the job without one.",
            {"{{title}} {{state}}": f"sum by (job, title, state) ({_gpu_time('')}) > 0"}, stacked=True, link=link,
        ),
        graph_of(
            "Energy per unit of work", "joule",
            "Joules for each token, request or step, of jobs that tell their work or whose servers are read. "
            "Waiting for requests is in it.",
            {"{{title}} {{unit}}": f"sum by (job, title) ({POWER}) / on (job) group_right (title) {_work()}"},
            wide=24, link=link,
        ),
    )  # fmt: skip


def _work() -> str:
    """Units of work a second, where anything is done; a node is simulated where its energy says so."""
    real = f"on (instance, job) group_left () max by (instance, job) ({SHARES}) ^ 0"
    return f"(sum by (job, unit) (rate(wattshed_job_work_total{{{JOB}}}{RATE}) * {real}) > 0)"


def _gpus() -> tuple[Panel, ...]:
    theirs = f"* {OF_GPU} (gpu, host) {GPUS} and on (instance, gpu_uuid) ({POWER})"
    name = "{{host}} GPU {{gpu}}"
    return (
        graph_of(
            "Utilisation", "percentunit",
            "Share of the time in which any kernel ran, as the driver says it, of whichever job.",
            {name: f"wattshed_gpu_utilization_ratio{{{HOST}}} {theirs}"}, wide=8,
        ),
        graph_of(
            "Memory in use", "percentunit", "Device memory in use by what is installed, of whichever job.",
            {name: f"wattshed_gpu_memory_used_bytes{{{HOST}}} / wattshed_gpu_memory_total_bytes{{{HOST}}} {theirs}"},
            wide=8,
        ),
        graph_of(
            "Temperature", "celsius", "Of the GPU. Dashed at 85 °C, where many boards begin to lower their clocks.",
            {name: f'wattshed_gpu_temperature_celsius{{{HOST}, sensor="gpu"}} {theirs}'}, wide=8,
            lines={85: "#e02f44"},
        ),
    )  # fmt: skip


def _tables() -> tuple[Panel, ...]:
    by_job = f"sum by (job, title, user, account, namespace) ({USED}) / {JOULES_PER_KWH}"
    seconds = f"increase({SECONDS}{RANGE}) and on (instance, job) last_over_time({SHARES}{RANGE})"
    hours = f"sum by (job, title, user, account, namespace) (({seconds}) * {EVER}) / 3600"
    held = hours.replace(SECONDS, SECONDS.replace("}", ', state="held"}'))
    return (
        table_of(
            "Jobs in this range",
            "Ended ones too. Click a job to see it alone, a user or account for all that is theirs. GPU hours are "
            "hours times GPUs, with a process or without; joules before a job's first scrape are missing.",
            {
                "kWh": ("kwatth", by_job),
                "cost": ("none", f"{by_job} * $price"),
                "GPU h": ("none", hours),
                "held idle, GPU h": ("none", held),
            },
            wide=24, hidden=("job",),
            names={"title": "job name (id)", "user": "user", "account": "account", "namespace": "namespace"},
            links={
                "job name (id)": ("This job alone", f"{TO_JOB}${{__data.fields.job:percentencode}}"),
                "user": ("All of this user", f"{TO_OWNER}&var-user=${{__data.fields.user:percentencode}}"),
                "account": ("All of this account", f"{TO_OWNER}&var-account=${{__data.fields.account:percentencode}}"),
            },
        ),
        table_of(
            "Labels of the jobs",
            "All that the job's manager says of it; a label that does not apply is empty.",
            {"Value": ("none", f"{owners(RANGE)} and on (instance, job) last_over_time({SHARES}{RANGE})")},
            wide=24, hidden=("Value", "title", "named", "of_pod", "endpoint", "service", "prometheus", "stratum"),
        ),
    )  # fmt: skip
