"""Who a cgroup path says that a process belongs to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CgroupIdentity:
    """What a cgroup path says about its process; a field that does not apply is None.

    Attributes
    ----------
    runtime : str
        slurm, slurm-daemon, kubernetes, docker, podman, podman-monitor, containerd, crio, lxc, lxc-monitor, libvirt,
        oar, pbs, htcondor, gridengine, nomad, flux, systemd, systemd-user or none.
    job_id, step, task : str
        Slurm's (the raw id: an array task 9_3 has an id of its own), or another batch system's job; Nomad's allocation
        and task; Grid Engine's array task.
    slurm_node : str
        The node's name where the path has it (several slurmd on a host, and Debian's build).
    pod_uid : str
        With hyphens, as the API server writes it; 32 hex digits for a static pod.
    container_id : str
        64 hex digits, or a name (LXC, containerd); of a monitor, the container that it watches; of a batch job whose
        manager runs in a container (as ``pod_uid``), that container.
    unit : str
        The systemd unit, as systemd spells it.
    machine : str
        Virtual machine or nspawn machine, unescaped.
    uid : int
        Only where root wrote it into the path.
    qos : str
        Kubernetes: guaranteed, burstable or besteffort.
    containerd_namespace : str
    sluid : str
        Slurm's name of a job since 26.05, where the path has it in place of the job's number.
    slot : str
        HTCondor's slot.
    """

    runtime: str = "none"
    job_id: str | None = None
    step: str | None = None
    task: str | None = None
    slurm_node: str | None = None
    pod_uid: str | None = None
    container_id: str | None = None
    unit: str | None = None
    machine: str | None = None
    uid: int | None = None
    qos: str | None = None
    containerd_namespace: str | None = None
    sluid: str | None = None
    slot: str | None = None


NOBODY = CgroupIdentity()
HIDDEN = CgroupIdentity("systemd-user")
"""Who has a path that the kernel cannot tell (ENAMETOOLONG): only who was handed a cgroup makes one so deep, so it is
no batch system's, nor the machine's, but its user's own."""
