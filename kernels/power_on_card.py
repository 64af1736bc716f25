"""Booking power on a CUDA device, piece by piece: the integers, states and histograms of the CPU.

A piece is so many rows of consecutive windows, laid GPU by GPU into memory that the device copies from by itself
(page-locked, where the system gives it). The device sums their blocks and sends back eight numbers for each. Here they
are joined in the order of time (`kernels.billing.block_sums`); a block with anything unusual, and the first row of
each, are walked as ever. Then the device, which still has the piece, adds up the weights of the readings in the blocks
that were taken. Nothing of the accounts is changed before the sums are back, so a piece that the device's memory does
not hold is halved, and at last booked here.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.kernels.billing.block_sums import FIELDS, HIGH, LOW
from wattshed.kernels.billing.laid_out import LaidOut, Limits
from wattshed.kernels.billing.owner_sweep import OwnerSweep, joined_parts
from wattshed.kernels.billing.power_runs import Booked, book_here, is_bookable
from wattshed.kernels.columns import cut_windows
from wattshed.kernels.cuda_power import BLOCK_ROWS, pour_blocks, sum_blocks
from wattshed.kernels.cuda_target import THREADS, cuda, launch
from wattshed.kernels.device_memory import out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from wattshed.kernels.billing.histogram import PowerHistogram
    from wattshed.kernels.billing.owner_sweep import Holders
    from wattshed.kernels.columns import Columns

_LOG = logging.getLogger(__name__)
PIECE_ROWS = 1 << 22
"""Rows that are laid out and copied at once: 48 MiB here, and as much on the device."""


class _Piece(NamedTuple):
    """Rows of some windows: GPU ``i`` owns ``rows[i]:rows[i + 1]``, and blocks ``blocks[i]:blocks[i + 1]``."""

    gpus: list[LaidOut]
    time_us: NDArray[np.int64]
    power_mw: NDArray[np.int32]
    rows: NDArray[np.int64]
    blocks: NDArray[np.int64]

    def of_blocks(self, name: str) -> NDArray[np.int64]:
        """Return where each block begins or ends, in the rows of all GPUs."""
        return np.concatenate([getattr(one, name) + at for one, at in zip(self.gpus, self.rows.tolist(), strict=False)])


class _Run(NamedTuple):
    """Windows, and when each began where somebody may hold the GPUs."""

    columns: Columns
    since_us: NDArray[np.int64] | None

    def parts(self, rows: int) -> Iterator[_Run]:
        """Cut it between windows, into parts of about so many rows."""
        for own in cut_windows(self.columns.offsets[:, -1], rows):
            yield _Run(self.columns.part(own), None if self.since_us is None else self.since_us[own])


class _Books(NamedTuple):
    """What a run changes, and what its readings are measured by."""

    sweeps: list[OwnerSweep]
    state: NDArray[np.void]
    limits: list[Limits]
    histograms: Sequence[PowerHistogram] | None
    booked: Booked


class PowerOnCard:
    """Books runs of windows on the device that this process has.

    Parameters
    ----------
    piece_rows : int

    Attributes
    ----------
    rows_on_card, rows_here : int
        How many were summed on the device, and how many here because its memory was short, or it failed.
    trouble : str
        What ended the work on the device, in a line; empty where nothing did.
    """

    def __init__(self, *, piece_rows: int = PIECE_ROWS) -> None:
        self._piece_rows = piece_rows
        self._room: tuple[NDArray[np.int64], NDArray[np.int32]] | None = None
        self.rows_on_card = self.rows_here = 0
        self.trouble = ""

    def __call__(
        self,
        runs: Sequence[Columns],
        state: NDArray[np.void],
        ceiling_mw: NDArray[np.int64],
        max_gap_us: NDArray[np.int64],
        idle_mw: NDArray[np.int64],
        histograms: Sequence[PowerHistogram] | None = None,
        holders: Holders | None = None,
    ) -> Booked | None:
        """Book runs of windows, one after the other, as `kernels.billing.power_runs.book_runs` does."""
        if not is_bookable(runs, state, ceiling_mw, histograms):
            return None
        gpus = len(state)
        sweeps = [OwnerSweep(holders, gpu) for gpu in range(gpus)]
        limits = Limits.of_all(ceiling_mw, max_gap_us, idle_mw)
        books = _Books(sweeps, state, limits, histograms, Booked.nothing(gpus))
        for place, columns in enumerate(runs):
            for part in _Run(columns, None if holders is None else holders.since_us[place]).parts(self._piece_rows):
                self._book(part, books)
        return books.booked if holders is None else books.booked._replace(parts=joined_parts(sweeps))

    def _book(self, run: _Run, books: _Books) -> None:
        """Book a part of a run: on the device, in halves where its memory is short, here where that does not help."""
        rows = int(run.columns.offsets[:, -1].sum())
        if not self.trouble:
            piece = self._laid_out(run, books.sweeps)
            try:
                there = _There(piece, books.limits)
            except Exception as error:  # noqa: BLE001 - numba and the driver raise their own kinds
                if not out_of_memory(error):
                    self._fail(error)
            else:
                self.rows_on_card += rows
                for gpu in range(len(books.state)):
                    self._join(there, piece, gpu, books)
                return
            if not self.trouble and len(run.columns.base_us) > 1:
                # Outside the handler: the exception would keep the arrays of the failed attempt alive.
                for part in run.parts(rows // 2):
                    self._book(part, books)
                return
        self.rows_here += rows
        book_here([run.columns], None if run.since_us is None else [run.since_us], *books)

    def _fail(self, error: Exception) -> None:
        """Leave the device alone from now on."""
        self.trouble = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        _LOG.warning("the CUDA device failed, the rest is summed on the CPU: %s", self.trouble)

    def _laid_out(self, run: _Run, sweeps: Sequence[OwnerSweep]) -> _Piece:
        """Bring rows together, GPU by GPU."""
        counts = (run.columns.offsets[:, 1:] - run.columns.offsets[:, :-1]).sum(axis=0)
        rows = np.concatenate([[0], np.cumsum(counts)])
        if self._room is None or len(self._room[0]) < rows[-1]:
            self._room = None  # given back first
            self._room = _page_locked(max(int(rows[-1]), self._piece_rows))
        time_us, power_mw = self._room[0][: rows[-1]], self._room[1][: rows[-1]]
        gpus = [
            LaidOut.of(run.columns, gpu, run.since_us, (time_us[at:], power_mw[at:]), sweep, BLOCK_ROWS)
            for gpu, (at, sweep) in enumerate(zip(rows.tolist(), sweeps, strict=False))
        ]
        blocks = np.cumsum([0, *(len(one.begin) for one in gpus)])
        return _Piece(gpus, time_us, power_mw, rows, blocks)

    def _join(self, there: _There, piece: _Piece, gpu: int, books: _Books) -> None:
        """Book one GPU's rows whose blocks are summed, and add up the weights of its readings."""
        laid, limits = piece.gpus[gpu], books.limits[gpu]
        histogram = books.histograms[gpu] if books.histograms is not None else None
        if histogram is not None and len(laid.power_mw) and not histogram.worth_bins(len(laid.power_mw)):
            histogram.extend(laid.time_us, laid.power_mw, limits.ceiling_mw, limits.max_gap_us)
            histogram = None
        if histogram is not None:
            histogram.catch_up()

        def pour(taken: NDArray[np.bool_]) -> None:
            if histogram is not None:
                self._pour(there, piece, gpu, taken, histogram)

        own, sums = slice(gpu, gpu + 1), there.sums[piece.blocks[gpu] : piece.blocks[gpu + 1]]
        diagnostics = books.booked.diagnostics[own]
        found = laid.join(sums, limits, books.sweeps[gpu], books.state[own], diagnostics, histogram, pour)
        books.booked.add(gpu, *found)

    def _pour(
        self, there: _There, piece: _Piece, gpu: int, taken: NDArray[np.bool_], histogram: PowerHistogram
    ) -> None:
        """Add the weights of one GPU's readings in blocks that were taken."""
        mine = np.flatnonzero(taken) + piece.blocks[gpu]
        if not len(mine):
            return
        low, high = int(there.sums[mine, LOW].min()), int(there.sums[mine, HIGH].max())
        if not self.trouble and high - low < len(mine) * BLOCK_ROWS:  # else to fetch bins is more than to fill them
            try:
                histogram.add_weights(low, there.weights(mine, low, high))
            except Exception as error:  # noqa: BLE001 - numba and the driver raise their own kinds
                if not out_of_memory(error):
                    self._fail(error)
            else:
                return
        piece.gpus[gpu].pour(taken, histogram)


