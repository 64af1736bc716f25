"""What stands where on a screen of some size, for what is known and what the user chose; knows nothing of widgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.terminal.choices import GPUS, HELP, JOBS, Choices
from wattshed.agent.terminal.drawing import MarkedCells, TextLine, TextPiece, pad, shorten
from wattshed.agent.terminal.fitting import wrapped
from wattshed.agent.terminal.gpus import GRID_GAP, gpu_table, grid
from wattshed.agent.terminal.head import alerts, first_line, total_chart, total_lines
from wattshed.agent.terminal.jobs import SORTS, arranged, job_table
from wattshed.agent.terminal.keys import help_page
from wattshed.agent.terminal.numbers import moment
from wattshed.agent.terminal.pages import elsewhere, gpu_page, job_page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wattshed.agent.terminal.facts import Scene, ShownJob, ShownProcess
    from wattshed.agent.terminal.following import AgentView, AgentWatch

LOW, CHARTED = 14, 34
"""Fewer lines than the first have no room for more than the total; from the second on there is a chart."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A list: a line of titles, and rows that are drawn when they are seen.

    Attributes
    ----------
    titles : tuple of TextLine
    line : callable
        From the number of a row to its line.
    count, height : int
        Lines, and how many of them are seen at once.
    keys : tuple of str
        What each row stands for, or each cell of a grid, column by column.
    chosen : int
        Which of them is marked; -1: none.
    pitch : int
        Cells from one column of a grid to the next; 0: a row takes the whole line.
    sort_at : callable
        What sorts by the title at a cell.
    """

    titles: tuple[TextLine, ...] = ()
    line: Callable[[int], TextLine] = lambda _: TextLine()
    count: int = 0
    height: int = 0
    keys: tuple[str, ...] = ()
    chosen: int = -1
    pitch: int = 0
    sort_at: Callable[[int], str] = lambda _: ""

    @property
    def mark(self) -> MarkedCells | None:
        """What of which line is marked."""
        if self.chosen < 0:
            return None
        column, line = divmod(self.chosen, self.count)
        start = column * self.pitch
        return MarkedCells(line, start, start + self.pitch - GRID_GAP if self.pitch else None)

    def key_at(self, x: int, line: int) -> str:
        """Return what stands at a cell; nothing between two columns, and where there is none."""
        column, within = divmod(x, self.pitch) if self.pitch else (0, 0)
        number = line + self.count * column
        there = 0 <= line < self.count and number < len(self.keys)
        return self.keys[number] if there and (not self.pitch or within < self.pitch - GRID_GAP) else ""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Everything that one screen shows."""

    head: tuple[TextLine, ...]
    gpus: Panel
    jobs: Panel
    page: tuple[TextLine, ...] | None = None
    note: str = ""

    def panel(self, name: str) -> Panel:
        """Return one of the lists: `JOBS` or `GPUS`."""
        return self.gpus if name == GPUS else self.jobs


def arrange(
    follow: AgentWatch,
    choices: Choices,
    width: int,
    height: int,
    *,
    now_s: float,
    command: Callable[[ShownProcess], str] = lambda _: "",
) -> Arrangement:
    """Arrange a screen of ``width`` x ``height`` cells, of which the last line is for keys."""
    known = follow.known
    shown = known.scene if known is not None else None
    head = [first_line(shown, width - 1, _right(shown, choices, width)), *alerts(follow, width, now_s)]
    if choices.page == (HELP, ""):
        return Arrangement(tuple(head[:1]), Panel(), Panel(), tuple(help_page(width - 1)))
    if known is None or shown is None or not shown.is_node:
        body = (
            [TextLine(), *wrapped("waiting for the first answer", width)]
            if shown is None
            else elsewhere(shown, width - 1)
        )
        return Arrangement(tuple(head), Panel(), Panel(), tuple(body))
    head += total_lines(known, width, choices.span_s)[: 1 if height < LOW else 2]
    page = _page(known, choices, command, width - 1)
    if page is not None:
        return Arrangement(tuple(head), Panel(), Panel(), tuple(page))
    jobs = arranged(shown, known.job_w, choices.sort, reverse=choices.reverse, needle=choices.needle)
    left = height - len(head) - 1
    gpus = _gpus(known, choices, width, left, len(jobs))
    left -= gpus.height + len(gpus.titles)
    if height >= CHARTED:  # in place of the line of blocks
        tall = min(9, max(0, left - 1 - min(len(jobs), 12)))
        drawn = total_chart(known, width, tall, choices.span_s) if tall > 2 else []
        head[-1:] = [total_lines(known, width, None)[1], *drawn] if drawn else head[-1:]
        left -= len(drawn)
    return Arrangement(tuple(head), gpus, _jobs(known, jobs, choices, width, left), None, _note(choices))


