"""What a snapshot says, in types; what it does not say, or an older agent does not know, is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA = "wattshed.snapshot/1"
IDLE, UNATTRIBUTED = "_idle", "_unattributed"
ENDED = "_ended"
"""What jobs used that are no longer listed one by one; no key of the snapshot's."""

OWNERS = {
    IDLE: "idle",
    UNATTRIBUTED: "unattributed",
    "_other": "jobs beyond the limit",
    ENDED: "earlier jobs",
}
"""Owners that are no job, as the page names them."""


NOT_NODES = ("collector", "fleet")
"""Kinds of servers that have no GPUs of their own: they publish what they ask of agents."""


@dataclass(frozen=True, slots=True)
class ShownProcess:
    """One process on a GPU."""

    pid: int
    gpu_uuid: str
    instance: str
    memory_mib: float | None
    started_s: float | None


@dataclass(frozen=True, slots=True)
class ShownGpu:
    """One GPU. ``gauges`` hold what is known, with the unit in the name; ``power_w`` is the driver's reading.

    `AgentView` has the mean of the last step in its place, which is what its owners draw together.
    """

    uuid: str
    index: int
    model: str
    up: bool
    metered: bool
    power_w: float | None
    limit_w: float | None
    energy_j: float | None
    ended_j: float
    covered_s: float
    flags: tuple[str, ...]
    last_xid: int | None
    status: str
    why: str
    recovery_action: str | None
    gauges: Mapping[str, float]
    peak_w: Mapping[str, float]
    instances: tuple[tuple[str, str, float], ...]  # (GPU instance, UUID, share of the SMs)
    raw: Mapping[str, Any]

    def gauge(self, name: str) -> float | None:
        """Return what a gauge says; None: nothing."""
        return self.gauges.get(name)

    @property
    def memory_total_mib(self) -> float | None:
        """Memory of the board: as it says, or used and free together."""
        used, free = self.gauge("fb_used_mib"), self.gauge("fb_free_mib")
        return self.gauges.get("fb_total_mib", None if used is None or free is None else used + free)


@dataclass(frozen=True, slots=True)
class ShownJob:
    """One owner; `is_job` tells jobs from idle and unattributed energy."""

    key: str
    labels: Mapping[str, str]
    method: str
    energy_j: float | None
    static_j: float | None
    dynamic_j: float | None
    sigma_j: float | None
    active_s: float | None
    held_s: float | None
    started_s: float | None
    ended_s: float | None
    power_w: float | None  # as the agent says
    gpus: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # UUID -> static J, dynamic J
    processes: tuple[ShownProcess, ...] = ()
    watts: float | None = None  # W that it is believed to draw at full activity, above idle
    watts_sigma: float | None = None  # one sigma of that, W
    work: tuple[Mapping[str, Any], ...] = ()  # as `exporters.work_facts.WorkFacts.plain` lays it out

    @property
    def is_job(self) -> bool:
        """Whether somebody may be billed for it."""
        return self.key not in OWNERS

    @property
    def user(self) -> str:
        """Who runs it, as far as anybody can say."""
        return self.labels.get("user") or self.labels.get("namespace") or self.labels.get("uid") or ""

    @property
    def name(self) -> str:
        """What people call it."""
        if not self.is_job:
            return ""
        return self.labels.get("name") or self.labels.get("pod") or self.labels.get("command") or ""

    @property
    def gpu_s(self) -> float | None:
        """GPU time, busy or not."""
        return None if self.active_s is None or self.held_s is None else self.active_s + self.held_s


@dataclass(frozen=True, slots=True)
class Scene:
    """One snapshot."""

    host: str
    version: str
    meter: str
    simulated: bool
    ready: bool
    unmetered: str
    seq: int
    time_s: float
    started_s: float
    since_s: float  # when the counters began
    gpus: tuple[ShownGpu, ...]
    jobs: tuple[ShownJob, ...]
    notes: tuple[str, ...]
    folded_jobs: int
    fleet: Mapping[str, Any] | None
    node_w: float | None  # of the whole node, by its own meter
    history: Mapping[str, Any]

    @property
    def is_node(self) -> bool:
        """Whether it meters GPUs of its own, or will do so."""
        return self.meter not in NOT_NODES

    @property
    def running(self) -> int:
        """Jobs that have not ended."""
        return sum(job.is_job and job.ended_s is None for job in self.jobs)


