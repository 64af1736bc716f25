"""Runs of windows that hold power readings and nothing else, booked at once: GPU by GPU, side by side.

Where nobody holds a GPU, rows are booked as they lie in the file (`kernels.billing.power_only`). Where somebody does,
they are laid out in pieces that stay in a near cache, and summed block by block between the moments at which somebody
comes or goes (`kernels.billing.block_sums`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from wattshed.kernels import threads
from wattshed.kernels.billing.block_sums import FIELDS, sum_blocks_here
from wattshed.kernels.billing.histogram import BEFORE, HIGHEST_MW
from wattshed.kernels.billing.laid_out import LaidOut, Limits
from wattshed.kernels.billing.layout import DIAGNOSTICS
from wattshed.kernels.billing.owner_sweep import OwnerSweep, joined_parts
from wattshed.kernels.billing.power_only import BLOCK, BOOK_GPU
from wattshed.kernels.columns import cut_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wattshed.kernels.billing.histogram import PowerHistogram
    from wattshed.kernels.billing.owner_sweep import Holders
    from wattshed.kernels.billing.split import Split
    from wattshed.kernels.columns import Columns

_NEAR_ROWS = 32_768
"""Rows of a GPU that are laid out at once: 384 KiB."""


class Booked(NamedTuple):
    """What a run of windows adds to each GPU.

    Attributes
    ----------
    diagnostics : DIAGNOSTICS[g]
        As of `reconcile.merge`, without the energies: these may be more than int64 holds.
    energy_hnj, static_hnj, dynamic_hnj : list of int, hnj
        All energy of each GPU, and of it what nobody held the GPU for: below idle power, and above it.
    parts : Split, optional
        What those who held them got.
    """

    diagnostics: NDArray[np.void]
    energy_hnj: list[int]
    static_hnj: list[int]
    dynamic_hnj: list[int]
    parts: Split | None = None

    @classmethod
    def nothing(cls, gpus: int) -> Booked:
        """Nothing yet, of so many GPUs."""
        return cls(np.zeros(gpus, DIAGNOSTICS), [0] * gpus, [0] * gpus, [0] * gpus)

    def add(self, gpu: int, energy_hnj: int, static_hnj: int, dynamic_hnj: int) -> None:
        """Add energy to one GPU."""
        self.energy_hnj[gpu] += energy_hnj
        self.static_hnj[gpu] += static_hnj
        self.dynamic_hnj[gpu] += dynamic_hnj


class BookPowers(Protocol):
    """What books runs of windows that hold power readings and nothing else: `book_runs`, or a device's way."""

    def __call__(
        self,
        runs: Sequence[Columns],
        state: NDArray[np.void],
        ceiling_mw: NDArray[np.int64],
        max_gap_us: NDArray[np.int64],
        idle_mw: NDArray[np.int64],
        histograms: Sequence[PowerHistogram] | None = None,
        holders: Holders | None = None,
        /,
    ) -> Booked | None:
        """Book them one after the other, see `book_runs`."""


def rows_of(runs: Sequence[Columns]) -> NDArray[np.int64]:
    """Count the rows of each GPU: int64[g]."""
    counts: NDArray[np.int64] = np.sum([(run.offsets[:, 1:] - run.offsets[:, :-1]).sum(axis=0) for run in runs], axis=0)
    return counts


def is_bookable(
    runs: Sequence[Columns],
    state: NDArray[np.void],
    ceiling_mw: NDArray[np.int64],
    histograms: Sequence[PowerHistogram] | None = None,
) -> bool:
    """Return whether power readings can be booked by themselves: no GPU has had a counter, or may be a whole hall.

    Histograms that will have bins are brought up to their last row.
    """
    if (state["counter_mj"] >= 0).any() or (ceiling_mw > HIGHEST_MW).any():
        return False
    if histograms is not None:
        for histogram, rows in zip(histograms, rows_of(runs).tolist(), strict=True):
            if histogram.worth_bins(rows):
                histogram.catch_up()
                if histogram.last[BEFORE] > HIGHEST_MW:
                    return False
    return True


def book_power_only(
    run: Columns,
    state: NDArray[np.void],
    ceiling_mw: NDArray[np.int64],
    max_gap_us: NDArray[np.int64],
    idle_mw: NDArray[np.int64],
    histograms: Sequence[PowerHistogram] | None = None,
) -> Booked | None:
    """Book one run of windows, see `book_runs`."""
    return book_runs([run], state, ceiling_mw, max_gap_us, idle_mw, histograms)


