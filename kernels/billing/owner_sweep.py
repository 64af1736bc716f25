"""Who holds the GPUs over a run of windows, and how far a sweep over one GPU's owners has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.kernels.billing.shares import ROOM
from wattshed.kernels.billing.split import Split
from wattshed.kernels.billing.usage import usage_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Holders(NamedTuple):
    """Usage rows over a run of windows, as `kernels.billing.split.split` wants them.

    Attributes
    ----------
    rows : int64[g + 1]
        GPU ``i`` owns usage rows ``rows[i]:rows[i + 1]``.
    start_us, end_us, activity_ppm, busy_ppm, share_ppm : int64[m]
    live : integer[m]
    since_us : sequence of int64[w], us
        When each window began, run by run. Energy is split at the end of every window: rows go on over it.
    """

    rows: NDArray[np.int64]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    activity_ppm: NDArray[np.int64]
    busy_ppm: NDArray[np.int64]
    share_ppm: NDArray[np.int64]
    live: NDArray[np.integer[Any]]
    since_us: Sequence[NDArray[np.int64]]


class OwnerSweep:
    """A sweep over one GPU's usage rows, which may stop anywhere.

    Parameters
    ----------
    holders : Holders or None
        None: nobody is there.
    gpu : int

    Attributes
    ----------
    of_rows, of_gpu : int64[8, m], int64[2, 1]
        The columns of a `Split`, so far.
    """

    def __init__(self, holders: Holders | None, gpu: int) -> None:
        holders = holders or _NOBODY
        first, last = map(int, holders.rows[gpu : gpu + 2]) if len(holders.start_us) else (0, 0)
        own = slice(first, last)
        count = last - first
        self.usage = usage_rows(
            np.array([0, count]), holders.start_us[own], holders.end_us[own], holders.activity_ppm[own],
            holders.busy_ppm[own], holders.share_ppm[own], holders.live[own],
        )  # fmt: skip
        self.place = np.array([0, count, 0, 0, 0], np.int64)
        self.room, self.used = np.empty((ROOM, count + 1), np.int64), np.empty(count + 1)
        self.of_rows, self.of_gpu = np.zeros((8, count), np.int64), np.zeros((2, 1), np.int64)
        self.segment = np.zeros(4, np.int64)
        self.interval = np.empty((5, 1), np.int64)


_NOTHING = np.empty(0, np.int64)
_NOBODY = Holders(_NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING, np.empty(0, np.int8), ())


def joined_parts(sweeps: Sequence[OwnerSweep]) -> Split:
    """Put what each GPU's rows got together."""
    of_rows = np.concatenate([sweep.of_rows for sweep in sweeps], axis=1)
    of_gpus = np.concatenate([sweep.of_gpu for sweep in sweeps], axis=1)
    return Split(*of_rows, *of_gpus)
