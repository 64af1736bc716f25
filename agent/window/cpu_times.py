"""How long jobs kept the processors of their host busy, as the counters of their cgroups and processes say it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.window import JobKey


class CpuTime(NamedTuple):
    """One counter of a job's CPU time: of its cgroup, or of one of its processes.

    Attributes
    ----------
    owner : JobKey
    counter : int
        Tells the counters of a host apart.
    used_us : int, us
        CPU time since that counter began, of all processors together; never negative.
    """

    owner: JobKey
    counter: int
    used_us: int


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Counters of jobs' CPU time, all read at one moment of a window.

    Attributes
    ----------
    cpus : int
        How many CPUs the host has; 0: nothing was read.
    time_us : int, us
        When, on the windows' time line.
    counters : tuple of CpuTime
        A job is in it while it holds or uses a GPU. Who has no counter is left out: that is unknown, and not 0.
    """

    cpus: int = 0
    time_us: int = 0
    counters: tuple[CpuTime, ...] = ()

    def renamed(self, now: Callable[[JobKey], JobKey]) -> CpuTimes:
        """Return the same with the keys of today; `now` says them."""
        counters = tuple(one._replace(owner=now(one.owner)) for one in self.counters)
        return self if counters == self.counters else replace(self, counters=counters)


NO_CPU_TIMES = CpuTimes()
