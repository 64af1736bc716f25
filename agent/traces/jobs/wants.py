"""What the jobs of a table had where it only counts their GPUs: how many, and between which times."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.traces.jobs.by_host import JobsByHost
from wattshed.agent.traces.jobs.jobs_file import ALWAYS, FOREVER, JobRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Want:
    """What a job had on one host for one stretch of time.

    Attributes
    ----------
    job, host : str
    start_us, end_us : int, us
    count : int
        Whole GPUs.
    parts : tuple of int, millionths
        Parts of GPUs; either these, or whole ones, or shards.
    shards : int
    order : tuple
        Of jobs that nothing else distinguishes: by start, then by id.
    first, last : int
        Its stretches, once the edges are known.
    """

    job: str
    host: str
    start_us: int
    end_us: int
    count: int
    parts: tuple[int, ...]
    shards: int
    order: tuple[int, tuple[tuple[int, int, str], ...]]
    first: int = 0
    last: int = 0


def counts(rows: Iterable[JobRow] | None) -> bool:
    """Return whether a table only counts some of its GPUs."""
    return rows is not None and any(row.counted for row in rows)


class Edges:
    """The times at which jobs that are only counted begin and end, host by host.

    Parameters
    ----------
    rows : sequence of JobRow
    """

    def __init__(self, rows: Sequence[JobRow]) -> None:
        self._by_host = JobsByHost(rows)

    def __call__(self, host: str) -> NDArray[np.int64]:
        """Return a host's, ascending."""
        times = {time for want in wants_of(self._by_host.of(host)) for time in (want.start_us, want.end_us)}
        return np.array(sorted(times - {ALWAYS, FOREVER}), np.int64)


def wants_of(rows: Iterable[JobRow]) -> list[Want]:
    """Unite rows that say the same thing, however it was cut into rows; in the order of the jobs."""
    by_job: dict[tuple[str, str], list[JobRow]] = defaultdict(list)
    for row in rows:
        if row.counted:
            by_job[row.job, row.host].append(row)
    wants: list[Want] = []
    for (job, host), mine in by_job.items():
        for kind in range(3):
            for start, end, had in _united([(row.start_us, row.end_us, _had(row)[kind]) for row in mine]):
                one: list[tuple[int, ...]] = [(), (), ()]
                one[kind] = had
                order = (start, natural(job))
                wants.append(Want(job, host, start, end, sum(one[0]), one[1], sum(one[2]), order))
    return sorted(wants, key=lambda want: (want.order, want.host, want.count, want.parts, want.shards))


def _had(row: JobRow) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return whole GPUs, parts and shards of one row; a share of counted GPUs makes parts of them."""
    count = max(row.count, 0)
    if 0 <= row.share_ppm < _PPM:
        return (), (*row.parts, *((row.share_ppm,) * count)), ()
    return (count,) if count else (), row.parts, (row.shards,) if row.shards else ()


def _united(spans: list[tuple[int, int, tuple[int, ...]]]) -> list[tuple[int, int, tuple[int, ...]]]:
    """Take the most that any row says at each time; stretches that touch and say the same are one."""
    spans = [span for span in spans if span[2]]
    times = sorted({time for start, end, _ in spans for time in (start, end)})
    starts = sorted(spans)
    united: list[tuple[int, int, tuple[int, ...]]] = []
    active: list[tuple[int, int, tuple[int, ...]]] = []
    for start, end in itertools.pairwise(times):
        while starts and starts[0][0] <= start:
            active.append(starts.pop(0))
        active = [span for span in active if span[1] > start]
        if not active:
            continue
        had = max((tuple(sorted(span[2])) for span in active), key=lambda had: (sum(had), had))
        if united and united[-1][1] == start and united[-1][2] == had:
            united[-1] = (united[-1][0], end, had)
        else:
            united.append((start, end, had))
    return united


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Order names as people do: 9 before 10."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part)
