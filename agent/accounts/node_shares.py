"""What of the node beyond its GPUs may be each job's: an estimate of its own, which no bill holds.

What the books of the node advance by is split part by part, in whole half nanojoules by largest remainder, so that
jobs, ``_idle`` and ``_unattributed`` sum to cpu + memory + rest of `accounts.node` exactly:

* cpu and memory by CPU time: a job gets its part of all the time that the host's CPUs had, ``_idle`` the remainder:
  idle CPUs, services, a job before the first and after the last reading of its counter.
* of the rest, what it never was below, in the mean of ten minutes, is fixed: by the time that GPUs were held, each GPU
  alike, and ``_idle`` for those that nobody held. Before there are ten minutes, all of it counts as fixed.
* what the rest is above that (fans, losses of the supplies) by the joules of the boards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.accounts.ledger import add
from wattshed.agent.accounts.node import HNJ_PER_MW_US
from wattshed.agent.window import IDLE, UNATTRIBUTED, JobKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.ledger import JobAccount
    from wattshed.agent.window import CpuTimes, Window

ESTIMATED = ("cpu", "memory", "rest")
"""Parts of a node that are shared out: all but its GPUs."""
STALE_US = 10_000_000
"""While CPU times are not read, the last shares stand for so long; then it is nobody's."""
Weights = dict[str, int]


class Beyond(NamedTuple):
    """What a node used beyond its GPUs so far, by parts, hnj."""

    cpu: int = 0
    memory: int = 0
    rest: int = 0

    def since(self, before: Beyond) -> Beyond:
        """Return what came to it."""
        return Beyond(*(now - then for now, then in zip(self, before, strict=True)))


class WindowBooks(NamedTuple):
    """To whom a host's GPUs are booked at the end of a window: all GPUs that it ever had, and the open accounts."""

    window: Window
    gpus: Sequence[GpuAccount]
    jobs: Mapping[JobKey, JobAccount]

    def gpu_time(self) -> dict[tuple[str, str], int]:
        """Return for how long jobs held or used each GPU so far, us."""
        return {
            (key, gpu.gpu): line.active_us + line.held_us
            for key, job in self.jobs.items()
            for gpu, line in job.lines.items()
            if gpu.host == self.window.host
        }

    def board_energy(self) -> Weights:
        """Return what jobs and nobody used of the boards so far, hnj."""
        found: Weights = {
            IDLE: sum(gpu.idle_hnj for gpu in self.gpus),
            UNATTRIBUTED: sum(gpu.unattributed_hnj for gpu in self.gpus),
        }
        host = self.window.host
        for key, job in self.jobs.items():
            mine = sum(line.static_hnj + line.dynamic_hnj for gpu, line in job.lines.items() if gpu.host == host)
            if mine:
                found[key] = mine
        return found


