"""Which workload a pod is of: a job, a job set, a Ray cluster, and the queue that it came through.

Agents know pods by what the kubelet says and ask no API server. The labels that batch controllers put on a pod are
joined here by its UID, from kube-state-metrics' ``kube_pod_labels`` in any Prometheus, or from a file that ``kubectl
get pods -A -o json`` wrote. Users write labels: so a workload is named within its namespace, which they do not write,
and no label of theirs moves a joule to another one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from wattshed.agent.jobs.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from wattshed.agent.wire.parts import JobPart, JobRecord
    from wattshed.agent.wire.query import Prometheus

KINDS = (
    ("jobset", "jobset.sigs.k8s.io/jobset-name"),
    ("ray", "ray.io/originated-from-cr-name"),
    ("ray", "ray.io/cluster"),
    ("job", "batch.kubernetes.io/job-name"),
    ("job", "job-name"),
)
"""Labels of pods that name their workload, the widest first: a job set's pods are of one of its jobs as well."""
QUEUES = ("kueue.x-k8s.io/local-queue-name", "kueue.x-k8s.io/queue-name")
"""Labels of pods that name Kueue's queue; the second is on the job's own object, and on pods that are queued alone."""
AROUND_S = 3600
"""Labels count that were there so long before the first part of a pod, or after the last."""
_KEY = re.compile(r"k8s:(?P<uid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/")
_MOST_KNOWN = 20_000
_LONGEST = 253 + 63 + 8  # a namespace, a name, and the kind
_UNSAFE = re.compile(r"[^a-zA-Z0-9_]")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the API server has it: the namespace is the cluster's word, the labels are users'."""

    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


class PodLookup(Protocol):
    """Where pods are looked up."""

    def look_up(self, uids: Sequence[str], from_s: float, to_s: float) -> Mapping[str, Pod]:
        """Return what is known of pods by UID, for a time in which they were there."""


class PodsInPrometheus:
    """Pods of ``kube_pod_labels``, which has those labels only that kube-state-metrics was told to show.

    ``--metric-labels-allowlist=pods=[batch.kubernetes.io/job-name,...]``; a pod that is gone is still known.

    Parameters
    ----------
    prometheus : Prometheus
    """

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self._known: dict[str, Pod] = {}

    def look_up(self, uids: Sequence[str], from_s: float, to_s: float) -> dict[str, Pod]:
        """Ask for pods that were not found before: an agent's last part comes again with each of its answers.

        Raises
        ------
        ServerError
        """
        if new := [uid for uid in uids if uid not in self._known]:
            self._known.update(self._asked(new, from_s, to_s))
        found = {uid: self._known[uid] for uid in uids if uid in self._known}
        while len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]  # the oldest
        return found

    def _asked(self, uids: Sequence[str], from_s: float, to_s: float) -> dict[str, Pod]:
        range_s = round(to_s - from_s) + 2 * AROUND_S
        wanted = "|".join(uid for uid in uids if re.fullmatch(r"[0-9a-f-]+", uid))
        points = self._prometheus.query(
            f'last_over_time(kube_pod_labels{{uid=~"{wanted}"}}[{range_s}s])', time_s=to_s + AROUND_S
        )
        found = {}
        for point in points:
            told = point.labels
            # Without honor_labels what the scraper says of kube-state-metrics itself has taken the names.
            namespace, name = (told.get(f"exported_{what}") or told.get(what, "") for what in ("namespace", "pod"))
            labels = {key: told[shown] for key in _wanted() if (shown := f"label_{_UNSAFE.sub('_', key)}") in told}
            found[told.get("uid", "")] = Pod(namespace, name, labels)
        return found


class PodsInFile:
    """Pods of a file that ``kubectl get pods -A -o json`` wrote; it is read again when it has changed.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._path, self._stamp = path, (0, 0)
        self._pods: dict[str, Pod] = {}

    def look_up(self, uids: Sequence[str], from_s: float, to_s: float) -> dict[str, Pod]:  # noqa: ARG002 - as it is now
        """Look pods up; one that the file once had stays known.

        Raises
        ------
        OSError, ValueError
            It cannot be read, or is something else.
        """
        seen = self._path.stat()
        if (seen.st_mtime_ns, seen.st_size) != self._stamp:
            self._pods.update(_read(self._path))
            self._stamp = seen.st_mtime_ns, seen.st_size
        return {uid: self._pods[uid] for uid in uids if uid in self._pods}


def named(records: Iterable[JobRecord], parts: Iterable[JobPart], pods: PodLookup) -> list[JobRecord]:
    """Return who jobs are, with the labels ``workload`` and ``queue`` of those that are pods.

    Parameters
    ----------
    records : iterable of JobRecord
    parts : iterable of JobPart
        Of these jobs: they tell when the pods were there.
    pods : PodLookup
        May fail as it does: then nothing is named, and all of it may be tried again.

    Returns
    -------
    list of JobRecord
        ``workload`` is ``NAMESPACE/KIND/NAME``, ``queue`` is ``NAMESPACE/NAME``. A pod of which the agent knew no
        namespace gets it, too.
    """
    jobs = list(records)
    uids = {record.key: match["uid"] for record in jobs if (match := _KEY.match(record.key))}
    times = [(part.from_us, part.to_us) for part in parts if part.job in uids]
    if not times:
        return jobs
    since_us, until_us = min(time[0] for time in times), max(time[1] for time in times)
    found = pods.look_up(sorted(set(uids.values())), since_us / 1e6, until_us / 1e6)
    return [_named(record, found.get(uids.get(record.key, ""))) for record in jobs]


def workload_of(namespace: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that a pod's own labels give its job."""
    kind = next(((kind, labels[label]) for kind, label in KINDS if labels.get(label)), None)
    queue = next((labels[label] for label in QUEUES if labels.get(label)), "")
    told = {"workload": f"{namespace}/{kind[0]}/{kind[1]}"} if kind else {}
    return told | ({"queue": f"{namespace}/{queue}"} if queue else {})


def _named(record: JobRecord, pod: Pod | None) -> JobRecord:
    if pod is None or not pod.namespace:
        return record
    known = record.labels.get("namespace", "")
    if known and known != pod.namespace:
        return record  # what the kubelet said is of another pod than this answer
    told = {"namespace": pod.namespace, **workload_of(pod.namespace, pod.labels)}
    legible = {name: printable(text, _LONGEST) for name, text in told.items() if name not in record.labels}
    return replace(record, labels={**record.labels, **legible})


def _wanted() -> tuple[str, ...]:
    return (*(label for _, label in KINDS), *QUEUES)


def _read(path: Path) -> dict[str, Pod]:
    try:
        items = json.loads(path.read_text("utf-8"))["items"]
        return {str(item["metadata"]["uid"]): _pod(item["metadata"]) for item in items}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{path}: is not what `kubectl get pods -A -o json` writes ({type(error).__name__}: {error})"
        raise ValueError(why) from None


def _pod(metadata: Mapping[str, Any]) -> Pod:
    labels = metadata.get("labels") or {}
    wanted = {key: str(labels[key]) for key in _wanted() if key in labels}
    return Pod(str(metadata["namespace"]), str(metadata.get("name", "")), wanted)
