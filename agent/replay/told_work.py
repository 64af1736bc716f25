"""Work of jobs from a table, ``job,time,unit,count``, beside a recording that knows none of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.accounts.work import JobWork, UnitWork
from wattshed.agent.errors import counted
from wattshed.agent.inputs.arrow import pa
from wattshed.agent.inputs.tables import read_table
from wattshed.agent.inputs.timestamps import NO_TIME, TimestampParser
from wattshed.agent.window import TOLD, JobKey
from wattshed.agent.wire.agent_socket import wrong_work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import tzinfo

    from wattshed.agent.accounts.ledger import Ledger


@dataclass(frozen=True, slots=True)
class ToldWork:
    """So much of a unit a job did, up to a time."""

    job: str
    time_us: int
    unit: str
    count: int


def read_work(path: str, local: tzinfo) -> Iterator[ToldWork]:
    """Read a table of work.

    Parameters
    ----------
    path : str
        Columns ``job``, ``time`` (Unix seconds or ISO 8601), ``unit``, ``count``: what was done since the row before.
    local : tzinfo
        Of times without one.

    Raises
    ------
    InputError
        It says which line and column.
    """
    clock = TimestampParser(local)
    for row in read_table(path, ("time", "job", "unit", "count")):
        written = row.text("time")
        if not (written and (time_us := int(clock.read(pa.array([written]))[0])) != NO_TIME):
            raise row.error("time", f"{written!r} is no time: Unix seconds, or 2026-03-01 12:00:00")
        unit, count = row.name("unit"), row.count("count", least=1)
        if why := wrong_work(unit, count):
            raise row.error("unit", why)
        yield ToldWork(row.name("job"), time_us, unit, count)


def enter_told(ledger: Ledger, rows: Sequence[ToldWork]) -> list[str]:
    """Enter work of jobs whose accounts are closed, beside all that they used; say what of it is no job's.

    Parameters
    ----------
    ledger : Ledger
    rows : sequence of ToldWork

    Returns
    -------
    list of str
        One line, or none.
    """
    lost, nameless = 0, dict[str, None]()
    for row in rows:
        job = ledger.jobs.get(JobKey(row.job))
        if job is None or not job.start_us <= row.time_us <= job.end_us:
            lost += 1
            nameless.setdefault(row.job)
            continue
        if job.work is None:
            job.work = JobWork()
        one = job.work.units.setdefault((row.unit, TOLD), UnitWork())
        one.count += row.count
        one.energy_hnj = job.energy_hnj
    if not lost:
        return []
    shown = ", ".join(list(nameless)[:5]) + (" ..." if len(nameless) > 5 else "")
    lie = "lies" if lost == 1 else "lie"
    return [f"{counted(lost, 'row')} of the table of work {lie} outside the time of its job in the traces: {shown}"]
