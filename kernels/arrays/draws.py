"""Random draws of blocks and their sums: what `kernels.ensemble` and its CUDA twin are made of."""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import numpy as np

from wattshed.kernels.jit import jit, prange

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_LOW = np.uint64(0xFFFFFFFF)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
TILE = 1024
"""Columns summed at once: their accumulators stay in the first-level cache."""
BATCH = 256
"""Replicates whose counts are held at once."""
EXACT_FLOAT = 1 << 53


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
def count_draws(seed, first, counts):
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
def add_blocks(power_mw, bounds, seed, most, tile, out):
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
def total_blocks(power_mw, bounds, most, totals):
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
def multiply(counts, totals, out):
    """Multiply counts by totals in int64, for sums that a float cannot hold exactly."""
    for r in prange(len(counts)):
        out[r, :] = 0
        for block in range(counts.shape[1]):
            times = np.int64(counts[r, block])
            if times > 0:
                for t in range(totals.shape[1]):
                    out[r, t] += times * totals[block, t]
