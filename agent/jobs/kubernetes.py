"""Pods: which container holds which GPU, idle or not, and which pod a process of a cgroup belongs to.

The kubelet grants by name (namespace, pod, container), the kernel's cgroups know the pod's UID and the container's id.
The two are joined by the kubelet's log folders, which anybody may list (``/var/log/pods/NAMESPACE_POD_UID`` and
``/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log``), and where those cannot be seen by the GPU itself: a pod's
process on a device that one container alone was granted is that container's.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import Faults
from wattshed.agent.jobs.background import Background
from wattshed.agent.jobs.cgroup import identify
from wattshed.agent.jobs.naming import SHORT_ID, job_of
from wattshed.agent.jobs.places import Place, base_of, is_dra, place_of
from wattshed.agent.jobs.reservations import WHOLE_PPM, Reservation
from wattshed.agent.jobs.text import for_key, printable
from wattshed.agent.window import MISSING, JobKey, Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.jobs.cgroup import CgroupIdentity
    from wattshed.agent.jobs.podresources import Grant, Kubelet
    from wattshed.agent.window import Device, MigDevice

REFRESH_S = 10.0
_MOST_KEYS = 50_000
Name = tuple[str, str, str]
"""Namespace, pod, container."""

NVIDIA_DRIVER = "gpu.nvidia.com"
"""The DRA driver whose devices are NVIDIA's GPUs; every vendor's driver calls its first one ``gpu-0``."""
RESERVING = frozenset({"kai-resource-reservation", "runai-reservation"})
"""Namespaces of pods that hold a GPU for a scheduler (KAI, run:ai), which gives parts of it to pods without a grant."""

_POD_FOLDER = re.compile(r"(?P<namespace>[^_]+)_(?P<pod>[^_]+)_(?P<uid>[0-9a-f-]{32,36})")
_CONTAINER_LOG = re.compile(r"(?P<pod>[^_]+)_(?P<namespace>[^_]+)_(?P<container>.+)-(?P<id>[0-9a-f]{64})\.log")


@dataclass(frozen=True, slots=True)
class Known:
    """One look at the kubelet and the node: grants of pods that live, and how their names and UIDs belong together."""

    grants: tuple[Grant, ...] = ()
    everybody: tuple[Grant, ...] = ()  # all containers, those without a device too
    replicas: Mapping[str, int] = field(default_factory=dict)  # device id without its replica -> replicas in all
    uids: Mapping[tuple[str, str], str] = field(default_factory=dict)  # namespace, pod -> UID
    pods: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # UID -> namespace, pod
    containers: Mapping[str, Name] = field(default_factory=dict)  # container id -> namespace, pod, container
    running: frozenset[str] = frozenset()  # UIDs that had a cgroup before the kubelet was asked; empty: not to be seen


class Pods:
    """What is known of this node's pods without waiting.

    Parameters
    ----------
    kubelet : Kubelet
    cgroup_root : Path
        Where a pod that still runs has a cgroup.
    log_root : Path
        ``/var/log`` of the node.
    mig : callable, optional
        Returns the MIG devices of this node by UUID.
    period_s : float
    """

    def __init__(
        self,
        kubelet: Kubelet,
        cgroup_root: Path,
        log_root: Path,
        mig: Callable[[], Mapping[str, MigDevice]] | None = None,
        period_s: float = REFRESH_S,
    ) -> None:
        self._kubelet = kubelet
        self._cgroup_root, self._log_root = os.fspath(cgroup_root), os.fspath(log_root)
        self._mig = mig or dict
        self._first_seen: dict[Name, int] = {}
        self._keys: dict[tuple[str, str], JobKey] = {}  # pod UID, container (name or short id) -> key, never changed
        self._learnt: dict[tuple[str, str], str] = {}  # namespace, pod -> UID, from processes on granted devices
        self._seen: dict[Name, set[Place]] = {}  # where processes of a container were seen
        self._labels: dict[JobKey, dict[str, str]] = {}
        self._faults = Faults()
        self._known = Background("podresources", self._look, Known(), period_s, self._faults)

    @property
    def answered(self) -> bool:
        """Whether the kubelet has answered at least once."""
        return self._known.answers > 0

    def owner(self, identity: CgroupIdentity, devices: Sequence[Device], gpu: int, instance: str) -> Owner:
        """Name the container that a process of this cgroup, seen on this GPU, belongs to.

        Parameters
        ----------
        identity : agent.jobs.identity.CgroupIdentity
            Of runtime kubernetes.
        devices : sequence of Device
        gpu : int
        instance : str
            ``gi/ci`` under MIG, else empty.
        """
        known = self._known.answer
        uid, container_id = identity.pod_uid or "", identity.container_id or ""
        name = known.containers.get(container_id)
        if name is None:
            name = self._by_device(known, uid, devices, Place(gpu, instance.partition("/")[0]))
        if name is None or not uid:
            if (uid, container_id[:SHORT_ID]) not in self._keys:
                # New since the last look; one that stays unknown is no reason to ask every second.
                self._known.hurry()
            owner = job_of(identity, lambda: MISSING, str)
            if pod := known.pods.get(uid):
                owner = Owner(owner.key, {**_labels((*pod, ""), uid), **owner.labels})
            return self._publish(owner, uid, container_id[:SHORT_ID])
        self._seen.setdefault(name, set()).add(Place(gpu, instance.partition("/")[0]))
        # Seen before its name was known, or held before its UID was: the key stays, else one job would have two.
        key = self._keys.get((uid, container_id[:SHORT_ID])) or self._keys.get((uid, name[2]))
        if key is None and name[:2] not in self._learnt:
            key = self._keys.get((f"{name[0]}/{name[1]}", name[2]))
        key = key or JobKey(f"k8s:{uid}/{for_key(name[2])}")
        self._learnt[name[:2]] = uid
        self._keys[uid, name[2]] = self._keys[uid, container_id[:SHORT_ID]] = key
        labels = _labels(name, uid) | {"container_id": container_id[:SHORT_ID], "qos": identity.qos or ""}
        self._labels[key] = {label: value for label, value in labels.items() if value}
        return Owner(key, self._labels[key])

    def named(self, identity: CgroupIdentity) -> Owner:
        """Name the container that a process of this cgroup belongs to, wherever it runs; nothing is learnt by it."""
        uid, container_id = identity.pod_uid or "", identity.container_id or ""
        name = self._known.answer.containers.get(container_id)
        key = self._keys.get((uid, container_id[:SHORT_ID])) or (self._keys.get((uid, name[2])) if name else None)
        if key is None and (name is None or not uid):
            return job_of(identity, lambda: MISSING, str)
        key = key or JobKey(f"k8s:{uid}/{for_key(name[2] if name else '')}")
        return Owner(key, self._labels.get(key, {"manager": identity.runtime}))

    def labels(self, key: JobKey) -> Mapping[str, str]:
        """Return the labels of a key that this object gave out."""
        return self._labels.get(key, {})

    def reservations(self, devices: Sequence[Device], start_us: int, end_us: int) -> list[Reservation]:
        """Return which containers held which GPU, as of the last look at the kubelet."""
        known = self._known.answer
        if len(self._keys) > _MOST_KEYS:
            # Years of pods: those that live get new keys once, which is less than a leak.
            for memory in (self._keys, self._labels, self._learnt, self._seen):
                memory.clear()
        # A DRA claim may be shared by several containers.
        claimants = Counter(one for grant in known.grants for one in _ids(grant) if is_dra(one))
        held: list[Reservation] = []
        mig = self._mig()
        for grant in known.grants:
            seen = self._seen.get(grant.name, set())
            places = [(one, place_of(one, devices, mig)) for one in _ids(grant)]
            for identifier, place in places:
                if place is None:
                    continue
                share = _share(place, identifier, known.replicas)
                if share != MISSING and is_dra(identifier):
                    share //= claimants[identifier]
                owner = self._granted(known, grant, guessed=place.guessed and not seen)
                where = seen if seen and place.guessed else {place}
                held += [Reservation(at.gpu, owner, start_us, end_us, share, at.instance) for at in where]
            if seen and places and all(place is None for _, place in places):
                # MIG devices that no table describes: where the container's own processes were seen.
                owner = self._granted(known, grant)
                held += [Reservation(at.gpu, owner, start_us, end_us, MISSING, at.instance) for at in seen]
        return _joined(held)

    def faults(self) -> Mapping[str, int]:
        """Return failures of ``podresources``."""
        return dict(self._faults.counts)

    def close(self) -> None:
        """Stop the thread."""
        self._known.close()

    def _granted(self, known: Known, grant: Grant, *, guessed: bool = False) -> Owner:
        uid = known.uids.get(grant.name[:2]) or self._learnt.get(grant.name[:2], "")
        key = self._keys.get((uid or f"{grant.namespace}/{grant.pod}", grant.container))
        if key is None:
            name = f"{uid}/{grant.container}" if uid else "/".join(grant.name)
            key = JobKey(f"k8s:{for_key(name)}")
            self._keys[uid or f"{grant.namespace}/{grant.pod}", grant.container] = key
        labels = self._labels.setdefault(key, _labels(grant.name, uid))
        return Owner(key, {**labels, "placement": "guess"} if guessed else labels)

    def _publish(self, owner: Owner, uid: str, container: str) -> Owner:
        key = self._keys.setdefault((uid, container), owner.key)
        self._labels[key] = {**owner.labels, **self._labels.get(key, {})}
        return Owner(key, self._labels[key])

    def _by_device(self, known: Known, uid: str, devices: Sequence[Device], seen: Place) -> Name | None:
        """Find the one container that may be on this device and whose pod may have this UID.

        A container without a device may be on any: it needs no more than ``NVIDIA_VISIBLE_DEVICES=all``.
        """
        candidates: list[Name] = []
        if known.running and uid not in known.running:
            return None  # younger than the answer, which may lack its pod
        mig = self._mig()
        for grant in known.everybody:
            # What was learnt before does not count: a pod that is recreated keeps its name, not its UID.
            pod = grant.name[:2]
            if known.uids.get(pod, uid) != uid or known.pods.get(uid, pod) != pod:
                continue
            places = [place_of(identifier, devices, mig) for identifier in _ids(grant)]
            ours = [place for place in places if place is not None]
            here = any(p.guessed or (p.gpu == seen.gpu and p.instance in {"", seen.instance}) for p in ours)
            # A MIG device that no table describes may be any.
            if here or not ours or (bool(seen.instance) and None in places):
                candidates.append(grant.name)
        return candidates[0] if len(candidates) == 1 else None

    def _look(self) -> Known:
        running = _alive(self._cgroup_root)
        everybody = self._kubelet.grants()
        replicas: Counter[str] = Counter(base_of(identifier) for _, identifier in self._kubelet.allocatable())
        uids, containers = _names(self._log_root)
        alive = _alive(self._cgroup_root)
        if alive:
            everybody = [grant for grant in everybody if uids.get(grant.name[:2], "") in alive | {""}]
        grants = [grant for grant in everybody if _ids(grant) and grant.namespace not in RESERVING]
        for turn in (grant.name for grant in grants):
            self._first_seen.setdefault(turn, len(self._first_seen))
        unfinished = self._unfinished(grants)
        gone = {grant.name for grant in grants} - {grant.name for grant in unfinished}
        present = tuple(grant for grant in everybody if grant.name not in gone)
        pods = {uid: pod for pod, uid in uids.items()}
        return Known(tuple(unfinished), present, replicas, uids, pods, containers, frozenset(running))

    def _unfinished(self, grants: list[Grant]) -> list[Grant]:
        """Drop finished pods that a kubelet still lists: their devices were granted again."""
        takers: dict[str, list[Grant]] = {}
        for grant in grants:
            for _, identifier in grant.devices:
                takers.setdefault(identifier, []).append(grant)
        gone: set[Name] = set()
        for rivals in takers.values():
            rivals_left = [grant for grant in rivals if grant.name not in gone]
            if len(rivals_left) > 1:
                for grant in rivals_left:
                    try:
                        if self._kubelet.get(grant.namespace, grant.pod) is None:
                            gone.add(grant.name)
                    except RuntimeError:
                        break
                rivals_left = [grant for grant in rivals_left if grant.name not in gone]
                newest = max(rivals_left, key=lambda grant: self._first_seen[grant.name], default=None)
                gone |= {grant.name for grant in rivals_left if grant is not newest}
        return [grant for grant in grants if grant.name not in gone]


def _ids(grant: Grant) -> list[str]:
    """Return the ids of a container's devices that may be GPUs of ours."""
    plugged = [identifier for _, identifier in grant.devices if not is_dra(identifier)]
    return plugged + [claim.device for claim in grant.claimed if claim.driver == NVIDIA_DRIVER]


