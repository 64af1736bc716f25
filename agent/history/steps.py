"""What was used, by job or by steps of time: read from parts, those that lie across an edge spread evenly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wattshed.agent.history.documents import used_of
from wattshed.agent.history.part_rows import PART_COLUMNS, RECORD_COLUMNS, part_of, record_of
from wattshed.agent.history.query import (
    BY,
    FOREVER_US,
    Group,
    TooMuchError,
    Used,
    in_order,
    job_counts,
    row_name,
    where_parts,
)
from wattshed.agent.history.schema import GROUPS, SUMS
from wattshed.agent.history.sums import DAY_US, NOT_A_JOB, within
from wattshed.agent.wire.parts import JobRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wattshed.agent.history.query import Filter
    from wattshed.agent.history.sql import SqlDatabase
    from wattshed.agent.wire.parts import JobPart

MOST_STEPS = 1_000_000
"""Rows times steps in one answer, at most."""

_RUN_OR_OWNER = "CASE WHEN job.run > 0 THEN CAST(job.run AS TEXT) ELSE job.key END"


@dataclass(frozen=True, slots=True)
class Table:
    """What was used, by row and by step.

    Attributes
    ----------
    groups : list of Group
        The rows.
    fields : list of dict
        Of each row what else is said of it: who a job is.
    steps : list of (int, int, Used)
        Row, begin of the step (us), and what was used in it; in order.
    """

    groups: list[Group]
    fields: list[dict[str, Any]]
    steps: list[tuple[int, int, Used]]


def table(database: SqlDatabase, by: str, asked: Filter, step_s: int | None) -> Table:
    """Add up what was used by one of `query.BY` or by ``job``, and by steps of UTC.

    Parameters
    ----------
    database : SqlDatabase
    by : str
    asked : Filter
    step_s : int or None, s
        Divides a day; None: no steps.

    Raises
    ------
    ValueError
        If ``by`` is something else.
    TooMuchError
        If there are too many rows or steps.
    """
    if by not in {*BY, "job"}:
        raise ValueError(f"by: {by!r} is not one of {', '.join((*BY, 'job'))}")
    step_us = step_s * 1_000_000 if step_s is not None else DAY_US if by in {"day", "month"} else FOREVER_US
    used: dict[tuple[Any, int], Used] = {}
    for row, step, one in _pieces(database, by, asked, step_us):
        place = row, step
        used[place] = used[place].plus(one) if place in used else one
        if len(used) > MOST_STEPS:
            raise TooMuchError(f"there are more than {MOST_STEPS:,} sums; ask for a shorter time")
    whole: dict[Any, Used] = {}
    for (row, _), one in used.items():
        whole[row] = whole[row].plus(one) if row in whole else one
    rows, groups, fields = _jobs(database, whole) if by == "job" else _groups(database, by, asked, whole)
    if step_s is None:
        return Table(groups, fields, [])
    places = {row: place for place, row in enumerate(rows)}
    told = sorted(((places[row], step * step_us, one) for (row, step), one in used.items()), key=lambda one: one[:2])
    return Table(groups, fields, told)


def _groups(
    database: SqlDatabase, by: str, asked: Filter, whole: Mapping[str, Used]
) -> tuple[list[str], list[Group], list[dict[str, Any]]]:
    counts = job_counts(database, by, asked)
    groups = in_order(by, [Group(name, counts.get(name) if counts else None, used) for name, used in whole.items()])
    return [group.name for group in groups], groups, []


def _jobs(database: SqlDatabase, whole: Mapping[str, Used]) -> tuple[list[str], list[Group], list[dict[str, Any]]]:
    found = {name: (JobRecord(name, 0, 0), _hosts(database, name)) for name in whole if name[0] == NOT_A_JOB}
    for numbers in batched(int(name) for name in whole if name[0] != NOT_A_JOB):
        marks = ", ".join("?" * len(numbers))
        hosts: dict[int, list[str]] = {number: [] for number in numbers}
        for run, host in database.rows(f"SELECT DISTINCT run, host FROM job WHERE run IN ({marks})", numbers):
            hosts[run].append(host)
        columns = RECORD_COLUMNS.replace("job.", "run.")
        for number, *row in database.rows(f"SELECT run.id, {columns} FROM run WHERE run.id IN ({marks})", numbers):
            found[str(number)] = record_of(row), sorted(hosts[number])

    def place(name: str) -> tuple[bool, int, str, int, list[str]]:
        job, hosts = found[name]
        return name.startswith(NOT_A_JOB), -whole[name].energy_hnj, job.key, job.run_us, hosts

    order = sorted(whole, key=place)
    groups, fields = [], []
    for name in order:
        job, own = found[name]
        groups.append(Group(job.key, None if name.startswith(NOT_A_JOB) else 1, whole[name]))
        fields.append(job_fields(job, own))
    return order, groups, fields


def _hosts(database: SqlDatabase, owner: str) -> list[str]:
    rows = database.rows("SELECT DISTINCT host FROM job WHERE key = ?", (owner,))
    return sorted(host for (host,) in rows)


def job_fields(job: JobRecord, hosts: Sequence[str]) -> dict[str, Any]:
    """Say who a job is, in a row of a report; the row's ``name`` is the job's key."""
    is_job = not job.key.startswith(NOT_A_JOB)
    return {
        "job": job.key,
        "run": str(job.run_us),
        "job_name": job.labels.get("name", ""),
        "hosts": list(hosts),
        "start_s": job.start_us / 1e6 if is_job else None,
        "end_s": job.end_us / 1e6 if is_job and job.end_us >= 0 else None,
        **{name: job.labels.get(name, "") for name in GROUPS},
    }


def batched(values: Iterable[Any], most: int = 500) -> Iterator[list[Any]]:
    """Take values apart into lists that fit into one question."""
    left = list(values)
    for begin in range(0, len(left), most):
        yield left[begin : begin + most]


def pieces(part: JobPart, since_us: int, until_us: int, step_us: int) -> Iterator[tuple[int, JobPart]]:
    """Take apart what of a part lies in a time, at whole multiples of a step; what is whole adds up to it exactly.

    Yields
    ------
    (int, JobPart)
        Which step, and what of the part lies in it.
    """
    begin, end = max(part.from_us, since_us), min(part.to_us, until_us)
    if begin > end or (begin == end and not (part.from_us == part.to_us and begin < until_us)):
        return
    for step in range(begin // step_us, max(end - 1, begin) // step_us + 1):
        yield step, within(part, max(step * step_us, since_us), min((step + 1) * step_us, until_us))


def _pieces(database: SqlDatabase, by: str, asked: Filter, step_us: int) -> Iterator[tuple[Any, int, Used]]:
    """Yield sums of what lies within one step, and then, one by one, what of other parts lies in each."""
    where, values = where_parts(asked)
    group = {"job": _RUN_OR_OWNER, "host": "job.host", "model": "gpu.model", "day": "''", "month": "''"}.get(by)
    if group is None:
        group = f"CASE WHEN substr(job.key, 1, 1) = '{NOT_A_JOB}' THEN job.key ELSE job.\"{by}\" END"
    sums = ", ".join(f"sum(part.{name})" for name in SUMS)
    tables = "part JOIN job ON job.id = part.job JOIN gpu ON gpu.id = part.gpu"
    inside = (
        "part.from_us >= ? AND part.to_us <= ? AND part.from_us / ? = "
        "(CASE WHEN part.to_us > part.from_us THEN part.to_us - 1 ELSE part.from_us END) / ?"
    )
    bounds = [asked.since_us, asked.until_us, step_us, step_us]
    touched, edges = "part.to_us >= ? AND part.from_us < ?", [asked.since_us, asked.until_us]
    rows = database.each(
        f"SELECT {group}, part.from_us / ?, {sums} FROM {tables} WHERE {touched} AND {inside} AND {where} "
        "GROUP BY 1, 2",
        (step_us, *edges, *bounds, *values),
    )
    for name, step, *one in rows:
        yield _row(by, name, step * step_us), step, Used.of_sums(one)
    rows = database.each(
        f"SELECT {group}, {PART_COLUMNS} FROM {tables} WHERE {touched} AND NOT ({inside}) AND {where}",
        (*edges, *bounds, *values),
    )
    for name, *columns in rows:
        for step, piece in pieces(part_of(columns), asked.since_us, asked.until_us, step_us):
            yield _row(by, name, step * step_us), step, used_of(piece)


def _row(by: str, name: Any, at_us: int) -> Any:
    return row_name(by, "", at_us // DAY_US) if by in {"day", "month"} else name