class _There:
    """A piece on the device, and the sums of its blocks, here."""

    def __init__(self, piece: _Piece, limits: Sequence[Limits]) -> None:
        self.sums = np.zeros((int(piece.blocks[-1]), FIELDS), np.int64)
        if not len(self.sums):
            return
        self._begin, self._end = piece.of_blocks("begin"), piece.of_blocks("end")
        twice_idle = np.repeat([one.twice_idle_mw for one in limits], np.diff(piece.blocks))
        self._time_us, self._power_mw = cuda.to_device(piece.time_us), cuda.to_device(piece.power_mw)
        out = cuda.device_array(self.sums.shape, np.int64)
        launch(
            sum_blocks, len(self.sums), THREADS, self._time_us, self._power_mw, cuda.to_device(self._begin),
            cuda.to_device(self._end), cuda.to_device(twice_idle), out,
        )  # fmt: skip
        self.sums = out.copy_to_host()

    def weights(self, blocks: NDArray[np.int64], low: int, high: int) -> NDArray[np.int64]:
        """Weights of the readings in some blocks, of powers ``low`` to ``high``: int64[high - low + 1], us."""
        bins = cuda.to_device(np.zeros(high - low + 1, np.int64))
        launch(
            pour_blocks, len(blocks), THREADS, self._time_us, self._power_mw, cuda.to_device(self._begin[blocks]),
            cuda.to_device(self._end[blocks]), cuda.to_device(np.full(len(blocks), -low, np.int64)), bins,
        )  # fmt: skip
        found: NDArray[np.int64] = bins.copy_to_host()
        return found


def _page_locked(rows: int) -> tuple[Any, Any]:
    """Give memory for so many rows, from which the device copies by itself if the system lets it."""
    try:
        return cuda.pinned_array(rows, np.int64), cuda.pinned_array(rows, np.int32)
    except Exception:  # noqa: BLE001 - the driver raises its own kinds; slower, and no reason to do without the device
        return np.empty(rows, np.int64), np.empty(rows, np.int32)
