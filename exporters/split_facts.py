"""What is published of a shared GPU's split: watts that were learned of jobs. Estimates, never a meter's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def mean_watts(of_gpus: Iterable[tuple[float, float]]) -> dict[str, float]:
    """Return a job's mean watts over its GPUs, from (W, one sigma in W) of each; their errors may be alike."""
    known = list(of_gpus)
    return {
        "watts": sum(watts for watts, _ in known) / len(known),
        "watts_sigma": sum(sigma for _, sigma in known) / len(known),
    }


@dataclass(frozen=True, slots=True)
class WattsOfJob:
    """What one job draws on one GPU at full activity, above idle, and one sigma of that."""

    job: str
    gpu_uuid: str
    watts: float
    sigma_w: float
    split_sigma_hnj: int  # of its energy there, by how it was split among those who share the GPU


@dataclass(frozen=True, slots=True)
class SplitOfGpu:
    """What is learned on one GPU."""

    gpu_uuid: str
    common_w: float  # what a job of which nothing is known is taken to draw at full activity
    seconds: tuple[tuple[str, int], ...]  # what time was good for: ("alone", s), ("shared", s), ...


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """How the energy of shared GPUs is split, and what is learned for it."""

    watts: str = "common"  # or "learned": what is billed by
    gpus: tuple[SplitOfGpu, ...] = ()
    jobs: tuple[WattsOfJob, ...] = ()

    def of_jobs(self) -> dict[str, dict[str, float]]:
        """Return ``watts`` and ``watts_sigma`` of each job, see `mean_watts`."""
        found: dict[str, list[tuple[float, float]]] = {}
        for one in self.jobs:
            found.setdefault(one.job, []).append((one.watts, one.sigma_w))
        return {job: mean_watts(of_gpus) for job, of_gpus in found.items()}
