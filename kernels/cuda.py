"""The CUDA twins: the same chunks, the same integers, one block of threads per chunk.

Each function here fills the very arrays that its CPU twin fills, so everything before and after (checks, cutting,
joining, rounding) is one piece of code. Sums over a block are made in shared memory; energies stay in two words, so
their order cannot matter.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.kernels.arrays.trapezoid import BACKWARDS, COVERED, FIRST_MW, FIRST_US, HI, LAST_MW, LAST_US, LO, PART
from wattshed.kernels.cuda_target import SIMULATED, THREADS, cuda, launch
from wattshed.kernels.device_memory import in_pieces, rows_on_device
from wattshed.kernels.int128 import MASK, WORD, add_product

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FITS_INT64 = 1 << 31
_COARSE = 2048
_ROWS_A_THREAD = 2 if SIMULATED else 64
"""Of a chunk that several blocks share: a histogram is long, so its chunks are, and few."""
_NONE = 1 << 62


@cuda.jit(device=True)
def _sum_rows(time_us, power_mw, a, b, follows, max_gap_us):
    """Sum a thread's own rows of chunk ``a:b``: energy in two words, time covered, first and last reading, falls."""
    hi = np.int64(0)
    lo = np.int64(0)
    covered = np.int64(0)
    first = np.int64(_NONE)
    last = np.int64(-1)
    falls = np.int64(0)
    i = a + cuda.threadIdx.x
    while i < b:
        if (i > a or follows) and time_us[i] < time_us[i - 1]:
            falls = np.int64(1)
        power = np.int64(power_mw[i])
        if power > 0:
            first = min(first, i)
            last = max(last, i)
            # The valid reading before this one; a run of broken rows is walked once, by the reading after it.
            j = i - 1
            while j >= a and power_mw[j] <= 0:
                j -= 1
            if j >= a:
                dt = time_us[i] - time_us[j]
                if 0 <= dt <= max_gap_us:
                    covered += dt
                    pair = power + np.int64(power_mw[j])
                    if dt < _FITS_INT64:
                        product = pair * dt
                        hi += product >> WORD
                        lo += product & MASK
                    else:
                        hi, lo = add_product(hi, lo, pair, dt)
        i += THREADS
    return hi, lo, covered, first, last, falls


@cuda.jit
def _sum_chunk(time_us, power_mw, rows, lead, origin, max_gap_us, parts):
    """One block sums one chunk; rows of ``rows`` are absolute, the columns begin at row ``origin``."""
    hi_of = cuda.shared.array(THREADS, np.int64)
    lo_of = cuda.shared.array(THREADS, np.int64)
    covered_of = cuda.shared.array(THREADS, np.int64)
    first_of = cuda.shared.array(THREADS, np.int64)
    last_of = cuda.shared.array(THREADS, np.int64)
    falls_of = cuda.shared.array(THREADS, np.int64)
    k = cuda.blockIdx.x
    me = cuda.threadIdx.x
    hi_of[me], lo_of[me], covered_of[me], first_of[me], last_of[me], falls_of[me] = _sum_rows(
        time_us, power_mw, rows[k] - origin, rows[k + 1] - origin, lead[k], max_gap_us
    )
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if me < half:
            hi_of[me] += hi_of[me + half]
            lo_of[me] += lo_of[me + half]
            covered_of[me] += covered_of[me + half]
            first_of[me] = min(first_of[me], first_of[me + half])
            last_of[me] = max(last_of[me], last_of[me + half])
            falls_of[me] |= falls_of[me + half]
        cuda.syncthreads()
        half //= 2
    if me == 0:
        for column in range(PART):
            parts[k, column] = 0
        parts[k, BACKWARDS] = falls_of[0]
        if last_of[0] >= 0:
            parts[k, HI] = hi_of[0] + (lo_of[0] >> WORD)
            parts[k, LO] = lo_of[0] & MASK
            parts[k, COVERED] = covered_of[0]
            parts[k, FIRST_US] = time_us[first_of[0]]
            parts[k, FIRST_MW] = power_mw[first_of[0]]
            parts[k, LAST_US] = time_us[last_of[0]]
            parts[k, LAST_MW] = power_mw[last_of[0]]


