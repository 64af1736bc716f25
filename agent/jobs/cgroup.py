r"""Who a process belongs to, read from its cgroup path.

The path is the one fact about a process that its user cannot choose freely: root (Slurm, the kubelet, dockerd, systemd)
makes the upper part, and an unprivileged user can only add below a subtree that was handed over. So every manager is
matched from the root of the path, and nothing below a handed-over subtree is trusted: ``user.slice`` (but for the
user's own rootless containers, as that user's), the payload of an LXC container, an nspawn or virtual machine, a batch
job, and every systemd service or scope that is not known to hold pods or containers, since it may run as a user who was
given its cgroup (``User=`` with ``Delegate=yes``). What the path alone cannot tell, `agent.jobs.delegation` asks the
kernel: who owns the folders.

Below a docker, podman or containerd container another container or a pod is trusted, the deepest first: kind, minikube
and docker-in-docker nest so. A pod stays itself, whatever it runs, but for batch systems whose daemon runs in a pod.

Layouts: the kubelet's ``pkg/kubelet/cm``, runc's ``docs/systemd.md``, ``libpod``, LXC 4's ``cgfsng``, libvirt's
"Control Groups Resource Management", systemd's "Control Group APIs and Delegation"; batch systems:
`agent.jobs.schedulers`.
"""

from __future__ import annotations

import re
from dataclasses import fields, replace

from .identity import NOBODY, CgroupIdentity

# By its place, not its name: it is a public entry of the installed package, under whatever name that is imported.
from .schedulers import flux_job, job_of_path

__all__ = ["LONGEST_TEXT", "NOBODY", "CgroupIdentity", "Owner", "identify", "lines_of"]

Owner = CgroupIdentity
"""The name by which the public contract calls it; within the agent an owner is `agent.window.Owner`."""

LONGEST_TEXT = 1 << 18
"""Characters of a cgroup file that are looked at: 64 hierarchies of PATH_MAX each."""
_PATH_MAX = 4096  # the kernel writes no longer path: it cuts it, or reading such a file fails

BATCH = frozenset({"slurm", "pbs", "htcondor", "gridengine", "nomad", "flux", "oar"})
CONTAINERS = frozenset({"docker", "podman", "containerd", "crio"})

_RANK = {
    runtime: rank
    for rank, runtime in enumerate(
        (
            "none",
            "systemd",
            "systemd-user",
            "lxc-monitor",
            "podman-monitor",
            "slurm-daemon",
            "libvirt",
            "lxc",
            "containerd",
            "crio",
            "docker",
            "podman",
            "kubernetes",
            "htcondor",
            "nomad",
            "gridengine",
            "flux",
            "pbs",
            "oar",
            "slurm",
        )
    )
}
_FIELDS = tuple(f.name for f in fields(CgroupIdentity))

_LINE = re.compile(r"(\d+:[^:/]*):(/.*)")
_MOUNT = re.compile(
    r"/sys/fs/cgroup(?:/(?:unified|systemd|(?:blkio|cpu|cpuacct|cpuset|devices|freezer|memory|pids)[a-z,]*))?(?=/)"
)

_ID = r"(?P<id>[0-9a-f]{64})"
_POD = re.compile(
    r"(?:[^:]*-)?pod(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})"
    rf"(?:\.slice)?(?::[a-z-]+:{_ID})?"
)
_IN_POD = re.compile(rf"(?:(?:cri-containerd|containerd|crio|docker|libpod|nerdctl)-|kata[_-])?{_ID}(?:\.scope)?")
_SCOPE = re.compile(
    rf"(?:[^:]*:)?(?P<kind>docker|libpod-payload|libpod|crio|cri-containerd|containerd|nerdctl)[-:]{_ID}(?:\.scope)?"
)
_CONMON = re.compile(rf"libpod-conmon-{_ID}(?:\.scope)?")
_HEX = re.compile(_ID)
_RUNTIMES = {"libpod": "podman", "libpod-payload": "podman", "cri-containerd": "containerd", "nerdctl": "containerd"}
# Folders that hold containers by bare id; the last three are docker started with --cgroup-parent (ECS, GitHub, Azure).
_FOLDERS = {
    "docker": "docker",
    "containerd": "containerd",
    "ecs": "docker",
    "actions_job": "docker",
    "azpl_job": "docker",
}
# containerd's cgroupfs driver makes /NAMESPACE/ID; in these well-known namespaces an id need not be hexadecimal.
_NAMESPACES = frozenset({"default", "k8s.io", "moby", "buildkit", "nerdctl"})
_NAME = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")

