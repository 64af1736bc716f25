"""The CPU time of a simulated node's jobs, as their cgroups show it below what stands for ``/sys`` (cgroup v2)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from wattshed.agent.simulation.proc import cgroup_path
from wattshed.agent.simulation.sysfs import CORES

if TYPE_CHECKING:
    from wattshed.agent.clock import Clock
    from wattshed.agent.simulation.beside import BesideTruth
    from wattshed.agent.simulation.proc import ProcessTree, Running

STAT = "/cpu.stat"
CGROUPS = "fs/cgroup"


class CgroupTimes:
    """Files that say how many CPUs there are, and how long each job kept its cores busy in this cycle.

    Parameters
    ----------
    truth : BesideTruth
    tree : ProcessTree
        Who runs: the cgroup of a job that ended is gone.
    clock : Clock
    """

    def __init__(self, truth: BesideTruth, tree: ProcessTree, clock: Clock) -> None:
        self._truth, self._tree, self._clock = truth, tree, clock

    @property
    def cpus(self) -> int:
        """How many CPUs the node has."""
        return self._truth.host.packages * CORES

    def read(self, path: str) -> bytes:
        """Return what a file says now; raises OSError."""
        if path == "devices/system/cpu/online":
            return f"0-{self.cpus - 1}\n".encode()
        now_us, folder = self._clock.now_us(), path.removeprefix(CGROUPS).removesuffix(STAT)
        inside = [one for one in self._tree.running(now_us) if f"{cgroup_path(one)}/".startswith(f"{folder}/")]
        if not (path.startswith(f"{CGROUPS}/") and path.endswith(STAT) and inside):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        used_us = sum(self._used_us(one, now_us) for one in {id(one.job): one for one in inside}.values())
        return f"usage_usec {used_us}\nuser_usec {used_us}\nsystem_usec 0\n".encode()

    def _used_us(self, one: Running, now_us: int) -> int:
        """Return what a job's run used: a cycle's run begins at zero, and a job without end goes on."""
        line = self._truth.lines[0]
        begin_us = line.origin_us + (0 if one.job.forever else one.cycle * line.cycle_us)
        return self._truth.job_core_us(one.job, now_us) - self._truth.job_core_us(one.job, begin_us)
