"""The history of one host on disk: parts come in, once each, and sums of jobs and days follow them.

Whatever is added is added whole: a part, its job's sums and its days' in one transaction. A part that comes again is
known by its number, and changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.history import schema
from wattshed.agent.history.part_rows import PART_COLUMNS, part_of
from wattshed.agent.history.schema import GROUPS, SUMS
from wattshed.agent.wire.parts import Doubt, JobPart, JobRecord, split_hnj

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wattshed.agent.history.sql import SqlDatabase

DAY_US = 86_400_000_000
_BITE = 1000
_ADDED = ", ".join(f"{name} = {name} + ?" for name in SUMS)
_ONE_JOB = "key = ? AND run_us = ? AND host = ?"
NOT_A_JOB = "_"
"""Owners that are not jobs begin with it; each has a place of its own in the sums of days."""
RUNNING_US = 2**62
"""In place of the end of a job that runs, where jobs are put in order."""


class _Known(NamedTuple):
    """A job that was written: its number and its labels."""

    number: int
    labels: Mapping[str, str]


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
    """

    def __init__(self, database: SqlDatabase, store_id: str, host: str) -> None:
        schema.prepare(database)
        self._database, self._host = database, host
        with database.transaction():
            database.do("INSERT INTO store(store_id, host) VALUES(?, ?) ON CONFLICT DO NOTHING", (store_id, host))
        ((self._id,),) = database.rows("SELECT id FROM store WHERE store_id = ?", (store_id,))
        self._gpus: dict[tuple[str, str, str], int] = {}
        self._payers: dict[tuple[str, ...], int] = {}

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
                return self._add(parts, jobs, models)
        except BaseException:
            # What was looked up within it may never have been written.
            self._gpus.clear()
            self._payers.clear()
            raise

    def _add(
        self, parts: Sequence[JobPart], jobs: Mapping[tuple[str, int], JobRecord], models: Mapping[str, str]
    ) -> int:
        known = {place: self._job(record) for place, record in jobs.items()}
        next_seq = self.next_seq()
        new = [part for part in parts if part.seq >= next_seq]
        for part in new:
            place = part.job, part.run_us
            if place not in known:
                known[place] = self._found(*place) or self._job(JobRecord(*place, part.from_us))
            self._insert(part, known[place], models.get(part.gpu, ""))
        if new:
            self._database.do("UPDATE store SET next_seq = ? WHERE id = ?", (new[-1].seq + 1, self._id))
        return len(new)

    def _job(self, record: JobRecord) -> _Known:
        """Write what is known of a job; labels that are known stay."""
        before = self._found(record.key, record.run_us)
        labels = {**before.labels, **record.labels} if before else dict(record.labels)
        facts = {
            "start_us": record.start_us,
            "end_us": record.end_us,
            "sort_us": record.end_us if record.end_us >= 0 else RUNNING_US,
            "uid": record.uid,
            "labels": json.dumps(labels, sort_keys=True),
            **{f'"{name}"': labels.get(name, "") for name in GROUPS},
            **({"power": record.power} if record.power else {}),  # what is known stays, as labels do
        }
        if before is None:
            facts = {"key": record.key, "run_us": record.run_us, "host": self._host, **facts}
            self._database.do(
                f"INSERT INTO job({', '.join(facts)}) VALUES({', '.join('?' * len(facts))})", tuple(facts.values())
            )
            ((number,),) = self._database.rows(
                f"SELECT id FROM job WHERE {_ONE_JOB}", (record.key, record.run_us, self._host)
            )
            return _Known(int(number), labels)
        changes = ", ".join(f"{name} = ?" for name in facts)
        self._database.do(f"UPDATE job SET {changes} WHERE id = ?", (*facts.values(), before.number))
        if any(before.labels.get(name, "") != labels.get(name, "") for name in GROUPS):
            self._regroup(before, labels)
        return _Known(before.number, labels)

    def _found(self, key: str, run_us: int) -> _Known | None:
        """Return what was written of a job, None if nothing was."""
        rows = self._database.rows(f"SELECT id, labels FROM job WHERE {_ONE_JOB}", (key, run_us, self._host))
        return _Known(int(rows[0][0]), json.loads(rows[0][1])) if rows else None

    def _insert(self, part: JobPart, job: _Known, model: str) -> None:
        sums = sums_of(part)
        self._database.do(
            f"INSERT INTO part VALUES({', '.join('?' * (10 + len(SUMS)))})",
            (
                self._id, part.seq, job.number, self._gpu(part.gpu, model), part.from_us, part.to_us, part.peak_mw,
                part.edges, part.method, part.flags, *sums,
            ),
        )  # fmt: skip
        self._database.do(
            f"UPDATE job SET {_ADDED}, peak_mw = CASE WHEN peak_mw < ? THEN ? ELSE peak_mw END, edges = edges + ?, "
            "method = method | ?, flags = flags | ? WHERE id = ?",
            (*sums, part.peak_mw, part.peak_mw, part.edges, part.method, part.flags, job.number),
        )
        self._enter(part, job.labels, model)

    def _enter(self, part: JobPart, labels: Mapping[str, str], model: str, sign: int = 1) -> None:
        """Add a part to the sums of its days, or take it away."""
        payer = self._payer(part, labels, model)
        for day, of_day in by_day(part):
            self._database.do("INSERT INTO day(day, payer) VALUES(?, ?) ON CONFLICT DO NOTHING", (day, payer))
            sums = tuple(sign * value for value in sums_of(of_day))
            self._database.do(f"UPDATE day SET {_ADDED} WHERE day = ? AND payer = ?", (*sums, day, payer))

    def _regroup(self, job: _Known, labels: Mapping[str, str]) -> None:
        """Move what a job used so far to the sums of whom it turned out to be of."""
        for part, model in self._read("part.job = ?", (job.number,)):
            self._enter(part, job.labels, model, -1)
            self._enter(part, labels, model)

    def _gpu(self, uuid: str, model: str) -> int:
        place = uuid, self._host, model
        if place not in self._gpus:
            self._database.do("INSERT INTO gpu(uuid, host, model) VALUES(?, ?, ?) ON CONFLICT DO NOTHING", place)
            rows = self._database.rows("SELECT id FROM gpu WHERE uuid = ? AND host = ? AND model = ?", place)
            self._gpus[place] = int(rows[0][0])
        return self._gpus[place]

    def _payer(self, part: JobPart, labels: Mapping[str, str], model: str) -> int:
        """Return the number of what a day's sum is kept for: an owner that is not a job, or a combination of labels."""
        owner = part.job if part.job.startswith(NOT_A_JOB) else ""
        place = owner, self._host, model, *(labels.get(name, "") for name in GROUPS)
        if place not in self._payers:
            names = ["owner", "host", "model", *(f'"{name}"' for name in GROUPS)]
            self._database.do(
                f"INSERT INTO payer({', '.join(names)}) VALUES({', '.join('?' * len(names))}) ON CONFLICT DO NOTHING",
                place,
            )
            where = " AND ".join(f"{name} = ?" for name in names)
            self._payers[place] = int(self._database.rows(f"SELECT id FROM payer WHERE {where}", place)[0][0])
        return self._payers[place]

    def next_seq(self) -> int:
        """Return the number that the next new part has."""
        return int(self._database.rows("SELECT next_seq FROM store WHERE id = ?", (self._id,))[0][0])

    def parts(self, after: int, most: int = _BITE) -> list[JobPart]:
        """Return the parts that follow a number, in order, as they were added."""
        return [part for part, _ in self._read("store = ? AND seq > ? ORDER BY seq LIMIT ?", (self._id, after, most))]

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
        oldest = self._database.rows(
            "SELECT seq, to_us FROM part WHERE store = ? ORDER BY seq LIMIT ?", (self._id, _BITE)
        )
        before_us = now_us - retention.max_age_us
        too_much = self.bytes_used() > retention.max_bytes
        gone = [seq for seq, to_us in oldest if too_much or to_us < before_us]
        if not gone:
            return 0
        last = gone[-1]
        with self._database.transaction():
            count = self._database.do("DELETE FROM part WHERE store = ? AND seq <= ?", (self._id, last))
            self._database.do("UPDATE store SET first_seq = ? WHERE id = ?", (last + 1, self._id))
            self._database.do(
                "DELETE FROM job WHERE end_us >= 0 AND NOT EXISTS(SELECT 1 FROM part WHERE part.job = job.id)"
            )
        self._database.shrink()
        return count

    def bytes_used(self) -> int:
        """Return how much of the disk holds something, bytes."""
        return self._database.bytes_used()


