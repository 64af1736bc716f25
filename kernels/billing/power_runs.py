"""Runs of windows that hold power readings and nothing else, booked at once: GPU by GPU, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from wattshed.kernels import threads
from wattshed.kernels.billing.histogram import BEFORE, HIGHEST_MW
from wattshed.kernels.billing.layout import DIAGNOSTICS
from wattshed.kernels.billing.power_only import BOOK_GPU

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wattshed.kernels.billing.histogram import PowerHistogram
    from wattshed.kernels.columns import Columns


class Booked(NamedTuple):
    """What a run of windows adds to each GPU.

    Attributes
    ----------
    diagnostics : DIAGNOSTICS[g]
        As of `reconcile.merge`, without the energies: these may be more than int64 holds.
    energy_hnj, static_hnj : list of int, hnj
        All energy of each GPU, and the part of it below idle power.
    """

    diagnostics: NDArray[np.void]
    energy_hnj: list[int]
    static_hnj: list[int]

    @classmethod
    def nothing(cls, gpus: int) -> Booked:
        """Nothing yet, of so many GPUs."""
        return cls(np.zeros(gpus, DIAGNOSTICS), [0] * gpus, [0] * gpus)

    def add(self, more: Booked) -> None:
        """Add what another run brought."""
        for name in DIAGNOSTICS.names or ():
            self.diagnostics[name] += more.diagnostics[name]
        for mine, theirs in ((self.energy_hnj, more.energy_hnj), (self.static_hnj, more.static_hnj)):
            mine[:] = [a + b for a, b in zip(mine, theirs, strict=True)]


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
        /,
    ) -> Booked | None:
        """Book them one after the other, see `book_power_only`."""


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
) -> Booked | None:
    """Book windows that have no counter and no usage: all of a GPU, then all of the next, so that histograms stay warm.

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

    Returns
    -------
    Booked or None
        None: `reconcile.merge` must do it, for a GPU has had a counter, or may be a whole hall.
    """
    if not is_bookable(runs, state, ceiling_mw, histograms):
        return None
    counts = rows_of(runs)
    booked = Booked.nothing(len(state))

    def book_gpu(gpu: int) -> None:
        histogram = histograms[gpu] if histograms is not None else None
        if histogram is not None and not histogram.worth_bins(int(counts[gpu])):
            histogram = None
        limits = _Limits.of(ceiling_mw[gpu], max_gap_us[gpu], idle_mw[gpu])
        for run in runs:
            _book_run(run, gpu, state, booked, limits, histogram)
            if histograms is not None and histogram is None:
                histograms[gpu].extend(*run.rows_of(gpu), limits.ceiling_mw, limits.max_gap_us)

    def book_gpus(first: int, last: int) -> None:
        for gpu in range(first, last):
            book_gpu(gpu)

    threads.each(book_gpus, len(state), rows=int(counts.sum()))
    return booked


class _Limits(NamedTuple):
    """What the readings of one GPU are measured by."""

    ceiling_mw: int
    max_gap_us: int
    twice_idle_mw: int

    @classmethod
    def of(cls, ceiling_mw: np.int64, max_gap_us: np.int64, idle_mw: np.int64) -> _Limits:
        """Take them as they are said; idle power above any reading makes no difference."""
        return cls(int(ceiling_mw), int(max_gap_us), 2 * min(max(int(idle_mw), 0), HIGHEST_MW))


def _book_run(
    run: Columns,
    gpu: int,
    state: NDArray[np.void],
    booked: Booked,
    limits: _Limits,
    histogram: PowerHistogram | None,
) -> None:
    """Book the windows of one run for one GPU."""
    book = BOOK_GPU[run.times.dtype]
    place, out = np.zeros(2, np.int64), np.zeros(3, np.int64)
    own = slice(gpu, gpu + 1)
    while place[0] < len(run.base_us):
        bins, last = (histogram.bins, histogram.last) if histogram is not None else (_NO_BINS, _NO_LAST.copy())
        book(
            *run, gpu, place, state[own], booked.diagnostics[own], *limits, histogram is not None, last, bins, out,
        )  # fmt: skip
        booked.energy_hnj[gpu] += int(out[0])
        booked.static_hnj[gpu] += int(out[1])
        if out[2] and histogram is not None:
            histogram.make_room(int(out[2]))


_NO_BINS = np.empty((2, 0), np.uint32)
_NO_LAST = np.zeros(6, np.int64)
