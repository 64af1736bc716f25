"""What is known of a running agent: its last snapshot, what changed before it, and since when it is silent."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from wattshed.agent.terminal.facts import SCHEMA, printable, scene
from wattshed.agent.terminal.power_steps import SMOOTH_S, PowerSteps
from wattshed.agent.terminal.trends import Trends

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wattshed.agent.terminal.facts import Scene
    from wattshed.agent.wire.agents import DocumentServer

TIMEOUT_S = 10.0
"""For one answer; keys work meanwhile."""
STALE_S = 15.0
"""An agent that answers with the same window for so long has stopped measuring."""


def fetch(agent: DocumentServer, timeout_s: float = TIMEOUT_S, *, history: bool = True) -> dict[str, Any]:
    """Read the snapshot of an agent, with the last hour unless it is known already.

    Raises
    ------
    NoDocumentError
        If it does not answer, or not with a snapshot; the message names the address.
    """
    from wattshed.agent.wire.agents import NoDocumentError  # noqa: PLC0415 - only this command asks

    document = agent.ask("/api/v1/snapshot", {} if history else {"history": "none"}, timeout_s=timeout_s)
    if document.get("schema") != SCHEMA:
        raise NoDocumentError(f"{agent.address.url} is not an agent's", 200)
    return document


class SnapshotReader:
    """Reads snapshots of an agent one after the other; the last hour comes along where some of it was missed.

    Parameters
    ----------
    agent : DocumentServer
    clock : callable, s
        Monotonic.
    """

    def __init__(self, agent: DocumentServer, clock: Callable[[], float] = time.monotonic) -> None:
        self._agent, self._clock = agent, clock
        self._read_s: float | None = None

    def __call__(self) -> dict[str, Any]:
        """Read the next; see `fetch`."""
        followed = self._read_s is not None and self._clock() - self._read_s < SMOOTH_S
        self._read_s = None  # until it has answered
        document = fetch(self._agent, history=not followed)
        self._read_s = self._clock()
        return document


@dataclass(slots=True)
class Silence:
    """An agent that does not answer, since when (Unix seconds) and why."""

    since_s: float
    why: str


@dataclass(frozen=True, slots=True)
class AgentView:
    """The last snapshot, and what those before it add.

    Attributes
    ----------
    scene : Scene
        The power of its GPUs is that of the last step, see `PowerSplit`; the driver's readings while there is none.
    trends : Trends
    job_w : dict of str to float, W
        Power of each owner in that step; of one that has ended, or is not there, it is unknown.
    jobs_w : float or None, W
        Power of all jobs in that step; with idle and unattributed power it is that of the GPUs.
    throttled : dict of str to tuple of str
        By GPU, for what reasons its clocks were lowered since the snapshot before.
    """

    scene: Scene
    trends: Trends
    job_w: Mapping[str, float] = field(default_factory=dict)
    jobs_w: float | None = None
    throttled: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class AgentWatch:
    """Follows an agent from answer to answer.

    Attributes
    ----------
    known : AgentView or None
        None: it has not answered yet.
    silence : Silence or None
        Since when there is no answer.
    """

    def __init__(self) -> None:
        self.known: AgentView | None = None
        self.silence: Silence | None = None
        self._trends = Trends()
        self._steps = PowerSteps()
        self._same_since_s: float | None = None

    def take(self, document: Mapping[str, Any], now_s: float) -> AgentView:
        """Take in an answer that came at ``now_s`` (Unix seconds), and return what is known now."""
        shown, before = scene(document), self.known.scene if self.known is not None else None
        if self.known is not None and before is not None and _same(shown, before):
            self._note_standstill(shown, now_s)
            if shown.seq and shown.is_node:
                return self.known
        else:
            self._same_since_s, self.silence = now_s, None
        if before is not None and shown.started_s != before.started_s:
            self._steps.forget()  # another agent: its counters may have begun anew
            before = None
        split = self._steps.follow(shown)
        throttled = {} if before is None else _throttled(before, shown)
        if split.gpu_w:
            shown = replace(shown, gpus=tuple(replace(gpu, power_w=split.gpu_w.get(gpu.uuid)) for gpu in shown.gpus))
        over = {job.key for job in shown.jobs if job.ended_s is not None}
        job_w = {key: watts for key, watts in split.owner_w.items() if key not in over}
        self._trends.follow(shown, job_w)
        self.known = AgentView(shown, self._trends, job_w, split.jobs_w, throttled)
        return self.known

    def failed(self, why: str, now_s: float) -> None:
        """Note that there was no answer."""
        self.silence = Silence(now_s if self.silence is None else self.silence.since_s, printable(why))

    def _note_standstill(self, shown: Scene, now_s: float) -> None:
        since_s = self._same_since_s = now_s if self._same_since_s is None else self._same_since_s
        stands = shown.ready and shown.is_node and now_s - since_s > STALE_S
        self.silence = Silence(since_s, "it answers, but has no new readings") if stands else None


def _same(one: Scene, other: Scene) -> bool:
    return (one.seq, one.started_s) == (other.seq, other.started_s)


def _throttled(then: Scene, now: Scene) -> dict[str, tuple[str, ...]]:
    """Name by GPU why its clocks were lowered between two snapshots: what its counters of such time say."""
    before = {gpu.uuid: gpu.gauges for gpu in then.gpus}
    found = {}
    for gpu in now.gpus:
        reasons = tuple(
            name.removeprefix("throttle_").removesuffix("_s").replace("_", " ")
            for name, seconds in gpu.gauges.items()
            if name.startswith("throttle_") and seconds > before.get(gpu.uuid, {}).get(name, seconds)
        )
        if reasons:
            found[gpu.uuid] = reasons
    return found
