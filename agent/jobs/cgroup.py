r"""Who a process belongs to, read from its cgroup path.

The path is the one fact about a process that its user cannot choose freely: root (Slurm, the kubelet, dockerd, systemd)
makes the upper part, and an unprivileged user can only add below a subtree that was handed over. So every scheduler is
matched from the root of the path, and nothing below a handed-over subtree (``user.slice``, the payload of an LXC
container, an nspawn or virtual machine) is believed, but for rootless podman, as that same user's own container.
Below a docker, podman or containerd container another container or pod is believed, the deepest first: kind, minikube
and docker-in-docker nest so, and writing there takes a privileged container.

Layouts: Slurm's ``src/plugins/cgroup``, the kubelet's ``pkg/kubelet/cm``, runc's ``docs/systemd.md``, ``libpod``,
LXC 4's ``cgfsng``, libvirt's "Control Groups Resource Management", systemd's "Control Group APIs and Delegation".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace

LONGEST_TEXT = 1 << 18
"""Characters of a cgroup file that are looked at: 64 hierarchies of PATH_MAX each."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What a cgroup path says about its process; a field that does not apply is None.

    Attributes
    ----------
    runtime : str
        slurm, slurm-daemon, kubernetes, docker, podman, podman-monitor, containerd, crio, lxc, lxc-monitor, libvirt,
        oar, systemd, systemd-user or none.
    job_id, step, task : str
        Slurm's (the raw id: an array task 9_3 has an id of its own), or OAR's job.
    slurm_node : str
        The node's name where the path has it (several slurmd on a host, and Debian's build).
    pod_uid : str
        With hyphens, as the API server writes it; 32 hex digits for a static pod.
    container_id : str
        64 hex digits, or a name (LXC, containerd); of a monitor, the container that it watches.
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


NOBODY = Owner()

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
            "oar",
            "slurm",
        )
    )
}
_FIELDS = tuple(f.name for f in fields(Owner))

_LINE = re.compile(r"\d+:[^:/]*:(/.*)")
_MOUNT = re.compile(
    r"/sys/fs/cgroup(?:/(?:unified|systemd|(?:blkio|cpu|cpuacct|cpuset|devices|freezer|memory|pids)[a-z,]*))?(?=/)"
)
_NODE = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_JOB = (
    r"/job_(?P<job>[0-9]{1,20})"
    r"(?:/step_(?P<step>[A-Za-z0-9+._-]+)(?:/(?:user/)?task_(?P<task>[A-Za-z0-9]+))?)?(?![^/])"
)
_SLURM_V1 = re.compile(rf"/slurm(?:_(?P<node>{_NODE}))?/uid_(?P<uid>[0-9]{{1,10}}){_JOB}")
_SLURM_V2 = re.compile(rf"/system\.slice/(?:(?P<node>{_NODE})_)?slurmstepd\.scope{_JOB}")
_SLURM_DAEMON = re.compile(rf"/(?:system\.slice/(?P<unit>(?:{_NODE}_)?slurmstepd\.scope)|slurm(?:_{_NODE})?)(?![^/])")
_OAR3 = re.compile(r"/oar-u(?P<uid>[0-9]{1,10})-j(?P<job>[0-9]+)(?:-s[0-9]+)?(?:\.slice|\.scope)?(?![^/])")
_OAR2 = re.compile(r"/oar/[^/]+[_,](?P<job>[0-9]+)(?![^/])")

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


def identify(text: str) -> Owner:
    """Tell who owns a process.

    Parameters
    ----------
    text : str
        The content of ``/proc/PID/cgroup`` (any number of hierarchies; where they disagree the most specific wins), or
        one path. Any text is accepted; what no rule understands is runtime ``none``.

    Returns
    -------
    Owner

    Examples
    --------
    >>> identify("0::/system.slice/slurmstepd.scope/job_4/step_0/user/task_0").job_id
    '4'
    """
    lines = ((_LINE.fullmatch(line), line) for line in text[:LONGEST_TEXT].split("\n"))
    paths = {hierarchy[1] if hierarchy else line for hierarchy, line in lines} - {"", "/"}
    found = {_identify_path(path) for path in paths} | {NOBODY}
    if len(found) == 1:
        return NOBODY
    # The text of the answer comes last, so that the order of the lines never matters.
    best = max(found, key=lambda owner: (_RANK[owner.runtime], _known(owner), repr(owner)))
    for other in sorted(found, key=repr):
        # cgroup v1: one hierarchy ends at the step, another at the task; together they know all.
        if (best.runtime, best.job_id) == (other.runtime, other.job_id) and best.runtime == "slurm":
            agree = best.step is None or other.step in {best.step, None}
            missing = {name: getattr(other, name) for name in _FIELDS if getattr(best, name) is None}
            best = replace(best, **missing) if agree else best
    return best


def _known(owner: Owner) -> int:
    return sum(getattr(owner, name) is not None for name in _FIELDS)


def _identify_path(path: str) -> Owner:
    path = _MOUNT.sub("", path.strip().removesuffix(" (deleted)"), count=1)
    parts = [part for part in path.split("/") if part]
    # Seen from another cgroup namespace a path first climbs: /../../system.slice/...
    while parts and parts[0] == "..":
        del parts[0]
    path = "/" + "/".join(parts)
    if not parts:
        return NOBODY
    if parts[0] == "user.slice":
        return _user(parts)
    return _scheduler(path) or _delegated(path) or _contained(parts) or _unit(parts) or NOBODY


