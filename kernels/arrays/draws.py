"""Random draws of blocks and their sums: what `kernels.ensemble` and its CUDA twin are made of."""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201

from __future__ import annotations

import numpy as np

from wattshed.kernels.entry import i32, i64, kernel, written
from wattshed.kernels.jit import jit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_LOW = np.uint64(0xFFFFFFFF)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
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


@kernel(i64, i64, written(i32[:, :]), i64, i64)
def count_draws(seed, number, counts, first, last):
    """Count how often each block comes up in replicates ``first:last``, the first of which has this number."""
    blocks = counts.shape[1]
    for r in range(first, last):
        key = key_of(seed, number + r)
        counts[r, :] = 0
        for draw in range(blocks):
            counts[r, drawn_block(key, draw, blocks)] += 1


@kernel(i32[:, :], i64[:, :], written(i64[:, :]), i64, i64)
def multiply(counts, totals, out, first, last):
    """Multiply rows ``first:last`` of counts by totals in int64, for sums that a float cannot hold exactly."""
    for r in range(first, last):
        out[r, :] = 0
        for block in range(counts.shape[1]):
            times = np.int64(counts[r, block])
            if times > 0:
                for t in range(totals.shape[1]):
                    out[r, t] += times * totals[block, t]