@cuda.jit
def _weigh(time_us, power_mw, lows, highs, rows, origin, max_gap_us, shift, slot_of, slot_row, bins, falls):
    """Add the weights of one chunk's rows to its histogram, by the blocks of one column of the grid.

    ``lows[k]:highs[k]`` are the rows of the chunk's GPU. With ``slot_of`` (a row per GPU) the histogram is the fine one
    of the slots, otherwise the coarse one, whose last bin takes what is not a reading or too high.
    """
    k = cuda.blockIdx.x
    fine = slot_of.shape[0] > 0
    mask = (np.int64(1) << shift) - 1
    i = rows[k] - origin + cuda.blockIdx.y * THREADS + cuda.threadIdx.x
    while i < rows[k + 1] - origin:
        weight = np.int64(0)
        if i > lows[k] - origin:
            dt = time_us[i] - time_us[i - 1]
            if dt < 0:
                falls[k] = 1
            elif dt <= max_gap_us:
                weight += dt
        if i + 1 < highs[k] - origin:
            dt = time_us[i + 1] - time_us[i]
            if 0 <= dt <= max_gap_us:
                weight += dt
        level = np.int64(power_mw[i]) - 1
        if level < 0 or level >> shift >= _COARSE:
            falls[k] = 1
        elif fine:
            slot = np.int64(slot_of[slot_row[k], level >> shift])
            if slot > 0:
                cuda.atomic.add(bins, (k, ((slot - 1) << shift) + (level & mask)), weight)
        else:
            cuda.atomic.add(bins, (k, level >> shift), weight)
        i += cuda.gridDim.y * THREADS


def sum_chunks(
    time_us: Any,
    power_mw: Any,
    owner: NDArray[np.int64],
    rows: NDArray[np.int64],
    max_gap_us: int,
    parts: NDArray[np.int64],
) -> None:
    """Sum every chunk into its row of ``parts``: the twin of the CPU's in :mod:`kernels.arrays.trapezoid`.

    Parameters
    ----------
    time_us : int64[n], us, on the host or on the device
    power_mw : int32[n], mW, likewise
    owner, rows : int64[g + 1], int64[k + 1]
        From :func:`kernels.columns.cut_into_chunks`.
    max_gap_us : int
    parts : int64[k, PART]
    """
    lead = np.ones(len(parts) + 1, np.bool_)
    lead[owner] = False  # a GPU's first chunk follows nothing

    def run(first: int, last: int) -> None:
        origin = max(int(rows[first]) - 1, 0)
        stop = int(rows[last])
        out = cuda.device_array((last - first, PART), np.int64)
        launch(
            _sum_chunk, last - first, THREADS,
            rows_on_device(time_us, origin, stop), rows_on_device(power_mw, origin, stop),
            cuda.to_device(rows[first : last + 1]), cuda.to_device(lead[first:last]),
            np.int64(origin), np.int64(max_gap_us), out,
        )  # fmt: skip
        parts[first:last] = out.copy_to_host()

    in_pieces(0, len(parts), run)


def weigh_chunks(
    time_us: Any,
    power_mw: Any,
    offsets: NDArray[np.int64],
    gpu: NDArray[np.int64],
    rows: NDArray[np.int64],
    max_gap_us: int,
    shift: int,
    bins: NDArray[np.int64],
    slot_of: NDArray[np.uint8] | None = None,
    base: int = 0,
) -> NDArray[np.bool_]:
    """Fill the histogram of every chunk: the twin of the CPU's two passes in :mod:`kernels.quantiles`.

    Parameters
    ----------
    time_us, power_mw : on the host or on the device
    offsets, gpu, rows : int64
        GPU j owns rows ``offsets[j]:offsets[j + 1]``; chunk k is rows ``rows[k]:rows[k + 1]`` of GPU ``gpu[k]``.
    max_gap_us, shift : int
    bins : int64[k, *]
    slot_of : uint8[*, 2048], optional
        For the fine pass: the slot of each coarse bin, in row ``gpu - base``.

    Returns
    -------
    bool[k]
        Whether all rows of the chunk were usable.
    """
    usable = np.ones(len(gpu), np.bool_)
    lows, highs = offsets[gpu], offsets[gpu + 1]
    slots = np.empty((0, _COARSE), np.uint8) if slot_of is None else slot_of
    blocks = max(int(np.diff(rows).max(initial=0)) // (THREADS * _ROWS_A_THREAD), 1)

    def run(first: int, last: int) -> None:
        origin = max(int(rows[first]) - 1, 0)
        stop = min(int(rows[last]) + 1, int(offsets[-1]))
        out = cuda.to_device(np.zeros((last - first, bins.shape[1]), np.int64))
        falls = cuda.to_device(np.zeros(last - first, np.int32))
        launch(
            _weigh, (last - first, blocks), THREADS,
            rows_on_device(time_us, origin, stop), rows_on_device(power_mw, origin, stop),
            cuda.to_device(lows[first:last]), cuda.to_device(highs[first:last]),
            cuda.to_device(rows[first : last + 1]), np.int64(origin), np.int64(max_gap_us), np.int64(shift),
            cuda.to_device(slots), cuda.to_device(gpu[first:last] - base), out, falls,
        )  # fmt: skip
        bins[first:last] = out.copy_to_host()
        usable[first:last] = falls.copy_to_host() == 0

    in_pieces(0, len(gpu), run)
    return usable
