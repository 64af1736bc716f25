"""Power over fixed windows: count, least, greatest and mean reading, and energy, in one pass over the samples."""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.kernels.columns import (
    CHUNK,
    CUDA_CHUNK,
    PARALLEL_FROM,
    check_columns,
    first_at,
    raise_backwards,
    valid_rows,
)
from wattshed.kernels.devices import choose
from wattshed.kernels.jit import jit, prange
from wattshed.kernels.words import MASK

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INT64_MAX = np.iinfo(np.int64).max

# Columns of the result while it is made.
_COUNT, _LOW, _HIGH, _SUM, _ENERGY, _COVERED = range(6)


class Windows(NamedTuple):
    """Windows of all GPUs, from the one of the first valid reading to that of the last, GPU-major.

    Attributes
    ----------
    offsets : int64[g + 1]
        GPU i owns windows ``offsets[i]:offsets[i + 1]``.
    start_us : int64[w], us
        Multiples of the window's length.
    counts : int64[w]
        Valid readings in the window.
    min_mw, max_mw : int64[w], mW
        0 where ``counts`` is 0.
    sum_mw : int64[w], mW
        Sum of the readings; their mean is ``sum_mw / counts``.
    energy_hnj : int64[w], half-nanojoules
        Exact: a trapezoid that crosses an edge is cut there, evenly in time, which leaves no remainder.
    covered_us : int64[w], us
    """

    offsets: NDArray[np.int64]
    start_us: NDArray[np.int64]
    counts: NDArray[np.int64]
    min_mw: NDArray[np.int64]
    max_mw: NDArray[np.int64]
    sum_mw: NDArray[np.int64]
    energy_hnj: NDArray[np.int64]
    covered_us: NDArray[np.int64]


@jit
def _inside(time_us, power_mw, max_gap_us, row):
    """Fill ``row`` from its readings (at least one) and the intervals between them."""
    n = len(time_us)
    energy = np.uint64(0)
    shortest = np.int64(0)
    longest = np.int64(0)
    low = power_mw[0]
    high = low
    total = np.int64(low)
    for i in range(1, n):
        dt = time_us[i] - time_us[i - 1]
        power = power_mw[i]
        shortest = min(shortest, dt)
        longest = max(longest, dt)
        low = min(low, power)
        high = max(high, power)
        total += np.int64(power)
        energy += np.uint64(np.uint32(dt)) * np.uint64(np.uint32(power + power_mw[i - 1]))
    covered = time_us[n - 1] - time_us[0]
    if longest > min(max_gap_us, MASK):
        energy = np.uint64(0)
        covered = np.int64(0)
        for i in range(1, n):
            dt = time_us[i] - time_us[i - 1]
            if dt <= max_gap_us:
                covered += dt
                energy += np.uint64((np.int64(power_mw[i]) + np.int64(power_mw[i - 1])) * dt)
    row[_COUNT] = n
    row[_LOW] = low
    row[_HIGH] = high
    row[_SUM] = total
    row[_ENERGY] = np.int64(energy)
    row[_COVERED] = covered
    return low > 0 and shortest >= 0


@jit
def sweep(time_us, power_mw, lo, hi, first, last, window_us, max_gap_us, out):
    """Fill ``out`` with windows ``first`` to ``last`` of the GPU of rows ``lo:hi``; False if a row is unusable."""
    usable = True
    a = first_at(time_us, lo, hi, first * window_us, lo)
    guess = 0
    for k in range(first, last):
        row = out[k - first]
        begin = k * window_us
        end = begin + window_us
        b = first_at(time_us, a, hi, end, a + guess)
        guess = b - a
        row[:] = 0
        if b > a:
            usable &= _inside(time_us[a:b], power_mw[a:b], max_gap_us, row)
            if b < hi and time_us[b] - time_us[b - 1] <= max_gap_us:
                span = end - time_us[b - 1]
                row[_ENERGY] += (np.int64(power_mw[b]) + np.int64(power_mw[b - 1])) * span
                row[_COVERED] += span
        if a > lo and a < hi and time_us[a] - time_us[a - 1] <= max_gap_us:
            span = min(time_us[a], end) - begin
            row[_ENERGY] += (np.int64(power_mw[a]) + np.int64(power_mw[a - 1])) * span
            row[_COVERED] += span
        a = b
    return usable


