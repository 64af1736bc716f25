"""Slurm's accounting as ``sacct -P`` or ``-p`` prints it.

https://slurm.schedmd.com/sacct.html : a line a job and one a step, separated by ``|`` (or what ``--delimiter`` says);
comments and submit lines may hold line breaks. Slurm accounts how many GPUs a job had on its nodes, not which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.traces.clean_text import open_lines
from agent.window import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

_NEEDED = {"JobID", "Start"}
_OPEN = {"", "unknown", "none", "n/a", "invalid"}
_FOREVER = 1 << 62
_TRES = re.compile(r"gres/gpu(:[^=,]+)?=(\d+)")
_GRES = re.compile(r"gpu(?::[^:,()]+)?:(\d+)")
_LABELS = {"user": "User", "account": "Account", "name": "JobName", "partition": "Partition"}
_MOST_NODES = 1 << 20
_MOST_LINES = 1000  # a cell of more lines than this is a broken table


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """A job: its hosts, each with the number of GPUs it had there."""

    job: str
    hosts: tuple[tuple[str, int], ...]
    start_us: int
    end_us: int
    labels: Mapping[str, str]
    line: int


def is_sacct(head: str) -> bool:
    """Tell whether a file begins with a header of sacct."""
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
                    or int(last or first) - int(first) > _MOST_NODES
                ):
                    raise ValueError(text)
                numbers += [str(n).zfill(len(first)) for n in range(int(first), int(last or first) + 1)]
            names = [name + number for name in names for number in numbers]
            if len(names) > _MOST_NODES:
                raise ValueError(text)
        found += names
    return found


def gpus_of(row: Mapping[str, str], nodes: int) -> int:
    """Count a job's GPUs on all of its nodes: TRES count all, the older GRES count one node's."""
    tres = _TRES.findall(row.get("AllocTRES", "") or row.get("ReqTRES", ""))
    plain = [int(count) for kind, count in tres if not kind]
    if tres:
        return plain[0] if plain else sum(int(count) for _, count in tres)
    return sum(map(int, _GRES.findall(row.get("AllocGRES", "")))) * nodes


def records(lines: Iterable[str], path: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, cells by name), putting cells together that span lines; broken records are passed over.

    Raises
    ------
    InputError
        If a record never ends.
    """
    numbered = iter(enumerate(lines, 1))
    header = next(numbered, (1, ""))[1].rstrip("\n")
    delimiter = "|#" if "|#" in header else "|"
    names = header.split(delimiter)
    for number, line in numbered:
        record, taken = line.rstrip("\n"), 1
        while record.count(delimiter) < len(names) - 1:
            _, more = next(numbered, (0, None))
            if more is None:
                break
            record += "\n" + more.rstrip("\n")
            taken += 1
            if taken > _MOST_LINES:
                raise InputError(f"a record has fewer than {len(names)} columns", path, number)
        cells = record.split(delimiter)
        if len(cells) == len(names):
            yield number, dict(zip(names, cells, strict=True))


def read_sacct(path: Path, time_of: Callable[[str], int | None]) -> list[SlurmJob]:
    """Read the GPU jobs that have started; a step counts only where the table lacks its job.

    Parameters
    ----------
    path : Path
    time_of : callable
        Reads a written time (local to the cluster) into microseconds, None if it is none.

    Raises
    ------
    InputError
        On an end before the start, or a node list that is none.
    """
    jobs: dict[str, SlurmJob] = {}
    whole: set[str] = set()
    with open_lines(path) as file:
        for number, row in records(file, str(path)):
            job, step, _ = row["JobID"].partition(".")
            if step and job in whole:
                continue
            start = time_of(row["Start"])
            nodes_text = row.get("NodeList", "")
            if start is None or nodes_text.lower() in {*_OPEN, "none assigned"}:
                continue
            try:
                nodes = nodes_of(nodes_text)
            except ValueError as error:
                raise InputError(f"no list of nodes: {nodes_text!r}", str(path), number) from error
            gpus = gpus_of(row, len(nodes))
            end = _FOREVER if row.get("End", "").lower() in _OPEN else time_of(row["End"])
            if end is None or end < start:
                raise InputError(
                    f"the job {job!r} ends ({row.get('End')!r}) before it starts ({row['Start']!r})", str(path), number
                )
            if not gpus or not nodes:
                continue
            labels = {"manager": "slurm"}
            for key, column in (
                ("user", "User"),
                ("account", "Account"),
                ("name", "JobName"),
                ("partition", "Partition"),
            ):
                if row.get(column, "").strip():
                    labels[key] = row[column].strip()
            share, extra = divmod(gpus, len(nodes))
            hosts = tuple((node, share + (i < extra)) for i, node in enumerate(nodes))
            known = jobs.get(job)
            if step and known is not None:  # steps without their job: together they say how long it was
                start, end = min(start, known.start_us), max(end, known.end_us)
            if not step:
                whole.add(job)
            jobs[job] = SlurmJob(job, hosts, start, end, labels, number)
    return list(jobs.values())
