"""Sums by whatever a report goes by: whole days from the sums of days, and their edges from parts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wattshed.agent.history.part_rows import PART_COLUMNS, part_of
from wattshed.agent.history.query import Group, Used, is_there, where_jobs, where_labels, where_parts
from wattshed.agent.history.schema import GROUPS, SUMS
from wattshed.agent.history.sums import DAY_US, NOT_A_JOB, sums_of, within

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wattshed.agent.history.query import Filter
    from wattshed.agent.history.sql import SqlDatabase
    from wattshed.agent.wire.parts import JobPart

BY = (*GROUPS, "host", "model", "day", "month")
"""What a report can go by."""


def stored_totals(database: SqlDatabase, by: str, asked: Filter) -> dict[str, Used]:
    """Add up what was used, by row of a report.

    Whole days are read from the sums of days, and only their edges from parts. Everything that lies in the time asked
    for is in it, ``_idle`` and ``_unattributed`` too, unless only some jobs are asked for; a part that lies across an
    edge counts as if it had been used evenly.

    Raises
    ------
    ValueError
        If ``by`` is none of `BY`.
    """
    if by not in BY:
        raise ValueError(f"by: {by!r} is not one of {', '.join(BY)}")
    if not is_there(database, asked):
        return {}
    found: dict[str, Used] = {}
    rows = _parts(database, asked, by) if asked.uid is not None or asked.job else _days_and_edges(database, asked, by)
    for name, used in rows:
        found[name] = found[name].plus(used) if name in found else used
    return found


def in_order(by: str, groups: Sequence[Group]) -> list[Group]:
    """Put rows of a report in order: days and months by time, others by energy, and what is nobody's last."""
    if by in {"day", "month"}:
        return sorted(groups, key=lambda group: group.name)
    return sorted(groups, key=lambda group: (group.name.startswith(NOT_A_JOB), -group.used.energy_hnj, group.name))


def _days_and_edges(database: SqlDatabase, asked: Filter, by: str) -> Iterator[tuple[str, Used]]:
    first, last = -(-asked.since_us // DAY_US), asked.until_us // DAY_US
    if first >= last:
        yield from _parts(database, asked, by)
        return
    where, values = where_labels(asked, "payer")
    sums = ", ".join(f"sum(day.{name})" for name in SUMS)
    what = {"day": "day.day", "month": "day.day", "host": "payer.host", "model": "payer.model"}.get(by, f'payer."{by}"')
    rows = database.rows(
        f"SELECT payer.owner, {what}, {sums} FROM day JOIN payer ON payer.id = day.payer "
        f"WHERE day.day >= ? AND day.day < ? AND {where} GROUP BY payer.owner, {what}",
        (first, last, *values),
    )
    for owner, name, *one in rows:
        yield row_name(by, owner, name), Used.of_sums(one)
    for begin, end in ((asked.since_us, first * DAY_US), (last * DAY_US, asked.until_us)):
        if begin < end:
            yield from _parts(database, asked, by, begin, end)


def _parts(
    database: SqlDatabase, asked: Filter, by: str, since_us: int | None = None, until_us: int | None = None
) -> Iterator[tuple[str, Used]]:
    """Read parts one by one, cut at the edges of the time that is asked for."""
    since_us = asked.since_us if since_us is None else since_us
    until_us = asked.until_us if until_us is None else until_us
    where, values = where_parts(asked)
    group = f'job."{by}"' if by in GROUPS else {"host": "job.host", "model": "gpu.model"}.get(by, "''")
    rows = database.each(
        f"SELECT {group}, {PART_COLUMNS} FROM part JOIN job ON job.id = part.job JOIN gpu ON gpu.id = part.gpu "
        f"WHERE part.to_us >= ? AND part.from_us < ? AND {where}",
        (since_us, until_us, *values),
    )
    for name, *columns in rows:
        part = part_of(columns)
        if part.to_us == since_us and part.from_us < since_us:
            continue
        for day, piece in _days(part, since_us, until_us):
            owner = part.job if part.job.startswith(NOT_A_JOB) else ""
            yield row_name(by, owner, day if by in {"day", "month"} else name), Used.of_sums(sums_of(piece))


def _days(part: JobPart, since_us: int, until_us: int) -> Iterator[tuple[int, JobPart]]:
    """Take a part apart at midnights, as the sums of days do, and then at the edges of the time asked for."""
    first, last = part.from_us // DAY_US, max(part.to_us - 1, part.from_us) // DAY_US
    for day in range(first, last + 1):
        begin, end = max(day * DAY_US, since_us), min((day + 1) * DAY_US, until_us)
        if begin < end and (begin < part.to_us or part.from_us == part.to_us):
            yield day, within(part, begin, end)


def row_name(by: str, owner: str, value: Any) -> str:
    """Name a row; what is nobody's has a row of its own, but in a list of times, hosts or models it has theirs."""
    if by in {"day", "month"}:
        moment = datetime.fromtimestamp(int(value) * 86_400, UTC)
        return moment.strftime("%Y-%m-%d" if by == "day" else "%Y-%m")
    return owner if owner and by in GROUPS else str(value)


def job_counts(database: SqlDatabase, by: str, asked: Filter) -> Mapping[str, int] | None:
    """Count the jobs of each row, where a job is in one row only."""
    if (by not in GROUPS and by != "host") or asked.model:
        return None  # a job may be on GPUs of several models: all parts would have to be looked at
    where, values = where_jobs(asked)
    if by == "host":
        what = "job.host, count(DISTINCT run.id) FROM run JOIN job ON job.run = run.id", "job.host"
    else:
        what = f'run."{by}", count(*) FROM run', f'run."{by}"'
    return dict(database.rows(f"SELECT {what[0]} WHERE {where} GROUP BY {what[1]}", values))
