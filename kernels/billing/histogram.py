"""An exact histogram of one GPU's power that a stream fills and workers merge: every quantile, to the milliwatt.

While a long stream runs there is one bin a milliwatt, in memory that the system gives page by page as bins are touched:
a GPU that wanders over all of 0 to 700 W takes 5.6 MB, one that stays within 50 W 0.4 MB, however long the stream is. A
bin's lower and upper 32 bits lie apart: the upper ones are touched once in 72 minutes of its weight, so that what a
reading touches is half as long, and stays in a nearer cache. A settled histogram, and one with few readings, keeps only
the powers that occur. Weights are those of :mod:`kernels.quantiles`, and so are the answers.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.kernels.entry import i32, i64, kernel, u32, written
from wattshed.kernels.jit import jit, loop_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PPM = 1_000_000
HIGHEST_MW = 100_000_000
"""Above any board, and above any rack: what is higher (a hall's meter) gets no bins, it is sorted."""
_LEAST_BINS = 1 << 20
_TOGETHER = 8_192
"""Rows that may wait to be weighed."""
_LOOKED_AT = 1 << 14
"""Bins that are searched at once for those that are not empty."""
FEW = 32_768
SEEN_T, BEFORE_T, BEFORE, HELD, LOWEST, HIGHEST = range(6)
"""Columns of `PowerHistogram.last`: the last row (us), the last reading (us, mW), and its weight, in no bin yet; and
the lowest and highest bin that was poured into."""


@jit
def pour(bins, level, weight):
    """Add a weight of any size to a bin; whoever does it also tells what was touched (`touch`)."""
    low, high = bins[0], bins[1]
    total = np.int64(low[level]) + weight
    low[level] = np.uint32(total & 0xFFFFFFFF)
    high[level] += np.uint32(total >> 32)


def pour_many(bins, level, weight):
    """Add weights to their bins, in plain Python; what is compiled has loops of its own."""
    order = np.argsort(level, kind="stable")
    level, weight = level[order], weight[order]
    first = np.flatnonzero(np.diff(level, prepend=-1))
    if not len(first):
        return
    level = level[first]
    low, high = bins[0], bins[1]
    total = low[level].astype(np.int64) + np.add.reduceat(weight, first)
    low[level] = (total & 0xFFFFFFFF).astype(np.uint32)
    high[level] += (total >> 32).astype(np.uint32)


@jit
def touch(last, lowest, highest):
    """Take note that bins of these powers, and none outside, were poured into."""
    last[LOWEST], last[HIGHEST] = min(last[LOWEST], lowest), max(last[HIGHEST], highest)


def _pour_touching(level, weight, last, bins):
    """Do what `_pour_all` does."""
    pour_many(bins, level, weight)
    if len(level):
        touch(last, level.min(), level.max())


@loop_of(_pour_touching)
def _pour_touching_by_rows(level, weight, last, bins):
    for i in range(len(level)):
        pour(bins, level[i], weight[i])
        touch(last, level[i], level[i])


@kernel(i64[:], i64[:], written(i64[:]), written(u32[:, :]))
def _pour_all(level, weight, last, bins):
    """Add every weight to its bin."""
    _pour_touching(level, weight, last, bins)


def _weights(time_us, power_mw, ceiling_mw, max_gap_us, last, level, weight):
    """Do what `_weigh` does."""
    seen = np.maximum.accumulate(np.concatenate((last[SEEN_T : SEEN_T + 1], time_us)))
    last[SEEN_T] = seen[-1]
    good = (time_us >= seen[:-1]) & (power_mw > 0) & (power_mw <= ceiling_mw)
    now, power = time_us[good], power_mw[good].astype(np.int64)
    if not len(now):
        return 0
    before = int(last[BEFORE] > 0)
    if before:
        now, power = np.append(last[BEFORE_T], now), np.append(last[BEFORE], power)
    n = len(now) - 1
    apart = np.diff(now)
    held = np.zeros(n + 1, np.int64)
    held[0] = last[HELD] if before else 0
    held[1:] = np.where((apart >= 0) & (apart <= max_gap_us), apart, 0)  # below 0: more than a word holds
    level[:n], weight[:n] = power[:-1], held[:-1] + held[1:]
    last[BEFORE_T], last[BEFORE], last[HELD] = now[-1], power[-1], held[-1]
    return n


@loop_of(_weights)
def _weights_by_rows(time_us, power_mw, ceiling_mw, max_gap_us, last, level, weight):
    n = 0
    for i in range(len(power_mw)):
        now = time_us[i]
        power = np.int64(power_mw[i])
        if now < last[SEEN_T]:
            continue
        last[SEEN_T] = now
        if not 0 < power <= ceiling_mw:
            continue
        held = np.int64(0)
        if last[BEFORE] > 0:
            apart = now - last[BEFORE_T]
            held = apart if 0 <= apart <= max_gap_us else np.int64(0)  # below 0: more than a word holds
            level[n] = last[BEFORE]
            weight[n] = last[HELD] + held
            n += 1
        last[BEFORE_T], last[BEFORE], last[HELD] = now, power, held
    return n


@kernel(i64[:], i32[:], i64, i64, written(i64[:]), written(i64[:]), written(i64[:]), returns=i64)
def _weigh(time_us, power_mw, ceiling_mw, max_gap_us, last, level, weight):
    """Give every reading but the last its weight, whose weight is kept in ``last``; returns how many.

    Rows that go back in time, and readings that are none or above the ceiling, are skipped.
    """
    return _weights(time_us, power_mw, ceiling_mw, max_gap_us, last, level, weight)


def _look_through(bins, lowest, highest, level, weight):
    """Do what `_filled` does."""
    low, high = bins[:, lowest : highest + 1]
    found = np.flatnonzero(low | high)
    level[: len(found)] = found + lowest
    weight[: len(found)] = (high[found].astype(np.int64) << 32) + low[found]
    return len(found)


@loop_of(_look_through)
def _look_through_by_bins(bins, lowest, highest, level, weight):
    low, high = bins[0], bins[1]
    n = 0
    for at in range(lowest, highest + 1):
        if low[at] | high[at]:
            level[n] = at
            weight[n] = (np.int64(high[at]) << 32) + np.int64(low[at])
            n += 1
    return n


@kernel(u32[:, :], i64, i64, written(i64[:]), written(i64[:]), returns=i64)
def _filled(bins, lowest, highest, level, weight):
    """Find the bins from ``lowest`` to ``highest`` that are not empty, and what they hold; returns how many."""
    return _look_through(bins, lowest, highest, level, weight)


def _all_filled(bins: NDArray[np.uint32], lowest: int, highest: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the powers of bins that are not empty and what they hold: piece by piece, in memory that stays near."""
    levels, weights = [], []
    level, weight = np.empty((2, min(highest - lowest + 1, _LOOKED_AT)), np.int64)
    for first in range(lowest, highest + 1, _LOOKED_AT):
        n = _filled(bins, first, min(first + _LOOKED_AT - 1, highest), level, weight)
        levels.append(level[:n].copy())
        weights.append(weight[:n].copy())
    return np.concatenate(levels), np.concatenate(weights)


_BEGINNING = np.array([np.iinfo(np.int64).min, 0, 0, 0, np.iinfo(np.int64).max, -1], np.int64)


_NO_BINS = np.empty((2, 0), np.uint32)


class PowerHistogram:
    """Time-weighted histogram of a GPU's power, exact to the milliwatt.

    Parameters
    ----------
    few : int
        So many powers are kept sorted, 16 bytes each, before bins are made: a bin that is touched takes a page with it,
        and of a fleet of thousands most GPUs have few readings.

    Attributes
    ----------
    bins : uint32[2, *]
        Weight (us) of every milliwatt since it was last settled, its lower 32 bits and its upper ones; see `make_room`.
    last : int64[6]
        Where the stream stands: `SEEN_T`, `BEFORE_T`, `BEFORE` (0 before the first reading) and `HELD`; and what was
        touched of the bins, `LOWEST` and `HIGHEST`. Both are those of the rows that were weighed; see `catch_up`.
    """

    def __init__(self, few: int = FEW) -> None:
        self._few = few
        self.bins: NDArray[np.uint32] = _NO_BINS
        self.last: NDArray[np.int64] = _BEGINNING.copy()
        self._levels: NDArray[np.int64] = np.empty(0, np.int64)
        self._weights: NDArray[np.int64] = np.empty(0, np.int64)
        self._waiting: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []
        self._rows = 0
        self._limits = (0, 0)

    @property
    def nbytes(self) -> int:
        """Bytes held at most: the system gives a page of ``bins`` when it is first touched."""
        return self.bins.nbytes + self._levels.nbytes + self._weights.nbytes

    def make_room(self, highest_mw: int) -> None:
        """Make sure that there is a bin for this reading and all below it.

        Parameters
        ----------
        highest_mw : int, mW
            At most `HIGHEST_MW`.
        """
        if highest_mw < self.bins.shape[1]:
            return
        self._empty_bins()
        size = max(_LEAST_BINS, 1 << int(highest_mw).bit_length())
        # Not numpy's own zeros: those of this size come in pages of 2 MB, and a GPU would touch a few of them.
        memory = mmap.mmap(-1, size * 8, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # reading a page of zeros makes none
        self.bins = np.frombuffer(memory, np.uint32).reshape(2, size)

    def worth_bins(self, rows: int) -> bool:
        """Return whether so many more rows are better poured into bins."""
        return self.bins.size > 0 or len(self._levels) + rows >= self._few

    def extend(self, time_us: NDArray[np.int64], power_mw: NDArray[np.int32], ceiling_mw: int, max_gap_us: int) -> None:
        """Add the next rows of a stream; wherever it is cut, the histogram is the same.

        Parameters
        ----------
        time_us : int64[n], us
            Rows that go back in time are skipped.
        power_mw : int32[n], mW
            What is not above 0, or above ``ceiling_mw``, is not a reading.
        ceiling_mw : int, mW
        max_gap_us : int, us
            Readings further apart do not weigh.
        """
        if (ceiling_mw, max_gap_us) != self._limits or self._rows > _TOGETHER:
            self.catch_up()
        self._limits = ceiling_mw, max_gap_us
        self._waiting.append((time_us.copy(), power_mw.copy()))  # a view would keep its whole file open
        self._rows += len(power_mw)

    def catch_up(self) -> None:
        """Weigh what waits: short stretches are weighed many at once."""
        if not self._waiting:
            return
        time_us, power_mw = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        self._waiting, self._rows = [], 0
        ceiling, gap = (min(limit, np.iinfo(np.int64).max) for limit in self._limits)
        level, weight = np.empty((2, len(power_mw)), np.int64)
        n = _weigh(time_us, power_mw, ceiling, gap, self.last, level, weight)
        level, weight = level[:n], weight[:n]
        highest = int(level.max(initial=0))
        if highest <= HIGHEST_MW and self.worth_bins(n):
            self.make_room(highest)
            _pour_all(level, weight, self.last, self.bins)
        else:
            self._levels, self._weights = _joined(self._levels, self._weights, level, weight)

    def add_weights(self, lowest_mw: int, weight_us: NDArray[np.int64]) -> None:
        """Add what somebody else counted to the bins from ``lowest_mw`` on, for which there is room.

        Parameters
        ----------
        lowest_mw : int, mW
        weight_us : int64[n], us
        """
        bins = self.bins[:, lowest_mw : lowest_mw + len(weight_us)]
        total = bins[0] + weight_us
        bins[0] = total & 0xFFFFFFFF
        bins[1] += (total >> 32).astype(np.uint32)
        touch(self.last, lowest_mw, lowest_mw + len(weight_us) - 1)

    def merge(self, other: PowerHistogram) -> None:
        """Add the weights of another stretch of time.

        The interval between the two stretches belongs to neither. What is added to this one later follows its own rows.

        Parameters
        ----------
        other : PowerHistogram
        """
        self.settle()
        levels, weights = other._all()
        self._levels, self._weights = _joined(self._levels, self._weights, levels, weights)
        if not self.last[BEFORE]:
            self.last = other.last.copy()
            self.last[HELD] = 0

    def restart(self) -> None:
        """Begin a new time line, which may start before the last reading of the old one."""
        self._levels, self._weights = self._all()
        self.last = _BEGINNING.copy()

    def settle(self) -> None:
        """Keep what the bins hold in as little memory as it needs, and give them back."""
        self.catch_up()
        self._empty_bins()

    def _empty_bins(self) -> None:
        lowest, highest = int(self.last[LOWEST]), int(self.last[HIGHEST])
        if highest >= 0:  # only what was touched is looked at: most of the bins have no memory yet
            found = _all_filled(self.bins, lowest, highest)
            self._levels, self._weights = _joined(self._levels, self._weights, *found) if len(self._levels) else found
        self.bins = _NO_BINS
        self.last[LOWEST:] = _BEGINNING[LOWEST:]

    def __getstate__(self) -> dict[str, Any]:
        """Travel settled."""
        self.settle()
        return {"few": self._few, "last": self.last, "levels": self._levels, "weights": self._weights}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive without bins."""
        self.__init__(state["few"])  # type: ignore[misc]
        self.last, self._levels, self._weights = state["last"], state["levels"], state["weights"]

    def _all(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Powers that have any weight, ascending, and their weights."""
        self.settle()
        level, held = int(self.last[BEFORE]), int(self.last[HELD])
        if not held:
            return self._levels, self._weights
        place = int(np.searchsorted(self._levels, level))
        if place == len(self._levels) or self._levels[place] != level:
            return np.insert(self._levels, place, level), np.insert(self._weights, place, held)
        weights = self._weights.copy()
        weights[place] += held
        return self._levels, weights

    def total_us(self) -> int:
        """Covered time, us."""
        return int(self._all()[1].sum()) // 2

    def quantiles(self, ppm: Sequence[int] = (500_000, 950_000, 990_000)) -> list[int]:
        """Read quantiles, as :func:`kernels.quantiles.quantiles` gives them for the whole stream.

        Parameters
        ----------
        ppm : sequence of int, millionths

        Returns
        -------
        list of int, mW
            The last reading without a bridged interval, -1 without any.
        """
        levels, weights = self._all()
        upto = np.cumsum(weights)
        total = int(upto[-1]) if len(upto) else 0
        if not total:
            return [int(self.last[BEFORE]) or -1] * len(ppm)
        need = [max(-(-total * int(q) // PPM), 1) for q in ppm]
        return [int(level) for level in levels[np.searchsorted(upto, need)]]


def _joined(
    levels: NDArray[np.int64], weights: NDArray[np.int64], more: NDArray[np.int64], their: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Add two settled histograms; powers without weight are left out."""
    if not len(more):
        return levels, weights
    highest = max(int(more.max()), int(levels.max(initial=0)))
    if highest <= HIGHEST_MW and len(levels) + len(more) > 2 * FEW:
        sums = np.zeros(highest + 1, np.int64)
        sums[levels] = weights
        np.add.at(sums, more, their)
        filled = np.flatnonzero(sums)
        return filled, sums[filled]
    both = np.concatenate([levels, more])
    order = np.argsort(both)
    both = both[order]
    first = np.flatnonzero(np.diff(both, prepend=-1))  # no power is below 0
    sums = np.add.reduceat(np.concatenate([weights, their])[order], first)
    return both[first][sums > 0], sums[sums > 0]