def _share(place: Place, identifier: str, replicas: Mapping[str, int]) -> int:
    """Return what part of the GPU a device id stands for, in millionths; -1 unknown."""
    whole = place.share_ppm
    base = base_of(identifier)
    if place.guessed:
        return MISSING
    if whole == MISSING and not place.instance and (base != identifier or not place.shared):
        whole = WHOLE_PPM
    if base == identifier or whole == MISSING:
        return whole
    return whole // replicas[base] if replicas.get(base) else MISSING


def _labels(name: Name, uid: str) -> dict[str, str]:
    namespace, pod, container = (printable(part) for part in name)
    labels = {"manager": "kubernetes", "namespace": namespace, "pod": pod, "container": container, "pod_uid": uid}
    return {label: value for label, value in labels.items() if value}


def _joined(found: list[Reservation]) -> list[Reservation]:
    """Add up several replicas of one GPU that one container holds."""
    sums: dict[tuple[int, str, JobKey], Reservation] = {}
    for one in found:
        place = one.gpu, one.instance, one.owner.key
        if place in sums:
            before = sums[place].share_ppm
            share = MISSING if MISSING in {before, one.share_ppm} else min(WHOLE_PPM, before + one.share_ppm)
            one = Reservation(one.gpu, one.owner, one.start_us, one.end_us, share, one.instance)  # noqa: PLW2901
        sums[place] = one
    return list(sums.values())


