"""Power of GPUs and owners over the same seconds, so that what is shown beside each other adds up."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.terminal.facts import IDLE, UNATTRIBUTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wattshed.agent.terminal.facts import Scene

SMOOTH_S = 10.0
"""Power is energy over about so long: an owner's share of a single window is uneven."""


class PowerSplit(NamedTuple):
    """Power of one step: ``jobs_w``, idle and unattributed power add up to that of the GPUs.

    Attributes
    ----------
    gpu_w : mapping of str to float, W
        By UUID; of a GPU that is not there it is unknown.
    owner_w : mapping of str to float, W
        By owner, likewise.
    jobs_w : float or None, W
        All that is neither idle nor unattributed, listed job by job or not.
    """

    gpu_w: Mapping[str, float]
    owner_w: Mapping[str, float]
    jobs_w: float | None

    @classmethod
    def of(cls, gpu_w: Mapping[str, float], owner_w: Mapping[str, float]) -> PowerSplit:
        """Split what the GPUs draw; without them nothing is known to be split."""
        nobody = {key: owner_w.get(key, 0.0) for key in (IDLE, UNATTRIBUTED)} if gpu_w else {}
        jobs_w = max(0.0, sum(gpu_w.values()) - sum(nobody.values())) if gpu_w else None
        return cls(gpu_w, {**owner_w, **nobody}, jobs_w)


class _GpuStep(NamedTuple):
    all_w: float
    owner_w: dict[str, float]


class _Books(NamedTuple):
    time_s: float
    gpus: dict[str, tuple[float, float]]  # GPU -> J, and seconds that these cover
    shares: dict[str, dict[str, float]]  # GPU -> owner -> J

    @classmethod
    def of(cls, shown: Scene) -> _Books:
        gpus = {gpu.uuid: (gpu.energy_j, gpu.covered_s) for gpu in shown.gpus if gpu.energy_j is not None}
        shares: dict[str, dict[str, float]] = {uuid: {} for uuid in gpus}
        for job in shown.jobs:
            for uuid in job.gpus.keys() & gpus.keys():
                shares[uuid][job.key] = sum(job.gpus[uuid])
        return cls(shown.time_s, gpus, shares)


class PowerSteps:
    """Makes steps of snapshots that follow each other."""

    def __init__(self) -> None:
        self._past: deque[_Books] = deque()
        self._steps: dict[str, _GpuStep] = {}

    def forget(self) -> None:
        """Begin anew: what comes next does not follow on what was."""
        self._past.clear()
        self._steps.clear()

    def follow(self, shown: Scene) -> PowerSplit:
        """Take in a snapshot, and return the power of the last step: the agent's own while there is no other."""
        books = _Books.of(shown)
        while len(self._past) > 1 and books.time_s - self._past[1].time_s >= SMOOTH_S:
            self._past.popleft()
        if self._past and books.time_s - self._past[0].time_s > 2 * SMOOTH_S:
            self.forget()  # nobody looked for a while: a mean since then is no answer
        up = {gpu.uuid for gpu in shown.gpus if gpu.up}
        self._steps = {uuid: step for uuid, step in (self._steps | _since(self._past, books)).items() if uuid in up}
        self._past.append(books)
        if not self._steps:
            return _told(shown)
        owner_w: dict[str, float] = {}
        for step in self._steps.values():
            for owner, watts in step.owner_w.items():
                owner_w[owner] = owner_w.get(owner, 0.0) + watts
        return PowerSplit.of({uuid: step.all_w for uuid, step in self._steps.items()}, owner_w)


def _since(past: Iterable[_Books], now: _Books) -> dict[str, _GpuStep]:
    """Return what each GPU drew since the first snapshot that has it, and for whom: joules by the time they cover."""
    found = {}
    for uuid, (joules, covered_s) in now.gpus.items():
        then = next((books for books in past if uuid in books.gpus), now)
        before_j, before_s = then.gpus[uuid]
        if (seconds := covered_s - before_s) > 0:
            old = then.shares[uuid]
            shares = {key: max(0.0, j - old.get(key, 0.0)) / seconds for key, j in now.shares[uuid].items()}
            found[uuid] = _GpuStep(max(0.0, joules - before_j) / seconds, shares)
    return found


def _told(shown: Scene) -> PowerSplit:
    """Return the last step of the agent's own, which comes with the last hour."""
    up = {gpu.uuid for gpu in shown.gpus if gpu.up}
    last = {uuid: line[-1] for uuid, line in shown.history.get("gpus", {}).items() if line and uuid in up}
    gpu_w = {uuid: watts for uuid, watts in last.items() if watts is not None}
    return PowerSplit.of(gpu_w, {job.key: job.power_w for job in shown.jobs if job.power_w is not None})