def sums_of(part: JobPart) -> tuple[int | float, ...]:
    """Return what of a part adds up, in the order of `schema.SUMS`."""
    doubt = part.doubt
    return (
        *split_hnj(part.static_hnj), *split_hnj(part.dynamic_hnj), part.active_us, part.held_us,
        doubt.gain_j, doubt.split_j, doubt.idle_j, doubt.unread_j, doubt.squares_j2,
    )  # fmt: skip


def by_day(part: JobPart) -> Iterator[tuple[int, JobPart]]:
    """Take a part apart at UTC midnights, evenly over its time; what is whole adds up to it exactly.

    Yields
    ------
    (int, JobPart)
        The day, counted since 1970, and what of the part lies in it.
    """
    first, last = part.from_us // DAY_US, max(part.to_us - 1, part.from_us) // DAY_US
    for day in range(first, last + 1):
        yield day, within(part, day * DAY_US, (day + 1) * DAY_US)


def within(part: JobPart, from_us: int, to_us: int) -> JobPart:
    """Return what of a part was used in a stretch of time, as if it had been used evenly.

    Stretches that follow each other have parts that add up: each edge is rounded once.
    """
    begin, end, length = max(part.from_us, from_us), min(part.to_us, to_us), part.to_us - part.from_us
    if (begin, end) == (part.from_us, part.to_us):
        return part

    def between(value: int) -> int:
        return value * (end - part.from_us) // length - value * (begin - part.from_us) // length

    share, doubt = (end - begin) / length, part.doubt
    return replace(
        part,
        from_us=begin,
        to_us=end,
        static_hnj=between(part.static_hnj),
        dynamic_hnj=between(part.dynamic_hnj),
        active_us=between(part.active_us),
        held_us=between(part.held_us),
        doubt=Doubt(
            doubt.gain_j * share, doubt.split_j * share, doubt.idle_j * share, doubt.unread_j * share,
            doubt.squares_j2 * share,
        ),
    )  # fmt: skip
