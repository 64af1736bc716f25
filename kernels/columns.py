"""Columns of readings, GPU-major: the form that every kernel takes, its checks, and how it is cut for threads."""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.kernels.entry import i32, i64, kernel, written
from wattshed.kernels.jit import jit, loop_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CHUNK = 65_536
"""Samples in a chunk: the unit of parallel work and of a CUDA block."""
CUDA_CHUNK = 512
"""Samples for one CUDA thread, where a thread works alone: a device wants hundreds of thousands of them."""
CUDA_BLOCK = 16_384
"""Samples for one block of CUDA threads that work together: several blocks for every multiprocessor from 10**7 on."""


class Columns(NamedTuple):
    """Columns of many windows, as they lie in a file. Times and powers of a window lie together, GPU by GPU.

    Attributes
    ----------
    offsets : int64[w, g + 1]
        Rows of each GPU within its window.
    times : uint32[*] or int64[*], us
        Ascending within a window and GPU.
    time_at : int64[w]
        Where in ``times`` a window begins.
    base_us : int64[w], us
        What is added to a window's times.
    power_mw : int32[*], mW
    power_at : int64[w]
        Where in ``power_mw`` a window begins.
    """

    offsets: NDArray[np.int64]
    times: NDArray[np.uint32] | NDArray[np.int64]
    time_at: NDArray[np.int64]
    base_us: NDArray[np.int64]
    power_mw: NDArray[np.int32]
    power_at: NDArray[np.int64]

    def rows(self, window: int, lo: int, hi: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Take rows ``lo:hi`` of a window out: int64[hi - lo] times in us, and their powers as they lie."""
        time_at, power_at = int(self.time_at[window]), int(self.power_at[window])
        times = np.add(self.times[time_at + lo : time_at + hi], self.base_us[window], dtype=np.int64)
        return times, self.power_mw[power_at + lo : power_at + hi]

    def part(self, own: slice) -> Columns:
        """Return some of its windows."""
        return self._replace(
            offsets=self.offsets[own], time_at=self.time_at[own], base_us=self.base_us[own], power_at=self.power_at[own]
        )

    def rows_of(self, gpu: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Take all rows of a GPU out, one window after the other: int64[n] times in us, and int32[n] powers."""
        if len(self.base_us) == 1:
            return self.rows(0, int(self.offsets[0, gpu]), int(self.offsets[0, gpu + 1]))
        first, counts = self.offsets[:, gpu], self.offsets[:, gpu + 1] - self.offsets[:, gpu]
        within = np.arange(int(counts.sum())) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        times = self.times[within + np.repeat(self.time_at, counts)].astype(np.int64)
        return times + np.repeat(self.base_us, counts), self.power_mw[within + np.repeat(self.power_at, counts)]


def cut_windows(counts: NDArray[np.int64], rows: int) -> Iterator[slice]:
    """Cut windows of ``counts`` (int64[w]) rows into parts of about ``rows``, each of a window at least."""
    upto = np.cumsum(counts)
    first = 0
    while first < len(upto):
        before = int(upto[first - 1]) if first else 0
        last = max(int(np.searchsorted(upto, before + rows, side="right")), first + 1)
        yield slice(first, last)
        first = last


def cut_into_chunks(offsets: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut each GPU's rows at every ``size`` rows.

    Parameters
    ----------
    offsets : int64[g + 1]
    size : int

    Returns
    -------
    owner : int64[g + 1]
        GPU i owns chunks ``owner[i]:owner[i + 1]``.
    rows : int64[k + 1]
        Chunk j is ``rows[j]:rows[j + 1]``.
    """
    counts = -(-np.diff(offsets) // size)
    owner = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    within = np.arange(owner[-1]) - np.repeat(owner[:-1], counts)
    return owner, np.append(np.repeat(offsets[:-1], counts) + within * size, offsets[-1])


@jit
def first_at(time_us, lo, hi, edge_us, guess):
    """Find the first of the ascending rows ``lo:hi`` that is not before ``edge_us``, galloping away from a guess.

    A good guess costs two comparisons, a bad one twice the logarithm of its error: edges that come in order are found
    in the time of the rows between them, never in that of the whole recording.

    Parameters
    ----------
    time_us : int64[n], us
    lo, hi : int
    edge_us : int64, us
    guess : int
        Any number.

    Returns
    -------
    int
        ``hi`` if all rows are before the edge.
    """
    low = min(max(guess, lo), hi)
    high = hi
    step = 1
    if low == lo or time_us[low - 1] < edge_us:
        while low + step <= hi and time_us[low + step - 1] < edge_us:
            low += step
            step *= 2
        high = min(low + step - 1, hi)
    else:
        high = low - 1
        while high - step >= lo and time_us[high - step] >= edge_us:
            high -= step
            step *= 2
        low = max(high - step + 1, lo)
    while low < high:
        middle = (low + high) // 2
        if time_us[middle] < edge_us:
            low = middle + 1
        else:
            high = middle
    return low


def _count(owner, offsets, place, order):
    """Do what `_deal` does."""
    offsets[1:] += np.bincount(owner, minlength=len(place))
    np.cumsum(offsets, out=offsets)
    place[:] = offsets[1:]
    order[:] = np.argsort(owner, kind="stable")


@loop_of(_count)
def _count_by_rows(owner, offsets, place, order):
    for i in range(len(owner)):
        offsets[owner[i] + 1] += 1
    for g in range(1, len(offsets)):
        offsets[g] += offsets[g - 1]
    for g in range(len(place)):
        place[g] = offsets[g]
    for i in range(len(owner)):
        order[place[owner[i]]] = i
        place[owner[i]] += 1


@kernel(i32[:], written(i64[:]), written(i64[:]), written(i64[:]))
def _deal(owner, offsets, place, order):
    """Fill ``offsets`` and ``order`` by counting; ``place`` is room for one number an owner."""
    _count(owner, offsets, place, order)


def dealt(owner: NDArray[np.int32], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort rows by their owner, without changing the order of an owner's rows.

    Parameters
    ----------
    owner : int32[n]
        From 0 to ``count - 1``.
    count : int

    Returns
    -------
    order : int64[n]
        Rows in the new order.
    offsets : int64[count + 1]
        Owner i has ``order[offsets[i]:offsets[i + 1]]``.
    """
    offsets, order = np.zeros(count + 1, np.int64), np.empty(len(owner), np.int64)
    _deal(owner, offsets, np.empty(count, np.int64), order)
    return order, offsets


def on_device(array: Any) -> bool:
    """Return whether an array lies in a CUDA device's memory (numba, CuPy, PyTorch ... all say so in one way)."""
    # What the CUDA simulator calls device memory has numba's own mark alone.
    return hasattr(array, "__cuda_array_interface__") or hasattr(array, "__cuda_ndarray__")


def need_host(**arrays: Any) -> None:
    """Raise ValueError, naming the array, if one lies on a device and is only read on the host."""
    for name, array in arrays.items():
        if on_device(array):
            raise ValueError(f"{name} must lie in host memory, not on a CUDA device; copy it there")


def check_columns(time_us: NDArray[np.int64], power_mw: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
    """Raise ValueError, naming the array and what to do, unless the columns are GPU-major rows.

    Parameters
    ----------
    time_us : int64[n], us
    power_mw : int32[n], mW
        Both on the host, or arrays of numba's on a device.
    offsets : int64[g + 1]
        From 0 to n, never falling.
    """
    need_host(offsets=offsets)
    wanted: dict[str, tuple[Any, type[np.generic]]] = {
        "time_us": (time_us, np.int64),
        "power_mw": (power_mw, np.int32),
        "offsets": (offsets, np.int64),
    }
    for name, (array, dtype) in wanted.items():
        known = isinstance(array, np.ndarray) or hasattr(array, "__cuda_ndarray__")
        if not known or array.ndim != 1 or array.dtype != dtype:
            raise ValueError(f"{name} must be a one-dimensional {np.dtype(dtype).name} array; convert it with astype")
    if len(time_us) != len(power_mw):
        raise ValueError(f"time_us has {len(time_us)} rows and power_mw {len(power_mw)}; they must have the same")
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(time_us) or (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"offsets must rise from 0 to the number of rows ({len(time_us)}) and never fall")


def first_fall(time_us: NDArray[np.int64], offsets: NDArray[np.int64]) -> int:
    """Find the first row whose time is before the row above it, within a GPU; -1 if there is none."""
    for first, last in pairwise(offsets.tolist()):
        own = time_us[first:last]
        if (bad := np.flatnonzero(own[1:] < own[:-1])).size:
            return int(first + bad[0] + 1)
    return -1


def raise_backwards(row: int, offsets: NDArray[np.int64]) -> None:
    """Raise ValueError for row ``row``, as `first_fall` found it."""
    if row < 0:
        raise ValueError("time_us goes back before rows already added; add them in the order of time")
    gpu = int(np.searchsorted(offsets, row, side="right")) - 1
    raise ValueError(f"time_us must ascend within a GPU: row {row} of GPU {gpu} is before the row above; sort it")
