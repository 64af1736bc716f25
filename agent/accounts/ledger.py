"""The ledger: who used how much of which GPU. One writer; energies are whole half-nanojoules of any size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.accounts.work import JobWork, PendingWork
from wattshed.agent.window import OTHER, JobKey, uid_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


class GpuKey(NamedTuple):
    """A GPU over all hosts: its host, and its UUID (or its index, where a trace knows no UUID)."""

    host: str
    gpu: str


@dataclass(slots=True)
class Line:
    """One owner's account on one GPU."""

    static_hnj: int = 0
    dynamic_hnj: int = 0
    active_us: int = 0
    held_us: int = 0
    peak_mw: int = 0
    edges: int = 0  # starts and ends of use, each blurred by a publication period
    split_hnj: int = 0  # one sigma of how its dynamic energy was split; it lasts, so that times add up
    unread_us: int = 0  # time that it was there and whose energy is not booked: yet, or ever
    untold_hnj: int = 0  # one sigma of its energy in times that nothing measured, see `agent.accounts.untold`
    idle_hnj: int = 0  # what it would have more, or less, if idle power were higher by one sigma
    cut_peak_mw: int = 0  # highest power since it was cut last, see `agent.accounts.cuts`
    covered_us: int = 0  # how much of active_us + held_us its energy was measured in

    def add(self, other: Line) -> None:
        """Add another part of the same account, from later or elsewhere."""
        self.static_hnj += other.static_hnj
        self.dynamic_hnj += other.dynamic_hnj
        self.active_us += other.active_us
        self.held_us += other.held_us
        self.peak_mw = max(self.peak_mw, other.peak_mw)
        self.edges += other.edges
        self.split_hnj += other.split_hnj
        self.unread_us += other.unread_us
        self.untold_hnj += other.untold_hnj
        self.idle_hnj += other.idle_hnj
        self.cut_peak_mw = max(self.cut_peak_mw, other.cut_peak_mw)
        self.covered_us += other.covered_us


@dataclass(slots=True)
class JobAccount:
    """What a job used, over all its GPUs."""

    key: JobKey
    labels: dict[str, str] = field(default_factory=dict)
    start_us: int = -1
    end_us: int = -1
    method: int = 0  # bits of kernels.billing.shares
    lines: dict[GpuKey, Line] = field(default_factory=dict)
    folded: bool = False  # shown within _other, for good: a series that was merged cannot be separated again
    shown_from_us: int | None = None  # where `Ledger.shown_us` stood when it had ended, with its final energy
    shown_hnj: int = -1
    work: JobWork | None = None  # None: nothing tells of any
    node_hnj: dict[str, int] = field(default_factory=dict)  # of the node beyond GPUs, see `agent.accounts.node_shares`

    def line(self, gpu: GpuKey) -> Line:
        """Return the account on one GPU, opened at first use."""
        found = self.lines.get(gpu)
        if found is None:
            found = self.lines[gpu] = Line()
        return found

    def seen(self, start_us: int, end_us: int) -> None:
        """Note that the job existed in this stretch."""
        self.start_us = start_us if self.start_us < 0 else min(self.start_us, start_us)
        if end_us > self.end_us:
            self.end_us, self.shown_from_us = end_us, None

    @property
    def uid(self) -> int:
        """The user it runs as, by the kernel or by root's word; -1 unknown."""
        return uid_of(self.labels.get("uid", ""))

    @property
    def energy_hnj(self) -> int:
        """Everything this job used, in hnj."""
        return sum(line.static_hnj + line.dynamic_hnj for line in self.lines.values())


def add(mine: dict[str, int], theirs: Mapping[str, int]) -> None:
    """Add energies by part."""
    for part, hnj in theirs.items():
        mine[part] = mine.get(part, 0) + hnj


