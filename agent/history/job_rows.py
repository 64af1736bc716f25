"""What one host knows of jobs, in its table: read and written many at a time, for a database may be far away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.history.numbers import rows_with
from wattshed.agent.history.schema import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wattshed.agent.history.sql import SqlDatabase
    from wattshed.agent.wire.parts import JobRecord

Place = tuple[str, int]
"""Key of a job, and when its run began."""
_FACTS = ("start_us", "end_us", "uid", "labels", "power", "work")


class KnownJob(NamedTuple):
    """A job that was written: its number, and what is known of it."""

    number: int
    start_us: int
    end_us: int
    uid: int
    labels: Mapping[str, str]
    power: str
    work: str


class NumberedJob(NamedTuple):
    """A job that was written: its number, and its run's values of `schema.GROUPS`."""

    number: int
    groups: tuple[str, ...]


class JobRows:
    """Writes one host's jobs.

    Parameters
    ----------
    database : SqlDatabase
    store : int
        Number of the host's store.
    host : str
    """

    def __init__(self, database: SqlDatabase, store: int, host: str) -> None:
        self._database, self._store, self._host = database, store, host

    def found(self, places: Iterable[Place]) -> dict[Place, KnownJob]:
        """Return what was written of jobs."""
        return {
            (key, run_us): KnownJob(number, start_us, end_us, uid, json.loads(labels), *texts)
            for key, run_us, number, start_us, end_us, uid, labels, *texts in self._rows(set(places), ("id", *_FACTS))
        }

    def numbered(self, places: Iterable[Place]) -> dict[Place, NumberedJob]:
        """Return the numbers of jobs that were written, and what groups they are of."""
        rows = self._rows(set(places), ("id", *(f'"{name}"' for name in GROUPS)))
        return {(key, run_us): NumberedJob(number, tuple(groups)) for key, run_us, number, *groups in rows}

    def _rows(self, places: set[Place], columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        wanted = [(*place, self._store) for place in places]
        return rows_with(self._database, "job", ("key", "run_us", "store"), wanted, ("key", "run_us", *columns))

    def write(self, records: Iterable[JobRecord]) -> set[Place]:
        """Write what this host knows of jobs; labels that are known stay. Returns of which anything was new."""
        known = {(record.key, record.run_us): record for record in records}
        before = self.found(known)
        new: list[tuple[int | str, ...]] = []
        changed: list[tuple[int | str, ...]] = []
        touched = known.keys() - before.keys()
        for place, record in known.items():
            facts = _facts(record, before.get(place))
            if place not in before:
                new.append((self._store, *place, self._host, *facts))
            elif facts != _facts_of(before[place]):
                changed.append((*facts, before[place].number))
                touched.add(place)
        names = ("store", "key", "run_us", "host", *_FACTS)
        self._database.each_do(f"INSERT INTO job({', '.join(names)}) VALUES({', '.join('?' * len(names))})", new)
        changes = ", ".join(f"{name} = ?" for name in _FACTS)
        self._database.each_do(f"UPDATE job SET {changes} WHERE id = ?", changed)
        return touched


def _facts(record: JobRecord, before: KnownJob | None) -> tuple[int | str, ...]:
    """Return the columns of `_FACTS` for what is known now."""
    labels = {**before.labels, **record.labels} if before else dict(record.labels)
    power = record.power or (before.power if before else "")
    work = record.work or (before.work if before else "")
    return record.start_us, record.end_us, record.uid, json.dumps(labels, sort_keys=True), power, work


def _facts_of(job: KnownJob) -> tuple[int | str, ...]:
    return job.start_us, job.end_us, job.uid, json.dumps(job.labels, sort_keys=True), job.power, job.work
