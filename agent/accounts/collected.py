"""What windows show of usage and energy, until it is entered in the slots in which watts are learned, all at once."""

from __future__ import annotations

from itertools import accumulate, chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from wattshed.agent.accounts.pending_usage import PendingUsage
    from wattshed.agent.window import Window
    from wattshed.kernels.billing.layout import EnergyIntervals
    from wattshed.kernels.billing.split import Split

LIMIT, HELD = "limit_enforced_w", "throttle_power_cap_s"
"""Gauges of windows: the power limit, and for how long it held a GPU back."""


class SeenWindows(NamedTuple):
    """Windows and their usage, as `kernels.billing.slots.see` takes them."""

    used: NDArray[np.int64]
    window: NDArray[np.int64]
    busy_us: NDArray[np.int64]
    offsets: NDArray[np.int64]
    power_mw: NDArray[np.int64]
    limit_w: NDArray[np.float64]
    held_s: NDArray[np.float64]


class BookedSplits(NamedTuple):
    """Splits of energy, as `kernels.billing.slots.book` takes them."""

    booked: NDArray[np.int64]
    stops: NDArray[np.int64]
    nobodys: NDArray[np.int64]
    hole: NDArray[np.int64]


class Collected:
    """Windows of the same owners and GPUs, and how their energy was split: nothing is copied before it is needed."""

    def __init__(self) -> None:
        self.windows: list[tuple[Window, PendingUsage]] = []
        self.splits: list[tuple[PendingUsage, Split]] = []
        self._holes: list[NDArray[np.int64]] = []

    def add_holes(self, intervals: EnergyIntervals) -> None:
        """Take note of those intervals that no reading covers."""
        holes = np.flatnonzero(intervals.hole)
        of = np.searchsorted(intervals.starts, holes, "right") - 1
        real = holes < (intervals.starts + intervals.counts)[of]
        holes = holes[real]
        self._holes.append(np.array([of[real], intervals.t0_us[holes], intervals.t1_us[holes]]))

    def seen(self) -> SeenWindows:
        """Lay out the windows, of which there is one or more."""
        windows, usage = [window for window, _ in self.windows], [rows for _, rows in self.windows]
        readings = [window.readings for window in windows]
        unknown = np.full(len(windows[0].busy_us), np.nan)
        ends = zip(
            [window.start_us for window in windows],
            [window.end_us for window in windows],
            accumulate(len(rows.gpu) for rows in usage),
            accumulate(len(one.power_mw) for one in readings),
            strict=True,
        )
        return SeenWindows(
            _columns(
                [rows.gpu for rows in usage], [rows.owner for rows in usage], [rows.start_us for rows in usage],
                [rows.end_us for rows in usage], [rows.activity_ppm for rows in usage], [rows.live for rows in usage],
                [rows.tensor_ppm for rows in usage], [rows.dram_ppm for rows in usage],
            ),
            np.array(list(ends), np.int64),
            np.array([window.busy_us for window in windows], np.int64),
            np.array([one.offsets for one in readings], np.int64),
            np.concatenate([one.power_mw for one in readings], dtype=np.int64),
            np.array([window.gauges.get(LIMIT, unknown) for window in windows], np.float64),
            np.array([window.gauges.get(HELD, unknown) for window in windows], np.float64),
        )  # fmt: skip

    def booked(self) -> BookedSplits:
        """Lay out the splits, of which there is one or more."""
        usage, parts = [rows for rows, _ in self.splits], [part for _, part in self.splits]
        return BookedSplits(
            _columns(
                [rows.gpu for rows in usage], [rows.start_us for rows in usage], [rows.end_us for rows in usage],
                [part.dynamic_hnj for part in parts],
            ),
            np.array(list(accumulate(len(rows.gpu) for rows in usage)), np.int64),
            np.array([part.unattributed_hnj for part in parts]),
            np.concatenate(self._holes, axis=1) if self._holes else _NO_HOLES,
        )  # fmt: skip


_NO_HOLES = np.empty((3, 0), np.int64)


def _columns(*columns: Iterable[NDArray[np.generic]]) -> NDArray[np.int64]:
    """Lay out columns below each other, each of which is in pieces."""
    return np.concatenate(list(chain(*columns)), dtype=np.int64).reshape(len(columns), -1)
