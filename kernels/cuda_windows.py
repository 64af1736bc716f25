"""The CUDA twin of windows: a team of threads for each window, whose neighbours read neighbouring rows.

First the row at which each window begins is found, once: so every row is in one window, and what is between it and the
row above is looked at by one thread, whatever the times are. Then each team sums its window's rows.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: ANN202

from __future__ import annotations

from typing import Any

import numpy as np

from wattshed.kernels.arrays.sweep import COUNT, COVERED, ENERGY, HIGH, LOW, SUM
from wattshed.kernels.columns import first_at
from wattshed.kernels.cuda_target import SIMULATED, THREADS, cuda, each, launch
from wattshed.kernels.device_memory import put

_TEAM = 4 if SIMULATED else 32
"""Threads of a window: one at 1 Hz that is a minute long gives each of them two rows."""
_NONE = 1 << 62


@cuda.jit(device=True)
def _owner(place, window):
    """Find the GPU whose windows, from ``place`` on, hold this one."""
    low = 0
    high = place.shape[0]
    while high - low > 1:
        middle = (low + high) // 2
        if place[middle] <= window:
            low = middle
        else:
            high = middle
    return low


@cuda.jit
def _find_begins(time_us, lows, highs, first, place, window_us, begins):
    """Find the first row of each window, looked for where it would be at a steady rate."""
    v = cuda.grid(1)
    if v < begins.shape[0]:
        g = _owner(place, v)
        lo = lows[g]
        hi = highs[g]
        begins[v] = lo
        if v > place[g]:
            edge = (first[g] + v - place[g]) * window_us
            rate = (hi - lo) / max(time_us[hi - 1] - time_us[lo], np.int64(1))
            begins[v] = first_at(time_us, lo, hi, edge, lo + np.int64((edge - time_us[lo]) * rate))


@cuda.jit
def _sum_windows(time_us, power_mw, lows, highs, first, place, window_us, max_gap_us, begins, out, broken):
    """Sum every window by its team; ``broken[g]`` is set where a row of the GPU is no reading, or time falls."""
    low_of = cuda.shared.array(THREADS, np.int64)
    high_of = cuda.shared.array(THREADS, np.int64)
    sum_of = cuda.shared.array(THREADS, np.int64)
    energy_of = cuda.shared.array(THREADS, np.int64)
    covered_of = cuda.shared.array(THREADS, np.int64)
    me = cuda.threadIdx.x
    mate = me % _TEAM
    v = cuda.grid(1) // _TEAM
    low = np.int64(_NONE)
    high = np.int64(-_NONE)
    total = np.int64(0)
    energy = np.int64(0)
    covered = np.int64(0)
    a = np.int64(0)
    b = np.int64(0)
    if v < begins.shape[0]:
        g = _owner(place, v)
        lo = lows[g]
        hi = highs[g]
        begin = (first[g] + v - place[g]) * window_us
        end = begin + window_us
        a = begins[v]
        last = v + 1 == begins.shape[0] or (g + 1 < place.shape[0] and v + 1 == place[g + 1])
        b = hi if last else begins[v + 1]
        if b < a:
            broken[g] = 1
        i = a + mate
        while i < b:
            power = np.int64(power_mw[i])
            low = min(low, power)
            high = max(high, power)
            total += power
            if i > lo:
                dt = time_us[i] - time_us[i - 1]
                if dt < 0:
                    broken[g] = 1
                elif i > a and dt <= max_gap_us:
                    energy += (power + np.int64(power_mw[i - 1])) * dt
                    covered += dt
            i += _TEAM
        if low <= 0:
            broken[g] = 1
        if mate == 0 and lo < a < hi and time_us[a] - time_us[a - 1] <= max_gap_us:
            span = min(time_us[a], end) - begin
            energy += (np.int64(power_mw[a]) + np.int64(power_mw[a - 1])) * span
            covered += span
        if mate == 0 and a < b < hi and time_us[b] - time_us[b - 1] <= max_gap_us:
            span = end - time_us[b - 1]
            energy += (np.int64(power_mw[b]) + np.int64(power_mw[b - 1])) * span
            covered += span
    low_of[me] = low
    high_of[me] = high
    sum_of[me] = total
    energy_of[me] = energy
    covered_of[me] = covered
    cuda.syncthreads()
    half = _TEAM // 2
    while half > 0:
        if mate < half:
            low_of[me] = min(low_of[me], low_of[me + half])
            high_of[me] = max(high_of[me], high_of[me + half])
            sum_of[me] += sum_of[me + half]
            energy_of[me] += energy_of[me + half]
            covered_of[me] += covered_of[me + half]
        cuda.syncthreads()
        half //= 2
    if mate == 0 and v < begins.shape[0]:
        out[v, COUNT] = b - a
        out[v, LOW] = low_of[me] if b > a else 0
        out[v, HIGH] = high_of[me] if b > a else 0
        out[v, SUM] = sum_of[me]
        out[v, ENERGY] = energy_of[me]
        out[v, COVERED] = covered_of[me]


def sweep_windows(time_us: Any, power_mw: Any, *rest: Any) -> None:
    """Sum every window: the twin of the CPU's in :mod:`kernels.arrays.sweep`, with its arguments.

    Parameters
    ----------
    time_us, power_mw : on the device
    *rest
        ``offsets, gpu, first, last, place, window_us, max_gap_us`` and, to be filled, ``out`` and ``usable``.
    """
    offsets, gpu, first, _, place, window_us, max_gap_us, out, usable = rest
    if not len(usable):
        return
    own = np.flatnonzero(np.diff(gpu, prepend=-1))  # the tasks of a GPU follow each other, and are one here
    given = [put(column) for column in (offsets[gpu[own]], offsets[gpu[own] + 1], first[own], place[own])]
    begins, sums = cuda.device_array(len(out), np.int64), cuda.device_array(out.shape, np.int64)
    broken = cuda.to_device(np.zeros(len(own), np.int32))
    each(_find_begins, len(out), time_us, *given, window_us, begins)
    teams = THREADS // _TEAM
    launch(
        _sum_windows, -(-len(out) // teams), THREADS,
        time_us, power_mw, *given, window_us, max_gap_us, begins, sums, broken,
    )  # fmt: skip
    out[:] = sums.copy_to_host()
    usable[:] = np.repeat(broken.copy_to_host() == 0, np.diff(own, append=len(gpu)))
