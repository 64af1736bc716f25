"""Where the CPU time of each job is counted: in the cgroup that is the job's own, else by its processes on GPUs.

A job's cgroup is the shortest path that names the same job: all of a job's steps, tasks and helpers lie in it, on a GPU
or not. A path that the kernel shows from another cgroup namespace, and a cgroup in which several jobs run (a session's,
a batch system's service), is no job's own: then each process on a GPU counts for itself.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.jobs.cgroup import identify, lines_of
from wattshed.agent.jobs.naming import key_of_path
from wattshed.agent.window import JobKey

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from wattshed.agent.jobs.identity import CgroupIdentity
    from wattshed.agent.jobs.processes import Process, Processes
    from wattshed.agent.window import Owner

_UNITS = frozenset({"systemd", "systemd-user", "slurm-daemon", "libvirt"})
"""Runtimes whose cgroup may run others' jobs: it is its owner's only if it names the owner."""
_SEVERAL = JobKey("")


class CpuPlace(NamedTuple):
    """One counter of CPU time, and whose it is.

    Attributes
    ----------
    owner : JobKey
    cgroup : str
        Path of the cgroup from the root of its hierarchy; empty: the process counts.
    pid, ticks : int
        The process, and when it started (clock ticks since boot).
    """

    owner: JobKey
    cgroup: str
    pid: int = 0
    ticks: int = 0

    @property
    def counter(self) -> int:
        """A number that tells the counters of a host apart."""
        return zlib.crc32((self.cgroup or f"{self.pid} {self.ticks}").encode("utf-8", "surrogateescape"))


class CpuPlaces:
    """Finds them window by window; it remembers the cgroups of jobs that have no process on a GPU for a while.

    Parameters
    ----------
    processes : Processes
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._cgroups: dict[tuple[str, int, int], tuple[CgroupIdentity, str]] = {}
        self._of_owner: dict[str, JobKey] = {}

    def find(self, present: Iterable[tuple[Process, Owner]], holders: Collection[JobKey]) -> list[CpuPlace]:
        """Return where the CPU time of jobs is counted now.

        Parameters
        ----------
        present : iterable of (Process, Owner)
            Processes on GPUs, with whose they are.
        holders : collection of JobKey
            Who holds or uses a GPU: nobody else's time counts.
        """
        found = {process.key: (process, owner) for process, owner in present if owner.key in holders}
        known = {key: self._cgroup_of(process) for key, (process, _) in found.items()}
        self._cgroups = {key: (found[key][0].identity, cgroup) for key, cgroup in known.items()}
        owned = {cgroup: owner for cgroup, owner in self._of_owner.items() if owner in holders}
        seen: dict[str, JobKey] = {}
        for key, (process, owner) in found.items():
            if (cgroup := known[key]) and _is_its_own(process.identity, owner):
                seen[cgroup] = owner.key if seen.get(cgroup, owner.key) == owner.key else _SEVERAL
        self._of_owner = owned = {cgroup: owner for cgroup, owner in {**owned, **seen}.items() if owner != _SEVERAL}
        places = [CpuPlace(owner, cgroup) for cgroup, owner in owned.items()]
        for key, (process, owner) in found.items():
            if owned.get(known[key]) != owner.key:
                places.append(CpuPlace(owner.key, "", process.pid, key[2]))
        return sorted(places)

    def _cgroup_of(self, process: Process) -> str:
        """Return the cgroup that is named as its job; empty if there is none."""
        known = self._cgroups.get(process.key)
        if known is not None and known[0] is process.identity:
            return known[1]
        return job_cgroup(self._processes.cgroup(process), process.identity)


def job_cgroup(text: str, identity: CgroupIdentity) -> str:
    """Return the shortest path that names the same job as an identity does; empty if no path does.

    Parameters
    ----------
    text : str
        The content of ``/proc/PID/cgroup``, as far as root alone wrote it.
    identity : CgroupIdentity
        Of that text.

    Examples
    --------
    >>> text = "0::/system.slice/slurmstepd.scope/job_4/step_0/user/task_0"
    >>> job_cgroup(text, identify(text))
    '/system.slice/slurmstepd.scope/job_4'
    """
    wanted = key_of_path(identity)
    if wanted is None:
        return ""
    # In cgroup v1 CPU time is counted in a hierarchy of its own.
    for _, path in sorted(lines_of(text), key=lambda line: "cpuacct" not in line[0]):
        parts = path.strip("/").split("/")
        if ".." in parts:
            continue
        for depth in range(1, len(parts) + 1):
            above = "/" + "/".join(parts[:depth])
            if key_of_path(identify(above)) == wanted:
                return above
    return ""


def _is_its_own(identity: CgroupIdentity, owner: Owner) -> bool:
    return identity.runtime not in _UNITS or key_of_path(identity) == owner.key
