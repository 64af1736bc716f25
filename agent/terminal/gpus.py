"""The GPUs: a row each, or, of many, a grid of short ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.cells import cell_len

from wattshed.agent.printing.figures import sparkline
from wattshed.agent.terminal.drawing import TextLine, TextPiece, bar, pad
from wattshed.agent.terminal.fitting import Cell, FittedTable, TopColumn
from wattshed.agent.terminal.numbers import gibibytes, kwh, percent, plain, watts, whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.terminal.facts import Scene, ShownGpu
    from wattshed.agent.terminal.following import AgentView

WARM_C, HOT_C = 80.0, 90.0
"""GPUs begin to lower their clocks at 83 to 92 °C, as their boards' makers set it."""
MEMORY_WARM_C, MEMORY_HOT_C = 95.0, 105.0
NEAR_LIMIT, AT_LIMIT = 0.9, 0.99
GRID_GAP = 3
"""Cells between two columns of the grid."""

COLUMNS = (
    TopColumn("GPU", 0, least=3),
    TopColumn("WATTS", 1, least=5),
    TopColumn("OF LIMIT", 4, "graph", least=8, most=40),
    TopColumn("", 3, least=4),
    TopColumn("UTIL", 5, least=4),
    TopColumn("MEMORY GiB", 6, least=9),
    TopColumn("TEMP", 7, least=5),
    TopColumn("kWh", 8, least=5),
    TopColumn("DATA", 2, "text", least=18, most=40),
    TopColumn("JOBS", 9, "id", least=12, most=30),
    TopColumn("LIMIT W", 11),
    TopColumn("PEAK W", 12, least=5),
    TopColumn("SM MHz", 13, least=4),
    TopColumn("MEM TEMP", 15, least=5),
    TopColumn("MEM MHz", 16, least=4),
    TopColumn("{span}", 10, "graph", least=15, most=60),
    TopColumn("MODEL", 17, "text", least=10, most=40),
)

FLAGS = {
    "frozen_sensor": "power reading frozen",
    "counter_reset": "counter was reset",
    "counter_stuck": "counter stood still",
    "counter_rejected": "counter readings rejected",
    "disagreement": "sensor mismatch",
}
"""What is doubtful about a GPU's energy, in plain words."""


SHAPING = {"power_smoothing", "soc_power_smoothing"}
POWER_PROFILE = "power_profile_"
"""Flags that say how the driver shapes a GPU's power: told, and nothing is wrong with its data."""

OUT_OF_REACH = {"stale": "warn", "sick": "hot", "lost": "hot", "released": "warn", "asleep": "dim"}
"""States of a GPU that is not read now, and how they are shown."""


def data(gpu: ShownGpu, throttled: Sequence[str] = ()) -> Cell:
    """Say in plain words whether a GPU's readings are as they should be."""
    if not gpu.up or gpu.status in OUT_OF_REACH:
        return Cell(gpu.status, OUT_OF_REACH.get(gpu.status, "hot"))
    said = [] if gpu.metered else [gpu.status if gpu.status == "unmeterable" else "no energy reading"]
    said += [] if gpu.recovery_action in {None, "none"} else [f"wants {gpu.recovery_action.replace('_', ' ')}"]
    shaped = [flag for flag in gpu.flags if flag in SHAPING or flag.startswith(POWER_PROFILE)]
    said += [FLAGS.get(flag, flag.replace("_", " ")) for flag in gpu.flags if flag not in shaped]
    said += [f"XID {gpu.last_xid}"] if gpu.last_xid else []
    said += [f"throttled: {', '.join(throttled)}"] if throttled else []
    role = "good" if not said else "warn" if gpu.metered else "hot"
    return Cell(", ".join([*(said or ["ok"]), *(flag.replace("_", " ") for flag in shaped)]), role)


def temperature(celsius: float | None, warm: float = WARM_C, hot: float = HOT_C) -> Cell:
    """Write a temperature; one that is high has an exclamation mark too."""
    if celsius is None:
        return Cell(f"{whole(None)} ")
    mark, role = ("!", "hot") if celsius >= hot else (" ", "warn") if celsius >= warm else (" ", "")
    return Cell(f"{whole(celsius, '°C')}{mark}", role)


def share_of_limit(gpu: ShownGpu) -> float | None:
    """Return power as a share of the limit that is enforced."""
    return gpu.power_w / gpu.limit_w if gpu.power_w is not None and gpu.limit_w else None


def _limit_role(share: float | None) -> str:
    if share is None or share < NEAR_LIMIT:
        return ""
    return "hot" if share >= AT_LIMIT else "warn"


