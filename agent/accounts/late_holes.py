"""A hole is split some seconds after it is over: by then the power after it is a mean, not a moment of a varying load.

What a hole (`kernels.billing.holes`) used is known from the first reading of the counter after it. Whose that is, where
owners changed in it, depends on the power after it, and one reading of a load that goes up and down twice a second says
little of that. So such a hole is kept back until `ENOUGH_US` after it are booked, or no more will be: another hole
comes, the agent was down, or the accounts are closed. Until then it is in nobody's account, nor in its GPU's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.billing.layout import DIAGNOSTICS, EnergyIntervals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wattshed.agent.accounts.ledger import GpuKey
    from wattshed.agent.accounts.pending_usage import PendingUsage

ENOUGH_US = 5_000_000
EDGE_US = 1_000_000  # so far windows, and with them the rows at a hole's edges, may reach into it


@dataclass(slots=True)
class LateHole:
    """A hole whose energy is known and not split yet.

    Attributes
    ----------
    t0_us, t1_us : int, us
    energy_hnj : int, hnj
    begin_mw, end_mw : int, mW
        Power before it, and the reading after it; -1 unknown.
    mark : int
        Of its energy, see `kernels.billing.layout.EnergyIntervals`.
    after_hnj, after_us : int
        What is booked after it so far.
    """

    t0_us: int
    t1_us: int
    energy_hnj: int
    begin_mw: int
    end_mw: int
    mark: int
    after_hnj: int = 0
    after_us: int = 0

    @classmethod
    def of(cls, intervals: EnergyIntervals, k: int) -> LateHole:
        """Return interval ``k``."""
        return cls(*(int(column[k]) for column in intervals.columns))

    def follow(self, energy_hnj: int, length_us: int) -> bool:
        """Take note of an interval after it; returns whether that is enough."""
        self.after_hnj += energy_hnj
        self.after_us += length_us
        return self.after_us >= ENOUGH_US

    def changes(self, rows: PendingUsage, gpu: int) -> bool:
        """Return whether somebody was there for part of it: else it is split alike, whatever came after it."""
        there = np.flatnonzero((rows.gpu == gpu) & (rows.start_us < self.t1_us) & (rows.end_us > self.t0_us))
        sure = there[rows.live[there] >= 0]
        length = np.minimum(rows.end_us[sure], self.t1_us) - np.maximum(rows.start_us[sure], self.t0_us)
        held_us = np.bincount(rows.whose()[sure], length)
        whole = held_us >= self.t1_us - self.t0_us - EDGE_US
        return bool(((held_us > EDGE_US) & ~whole).any() or (whole.any() and len(sure) < len(there)))

    @property
    def after_mw(self) -> int:
        """The power after it, as well as it is known."""
        return self.after_hnj // (2 * self.after_us) if self.after_us > 0 else self.end_mw


class LateHoles:
    """The holes of one host's GPUs that are not split yet, at most one of each."""

    def __init__(self) -> None:
        self._waiting: dict[GpuKey, LateHole] = {}

    @property
    def wait(self) -> bool:
        """Whether any is not split yet."""
        return bool(self._waiting)

    def of(self, key: GpuKey) -> LateHole | None:
        """Return the hole of one GPU."""
        return self._waiting.get(key)

    def restore(self, key: GpuKey, hole: LateHole) -> None:
        """Take over what `of` returned before a restart."""
        self._waiting[key] = hole

    def split_until(self, keys: Sequence[GpuKey], booked_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return until when (us) everything booked has been split, of each GPU."""
        if not self._waiting:
            return booked_us
        late = [self._waiting[key].t0_us if key in self._waiting else _NEVER for key in keys]
        return np.minimum(booked_us, np.array(late, np.int64))

    def hold_back(
        self, intervals: EnergyIntervals, keys: Sequence[GpuKey], rows: PendingUsage
    ) -> EnergyIntervals | None:
        """Keep back what cannot be split yet, and return what can now.

        Parameters
        ----------
        intervals : EnergyIntervals
            Changed in place: a hole that has to wait is taken out, others get the power after them.
        keys : sequence of GpuKey
        rows : PendingUsage

        Returns
        -------
        EnergyIntervals or None
            Holes from before these intervals.
        """
        if not self._waiting and not intervals.hole.any():
            return None
        due = [self._follow(intervals, gpu, key, rows) for gpu, key in enumerate(keys)]
        return _as_intervals(due)

    def give_up(self, keys: Sequence[GpuKey]) -> EnergyIntervals | None:
        """Return all holes that wait: nothing more will be known."""
        return _as_intervals([self._waiting.pop(key, None) for key in keys]) if self._waiting else None

    def _follow(self, intervals: EnergyIntervals, gpu: int, key: GpuKey, rows: PendingUsage) -> LateHole | None:
        """Go through one GPU's intervals; returns a hole from before them that no longer has to wait."""
        first, stop = int(intervals.starts[gpu]), int(intervals.starts[gpu] + intervals.counts[gpu])
        hole, place = self._waiting.pop(key, None), -1  # where it is among these intervals
        due = None
        for k in range(first, stop):
            one = LateHole.of(intervals, k)
            is_hole = bool(intervals.hole[k])
            if hole is not None and (is_hole or hole.follow(one.energy_hnj, one.t1_us - one.t0_us)):
                if place >= 0:
                    intervals.end_mw[place] = hole.after_mw
                else:
                    due = hole
                hole = None
            if is_hole and one.changes(rows, gpu):
                hole, place = one, k
        if hole is not None:
            self._waiting[key] = hole
            if place >= 0:
                for column in intervals.columns:
                    column[place : stop - 1] = column[place + 1 : stop].copy()
                intervals.counts[gpu] -= 1
        return due


def _as_intervals(holes: Sequence[LateHole | None]) -> EnergyIntervals | None:
    if not any(holes):
        return None
    found = [(h.t0_us, h.t1_us, h.energy_hnj, h.begin_mw, h.after_mw, h.mark) if h else (0,) * 6 for h in holes]
    t0, t1, energy, begin, end, mark = np.ascontiguousarray(np.array(found, np.int64).T)
    counts = np.array([hole is not None for hole in holes], np.int64)
    diagnostics = np.zeros(len(holes), DIAGNOSTICS)
    return EnergyIntervals(np.arange(len(holes)), counts, t0, t1, energy, begin, end, mark, diagnostics)


_NEVER = 1 << 62