def _right(shown: Scene | None, choices: Choices, width: int) -> str:
    every = f"every {choices.interval_s:g} s"
    if choices.paused:
        return "PAUSED"
    if shown is None or width < 60:
        return every
    return f"{moment(shown.time_s)}  {every}"


def _note(choices: Choices) -> str:
    if choices.needle:
        return f"filter: {choices.needle}"
    return "" if choices.sort == "power" and not choices.reverse else f"by {SORTS[choices.sort]}"


def _gpus(known: AgentView, choices: Choices, width: int, room: int, jobs: int) -> Panel:
    """Lay out the GPUs in what the jobs leave: a row each, or in short where these would not fit."""
    gpus = known.scene.gpus
    if not gpus:
        return Panel()
    most = max(2, room - 1 - min(max(jobs, 1), max(3, room // 3))) - 1
    compact = len(gpus) > most if choices.compact is None else choices.compact
    chosen = choices.chosen.get(GPUS, gpus[0].uuid) if choices.active == GPUS else ""
    keys = tuple(gpu.uuid for gpu in gpus)
    at = keys.index(chosen) if chosen in keys else -1
    lines, pitch = grid(known, width - 1) if compact else ([], 0)
    if pitch:
        title = f"GPUS {len(gpus)}: watts, % of limit, temperature"
        titles = (TextLine((TextPiece(pad(shorten(title, width), width)),), "head"),)
        return Panel(titles, lines.__getitem__, len(lines), max(1, min(len(lines), most)), keys, at, pitch)
    table = gpu_table(known, width - (len(gpus) > most), choices.span_s)
    return Panel((table.titles(),), table.line, len(gpus), max(1, min(len(gpus), most)), keys, at)


def _jobs(known: AgentView, jobs: Sequence[ShownJob], choices: Choices, width: int, room: int) -> Panel:
    table = job_table(jobs, known, width - (len(jobs) > max(1, room - 1)), choices.span_s)
    keys = tuple(job.key for job in jobs)
    chosen = choices.chosen.get(JOBS, keys[0] if keys else "") if choices.active == JOBS else ""
    at = keys.index(chosen) if chosen in keys else -1
    titles = table.titles(choices.sort, "▲" if choices.reverse != (choices.sort in {"name", "user"}) else "▼")
    if not jobs:
        nothing = "no job has these words" if choices.needle else "none" if known.scene.ready else "not known yet"
        titles = TextLine((TextPiece(pad(f"JOBS: {nothing}", width)),), "head")
    return Panel((titles,), table.line, len(jobs), max(1, room - 1), keys, at, sort_at=table.key_at)


def _page(
    known: AgentView, choices: Choices, command: Callable[[ShownProcess], str], width: int
) -> list[TextLine] | None:
    """Return the page of the job or GPU that is open; None: there is none."""
    if choices.page is None:
        return None
    shown, (kind, key) = known.scene, choices.page
    if kind == JOBS:
        job = next((job for job in shown.jobs if job.key == key), None)
        if job is not None:
            return job_page(job, known, command, width, choices.span_s)
        return wrapped(f"{key} is no longer listed; `wattshed job` knows it as long as its history is kept", width)
    gpu = next((gpu for gpu in shown.gpus if gpu.uuid == key), None)
    if gpu is None:
        return wrapped(f"{key} is no longer listed", width)
    return gpu_page(gpu, known, command, width, choices.span_s)
