"""Booking power on a CUDA device, piece by piece: the integers, states and histograms of `kernels.billing.power_only`.

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

from wattshed.kernels.billing.block_sums import FIELDS, HIGH, LAY_OUT, LOW, join_gpu, pour_taken
from wattshed.kernels.billing.histogram import HIGHEST_MW
from wattshed.kernels.billing.power_runs import Booked, book_power_only, is_bookable
from wattshed.kernels.cuda_power import BLOCK_ROWS, pour_blocks, sum_blocks
from wattshed.kernels.cuda_target import THREADS, cuda, launch
from wattshed.kernels.device_memory import out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from wattshed.kernels.billing.histogram import PowerHistogram
    from wattshed.kernels.columns import Columns

_LOG = logging.getLogger(__name__)
PIECE_ROWS = 1 << 22
"""Rows that are laid out and copied at once: 48 MiB here, and as much on the device."""


class _Limits(NamedTuple):
    """What readings are measured by, of each GPU: int64[g]."""

    ceiling_mw: NDArray[np.int64]
    max_gap_us: NDArray[np.int64]
    twice_idle_mw: NDArray[np.int64]


class _Piece(NamedTuple):
    """Rows of some windows: GPU ``i`` owns ``offsets[i]:offsets[i + 1]``, and blocks ``owner[i]:owner[i + 1]``."""

    time_us: NDArray[np.int64]
    power_mw: NDArray[np.int32]
    offsets: NDArray[np.int64]
    owner: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]


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
    ) -> Booked | None:
        """Book runs of windows, one after the other, as `kernels.billing.power_runs.book_runs` does."""
        if not is_bookable(runs, state, ceiling_mw, histograms):
            return None
        booked = Booked.nothing(len(state))
        twice_idle = 2 * np.clip(idle_mw, 0, HIGHEST_MW)
        limits = _Limits(ceiling_mw, max_gap_us, twice_idle)
        for run in runs:
            for part in _parts(run, self._piece_rows):
                self._book(part, state, limits, idle_mw, histograms, booked)
        return booked

    def _book(self, run, state, limits, idle_mw, histograms, booked) -> None:  # type: ignore[no-untyped-def]
        """Book a part of a run: on the device, in halves where its memory is short, here where that does not help."""
        rows = int(run.offsets[:, -1].sum())
        if not self.trouble:
            piece = self._laid_out(run)
            try:
                there = _There(piece, limits.twice_idle_mw)
            except Exception as error:  # noqa: BLE001 - numba and the driver raise their own kinds
                if not out_of_memory(error):
                    self._fail(error)
            else:
                self.rows_on_card += rows
                self._join(there, piece, state, limits, histograms, booked)
                return
            if not self.trouble and len(run.base_us) > 1:
                # Outside the handler: the exception would keep the arrays of the failed attempt alive.
                for part in _parts(run, rows // 2):
                    self._book(part, state, limits, idle_mw, histograms, booked)
                return
        self.rows_here += rows
        here = book_power_only(run, state, limits.ceiling_mw, limits.max_gap_us, idle_mw, histograms)
        if here is None:  # it is asked before the first part, and no reading changes the answer
            raise ArithmeticError("power readings can no longer be booked by themselves")
        booked.add(here)

    def _fail(self, error: Exception) -> None:
        """Leave the device alone from now on."""
        self.trouble = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        _LOG.warning("the CUDA device failed, the rest is summed on the CPU: %s", self.trouble)

    def _laid_out(self, run: Columns) -> _Piece:
        """Bring rows together, GPU by GPU."""
        offsets = np.zeros(run.offsets.shape[1], np.int64)
        np.cumsum((run.offsets[:, 1:] - run.offsets[:, :-1]).sum(axis=0), out=offsets[1:])
        rows = int(offsets[-1])
        if self._room is None or len(self._room[0]) < rows:
            self._room = None  # given back first
            self._room = _page_locked(max(rows, self._piece_rows))
        time_us, power_mw = self._room[0][:rows], self._room[1][:rows]
        lay_out = LAY_OUT[run.times.dtype]
        for gpu, to in enumerate(offsets[:-1].tolist()):
            lay_out(*run, gpu, to, time_us, power_mw)
        blocks = -(-np.diff(offsets) // BLOCK_ROWS)
        owner = np.zeros(len(offsets), np.int64)
        np.cumsum(blocks, out=owner[1:])
        within = np.arange(owner[-1]) - np.repeat(owner[:-1], blocks)
        begin = np.repeat(offsets[:-1], blocks) + within * BLOCK_ROWS
        end = np.minimum(begin + BLOCK_ROWS, np.repeat(offsets[1:], blocks))
        return _Piece(time_us, power_mw, offsets, owner, begin, end)

    def _join(self, there, piece, state, limits, histograms, booked) -> None:  # type: ignore[no-untyped-def]
        """Book a piece whose blocks are summed, then add up the weights of its readings."""
        taken = np.zeros(len(piece.begin), np.bool_)
        for gpu in range(len(piece.offsets) - 1):
            rows, blocks = (slice(at[gpu], at[gpu + 1]) for at in (piece.offsets, piece.owner))
            time_us, power_mw = piece.time_us[rows], piece.power_mw[rows]
            histogram = histograms[gpu] if histograms is not None else None
            if histogram is not None and len(power_mw) and not histogram.worth_bins(len(power_mw)):
                histogram.extend(time_us, power_mw, int(limits.ceiling_mw[gpu]), int(limits.max_gap_us[gpu]))
                histogram = None
            if histogram is not None:
                histogram.catch_up()
            own, mine = slice(gpu, gpu + 1), tuple(int(column[gpu]) for column in limits)
            place, out = np.zeros(1, np.int64), np.zeros(3, np.int64)
            while place[0] < len(power_mw):
                bins, last = (_NO_BINS, _NO_LAST.copy()) if histogram is None else (histogram.bins, histogram.last)
                join_gpu(
                    time_us, power_mw, BLOCK_ROWS, there.sums[blocks], taken[blocks], place, state[own],
                    booked.diagnostics[own], *mine, histogram is not None, last, bins, out,
                )  # fmt: skip
                booked.energy_hnj[gpu] += int(out[0])
                booked.static_hnj[gpu] += int(out[1])
                if out[2] and histogram is not None:
                    self._pour(there, piece, taken, blocks, rows, histogram)
                    histogram.make_room(int(out[2]))
            if histogram is not None:
                self._pour(there, piece, taken, blocks, rows, histogram)

    def _pour(self, there, piece, taken, blocks, rows, histogram) -> None:  # type: ignore[no-untyped-def]
        """Add the weights of one GPU's readings in blocks that were taken, once."""
        mine = np.flatnonzero(taken[blocks]) + blocks.start
        if not len(mine):
            return
        low, high = int(there.sums[mine, LOW].min()), int(there.sums[mine, HIGH].max())
        if not self.trouble and high - low < len(mine) * BLOCK_ROWS:  # else to fetch bins is more than to fill them
            try:
                histogram.add_weights(low, there.weights(piece, mine, low, high))
                taken[mine] = False
                return
            except Exception as error:  # noqa: BLE001 - numba and the driver raise their own kinds
                if not out_of_memory(error):
                    self._fail(error)
        pour_taken(piece.time_us[rows], piece.power_mw[rows], BLOCK_ROWS, taken[blocks], histogram.bins)
        taken[mine] = False


