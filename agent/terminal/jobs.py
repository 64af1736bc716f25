"""The jobs: rows in the order that was asked for, of those that a filter lets through."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.printing.figures import sparkline
from wattshed.agent.printing.work import joules_per_unit, main_unit
from wattshed.agent.terminal.drawing import TextPiece, bar
from wattshed.agent.terminal.facts import OWNERS
from wattshed.agent.terminal.fitting import Cell, FittedTable, TopColumn
from wattshed.agent.terminal.numbers import DASH, elapsed, kwh, percent, plain, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.terminal.facts import Scene, ShownJob
    from wattshed.agent.terminal.following import AgentView

COLUMNS = (
    TopColumn("{jobs}", 0, "id", least=12, most=28),
    TopColumn("WATTS", 1, least=5, key="power"),
    TopColumn("kWh", 2, least=5, key="energy"),
    TopColumn("USER", 4, "text", least=8, most=16, key="user"),
    TopColumn("NAME", 3, "text", least=14, most=40, key="name"),
    TopColumn("GPUS", 5, least=4, key="gpus"),
    TopColumn("TIME", 6, least=7, key="time"),
    TopColumn("OF NODE", 8, "graph", least=8, most=24),
    TopColumn("", 9, least=4),
    TopColumn("J PER UNIT", 9, "text", least=12, most=32),
    TopColumn("W@100", 10, least=5),
    TopColumn("± W", 11, least=4),
    TopColumn("± kWh", 10, least=5),
    TopColumn("DYNAMIC", 11),
    TopColumn("HELD IDLE", 12),
    TopColumn("GPU TIME", 13),
    TopColumn("ACCOUNT", 14, "text", least=7, most=16),
    TopColumn("{span}", 7, "graph", least=12, most=48),
)

SORTS: dict[str, str] = {
    "power": "power",
    "energy": "energy",
    "name": "name",
    "user": "user",
    "gpus": "number of GPUs",
    "time": "time",
}
"""What jobs can be sorted by, and what it is called."""
_RISING = {"name", "user"}
_MOST_RANGES = 11


def gpu_numbers(job: ShownJob, numbers: Mapping[str, int]) -> str:
    """Write on which GPUs a job is: ``0-3``, ``1,5``, and how many where that would be long."""
    found = sorted(numbers[uuid] for uuid in job.gpus if uuid in numbers)
    ranges: list[list[int]] = []
    for number in found:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    text = ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)
    return text if len(text) <= _MOST_RANGES else f"{len(found)} GPUs"


def lasted_s(job: ShownJob, now_s: float) -> float | None:
    """Return how long a job has been there, s."""
    if job.started_s is None:
        return None
    return (now_s if job.ended_s is None else job.ended_s) - job.started_s


def is_shown(job: ShownJob, needle: str) -> bool:
    """Whether a filter lets a job through: each of its words is in the job's key or one of its labels."""
    if not needle:
        return True
    hay = "\n".join((job.key, *job.labels.values())).casefold()
    return job.is_job and all(word in hay for word in needle.casefold().split())


def arranged(shown: Scene, job_w: Mapping[str, float], sort: str, *, reverse: bool, needle: str) -> list[ShownJob]:
    """Return the jobs that a filter lets through in order, then what is no job's.

    Parameters
    ----------
    shown : Scene
    job_w : mapping of str to float, W
    sort : str
        A key of `SORTS`. Names rise, numbers fall; what is not known comes last either way.
    reverse : bool
    needle : str
        The filter.
    """
    keys: dict[str, Callable[[ShownJob], float | str | None]] = {
        "power": lambda job: job_w.get(job.key),
        "energy": lambda job: job.energy_j,
        "name": lambda job: job.name.casefold() or None,
        "user": lambda job: job.user.casefold() or None,
        "gpus": lambda job: float(len(job.gpus)),
        "time": lambda job: lasted_s(job, shown.time_s),
    }
    value = keys[sort]
    passed = [job for job in shown.jobs if is_shown(job, needle)]
    by_key = sorted((job for job in passed if job.is_job), key=lambda job: (-(job.energy_j or 0.0), job.key))
    known = sorted(
        (job for job in by_key if value(job) is not None),
        key=value,  # type: ignore[arg-type]
        reverse=reverse != (sort not in _RISING),
    )
    unknown = [job for job in by_key if value(job) is None]
    order = list(OWNERS)
    return [*known, *unknown, *sorted((job for job in passed if not job.is_job), key=lambda job: order.index(job.key))]


