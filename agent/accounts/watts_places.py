"""Who has a place among the jobs of a GPU whose watts are learned, and what is believed of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.kernels.billing.watts import FEATURES, NO_ROOM, NOT_ASKED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wattshed.agent.window import JobKey, Owner

MOST_JOBS = 32
"""Of whom watts are learned on one GPU; of further ones the common line is used."""


class JobWatts(NamedTuple):
    """What one job draws on one GPU at full activity above idle, W, one sigma of that, and what it was learned from.

    ``alone_us`` and ``shared_us`` are the slots in which the job used the GPU.
    """

    job: JobKey
    gpu: int
    watts: float
    sigma_w: float
    alone_us: int
    shared_us: int


@dataclass(slots=True)
class GpuPlaces:
    """Who has a place on a GPU, and by what its readings are judged.

    Attributes
    ----------
    jobs : dict of job to int
    past : dict of job to JobWatts
        What was believed of those that have no place any more.
    closed : dict of job to int, us
        Who have one, and no account any more, so that nobody asks for them; and when they had been seen last by then.
    idle_mw : int, mW
    divided : bool or None
        Whether MIG was on when it was met last.
    laid_out : tuple, optional
        What was laid out last to be saved, and of when.
    """

    jobs: dict[JobKey, int] = field(default_factory=dict)
    past: dict[JobKey, JobWatts] = field(default_factory=dict)
    closed: dict[JobKey, int] = field(default_factory=dict)
    idle_mw: int = -1
    divided: bool | None = None
    laid_out: tuple[Any, dict[str, Any]] | None = None

    def free(self) -> int | None:
        """Return a place that nobody has; None if there is none."""
        taken = set(self.jobs.values())
        return next((place for place in range(FEATURES, FEATURES + MOST_JOBS) if place not in taken), None)


class PlaceTable:
    """The places of the owners that rows name, found once for as long as neither changes."""

    def __init__(self) -> None:
        self._owners: tuple[Owner, ...] = ()
        self._keys: list[JobKey] = []
        self._found: NDArray[np.int64] | None = None

    def names(self, owners: tuple[Owner, ...]) -> bool:
        """Return whether these are the owners that were named last."""
        if owners is self._owners:
            return True
        if [owner.key for owner in owners] != self._keys:
            return False
        self._owners = owners
        return True

    def name(self, owners: tuple[Owner, ...]) -> None:
        """Name other owners."""
        if not self.names(owners):
            self._owners, self._keys, self._found = owners, [owner.key for owner in owners], None

    def forget(self) -> None:
        """Places have changed."""
        self._found = None

    def of(self, gpus: Sequence[GpuPlaces]) -> NDArray[np.int64]:
        """Return each owner's place on each GPU (int64[g, owners]), or why it has none."""
        if self._found is None:
            none = [NO_ROOM if len(one.jobs) == MOST_JOBS else NOT_ASKED for one in gpus]
            places = [[one.jobs.get(key, why) for key in self._keys] for one, why in zip(gpus, none, strict=True)]
            self._found = np.array(places, np.int64).reshape(len(gpus), len(self._keys))
        return self._found
