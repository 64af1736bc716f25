"""The first lines: what the node draws, out of how much, for whom, and whether that can be relied upon."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wattshed.agent.printing.figures import sparkline
from wattshed.agent.terminal.drawing import TextLine, TextPiece, bar, chart, pad
from wattshed.agent.terminal.facts import IDLE, UNATTRIBUTED
from wattshed.agent.terminal.fitting import Cell, TopColumn, strip, wrapped
from wattshed.agent.terminal.numbers import DASH, elapsed, kwh, moment, percent, watts
from wattshed.agent.terminal.trends import TOTAL

if TYPE_CHECKING:
    from wattshed.agent.terminal.facts import Scene
    from wattshed.agent.terminal.following import AgentView, AgentWatch

SIMULATED = "SIMULATED DATA"
_LABEL = 8  # cells for numbers beside the chart, or more where they take them
_KINDS = {"collector": "collector", "fleet": "fleet estimate", "trace": "recording"}


def total_w(shown: Scene) -> tuple[float | None, int]:
    """Return the power of all GPUs that tell theirs, and how many do not."""
    known = [gpu.power_w for gpu in shown.gpus if gpu.power_w is not None]
    return (sum(known) if known else None), len(shown.gpus) - len(known)


def limits_w(shown: Scene) -> tuple[float | None, float | None]:
    """Return power and limits of the GPUs that tell both, W: what is unknown of one must not lower the share."""
    both = [(gpu.power_w, gpu.limit_w) for gpu in shown.gpus if gpu.power_w is not None and gpu.limit_w]
    return (sum(power for power, _ in both), sum(limit for _, limit in both)) if both else (None, None)


def energy_j(shown: Scene) -> float | None:
    """Return the energy of all GPUs that tell theirs."""
    known = [gpu.energy_j for gpu in shown.gpus if gpu.energy_j is not None]
    return sum(known) if known else None


def models(shown: Scene) -> str:
    """Name the GPUs, such as ``8 x H100 80GB HBM3``."""
    counts: dict[str, int] = {}
    for gpu in shown.gpus:
        counts[gpu.model or "GPU"] = counts.get(gpu.model or "GPU", 0) + 1
    return ", ".join(f"{count} x {model}" for model, count in counts.items()) or (
        "no GPUs" if shown.ready or shown.unmetered else ""
    )


def alerts(follow: AgentWatch, width: int, now_s: float) -> list[TextLine]:
    """Say what stands in the way of relying on the numbers; nothing, mostly."""
    known, silence = follow.known, follow.silence
    lines: list[TextLine] = []
    if silence is not None:
        ago = elapsed(now_s - silence.since_s)
        lines += wrapped(f"NO DATA since {moment(silence.since_s)} ({ago}): {silence.why}", width, "alert")
    if known is None:
        return lines
    shown = known.scene
    if shown.unmetered:
        lines += wrapped(f"NOT METERING: {shown.unmetered}", width, "alert")
    elif not shown.ready:
        lines += wrapped("STARTING: the first readings are still to come", width, "simulated")
    if shown.meter == "trace":
        for note in shown.notes:
            lines += wrapped(note, width, "simulated")
    return lines


def first_line(shown: Scene | None, width: int, right: str) -> TextLine:
    """Say where this is from, and at the right end how it is followed."""
    if shown is None:
        return strip([_text("wattshed", 0, "bold"), _text(right, 1)], width, "title")
    kind = _KINDS.get(shown.meter, "")
    parts = [
        _text(shown.host, 0, "bold", most=60),
        *([_text(SIMULATED, 1, "simulated")] if shown.simulated else []),
        *([_text(kind, 2, "bold")] if kind else []),
        *([_text(models(shown), 4, most=80)] if shown.is_node else []),
        (TopColumn("", 9, "graph", least=0, most=10_000), Cell(lambda cells: (TextPiece(" " * cells),))),
        _text(right, 3, most=40),
    ]
    return strip(parts, width, "title")


def total_lines(known: AgentView, width: int, span_s: float | None) -> list[TextLine]:
    """Write the power of the node, its share of the limits, its energy, and whose it is; the last of it, if asked."""
    shown = known.scene
    power, unknown = total_w(shown)
    of, limit = limits_w(shown)
    share = of / limit if of is not None and limit else None
    but = f"{unknown} of {len(shown.gpus)} unknown" if unknown and power is not None else ""
    since = f"since {moment(shown.since_s)}"
    first = [
        _number(watts(power), 0, "total"),
        (TopColumn("", 4, "graph", least=6, most=60), Cell(lambda cells: bar(share, cells))),
        _number(f"{percent(share)} of {watts(limit)}", 1),
        _number(f"{kwh(energy_j(shown))} kWh", 2, "bold"),
        *([_number(but, 3, "warn")] if but else []),
        *([_number(f"node {watts(shown.node_w)}", 5)] if shown.node_w is not None else []),
        _number(since, 6, "dim"),
    ]
    running, job_w = shown.running, known.job_w
    second = [
        _number(f"{running if shown.ready else DASH} {'job' if running == 1 else 'jobs'} {watts(known.jobs_w)}", 0),
        _number(f"idle {watts(job_w.get(IDLE))}", 1),
        _number(f"unattributed {watts(job_w.get(UNATTRIBUTED))}", 2),
    ]
    if span_s is not None:
        stretch = span_s

        def trend(cells: int) -> tuple[TextPiece, ...]:
            return (TextPiece(sparkline(known.trends.cells(TOTAL, cells, shown.time_s, stretch)), "power"),)

        second.append((TopColumn("", 4, "graph", least=10, most=10_000), Cell(trend)))
        second.append(_number(f"last {span_s / 60:.0f} min", 5, "dim"))
    return [strip(first, width), strip(second, width)]


def total_chart(known: AgentView, width: int, height: int, span_s: float) -> list[TextLine]:
    """Draw the power of the node over the last minutes, with what its ends stand for."""
    now_s = known.scene.time_s
    values = [value for value in known.trends.cells(TOTAL, width, now_s, span_s) if value is not None]
    if not values:
        return []
    top = _round_up(max(values))
    label = max(_LABEL, len(watts(top)), len(watts(top / 2)))
    drawn = chart(known.trends.cells(TOTAL, max(1, width - label - 1), now_s, span_s), height, top)
    names = {0: watts(top), height - 1: "0 W", **({height // 2: watts(top / 2)} if height % 2 else {})}
    return [
        TextLine(
            (
                TextPiece(pad(names.get(i, ""), label, right=True), "dim"),
                TextPiece("┤" if i in names else "│", "dim"),
                TextPiece(text, "power"),
            )
        )
        for i, text in enumerate(drawn)
    ]


def _round_up(value: float) -> float:
    """Return the next 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten."""
    size = 10.0 ** math.floor(math.log10(value)) if 1 <= value < math.inf else 1.0
    return next((step * size for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if value <= step * size), value)


def _text(text: str, rank: int, role: str = "", most: int = 40) -> tuple[TopColumn, Cell]:
    return TopColumn("", rank, "text", least=min(len(text), 12), most=most), Cell(text, role)


def _number(text: str, rank: int, role: str = "") -> tuple[TopColumn, Cell]:
    return TopColumn("", rank, left=True), Cell(text, role)
