"""Metrics of the watts that are learned of jobs, and of how the energy of shared GPUs is split by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.exporters.formats.exposition import Family
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from wattshed.exporters.formats.exposition import Rows
    from wattshed.exporters.snapshot import Snapshot


def _seconds(snapshot: Snapshot) -> Rows:
    return [((gpu.gpu_uuid, use), seconds) for gpu in snapshot.split.gpus for use, seconds in gpu.seconds]


SPLIT: tuple[Family, ...] = (
    Family(
        "wattshed_job_watts",
        "gauge",
        "What a job is believed to draw on a GPU at full activity, in watts above idle: an estimate, learned from how "
        "the board's power moves with the activities on it. No meter shows it.",
        ("job", "gpu_uuid"),
        lambda s: [((one.job, one.gpu_uuid), one.watts) for one in s.split.jobs],
    ),
    Family(
        "wattshed_job_watts_sigma",
        "gauge",
        "One standard deviation of wattshed_job_watts, in watts.",
        ("job", "gpu_uuid"),
        lambda s: [((one.job, one.gpu_uuid), one.sigma_w) for one in s.split.jobs],
    ),
    Family(
        "wattshed_gpu_watts",
        "gauge",
        "What a job of which nothing is known is taken to draw on a GPU at full activity, in watts above idle (the "
        "common line): an estimate.",
        ("gpu_uuid",),
        lambda s: [((one.gpu_uuid,), one.common_w) for one in s.split.gpus],
    ),
    Family(
        "wattshed_split_seconds_total",
        "counter",
        "Time with jobs on a GPU by what could be learned from it: one of them alone; several that shared it; or "
        "nothing, since kernels ran at once (concurrent), the board was at its power limit (limited), an activity was "
        "not known (unknown), or rows were too long (coarse).",
        ("gpu_uuid", "use"),
        _seconds,
    ),
    Family(
        "wattshed_job_split_sigma_joules",
        "gauge",
        "One standard deviation, in joules, of a job's energy on a GPU, by how it was split among those who share it: "
        "a part of wattshed_job_energy_sigma_joules.",
        ("job", "gpu_uuid"),
        lambda s: [((one.job, one.gpu_uuid), one.split_sigma_hnj) for one in s.split.jobs],
        per=HNJ_PER_JOULE,
    ),
)
