"""Runs of windows that hold power readings and nothing else: where they may be cut, and which may be booked at once.

Where nobody holds a GPU, any of them may (`kernels.billing.power_runs`). Where somebody may, windows have to touch and
to tell of every GPU, so that no hole opens about which there would be something to decide (`agent.accounts.holding`),
and what is told of them must not depend on what comes later, or lies further back than the window before.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from wattshed.agent.accounts.joining import APART_US
from wattshed.agent.accounts.uncertainty import FROZEN_US
from wattshed.kernels.billing.owner_sweep import Holders
from wattshed.kernels.billing.reconcile import MOST_HNJ
from wattshed.kernels.billing.whole_windows import Looks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.accounts.limits import DeviceLimits
    from wattshed.agent.accounts.pending_usage import PendingUsage
    from wattshed.agent.window import Device, Owner, Window, WindowBatch


class Whose(Protocol):
    """Who held GPUs, as a table of jobs says it (`agent.traces.jobs.assignment`)."""

    @property
    def owners(self) -> Sequence[Owner]:
        """All that it knows."""

    def told(self, window: Window) -> Window:
        """Return a window with its usage; asked once for each time."""

    def edges(self, devices: tuple[Device, ...], start_us: NDArray[np.int64], end_us: NDArray[np.int64]) -> set[int]:
        """Say before which of touching windows somebody on any GPU comes or goes, or did within the one before."""


@dataclass(frozen=True, slots=True)
class WindowRun:
    """Windows of one host in batches with the same devices, and what was seen of them.

    Attributes
    ----------
    batches : sequence of WindowBatch
    start_us, end_us : int64[w], us
    is_whole : bool[w]
        Whether a window, looked at by itself, may be booked in a run with owners.
    high_mw : int64[w], mW
        Highest reading.
    """

    batches: Sequence[WindowBatch]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    is_whole: NDArray[np.bool_]
    high_mw: NDArray[np.int64]

    @classmethod
    def of(cls, batches: Sequence[WindowBatch], limits: DeviceLimits, state: NDArray[np.void]) -> WindowRun:
        """Look through batches before any is booked; ``state`` (GPU_STATE[g]) is that before them."""
        gpus = len(batches[0].devices)
        carried = np.stack([state["last_us"], state["run_since_us"], state["power_mw"]], axis=1)[:gpus].copy()
        looks = [Looks.through(batch.columns, limits.ceiling_mw[:gpus], carried) for batch in batches]

        def column(name: str) -> NDArray[np.int64]:
            return np.concatenate([getattr(one, name) for one in looks])

        start_us, end_us = (np.concatenate([getattr(one, name) for one in batches]) for name in ("start_us", "end_us"))
        good_us, latest_us = column("good_us"), column("latest_us")
        # Owners of the next window are not known yet at a window's end; rows that wait a minute would be joined; what
        # is read for longer than int64 holds is booked in parts; a sensor that stands still gets its own sigma.
        is_whole = (good_us >= start_us[:, None]).all(axis=1) & (good_us >= end_us[:, None] - APART_US).all(axis=1)
        is_whole &= (latest_us <= end_us) & (start_us < end_us) & (column("still_us") <= FROZEN_US)
        is_whole &= latest_us - column("first_us") <= limits.longest_us
        return cls(batches, start_us, end_us, is_whole, column("high_mw"))

    def together(self, first: int, max_gap_us: int, before_mw: int) -> int:
        """Return up to which window those from ``first`` on may be booked at once: ``first`` if not even that."""
        apart = np.flatnonzero(~self.is_whole[first:] | (self.start_us[first:] != np.append(
            self.start_us[first], self.end_us[first:-1]
        )))  # fmt: skip
        last = first + int(apart[0]) if len(apart) else len(self.start_us)
        if last > first:  # what they use together must fit int64
            high = max(int(self.high_mw[first:last].max()), before_mw, 1)
            longest = MOST_HNJ // (2 * high) - max_gap_us
            last = first + int(np.searchsorted(self.end_us[first:last], self.start_us[first] + longest, side="right"))
        return last

    def windows(self, first: int, last: int) -> list[WindowBatch]:
        """Return some of its windows in batches."""
        found, place = [], 0
        for batch in self.batches:
            a, b = max(first - place, 0), min(last - place, len(batch.seq))
            if a < b:
                found.append(batch.part(a, b))
            place += len(batch.seq)
        return found


def stretches(batches: Sequence[WindowBatch], whose: Whose) -> Iterator[Window]:
    """Yield windows without readings in place of those of a run: as long as who holds what stays the same.

    The last two are windows as they are, for what follows asks who was there in them.
    """
    start_us, end_us = (np.concatenate([getattr(one, name) for one in batches]) for name in ("start_us", "end_us"))
    devices, count = batches[0].devices, len(start_us)
    cuts = whose.edges(devices, start_us, end_us) | {0, max(count - 2, 0), count - 1, count}
    for first, last in pairwise(sorted(cuts)):
        since_us, until_us = int(start_us[first]), int(end_us[last - 1])
        yield whose.told(batches[0].unread(since_us, until_us))


def holders(rows: PendingUsage, gpus: int, batches: Sequence[WindowBatch]) -> Holders:
    """Lay usage rows, in the split's order, out for what books the run."""
    bounds = np.searchsorted(rows.gpu, np.arange(gpus + 1)).astype(np.int64)
    return Holders(
        bounds, rows.start_us, rows.end_us, rows.activity_ppm, rows.busy_ppm, rows.share_ppm, rows.live,
        [batch.start_us for batch in batches],
    )  # fmt: skip
