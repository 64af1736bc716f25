"""Energy of each job from a whole recording: overlapping jobs, idle power, shares and utilisation; exact integers.

The samples are read once, at the speed of memory: each GPU's time is cut at the starts and ends of its usage rows, and
static (up to idle power) and dynamic energy are summed per segment (:mod:`kernels.arrays.segments`), and split among
those present by the rules of :mod:`kernels.billing.shares`: the same functions that the live path uses. N samples and P
edges cost O(N + P log P + P times the owners present at once).
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.kernels.arrays.segments import HIGHEST_MW, LONGEST_US, cut, sum_chunks
from wattshed.kernels.billing.shares import split_dynamic, split_static
from wattshed.kernels.columns import CHUNK, CUDA_CHUNK, PARALLEL_FROM, check_columns, raise_backwards, valid_rows
from wattshed.kernels.devices import choose
from wattshed.kernels.jit import jit, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

HNJ_PER_JOULE = 2_000_000_000
_FULL = 1 << 61


class JobEnergy(NamedTuple):
    """What each usage row and each GPU's ``_idle`` and ``_unattributed`` got.

    An energy is a row of two int64: whole joules, and the half-nanojoules (0 to 2e9 - 1) beyond them; a job that runs
    for months does not fit one int64 of half-nanojoules.

    Attributes
    ----------
    static, dynamic : int64[m, 2]
    method : int64[m]
        Bits, as in :class:`kernels.billing.split.Split`.
    idle, unattributed : int64[g, 2]
    """

    static: NDArray[np.int64]
    dynamic: NDArray[np.int64]
    method: NDArray[np.int64]
    idle: NDArray[np.int64]
    unattributed: NDArray[np.int64]


@jit
def _carry(energy):
    """Move whole joules out of the half-nanojoules."""
    energy[0] += energy[1] // HNJ_PER_JOULE
    energy[1] %= HNJ_PER_JOULE


@jit
def _split_gpu(g, chunks, out, span, edges, rows, by_start, by_end, start, end, activity, busy, share, live, result):
    """Walk one GPU's segments: who is there, what it took, who gets it."""
    static, dynamic, method, idle, unattributed, still, moving = result
    lo = rows[g]
    hi = rows[g + 1]
    here = np.empty(hi - lo, np.int64)
    weight = np.empty(hi - lo + 1, np.int64)
    part = np.empty(hi - lo + 1, np.int64)
    present = 0
    come = lo
    go = lo
    k = chunks[g]
    for i in range(2 * (hi - lo) + 1):
        at = 2 * lo + g + i
        more = True
        while more:
            # The segment's energy, chunk by chunk; so much that it might overflow is split before the next chunk.
            quiet = 0
            busy_part = 0
            more = False
            while k < chunks[g + 1] and span[k, 0] <= at:
                quiet += out[at + k, 0]
                busy_part += out[at + k, 1]
                if span[k, 1] > at:
                    break
                k += 1
                if quiet + busy_part > _FULL:
                    more = True
                    break
            idle[g, 1] += split_static(quiet, share, here, present, weight, part, still)
            left, _ = split_dynamic(busy_part, activity, busy, share, live, here, present, weight, part, moving, method)
            unattributed[g, 1] += left
            _carry(idle[g])
            _carry(unattributed[g])
            for j in range(present):
                row = here[j]
                static[row, 1] += still[row]
                dynamic[row, 1] += moving[row]
                still[row] = 0
                moving[row] = 0
                if static[row, 1] >= _FULL or dynamic[row, 1] >= _FULL:
                    _carry(static[row])
                    _carry(dynamic[row])
        if i == 2 * (hi - lo):
            break
        edge = edges[2 * lo + i]
        while go < hi and end[by_end[go]] <= edge:
            j = 0
            while j < present and here[j] != by_end[go]:
                j += 1
            if j < present:
                present -= 1
                for m in range(j, present):
                    here[m] = here[m + 1]
            go += 1
        while come < hi and start[by_start[come]] <= edge:
            row = by_start[come]
            if end[row] > edge:
                j = present
                while j > 0 and here[j - 1] > row:
                    here[j] = here[j - 1]
                    j -= 1
                here[j] = row
                present += 1
            come += 1
    for row in range(lo, hi):
        _carry(static[row])
        _carry(dynamic[row])


@jit(parallel=True)
def _split_all(chunks, out, span, edges, rows, by_start, by_end, start, end, activity, busy, share, live, result):
    """Split every GPU's segments among its usage rows."""
    for g in prange(len(chunks) - 1):
        _split_gpu(g, chunks, out, span, edges, rows, by_start, by_end, start, end, activity, busy, share, live, result)