def book_runs(
    runs: Sequence[Columns],
    state: NDArray[np.void],
    ceiling_mw: NDArray[np.int64],
    max_gap_us: NDArray[np.int64],
    idle_mw: NDArray[np.int64],
    histograms: Sequence[PowerHistogram] | None = None,
    holders: Holders | None = None,
) -> Booked | None:
    """Book windows that have no counter: all of a GPU, then all of the next, so that histograms stay warm.

    Parameters
    ----------
    runs : sequence of Columns
        One after the other in time, of the same GPUs.
    state : GPU_STATE[g]
        Changed in place, as `reconcile.merge` would.
    ceiling_mw, max_gap_us : int64[g]
        As for `reconcile.merge`.
    idle_mw : int64[g], mW
        -1 unknown.
    histograms : sequence of PowerHistogram, optional
        One a GPU; they get every reading's weight.
    holders : Holders, optional
        Who held the GPUs; each window has a reading of every GPU then, and none from after its end.

    Returns
    -------
    Booked or None
        None: `reconcile.merge` must do it, for a GPU has had a counter, or may be a whole hall.
    """
    if not is_bookable(runs, state, ceiling_mw, histograms):
        return None
    booked, sweeps = Booked.nothing(len(state)), [OwnerSweep(holders, gpu) for gpu in range(len(state))]
    since_us = None if holders is None else holders.since_us
    limits = [
        Limits(*of_one) for of_one in zip(ceiling_mw.tolist(), max_gap_us.tolist(), idle_mw.tolist(), strict=True)
    ]
    book_here(runs, since_us, sweeps, state, limits, histograms, booked)
    return booked if holders is None else booked._replace(parts=joined_parts(sweeps))


def book_here(
    runs: Sequence[Columns],
    since_us: Sequence[NDArray[np.int64]] | None,
    sweeps: Sequence[OwnerSweep],
    state: NDArray[np.void],
    limits: Sequence[Limits],
    histograms: Sequence[PowerHistogram] | None,
    booked: Booked,
) -> None:
    """Book runs that are bookable on this machine's cores, and add to what is booked.

    Parameters
    ----------
    runs : sequence of Columns
    since_us : sequence of int64[w], us, optional
        When their windows began, where somebody may hold the GPUs.
    sweeps : sequence of OwnerSweep
        Of each GPU; go on.
    state : GPU_STATE[g]
    limits : sequence of Limits
    histograms : sequence of PowerHistogram, optional
    booked : Booked
    """
    counts = rows_of(runs)

    def book_gpus(first: int, last: int) -> None:
        for gpu in range(first, last):
            histogram = histograms[gpu] if histograms is not None else None
            pours = False
            if histogram is not None and (pours := histogram.worth_bins(int(counts[gpu]))):
                histogram.catch_up()
            one = _Gpu(gpu, state, booked, limits[gpu], histogram if pours else None)
            for place, run in enumerate(runs):
                if since_us is None:
                    one.book(run)
                else:
                    one.book_held(run, since_us[place], sweeps[gpu])
                if histogram is not None and not pours:
                    histogram.extend(*run.rows_of(gpu), limits[gpu].ceiling_mw, limits[gpu].max_gap_us)

    threads.each(book_gpus, len(state), rows=int(counts.sum()))


class _Gpu(NamedTuple):
    """One GPU whose rows are booked; the histogram is there if its bins are filled."""

    gpu: int
    state: NDArray[np.void]
    booked: Booked
    limits: Limits
    histogram: PowerHistogram | None

    def book(self, run: Columns) -> None:
        """Book its rows of a run as they lie there."""
        book, histogram = BOOK_GPU[run.times.dtype], self.histogram
        place, out = np.zeros(2, np.int64), np.zeros(3, np.int64)
        own = slice(self.gpu, self.gpu + 1)
        measures = self.limits.ceiling_mw, self.limits.max_gap_us, self.limits.twice_idle_mw
        while place[0] < len(run.base_us):
            bins, last = (histogram.bins, histogram.last) if histogram is not None else (_NO_BINS, _NO_LAST.copy())
            book(
                *run, self.gpu, place, self.state[own], self.booked.diagnostics[own], *measures, histogram is not None,
                last, bins, out,
            )  # fmt: skip
            energy, static = int(out[0]), int(out[1])
            self.booked.add(self.gpu, energy, static, energy - static)
            if out[2] and histogram is not None:
                histogram.make_room(int(out[2]))

    def book_held(self, run: Columns, since_us: NDArray[np.int64], sweep: OwnerSweep) -> None:
        """Book its rows of a run among those who held it."""
        counts = run.offsets[:, self.gpu + 1] - run.offsets[:, self.gpu]
        own, histogram = slice(self.gpu, self.gpu + 1), self.histogram
        parts = list(cut_windows(counts, _NEAR_ROWS))
        most = max(int(counts[part].sum()) for part in parts)
        room = np.empty(most, np.int64), np.empty(most, np.int32)
        for part in parts:
            laid = LaidOut.of(run.part(part), self.gpu, since_us[part], room, sweep, BLOCK)
            sums = np.empty((len(laid.begin), FIELDS), np.int64)
            sum_blocks_here(
                laid.time_us, laid.power_mw, laid.begin, laid.end, self.limits.twice_idle_mw, sums, 0, len(sums)
            )

            def pour(taken: NDArray[np.bool_], laid: LaidOut = laid) -> None:
                if histogram is not None:
                    laid.pour(taken, histogram)

            diagnostics = self.booked.diagnostics[own]
            found = laid.join(sums, self.limits, sweep, self.state[own], diagnostics, histogram, pour)
            self.booked.add(self.gpu, *found)


_NO_BINS = np.empty((2, 0), np.uint32)
_NO_LAST = np.zeros(6, np.int64)