def _scheduler(path: str) -> Owner | None:
    if job := _SLURM_V2.match(path):
        return Owner("slurm", job["job"], job["step"], job["task"], job["node"])
    if job := _SLURM_V1.match(path):
        return Owner("slurm", job["job"], job["step"], job["task"], job["node"], uid=int(job["uid"]))
    if daemon := _SLURM_DAEMON.match(path):
        return Owner("slurm-daemon", unit=daemon["unit"])
    if path.startswith("/oar.slice/") and (jobs := list(_OAR3.finditer(path))):
        return Owner("oar", jobs[-1]["job"], uid=int(jobs[-1]["uid"]))
    if job := _OAR2.match(path):
        return Owner("oar", job["job"])
    return None


def _delegated(path: str) -> Owner | None:
    """Machines whose own root writes the rest of the path: it says nothing to us."""
    if lxc := _LXC.match(path):
        runtime = "lxc-monitor" if lxc["kind"] == ".monitor" else "lxc"
        return Owner(runtime, container_id=lxc["name"].removesuffix(".scope"))
    if machine := _LIBVIRT.match(path):
        return Owner("libvirt", machine=_unescape(machine["scope"] or machine["legacy"]))
    if machine := _NSPAWN.match(path):
        return Owner("systemd", unit=machine["unit"], machine=_unescape(machine["service"] or machine["scope"]))
    return None


def _contained(parts: list[str]) -> Owner | None:
    """Pods and containers; the deepest one that root or a privileged container made."""
    if "user.slice" in parts:
        del parts[parts.index("user.slice") :]
    for depth in range(len(parts) - 1, -1, -1):
        if pod := _POD.fullmatch(parts[depth]):
            inner = _IN_POD.fullmatch(parts[depth + 1]) if depth + 1 < len(parts) else None
            qos = _qos(parts, depth)
            container = pod["id"] or (inner["id"] if inner else None)
            return Owner("kubernetes", pod_uid=pod["uid"].replace("_", "-"), container_id=container, qos=qos)
    for depth in range(len(parts) - 1, -1, -1):
        if owner := _container(parts, depth):
            return owner
    if len(parts) >= 2 and parts[0] == "libpod_parent" and parts[-1] == "conmon":
        return Owner("podman-monitor")
    if len(parts) >= 2 and (_HEX.fullmatch(parts[1]) or (parts[0] in _NAMESPACES and _NAME.fullmatch(parts[1]))):
        if parts[0].endswith((".slice", ".service", ".scope")) or not _NAME.fullmatch(parts[0]):
            return None
        return Owner("containerd", container_id=parts[1], containerd_namespace=parts[0])
    return None


def _container(parts: list[str], depth: int) -> Owner | None:
    part = parts[depth]
    if monitor := _CONMON.fullmatch(part):
        return Owner("podman-monitor", container_id=monitor["id"])
    if scope := _SCOPE.fullmatch(part):
        runtime = _RUNTIMES.get(scope["kind"], scope["kind"])
        unit = _unit(parts[:depth]) if scope["kind"] == "libpod-payload" else None
        return Owner(runtime, container_id=scope["id"], unit=unit.unit if unit else None)
    if _HEX.fullmatch(part) and depth:
        above = parts[depth - 1] if parts[depth - 1] in _FOLDERS else parts[0]
        if parts[0] in {"kubepods", "kubelet"}:
            return Owner("kubernetes", container_id=part)
        if above in _FOLDERS:
            return Owner(_FOLDERS[above], container_id=part)
    return None


def _qos(parts: list[str], depth: int) -> str | None:
    around = "/".join(parts[max(0, depth - 1) : depth + 1])
    for name in ("burstable", "besteffort"):
        if name in around.partition("pod")[0] or name in around.rpartition("pod")[0]:
            return name
    return "guaranteed" if "kubepods" in around else None


def _user(parts: list[str]) -> Owner:
    """Below user.slice: the login sessions and services of one user, and that user's own containers."""
    user = _USER_SLICE.fullmatch(parts[1]) if len(parts) > 1 else None
    if user is None:
        return NOBODY
    uid = int(user[1])
    for part in reversed(parts[2:]):
        if monitor := _CONMON.fullmatch(part):
            return Owner("podman-monitor", container_id=monitor["id"], uid=uid)
        scope = _SCOPE.fullmatch(part)
        if scope and scope["kind"] in {"libpod", "libpod-payload"}:
            unit = _unit(parts[3 : parts.index(part)]) if scope["kind"] == "libpod-payload" else None
            return Owner("podman", container_id=scope["id"], unit=unit.unit if unit else None, uid=uid)
    if "libpod_parent" in parts and parts[-1] == "conmon":
        return Owner("podman-monitor", uid=uid)
    outer = _unit(parts[1:])
    inner = _unit(parts[3:]) if outer and outer.unit == f"user@{uid}.service" else None
    unit = inner or outer
    return Owner("systemd-user", unit=unit.unit, uid=uid) if unit else NOBODY


def _unit(parts: list[str]) -> Owner | None:
    """Find the systemd unit: the first part after the slices, as systemd's own ``cg_path_get_unit`` does."""
    for part in parts:
        if part.endswith((".service", ".scope")) and len(part) > len(".scope"):
            return Owner("systemd", unit=part)
        if not part.endswith(".slice"):
            return None
    return None


def _unescape(name: str) -> str:
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), name)
