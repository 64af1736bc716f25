"""Columns that lie on a CUDA device: what numpy does for those on the host, without copying them there."""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.kernels.arrays.segments import cut_rows
from wattshed.kernels.columns import CUDA_CHUNK, cut_into_chunks
from wattshed.kernels.cuda_target import THREADS, cuda, each, launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_BLOCKS = 1024
"""Of a pass whose blocks go on through the rows in strides; several for each multiprocessor of a large device."""
_NONE = 1 << 62


@cuda.jit
def _take(column, rows, out):
    """Copy the rows named by ``rows``."""
    i = cuda.grid(1)
    if i < rows.shape[0]:
        out[i] = column[rows[i]]


@cuda.jit
def _range(power_mw, out):
    """Write each block's least and greatest value of its rows."""
    low_of = cuda.shared.array(THREADS, np.int64)
    high_of = cuda.shared.array(THREADS, np.int64)
    me = cuda.threadIdx.x
    low = np.int64(_NONE)
    high = np.int64(-_NONE)
    i = cuda.grid(1)
    while i < power_mw.shape[0]:
        low = min(low, np.int64(power_mw[i]))
        high = max(high, np.int64(power_mw[i]))
        i += cuda.gridDim.x * THREADS
    low_of[me] = low
    high_of[me] = high
    cuda.syncthreads()
    if me == 0:
        for other in range(THREADS):
            low = min(low, low_of[other])
            high = max(high, high_of[other])
        out[cuda.blockIdx.x, 0] = low
        out[cuda.blockIdx.x, 1] = high


@cuda.jit
def _first_fall(time_us, rows, follows, out):
    """One thread per chunk: its first row that is before the row above, or -1."""
    k = cuda.grid(1)
    if k < out.shape[0]:
        out[k] = -1
        i = rows[k + 1] - 1
        least = rows[k] if follows[k] else rows[k] + 1
        while i >= least:
            if time_us[i] < time_us[i - 1]:
                out[k] = i
            i -= 1


@cuda.jit
def _count_valid(power_mw, rows, counts):
    """One thread per chunk: how many of its rows are readings."""
    k = cuda.grid(1)
    if k < counts.shape[0]:
        count = np.int64(0)
        for i in range(rows[k], rows[k + 1]):
            if power_mw[i] > 0:
                count += 1
        counts[k] = count


@cuda.jit
def _keep_valid(time_us, power_mw, rows, place, kept_us, kept_mw):
    """One thread per chunk: copy its readings, in order, to the rows from ``place[k]`` on."""
    k = cuda.grid(1)
    if k < rows.shape[0] - 1:
        to = place[k]
        for i in range(rows[k], rows[k + 1]):
            if power_mw[i] > 0:
                kept_us[to] = time_us[i]
                kept_mw[to] = power_mw[i]
                to += 1


@cuda.jit
def _cut(time_us, rows, size, place, first, counts):
    """One thread per ``size`` rows of a GPU: cut them further where they last too long, by the CPU's own code."""
    k = cuda.grid(1)
    if k < counts.shape[0]:
        counts[k] = cut_rows(time_us, rows[k], rows[k + 1], size, first, place[k]) - place[k]


def take(column: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Copy single rows of a column to the host."""
    out = cuda.device_array(len(rows), column.dtype)
    each(_take, len(rows), column, cuda.to_device(rows), out)
    return out.copy_to_host()  # type: ignore[no-any-return]


def least_and_greatest(power_mw: Any) -> tuple[int, int]:
    """Find the least and the greatest of at least one reading."""
    blocks = min((len(power_mw) + THREADS - 1) // THREADS, _MOST_BLOCKS)
    out = cuda.device_array((blocks, 2), np.int64)
    launch(_range, blocks, THREADS, power_mw, out)
    found = out.copy_to_host()
    return int(found[:, 0].min()), int(found[:, 1].max())


def first_fall(time_us: Any, offsets: NDArray[np.int64]) -> int:
    """Find the first row whose time is before the row above it, as :func:`kernels.columns.first_fall` does."""
    owner, rows = cut_into_chunks(offsets, CUDA_CHUNK)
    follows = np.ones(len(rows), np.bool_)
    follows[owner] = False  # a GPU's first chunk follows nothing
    out = cuda.device_array(len(rows) - 1, np.int64)
    each(_first_fall, len(rows) - 1, time_us, cuda.to_device(rows), cuda.to_device(follows), out)
    found = out.copy_to_host()
    return int(found[np.argmax(found >= 0)]) if (found >= 0).any() else -1


def valid_rows(time_us: Any, power_mw: Any, offsets: NDArray[np.int64]) -> tuple[Any, Any, NDArray[np.int64]]:
    """Copy the rows whose reading is one (> 0), still GPU-major and on the device."""
    owner, rows = cut_into_chunks(offsets, CUDA_CHUNK)
    tasks, rows_there = len(rows) - 1, cuda.to_device(rows)
    counts = cuda.device_array(tasks, np.int64)
    each(_count_valid, tasks, power_mw, rows_there, counts)
    place = np.zeros(len(rows), np.int64)
    np.cumsum(counts.copy_to_host(), out=place[1:])
    kept = int(place[-1])
    kept_us, kept_mw = cuda.device_array(kept, np.int64), cuda.device_array(kept, np.int32)
    each(_keep_valid, tasks, time_us, power_mw, rows_there, cuda.to_device(place), kept_us, kept_mw)
    return kept_us, kept_mw, place[owner]


def cut(time_us: Any, offsets: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut every GPU's rows at every ``size`` rows and LONGEST_US: ``owner`` and ``first`` of the CPU's `cut`.

    Where a chunk lasts too long, the next one of ``size`` rows begins where it would have begun anyway, so that chunks
    are cut side by side; the CPU's goes on from there. No sum depends on where rows are cut.
    """
    owner, rows = cut_into_chunks(offsets, size)
    tasks, rows_there = len(rows) - 1, cuda.to_device(rows)
    counts, place = cuda.device_array(tasks, np.int64), np.zeros(len(rows), np.int64)
    each(_cut, tasks, time_us, rows_there, size, cuda.to_device(place), cuda.device_array(0, np.int64), counts)
    np.cumsum(counts.copy_to_host(), out=place[1:])
    first = cuda.device_array(int(place[-1]), np.int64)
    each(_cut, tasks, time_us, rows_there, size, cuda.to_device(place), first, counts)
    return place[owner], first.copy_to_host()