def apportion(total: int, weights: Mapping[str, int]) -> Weights:
    """Split a total by largest remainder, ties in the order of the names; without any weight it is ``_idle``'s.

    Parameters
    ----------
    total : int
        0 or more.
    weights : mapping of str -> int
        0 or more each.
    """
    whole = sum(weights.values())
    if not whole:
        return {IDLE: total} if total else {}
    parts = {name: total * weight // whole for name, weight in weights.items()}
    left = total - sum(parts.values())
    for name in sorted(weights, key=lambda name: (-(total * weights[name] % whole), name))[:left]:
        parts[name] += 1
    return {name: part for name, part in parts.items() if part}


@dataclass(slots=True)
class CpuUse:
    """CPU time that jobs used since it was taken last, from their counters as they were read.

    Attributes
    ----------
    counters : dict of int -> int
        Of the last reading, us.
    read_us : int, us
        When that was; -1: there was none.
    used_us : dict of str -> int, us
        By job.
    capacity_us : int, us
        What all CPUs together had meanwhile.
    """

    counters: dict[int, int] = field(default_factory=dict)
    read_us: int = -1
    used_us: Weights = field(default_factory=dict)
    capacity_us: int = 0
    _last: Weights = field(default_factory=dict)

    def read(self, cpu: CpuTimes, jobs: Mapping[JobKey, JobAccount]) -> None:
        """Take one reading: a counter counts from its first one, and anew if it fell or was missing.

        Parameters
        ----------
        cpu : CpuTimes
        jobs : mapping of JobKey to JobAccount
            Whose account is closed uses nothing that could be told.
        """
        lasted_us = cpu.time_us - self.read_us
        if self.read_us >= 0 and lasted_us > 0:
            self.capacity_us += lasted_us * cpu.cpus
            for one in cpu.counters:
                used_us = one.used_us - self.counters.get(one.counter, one.used_us)
                if used_us > 0 and one.owner in jobs:
                    self.used_us[one.owner] = self.used_us.get(one.owner, 0) + used_us
        self.counters = {one.counter: one.used_us for one in cpu.counters}
        self.read_us = cpu.time_us

    def take(self, now_us: int) -> Weights:
        """Return the CPU time since this was asked last, with that of nobody; without a reading, what it was before."""
        if self.capacity_us:
            self._last = self.used_us | {IDLE: max(0, self.capacity_us - sum(self.used_us.values()))}
            self.used_us, self.capacity_us = {}, 0
        elif now_us - self.read_us > STALE_US:
            self._last = {}
        return self._last


@dataclass(slots=True)
class NodeShares:
    """The estimate of one host; what it gives to jobs is in their accounts.

    Attributes
    ----------
    begun : bool
        Whether any window told of CPU time: without, nothing is estimated.
    nobodys_hnj : dict of str -> dict of str -> int, hnj
        ``_idle`` or ``_unattributed`` -> part -> energy.
    fixed_mw : int, mW
        What the rest never was below, in the mean of ten minutes; -1: not known yet.
    owed_hnj : int
        Fixed rest that could not be booked yet, because the rest stood still while the node was in debt.
    """

    begun: bool = False
    nobodys_hnj: dict[str, Weights] = field(default_factory=dict)
    fixed_mw: int = -1
    owed_hnj: int = 0
    _cpu: CpuUse = field(default_factory=CpuUse)
    _lasted_us: int = 0  # since the rest was shared out last; what jobs had by then of GPU time and board joules:
    _held_us: dict[tuple[str, str], int] = field(default_factory=dict)
    _board_hnj: Weights = field(default_factory=dict)

    def hear(self, books: WindowBooks) -> None:
        """Take what a window says of CPU time, once its energy is booked."""
        window = books.window
        if window.cpu.cpus:
            self._cpu.read(window.cpu, books.jobs)
            if not self.begun:
                self.begun = True
                self._begin(books)
                return
        self._lasted_us += window.end_us - window.start_us

    def share(self, used: Beyond, covered_us: int, rest_mw: int | None, books: WindowBooks) -> None:
        """Share out what the books of the node advanced by.

        Parameters
        ----------
        used : Beyond
        covered_us : int, us
            The time that it covers.
        rest_mw : int or None, mW
            Mean power of the rest over the last ten minutes, if it is known.
        books : WindowBooks
        """
        if rest_mw is not None and (self.fixed_mw < 0 or rest_mw < self.fixed_mw):
            self.fixed_mw = max(0, rest_mw)
        if used.cpu or used.memory:
            weights = self._cpu.take(books.window.end_us)
            self._enter("cpu", apportion(used.cpu, weights), books)
            self._enter("memory", apportion(used.memory, weights), books)
        fixed_hnj = used.rest
        if self.fixed_mw >= 0:
            self.owed_hnj += self.fixed_mw * covered_us * HNJ_PER_MW_US
            fixed_hnj = min(used.rest, self.owed_hnj)
            self.owed_hnj -= fixed_hnj
        if used.rest:
            self._enter("rest", apportion(fixed_hnj, self._held(books)), books)
            self._enter("rest", apportion(used.rest - fixed_hnj, self._boards(books)), books)
            self._begin(books)

    def _held(self, books: WindowBooks) -> Weights:
        """Return for how long each job held GPUs since the rest was shared out last: no GPU longer than that took."""
        of_gpu: dict[str, Weights] = {}
        for (key, gpu), time_us in books.gpu_time().items():
            if (came_us := time_us - self._held_us.get((key, gpu), 0)) > 0:
                of_gpu.setdefault(gpu, {})[key] = came_us
        weights: Weights = {}
        for held in of_gpu.values():
            whole_us = max(self._lasted_us, sum(held.values()))
            for key, came_us in held.items():
                weights[key] = weights.get(key, 0) + came_us * self._lasted_us // whole_us
        weights[IDLE] = max(0, self._lasted_us * len(books.window.devices) - sum(weights.values()))
        return weights

    def _boards(self, books: WindowBooks) -> Weights:
        """Return the board joules of each job, and of nobody, since the rest was shared out last."""
        now = books.board_energy()
        return {key: max(0, hnj - self._board_hnj.get(key, 0)) for key, hnj in now.items()}

    def _enter(self, part: str, amounts: Weights, books: WindowBooks) -> None:
        for key, hnj in amounts.items():
            job = books.jobs.get(JobKey(key))
            add(self.nobodys_hnj.setdefault(key, {}) if job is None else job.node_hnj, {part: hnj})

    def _begin(self, books: WindowBooks) -> None:
        self._lasted_us, self._held_us, self._board_hnj = 0, books.gpu_time(), books.board_energy()

    def restart(self, books: WindowBooks) -> None:
        """Go on after the agent was down: counters of CPU time begin anew."""
        self._cpu = CpuUse()
        self._begin(books)

    def merge(self, other: NodeShares) -> None:
        """Add the estimate of the same host in another part."""
        for key, parts in other.nobodys_hnj.items():
            add(self.nobodys_hnj.setdefault(key, {}), parts)
        self.begun |= other.begun

    def plain(self) -> dict[str, Any]:
        """Lay it out for a state file."""
        nobodys = {key: dict(parts) for key, parts in self.nobodys_hnj.items()}
        return {"begun": self.begun, "nobodys": nobodys, "fixed_mw": self.fixed_mw, "owed_hnj": self.owed_hnj}

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> NodeShares:
        """Read it again.

        Raises
        ------
        ValueError, KeyError, TypeError, AttributeError
            It is none.
        """
        nobodys = {str(key): parts_of_plain(parts) for key, parts in plain["nobodys"].items()}
        return cls(bool(plain["begun"]), nobodys, int(plain["fixed_mw"]), int(plain["owed_hnj"]))


def parts_of_plain(parts: Mapping[str, Any]) -> Weights:
    """Read energies by part from a state file."""
    return {str(part): int(hnj) for part, hnj in parts.items()}