def _names(log_root: str) -> tuple[dict[tuple[str, str], str], dict[str, Name]]:
    pods = (_POD_FOLDER.fullmatch(folder) for folder in _listed(f"{log_root}/pods"))
    logs = (_CONTAINER_LOG.fullmatch(log) for log in _listed(f"{log_root}/containers"))
    uids: dict[tuple[str, str], str] = {}
    ages: dict[tuple[str, str], float] = {}
    for pod in pods:
        if pod:
            # A pod of a StatefulSet is recreated under its name: the newest folder is the one that lives.
            age = _changed(f"{log_root}/pods/{pod.string}")
            name = pod["namespace"], pod["pod"]
            if age >= ages.get(name, -1.0):
                uids[name], ages[name] = pod["uid"], age
    return uids, {log["id"]: (log["namespace"], log["pod"], log["container"]) for log in logs if log}


def _alive(cgroup_root: str) -> set[str]:
    """Return the UIDs of the pods that have a cgroup; empty if none can be seen."""
    found: set[str] = set()
    for hierarchy in ("", "/systemd", "/memory", "/cpu,cpuacct"):
        stack = [
            (f"{cgroup_root}{hierarchy}/{top}", f"/{top}", 0)
            for top in _listed(f"{cgroup_root}{hierarchy}")
            if top.startswith(("kube", "pod"))
        ]
        while stack:
            folder, path, depth = stack.pop()
            uid = identify(path).pod_uid
            if uid:
                found.add(uid)
            elif depth < 4:
                stack += [
                    (f"{folder}/{below}", f"{path}/{below}", depth + 1)
                    for below in _listed(folder)
                    if "." not in below or below.endswith(".slice")
                ]
    return found


def _listed(folder: str) -> list[str]:
    try:
        return [entry.name for entry in Path(folder).iterdir()]
    except OSError:
        return []


def _changed(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0
