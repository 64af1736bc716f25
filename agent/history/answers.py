"""Answers of a history: documents for a program, a command and a page, each from one state of the database."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from wattshed.agent.history import last_watts, profile
from wattshed.agent.history.documents import Seen, UsedPart, by_gpu, job_document, node_estimate, power, report_document
from wattshed.agent.history.listing import page_of
from wattshed.agent.history.live import Live
from wattshed.agent.history.part_rows import PART_COLUMNS, RECORD_COLUMNS, part_of, record_of
from wattshed.agent.history.query import FOREVER_US, MOST, collected_us, runs_of
from wattshed.agent.history.reporting import report_of
from wattshed.agent.history.sql import DatabaseError
from wattshed.agent.history.steps import batched, parts_of_runs
from wattshed.agent.history.work_sums import NO_WORK, work_by_row, work_document
from wattshed.agent.wire.parts import SIMULATED, joules, sum_if_known
from wattshed.agent.wire.parts_json import plain, plain_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wattshed.agent.history.last_watts import WattsAt
    from wattshed.agent.history.live import LiveView
    from wattshed.agent.history.query import Filter, FoundJob
    from wattshed.agent.history.sql import SqlDatabase
    from wattshed.agent.wire.parts import JobRecord

_TRIES = 100
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
    live : callable, optional
        Returns the newest view of what is not in the database yet; None as long as there is none.
    clock : callable
        Unix seconds.
    """

    def __init__(
        self,
        database: SqlDatabase,
        host: str,
        live: Callable[[], LiveView | None] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._host, self._clock = database, host, clock
        self._view = live or (lambda: None)

    def jobs(self, asked: Filter, limit: int = MOST, cursor: str = "") -> dict[str, Any]:
        """List jobs, those that run first, then from the newest end to the oldest.

        Raises
        ------
        CursorError
            If the cursor is not one that an earlier answer gave.
        DatabaseError
        """
        with self._one_state() as live:
            asked = replace(asked, job=self._key(asked.job, asked, live))
            page = page_of(self._database, asked, limit, cursor, now_us=self._now_us(), live=live)
            documents = self._documents(page.jobs, live)
            return self._headed("wattshed.jobs/1", asked, live, {"jobs": documents, "cursor": page.cursor})

    def job(self, key: str, asked: Filter) -> dict[str, Any] | None:
        """Tell all of one job: its newest run, and what its earlier runs used; None if it is not there for who asks.

        Raises
        ------
        DatabaseError
        """
        with self._one_state() as live:
            found = self._runs(self._key(key, asked, live), asked, live) if key else []
            if not found:
                return None
            newest, *earlier = found
            parts = self._parts_of(newest, live)
            seen = _seen(newest, [_place_of(one) for one in parts], last_watts.told_by(parts))
            document = job_document(newest, seen, self._now_us(), collected_us(self._database))
            document |= {"by_gpu": by_gpu(parts), "power": self._power(newest, parts, live), **work_document(newest)}
            if live is not None and newest.key in live.estimates:
                document |= node_estimate(live.estimates[newest.key])
            body = {"job": document, "earlier": self._documents(earlier, live)}
            return self._headed("wattshed.job/1", asked, live, body)

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
        with self._one_state() as live:
            asked = replace(asked, job=self._key(asked.job, asked, live))
            table = report_of(self._database, by, asked, step_s, live)
            work = work_by_row(self._database, by, asked, live, self._now_us())
            did = [work.rows[row].document() if row in work.rows else NO_WORK for row in table.rows]
            fields = [{**who, **one} for who, one in zip(table.fields, did, strict=True)]
            summed = report_document(table.groups, by, fields)
            told = [[row, at_us / 1e6, joules(used.energy_hnj), used.doubt.sigma_j] for row, at_us, used in table.steps]
            body = {
                "since_s": asked.since_us / 1e6 if asked.since_us > 0 else None,
                "until_s": asked.until_us / 1e6 if asked.until_us < FOREVER_US else None,
                **summed,
                "total": {**summed["total"], **work.total.document()},
                "work_left_out": work.left_out,
                "step_s": step_s,
                "steps": told,
            }
            return self._headed("wattshed.report/1", asked, live, body)

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
                "simulated": store_id.startswith(SIMULATED),
                "stores": [one[1] for one in stores],
                "host": self._host,
                "now_us": self._now_us(),
                "first_seq": first_seq,
                "next": next_seq,
                "parts": [plain(part) for part in parts],
                "jobs": [plain_record(record) for record in records],
                "models": {part.gpu: row[0] for part, row in zip(parts, rows, strict=True)},
                "cluster": min(clusters, default=""),
            }

    @contextmanager
    def _one_state(self) -> Iterator[Live | None]:
        """Read everything of an answer from one state of the database, and of what is not in it yet."""
        for _ in range(_TRIES):
            view = self._view()
            with self._database.reading():
                if view is None:
                    yield None
                    return
                rows = self._database.rows(
                    "SELECT next_seq FROM store WHERE store_id = ? AND epoch = 0", (view.store_id,)
                )
                next_seq = rows[0][0] if rows else 1
                if next_seq <= view.next_seq:
                    yield Live(self._database, self._host, view, next_seq)
                    return
        raise DatabaseError(f"{self._database.name}: has parts that this agent does not know of")

    def _now_us(self) -> int:
        return round(self._clock() * 1e6)

    def _headed(self, schema: str, asked: Filter, live: Live | None, body: dict[str, Any]) -> dict[str, Any]:
        """Say who answers, and when; ``simulated`` is true if the meter of any host that is in here is simulated."""
        simulated = (live is not None and live.store_id.startswith(SIMULATED)) or bool(
            self._database.rows(
                "SELECT 1 FROM store WHERE substr(store_id, 1, ?) = ? LIMIT 1", (len(SIMULATED), SIMULATED)
            )
        )
        return {
            "schema": schema,
            "host": self._host,
            "now_s": self._clock(),
            "scope": "all" if asked.uid is None else "own",
            "simulated": simulated,
            **body,
        }

    def _key(self, key: str, asked: Filter, live: Live | None) -> str:
        """Return the whole key of a job that was asked for without its prefix, where only one can be meant."""
        if not key:
            return key
        keys = [key, *(f"{prefix}:{key}" for prefix in PREFIXES)]
        found = [one for one in keys if self._runs(one, asked, live, most=1)]
        return found[0] if found and (len(found) == 1 or found[0] == key) else key

    def _runs(self, key: str, asked: Filter, live: Live | None, most: int = MOST) -> list[FoundJob]:
        """Return the runs of a job, the newest first."""
        found = runs_of(self._database, key, replace(asked, job=""), most=most)  # what was asked may lack its prefix
        if live is not None:
            found = [job for job in found if (job.key, job.run_us) not in live.jobs()]
            found += [job.whole for job in live.matching(replace(asked, job=key))]
            found.sort(key=lambda job: (-job.run_us, job.host))
        return found

    def _documents(self, found: Sequence[FoundJob], live: Live | None) -> list[dict[str, Any]]:
        parts: dict[int, list[_OnGpu]] = defaultdict(list)
        watts: dict[int, list[WattsAt]] = {}
        for numbers in batched(job.number for job in found if job.number):
            watts |= last_watts.stored(self._database, numbers)
            for run, *seen in self._database.rows(
                "SELECT job.run, gpu.host, gpu.uuid, max(part.to_us), CASE WHEN count(part.covered_us) = count(*) "
                "THEN sum(part.covered_us) END FROM part JOIN job ON job.id = part.job "
                f"JOIN gpu ON gpu.id = part.gpu WHERE job.run IN ({', '.join('?' * len(numbers))}) "
                "GROUP BY job.run, gpu.host, gpu.uuid",
                numbers,
            ):
                host, gpu, until_us, covered = seen
                parts[run].append((host, gpu, until_us, None if covered is None else int(covered)))
        now_us, until_us = self._now_us(), collected_us(self._database)
        documents = []
        for job in found:
            newer = live.parts(job) if live is not None else ()
            places = [*parts.get(job.number, ()), *map(_place_of, newer)]
            told = _seen(job, places, [*watts.get(job.number, ()), *last_watts.told_by(newer)])
            documents.append(job_document(job, told, now_us, until_us) | work_document(job))
        return documents

    def _parts_of(self, found: FoundJob, live: Live | None) -> list[UsedPart]:
        parts = parts_of_runs(self._database, [found.number])
        return [*parts, *live.parts(found)] if live is not None else parts

    def _power(self, job: FoundJob, parts: Sequence[UsedPart], live: Live | None) -> list[list[float | None]]:
        """Tell when a job drew what: as its hosts followed it or, where one did not, from part to part."""
        stored = "SELECT host, run_us, power FROM job WHERE run = ?"  # 0 is no run's, and that of nobody's rows
        rows = self._database.rows(stored, (job.number,)) if job.number else ()
        texts = {(host, run_us): text for host, run_us, text in rows}
        if live is not None and (text := live.power(job)):
            texts[self._host, job.run_us] = text
        try:
            return profile.power(list(texts.values()), job.end_us)
        except ValueError:
            return power(parts)

    def _records(self, numbers: Sequence[int]) -> list[JobRecord]:
        if not numbers:
            return []
        rows = self._database.rows(
            f"SELECT {RECORD_COLUMNS}, job.power, job.work FROM job "
            f"WHERE id IN ({', '.join('?' * len(numbers))}) AND substr(key, 1, 1) <> '_' ORDER BY id",
            numbers,
        )
        return [record_of(row) for row in rows]


_OnGpu = tuple[str, str, int, int | None]
"""Of a job's parts on a GPU: its host and name, until when they are, and what time they cover."""


def _place_of(one: UsedPart) -> _OnGpu:
    return one.host, one.part.gpu, one.part.to_us, one.part.covered_us


def _seen(job: FoundJob, parts: Sequence[_OnGpu], watts: Sequence[WattsAt]) -> Seen:
    """Count the GPUs of a job, and tell up to when it is accounted for, and how much of that was measured."""
    gpus = {(host, gpu) for host, gpu, *_ in parts}
    covered_us = reduce(sum_if_known, (covered for *_, covered in parts), 0 if parts else None)
    until_us = max([job.start_us, *(until_us for _, _, until_us, _ in parts)])
    return Seen(len(gpus) or None, until_us, covered_us, watts)
