"""Bootstrap ensembles of a fleet's power over time, by whole blocks (jobs or hosts), with exact sums.

GPUs of one job rise and fall together, so blocks are drawn, never single GPUs. The direct way adds the series of every
GPU of every drawn block. The quick way adds up each block once and multiplies by how often it was drawn: the same
draws and the same integers, at a cost that no longer knows how many GPUs there are.

Random numbers are SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), keyed by seed and replicate and counted by draw: any
thread can make any of them, so the ensemble is the same for any number of threads, and on CUDA.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.devices import choose
from wattshed.kernels.jit import jit, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_LOW = np.uint64(0xFFFFFFFF)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_TILE = 1024
"""Columns summed at once: their accumulators stay in the first-level cache."""
_BATCH = 256
"""Replicates whose counts are held at once."""
_EXACT_FLOAT = 1 << 53


@jit
def mix(z):
    """SplitMix64's finaliser: uint64 to uint64, one to one."""
    z = (z ^ (z >> _S30)) * _MIX_A
    z = (z ^ (z >> _S27)) * _MIX_B
    return z ^ (z >> _S31)


@jit
def drawn_block(key, draw, blocks):
    """Say which of ``blocks`` (< 2**31) the ``draw``-th draw of a replicate takes; uniform to 2**-33."""
    bits = mix(key + np.uint64(draw + 1) * _GOLDEN)
    count = np.uint64(blocks)
    return np.int64(((bits >> _S32) * count + (((bits & _LOW) * count) >> _S32)) >> _S32)


@jit
def key_of(seed, replicate):
    """Make the key of one replicate's stream of random numbers: uint64."""
    return mix(mix(np.uint64(seed)) + np.uint64(replicate) * _GOLDEN)


@jit(parallel=True)
def _count(seed, first, counts):
    """Draw replicates ``first``, ``first + 1`` ... and count how often each block comes up."""
    blocks = counts.shape[1]
    for r in prange(len(counts)):
        key = key_of(seed, first + r)
        counts[r, :] = 0
        for draw in range(blocks):
            counts[r, drawn_block(key, draw, blocks)] += 1


@jit
def _add_rows(power_mw, lo, hi, left, acc):
    """Add rows ``lo:hi``, from column ``left`` on, to ``acc``, eight at a time."""
    right = left + len(acc)
    whole = lo + (hi - lo) // 8 * 8
    for i in range(lo, whole, 8):
        # Rows of a contiguous array are contiguous too, which slices of its columns are not to the compiler.
        a = power_mw[i][left:right]
        b = power_mw[i + 1][left:right]
        c = power_mw[i + 2][left:right]
        d = power_mw[i + 3][left:right]
        e = power_mw[i + 4][left:right]
        f = power_mw[i + 5][left:right]
        g = power_mw[i + 6][left:right]
        h = power_mw[i + 7][left:right]
        for t in range(len(acc)):
            acc[t] += np.int32((a[t] + b[t]) + (c[t] + d[t])) + np.int32((e[t] + f[t]) + (g[t] + h[t]))
    for i in range(whole, hi):
        a = power_mw[i][left:right]
        for t in range(len(acc)):
            acc[t] += a[t]


@jit(parallel=True)
def _add_blocks(power_mw, bounds, seed, most, tile, out):
    """Add every GPU of every drawn block; ``most`` rows fit an int32 accumulator."""
    blocks = len(bounds) - 1
    tiles = (power_mw.shape[1] + tile - 1) // tile
    for task in prange(len(out) * tiles):
        r = task // tiles
        a = task % tiles * tile
        b = min(a + tile, power_mw.shape[1])
        key = key_of(seed, r)
        acc = np.zeros(b - a, np.int32)
        total = np.zeros(b - a, np.int64)
        held = 0
        for draw in range(blocks):
            block = drawn_block(key, draw, blocks)
            row = bounds[block]
            while row < bounds[block + 1]:
                upto = min(bounds[block + 1], row + most - held)
                _add_rows(power_mw, row, upto, a, acc)
                held += upto - row
                row = upto
                if held == most:
                    total += acc
                    acc[:] = 0
                    held = 0
        out[r, a:b] = total + acc


@jit(parallel=True)
def _total(power_mw, bounds, most, totals):
    """Sum the rows of every block; ``most`` rows fit an int32 accumulator."""
    for block in prange(len(totals)):
        acc = np.zeros(totals.shape[1], np.int32)
        row = bounds[block]
        while row < bounds[block + 1]:
            upto = min(bounds[block + 1], row + most)
            acc[:] = 0
            _add_rows(power_mw, row, upto, 0, acc)
            totals[block] += acc
            row = upto


@jit(parallel=True)
def _multiply(counts, totals, out):
    """Multiply counts by totals in int64, for sums that a float cannot hold exactly."""
    for r in prange(len(counts)):
        out[r, :] = 0
        for block in range(counts.shape[1]):
            times = np.int64(counts[r, block])
            if times > 0:
                for t in range(totals.shape[1]):
                    out[r, t] += times * totals[block, t]


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
            _count(np.int64(seed), np.int64(first), counts)
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
    _total(np.ascontiguousarray(power_mw), bounds, np.int64(most), totals)
    return totals


def _check(power_mw: NDArray[np.int32], bounds: NDArray[np.int64]) -> None:
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
    blocks = len(totals_mw)
    out = np.empty((replicates, totals_mw.shape[1]), np.int64)
    highest = int(max(totals_mw.max(initial=0), -totals_mw.min(initial=0)))
    exact = blocks * highest < _EXACT_FLOAT
    # Every partial sum is a whole number below 2**53: the float product is exact in any order of addition.
    floats = totals_mw.astype(np.float64) if exact else None
    for first in range(0, replicates, _BATCH):
        part = out[first : first + _BATCH]
        counts = draw_counts(seed, len(part), blocks, first=first)
        if floats is not None:
            part[:] = counts.astype(np.float64) @ floats
        else:
            _multiply(counts, totals_mw, part)
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
        _add_blocks(power_mw, bounds, np.int64(seed), np.int64(most), _TILE, out)
    return out
