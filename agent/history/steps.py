"""What was used, by job or by steps of time: read from parts, those that lie across an edge spread evenly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattshed.agent.history.documents import UsedPart, used_of
from wattshed.agent.history.part_rows import PART_COLUMNS, part_of
from wattshed.agent.history.query import TooMuchError, Used, where_parts
from wattshed.agent.history.schema import SUMS
from wattshed.agent.history.sums import DAY_US, NOT_A_JOB, within
from wattshed.agent.history.totals import row_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from wattshed.agent.history.query import Filter
    from wattshed.agent.history.sql import SqlDatabase
    from wattshed.agent.wire.parts import JobPart

MOST_STEPS = 1_000_000
"""Rows times steps in one answer, at most."""

_RUN_OR_OWNER = "CASE WHEN job.run > 0 THEN CAST(job.run AS TEXT) ELSE job.key END"


def stored_sums(database: SqlDatabase, by: str, asked: Filter, step_us: int) -> dict[tuple[Any, int], Used]:
    """Add up what was used by row and step.

    Parameters
    ----------
    database : SqlDatabase
    by : str
        One of `query.BY`, or ``job``: then rows are numbers of runs, or whose it is if nobody's.
    asked : Filter
    step_us : int, us
        Divides a day, or is longer than all time.

    Returns
    -------
    dict of (row, step) to Used
        Steps are counted since 1970.

    Raises
    ------
    TooMuchError
        If there are more than `MOST_STEPS`.
    """
    used: dict[tuple[Any, int], Used] = {}
    for row, step, one in _pieces(database, by, asked, step_us):
        place = row, step
        used[place] = used[place].plus(one) if place in used else one
        if len(used) > MOST_STEPS:
            raise TooMuchError(f"there are more than {MOST_STEPS:,} sums; ask for a shorter time")
    return used


def batched(values: Iterable[Any], most: int = 500) -> Iterator[list[Any]]:
    """Take values apart into lists that fit into one question."""
    left = list(values)
    for begin in range(0, len(left), most):
        yield left[begin : begin + most]


def parts_of_runs(database: SqlDatabase, numbers: Sequence[int]) -> list[UsedPart]:
    """Read all parts of runs; number 0 is of a run that is not stored, and has none."""
    found = []
    for some in batched(number for number in numbers if number):
        rows = database.rows(
            f"SELECT gpu.host, gpu.model, {PART_COLUMNS} FROM part JOIN job ON job.id = part.job "
            f"JOIN gpu ON gpu.id = part.gpu WHERE job.run IN ({', '.join('?' * len(some))}) ORDER BY part.to_us",
            some,
        )
        found += [UsedPart(part_of(columns), host, model) for host, model, *columns in rows]
    return found


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
        yield row_at(by, name, step * step_us), step, Used.of_sums(one)
    rows = database.each(
        f"SELECT {group}, {PART_COLUMNS} FROM {tables} WHERE {touched} AND NOT ({inside}) AND {where}",
        (*edges, *bounds, *values),
    )
    for name, *columns in rows:
        for step, piece in pieces(part_of(columns), asked.since_us, asked.until_us, step_us):
            yield row_at(by, name, step * step_us), step, used_of(piece)


def row_at(by: str, name: Any, at_us: int) -> Any:
    """Return the row of what was used at a moment: in lists of days and months it goes by that, and not by its name."""
    return row_name(by, "", at_us // DAY_US) if by in {"day", "month"} else name
