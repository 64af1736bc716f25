"""What jobs did, added up by whatever a report goes by: each unit by itself, with the energy of the jobs that did it.

How much a job did is kept of the whole job, and not of hours of it. So it is in a report if all of the job is in the
report's time.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wattshed.agent.history.live import has_labels, is_of, seen_by
from wattshed.agent.history.query import Used, runs_with_work
from wattshed.agent.history.steps import row_at
from wattshed.agent.history.sums import NOT_A_JOB
from wattshed.agent.wire.parts import joules
from wattshed.agent.wire.work_text import UnitDone, WorkDone, on_all_hosts, relative, sum_of_work

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wattshed.agent.history.live import Live
    from wattshed.agent.history.query import Filter, FoundJob, OnHost
    from wattshed.agent.history.sql import SqlDatabase

NO_WORK: dict[str, Any] = {"work": None, "waiting_j": None, "waiting_share": None}
"""Of whom nothing tells what they did."""


@dataclass(slots=True)
class WorkSum:
    """Work of jobs, and what those that did it used.

    Attributes
    ----------
    units : dict of (str, str) to UnitDone
        By unit and source.
    used : dict of (str, str) to Used
        Of each unit what the jobs that did it used, for its uncertainty.
    waiting_hnj : int or None, hnj
        Used without a request; None: no server tells.
    waiters : Used
        What the jobs used whose servers tell.
    """

    units: dict[tuple[str, str], UnitDone] = field(default_factory=dict)
    used: dict[tuple[str, str], Used] = field(default_factory=dict)
    waiting_hnj: int | None = None
    waiters: Used = field(default_factory=Used)

    def add(self, hosts: Sequence[OnHost]) -> None:
        """Add a job, or what it did on one host."""
        done = done_by(hosts)
        used = Used()
        for one in hosts:
            used = used.plus(one.used)
        whole = sum_of_work([WorkDone(self.units, self.waiting_hnj), done])
        self.units, self.waiting_hnj = dict(whole.units), whole.waiting_hnj
        for key in done.units:
            self.used[key] = self.used.get(key, Used()).plus(used)
        if done.waiting_hnj is not None:
            self.waiters = self.waiters.plus(used)

    def document(self) -> dict[str, Any]:
        """Lay it out; all is null if there is no work."""
        if not self.units and self.waiting_hnj is None:
            return dict(NO_WORK)
        facts = [
            one.facts(*key, relative(self.used[key].doubt.sigma_j, self.used[key].energy_hnj))
            for key, one in self.units.items()
        ]
        share = None
        if self.waiting_hnj is not None and self.waiters.energy_hnj > 0:
            share = self.waiting_hnj / self.waiters.energy_hnj
        return {
            "work": [one.plain() for one in facts],
            "waiting_j": None if self.waiting_hnj is None else joules(self.waiting_hnj),
            "waiting_share": share,
        }


@dataclass(frozen=True, slots=True)
class WorkByRow:
    """Work of the rows of a report, that of all of them, and how many jobs are left out."""

    rows: dict[Any, WorkSum] = field(default_factory=dict)
    total: WorkSum = field(default_factory=WorkSum)
    left_out: int = 0


def done_by(hosts: Iterable[OnHost]) -> WorkDone:
    """Return what a job did on its hosts; where several rows are of one run on a host, the last tells of all."""
    newest: dict[tuple[str, int], str] = {}
    used: dict[tuple[str, int], int] = defaultdict(int)
    for one in hosts:
        place = one.host, one.run_us
        newest[place] = one.work or newest.get(place, "")
        used[place] += one.used.energy_hnj
    return on_all_hosts((WorkDone.read(text) if text else None, used[place]) for place, text in sorted(newest.items()))


def work_document(job: FoundJob) -> dict[str, Any]:
    """Lay out what one job did."""
    whole = WorkSum()
    if job.on_hosts:
        whole.add(job.on_hosts)
    document = whole.document()
    return {name: document[name] for name in ("work", "waiting_j")}


def work_by_row(database: SqlDatabase, by: str, asked: Filter, live: Live | None, now_us: int) -> WorkByRow:
    """Add up the work of jobs that are in one row of a report, and in its time, with all that they used.

    Parameters
    ----------
    database : SqlDatabase
    by : str
        As `reporting.report_of` takes it.
    asked : Filter
        Of one model nothing is known: a job's work is not that of some of its GPUs.
    live : Live or None
    now_us : int, us
    """
    found = WorkByRow()
    if asked.model or by == "model":
        return found
    left_out = 0
    for job in _jobs(database, asked, live):
        row = _row(job, by, now_us)
        last_us = job.end_us if job.end_us >= 0 else now_us
        if row is None or job.start_us < asked.since_us or last_us > asked.until_us:
            left_out += 1
            continue
        for place, hosts in _shares(job, row, by, asked):
            found.rows.setdefault(place, WorkSum()).add(hosts)
            found.total.add(hosts)
    return WorkByRow(found.rows, found.total, left_out)


def _jobs(database: SqlDatabase, asked: Filter, live: Live | None) -> list[FoundJob]:
    replaced = live.jobs() if live is not None else {}
    found = [job for job in runs_with_work(database, asked) if (job.key, job.run_us) not in replaced]
    mine = [
        one.whole
        for one in replaced.values()
        if one.whole.on_hosts
        and not one.whole.key.startswith(NOT_A_JOB)
        and seen_by(one.uid, asked)
        and has_labels(one.whole.labels, asked)
        and is_of(one.whole, asked)
    ]
    return found + mine


def _row(job: FoundJob, by: str, now_us: int) -> Any:
    """Return what the row of a job is known by; None if it is in several."""
    if by == "job":
        return str(job.number) if job.number else (job.key, job.run_us)
    if by in {"day", "month"}:
        first, last = (row_at(by, "", max(us, 0)) for us in (job.start_us, _last_us(job, now_us)))
        return first if first == last else None
    return "" if by == "host" else job.labels.get(by, "")


def _last_us(job: FoundJob, now_us: int) -> int:
    return max(job.end_us - 1, job.start_us) if job.end_us >= 0 else now_us


def _shares(job: FoundJob, row: Any, by: str, asked: Filter) -> list[tuple[Any, Sequence[OnHost]]]:
    """Return the rows that a job is in, with what it did there: a report by host, or of one, has that host's part."""
    here = [one for one in job.on_hosts if asked.host in {"", one.host}]
    if by != "host":
        return [(row, here)] if here else []
    hosts: dict[str, list[OnHost]] = defaultdict(list)
    for one in here:
        hosts[one.host].append(one)
    return list(hosts.items())