# Services that run as root and make the cgroups of pods and containers below their own.
_MAKES_CONTAINERS = re.compile(
    r"(?:kubelet|(?:k3s|rke2)(?:-[a-z0-9-]+)?|k0s(?:controller|worker)|microshift|containerd|docker|dockerd|crio"
    r"|cri-dockerd?|snap\.(?:microk8s|docker|k8s)\.[a-z0-9-]+)\.service|init\.scope"
)

_LXC = re.compile(r"/(?:system\.slice/)?lxc(?:(?P<kind>\.payload|\.monitor)[./]|/)(?P<name>[^/]+)")
_LIBVIRT = re.compile(
    r"/machine(?:\.slice)?/(?:[^/]+(?:\.slice|\.partition)/)*"
    r"(?:machine-(?P<scope>(?:qemu|lxc)\\x2d[^/]+)\.scope|(?P<legacy>[^/]+)\.libvirt-(?:qemu|lxc))(?![^/])"
)
_NSPAWN = re.compile(
    r"/machine\.slice/(?P<unit>systemd-nspawn@(?P<service>[^/]+)\.service|machine-(?P<scope>[^/]+)\.scope)(?![^/])"
)
_ESCAPE = re.compile(r"\\x([0-7][0-9a-f])")
_USER_SLICE = re.compile(r"user-([0-9]{1,10})\.slice")
# libpam-cgfs gives every user who logs in /user/NAME/N in every hierarchy of cgroup v1.
_USERS = frozenset({"user.slice", "user"})


def identify(text: str, flux_uid: int | None = None) -> CgroupIdentity:
    """Return who owns a process.

    Parameters
    ----------
    text : str
        The content of ``/proc/PID/cgroup`` (any number of hierarchies; where they disagree the most specific wins), or
        one path. Any text is accepted; what no rule understands is runtime ``none``.
    flux_uid : int, optional
        The user id of Flux, whose user manager runs everybody's jobs. Unknown: an account of the system may be it, a
        person's (1000 and above) never is.

    Returns
    -------
    Owner

    Examples
    --------
    >>> identify("0::/system.slice/slurmstepd.scope/job_4/step_0/user/task_0").job_id
    '4'
    """
    paths = {path for _, path in lines_of(text)}
    found = {_identify_path(path, flux_uid) for path in paths} | {NOBODY}
    if len(found) == 1:
        return NOBODY
    # The text of the answer comes last, so that the order of the lines never matters.
    best = max(found, key=lambda owner: (_RANK[owner.runtime], _known(owner), repr(owner)))
    for other in sorted(found, key=repr):
        # cgroup v1: one hierarchy ends at the step, another at the task; together they know all.
        same = (best.runtime, best.job_id, best.sluid) == (other.runtime, other.job_id, other.sluid)
        if same and best.runtime == "slurm":
            agree = best.step is None or other.step in {best.step, None}
            missing = {name: getattr(other, name) for name in _FIELDS if getattr(best, name) is None}
            best = replace(best, **missing) if agree else best
    return best


def lines_of(text: str) -> list[tuple[str, str]]:
    """Split the content of a cgroup file.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of (str, str)
        ``N:CONTROLLERS`` of a hierarchy (empty where the line is a bare path), and the path in it.
    """
    split = ((_LINE.fullmatch(line), line) for line in text[:LONGEST_TEXT].split("\n"))
    found = [(hierarchy[1], hierarchy[2]) if hierarchy else ("", line) for hierarchy, line in split]
    # Who owns a process stands at the top of its path: one that a user made too deep is cut, not ignored.
    cut = [(h, path if len(path) <= _PATH_MAX else path[:_PATH_MAX].rpartition("/")[0]) for h, path in found]
    return [(hierarchy, path) for hierarchy, path in cut if path not in {"", "/"}]


def _known(owner: CgroupIdentity) -> int:
    return sum(getattr(owner, name) is not None for name in _FIELDS)


