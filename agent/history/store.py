"""The history of one host on disk: parts come in, once each, and sums of jobs and days follow them.

Whatever is added is added whole: a part, its job's sums and its days' in one transaction. A part that comes again is
known by its number, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.history import schema
from wattshed.agent.history.forgetting import forget_users
from wattshed.agent.history.job_rows import JobRows
from wattshed.agent.history.part_rows import PART_COLUMNS, part_of
from wattshed.agent.history.run_rows import RunRows
from wattshed.agent.history.sums import DAY_US, NOT_A_JOB, Sums
from wattshed.agent.wire.parts import JobPart, JobRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wattshed.agent.history.sql import SqlDatabase

_BITE = 1000


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept.

    Attributes
    ----------
    max_age_us : int, us
        Parts, and jobs that ended, are dropped so long after their end; the sums of days stay.
    max_bytes : int
        Beyond it the oldest parts and jobs go first.
    """

    max_age_us: int = 400 * DAY_US
    max_bytes: int = 1_000_000_000


class Store:
    """Writes one host's history.

    Parameters
    ----------
    database : SqlDatabase
        Of this version or empty; see `agent.history.schema.prepare`.
    store_id, host : str
        Who numbers the parts.
    merged : bool
        Whether other hosts' histories are in the database, and jobs of several hosts are one.

    Attributes
    ----------
    number : int
        Of the store in the database.
    """

    def __init__(self, database: SqlDatabase, store_id: str, host: str, *, merged: bool = False) -> None:
        schema.prepare(database)
        self._database = database
        with database.transaction():
            database.do("INSERT INTO store(store_id, host) VALUES(?, ?) ON CONFLICT DO NOTHING", (store_id, host))
        rows = database.rows("SELECT id FROM store WHERE store_id = ? ORDER BY epoch DESC LIMIT 1", (store_id,))
        self.number = int(rows[0][0])
        self._jobs, self._sums = JobRows(database, self.number, host), Sums(database, host)
        self._runs = RunRows(database, self._regroup, merged=merged)

    def add(
        self, parts: Sequence[JobPart], jobs: Mapping[tuple[str, int], JobRecord], models: Mapping[str, str]
    ) -> int:
        """Add parts with the jobs that they belong to; returns how many were new.

        Parameters
        ----------
        parts : sequence of JobPart
            In ascending order of their numbers.
        jobs : mapping of (key, run_us) to JobRecord
            Of every part that is a job's; further ones are brought up to date.
        models : mapping of GPU to str
            What kind each GPU is.

        Raises
        ------
        DatabaseError
            Nothing of it was added.
        """
        try:
            with self._database.transaction():
                return self.take(parts, jobs, models)
        except BaseException:
            self.forget()
            raise

    def forget(self) -> None:
        """Forget what was looked up: a transaction in which `take` was called was not written."""
        self._sums.forget()

    def take(
        self, parts: Sequence[JobPart], jobs: Mapping[tuple[str, int], JobRecord], models: Mapping[str, str]
    ) -> int:
        """Add parts as `add` does, within a transaction of the caller's."""
        next_seq = self.next_seq()
        new = [part for part in parts if part.seq >= next_seq]
        places = {(part.job, part.run_us) for part in new}
        known = self._jobs.found(places - set(jobs))
        unknown: dict[tuple[str, int], JobRecord] = {}
        for part in new:
            place = part.job, part.run_us
            if place not in known and place not in jobs:
                unknown.setdefault(place, JobRecord(*place, part.from_us))
        self.follow(self._jobs.write([*jobs.values(), *unknown.values()]))
        if new:
            jobs_of = self._jobs.numbered(places)
            self._sums.insert(self.number, [(part, jobs_of[part.job, part.run_us]) for part in new], models)
            self._database.do("UPDATE store SET next_seq = ? WHERE id = ?", (new[-1].seq + 1, self.number))
        return len(new)

    def follow(self, changed: Iterable[tuple[str, int]]) -> None:
        """Bring the runs of jobs up to date, of which rows changed; within a transaction of the caller's."""
        self._runs.follow(place for place in changed if not place[0].startswith(NOT_A_JOB))

    def _regroup(self, job: int, host: str, before: Sequence[str], after: Sequence[str]) -> None:
        """Move what a job used so far to the sums of whom it turned out to be of."""
        self._sums.move(self._read("part.job = ?", (job,)), host, before, after)

    def next_seq(self) -> int:
        """Return the number that the next new part has."""
        return int(self._database.rows("SELECT next_seq FROM store WHERE id = ?", (self.number,))[0][0])

    def parts(self, after: int, most: int = _BITE) -> list[JobPart]:
        """Return the parts that follow a number, in order, as they were added."""
        return [
            part
            for part, _ in self._read("part.store = ? AND seq > ? ORDER BY seq LIMIT ?", (self.number, after, most))
        ]

    def _read(self, where: str, values: Sequence[int]) -> list[tuple[JobPart, str]]:
        """Return parts as they were added, each with the model of its GPU."""
        rows = self._database.rows(
            f"SELECT gpu.model, {PART_COLUMNS} FROM part JOIN job ON job.id = part.job "
            f"JOIN gpu ON gpu.id = part.gpu WHERE {where}",
            values,
        )
        return [(part_of(row), model) for model, *row in rows]

    def tidy(self, now_us: int, retention: Retention) -> int:
        """Drop what is too old, or too much, at most `_BITE` parts a call; returns how many parts went.

        What was dropped before a collector had it is told by ``first_seq``: a gap, and not a silence.
        """
        too_much = self.bytes_used() > retention.max_bytes
        return drop_old(self._database, self.number, None if too_much else now_us - retention.max_age_us)

    def forget_users(self, before_day: int) -> int:
        """Forget whose jobs those were that ended before a day; see `agent.history.forgetting`."""
        try:
            return forget_users(self._database, before_day)
        finally:
            self.forget()

    def bytes_used(self) -> int:
        """Return how much of the disk holds something, bytes."""
        return self._database.bytes_used()


def drop_old(database: SqlDatabase, store: int, before_us: int | None) -> int:
    """Drop the oldest parts of a store that ended before a time, or just the oldest, a bite of them; returns how many.

    What was dropped before a collector had it is told by ``first_seq``: a gap, and not a silence.
    """
    oldest = database.rows("SELECT seq, to_us FROM part WHERE store = ? ORDER BY seq LIMIT ?", (store, _BITE))
    gone = [seq for seq, to_us in oldest if before_us is None or to_us < before_us]
    if not gone:
        return 0
    last = gone[-1]
    with database.transaction():
        those = "store = ? AND seq <= ?", (store, last)
        jobs = [job for (job,) in database.rows(f"SELECT DISTINCT job FROM part WHERE {those[0]}", those[1])]
        count = database.do(f"DELETE FROM part WHERE {those[0]}", those[1])
        database.do("UPDATE store SET first_seq = ? WHERE id = ?", (last + 1, store))
        for job in jobs:
            _drop_job(database, job)
    database.shrink()
    return count


def _drop_job(database: SqlDatabase, job: int) -> None:
    """Drop a job that ended and of which nothing is left, and its run if nothing is left of that."""
    runs = database.rows("SELECT run FROM job WHERE id = ?", (job,))
    database.do(
        "DELETE FROM job WHERE id = ? AND end_us >= 0 AND NOT EXISTS(SELECT 1 FROM part WHERE job = ?)", (job, job)
    )
    for (run,) in runs:
        database.do("DELETE FROM run WHERE id = ? AND NOT EXISTS(SELECT 1 FROM job WHERE run = ?)", (run, run))
