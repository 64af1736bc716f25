"""Slurm's accounting as ``sacct -P`` or ``-p`` prints it.

https://slurm.schedmd.com/sacct.html : a line a job and one a step, separated by ``|`` (or what ``--delimiter`` says);
comments and submit lines may hold line breaks. A job that was requeued or resized has a line for each stretch. Slurm
accounts how many GPUs a job had on its nodes, not which; `agent.traces.jobs.placement` looks for them in the trace.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.text import open_lines
from wattshed.agent.traces.jobs.tres import AllocatedGpus, demand_of, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from wattshed.agent.inputs.report import SourceReport

_NEEDED = {"JobID", "Start"}
_GPUS = {"AllocTRES", "ReqTRES", "AllocGRES", "ReqGRES"}  # any of them
_OPEN = {"", "unknown", "none", "n/a", "invalid"}
_FOREVER = 1 << 62
_NODES = re.compile(r"[^\[\]]*(\[[^\[\]]+\][^\[\]]*)*")
_STRUCTURE = {"JobID", "JobIDRaw", "Start", "End", "NodeList"} | _GPUS
_NAMES = {"JobName": "name"}
_FREE = frozenset({"JobName", "Comment", "SubmitLine", "WorkDir", "Extra", "Container"})
"""What users write."""
_MOST_NODES = 1 << 20
_MOST_LINES = 1000  # a cell of more lines than this is a broken table


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """A stretch of a job: the nodes it had, and what of their GPUs; ``job`` is the key of its account."""

    job: str
    hosts: tuple[tuple[str, AllocatedGpus], ...]
    start_us: int
    end_us: int
    labels: Mapping[str, str]
    line: int


@dataclass(slots=True)
class _Found:
    """The lines of one job of one cluster."""

    whole: list[_Line] = field(default_factory=list)
    steps: list[_Line] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Line:
    row: Mapping[str, str]
    number: int
    nodes: tuple[str, ...]
    total: AllocatedGpus
    start_us: int
    end_us: int
    step: str


def is_sacct(head: str) -> bool:
    """Return whether a file begins with a header of sacct."""
    first = head.splitlines()[0] if head else ""
    return "|" in first and set(re.split(r"\|#?", first)) >= _NEEDED


def nodes_of(text: str) -> list[str]:
    """Spell a Slurm host list out: ``node[1-2,05],gpu7`` is node1, node2, node05, gpu7.

    Raises
    ------
    ValueError
        If it is none.
    """
    found: list[str] = []
    wrong = f"not a valid list of nodes: {text[:80]!r}"
    if not _NODES.fullmatch(text):
        raise ValueError(wrong)
    for part in re.findall(r"(?:[^,\[\]]+|\[[^\]]*\])+", text):
        names = [""]
        for piece in re.findall(r"\[[^\]]*\]|[^\[\]]+", part):
            if not piece.startswith("["):
                names = [name + piece for name in names]
                continue
            numbers: list[str] = []
            for span in piece[1:-1].split(","):
                first, dash, last = span.partition("-")
                if (
                    not first.isdecimal()
                    or (dash and not last.isdecimal())
                    or not 0 <= int(last or first) - int(first) <= _MOST_NODES
                ):
                    raise ValueError(wrong)
                numbers += [str(n).zfill(len(first)) for n in range(int(first), int(last or first) + 1)]
            names = [name + number for name in names for number in numbers]
            if len(names) > _MOST_NODES:
                raise ValueError(wrong)
        found += names
    return found


class Records:
    """Takes a dump apart into records, putting together what spans lines; broken ones are counted and left out.

    A record that is short continues in the next lines, until it is whole. Whole lines between two halves are text
    within it: a job's name may hold line breaks and bars, and whoever chose it must not write another's line with it.

    Parameters
    ----------
    header : str
        The first line.
    report : SourceReport
    """

    def __init__(self, header: str, report: SourceReport) -> None:
        header = header.rstrip("\n").lstrip("\ufeff")
        self._delimiter = "|#" if "|#" in header else "|"
        self._names = header.split(self._delimiter)
        self._report = report
        self._waiting: list[tuple[int, str]] = []  # a record that began, and the lines after it

    @property
    def lacking(self) -> list[str]:
        """The columns without which no energy is right: a job without an end would be billed forever."""
        lacks = [name for name in ("End", "NodeList") if name not in self._names]
        return lacks if _GPUS & set(self._names) else [*lacks, "AllocTRES"]

    def of(self, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield (line, cells by name)."""
        for number, text in enumerate(lines, 2):
            line = text.rstrip("\n")
            bars = self._bars(line)
            if self._waiting:
                self._waiting.append((number, line))
                yield from self._go_on(bars)
            elif bars < 0 and line.strip():
                self._waiting.append((number, line))
            elif line.strip():
                yield from self._alone(number, line)
        yield from self._give_up()

    def _bars(self, line: str) -> int:
        """Count a line's delimiters, beyond those of a whole record: negative where it is short."""
        return line.count(self._delimiter) - (len(self._names) - 1)

    def _alone(self, number: int, line: str) -> Iterator[tuple[int, dict[str, str]]]:
        cells = line.split(self._delimiter)
        if len(cells) == len(self._names):
            yield number, dict(zip(self._names, cells, strict=True))
        elif line.strip():
            self._report.rows += 1
            reason = f"{len(cells)} columns instead of {len(self._names)}"
            self._report.reject(reason, line=number, column=min(len(cells), len(self._names)))

    def _go_on(self, bars: int) -> Iterator[tuple[int, dict[str, str]]]:
        short = [line for _, line in self._waiting if self._bars(line) < 0]
        found = self._bars(self._delimiter * sum(line.count(self._delimiter) for line in short))
        if bars < 0 and found == 0:
            yield self._waiting[0][0], _joined([line for _, line in self._waiting], self._names, self._delimiter)
            self._waiting.clear()
        elif found > 0 or len(self._waiting) > _MOST_LINES:
            yield from self._give_up()

    def _give_up(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Take every line of what waits by itself."""
        for number, line in self._waiting:
            yield from self._alone(number, line)
        self._waiting.clear()


def _joined(lines: list[str], names: list[str], delimiter: str) -> dict[str, str]:
    """Put a record together; the bars of whole lines within it are text of the cell that they stand in."""
    cells = [""]
    for place, line in enumerate(lines):
        whole = line.count(delimiter) >= len(names) - 1
        first, *more = [line] if whole else line.split(delimiter)
        cells[-1] += ("\n" if place else "") + first
        cells += more
    return dict(zip(names, cells, strict=True))


def read_sacct(path: Path, time_of: Callable[[str], int | None], report: SourceReport | None = None) -> list[SlurmJob]:
    """Read the GPU jobs that have started; steps count only where the table lacks their job.

    The key is that of a running agent: ``slurm:`` and the raw id. An id that is in the table for several clusters gets
    each one's name behind it (``slurm:10@c2``).

    Parameters
    ----------
    path : Path
    time_of : callable
        Reads a written time (local to the cluster) into microseconds, None if it is none.
    report : SourceReport, optional
        Gets the rows that cannot be used, each with its line.

    Raises
    ------
    InputError
        If a needed column is missing, or no row can be used and some are broken.
    """
    from wattshed.agent.inputs.report import SourceReport  # noqa: PLC0415 - only where none is handed in

    report = SourceReport(str(path), "sacct") if report is None else report
    jobs: dict[tuple[str, str], _Found] = defaultdict(_Found)
    with open_lines(path) as file:
        header = file.readline()
        records = Records(header, report)
        if records.lacking:
            columns = "JobID,Start,End,NodeList,AllocTRES"
            raise InputError(f"there is no column {', '.join(records.lacking)}: sacct -P -o {columns}", str(path), 1)
        if free := [name for name in re.split(r"\W+", header) if name in _FREE]:
            report.note(
                f"users write {', '.join(free)} themselves: a line break in one can pass for a row of somebody else's "
                "job; leave it out where bills matter"
            )
        for number, row in records.of(file):
            report.rows += 1
            raw, _, step = (row.get("JobIDRaw") or row["JobID"]).strip().partition(".")
            try:
                line = _line(row, number, step, time_of)
            except ValueError as error:
                report.reject(f"job {raw}: {error}", line=number)
                continue
            if line is not None:
                found = jobs[raw, row.get("Cluster", "").strip()]
                (found.steps if step else found.whole).append(line)
    if report.rejected and report.rows == report.rows_rejected:
        raise InputError(f"no row can be used: {report.bad[0].reason}", str(path), report.bad[0].line)
    clusters: dict[str, set[str]] = defaultdict(set)
    for raw, cluster in jobs:
        clusters[raw].add(cluster)
    made: list[SlurmJob] = []
    for (raw, cluster), found in jobs.items():
        key = f"slurm:{raw}@{cluster}" if cluster and len(clusters[raw]) > 1 else f"slurm:{raw}"
        made += _stretches(key, found)
    return made


def _line(row: Mapping[str, str], number: int, step: str, time_of: Callable[[str], int | None]) -> _Line | None:
    """Check one row; None if it is not a GPU job that has started.

    Raises
    ------
    ValueError
        If it is one and cannot be understood.
    """
    start_text, end_text, nodes_text = (row.get(name, "").strip() for name in ("Start", "End", "NodeList"))
    if start_text.lower() in _OPEN or nodes_text.lower() in {*_OPEN, "none assigned"}:
        return None
    if not demand_of(row, 1):
        return None
    nodes = nodes_of(nodes_text)
    start = time_of(start_text)
    end = _FOREVER if end_text.lower() in _OPEN else time_of(end_text)
    if start is None or end is None:
        message = f"not a valid time:  {(start_text if start is None else end_text)[:80]!r}"
        raise ValueError(message)
    if end < start:
        message = f"it ends ({end_text}) before it starts ({start_text})"
        raise ValueError(message)
    return _Line(row, number, tuple(nodes), demand_of(row, len(nodes)), start, end, step)


def _stretches(key: str, found: _Found) -> Iterator[SlurmJob]:
    """Make the stretches of one job, each with its labels; those of steps only where there is nothing else."""
    lines = sorted(found.whole or found.steps, key=lambda line: (line.start_us, line.end_us, line.number))
    labels: dict[str, str] = {}
    for line in lines:
        labels.update(_labels(line))
    said = set()
    for line in lines:
        what = (line.start_us, line.end_us, line.nodes, line.total)
        if what in said:  # the steps extern and batch say the same
            continue
        said.add(what)
        hosts = tuple((node, spread(line.total, len(line.nodes))) for node in line.nodes)
        first = next(
            (
                step.total
                for step in found.steps
                if step.step == "batch"
                and step.nodes == line.nodes[:1]
                and line.start_us <= step.start_us < line.end_us
                and 0 < step.total.count <= line.total.count
            ),
            None,
        )
        if first is not None and len(line.nodes) > 1 and not line.total.parts:
            # The batch step has all that the job was given on its first node; the rest is on the others.
            others = spread(replace(line.total, count=line.total.count - first.count), len(line.nodes) - 1)
            hosts = ((line.nodes[0], first), *((node, others) for node in line.nodes[1:]))
        yield SlurmJob(key, tuple(pair for pair in hosts if pair[1]), line.start_us, line.end_us, labels, line.number)


def _labels(line: _Line) -> dict[str, str]:
    """Keep every other column, by the name that a running agent gives it where it has one."""
    labels = {"manager": "slurm"}
    shown = line.row["JobID"].strip().partition(".")[0]
    if "_" in shown:
        labels["array"] = shown
    elif "+" in shown:
        labels["het_job"] = shown
    for column, cell in line.row.items():
        if column and column not in _STRUCTURE and cell.strip():
            labels[_NAMES.get(column, column.lower())] = cell.strip()
    return labels