def job_table(jobs: Sequence[ShownJob], known: AgentView, width: int | None, span_s: float) -> FittedTable:
    """Lay jobs out, a row each."""
    total_w = sum(gpu.power_w for gpu in known.scene.gpus if gpu.power_w is not None)
    numbers = {gpu.uuid: gpu.index for gpu in known.scene.gpus}
    count, listed = known.scene.running, sum(job.is_job and job.ended_s is None for job in jobs)
    titles = {
        "{span}": f"{span_s / 60:.0f} MIN",
        "{jobs}": f"JOBS {count}" if listed == count else f"JOBS {listed}/{count}",
    }
    columns = [replace(column, title=titles.get(column.title, column.title)) for column in COLUMNS]
    rows = [_row(job, known, numbers, total_w, span_s) for job in jobs]
    learned = any(job.watts is not None for job in jobs)
    known_of = {"J PER UNIT": any(job.work for job in jobs), "W@100": learned, "± W": learned}
    for title in (title for title, there in known_of.items() if not there):  # most hosts know of none
        place = [column.title for column in columns].index(title)
        columns, rows = [*columns[:place], *columns[place + 1 :]], [[*row[:place], *row[place + 1 :]] for row in rows]
    return FittedTable(columns, rows, width)


def _row(job: ShownJob, known: AgentView, numbers: Mapping[str, int], total_w: float, span_s: float) -> list[Cell]:
    now_s, job_w = known.scene.time_s, known.job_w.get(job.key)
    share = job_w / total_w if job_w is not None and total_w > 0 else None
    over = job.ended_s is not None
    dim = "dim" if over or not job.is_job else ""

    def trend(width: int) -> Sequence[TextPiece]:
        return (TextPiece(sparkline(known.trends.cells(job.key, width, now_s, span_s)), "power"),)

    return [
        Cell(job.key if job.is_job else OWNERS[job.key], dim or "key"),
        Cell("ended" if over else plain(job_w), dim or "bold"),
        Cell(kwh(job.energy_j), dim),
        Cell(job.user, dim),
        Cell(job.name, dim or "job"),
        Cell(gpu_numbers(job, numbers) if job.is_job else "", dim),
        Cell(elapsed(lasted_s(job, now_s)) if job.is_job else "", dim),
        Cell(lambda width: bar(share, width) if share is not None else (TextPiece("·" * width, "dim"),)),
        Cell(percent(share), dim),
        Cell(per_unit(job), dim),
        Cell(plain(job.watts), dim),
        Cell(whole(None if job.watts_sigma is None else 2 * job.watts_sigma), dim),
        Cell(kwh(None if job.sigma_j is None else 2 * job.sigma_j) if job.is_job else "", dim),
        Cell(percent(job.dynamic_j, job.energy_j) if job.energy_j else DASH, dim),
        Cell(held_idle(job) if job.is_job else "", "warn" if job.held_s and not job.active_s and not over else dim),
        Cell(elapsed(job.gpu_s) if job.is_job else "", dim),
        Cell(job.labels.get("account", ""), dim),
        Cell(trend),
    ]


def per_unit(job: ShownJob) -> str:
    """Write the energy of one unit of a job's work: of an output token, or of what it tells first."""
    one = main_unit(job.work)
    return "" if one is None else f"{joules_per_unit(one)[0]} {one['unit']}"


def held_idle(job: ShownJob) -> str:
    """Write what part of its GPU time a job held a GPU and did not use it."""
    return percent(job.held_s, job.gpu_s)
