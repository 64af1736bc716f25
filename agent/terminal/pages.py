"""Whole pages: one job, one GPU, the keys, and what is there instead of a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.terminal.drawing import TextLine, TextPiece, chart, pad, shorten
from wattshed.agent.terminal.facts import OWNERS
from wattshed.agent.terminal.fitting import Cell, FittedTable, TopColumn, wrapped
from wattshed.agent.terminal.gpus import data, who_is_on
from wattshed.agent.terminal.jobs import held_idle, lasted_s
from wattshed.agent.terminal.numbers import DASH, elapsed, gibibytes, kwh, moment, percent, plain, watts, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from wattshed.agent.terminal.facts import Scene, ShownGpu, ShownJob, ShownProcess
    from wattshed.agent.terminal.following import AgentView

CHART = 5
Fact = tuple[str, str]

_FLEET = (
    TopColumn("BOUNDARY", 0, "text", least=8),
    TopColumn("MEAN", 1),
    TopColumn("LOWER", 2),
    TopColumn("UPPER", 3),
    TopColumn("kWh", 4),
    TopColumn("OF SUPPLY", 5),
    TopColumn("PEAK 1 MIN", 6),
)
_PROCESSES = (
    TopColumn("PID", 0),
    TopColumn("GPU", 1),
    TopColumn("MIG", 4),
    TopColumn("GPU MEMORY MiB", 3),
    TopColumn("RUNS FOR", 5),
    TopColumn("COMMAND", 2, "text", least=8, most=400),
)
_PARTS = (
    TopColumn("GPU", 0),
    TopColumn("kWh", 1),
    TopColumn("DYNAMIC", 2),
    TopColumn("GPU WATTS", 3),
    TopColumn("GPU UTIL", 4),
    TopColumn("DATA", 6, "text", least=8),
    TopColumn("MODEL", 7, "text", least=10),
)


def job_page(
    job: ShownJob, known: AgentView, command: Callable[[ShownProcess], str], width: int, span_s: float
) -> list[TextLine]:
    """Everything that is known of one job."""
    shown = known.scene
    gpus = {gpu.uuid: gpu for gpu in shown.gpus}
    power = known.job_w.get(job.key)
    state = "running" if job.ended_s is None else f"ended {moment(job.ended_s)}"
    facts = [
        ("state", state if job.is_job else ""),
        ("power", watts(power)),
        ("energy", _with_sigma(job)),
        ("idle power of its GPUs", f"{kwh(job.static_j)} kWh"),
        ("above idle", f"{kwh(job.dynamic_j)} kWh ({percent(job.dynamic_j, job.energy_j or None)})"),
        *([("at full activity", _full(job))] if job.watts is not None else []),
        ("started", DASH if job.started_s is None else moment(job.started_s)),
        ("time", elapsed(lasted_s(job, shown.time_s))),
        ("GPU time", elapsed(job.gpu_s)),
        ("held but idle", f"{elapsed(job.held_s)} ({held_idle(job)})"),
        ("split by", job.method),
        *sorted(job.labels.items()),
    ]
    title = job.key if job.is_job else OWNERS[job.key]
    lines = [_title(f"Job {title}" if job.is_job else title, width), *_facts(facts, width)]
    lines += _chart(known, job.key, width, span_s)
    parts = [
        (gpus[uuid], joules) for uuid, joules in job.gpus.items() if uuid in gpus and (job.is_job or sum(joules) > 0)
    ]
    parts.sort(key=lambda part: part[0].index)
    if parts:
        lines += _table(f"GPUs ({len(parts)})", _PARTS, [_part(gpu, joules, known) for gpu, joules in parts], width)
    return lines + _processes(
        job.processes, gpus, shown, command, width, ended=job.ended_s is not None or not job.is_job
    )


def _with_sigma(job: ShownJob) -> str:
    sigma = "" if job.sigma_j is None else f" ± {kwh(2 * job.sigma_j)}"
    joules = "" if job.energy_j is None else f" ({plain(job.energy_j)} J)"
    return f"{kwh(job.energy_j)}{sigma} kWh{joules}"


def _full(job: ShownJob) -> str:
    sigma = "" if job.watts_sigma is None else f" ± {whole(2 * job.watts_sigma)}"
    return f"{whole(job.watts)}{sigma} W above idle (estimate)"


def _part(gpu: ShownGpu, joules: tuple[float, float], known: AgentView) -> list[Cell]:
    static, dynamic = joules
    return [
        Cell(str(gpu.index), "bold"),
        Cell(kwh(static + dynamic)),
        Cell(percent(dynamic, static + dynamic)),
        Cell(plain(gpu.power_w)),
        Cell(whole(gpu.gauge("gpu_util"), "%")),
        data(gpu, known.throttled.get(gpu.uuid, ())),
        Cell(gpu.model, "dim"),
    ]


def _processes(
    processes: Sequence[ShownProcess],
    gpus: dict[str, ShownGpu],
    shown: Scene,
    command: Callable[[ShownProcess], str],
    width: int,
    *,
    ended: bool = False,
) -> list[TextLine]:
    if not processes:
        return [] if ended else [_title("Processes", width), *wrapped("none on a GPU now", width)]
    rows = [
        [
            Cell(str(one.pid), "bold"),
            Cell(str(gpus[one.gpu_uuid].index) if one.gpu_uuid in gpus else DASH),
            Cell(one.instance),
            Cell(whole(one.memory_mib)),
            Cell(DASH if one.started_s is None else elapsed(shown.time_s - one.started_s)),
            Cell(command(one) or DASH, "job"),
        ]
        for one in processes
    ]
    return _table(f"Processes ({len(rows)})", _PROCESSES, rows, width)


def gpu_page(
    gpu: ShownGpu, known: AgentView, command: Callable[[ShownProcess], str], width: int, span_s: float
) -> list[TextLine]:
    """Everything that is known of one GPU."""
    shown = known.scene
    raw = gpu.raw
    peaks = ", ".join(f"{watts(value)} over {window}" for window, value in gpu.peak_w.items())
    rejected = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in raw["rejected"].items())
    disagreement = raw["disagreement"]
    doubt = None if raw["sigma_j"] is None else 2 * raw["sigma_j"]
    facts = [
        ("model", gpu.model),
        ("UUID", gpu.uuid),
        ("PCI, driver", f"{raw['pci_bus_id']}, {raw['driver']}"),
        ("data", str(data(gpu, known.throttled.get(gpu.uuid, ())).content)),
        ("reason", gpu.why),
        ("power", f"{watts(gpu.power_w)}, {percent(gpu.power_w, gpu.limit_w)} of {watts(gpu.limit_w)}"),
        ("peak", peaks),
        (
            "energy",
            f"{kwh(gpu.energy_j)} ± {kwh(doubt)} kWh, {_SOURCES.get(raw['energy_source'], raw['energy_source'])}",
        ),
        ("boundary", _BOUNDARIES.get(raw["boundary"], raw["boundary"])),
        ("memory", f"{gibibytes(gpu.gauge('fb_used_mib'), gpu.memory_total_mib)} GiB"),
        ("not covered", elapsed(raw["gap_s"])),
        ("counter resets", whole(raw["counter_resets"])),
        ("readings rejected", rejected),
        ("power against counter", DASH if disagreement is None else f"{disagreement:+.1%}"),
        ("last XID", whole(gpu.last_xid) if gpu.last_xid else ""),
        *(_gauge(name, value) for name, value in sorted(gpu.gauges.items()) if not name.startswith("fb_")),
    ]
    lines = [_title(f"GPU {gpu.index}", width), *_facts(facts, width), *_chart(known, gpu.uuid, width, span_s)]
    names = who_is_on(shown).get(gpu.uuid, [])
    if names:
        lines += [_title(f"Jobs ({len(names)})", width), *wrapped(", ".join(names), width)]
    if gpu.instances:
        columns = (TopColumn("INSTANCE", 0), TopColumn("OF THE SMs", 1), TopColumn("UUID", 2, "id", least=12))
        rows = [[Cell(number), Cell(percent(share)), Cell(uuid, "dim")] for number, uuid, share in gpu.instances]
        lines += _table(f"MIG instances ({len(rows)})", columns, rows, width)
    here = [one for job in shown.jobs for one in job.processes if one.gpu_uuid == gpu.uuid]
    return lines + _processes(here, {gpu.uuid: gpu}, shown, command, width)


_UNITS = {"c": " °C", "mhz": " MHz", "mib": " MiB", "w": " W", "s": " s", "util": "%", "active": "", "occupancy": ""}


def _gauge(name: str, value: float) -> Fact:
    """Write a gauge; the unit is the last part of its name."""
    stem, _, unit = name.rpartition("_")
    title = name if unit in {"util", "active", "occupancy"} or unit not in _UNITS else stem
    return title.replace("_", " "), (f"{value:.0f}" if value == round(value) else plain(value)) + _UNITS.get(unit, "")


_SOURCES = {"counter": "by its energy counter", "power": "by its power readings", "none": "no reading"}
_BOUNDARIES = {"board": "the board", "module": "the whole superchip, its CPU included"}


def elsewhere(shown: Scene, width: int) -> list[TextLine]:
    """Say what answers where there is no node: a collector, or the estimate of a fleet."""
    if shown.meter == "collector":
        text = (
            "This is a collector: it keeps the jobs of many hosts and has no GPUs of its own. Ask it for jobs with "
            "`wattshed jobs --url`, or give `wattshed top --url` the address of one host's agent."
        )
        return [TextLine(), *wrapped(text, width)]
    fleet = shown.fleet
    if fleet is None:
        return [TextLine(), *wrapped("This is the estimate of a fleet; there is no answer of its hosts yet.", width)]
    rows = []
    for name, one in fleet["boundaries"].items():
        supply = one.get("supply_w")
        rows.append(
            [
                Cell(name, "key"),
                *(Cell(watts(one.get(bound))) for bound in ("mean_w", "lower_w", "upper_w")),
                Cell(kwh(one.get("energy_j"))),
                Cell(percent(one.get("mean_w"), supply) if supply else DASH),
                Cell(watts(one.get("peak_w", {}).get("1m"))),
            ]
        )
    known = f"The estimate of a fleet: {fleet['hosts_reporting']} of {fleet['hosts_known']} hosts report."
    states = ", ".join(f"{hosts} {state}" for state, hosts in fleet.get("hosts_by_state", {}).items() if hosts)
    known += f" By state: {states}." if states else ""
    lines = [TextLine(), *wrapped(known, width), TextLine()]
    table = FittedTable(_FLEET, rows, width)
    lines += [table.titles(), *(table.line(i) for i in range(len(rows)))] if rows else []
    for warning in fleet["warnings"]:
        lines += wrapped(warning, width)
    return lines


def _title(text: str, width: int) -> TextLine:
    return TextLine((TextPiece(pad(shorten(text, width, middle=True), width)),), "head")


def _facts(facts: Iterable[Fact], width: int) -> list[TextLine]:
    """Write names and values, in as many columns as there is room for; long values are wrapped under themselves."""
    told = [(name, value) for name, value in facts if value]
    label = min(max((len(name) for name, _ in told), default=0), max(8, width // 2 - 2), 24)
    across = 2 if width >= 90 else 1
    each = (width - 3 * (across - 1)) // across
    blocks: list[list[tuple[TextPiece, ...]]] = []
    for name, value in told:
        lines: list[tuple[TextPiece, ...]] = []
        names, values = wrapped(name, label), wrapped(value, max(1, each - label - 2))
        height = max(len(names), len(values))
        for i in range(height):
            left = pad(names[i].text if i < len(names) else "", label)
            right = pad(values[i].text if i < len(values) else "", each - label - 2)
            lines.append((TextPiece(left, "dim"), TextPiece("  "), TextPiece(right)))
        blocks.append(lines)
    first, second = _halves(blocks) if across == 2 else ([line for block in blocks for line in block], [])
    return [
        TextLine((*line, *((TextPiece("   "), *second[i]) if i < len(second) else ()))) for i, line in enumerate(first)
    ]


def _halves(blocks: Sequence[list[tuple[TextPiece, ...]]]) -> tuple[list[tuple[TextPiece, ...]], ...]:
    """Lay facts in two columns, the first of which is the longer one, without dividing a fact."""
    half = -(-sum(map(len, blocks)) // 2)
    first: list[tuple[TextPiece, ...]] = []
    second: list[tuple[TextPiece, ...]] = []
    for block in blocks:
        (first if len(first) < half else second).extend(block)
    return first, second


def _chart(known: AgentView, key: str, width: int, span_s: float) -> list[TextLine]:
    cells = known.trends.cells(key, width, known.scene.time_s, span_s)
    values = [value for value in cells if value is not None]
    if not values:
        return []
    top = max(values)
    title = _title(f"Power, last {span_s / 60:.0f} min, up to {watts(top)}", width)
    return [title, *(TextLine((TextPiece(text, "power"),)) for text in chart(cells, CHART, top or 1.0))]


def _table(title: str, columns: Sequence[TopColumn], rows: Sequence[Sequence[Cell]], width: int) -> list[TextLine]:
    table = FittedTable(columns, rows, width)
    names = TextLine(tuple(TextPiece(piece.text, "dim") for piece in table.titles().pieces))
    return [_title(title, width), names, *(table.line(i) for i in range(len(rows)))]
