"""The last hour of power for the page, per GPU and per job: joules between two snapshots over the time between them.

Mean power over a step is exact whatever the sensor did in between, and it is the same for jobs and GPUs, so that the
lines of a GPU's jobs add up to its own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from exporters.snapshot import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from exporters.snapshot import Snapshot

MAX_JOBS = 24
"""Jobs drawn by name; the rest is summed as ``_other``."""


class History:
    """Keeps mean power of the last ``span_s`` in steps of ``step_s``.

    Parameters
    ----------
    span_s, step_s : float, s
    """

    def __init__(self, span_s: float = 3600.0, step_s: float = 10.0) -> None:
        self.step_s = step_s
        self._steps: deque[tuple[float, Mapping[str, float], Mapping[str, float]]] = deque(maxlen=int(span_s / step_s))
        self._last: tuple[int, Mapping[str, int], Mapping[str, int]] | None = None

    def observe(self, snapshot: Snapshot) -> None:
        """Take note of a snapshot; one that is no step younger than the last is passed over."""
        if snapshot.seq == 0:
            return
        gpus = {g.uuid: g.energy_hnj for g in snapshot.gpus if g.energy_source != "none"}
        jobs: dict[str, int] = {}
        for share in snapshot.energy:
            jobs[share.job] = jobs.get(share.job, 0) + share.static_hnj + share.dynamic_hnj
        if self._last is None:
            self._last = (snapshot.time_us, gpus, jobs)
            return
        then_us, gpus_then, jobs_then = self._last
        elapsed_s = (snapshot.time_us - then_us) / 1e6
        if elapsed_s < self.step_s * 0.9:
            return
        self._last = (snapshot.time_us, gpus, jobs)
        per_job = _largest(_watts(jobs, jobs_then, elapsed_s, born=True))
        self._steps.append((snapshot.time_us / 1e6, _watts(gpus, gpus_then, elapsed_s, born=False), per_job))

    def columns(self) -> dict[str, Any]:
        """Give the hour as columns: ``time_s``, and watts by GPU and by job; None where nothing is known."""
        steps = list(self._steps)
        sums: dict[str, float] = {}
        for _, _, jobs in steps:
            for job, watts in jobs.items():
                sums[job] = sums.get(job, 0.0) + watts
        named = _largest(sums)
        return {
            "step_s": self.step_s,
            "time_s": [time_s for time_s, _, _ in steps],
            "gpus": _columns([gpus for _, gpus, _ in steps]),
            "jobs": _columns([_fold(jobs, named) for _, _, jobs in steps]),
        }


def _watts(now: Mapping[str, int], then: Mapping[str, int], elapsed_s: float, *, born: bool) -> dict[str, float]:
    # what is new began at 0 if it is a job; a GPU that appears may bring restored joules along
    keys = now if born else now.keys() & then.keys()
    return {key: max(0, now[key] - then.get(key, 0)) / HNJ_PER_JOULE / elapsed_s for key in keys}


def _largest(per_job: dict[str, float]) -> dict[str, float]:
    """Keep what is no job and the ``MAX_JOBS`` largest jobs; sum the rest as ``_other``."""
    ranked = sorted((job for job in per_job if not job.startswith("_")), key=lambda job: (-per_job[job], job))
    return _fold(per_job, {*ranked[:MAX_JOBS], *(job for job in per_job if job.startswith("_"))})


def _fold(per_job: Mapping[str, float], named: Collection[str]) -> dict[str, float]:
    kept = {job: watts for job, watts in per_job.items() if job in named}
    if len(kept) < len(per_job):
        rest = sum(watts for job, watts in per_job.items() if job not in named)
        kept["_other"] = kept.get("_other", 0.0) + rest
    return kept


def _columns(steps: list[Mapping[str, float]]) -> dict[str, list[float | None]]:
    keys = dict.fromkeys(key for step in steps for key in step)
    return {
        key: [round(step[key], 3) if key in step else None for step in steps]
        for key in sorted(keys, key=lambda key: (key.startswith("_"), key))
    }
