"""A GPU's rows of some windows, laid out one after the other, cut into blocks, and joined to the accounts.

Blocks are summed by whoever can: here, or on a device. A block ends with its window, and where somebody comes or goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.kernels.billing.block_sums import LAY_OUT, PLACES, WINDOW, join_gpu, pour_taken
from wattshed.kernels.billing.histogram import HIGHEST_MW

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from wattshed.kernels.billing.histogram import PowerHistogram
    from wattshed.kernels.billing.owner_sweep import OwnerSweep
    from wattshed.kernels.columns import Columns


class Limits(NamedTuple):
    """What the readings of one GPU are measured by."""

    ceiling_mw: int
    max_gap_us: int
    idle_mw: int

    @classmethod
    def of_all(
        cls, ceiling_mw: NDArray[np.int64], max_gap_us: NDArray[np.int64], idle_mw: NDArray[np.int64]
    ) -> list[Limits]:
        """Give each GPU's (int64[g])."""
        return [cls(*one) for one in zip(ceiling_mw.tolist(), max_gap_us.tolist(), idle_mw.tolist(), strict=True)]

    @property
    def twice_idle_mw(self) -> int:
        """Twice idle power; above any reading it makes no difference, and unknown it is nothing."""
        return 2 * min(max(self.idle_mw, 0), HIGHEST_MW)


class Nobodys(NamedTuple):
    """What was used, and what of it nobody held the GPU for: below idle power, and above; hnj."""

    energy_hnj: int
    static_hnj: int
    dynamic_hnj: int


@dataclass(frozen=True, slots=True)
class LaidOut:
    """One GPU's rows.

    Attributes
    ----------
    time_us, power_mw : int64[n], us; int32[n], mW
    until, since_us : int64[w]
        Where each window's rows end, and when it began (us).
    begin, end : int64[k]
        Rows of each block.
    """

    time_us: NDArray[np.int64]
    power_mw: NDArray[np.int32]
    until: NDArray[np.int64]
    since_us: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        run: Columns,
        gpu: int,
        since_us: NDArray[np.int64] | None,
        room: tuple[NDArray[np.int64], NDArray[np.int32]],
        sweep: OwnerSweep,
        block_rows: int,
    ) -> LaidOut:
        """Lay a GPU's rows of a run out.

        Parameters
        ----------
        run : Columns
        gpu : int
        since_us : int64[w], us, or None
            When windows began; None: nobody is there, and all windows are as good as one.
        room : int64[n], int32[n]
        sweep : OwnerSweep
        block_rows : int
        """
        counts = run.offsets[:, gpu + 1] - run.offsets[:, gpu]
        rows = int(counts.sum())
        time_us, power_mw = room[0][:rows], room[1][:rows]
        LAY_OUT[run.times.dtype](*run, gpu, 0, time_us, power_mw)
        until, since = (np.cumsum(counts), since_us) if since_us is not None else (np.array([rows]), np.zeros(1, int))
        edges_us = np.concatenate([sweep.usage.row["start_us"], sweep.usage.row["end_us"]])  # type: ignore[call-overload]
        # Of a time that falls within, the place may be any: `join_gpu` looks before it takes a block.
        cuts = np.unique(np.concatenate([until, np.searchsorted(time_us, edges_us, side="right"), [0, rows]]))
        blocks = -(-np.diff(cuts) // block_rows)
        begin = np.repeat(cuts[:-1] - (np.cumsum(blocks) - blocks) * block_rows, blocks)
        begin += np.arange(len(begin)) * block_rows
        end = np.minimum(begin + block_rows, np.repeat(cuts[1:], blocks))
        return cls(time_us, power_mw, until, since, begin, end)

    def join(
        self,
        sums: NDArray[np.int64],
        limits: Limits,
        sweep: OwnerSweep,
        state: NDArray[np.void],
        diagnostics: NDArray[np.void],
        histogram: PowerHistogram | None,
        pour: Callable[[NDArray[np.bool_]], None],
    ) -> Nobodys:
        """Book the rows whose blocks are summed.

        Parameters
        ----------
        sums : int64[k, FIELDS]
        limits : Limits
        sweep : OwnerSweep
            Goes on.
        state, diagnostics : GPU_STATE[1], DIAGNOSTICS[1]
            Of the GPU; changed.
        histogram : PowerHistogram, optional
            With bins.
        pour : callable
            Called with the blocks (bool[k]) whose readings' weights are to be added to its bins now.

        Returns
        -------
        Nobodys
        """
        taken = np.zeros(len(self.begin), np.bool_)
        place, out = np.zeros(PLACES, np.int64), np.zeros(3, np.int64)
        energy, static, dynamic = 0, 0, 0
        while place[WINDOW] < len(self.until):
            bins, last = (_NO_BINS, _NO_LAST.copy()) if histogram is None else (histogram.bins, histogram.last)
            join_gpu(
                self.time_us, self.power_mw, self.begin, self.end, sums, taken, self.until, self.since_us, place,
                state, diagnostics, *limits, histogram is not None, last, bins, *sweep.usage, sweep.place, sweep.room,
                sweep.used, sweep.of_rows, sweep.of_gpu, sweep.segment, sweep.interval, out,
            )  # fmt: skip
            energy += int(out[0])
            static += int(sweep.of_gpu[0, 0])
            dynamic += int(sweep.of_gpu[1, 0])
            sweep.of_gpu[:] = 0
            if histogram is not None and (out[2] or place[WINDOW] == len(self.until)):
                pour(taken)
                taken[:] = False
                if out[2]:
                    histogram.make_room(int(out[2]))
        return Nobodys(energy, static, dynamic)

    def pour(self, taken: NDArray[np.bool_], histogram: PowerHistogram) -> None:
        """Add the weights of the readings of some blocks to the bins."""
        pour_taken(self.time_us, self.power_mw, self.begin, self.end, taken, histogram.bins)


_NO_BINS = np.empty((2, 0), np.uint32)
_NO_LAST = np.zeros(6, np.int64)
