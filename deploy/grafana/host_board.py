"""The dashboard of a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boards import GPU, INSTANCE, TO_HOST, TO_JOB, new_board, nodes, price, rows_of
from marks import marks
from panels import LIMIT, bars_of, graph_of, number_of, source_of_data, states_of, table_of
from queries import (
    CHOSEN,
    GPU_INFO,
    HOST,
    JOULES_PER_KWH,
    JOULES_PER_WH,
    NAMED,
    NO_JOB,
    NODES,
    RANGE,
    RATE,
    REAL,
    covered,
    longest,
    shares,
    titled,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import dashboard
    from panels import Panel

BY_GPU = "{{host}} GPU {{gpu}}"
ENERGY = f"wattshed_gpu_energy_joules_total{{{HOST}, {NODES}}}"
POWER = f"rate({ENERGY}{RATE}) {covered()} {NAMED}"
LIMITS = f'wattshed_gpu_power_limit_watts{{{HOST}, limit="enforced", {NODES}}}'
STATES = {
    "ok": "#37872d", "asleep": "#5f6b7a", "released": "#447ebc", "unmeterable": "#b59f5b",
    "stale": "#e0b400", "sick": "#d97706", "lost": LIMIT,
}  # fmt: skip
"""Of a GPU, the worst last."""
BOARD = "At the boundary of the GPU boards: without CPUs, fans and power supplies."


def build() -> dashboard.Dashboard:
    """One host, or some: where its power goes, what the GPUs do meanwhile, and how good the data is."""
    start = new_board(
        "wattshed-host",
        "wattshed: host",
        "Power and energy of the GPUs of a host, by GPU and by job.",
        nodes(),
        INSTANCE,
        GPU,
        *price(),
    )
    for mark in marks(HOST, jobs=False):
        start = start.annotation(mark)
    return rows_of(
        start,
        {
            "": (source_of_data(), *_now()),
            "Power": _power(),
            "Energy": _energy(),
            "The whole node": _node(),
            "Beside the power": _beside(),
            "Quality of the data": (_states(), *_quality()),
        },
    )


def _now() -> tuple[Panel, ...]:
    used = f"sum(increase({ENERGY}{RANGE}) {CHOSEN})"
    return (
        number_of(
            "Power now", "watt", f"Mean over the last minute or so, from the energy counters. {BOARD}",
            f"sum({POWER})", wide=3,
        ),
        number_of(
            "Of power limit", "percentunit", "Power now by the limits in force of the GPUs that are measured.",
            f"sum({POWER}) / sum({LIMITS} and on (instance, gpu_uuid) {POWER})",
            decimals=1, wide=3, limits={0.97: LIMIT},
        ),
        number_of(
            "Energy", "watth", f"From the energy counters. {BOARD}", f"{used} / {JOULES_PER_WH}", wide=3
        ),
        number_of(
            "Cost, $currency", "none",
            "Energy times the price above. For what a facility pays, put cooling and losses into the price.",
            f"{used} / {JOULES_PER_KWH} * $price", decimals=2, wide=3,
        ),
        number_of(
            "GPUs unreadable", "none", "Not ok: see the state of each GPU. Their power is unknown, not 0.",
            f"sum((1 - wattshed_gpu_up{{{HOST}}}) {CHOSEN})", wide=3, limits={1: LIMIT},
        ),
        number_of(
            "Jobs running", "none", "Jobs whose GPU time is counted now; a job on several hosts is one.",
            f"count(sum by (job) (rate(wattshed_job_gpu_seconds_total{{{HOST}}}{RATE}) "
            f"and on (instance, job) {shares(REAL)}) > 0) or 0 * count({GPU_INFO})",
            wide=3,
        ),
        number_of(
            "Idle share", "percentunit", "Share of the energy in this range that went into GPUs that no job held.",
            _share_of("_idle"), decimals=1, wide=3,
        ),
        number_of(
            "Unattributed", "percentunit",
            "Share of the energy in this range that processes used whose job cannot be found.",
            _share_of("_unattributed"), decimals=1, wide=3, limits={0.1: LIMIT},
        ),
    )  # fmt: skip


def _power() -> tuple[Panel, ...]:
    job = f"(rate({shares(REAL)}{RATE}) {covered()} > 0) {CHOSEN}"
    title = f"on (instance, job) group_left (title) {titled(longest(RATE, HOST))}"
    return (
        graph_of(
            "Power by GPU", "watt",
            f"Mean between two points, from the energy counters: nothing between two scrapes is missed. {BOARD} "
            "A GPU that cannot be read is missing, not 0. Dashed: the sum of their power limits.",
            {BY_GPU: POWER, "power limit": f"sum({LIMITS} {CHOSEN})"},
            stacked=True, link={"Host ${__field.labels.instance}": f"{TO_HOST}${{__field.labels.instance}}"},
        ),
        graph_of(
            "Power by job", "watt",
            "Static and dynamic share together; all of them add up to the GPUs. Grey: _idle, held by nobody; "
            "_unattributed, used by nobody known; _other, jobs beyond the cap on series.",
            {
                "{{title}}": f"sum by (job, title) ({job} * {title})",
                "{{job}}": f"sum by (job) (rate({shares(NO_JOB)}{RATE}) {covered()} {CHOSEN})",
            },
            stacked=True, link={"Job ${__field.labels.job}": f"{TO_JOB}${{__field.labels.job:percentencode}}"},
        ),
        graph_of(
            "Reading now, and limit", "watt",
            "What the driver reads at each scrape; between two scrapes it may have been anything. "
            "Dashed: the largest limit in force of a GPU.",
            {
                BY_GPU: f'wattshed_gpu_power_watts{{{HOST}, reading="instant", {NODES}}} {NAMED}',
                "{{host}} limit": f"max by (host) ({LIMITS} {NAMED})",
            },
        ),
        graph_of(
            "Highest second of the last minute, by limit", "percentunit",
            "Mean power of the highest second by the limit in force; above 100 % the board overshoots.",
            {
                BY_GPU: f'wattshed_gpu_peak_watts{{{HOST}, window="1s", {NODES}}} '
                f"/ on (instance, gpu_uuid) {LIMITS} {NAMED}"
            },
            lines={1: LIMIT},
        ),
        graph_of(
            "Steepest change within a second", "si:W/s",
            "Within the last minute, the GPUs of a host added up: what supplies and feeds have to follow.",
            {
                "{{host}} {{direction}}": "sum by (host, direction) "
                f'(wattshed_gpu_ramp_watts_per_second{{{HOST}, window="1s", {NODES}}} {NAMED})'
            },
            wide=24,
        ),
    )  # fmt: skip


def _energy() -> tuple[Panel, ...]:
    book = "at the boundary of the GPU boards since the agent's first start; together all that the GPUs used."
    who = f"* on (instance, job) group_left (title, user, account) {titled(longest(RANGE, HOST))}"
    used = f"sum by (job, title, user, account) (increase({shares(REAL)}{RANGE}) {CHOSEN} {who}) / {JOULES_PER_KWH}"
    return (
        table_of(
            "Jobs in this range",
            "Ended ones too. Click a job for its board. Joules before a job's first scrape are missing.",
            {"kWh": ("kwatth", used), "cost": ("none", f"{used} * $price")},
            wide=16, hidden=("job",), names={"title": "job name (id)", "user": "user", "account": "account"},
            links={"job name (id)": ("Board of this job", f"{TO_JOB}${{__data.fields.job:percentencode}}")},
        ),
        bars_of(
            "Where all the energy went", "watth", f"Of whom it is, {book}",
            {
                "jobs": f"sum({shares(REAL)} {CHOSEN}) / {JOULES_PER_WH}",
                "ended jobs": f"sum(wattshed_ended_jobs_energy_joules_total{{{HOST}, {NODES}}} {CHOSEN})"
                f" / {JOULES_PER_WH}",
                "{{job}}": f"sum by (job) ({shares(NO_JOB)} {CHOSEN}) / {JOULES_PER_WH}",
            },
        ),
    )  # fmt: skip


def _beside() -> tuple[Panel, ...]:
    return (
        graph_of(
            "Utilisation, and time held back", "percentunit",
            "Share of the time in which any kernel ran, as the driver says it: a GPU at 100 % may be nearly empty. "
            "Held back: share of the time in which the clocks were lowered, by reason, where the driver tells.",
            {
                BY_GPU: f"wattshed_gpu_utilization_ratio{{{HOST}}} {NAMED}",
                f"{BY_GPU} held back: {{{{reason}}}}": f"rate(wattshed_gpu_throttle_seconds_total{{{HOST}}}{RATE}) "
                f"{NAMED} > 0",
            },
        ),
        graph_of(
            "Memory in use", "percentunit", "Device memory in use by what is installed.",
            {
                BY_GPU: f"wattshed_gpu_memory_used_bytes{{{HOST}}} / wattshed_gpu_memory_total_bytes{{{HOST}}} "
                f"{NAMED}"
            },
        ),
        graph_of(
            "Temperature", "celsius",
            "Of the GPU. Dashed at 85 °C, where many boards begin to lower their clocks; each has its own limit.",
            {BY_GPU: f'wattshed_gpu_temperature_celsius{{{HOST}, sensor="gpu"}} {NAMED}'},
            lines={85: LIMIT},
        ),
        graph_of(
            "Clock of the multiprocessors", "hertz", "As the driver reads it at each scrape.",
            {BY_GPU: f'wattshed_gpu_clock_hertz{{{HOST}, clock="sm"}} {NAMED}'},
        ),
    )  # fmt: skip


def _node() -> tuple[Panel, ...]:
    covered_s = f"on (instance) group_left () (rate(wattshed_node_covered_seconds_total{{{HOST}}}{RATE}) > 0)"
    parts = f"rate(wattshed_node_energy_joules_total{{{HOST}, {NODES}}}{RATE}) / {covered_s}"
    gpus = f'label_replace(sum by (instance) ({POWER}), "part", "gpu", "", "")'
    beside = f"wattshed_host_power_watts{{{HOST}, {NODES}}} and on (instance) {GPU_INFO}"
    return (
        graph_of(
            "Node by parts", "watt",
            "Power of the whole node by its own meter: GPUs, CPUs, memory, and the rest (fans, conversion, network). "
            "Without such a meter, the GPUs alone.",
            {"{{instance}} {{part}}": f"({parts}) or on (instance) ({gpus})"},
            stacked=True,
        ),
        graph_of(
            "Each meter of the host", "watt",
            "Each by itself: meters include each other and are not added up. GPU boards are the sum of the GPUs.",
            {
                "{{instance}} {{source}}/{{domain}}": beside,
                "{{instance}} GPU boards": f"sum by (instance) ({POWER})",
            },
        ),
    )  # fmt: skip


def _states() -> Panel:
    state = " or ".join(
        f'wattshed_gpu_status{{{HOST}, status="{name}"}} * {place}' for place, name in enumerate(STATES)
    )
    return states_of(
        "State of each GPU",
        "Sick: its calls take too long, and it is left alone. Stale: no reading for a while. Lost: it does not answer. "
        "Released: let go of for a reset or another program. Asleep: not woken. Unmeterable: it reports no power. "
        "Nothing: no agent was scraped.",
        f"max by (instance, host, gpu) (({state}) {NAMED})", BY_GPU, STATES,
    )  # fmt: skip


def _quality() -> tuple[Panel, ...]:
    none_yet = f"or sum by (instance) (0 * wattshed_up{{{HOST}}} and on (instance) {GPU_INFO})"
    return (
        graph_of(
            "Meter disagreement", "percentunit",
            "(integrated power - energy counter) / counter. Beyond the dashed lines one of the two is wrong.",
            {BY_GPU: f"wattshed_meter_disagreement_ratio{{{HOST}, {NODES}}} {NAMED}"},
            wide=8, lines={-0.2: LIMIT, 0.25: LIMIT},
        ).min(-0.3),
        graph_of(
            "Time without data", "percentunit",
            "Share of the time that no valid reading covers; its power is unknown, not 0.",
            {BY_GPU: f"rate(wattshed_gpu_gap_seconds_total{{{HOST}}}{RATE}) {NAMED}"},
            wide=8,
        ),
        graph_of(
            "Rejected readings per minute", "none", "Readings without a usable number, all reasons.",
            {
                "{{instance}}": "60 * sum by (instance) "
                f"(rate(wattshed_gpu_samples_rejected_total{{{HOST}}}{RATE}) {CHOSEN}) {none_yet}"
            },
            wide=8,
        ),
        graph_of(
            "Driver calls, 95th percentile", "s", "How long calls into the driver take; the agent reads less often "
            "where they are slow.",
            {
                "{{call}}": "histogram_quantile(0.95, sum by (call, le) "
                f"(rate(wattshed_nvml_call_seconds_bucket{{{HOST}}}{RATE}) and on (instance) {GPU_INFO}))"
            },
            wide=8,
        ),
        graph_of(
            "Lateness and duty of the sampler", "percentunit",
            "Late: seconds late per second. Duty: share of the time inside driver calls.",
            {
                "{{instance}} late": f"rate(wattshed_sampler_late_seconds_total{{{HOST}}}{RATE}) "
                f"and on (instance) {GPU_INFO}",
                "{{instance}} duty": f"wattshed_sampler_duty_ratio{{{HOST}}} and on (instance) {GPU_INFO}",
            },
            wide=8,
        ),
        graph_of(
            "Faults in five minutes", "none", "By host; each is a line in the agent's log, and it went on.",
            {"{{instance}}": f"sum by (instance) (increase(wattshed_faults_total{{{HOST}}}[5m]) "
             f"and on (instance) {GPU_INFO}) {none_yet}"},
            wide=8,
        ),
    )  # fmt: skip


def _share_of(owner: str) -> str:
    """Energy of an owner that is no job by all energy, of the chosen GPUs; 0 where there was none of it."""
    part = shares(f'job="{owner}"')
    whole = f"sum(increase({ENERGY}{RANGE}) {CHOSEN})"
    return f"(sum(increase({part}{RANGE}) {CHOSEN}) or 0 * {whole}) / {whole}"
