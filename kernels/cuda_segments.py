"""The CUDA twin of energy between the edges of usage rows: a small block of threads for each chunk of samples.

All threads of a block follow the edges of the chunk together, as one thread of the CPU does; the rows between two
edges, which are nearly all the work, are summed by all of them, neighbours reading neighbouring rows.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: ANN202

from __future__ import annotations

from typing import Any

import numpy as np

from wattshed.kernels.arrays.segments import HIGHEST_MW
from wattshed.kernels.billing.crossing import along_the_line
from wattshed.kernels.columns import first_at
from wattshed.kernels.cuda_target import SIMULATED, cuda, launch
from wattshed.kernels.device_memory import put

_CREW = 4 if SIMULATED else 64
"""Threads of a chunk of 512 rows."""
_FOREVER = np.int64(2**63 - 1)
_FOUND = 4
_STATIC, _ENERGY, _LOW, _HIGH = range(_FOUND)


@cuda.jit(device=True)
def _sum_rows(time_us, power_mw, i, j, idle_pair_mw, max_gap_us, found):
    """Sum the intervals between rows ``i`` to ``j`` into the first column of ``found``, by the whole block."""
    me = cuda.threadIdx.x
    static = np.int64(0)
    energy = np.int64(0)
    low = np.int64(power_mw[i])
    high = low
    r = i + 1 + me
    while r <= j:
        dt = time_us[r] - time_us[r - 1]
        power = np.int64(power_mw[r])
        pair = power + np.int64(power_mw[r - 1])
        low = min(low, power if dt >= 0 else np.int64(-1))
        high = max(high, power)
        if dt <= max_gap_us:
            energy += pair * dt
            static += min(pair, idle_pair_mw) * dt
        r += _CREW
    cuda.syncthreads()  # what was found before is read
    found[_STATIC, me] = static
    found[_ENERGY, me] = energy
    found[_LOW, me] = low
    found[_HIGH, me] = high
    cuda.syncthreads()
    half = _CREW // 2
    while half > 0:
        if me < half:
            found[_STATIC, me] += found[_STATIC, me + half]
            found[_ENERGY, me] += found[_ENERGY, me + half]
            found[_LOW, me] = min(found[_LOW, me], found[_LOW, me + half])
            found[_HIGH, me] = max(found[_HIGH, me], found[_HIGH, me + half])
        cuda.syncthreads()
        half //= 2


@cuda.jit
def _sum_segments(time_us, power_mw, offsets, gpu, first, edges, rows, idle_mw, max_gap_us, out, span, bounds):
    """Sum one chunk a block, see `kernels.arrays.segments.sum_chunk`; scalars are the same in all its threads."""
    found = cuda.shared.array((_FOUND, _CREW), np.int64)
    writes = cuda.threadIdx.x == 0
    k = cuda.blockIdx.x
    g = gpu[k]
    i = first[k]
    stop = min(first[k + 1], offsets[g + 1] - 1)
    edge = 2 * rows[g]
    last_edge = 2 * rows[g + 1]
    idle_pair = np.int64(2) * min(max(idle_mw[g], np.int64(0)), np.int64(HIGHEST_MW))
    edge = first_at(edges, edge, last_edge, time_us[i] + 1, edge)
    at = edge + g
    rate = (stop - i) / max(time_us[stop] - time_us[i], np.int64(1))
    low = np.int64(power_mw[i])
    high = low
    cursor = time_us[i]
    row = np.int64(0)
    rest = np.int64(0)  # of the interval that an edge has cut, after the cursor; and the power at the cursor
    power = np.int64(0)
    more = True
    while more:
        end = edges[edge + row] if edge + row < last_edge else _FOREVER
        static = np.int64(0)
        energy = np.int64(0)
        if cursor > time_us[i]:  # inside an interval that an edge has cut
            length = min(time_us[i + 1], end) - cursor
            amount = rest
            if end < time_us[i + 1]:
                amount, power = along_the_line(rest, power, np.int64(power_mw[i + 1]), length, time_us[i + 1] - cursor)
            rest -= amount
            energy += amount
            static += min(amount, idle_pair * length)
            cursor += length
            if cursor == time_us[i + 1]:
                i += 1
        if cursor == time_us[i]:
            j = stop
            if time_us[stop] > end:
                j = first_at(time_us, i, stop + 1, end + 1, i + np.int64((end - cursor) * rate) + 1) - 1
            _sum_rows(time_us, power_mw, i, j, idle_pair, max_gap_us, found)
            static += found[_STATIC, 0]
            energy += found[_ENERGY, 0]
            low = min(low, found[_LOW, 0])
            high = max(high, found[_HIGH, 0])
            i = j
            cursor = time_us[i]
            if j < stop and end > cursor:
                dt = time_us[j + 1] - cursor
                power = np.int64(power_mw[j])
                after = np.int64(power_mw[j + 1])
                rest = (power + after) * dt if dt <= max_gap_us else np.int64(0)
                amount, power = along_the_line(rest, power, after, end - cursor, dt)
                rest -= amount
                energy += amount
                static += min(amount, idle_pair * (end - cursor))
                cursor = end
        if writes:
            out[at + k + row, 0] = static
            out[at + k + row, 1] = energy - static
        more = i != stop
        if more:
            row += 1
    if writes:
        span[k, 0] = at
        span[k, 1] = at + row
        bounds[k, 0] = low
        bounds[k, 1] = high


def sum_segments(time_us: Any, power_mw: Any, *rest: Any) -> None:
    """Sum every chunk into its segments: the twin of the CPU's in :mod:`kernels.arrays.segments`, with its arguments.

    Parameters
    ----------
    time_us, power_mw : on the device
    *rest
        ``offsets, gpu, first, edges, rows, idle_mw, max_gap_us`` and, to be filled, ``out``, ``span`` and ``bounds``.
    """
    *given, max_gap_us, out, span, bounds = rest
    if not len(span):
        return
    device = [cuda.to_device(array) for array in (out, span, bounds)]
    launch(_sum_segments, len(span), _CREW, time_us, power_mw, *map(put, given), max_gap_us, *device)
    for array, filled in zip((out, span, bounds), device, strict=True):
        array[:] = filled.copy_to_host()
