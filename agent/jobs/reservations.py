"""Who holds a GPU, whether or not a process of theirs runs on it: what Slurm, a prolog or the kubelet granted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.window import Owner

WHOLE_PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Reservation:
    """A GPU, or a part of it, granted to a job for a stretch of time.

    Attributes
    ----------
    gpu : int
        Index into the devices.
    owner : Owner
    start_us, end_us : int, us
        Inside the window that was asked for.
    share_ppm : int, millionths of the GPU
        -1 unknown.
    instance : str
        GPU instance id under MIG, else empty.
    uid : int
        The user the job runs as; -1 unknown.
    since_us : int, us
        When the job took the GPU, which may be long before the stretch; -1 unknown.
    """

    gpu: int
    owner: Owner
    start_us: int
    end_us: int
    share_ppm: int = MISSING
    instance: str = ""
    uid: int = MISSING
    since_us: int = MISSING


def holders(
    reservations: Sequence[Reservation], gpu: int, instance: str, from_us: int, to_us: int
) -> list[Reservation]:
    """Return what was held of this GPU (or of this MIG instance of it) at that time."""
    part = instance.partition("/")[0]
    return [
        held
        for held in reservations
        if held.gpu == gpu
        and held.start_us <= to_us
        and from_us <= held.end_us
        and (not held.instance or not part or held.instance == part)
    ]


def exclusive(held: Sequence[Reservation]) -> Reservation | None:
    """Return the hold of the one job that has all of the GPU, or all of the MIG instance; None if no job has it all."""
    alone = len({one.owner.key for one in held}) == 1
    whole = next((one for one in held if one.instance or one.share_ppm >= WHOLE_PPM), None)
    return whole if alone else None
