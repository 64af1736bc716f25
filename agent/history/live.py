"""What is not in the database yet: parts on their way there, and what has been used since the last cut.

The daemon leaves a view of it, whole and never changed again, before it hands the parts in it to the database. A reader
takes the view first and the database's state after it: what the database has by then is dropped from the view, by the
numbers of parts, and if it has more than the view knows of, a newer view is there already. So nothing is counted twice,
nothing is missing, and nobody waits for anybody.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from wattshed.agent.history.documents import UsedPart, total, used_of
from wattshed.agent.history.query import FOREVER_US, FoundJob, OnHost, Used, runs_of, stored_runs
from wattshed.agent.history.run_rows import RUNNING_US
from wattshed.agent.history.runs import HostRow, Run
from wattshed.agent.history.sums import NOT_A_JOB
from wattshed.agent.wire.parts import JobRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wattshed.agent.history.query import Filter
    from wattshed.agent.history.sql import SqlDatabase
    from wattshed.agent.wire.parts import JobPart

Place = tuple[str, int]
"""Key of a job, and when its run began."""


@dataclass(frozen=True, slots=True)
class LiveView:
    """What one agent knows beyond its database, at one moment.

    Attributes
    ----------
    store_id : str
    next_seq : int
        Of the first part that is cut later.
    at_us : int, us
    ended_before_us : int, us
        A job that was last seen before it has ended; any other runs, and its end will not be before it.
    parts : tuple of JobPart
        Those that may not be in the database yet, and what has been used since the last cut: its numbers are 0.
    records : mapping of (job, run) to JobRecord
        Of all jobs that have an account, or a part here.
    models : mapping of GPU to str
    estimates : mapping of job to (mapping of str to int, hnj)
        What of the node beyond its GPUs may be the job's, by part, where that is estimated; in no bill.
    """

    store_id: str
    next_seq: int
    at_us: int
    ended_before_us: int
    parts: tuple[JobPart, ...] = ()
    records: Mapping[Place, JobRecord] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    estimates: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def beyond(self, next_seq: int) -> Iterator[JobPart]:
        """Yield what a database does not have in which ``next_seq`` is the number of the next part."""
        return (part for part in self.parts if part.seq == 0 or part.seq >= next_seq)


@dataclass(frozen=True, slots=True)
class LiveJob:
    """A job of which more is known than the database has.

    Attributes
    ----------
    stored : FoundJob or None
        What the database has of it.
    whole : FoundJob
        All of it.
    stored_uid, uid : int
        Whose it is, as the database has it and in truth.
    parts : tuple of UsedPart
        What the database lacks.
    """

    stored: FoundJob | None
    whole: FoundJob
    stored_uid: int
    uid: int
    parts: tuple[UsedPart, ...]


class Live:
    """What one question finds beyond one state of the database.

    Parameters
    ----------
    database : SqlDatabase
    host : str
    view : LiveView
    next_seq : int
        Of the state of the database.
    """

    def __init__(self, database: SqlDatabase, host: str, view: LiveView, next_seq: int) -> None:
        self._database, self._host = database, host
        self.store_id, self.ended_before_us, self.estimates = view.store_id, view.ended_before_us, view.estimates
        parts: dict[Place, list[UsedPart]] = defaultdict(list)
        for part in view.beyond(next_seq):
            parts[part.job, part.run_us].append(UsedPart(part, host, view.models.get(part.gpu, "")))
        self._parts = {place: tuple(some) for place, some in parts.items()}
        self._records = {place: JobRecord(*place, some[0].part.from_us) for place, some in self._parts.items()}
        self._records.update(view.records)
        self._jobs: dict[Place, LiveJob] | None = None

    def jobs(self) -> Mapping[Place, LiveJob]:
        """Return all jobs of which more is known than the database has, and what is nobody's, as jobs."""
        if self._jobs is None:
            keys = list(dict.fromkeys(key for key, _ in self._records))
            stored = {(job.key, job.run_us): (job, uid) for job, uid in stored_runs(self._database, self._host, keys)}
            self._jobs = {
                place: _joined(record, self._host, stored.get(place), self._parts.get(place, ()))
                for place, record in self._records.items()
            }
        return self._jobs

    def power(self, job: FoundJob) -> str:
        """Return the power over time of a job so far, as `agent.history.profile` writes it; empty if unknown."""
        record = self._records.get((job.key, job.run_us))
        return record.power if record is not None else ""

    def parts(self, job: FoundJob) -> Sequence[UsedPart]:
        """Return what the database lacks of a job."""
        return self._parts.get((job.key, job.run_us), ())

    def matching(self, asked: Filter) -> list[LiveJob]:
        """Return the jobs that are asked for."""
        return [
            job
            for place, job in self.jobs().items()
            if not place[0].startswith(NOT_A_JOB) and self._matches(job, asked)
        ]

    def _matches(self, job: LiveJob, asked: Filter) -> bool:
        if not (seen_by(job.uid, asked) and is_of(job.whole, asked)):
            return False
        if not asked.model or any(one.model == asked.model for one in job.parts):
            return True
        if job.stored is None:
            return False
        those = replace(asked, uid=None, groups={}, since_us=0, until_us=FOREVER_US, running=None)
        return any(run.number == job.stored.number for run in runs_of(self._database, job.whole.key, those))


def seen_by(uid: int, asked: Filter) -> bool:
    """Tell whether who asks may see a job of this user."""
    return asked.uid is None or uid == asked.uid


def is_of(job: FoundJob, asked: Filter) -> bool:
    """Tell whether a job is one of those that are asked for, whatever GPUs it has, as the database would."""
    end_us = job.end_us if job.end_us >= 0 else RUNNING_US
    return (
        asked.job in {"", job.key}
        and has_labels(job.labels, asked)
        and asked.host in {"", job.host}
        and (asked.since_us <= 0 or end_us > asked.since_us)
        and job.start_us < asked.until_us
        and asked.running in {None, job.end_us < 0}
    )


def has_labels(labels: Mapping[str, str], asked: Filter) -> bool:
    """Tell whether a job with these labels is asked for."""
    return all(labels.get(name, "") == value for name, value in asked.groups.items())


def _joined(record: JobRecord, host: str, found: tuple[FoundJob, int] | None, parts: tuple[UsedPart, ...]) -> LiveJob:
    """Add to a job what the database lacks of it."""
    stored, stored_uid = found or (None, -1)
    base = stored or FoundJob(
        0, (), record.key, record.run_us, host, (host,), None, record.start_us, record.end_us, {}, 0, 0, 0, 0, Used()
    )
    labels = {**base.labels, **record.labels}
    run = Run((HostRow(0, record.key, host, record.run_us, record.start_us, record.end_us, record.uid, labels),))
    flags, method, peak_mw, edges = base.flags, base.method, base.peak_mw, base.edges
    for part in (one.part for one in parts):
        flags, method = flags | part.flags, method | part.method
        peak_mw, edges = max(peak_mw, part.peak_mw), edges + part.edges
    used = total([base.used, *(used_of(one.part) for one in parts)])
    work = record.work or next((one.work for one in reversed(base.on_hosts) if one.work), "")
    whole = replace(
        base,
        start_us=record.start_us,
        end_us=record.end_us,
        expected=run.expected,
        labels=run.labels,
        flags=flags,
        method=method,
        peak_mw=peak_mw,
        edges=edges,
        used=used,
        on_hosts=(OnHost(host, record.run_us, used, work),) if work else (),
    )
    return LiveJob(stored, whole, stored_uid, record.uid, parts)