def _identify_path(path: str, flux_uid: int | None) -> CgroupIdentity:
    path = _MOUNT.sub("", path.strip().removesuffix(" (deleted)"), count=1)
    parts = [part for part in path.split("/") if part]
    # Seen from another cgroup namespace a path first climbs: /../../system.slice/...
    while parts and parts[0] == "..":
        del parts[0]
    return _below_root(parts, flux_uid) or _namespace(parts) or NOBODY


def _below_root(parts: list[str], flux_uid: int | None = None) -> CgroupIdentity | None:
    """Identify a path that begins at the root of a host, or of a container that runs managers of its own."""
    path = "/" + "/".join(parts)
    if parts and parts[0] in _USERS:
        return flux_job(path, flux_uid) or _user(parts)
    return _machine(path) or job_of_path(path) or _walk(parts)


def _machine(path: str) -> CgroupIdentity | None:
    """Machines whose own root writes the rest of the path: it says nothing to us."""
    if lxc := _LXC.match(path):
        runtime = "lxc-monitor" if lxc["kind"] == ".monitor" else "lxc"
        return CgroupIdentity(runtime, container_id=lxc["name"].removesuffix(".scope"))
    if machine := _LIBVIRT.match(path):
        return CgroupIdentity("libvirt", machine=_unescape(machine["scope"] or machine["legacy"]))
    if machine := _NSPAWN.match(path):
        return CgroupIdentity(
            "systemd", unit=machine["unit"], machine=_unescape(machine["service"] or machine["scope"])
        )
    return None


def _walk(parts: list[str]) -> CgroupIdentity | None:
    """Go down from the root to the first pod, container or unit."""
    unit: CgroupIdentity | None = None
    for depth, part in enumerate(parts):
        if part in _USERS or part == "htcondor":
            break
        if pod := _POD.fullmatch(part):
            return _pod(parts, depth, pod)
        if owner := _container(parts, depth):
            inner = _below_root(_inside(parts[depth + 1 :]))
            return _nested(inner, owner) or owner
        if part.endswith((".service", ".scope")) and unit is None and len(part) > len(".scope"):
            unit = CgroupIdentity("systemd", unit=part) if all(p.endswith(".slice") for p in parts[:depth]) else None
            payload = _SCOPE.fullmatch(parts[depth + 1]) if depth + 1 < len(parts) else None
            if payload and payload["kind"] == "libpod-payload":
                # A quadlet (podman --cgroups=split): one service, one container, named together.
                return CgroupIdentity("podman", container_id=payload["id"], unit=part)
            if not _MAKES_CONTAINERS.fullmatch(part):
                return unit
        elif depth and parts[depth - 1].endswith(".slice") and not part.endswith(".slice"):
            # Neither slice nor unit: not systemd's, nor the kubelet's. HTCondor's slots are so, whatever their name.
            return None
    if len(parts) >= 2 and parts[0] == "libpod_parent" and parts[-1] == "conmon":
        return CgroupIdentity("podman-monitor")
    return unit


def _pod(parts: list[str], depth: int, pod: re.Match[str]) -> CgroupIdentity:
    """Name a pod, and its container: the next folder, or (docker's cgroupfs driver in a pod) one below ``docker``."""
    below = depth + 1
    if below + 1 < len(parts) and parts[below] in _FOLDERS and _HEX.fullmatch(parts[below + 1]):
        below += 1
    inner = _IN_POD.fullmatch(parts[below]) if below < len(parts) else None
    container = pod["id"] or (inner["id"] if inner else None)
    uid = pod["uid"].replace("_", "-")
    owner = CgroupIdentity("kubernetes", pod_uid=uid, container_id=container, qos=_qos(parts, depth))
    job = _below_root(_inside(parts[below + 1 if inner else depth + 1 :]))
    # A pod that runs pods is one pod to the kubelet that granted the GPU; a batch system in it has jobs of its own.
    return _nested(job, owner) or owner if job is not None and job.runtime in BATCH else owner


def _inside(parts: list[str]) -> list[str]:
    """Step into the folder that crun makes within a container's scope, as its own root."""
    return parts[1:] if parts[:1] == ["container"] else parts