class _There:
    """A piece on the device, and the sums of its blocks, here."""

    def __init__(self, piece: _Piece, twice_idle: NDArray[np.int64]) -> None:
        self.sums = np.zeros((len(piece.begin), FIELDS), np.int64)
        if not len(self.sums):
            return
        self._time_us, self._power_mw = cuda.to_device(piece.time_us), cuda.to_device(piece.power_mw)
        out = cuda.device_array(self.sums.shape, np.int64)
        launch(
            sum_blocks, len(self.sums), THREADS, self._time_us, self._power_mw, cuda.to_device(piece.begin),
            cuda.to_device(piece.end), cuda.to_device(np.repeat(twice_idle, np.diff(piece.owner))), out,
        )  # fmt: skip
        self.sums = out.copy_to_host()

    def weights(self, piece: _Piece, blocks: NDArray[np.int64], low: int, high: int) -> NDArray[np.int64]:
        """Weights of the readings in some blocks, of powers ``low`` to ``high``: int64[high - low + 1], us."""
        bins = cuda.to_device(np.zeros(high - low + 1, np.int64))
        launch(
            pour_blocks, len(blocks), THREADS, self._time_us, self._power_mw, cuda.to_device(piece.begin[blocks]),
            cuda.to_device(piece.end[blocks]), cuda.to_device(np.full(len(blocks), -low, np.int64)), bins,
        )  # fmt: skip
        found: NDArray[np.int64] = bins.copy_to_host()
        return found


def _parts(run: Columns, rows: int) -> Iterator[Columns]:
    """Cut a run between windows, into parts of about so many rows."""
    upto = np.cumsum(run.offsets[:, -1])
    first = 0
    while first < len(upto):
        before = int(upto[first - 1]) if first else 0
        last = max(int(np.searchsorted(upto, before + rows, side="right")), first + 1)
        part = slice(first, last)
        yield run._replace(
            offsets=run.offsets[part], time_at=run.time_at[part], base_us=run.base_us[part], power_at=run.power_at[part]
        )
        first = last


def _page_locked(rows: int) -> tuple[Any, Any]:
    """Give memory for so many rows, from which the device copies by itself if the system lets it."""
    try:
        return cuda.pinned_array(rows, np.int64), cuda.pinned_array(rows, np.int32)
    except Exception:  # noqa: BLE001 - the driver raises its own kinds; slower, and no reason to do without the device
        return np.empty(rows, np.int64), np.empty(rows, np.int32)


_NO_BINS = np.empty((2, 0), np.uint32)
_NO_LAST = np.zeros(6, np.int64)
