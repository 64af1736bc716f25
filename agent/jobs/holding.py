"""Which job a process outside every job's cgroup works for: the holder's, if nobody else can have started it.

Batch systems that make no cgroup, an ssh session into a running job, a container engine started from within one: the
process is outside the job, but the job holds the GPU. Three things can show that it is the job's, best first: it runs
as the job's user; the node's mapping knows no users, one job alone holds the GPU, and the process is a batch system's;
or it is a container of root's engine, of which nobody can say who started it, on a GPU that one job has all to itself
since before the container was seen there. What could be somebody else's stays with whoever it can be shown to be.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.jobs.reservations import exclusive
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.jobs.identity import CgroupIdentity
    from wattshed.agent.jobs.reservations import Reservation

_CONTAINERS = frozenset({"docker", "podman", "containerd", "crio"})
"""Of root's engine, unless the path says in which user's slice it runs: the user ids in there are not this host's."""
_APART = frozenset({"kubernetes", "lxc", "lxc-monitor", "libvirt", "podman-monitor"})
"""Granted by somebody else, or a machine with users of its own."""
_BATCH = frozenset({"none", "slurm", "slurm-daemon", "pbs", "htcondor", "gridengine", "flux", "oar"})
_BATCH_UNIT = re.compile(
    r"(?:slurmd|slurmstepd|pbs|pbs_mom|pbs_jobs|torque-mom|flux|condor|htcondor|lsfd?|openlava|sge_?execd|sgeexecd[^/]*|"
    r"gridengine-exec(?:d)?|oar-node)(?:@[^/]*)?\.(?:service|scope)"
)
"""Units of batch systems, in which the jobs run where each has no cgroup of its own."""


def is_of_roots_engine(identity: CgroupIdentity) -> bool:
    """Return whether a process is in a container of which only root's engine knows who started it."""
    return identity.runtime in _CONTAINERS and identity.uid is None and identity.unit is None


def works_for(
    identity: CgroupIdentity, uid: int, seen_us: int, held: Sequence[Reservation]
) -> tuple[Reservation, bool] | None:
    """Find the job that a process works for, by who holds the GPU it is on.

    Parameters
    ----------
    identity : agent.jobs.identity.CgroupIdentity
        Names no job.
    uid : int
        The process's real user id; -1 unknown.
    seen_us : int, us
        Since when it is known to be on the GPU.
    held : sequence of Reservation
        Of a batch system, on the place where the process is; one job may have several.

    Returns
    -------
    (Reservation, bool) or None
        The hold, and whether that is a guess; None if nobody can say, or if it is somebody else's.
    """
    if not held or identity.runtime in _APART or identity.machine is not None:
        return None
    if is_of_roots_engine(identity):
        whole = exclusive(held)
        return (whole, True) if whole is not None and whole.since_us <= seen_us else None
    if identity.runtime in _CONTAINERS and identity.uid is None:
        return None  # of a service's own engine
    # Below user.slice anybody may name a unit as a batch system's.
    service = identity.runtime == "systemd" and _BATCH_UNIT.fullmatch(identity.unit or "") is not None
    batch = service or identity.runtime in _BATCH
    who = uid if identity.uid is None else identity.uid
    of_user = [one for one in held if one.uid == who != MISSING]
    if who == 0 and not batch:
        # The machine's own services run as root, and so may a job: they are not its.
        of_user = []
    if of_user:
        # Which of one user's several jobs it is, nobody can say.
        return (of_user[0], False) if len({one.owner.key for one in of_user}) == 1 else None
    if batch and len({one.owner.key for one in held}) == 1 and all(one.uid == MISSING for one in held):
        return held[0], False
    return None