@jit(parallel=True)
def _sweep_all(time_us, power_mw, offsets, gpu, first, last, place, window_us, max_gap_us, out, usable):
    """Sweep every task: windows ``first[j]:last[j]`` of GPU ``gpu[j]``, into the rows of ``out`` from ``place[j]``."""
    for j in prange(len(gpu)):
        lo = offsets[gpu[j]]
        hi = offsets[gpu[j] + 1]
        rows = out[place[j] : place[j] + last[j] - first[j]]
        usable[j] = sweep(time_us, power_mw, lo, hi, first[j], last[j], window_us, max_gap_us, rows)


def windows(
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    offsets: NDArray[np.int64],
    window_us: int,
    max_gap_us: int,
    *,
    device: str = "cpu",
) -> Windows:
    """Summarise each GPU's power window by window.

    Parameters
    ----------
    time_us, power_mw, offsets
        As for :func:`kernels.energy.integrate`.
    window_us : int, us
        Length; windows begin at its multiples.
    max_gap_us : int, us
    device : {"cpu", "cuda", "auto"}

    Returns
    -------
    Windows
        Its energies sum to what ``integrate`` gives before rounding.

    Raises
    ------
    ValueError
        As for ``integrate``, or if a window could hold more than an int64 of half-nanojoules (13 days at 2 kW).
    """
    check_columns(time_us, power_mw, offsets)
    if window_us <= 0 or max_gap_us < 0:
        raise ValueError(f"window_us must be positive and max_gap_us not negative, got {window_us} and {max_gap_us}")
    gap = np.int64(min(max_gap_us, _INT64_MAX))
    gpus = np.flatnonzero(np.diff(offsets))
    head, tail = time_us[offsets[gpus]], time_us[offsets[gpus + 1] - 1]
    if (tail < head).any():
        raise_backwards(time_us, offsets)
    begin, count = head // window_us, tail // window_us - head // window_us + 1
    bounds = np.zeros(len(offsets), np.int64)
    bounds[gpus + 1] = count
    np.cumsum(bounds, out=bounds)
    # Tasks: each GPU's windows in as many equal stretches as it has chunks of rows.
    on_cuda = choose(device, time_us, power_mw).device == "cuda"
    tasks = np.minimum(-(-np.diff(offsets)[gpus] // (CUDA_CHUNK if on_cuda else CHUNK)), count)
    of = np.repeat(np.arange(len(gpus)), tasks)
    turn = np.arange(len(of)) - np.repeat(np.cumsum(tasks) - tasks, tasks)
    first = begin[of] + count[of] * turn // tasks[of]
    last = begin[of] + count[of] * (turn + 1) // tasks[of]
    out = np.empty((bounds[-1], 6), np.int64)
    usable = np.empty(len(of), np.bool_)
    place = bounds[gpus[of]] + first - begin[of]
    if on_cuda:
        from wattshed.kernels.cuda import sweep_windows as run
    else:
        run = _sweep_all if len(time_us) >= PARALLEL_FROM else _sweep_all.serial
    with np.errstate(over="ignore"):  # checked below
        run(time_us, power_mw, offsets, gpus[of], first, last, place, np.int64(window_us), gap, out, usable)
    if not usable.all() or out[:, _COUNT].sum() != len(time_us):
        if (power_mw <= 0).any():
            return windows(*valid_rows(time_us, power_mw, offsets), window_us, max_gap_us, device=device)
        raise_backwards(time_us, offsets)
    if len(out) and 2 * int(out[:, _HIGH].max()) * window_us > _INT64_MAX:
        raise ValueError(f"a window of {window_us} us at {out[:, _HIGH].max()} mW overflows; take shorter windows")
    start = np.arange(bounds[-1]) - np.repeat(bounds[gpus], count) + np.repeat(begin, count)
    return Windows(bounds, start * window_us, *out.T)
