"""Answers of a history: documents for a program, a command and a page, each from one state of the database."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wattshed.agent.history import steps
from wattshed.agent.history.documents import Seen, UsedPart, by_gpu, job_document, power, report_document
from wattshed.agent.history.part_rows import PART_COLUMNS, RECORD_COLUMNS, part_of, record_of
from wattshed.agent.history.query import FOREVER_US, MOST, collected_us, jobs, report, runs
from wattshed.agent.wire.parts import joules, plain, plain_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wattshed.agent.history.query import Filter, FoundJob
    from wattshed.agent.history.sql import SqlDatabase
    from wattshed.agent.wire.parts import JobRecord

PREFIXES = (
    "slurm", "k8s", "oar", "pbs", "htcondor", "gridengine", "nomad", "flux", "lxc", "container", "unit", "user",
)  # fmt: skip
"""What keys of jobs begin with: one may be asked for without it."""


class Answers:
    """Answers questions from one database; used by one thread at a time.

    Parameters
    ----------
    database : SqlDatabase
    host : str
        Who answers.
    clock : callable
        Unix seconds.
    """

    def __init__(self, database: SqlDatabase, host: str, *, clock: Callable[[], float] = time.time) -> None:
        self._database, self._host, self._clock = database, host, clock

    def jobs(self, asked: Filter, limit: int = MOST, cursor: str = "") -> dict[str, Any]:
        """List jobs, those that run first, then from the newest end to the oldest.

        Raises
        ------
        CursorError
            If the cursor is not one that an earlier answer gave.
        DatabaseError
        """
        with self._database.reading():
            page = jobs(self._database, replace(asked, job=self._key(asked.job, asked)), most=limit, cursor=cursor)
            return self._headed("wattshed.jobs/1", {"jobs": self._documents(page.jobs), "cursor": page.cursor})

    def job(self, key: str, asked: Filter) -> dict[str, Any] | None:
        """Tell all of one job: its newest run, and what its earlier runs used; None if it is not there for who asks.

        Raises
        ------
        DatabaseError
        """
        with self._database.reading():
            found = runs(self._database, self._key(key, asked), asked)
            if not found:
                return None
            newest, *earlier = found
            parts = self._parts_of(newest)
            until_us = collected_us(self._database)
            document = job_document(newest, _seen_of(newest, parts), round(self._clock() * 1e6), until_us)
            document |= {"by_gpu": by_gpu(parts), "power": power(parts), "work": None}
            return self._headed("wattshed.job/1", {"job": document, "earlier": self._documents(earlier)})

    def report(self, by: str, asked: Filter, step_s: int | None = None) -> dict[str, Any]:
        """Add up what was used, by one of `query.BY` or by job; and by steps of UTC, if their length is given.

        Raises
        ------
        ValueError
            If ``by`` is something else.
        TooMuchError
            If there would be too many rows or steps.
        DatabaseError
        """
        with self._database.reading():
            asked = replace(asked, job=self._key(asked.job, asked))
            if by == "job" or step_s is not None:
                table = steps.table(self._database, by, asked, step_s)
                body = report_document(table.groups, by, table.fields)
                told = [
                    [row, at_us / 1e6, joules(used.energy_hnj), used.doubt.sigma_j] for row, at_us, used in table.steps
                ]
            else:
                body, told = report_document(report(self._database, by, asked), by), []
            since_s = asked.since_us / 1e6 if asked.since_us > 0 else None
            until_s = asked.until_us / 1e6 if asked.until_us < FOREVER_US else None
            return self._headed(
                "wattshed.report/1", {"since_s": since_s, "until_s": until_s, **body, "step_s": step_s, "steps": told}
            )

    def parts(self, after: int, limit: int = MOST, store: str = "") -> dict[str, Any]:
        """Hand on the parts that follow a number, as they were added, for who collects them.

        ``next`` is the number that the next new part will have: beyond ``after`` by more than 1, there is more.

        Parameters
        ----------
        after : int
        limit : int
        store : str
            Whose numbers; empty: the newest store. ``stores`` names all of this database, the oldest first.

        Raises
        ------
        DatabaseError
        """
        with self._database.reading():
            stores = self._database.rows("SELECT id, store_id, first_seq, next_seq FROM store ORDER BY id")
            chosen = [one for one in stores if one[1] == store] if store else stores[-1:]
            number, store_id, first_seq, next_seq = chosen[0] if chosen else (-1, store, 1, 1)
            rows = self._database.rows(
                f"SELECT gpu.model, job.id, {PART_COLUMNS} FROM part JOIN job ON job.id = part.job "
                "JOIN gpu ON gpu.id = part.gpu WHERE part.store = ? AND part.seq > ? ORDER BY part.seq LIMIT ?",
                (number, after, limit),
            )
            parts = [part_of(row[2:]) for row in rows]
            records = self._records(sorted({row[1] for row in rows}))
            clusters = {record.labels.get("cluster", "") for record in records} - {""}
            return {
                "schema": "wattshed.parts/1",
                "store": store_id,
                "stores": [one[1] for one in stores],
                "host": self._host,
                "now_us": round(self._clock() * 1e6),
                "first_seq": first_seq,
                "next": next_seq,
                "parts": [plain(part) for part in parts],
                "jobs": [plain_record(record) for record in records],
                "models": {part.gpu: row[0] for part, row in zip(parts, rows, strict=True)},
                "cluster": min(clusters, default=""),
            }

    def _headed(self, schema: str, body: dict[str, Any]) -> dict[str, Any]:
        return {"schema": schema, "host": self._host, "now_s": self._clock(), **body}

    def _key(self, key: str, asked: Filter) -> str:
        """Return the whole key of a job that was asked for without its prefix, where only one can be meant."""
        if not key:
            return key
        keys = [key, *(f"{prefix}:{key}" for prefix in PREFIXES)]
        found = [one for one in keys if runs(self._database, one, asked, most=1)]
        return found[0] if found and (len(found) == 1 or found[0] == key) else key

    def _documents(self, found: Sequence[FoundJob]) -> list[dict[str, Any]]:
        now_us, until_us = round(self._clock() * 1e6), collected_us(self._database)
        seen = self._seen([job.number for job in found])
        return [job_document(job, seen.get(job.number, Seen(None, job.start_us)), now_us, until_us) for job in found]

    def _seen(self, numbers: Sequence[int]) -> dict[int, Seen]:
        """Count the GPUs of jobs, and tell up to when they are accounted for."""
        if not numbers:
            return {}
        rows = self._database.rows(
            "SELECT job.run, count(DISTINCT part.gpu), max(part.to_us) FROM part JOIN job ON job.id = part.job "
            f"WHERE job.run IN ({', '.join('?' * len(numbers))}) GROUP BY job.run",
            numbers,
        )
        return {run: Seen(gpus, until_us) for run, gpus, until_us in rows}

    def _parts_of(self, found: FoundJob) -> list[UsedPart]:
        rows = self._database.rows(
            f"SELECT gpu.host, gpu.model, {PART_COLUMNS} FROM part JOIN job ON job.id = part.job "
            "JOIN gpu ON gpu.id = part.gpu WHERE job.run = ? ORDER BY part.to_us",
            (found.number,),
        )
        return [UsedPart(part_of(row[2:]), row[0], row[1]) for row in rows]

    def _records(self, numbers: Sequence[int]) -> list[JobRecord]:
        if not numbers:
            return []
        rows = self._database.rows(
            f"SELECT {RECORD_COLUMNS}, job.power FROM job "
            f"WHERE id IN ({', '.join('?' * len(numbers))}) AND substr(key, 1, 1) <> '_' ORDER BY id",
            numbers,
        )
        return [record_of(row) for row in rows]


def _seen_of(found: FoundJob, parts: Sequence[UsedPart]) -> Seen:
    gpus = {(one.host, one.part.gpu) for one in parts}
    return Seen(len(gpus) or None, max([found.start_us] + [one.part.to_us for one in parts]))
