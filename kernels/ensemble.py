"""Bootstrap ensembles of a fleet's power over time, by whole blocks (jobs or hosts), with exact sums.

GPUs of one job rise and fall together, so blocks are drawn, never single GPUs. A block's series is multiplied by how
often the block was drawn: what adding it up draw by draw gives, at a cost that does not know how many GPUs there are.

Random numbers are SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), keyed by seed and replicate and counted by draw: any
thread can make any of them, so the ensemble is the same for any number of threads, and on CUDA.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.arrays.draws import BATCH, EXACT_FLOAT, count_draws, multiply
from wattshed.kernels.columns import need_host
from wattshed.kernels.devices import choose
from wattshed.kernels.threads import each

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
    _check_draws(replicates, blocks, seed)
    counts = np.empty((replicates, blocks), np.int32)
    with np.errstate(over="ignore"):  # SplitMix64 wraps by design
        if choose(device).device == "cuda":
            from wattshed.kernels import cuda_draws

            cuda_draws.count_draws(seed, first, counts)
        else:
            each(count_draws, replicates, np.int64(seed), np.int64(first), counts, rows=replicates * blocks)
    return counts


def _check_draws(replicates: int, blocks: int, seed: int) -> None:
    if not 0 < blocks < 1 << 31 or replicates < 0 or not 0 <= seed < 1 << 63:
        raise ValueError(f"cannot draw {replicates} replicates of {blocks} blocks with seed {seed}")


def bootstrap(totals_mw: NDArray[np.int64], replicates: int, seed: int, *, device: str = "cpu") -> NDArray[np.int64]:
    """Fleet power in every replicate: multinomial counts times the blocks' totals.

    Parameters
    ----------
    totals_mw : int64[b, t], mW
        A series per block: one column per segment of time.
    replicates, seed : int
    device : {"cpu", "cuda"}
        Counts are drawn where they are multiplied.

    Returns
    -------
    int64[replicates, t], mW
        Exact, whatever the totals.
    """
    need_host(totals_mw=totals_mw)
    blocks = len(totals_mw)
    totals = np.ascontiguousarray(totals_mw, np.int64)
    out = np.empty((replicates, totals_mw.shape[1]), np.int64)
    if choose(device).device == "cuda":
        _check_draws(replicates, blocks, seed)
        from wattshed.kernels import cuda_draws

        with np.errstate(over="ignore"):  # SplitMix64 wraps by design
            cuda_draws.bootstrap(seed, totals_mw, out)
        return out
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
            each(multiply, len(part), counts, totals, part, rows=len(part) * totals.size)
    return out
