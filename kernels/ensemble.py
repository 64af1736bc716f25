"""Bootstrap ensembles of a fleet's power over time, by whole blocks (jobs or hosts), with exact sums.

GPUs of one job rise and fall together, so blocks are drawn, never single GPUs. The direct way adds the series of every
GPU of every drawn block. The quick way adds up each block once and multiplies by how often it was drawn: the same
draws and the same integers, at a cost that no longer knows how many GPUs there are.

Random numbers are SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), keyed by seed and replicate and counted by draw: any
thread can make any of them, so the ensemble is the same for any number of threads, and on CUDA.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.arrays.draws import BATCH, EXACT_FLOAT, TILE, add_blocks, count_draws, multiply, total_blocks
from wattshed.kernels.columns import need_host
from wattshed.kernels.devices import choose

if TYPE_CHECKING:
    from numpy.typing import NDArray


def draw_counts(seed: int, replicates: int, blocks: int, *, first: int = 0, device: str = "cpu") -> NDArray[np.int32]:
    """Draw ``blocks`` blocks with replacement per replicate: how often each one came up (multinomial).

    Parameters
    ----------
    seed : int
        From 0 to 2**63 - 1.
    replicates, blocks : int
    first : int
        Number of the first replicate; an ensemble may be made in pieces.
    device : {"cpu", "cuda"}

    Returns
    -------
    int32[replicates, blocks]
        Every row sums to ``blocks``.
    """
    if not 0 < blocks < 1 << 31 or replicates < 0 or not 0 <= seed < 1 << 63:
        raise ValueError(f"cannot draw {replicates} replicates of {blocks} blocks with seed {seed}")
    counts = np.empty((replicates, blocks), np.int32)
    with np.errstate(over="ignore"):  # SplitMix64 wraps by design
        if choose(device).device == "cuda":
            from wattshed.kernels import cuda

            cuda.count_draws(seed, first, counts)
        else:
            count_draws(np.int64(seed), np.int64(first), counts)
    return counts


def block_totals(power_mw: NDArray[np.int32], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum the series of each block's GPUs.

    Parameters
    ----------
    power_mw : int32[n, t], mW
        One row per GPU, one column per segment of time.
    bounds : int64[b + 1]
        Block j is rows ``bounds[j]:bounds[j + 1]``.

    Returns
    -------
    int64[b, t], mW
    """
    _check(power_mw, bounds)
    totals = np.zeros((len(bounds) - 1, power_mw.shape[1]), np.int64)
    most = max((2**31 - 1) // max(int(power_mw.max(initial=0)), 1), 1)
    total_blocks(np.ascontiguousarray(power_mw), bounds, np.int64(most), totals)
    return totals


def _check(power_mw: NDArray[np.int32], bounds: NDArray[np.int64]) -> None:
    need_host(power_mw=power_mw, bounds=bounds)
    if power_mw.ndim != 2 or power_mw.dtype != np.int32 or (power_mw.size and power_mw.min() < 0):
        raise ValueError("power_mw must be a two-dimensional int32 array without negative readings")
    if bounds.dtype != np.int64 or len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != len(power_mw):
        raise ValueError(f"bounds must be int64 and rise from 0 to the number of rows ({len(power_mw)})")
    if (np.diff(bounds) < 0).any():
        raise ValueError("bounds must never fall")


def bootstrap(totals_mw: NDArray[np.int64], replicates: int, seed: int) -> NDArray[np.int64]:
    """Fleet power in every replicate: multinomial counts times the blocks' totals.

    Parameters
    ----------
    totals_mw : int64[b, t], mW
        From :func:`block_totals`, or a series per block from anywhere.
    replicates, seed : int

    Returns
    -------
    int64[replicates, t], mW
        The same integers as :func:`bootstrap_direct` gives for the blocks' GPUs.
    """
    need_host(totals_mw=totals_mw)
    blocks = len(totals_mw)
    out = np.empty((replicates, totals_mw.shape[1]), np.int64)
    highest = int(max(totals_mw.max(initial=0), -totals_mw.min(initial=0)))
    exact = blocks * highest < EXACT_FLOAT
    # Every partial sum is a whole number below 2**53: the float product is exact in any order of addition.
    floats = totals_mw.astype(np.float64) if exact else None
    for first in range(0, replicates, BATCH):
        part = out[first : first + BATCH]
        counts = draw_counts(seed, len(part), blocks, first=first)
        if floats is not None:
            part[:] = counts.astype(np.float64) @ floats
        else:
            multiply(counts, totals_mw, part)
    return out


def bootstrap_direct(
    power_mw: NDArray[np.int32], bounds: NDArray[np.int64], replicates: int, seed: int
) -> NDArray[np.int64]:
    """Fleet power in every replicate, by adding every GPU of every drawn block.

    Parameters
    ----------
    power_mw, bounds
        As for :func:`block_totals`.
    replicates, seed : int

    Returns
    -------
    int64[replicates, t], mW
    """
    _check(power_mw, bounds)
    power_mw = np.ascontiguousarray(power_mw)
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed must lie between 0 and 2**63 - 1, got {seed}")
    out = np.zeros((replicates, power_mw.shape[1]), np.int64)
    most = max((2**31 - 1) // max(int(power_mw.max(initial=0)), 1), 1)
    with np.errstate(over="ignore"):  # SplitMix64 wraps by design
        add_blocks(power_mw, bounds, np.int64(seed), np.int64(most), TILE, out)
    return out
