"""The order of lists of jobs, and the cursors that say where the next page of one begins."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from wattshed.agent.history.run_rows import RUNNING_US

if TYPE_CHECKING:
    from wattshed.agent.history.query import FoundJob


class CursorError(ValueError):
    """What was handed in as a cursor is not one of ours."""


def order_of(job: FoundJob) -> tuple[int, str, str, int]:
    """Return what jobs are put in order by, `schema.ORDER`; the newest is the largest."""
    return job.end_us if job.end_us >= 0 else RUNNING_US, job.key, job.host, job.run_us


def cursor_of(job: FoundJob) -> str:
    """Write where a page begins that follows a job; it depends on nothing but the job."""
    return cursor_at(order_of(job))


def cursor_at(order: tuple[int, str, str, int]) -> str:
    """Write where a page begins that follows a place in the order of jobs."""
    return base64.urlsafe_b64encode(json.dumps(order).encode()).decode().rstrip("=")


def read_cursor(text: str) -> tuple[int, str, str, int]:
    """Read what `cursor_of` wrote, as `order_of`.

    Raises
    ------
    CursorError
        If it is nothing of that kind.
    """
    try:
        sort_us, key, host, run_us = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        f"{key}{host}".encode()
        whole = all(type(value) is int and 0 <= value < 2**63 for value in (sort_us, run_us))
        right = whole and type(key) is type(host) is str and "\0" not in key + host
    except (ValueError, TypeError, RecursionError):
        right = False
    if not right:
        raise CursorError("cursor: is not one that an answer of this interface gave")
    return sort_us, key, host, run_us
