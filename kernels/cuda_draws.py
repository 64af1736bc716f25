"""The CUDA twin of drawing an ensemble: counts are drawn and multiplied on the device, and never leave it."""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.kernels.arrays.draws import drawn_block, key_of
from wattshed.kernels.cuda_target import THREADS, cuda, each, launch
from wattshed.kernels.device_memory import in_pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TOGETHER = 4
"""Replicates that a thread adds up at once: a total that was read serves so many of them."""


@cuda.jit
def _count(seed, first, counts):
    """One thread per draw of every replicate."""
    at = cuda.grid(1)
    blocks = counts.shape[1]
    if at < counts.shape[0] * blocks:
        replicate = at // blocks
        key = key_of(seed, first + replicate)
        cuda.atomic.add(counts, (replicate, drawn_block(key, at % blocks, blocks)), np.int32(1))


@cuda.jit
def _multiply(counts, totals, out):
    """Multiply counts by totals: one thread per column, for a few replicates; neighbours read neighbouring columns."""
    held = cuda.shared.array((_TOGETHER, THREADS), np.int64)
    me = cuda.threadIdx.x
    column = cuda.blockIdx.x * THREADS + me
    row = cuda.blockIdx.y * _TOGETHER
    replicates = counts.shape[0]
    blocks = counts.shape[1]
    columns = totals.shape[1]
    a = np.int64(0)
    b = np.int64(0)
    c = np.int64(0)
    d = np.int64(0)
    base = 0
    while base < blocks:
        for r in range(_TOGETHER):
            held[r, me] = counts[row + r, base + me] if row + r < replicates and base + me < blocks else 0
        cuda.syncthreads()
        if column < columns:
            for block in range(min(THREADS, blocks - base)):
                total = totals[base + block, column]
                a += held[0, block] * total
                b += held[1, block] * total
                c += held[2, block] * total
                d += held[3, block] * total
        cuda.syncthreads()
        base += THREADS
    if column < columns:
        out[row, column] = a
        if row + 1 < replicates:
            out[row + 1, column] = b
        if row + 2 < replicates:
            out[row + 2, column] = c
        if row + 3 < replicates:
            out[row + 3, column] = d


def _drawn(seed: int, first: int, replicates: int, blocks: int) -> Any:
    """Draw some replicates: their counts, on the device."""
    counts = cuda.to_device(np.zeros((replicates, blocks), np.int32))
    each(_count, replicates * blocks, np.int64(seed), np.int64(first), counts)
    return counts


def count_draws(seed: int, first: int, counts: NDArray[np.int32]) -> None:
    """Draw and count: the twin of the CPU's in :mod:`kernels.arrays.draws`.

    Parameters
    ----------
    seed, first : int
    counts : int32[replicates, blocks]
    """

    def run(low: int, high: int) -> None:
        counts[low:high] = _drawn(seed, first + low, high - low, counts.shape[1]).copy_to_host()

    in_pieces(0, len(counts), run)


def bootstrap(seed: int, totals: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    """Draw and multiply: the twin of the CPU's in :mod:`kernels.ensemble`.

    Parameters
    ----------
    seed : int
    totals : int64[blocks, t]
    out : int64[replicates, t]
        Replicates from 0 on.
    """

    def some_columns(left: int, right: int) -> None:
        there = cuda.to_device(np.ascontiguousarray(totals[:, left:right]))

        def some_replicates(low: int, high: int) -> None:
            counts = _drawn(seed, low, high - low, len(totals))
            fleets = cuda.device_array((high - low, right - left), np.int64)
            grid = (-(-(right - left) // THREADS), -(-(high - low) // _TOGETHER))
            launch(_multiply, grid, THREADS, counts, there, fleets)
            out[low:high, left:right] = fleets.copy_to_host()

        in_pieces(0, len(out), some_replicates)

    in_pieces(0, totals.shape[1], some_columns)