def scene(document: Mapping[str, Any]) -> Scene:
    """Read a snapshot. Names in it are user text: no control sequence of theirs may reach a terminal."""
    document = _harmless(document)
    gpus = tuple(map(_gpu, document["gpus"]))
    history = document["history"]
    jobs = [_job(job, history["jobs"]) for job in document["jobs"]]
    ended = sum(gpu.ended_j for gpu in gpus)
    if ended > 0:
        jobs.append(ShownJob(ENDED, {}, "", ended, None, None, None, None, None, None, None, None))
    return Scene(
        host=document["host"],
        version=document["version"],
        meter=document["meter"],
        simulated=document["simulated"],
        ready=document["ready"],
        unmetered=document["unmetered"],
        seq=document["seq"],
        time_s=document["time_s"],
        started_s=document["started_s"],
        since_s=document.get("counters_since_s") or document["started_s"],
        gpus=gpus,
        jobs=tuple(jobs),
        notes=tuple(document["notes"]),
        folded_jobs=document["folded_jobs"],
        fleet=document["fleet"],
        node_w=_node_w(document),
        history=history,
    )


def _node_w(document: Mapping[str, Any]) -> float | None:
    """Return what the node's own meter shows; None: there is none, or it shows nothing."""
    name = (document.get("node") or {}).get("meter")
    meters: list[Mapping[str, Any]] = document.get("host_energy", [])
    return next((one["power_w"] for one in meters if f"{one['source']}/{one['domain']}" == name), None)


def printable(text: str) -> str:
    """Show a question mark for what would steer a terminal; as wide as it was."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def _harmless(value: Any) -> Any:
    """Make every text of a document printable, keys included."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {_harmless(key): _harmless(item) for key, item in value.items()}
    return [_harmless(item) for item in value] if isinstance(value, list | tuple) else value


def _known(found: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in found.items() if value is not None}


def _gpu(gpu: Mapping[str, Any]) -> ShownGpu:
    power, health = _known(gpu["power_w"]), gpu.get("health", {})  # older agents do not tell it
    return ShownGpu(
        uuid=gpu["uuid"],
        index=gpu["gpu"],
        model=gpu["model"].removeprefix("NVIDIA "),
        up=gpu["up"],
        metered=gpu["energy_source"] != "none",
        power_w=power.get("average", power.get("instant")) if gpu["up"] else None,
        limit_w=gpu["limits_w"].get("enforced"),
        energy_j=gpu["energy_j"],
        ended_j=gpu["ended_jobs_j"] or 0.0,
        covered_s=gpu["covered_s"],
        flags=tuple(gpu["flags"]),
        last_xid=gpu["last_xid"],
        status=health.get("status", "ok" if gpu["up"] else "lost"),
        why=health.get("why", ""),
        recovery_action=health.get("recovery_action"),
        gauges=_known(gpu["gauges"]) if gpu["up"] else {},
        peak_w=_known(gpu["peak_w"]),
        instances=tuple((one["instance"], one["uuid"], one["share"]) for one in gpu.get("instances", ())),
        raw=gpu,
    )


def _job(job: Mapping[str, Any], lines: Mapping[str, Sequence[float | None]]) -> ShownJob:
    line = lines.get(job["job"], ())
    return ShownJob(
        key=job["job"],
        labels=dict(job["labels"]),
        method=job["method"],
        energy_j=job["energy_j"],
        static_j=job["static_j"],
        dynamic_j=job["dynamic_j"],
        sigma_j=job["sigma_j"],
        active_s=job["active_s"],
        held_s=job["held_s"],
        started_s=job["started_s"],
        ended_s=job["ended_s"],
        power_w=job.get("power_w", line[-1] if line else None),
        gpus={uuid: (part["static_j"], part["dynamic_j"]) for uuid, part in job["gpus"].items()},
        processes=tuple(
            ShownProcess(one["pid"], one["gpu_uuid"], one["instance"], one["memory_mib"], one["started_s"])
            for one in job.get("processes", ())
        ),
        watts=job.get("watts"),
        watts_sigma=job.get("watts_sigma"),
        work=tuple(job.get("work") or ()),
    )