def job_energy(
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    offsets: NDArray[np.int64],
    max_gap_us: int,
    idle_mw: NDArray[np.int64],
    rows: NDArray[np.int64],
    start_us: NDArray[np.int64],
    end_us: NDArray[np.int64],
    activity_ppm: NDArray[np.int64],
    busy_ppm: NDArray[np.int64],
    share_ppm: NDArray[np.int64],
    live: NDArray[np.int8],
    *,
    device: str = "cpu",
) -> JobEnergy:
    """Split each GPU's trapezoid energy among the usage rows that held it.

    Parameters
    ----------
    time_us, power_mw, offsets, max_gap_us
        As for :func:`kernels.energy.integrate`; readings up to 20 kW, gaps up to 12 hours.
    idle_mw, rows, start_us, end_us, activity_ppm, busy_ppm, share_ppm, live
        As for :func:`kernels.billing.split.split`: GPU i owns usage rows ``rows[i]:rows[i + 1]``.
    device : {"cpu", "cuda", "auto"}
        Where the samples are summed.

    Returns
    -------
    JobEnergy
        Its parts sum to the GPUs' energies exactly.

    Raises
    ------
    ValueError
        As for ``integrate``; for readings or gaps beyond those bounds; for usage columns that do not fit each other.
    """
    check_columns(time_us, power_mw, offsets)
    gpus, m = len(offsets) - 1, len(start_us)
    if not 0 <= max_gap_us <= LONGEST_US:
        raise ValueError(f"max_gap_us must lie between 0 and 12 hours, got {max_gap_us}")
    if len(idle_mw) != gpus or len(rows) != gpus + 1 or rows[0] != 0 or rows[-1] != m or (np.diff(rows) < 0).any():
        raise ValueError(f"idle_mw must have {gpus} entries, and rows must rise from 0 to {m} in {gpus + 1}")
    if any(len(column) != m for column in (end_us, activity_ppm, busy_ppm, share_ppm, live)):
        raise ValueError(f"every usage column must have {m} rows, as start_us has")
    gpu_of = np.repeat(np.arange(gpus), np.diff(rows))
    moments, owner_of = np.concatenate([start_us, end_us]), np.concatenate([gpu_of, gpu_of])
    edges = moments[np.lexsort((moments, owner_of))]
    by_start = np.lexsort((start_us, gpu_of)).astype(np.int64)
    by_end = np.lexsort((end_us, gpu_of)).astype(np.int64)
    chunks = np.zeros(gpus + 1, np.int64)
    on_cuda = choose(device, time_us, power_mw).device == "cuda"
    size = CUDA_CHUNK if on_cuda else CHUNK
    cut(time_us, offsets, size, chunks, np.empty(0, np.int64))
    count = int(chunks[-1])
    first = np.full(count + 1, len(time_us), np.int64)
    cut(time_us, offsets, size, chunks, first[:-1])
    out = np.zeros((2 * m + gpus + count, 2), np.int64)
    span, bounds = np.empty((count, 2), np.int64), np.empty((count, 2), np.int64)
    large = len(time_us) >= PARALLEL_FROM
    with np.errstate(over="ignore"):  # checked by the range of the readings
        if on_cuda:
            from wattshed.kernels.cuda import sum_segments as run
        else:
            run = sum_chunks if large else sum_chunks.serial
        run(
            time_us, power_mw, offsets, np.repeat(np.arange(gpus), np.diff(chunks)), first, edges, rows, idle_mw,
            np.int64(max_gap_us), out, span, bounds,
        )  # fmt: skip
    if count and bounds[:, 0].min() <= 0:
        if (power_mw <= 0).any():
            return job_energy(
                *valid_rows(time_us, power_mw, offsets), max_gap_us,
                idle_mw, rows, start_us, end_us, activity_ppm, busy_ppm, share_ppm, live, device=device,
            )  # fmt: skip
        raise_backwards(time_us, offsets)
    if count and bounds[:, 1].max() > HIGHEST_MW:
        raise ValueError(f"a reading of {bounds[:, 1].max()} mW: reject readings above 20 kW first")
    result = JobEnergy(
        np.zeros((m, 2), np.int64), np.zeros((m, 2), np.int64), np.zeros(m, np.int64),
        np.zeros((gpus, 2), np.int64), np.zeros((gpus, 2), np.int64),
    )  # fmt: skip
    scratch = (*result, np.zeros(m, np.int64), np.zeros(m, np.int64))
    (_split_all if large else _split_all.serial)(
        chunks, out, span, edges, rows, by_start, by_end,
        start_us, end_us, activity_ppm, busy_ppm, share_ppm, live, scratch,
    )  # fmt: skip
    return result
