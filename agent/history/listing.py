"""Pages of jobs: those that run first, then from the newest end to the oldest, each job once in all pages of a list.

What runs ends, and would come again further down. So a list is of the moment at which its first page was read: on
every page, whatever ended later is in its place among those that run. Jobs that only the agent knows of yet are in it
like those of the database.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from wattshed.agent.history.cursors import CursorError, cursor_at, read_cursor
from wattshed.agent.history.query import FoundJob, Page, jobs, jobs_since
from wattshed.agent.history.run_rows import RUNNING_US

if TYPE_CHECKING:
    from wattshed.agent.history.live import Live
    from wattshed.agent.history.query import Filter
    from wattshed.agent.history.sql import SqlDatabase

Order = tuple[int, str, str, int]


def page_of(
    database: SqlDatabase, asked: Filter, most: int, cursor: str = "", *, now_us: int, live: Live | None = None
) -> Page:
    """Read one page.

    Parameters
    ----------
    database : SqlDatabase
    asked : Filter
    most : int
        Jobs on it.
    cursor : str
        Of the page before; empty for the first.
    now_us : int, us
    live : Live, optional
        What the agent knows beyond the database.

    Raises
    ------
    CursorError
        If the cursor is not one that an earlier page gave.
    """
    # Whatever runs will have an end after it.
    first_us = now_us if live is None else max(live.ended_before_us - 1, 0)
    as_of_us, before = _read(cursor) if cursor else (first_us, None)
    replaced = live.jobs() if live is not None else {}
    enough = most + 1 + sum(job.stored is not None for job in replaced.values())
    found = [job for job in _stored(database, asked, enough, as_of_us, before) if (job.key, job.run_us) not in replaced]
    if live is not None:
        mine = [job.whole for job in live.matching(asked)]
        found += [job for job in mine if before is None or _order(job, as_of_us) < before]
        found.sort(key=lambda job: _order(job, as_of_us), reverse=True)
    shown = tuple(found[:most])
    return Page(shown, _write(as_of_us, _order(shown[-1], as_of_us)) if len(found) > most else "")


def _stored(database: SqlDatabase, asked: Filter, most: int, as_of_us: int, before: Order | None) -> list[FoundJob]:
    found = []
    if before is None or before[0] == RUNNING_US:
        found = jobs_since(database, asked, as_of_us, before[1:] if before else None, most)
        before = as_of_us + 1, "", "", 0
    if len(found) < most:
        found += jobs(database, asked, most=most - len(found), cursor=cursor_at(before)).jobs
    return found


def _order(job: FoundJob, as_of_us: int) -> Order:
    """Return what jobs are put in order by, as of a moment; the first has the largest."""
    return job.end_us if 0 <= job.end_us <= as_of_us else RUNNING_US, job.key, job.host, job.run_us


def _write(as_of_us: int, order: Order) -> str:
    return base64.urlsafe_b64encode(json.dumps([as_of_us, cursor_at(order)]).encode()).decode().rstrip("=")


def _read(text: str) -> tuple[int, Order]:
    try:
        as_of_us, order = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        good = type(as_of_us) is int and 0 <= as_of_us < RUNNING_US and type(order) is str
    except (ValueError, TypeError, RecursionError):
        good = False
    if not good:
        raise CursorError("cursor: is not one that an answer of this interface gave")
    return as_of_us, read_cursor(order)
