"""From an identity to the job that is billed: its key, and the labels that the identity itself gives.

The keys cannot collide across users: whatever a user may name freely stands behind that user's own id.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.jobs.text import printable
from agent.window import JobKey, Owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.jobs.cgroup import Owner as Identity

SHORT_ID = 12
"""Hexadecimal digits of a container id that people know it by."""

_HEX = re.compile(r"[0-9a-f]{64}")


def job_of(identity: Identity, uid: Callable[[], int], command: Callable[[], str]) -> Owner:
    """Name the job that an identity stands for.

    Parameters
    ----------
    identity : agent.jobs.cgroup.Owner
    uid, command : callable
        Asked only where the identity alone does not name a job: the process's real user id and program name.

    Returns
    -------
    agent.window.Owner
        Key ``slurm:1234``, ``oar:1234``, ``k8s:<pod uid>/<container>``, ``container:<12 hex>`` (or
        ``container:<manager>/<name>``), ``unit:<name>``, ``user:<uid>/<name>``; labels ``manager`` and what else is
        known.
    """
    labels = {"manager": identity.runtime}
    if identity.runtime in {"slurm", "oar"}:
        if identity.uid is not None:
            labels["uid"] = str(identity.uid)
        return Owner(JobKey(f"{identity.runtime}:{identity.job_id}"), labels)
    short = identity.container_id or ""
    short = short[:SHORT_ID] if _HEX.fullmatch(short) else printable(short)
    if identity.runtime == "kubernetes" and (identity.pod_uid or short):
        labels |= {"pod_uid": identity.pod_uid or "", "container_id": short, "qos": identity.qos or ""}
        return Owner(JobKey(f"k8s:{identity.pod_uid or '-'}/{short or '-'}"), {k: v for k, v in labels.items() if v})
    if identity.runtime == "podman" and identity.uid is not None:
        # A user can make a cgroup of any name below their own slice, another's container id too.
        labels |= {"container": short, "uid": str(identity.uid)}
        return Owner(JobKey(f"user:{identity.uid}/libpod-{short}"), labels)
    if identity.runtime in {"docker", "podman", "containerd", "crio", "lxc"} and short:
        hexadecimal = identity.container_id != short
        labels["container"] = short
        within = identity.containerd_namespace or identity.runtime
        return Owner(JobKey(f"container:{short}" if hexadecimal else f"container:{within}/{short}"), labels)
    if identity.runtime == "libvirt":
        machine = printable(identity.machine or "")
        return Owner(JobKey(f"unit:{machine}"), labels | {"machine": machine})
    if identity.runtime in {"systemd", "slurm-daemon"} and identity.unit:
        labels["unit"] = printable(identity.unit)
        if identity.machine:
            labels["machine"] = printable(identity.machine)
        return Owner(JobKey(f"unit:{labels['unit']}"), labels)
    number = identity.uid if identity.uid is not None else uid()
    labels["uid"] = "unknown" if number < 0 else str(number)
    labels["command"] = printable(command())
    name = labels["command"]
    if identity.runtime == "systemd-user" and identity.unit:
        labels["unit"] = printable(identity.unit)
        if identity.unit.endswith(".service") and not identity.unit.startswith("user@"):
            name = labels["unit"]
    return Owner(JobKey(f"user:{labels['uid']}/{name}"), labels)
