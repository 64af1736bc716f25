"""Writes what a job used into Slurm's accounting, where ``sacct`` and whatever reads it find it: AdminComment.

Off unless configured, by the collector alone, and only once a job is complete on all its hosts. What Slurm does, tried
with its 22.05: slurmdbd changes the newest submission of a job's number only, so a run that was requeued since has no
place for its joules any more; the bare number of an array's or a heterogeneous job's leader means all of its jobs, so a
job is named as sacct names it (``9_3``, ``9+0``); a text is written in lower case. ConsumedEnergy cannot be written.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from wattshed.agent.history.sql import DatabaseError
from wattshed.agent.jobs.commands import run
from wattshed.agent.wire.parts import joules

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.errors import Faults

PREFIX = "wattshed:"
"""Comments that begin with it are ours; any other is left alone (jobstats' begin with ``JS1:``)."""
PER_S = 5.0
"""Writes a second, at most: slurmdbd serves the whole site."""
AT_ONCE = 100
"""Jobs that sacct is asked for at a time."""
SLACK_US = 5_000_000
"""What the clocks of a host and of Slurm's controller may differ by; a job that is requeued waits for two minutes."""
GIVE_UP_US = 7 * 86_400_000_000
"""A job that slurmdbd does not know so long after its end is not its."""
IDLE_S = 30.0
_FAILS = (OSError, subprocess.SubprocessError)
_LATER = "it is tried again later"
_FORMAT = "JobID,JobIDRaw,Submit,Start,End,AdminComment"


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run of a Slurm job, complete on all its hosts.

    Attributes
    ----------
    number : int
        Its row; they are written in the order of these.
    job, cluster : str
        Slurm's number of the job; the cluster is empty if it is not known.
    start_us, end_us : int, us
    energy_hnj : int, hnj
    sigma_j : float, J
    gpus, hosts : int
    """

    number: int
    job: str
    cluster: str
    start_us: int
    end_us: int
    energy_hnj: int
    sigma_j: float
    gpus: int
    hosts: int

    @property
    def comment(self) -> str:
        """What is written: in lower case, and without what sacctmgr takes for its own."""
        told = f"energy_j={joules(self.energy_hnj)};sigma_j={self.sigma_j:.6g};gpus={self.gpus};hosts={self.hosts}"
        return PREFIX + told


@dataclass(frozen=True, slots=True)
class Accounted:
    """The newest submission of a job, as Slurm's accounting has it.

    Attributes
    ----------
    name : str
        As sacct spells it: 9, 9_3, 9+0.
    submit_us : int, us
    start_us, end_us : int or None, us
        None while that is not known.
    comment : str
    """

    name: str
    submit_us: int
    start_us: int | None
    end_us: int | None
    comment: str


class Accounting(Protocol):
    """Slurm's accounting; both may fail as commands do."""

    def newest(self, cluster: str, jobs: Sequence[str]) -> Mapping[str, Accounted]:
        """Return the newest submission of each job that is known, by its number."""

    def write(self, cluster: str, name: str, comment: str) -> None:
        """Set the comment of a job's newest submission."""


class FinishedRuns(Protocol):
    """Which runs are to be written."""

    def unwritten(self, after: int, most: int) -> Sequence[FinishedRun]:
        """Return complete runs that are not settled, those that follow a number, in the order of their numbers."""

    def settle(self, number: int, outcome: str) -> None:
        """Note what became of a run: it is not asked for again."""


class SlurmAccounting:
    """Asks ``sacct`` and tells ``sacctmgr``, as a user whose AdminLevel is Operator at least.

    Parameters
    ----------
    stopped : threading.Event
        Ends a command that still runs.
    sacct, sacctmgr : sequence of str
        The commands, with arguments that go before ours.
    """

    def __init__(
        self,
        stopped: threading.Event,
        sacct: Sequence[str] = ("sacct",),
        sacctmgr: Sequence[str] = ("sacctmgr",),
    ) -> None:
        self._stopped, self._sacct, self._sacctmgr = stopped, tuple(sacct), tuple(sacctmgr)

    def newest(self, cluster: str, jobs: Sequence[str]) -> dict[str, Accounted]:
        """Ask for jobs by their numbers; of an array or a heterogeneous job Slurm answers with all, which is as well.

        Raises
        ------
        OSError, subprocess.SubprocessError
        """
        command = ["env", "SLURM_TIME_FORMAT=%s", *self._sacct, "--allusers", "--allocations", "--parsable2"]
        command += ["--noheader", f"--format={_FORMAT}", f"--jobs={','.join(jobs)}"]
        text = run(command + ([f"--clusters={cluster}"] if cluster else []), self._stopped)
        found = {}
        for line in text.split("\n"):
            fields = line.split("|", 5)
            if len(fields) == 6 and (submit_us := _us(fields[2])) is not None:
                name, raw, _, start, end, comment = fields
                found[raw] = Accounted(name, submit_us, _us(start), _us(end), comment)
        return found

    def write(self, cluster: str, name: str, comment: str) -> None:
        """Set the comment.

        Raises
        ------
        OSError, subprocess.SubprocessError
        """
        where = [f"jobid={name}", *([f"cluster={cluster}"] if cluster else [])]
        run([*self._sacctmgr, "-i", "modify", "job", "where", *where, "set", f"AdminComment={comment}"], self._stopped)


class WriteBack:
    """Writes complete runs, one after the other, slowly.

    Parameters
    ----------
    runs : FinishedRuns
    accounting : Accounting
    faults : Faults
        Counts ``write_back``: what failed is tried again.
    wait : callable
        Waits so many seconds, and returns whether it is time to end.
    clock : callable
        Unix seconds.
    monotonic : callable
        Seconds.

    Attributes
    ----------
    counts : Counter of str
        Runs by what became of them: ``written``, ``foreign`` (somebody else's comment is there), ``older`` (the number
        was submitted again since), ``unknown`` (slurmdbd never heard of it).
    """

    def __init__(
        self,
        runs: FinishedRuns,
        accounting: Accounting,
        faults: Faults,
        wait: Callable[[float], bool],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs, self._accounting, self._faults = runs, accounting, faults
        self._wait, self._clock, self._monotonic = wait, clock, monotonic
        self._after, self._next_s = 0, 0.0
        self.counts: Counter[str] = Counter()

    def work(self) -> None:
        """Write until it is time to end."""
        while not self._wait(0.0):
            try:
                more = self.step()
            except DatabaseError as error:
                self._faults.note("write_back", error, _LATER)
                more = False
            if not more and self._wait(IDLE_S):
                break

    def step(self) -> bool:
        """Look at some of what is to be written; returns False after the last, and begins anew then."""
        page = self._runs.unwritten(self._after, AT_ONCE)
        # What cannot be written yet keeps nothing else from being written.
        self._after = page[-1].number if page else 0
        clusters: dict[str, list[FinishedRun]] = {}
        for one in page:
            clusters.setdefault(one.cluster, []).append(one)
        for cluster, runs in clusters.items():
            try:
                known = self._accounting.newest(cluster, sorted({one.job for one in runs}))
            except _FAILS as error:
                self._faults.note("write_back", error, _LATER)
                continue
            for one in runs:
                self._settle(one, known.get(one.job))
        return bool(page)

    def _settle(self, one: FinishedRun, found: Accounted | None) -> None:
        outcome, done = self._outcome(one, found), True
        if outcome == "written" and found is not None and found.comment != one.comment:
            done = not self._wait(max(0.0, self._next_s - self._monotonic())) and self._write(one, found.name)
        if outcome and done:
            self._runs.settle(one.number, outcome)
            self.counts[outcome] += 1

    def _write(self, one: FinishedRun, name: str) -> bool:
        self._next_s = self._monotonic() + 1 / PER_S
        try:
            self._accounting.write(one.cluster, name, one.comment)
        except _FAILS as error:
            self._faults.note("write_back", error, _LATER)
            return False
        return True

    def _outcome(self, one: FinishedRun, found: Accounted | None) -> str:
        """Tell what is to become of a run; empty: to be looked at again."""
        if found is None or (found.end_us is not None and found.end_us < one.start_us - SLACK_US):
            # Not known, or so far only an earlier run is.
            return "unknown" if self._clock() * 1e6 - one.end_us > GIVE_UP_US else ""
        if max(found.submit_us, found.start_us or 0) > one.end_us + SLACK_US:
            return "older"
        if found.end_us is None:
            return ""
        return "foreign" if found.comment and not found.comment.startswith(PREFIX) else "written"


def _us(text: str) -> int | None:
    return int(text) * 1_000_000 if text.isascii() and text.isdecimal() and len(text) < 12 else None
