"""What windows show of usage and energy, until it is entered in the slots in which watts are learned, all at once."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.accounts.pending_usage import PendingUsage
    from wattshed.agent.window import Window
    from wattshed.kernels.billing.layout import EnergyIntervals
    from wattshed.kernels.billing.split import Split

LIMIT, HELD = "limit_enforced_w", "throttle_power_cap_s"
"""Gauges of windows: the power limit, and for how long it held a GPU back."""


class Collected:
    """Windows of the same owners and GPUs, and how their energy was split: references, until they are laid out.

    Attributes
    ----------
    usage : list of (int, PendingUsage)
        The windows' ends, us, and usage.
    """

    def __init__(self) -> None:
        self.usage: list[tuple[int, PendingUsage]] = []
        self._windows: list[tuple[int, int, int, int, int]] = []
        self._seen: list[NDArray[np.generic]] = [_NONE]
        self._gauges: list[NDArray[np.float64]] = [_NO_GAUGES]
        self._splits: list[tuple[int, int]] = []
        self._booked: list[NDArray[np.int64]] = [_NONE]
        self._holes: list[NDArray[np.int64]] = [_NO_HOLES]

    def __bool__(self) -> bool:
        """Return whether there is anything."""
        return bool(self._windows or self._splits)

    def see(self, window: Window, rows: PendingUsage) -> None:
        """Take a window and its usage."""
        readings, gpus = window.readings, len(window.busy_us)
        self.usage.append((window.end_us, rows))
        self._windows.append((window.start_us, window.end_us, len(rows.gpu), gpus, len(readings.power_mw)))
        self._seen += (
            rows.gpu, rows.owner, rows.start_us, rows.end_us, rows.activity_ppm, rows.live, rows.tensor_ppm,
            rows.dram_ppm, window.busy_us, readings.offsets, readings.power_mw,
        )  # fmt: skip
        gauges = window.gauges
        self._gauges += gauges.get(LIMIT, _unknown(gpus)), gauges.get(HELD, _unknown(gpus))

    def book(self, rows: PendingUsage, parts: Split, holes: EnergyIntervals | None) -> None:
        """Take a split, and the intervals if some of them are holes."""
        self._splits.append((len(rows.gpu), len(parts.unattributed_hnj)))
        self._booked += rows.gpu, rows.start_us, rows.end_us, parts.dynamic_hnj, parts.unattributed_hnj
        if holes is not None:
            k = np.flatnonzero(holes.hole)
            of = np.searchsorted(holes.starts, k, "right") - 1
            real = k < (holes.starts + holes.counts)[of]  # and no room that nobody filled
            self._holes.append(np.array([of[real], holes.t0_us[k[real]], holes.t1_us[k[real]]]))

    def seen(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Lay out the windows as `kernels.billing.learning.learn` takes them."""
        windows = np.array(self._windows, np.int64).reshape(-1, 5)
        return np.concatenate(self._seen, dtype=np.int64), np.concatenate(self._gauges), windows

    def booked(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Lay out the splits, and the holes."""
        splits = np.array(self._splits, np.int64).reshape(-1, 2)
        holes = _NO_HOLES if len(self._holes) == 1 else np.concatenate(self._holes, axis=1)
        return np.concatenate(self._booked), splits, holes


_NONE = np.empty(0, np.int64)
_NO_GAUGES = np.empty(0)
_NO_HOLES = np.empty((3, 0), np.int64)


@cache
def _unknown(gpus: int) -> NDArray[np.float64]:
    return np.full(gpus, np.nan)