class Ledger:
    """Running and ended jobs.

    Parameters
    ----------
    series_cap : int
        At most this many jobs have a series of their own at a time; further ones are shown within ``_other``. One
        user's programs outside of all jobs have at most half of these.

    Attributes
    ----------
    ended_hnj : dict of GpuKey to int, hnj
        What jobs used that had a series of their own and retired.
    other : dict of GpuKey to Line
        What retired jobs used that never had one: it stays in ``_other``, which must never fall.
    ended_node_hnj, other_node_hnj : dict of str -> int, hnj
        The same two of the node beyond GPUs, by part: an estimate.
    folded : int
        Jobs that never had a series of their own.
    shown_us : int, us
        For how long accounts were shown: jobs that ended are closed by this clock. It stands while the agent is down.
    work : PendingWork
        Work of jobs that waits for its energy.
    """

    def __init__(self, series_cap: int = 1_000_000_000) -> None:
        self.jobs: dict[JobKey, JobAccount] = {}
        self.series_cap = series_cap
        self.folded = 0
        self.ended_hnj: dict[GpuKey, int] = {}
        self.other: dict[GpuKey, Line] = {}
        self.ended_node_hnj: dict[str, int] = {}
        self.other_node_hnj: dict[str, int] = {}
        self.shown_us = 0
        self.work = PendingWork()
        self._looked_us = 0

    def job(self, key: JobKey, labels: Mapping[str, str]) -> JobAccount:
        """Return the account of a job, opened at first sight; labels that arrive later are added."""
        job = self.jobs.get(key)
        if job is None:
            job = self.jobs[key] = JobAccount(key)
            if self._full(key):
                job.folded = True
                self.folded += 1
        if labels and labels != job.labels:
            job.labels.update(labels)
        return job

    def _full(self, key: JobKey) -> bool:
        """Return whether there is no place for the series of a job that was just opened.

        What one user runs outside of all jobs has half of the places: its names are the user's to choose, and with
        thousands of them nobody else's job would have a series of its own.
        """
        whose, slash, _ = key.partition("/")
        own = bool(slash) and whose.startswith("user:")
        if len(self.jobs) <= (self.series_cap // 2 if own else self.series_cap):
            return False
        shown = [job.key for job in self.jobs.values() if not job.folded]
        mine = sum(other.startswith(f"{whose}/") for other in shown) if own else 0
        return len(shown) > self.series_cap or mine > max(1, self.series_cap // 2)

    def resume(self, now_us: int) -> None:
        """Continue after a restart: while the agent was down, nothing was shown."""
        self._looked_us = now_us

    def retire(self, now_us: int, keep_us: int, waiting: Collection[JobKey] = ()) -> list[JobAccount]:
        """Close the accounts of jobs that ended and whose final energy was shown for ``keep_us``.

        Who reads the series, and how often, makes no difference (docs/decisions/0005).

        Parameters
        ----------
        now_us : int, us
        keep_us : int, us
        waiting : collection of JobKey
            Jobs for whose time energy may still be booked.

        Returns
        -------
        list of JobAccount
            Those that are closed.
        """
        done = []
        self.shown_us += max(0, now_us - self._looked_us)
        for job in self.jobs.values():
            if job.end_us >= now_us:
                continue
            if job.key in waiting or job.energy_hnj != job.shown_hnj:
                job.shown_hnj, job.shown_from_us = job.energy_hnj, self.shown_us
                continue
            if job.shown_from_us is None:
                job.shown_from_us = self.shown_us - max(0, now_us - max(job.end_us, self._looked_us))
            if self.shown_us - job.shown_from_us > keep_us:
                done.append(job)
        self._looked_us = now_us
        for job in done:
            add(self.other_node_hnj if job.folded else self.ended_node_hnj, job.node_hnj)
            for gpu, line in job.lines.items():
                if job.folded:
                    self.other.setdefault(gpu, Line()).add(line)
                else:
                    self.ended_hnj[gpu] = self.ended_hnj.get(gpu, 0) + line.static_hnj + line.dynamic_hnj
            del self.jobs[job.key]
        return done

    def shares(self) -> Iterator[tuple[str, GpuKey, int, int]]:
        """Yield (job, GPU, static, dynamic) in hnj as it is published; with ``ended_hnj`` that is everything."""
        other: dict[GpuKey, Line] = {}
        for gpu, line in self.other.items():
            other.setdefault(gpu, Line()).add(line)
        for job in self.jobs.values():
            for gpu, line in job.lines.items():
                if job.folded:
                    other.setdefault(gpu, Line()).add(line)
                else:
                    yield job.key, gpu, line.static_hnj, line.dynamic_hnj
        for gpu, line in other.items():
            yield OTHER, gpu, line.static_hnj, line.dynamic_hnj

    def node_shares(self) -> Iterator[tuple[str, Mapping[str, int]]]:
        """Yield (job, part -> hnj) of the node beyond GPUs as it is published; with ``ended_node_hnj`` that is all."""
        other = dict(self.other_node_hnj)
        for job in self.jobs.values():
            if job.folded:
                add(other, job.node_hnj)
            elif job.node_hnj:
                yield job.key, job.node_hnj
        if other:
            yield OTHER, other

    def merge(self, other: Ledger) -> None:
        """Add the accounts of another part of the same trace."""
        for key, theirs in other.jobs.items():
            mine = self.job(key, theirs.labels)
            mine.seen(theirs.start_us, theirs.end_us)
            mine.method |= theirs.method
            if mine.work is not None or theirs.work is not None:
                mine.work = mine.work or JobWork()
                mine.work.merge(theirs.work or JobWork(), mine.energy_hnj, theirs.energy_hnj)
            for gpu, line in theirs.lines.items():
                mine.line(gpu).add(line)
            add(mine.node_hnj, theirs.node_hnj)
        self.work.rejected.update(other.work.rejected)
        for gpu, hnj in other.ended_hnj.items():
            self.ended_hnj[gpu] = self.ended_hnj.get(gpu, 0) + hnj
        for gpu, line in other.other.items():
            self.other.setdefault(gpu, Line()).add(line)
        add(self.ended_node_hnj, other.ended_node_hnj)
        add(self.other_node_hnj, other.other_node_hnj)
