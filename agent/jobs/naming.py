"""From an identity to the job that is billed: its key, and the labels that the identity itself gives.

The keys cannot collide across users: whatever a user may name freely comes after that user's own id.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.jobs.text import for_key, printable
from wattshed.agent.window import MISSING, JobKey, Owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.jobs.cgroup import CgroupIdentity

SHORT_ID = 12
"""Hexadecimal digits of a container id that people know it by."""

_HEX = re.compile(r"[0-9a-f]{64}")
# Runtimes that users run without root, and what their containers' cgroups are called.
_ROOTLESS = {"podman": "libpod", "docker": "docker", "containerd": "nerdctl"}


def job_of(identity: CgroupIdentity, uid: Callable[[], int], command: Callable[[], str]) -> Owner:
    """Name the job that an identity means.

    Parameters
    ----------
    identity : agent.jobs.identity.CgroupIdentity
    uid, command : callable
        Asked only where the identity alone does not name a job: the process's real user id and program name.

    Returns
    -------
    agent.window.Owner
        Key ``slurm:1234`` (``slurm:<sluid>`` while the path alone is known), ``pbs:1234.server``, ``oar:1234``,
        ``gridengine:1234``, ``flux:<id>``, ``htcondor:<slot>/<uid>``, ``nomad:<allocation>/<task>``,
        ``k8s:<pod uid>/<container>``, ``container:<12 hex>`` (or ``container:<manager>/<name>``), ``unit:<name>``,
        ``user:<uid>/<name>``; labels ``manager`` and what else is known.
    """
    return _of_a_cgroup(identity, uid) or _of_a_user(identity, uid, command)


def key_of_path(identity: CgroupIdentity) -> JobKey | None:
    """Return the key of the job that a cgroup is named as; None where its processes name it, by user and command."""
    owner = _of_a_cgroup(identity, lambda: MISSING)
    if owner is None and _is_a_users_service(identity):
        owner = _of_a_user(identity, lambda: MISSING, str)
    return owner.key if owner is not None else None


def _of_a_cgroup(identity: CgroupIdentity, uid: Callable[[], int]) -> Owner | None:
    short = identity.container_id or ""
    short = short[:SHORT_ID] if _HEX.fullmatch(short) else for_key(short)
    return _of_a_batch_system(identity, short, uid) or _of_a_container(identity, short) or _of_a_unit(identity)


def _of_a_batch_system(identity: CgroupIdentity, short: str, uid: Callable[[], int]) -> Owner | None:
    name = _batch_name(identity)
    if not name:
        return None
    batch = {"uid": identity.uid, "sluid": identity.sluid, "slot": identity.slot, "pod_uid": identity.pod_uid}
    if identity.runtime in {"gridengine", "nomad"}:
        batch["task"] = identity.task
    if identity.uid is None and identity.runtime in {"flux", "htcondor", "pbs", "gridengine"}:
        # The path names no user, and the manager starts the job as its user; its own helpers are root's.
        batch["uid"] = number if (number := uid()) > 0 else None
    labels = {"manager": identity.runtime}
    labels |= {label: printable(str(value)) for label, value in batch.items() if value is not None}
    labels |= {"container_id": short} if short else {}
    # The next job of a slot may be another user's.
    name += f"/{batch['uid']}" if identity.runtime == "htcondor" and batch["uid"] is not None else ""
    return Owner(JobKey(f"{identity.runtime}:{name}"), labels)


def _of_a_container(identity: CgroupIdentity, short: str) -> Owner | None:
    labels = {"manager": identity.runtime}
    if identity.runtime == "kubernetes" and (identity.pod_uid or short):
        labels |= {"pod_uid": identity.pod_uid or "", "container_id": short, "qos": identity.qos or ""}
        return Owner(JobKey(f"k8s:{identity.pod_uid or '-'}/{short or '-'}"), {k: v for k, v in labels.items() if v})
    if identity.runtime in _ROOTLESS and identity.uid is not None and short:
        # A user can make a cgroup of any name below their own slice, another's container id too.
        labels |= {"container": short, "uid": str(identity.uid)}
        return Owner(JobKey(f"user:{identity.uid}/{_ROOTLESS[identity.runtime]}-{short}"), labels)
    if identity.runtime == "podman" and identity.unit:
        # Below a service the name of the container is as trustworthy as the service's user; the service itself is not.
        labels |= {"container": short, "unit": printable(identity.unit)}
        return Owner(JobKey(f"unit:{for_key(identity.unit)}"), labels)
    if identity.runtime in {"docker", "podman", "containerd", "crio", "lxc"} and short:
        hexadecimal = identity.container_id != short
        labels["container"] = printable(short)
        within = identity.containerd_namespace or identity.runtime
        return Owner(JobKey(f"container:{short}" if hexadecimal else f"container:{within}/{short}"), labels)
    return None


def _of_a_unit(identity: CgroupIdentity) -> Owner | None:
    labels = {"manager": identity.runtime}
    if identity.runtime == "libvirt":
        machine = for_key(identity.machine or "")
        # A guest may be called like a unit.
        unit = f"machine/{machine}" if machine.endswith((".service", ".scope")) else machine
        return Owner(JobKey(f"unit:{unit}"), labels | {"machine": printable(identity.machine or "")})
    if identity.runtime in {"systemd", "slurm-daemon"} and identity.unit:
        labels["unit"] = printable(identity.unit)
        if identity.machine:
            labels["machine"] = printable(identity.machine)
        return Owner(JobKey(f"unit:{for_key(identity.unit)}"), labels)
    return None


def _is_a_users_service(identity: CgroupIdentity) -> bool:
    unit = identity.unit or ""
    return identity.runtime == "systemd-user" and unit.endswith(".service") and not unit.startswith("user@")


def _of_a_user(identity: CgroupIdentity, uid: Callable[[], int], command: Callable[[], str]) -> Owner:
    number = identity.uid if identity.uid is not None else uid()
    labels = {
        "manager": identity.runtime,
        "uid": "unknown" if number < 0 else str(number),
        "command": printable(command()),
    }
    name = labels["command"]
    if identity.runtime == "systemd-user" and identity.unit:
        labels["unit"] = printable(identity.unit)
        if _is_a_users_service(identity):
            name = labels["unit"]
    return Owner(JobKey(f"user:{labels['uid']}/{name}"), labels)


def _batch_name(identity: CgroupIdentity) -> str:
    """Return what a batch system calls the job; empty for whatever is not a batch job."""
    if identity.runtime == "htcondor":
        return for_key(identity.slot or "")
    if identity.runtime == "nomad":
        return for_key(f"{identity.job_id}/{identity.task}" if identity.task else f"{identity.job_id}")
    if identity.runtime in {"slurm", "oar", "pbs", "gridengine", "flux"}:
        return for_key(identity.job_id or identity.sluid or "")
    return ""
