"""What windows show of usage and energy, until it is entered in the slots in which watts are learned, all at once."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.billing.slots import BOOKED_COLUMNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.accounts.pending_usage import PendingUsage
    from wattshed.agent.window import Window
    from wattshed.kernels.billing.layout import EnergyIntervals
    from wattshed.kernels.billing.split import Split

LIMIT, HELD = "limit_enforced_w", "throttle_power_cap_s"
"""Gauges of windows: the power limit, and for how long it held a GPU back."""


class Collected:
    """Windows of the same owners and GPUs, and how their energy was split.

    Attributes
    ----------
    windows : list of (Window, PendingUsage)
    splits : list of (PendingUsage, Split)
    """

    def __init__(self) -> None:
        self.windows: list[tuple[Window, PendingUsage]] = []
        self.splits: list[tuple[PendingUsage, Split]] = []
        self._holes: list[NDArray[np.int64]] = []

    def add_holes(self, intervals: EnergyIntervals) -> None:
        """Take note of those intervals of a split that no reading covers."""
        k = np.flatnonzero(intervals.hole)
        of = np.searchsorted(intervals.starts, k, "right") - 1
        real = k < (intervals.starts + intervals.counts)[of]  # and no room that nobody filled
        self._holes.append(np.array([of[real], intervals.t0_us[k[real]], intervals.t1_us[k[real]]]))

    def seen(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Lay out the windows as `kernels.billing.learning.learn` takes them."""
        seen: list[NDArray[np.generic]] = [_NONE]
        gauges, windows = [_NO_GAUGES], []
        for window, rows in self.windows:
            readings, busy_us, table = window.readings, window.busy_us, rows.table
            gpus, power_mw = len(busy_us), readings.power_mw
            windows.append((window.start_us, window.end_us, table.shape[1], gpus, len(power_mw)))
            seen += table.ravel(), busy_us, readings.offsets, power_mw
            known, unknown = window.gauges, _unknown(gpus)
            gauges += known.get(LIMIT, unknown), known.get(HELD, unknown)
        return (
            np.concatenate(seen, dtype=np.int64),
            np.concatenate(gauges),
            np.array(windows, np.int64).reshape(-1, 5),
        )

    def booked(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Lay out the splits, and the holes."""
        booked, splits = [_NONE], []
        for rows, parts in self.splits:
            table, nobodys = rows.table[:BOOKED_COLUMNS], parts.unattributed_hnj
            splits.append((table.shape[1], len(nobodys)))
            booked += table.ravel(), parts.dynamic_hnj, nobodys
        holes = np.concatenate(self._holes, axis=1) if self._holes else _NO_HOLES
        return np.concatenate(booked), np.array(splits, np.int64).reshape(-1, 2), holes


_NONE = np.empty(0, np.int64)
_NO_GAUGES = np.empty(0)
_NO_HOLES = np.empty((3, 0), np.int64)


@cache
def _unknown(gpus: int) -> NDArray[np.float64]:
    return np.full(gpus, np.nan)
