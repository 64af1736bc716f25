"""The last hour of power for the page, per GPU and per job: joules between two snapshots over the time they cover.

Readings may come late or not at all, so a step's joules are not those of the step's length: each GPU says what time
its joules cover. A job's power is the sum over its GPUs, each by its own time, so that the lines of a GPU's jobs add up
to its own. Where nothing was covered the power is unknown, and no 0.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.exporters.snapshot import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from wattshed.exporters.snapshot import Snapshot

MAX_JOBS = 24
"""Jobs drawn by name; the rest is drawn as one."""

REST = "_rest"
"""The sum of the jobs that are not drawn by name: no owner, unlike ``_other``."""

PATIENCE = 3
"""Steps that a step may last until all GPUs have something to tell: sampling may be slower than the steps."""


class _Books(NamedTuple):
    """What a snapshot says: per GPU its energy (hnj) and the time that this covers (us), and the shares of it."""

    time_us: int
    gpus: dict[str, tuple[int, int]]
    shares: dict[tuple[str, str], int]  # (job, GPU) -> hnj
    up: frozenset[str]

    @classmethod
    def of(cls, snapshot: Snapshot) -> _Books:
        shares: dict[tuple[str, str], int] = {}
        for share in snapshot.energy:
            key = share.job, share.gpu_uuid
            shares[key] = shares.get(key, 0) + share.static_hnj + share.dynamic_hnj
        return cls(
            snapshot.time_us,
            {g.uuid: (g.energy_hnj, g.covered_us) for g in snapshot.gpus},
            shares,
            frozenset(g.uuid for g in snapshot.gpus if g.up and g.energy_source != "none"),
        )


class History:
    """Keeps mean power of the last ``span_s`` in steps of ``step_s``, or a little longer where readings are rare.

    Parameters
    ----------
    span_s, step_s : float, s
    """

    def __init__(self, span_s: float = 3600.0, step_s: float = 10.0) -> None:
        self.step_s, self._span_s = step_s, span_s
        self._steps: deque[tuple[float, Mapping[str, float], Mapping[str, float]]] = deque(maxlen=int(span_s / step_s))
        self._last: _Books | None = None
        self.last_w: Mapping[str, float] = {}  # mean power of every owner in the last step

    def observe(self, snapshot: Snapshot) -> None:
        """Take note of a snapshot; one that is less than a step younger than the last is skipped."""
        if snapshot.seq == 0:
            return
        if self._last is None:
            self._last = _Books.of(snapshot)
            return
        elapsed_s = (snapshot.time_us - self._last.time_us) / 1e6
        if elapsed_s < self.step_s * 0.9:
            return
        now, then = _Books.of(snapshot), self._last
        seconds = covered_s(now.gpus, then.gpus)
        if not now.up & then.gpus.keys() <= seconds.keys() and elapsed_s < self.step_s * PATIENCE:
            return
        self._last = now
        gpus = {uuid: _joules(now.gpus[uuid][0], then.gpus[uuid][0]) / s for uuid, s in seconds.items()}
        while self._steps and snapshot.time_us / 1e6 - self._steps[0][0] >= self._span_s:
            self._steps.popleft()
        self.last_w = _per_job(now, then, seconds)
        self._steps.append((snapshot.time_us / 1e6, gpus, _largest(self.last_w)))

    def columns(self) -> dict[str, Any]:
        """Give the hour as columns: ``time_s``, and watts by GPU and by job; None where nothing is known."""
        steps = list(self._steps)
        sums: dict[str, float] = {}
        for _, _, jobs in steps:
            for job, watts in jobs.items():
                sums[job] = sums.get(job, 0.0) + watts
        named = _named(sums)
        return {
            "step_s": self.step_s,
            "time_s": [time_s for time_s, _, _ in steps],
            "gpus": _columns([gpus for _, gpus, _ in steps]),
            "jobs": _columns([_fold(jobs, named) for _, _, jobs in steps]),
        }


def covered_s(now: Mapping[str, tuple[int, int]], then: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Return by GPU how long the joules between two snapshots took; GPUs without any are left out.

    Parameters
    ----------
    now, then : mapping of UUID to (hnj, us)
        Energy, and the time that it covers.

    Returns
    -------
    dict of UUID to float, s
    """
    # A GPU that appears may bring restored joules along, so it shows nothing yet.
    both = ((uuid, covered_us - then[uuid][1]) for uuid, (_, covered_us) in now.items() if uuid in then)
    return {uuid: us / 1e6 for uuid, us in both if us > 0}


def _per_job(now: _Books, then: _Books, seconds: Mapping[str, float]) -> dict[str, float]:
    watts: dict[str, float] = {}
    for key, hnj in now.shares.items():
        job, uuid = key
        if uuid in seconds:
            watts[job] = watts.get(job, 0.0) + _joules(hnj, then.shares.get(key, 0)) / seconds[uuid]
    return watts


def _joules(now_hnj: int, then_hnj: int) -> float:
    """Return the rise of a counter; one that fell restarted at 0."""
    return (now_hnj - then_hnj if now_hnj >= then_hnj else now_hnj) / HNJ_PER_JOULE


def _largest(per_job: Mapping[str, float]) -> dict[str, float]:
    """Keep what is not a job and the ``MAX_JOBS`` largest jobs; sum the others as the rest."""
    return _fold(per_job, _named(per_job))


def _named(per_job: Mapping[str, float]) -> set[str]:
    ranked = sorted((job for job in per_job if not job.startswith("_")), key=lambda job: (-per_job[job], job))
    return {*ranked[:MAX_JOBS], *(job for job in per_job if job.startswith("_"))}


def _fold(per_job: Mapping[str, float], named: Collection[str]) -> dict[str, float]:
    kept = {job: watts for job, watts in per_job.items() if job in named}
    if len(kept) < len(per_job):
        rest = sum(watts for job, watts in per_job.items() if job not in named)
        kept[REST] = kept.get(REST, 0.0) + rest
    return kept


def _columns(steps: list[Mapping[str, float]]) -> dict[str, list[float | None]]:
    keys = dict.fromkeys(key for step in steps for key in step)
    return {
        key: [round(step[key], 3) if key in step else None for step in steps]
        for key in sorted(keys, key=lambda key: (key.startswith("_"), key))
    }
