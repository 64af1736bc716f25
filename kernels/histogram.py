"""An exact histogram of power per GPU that a stream fills and workers merge: every quantile, to the milliwatt.

Weights are held by single milliwatts, in pages of 4096, made when a reading first falls into them. Memory is bounded by
the powers that occur, not by the length of the stream: a GPU that wanders over all of 0 to 700 W takes 5.6 MB, one that
stays within 50 W takes 0.4 MB. Weights are those of :mod:`kernels.quantiles`, and so are the answers.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.columns import check_columns, raise_backwards
from kernels.jit import jit
from kernels.quantiles import PPM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BITS = 12
_WIDTH = 1 << _BITS
_MASK = _WIDTH - 1
_HIGHEST_MW = 100_000_000
"""Above any board, and above any rack: a reading beyond this is refused, so that pages stay few."""


@jit
def _mark(power_mw, offsets, wanted):
    """Set ``wanted[g, page]`` for every page that the valid readings need; returns the greatest reading."""
    highest = np.int64(0)
    for gpu in range(len(offsets) - 1):
        for i in range(offsets[gpu], offsets[gpu + 1]):
            power = np.int64(power_mw[i])
            if power > 0:
                highest = max(highest, power)
                page = power >> _BITS
                if page < wanted.shape[1]:
                    wanted[gpu, page] = 1
    return highest


@jit
def _pour(time_us, power_mw, offsets, max_gap_us, page_of, weight, last):
    """Add the weights of all rows; ``last[g]`` is the GPU's last valid (time, reading). False if time falls."""
    for gpu in range(len(offsets) - 1):
        before_us = last[gpu, 0]
        before_mw = last[gpu, 1]
        held = np.int64(0)  # of the reading before: one update a reading, for each is a miss of the cache
        for i in range(offsets[gpu], offsets[gpu + 1]):
            power = np.int64(power_mw[i])
            now = time_us[i]
            if i > offsets[gpu] and now < time_us[i - 1]:
                return False
            if power <= 0:
                continue
            if before_mw > 0:
                dt = now - before_us
                if now < before_us:
                    return False
                bridged = dt if 0 <= dt <= max_gap_us else np.int64(0)
                weight[page_of[gpu, before_mw >> _BITS], before_mw & _MASK] += held + bridged
                held = bridged
            before_us = now
            before_mw = power
        if held:
            weight[page_of[gpu, before_mw >> _BITS], before_mw & _MASK] += held
        last[gpu, 0] = before_us
        last[gpu, 1] = before_mw
    return True


@jit
def _find(pages, weight, need):
    """Find the milliwatts at which the weights of a GPU's ``pages``, in order, reach ``need``."""
    for page in range(len(pages)):
        if pages[page] < 0:
            continue
        for level in range(_WIDTH):
            need -= weight[pages[page], level]
            if need <= 0:
                return page * _WIDTH + level
    return -1


class PowerHistogram:
    """Time-weighted histogram of each GPU's power, exact to the milliwatt.

    Parameters
    ----------
    gpus : int
    """

    def __init__(self, gpus: int) -> None:
        self._page_of = np.full((gpus, 1), -1, np.int32)
        self._weight = np.zeros((0, _WIDTH), np.int64)
        self._last = np.zeros((gpus, 2), np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        return self._page_of.nbytes + self._weight.nbytes + self._last.nbytes

    def _make_pages(self, wanted: NDArray[np.uint8]) -> None:
        """Give a page to every (GPU, page number) that is wanted and has none."""
        more = wanted.shape[1] - self._page_of.shape[1]
        if more > 0:
            self._page_of = np.pad(self._page_of, ((0, 0), (0, more)), constant_values=-1)
        new = (wanted > 0) & (self._page_of[:, : wanted.shape[1]] < 0)
        count = int(new.sum())
        if count:
            self._page_of[:, : wanted.shape[1]][new] = len(self._weight) + np.arange(count, dtype=np.int32)
            self._weight = np.concatenate([self._weight, np.zeros((count, _WIDTH), np.int64)])

    def extend(
        self, time_us: NDArray[np.int64], power_mw: NDArray[np.int32], offsets: NDArray[np.int64], max_gap_us: int
    ) -> None:
        """Add the next rows of a stream; wherever it is cut, the histogram is the same.

        Parameters
        ----------
        time_us, power_mw, offsets, max_gap_us
            As for :func:`kernels.energy.extend`.

        Raises
        ------
        ValueError
            As for ``extend``, or for a reading above 100 kW.
        """
        check_columns(time_us, power_mw, offsets)
        if len(offsets) - 1 != len(self._page_of):
            raise ValueError(f"the histogram has {len(self._page_of)} GPUs and offsets {len(offsets) - 1}")
        highest = int(power_mw.max(initial=0))
        if highest > _HIGHEST_MW:
            raise ValueError(f"a reading of {highest} mW: reject readings above 100 kW first")
        wanted = np.zeros((len(self._page_of), (highest >> _BITS) + 1), np.uint8)
        _mark(power_mw, offsets, wanted)
        self._make_pages(wanted)
        gap = np.int64(min(max_gap_us, np.iinfo(np.int64).max))
        if not _pour(time_us, power_mw, offsets, gap, self._page_of, self._weight, self._last):
            raise_backwards(time_us, offsets)

    def merge(self, other: PowerHistogram) -> None:
        """Add the weights of another histogram of the same GPUs, of another stretch of time.

        The interval between the two stretches belongs to neither. What is added to this one later follows its own rows.

        Parameters
        ----------
        other : PowerHistogram
        """
        if len(other._page_of) != len(self._page_of):
            raise ValueError(f"cannot merge histograms of {len(self._page_of)} and {len(other._page_of)} GPUs")
        self._make_pages((other._page_of >= 0).astype(np.uint8))
        gpu, page = np.nonzero(other._page_of >= 0)
        self._weight[self._page_of[gpu, page]] += other._weight[other._page_of[gpu, page]]

    def total_us(self) -> NDArray[np.int64]:
        """Covered time of each GPU: int64[g], us."""
        gpu, page = np.nonzero(self._page_of >= 0)
        total = np.zeros(len(self._page_of), np.int64)
        np.add.at(total, gpu, self._weight[self._page_of[gpu, page]].sum(axis=1))
        return total // 2

    def quantiles(self, ppm: Sequence[int] = (500_000, 950_000, 990_000)) -> NDArray[np.int64]:
        """Read quantiles, as :func:`kernels.quantiles.quantiles` gives them for the whole stream.

        Parameters
        ----------
        ppm : sequence of int, millionths

        Returns
        -------
        int64[g, len(ppm)], mW
            -1 for a GPU without a bridged interval.
        """
        out = np.full((len(self._page_of), len(ppm)), -1, np.int64)
        for gpu, total in enumerate((2 * self.total_us()).tolist()):
            if total:
                for column, q in enumerate(ppm):
                    need = max(-(-total * int(q) // PPM), 1)
                    out[gpu, column] = _find(self._page_of[gpu], self._weight, np.int64(need))
        return out