def who_is_on(shown: Scene) -> dict[str, list[str]]:
    """Name the jobs of each GPU that go on, the one with most energy on it first."""
    found: dict[str, list[tuple[float, str]]] = {}
    for job in shown.jobs:
        if job.is_job and job.ended_s is None:
            here = {one.gpu_uuid for one in job.processes}
            for uuid, parts in job.gpus.items():
                if uuid in here or sum(parts) > 0:
                    found.setdefault(uuid, []).append((-sum(parts), job.name or job.key))
    return {uuid: [name for _, name in sorted(jobs)] for uuid, jobs in found.items()}


def gpu_table(known: AgentView, width: int | None, span_s: float) -> FittedTable:
    """Lay the GPUs out, a row each."""
    who = who_is_on(known.scene)
    titles = {"{span}": f"{span_s / 60:.0f} MIN"}
    columns = [replace(column, title=titles.get(column.title, column.title)) for column in COLUMNS]
    return FittedTable(columns, [_row(gpu, known, who, span_s) for gpu in known.scene.gpus], width)


def _row(gpu: ShownGpu, known: AgentView, who: Mapping[str, Sequence[str]], span_s: float) -> list[Cell]:
    share, now_s = share_of_limit(gpu), known.scene.time_s
    mixed = any(one.model != gpu.model for one in known.scene.gpus)
    role = _limit_role(share)
    top = gpu.limit_w

    def trend(width: int) -> Sequence[TextPiece]:
        return (TextPiece(sparkline(known.trends.cells(gpu.uuid, width, now_s, span_s), top), "power"),)

    mig = f"{len(gpu.instances)} MIG: " if gpu.instances else "MIG: " if gpu.raw.get("mig") else ""
    return [
        Cell(str(gpu.index), "bold"),
        Cell(plain(gpu.power_w), "bold" if gpu.power_w is not None else "dim"),
        Cell(lambda width: bar(share, width, role)),
        Cell(percent(share), role),
        Cell(whole(gpu.gauge("gpu_util"), "%")),
        Cell(gibibytes(gpu.gauge("fb_used_mib"), gpu.memory_total_mib)),
        temperature(gpu.gauge("temperature_c")),
        Cell(kwh(gpu.energy_j)),
        data(gpu, known.throttled.get(gpu.uuid, ())),
        Cell(mig + ", ".join(who.get(gpu.uuid, ())), "job"),
        Cell(plain(gpu.limit_w)),
        Cell(plain(gpu.peak_w.get("1s"))),
        Cell(whole(gpu.gauge("sm_clock_mhz"))),
        temperature(gpu.gauge("memory_temperature_c"), MEMORY_WARM_C, MEMORY_HOT_C),
        Cell(whole(gpu.gauge("mem_clock_mhz"))),
        Cell(trend),
        Cell(gpu.model if mixed else "", "dim"),
    ]


def grid(known: AgentView, width: int) -> tuple[list[TextLine], int]:
    """Lay many GPUs out, several in a line, column by column.

    Returns
    -------
    lines : list of TextLine
    pitch : int
        Cells from one column to the next; 0: there is room for one only.
    """
    cells = [_short(gpu) for gpu in known.scene.gpus]
    widest = [max(cell_len(cell[i].content) for cell in cells) for i in range(4)]  # type: ignore[arg-type]
    fixed = sum(widest) + 4
    across = max(1, (width + GRID_GAP) // (fixed + 6 + GRID_GAP))
    each = (width - GRID_GAP * (across - 1)) // across
    drawn = [_cell(gpu, cell, widest, each - fixed) for gpu, cell in zip(known.scene.gpus, cells, strict=True)]
    down = -(-len(drawn) // across)
    between = TextPiece("│".center(GRID_GAP), "dim")
    lines = []
    for row in range(down):
        here = drawn[row::down]
        pieces = [piece for i, one in enumerate(here) for piece in ((between, *one) if i else one)]
        lines.append(TextLine(tuple(pieces)))
    return lines, each + GRID_GAP if across > 1 else 0


def _short(gpu: ShownGpu) -> tuple[Cell, Cell, Cell, Cell]:
    share = share_of_limit(gpu)
    power = Cell(watts(gpu.power_w), "bold") if gpu.up else Cell(gpu.status, OUT_OF_REACH.get(gpu.status, "hot"))
    doubt = "" if data(gpu).content == "ok" else "?"
    return (
        Cell(str(gpu.index), "bold"),
        power,
        Cell(percent(share), _limit_role(share)),
        Cell(
            str(temperature(gpu.gauge("temperature_c")).content).rstrip() + doubt,
            temperature(gpu.gauge("temperature_c")).role,
        ),
    )


def _cell(gpu: ShownGpu, cells: Sequence[Cell], widest: Sequence[int], room: int) -> list[TextPiece]:
    number, power, share, warmth = (
        TextPiece(pad(str(cell.content), width, right=True), cell.role)
        for cell, width in zip(cells, widest, strict=True)
    )
    space = TextPiece(" ")
    drawn = bar(share_of_limit(gpu), room, share.role) if room > 1 else ()
    return [number, space, *drawn, space, power, space, share, space, warmth]