def _nested(inner: CgroupIdentity | None, outer: CgroupIdentity) -> CgroupIdentity | None:
    """Decide who counts below a container: another container, a pod, or a batch job, with where it runs."""
    if inner is None:
        return None
    if inner.runtime in BATCH:
        pod_uid, container = inner.pod_uid or outer.pod_uid, inner.container_id or outer.container_id
        return replace(inner, pod_uid=pod_uid, container_id=container)
    if inner.runtime == "kubernetes" or (inner.runtime in CONTAINERS and inner.uid is None):
        # A unit of the container's own systemd is none of the host's.
        return replace(inner, unit=None)
    return None


def _container(parts: list[str], depth: int) -> CgroupIdentity | None:
    part = parts[depth]
    if monitor := _CONMON.fullmatch(part):
        return CgroupIdentity("podman-monitor", container_id=monitor["id"])
    if (scope := _SCOPE.fullmatch(part)) and scope["kind"] != "libpod-payload":
        return CgroupIdentity(_RUNTIMES.get(scope["kind"], scope["kind"]), container_id=scope["id"])
    if _HEX.fullmatch(part) and depth:
        above = parts[depth - 1] if parts[depth - 1] in _FOLDERS else parts[0]
        if parts[0] in {"kubepods", "kubelet"}:
            return CgroupIdentity("kubernetes", container_id=part)
        if above in _FOLDERS:
            return CgroupIdentity(_FOLDERS[above], container_id=part)
    return None


def _namespace(parts: list[str]) -> CgroupIdentity | None:
    """Find a container of containerd's cgroupfs driver, which has no folder of its own."""
    if len(parts) < 2 or parts[0] in _USERS or parts[0].endswith((".slice", ".service", ".scope")):
        return None
    namespace, name = parts[:2]
    known = _HEX.fullmatch(name) or (namespace in _NAMESPACES and _NAME.fullmatch(name))
    named = known and _NAME.fullmatch(namespace)
    return CgroupIdentity("containerd", container_id=name, containerd_namespace=namespace) if named else None


def _qos(parts: list[str], depth: int) -> str | None:
    around = "/".join(parts[max(0, depth - 1) : depth + 1])
    for name in ("burstable", "besteffort"):
        if name in around.partition("pod")[0] or name in around.rpartition("pod")[0]:
            return name
    return "guaranteed" if "kubepods" in around else None


def _user(parts: list[str]) -> CgroupIdentity:
    """Below user.slice: the login sessions and services of one user, and that user's own containers."""
    user = _USER_SLICE.fullmatch(parts[1]) if len(parts) > 1 and parts[0] == "user.slice" else None
    if user is None:
        return NOBODY
    uid = int(user[1])
    for part in reversed(parts[2:]):
        if monitor := _CONMON.fullmatch(part):
            return CgroupIdentity("podman-monitor", container_id=monitor["id"], uid=uid)
        scope = _SCOPE.fullmatch(part)
        if scope and scope["kind"] in {"libpod", "libpod-payload"}:
            unit = _unit(parts[3 : parts.index(part)]) if scope["kind"] == "libpod-payload" else None
            return CgroupIdentity("podman", container_id=scope["id"], unit=unit.unit if unit else None, uid=uid)
    if "libpod_parent" in parts and parts[-1] == "conmon":
        return CgroupIdentity("podman-monitor", uid=uid)
    outer = _unit(parts[1:])
    if parts[2:4] == [f"user@{uid}.service", "user.slice"] and len(parts) > 4:
        # Rootless docker and nerdctl: where runc puts what names no slice.
        scope = _SCOPE.fullmatch(parts[4])
        if scope and scope["kind"] in {"docker", "nerdctl"}:
            return CgroupIdentity(_RUNTIMES.get(scope["kind"], scope["kind"]), container_id=scope["id"], uid=uid)
    inner = _unit(parts[3:]) if outer and outer.unit == f"user@{uid}.service" else None
    unit = inner or outer
    return CgroupIdentity("systemd-user", unit=unit.unit, uid=uid) if unit else NOBODY


def _unit(parts: list[str]) -> CgroupIdentity | None:
    """Find the systemd unit: the first part after the slices, as systemd's own ``cg_path_get_unit`` does."""
    for part in parts:
        if part.endswith((".service", ".scope")) and len(part) > len(".scope"):
            return CgroupIdentity("systemd", unit=part)
        if not part.endswith(".slice"):
            return None
    return None


def _unescape(name: str) -> str:
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), name)
