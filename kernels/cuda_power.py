"""Power readings on a CUDA device: sums of blocks, and weights of readings, for `kernels.power_on_card`.

A block of threads takes a block of rows. Neighbouring threads read neighbouring rows into shared memory; then each
walks a few rows of its own there, and what it found is joined in the order of time, so that runs of equal readings are
found as a walk through all rows would.
"""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import numpy as np

from wattshed.kernels.billing.block_sums import (
    ENERGY,
    FELL,
    FIELDS,
    HIGH,
    INNER,
    LEAD,
    LONGEST,
    LOW,
    PEAK,
    SINCE,
    STATIC,
)
from wattshed.kernels.cuda_target import SIMULATED, THREADS, cuda

ROWS_A_THREAD = 3 if SIMULATED else 9
"""An odd number: threads that walk so many rows each read from different banks of shared memory."""
BLOCK_ROWS = THREADS * ROWS_A_THREAD
_NONE = 1 << 62


@cuda.jit(device=True)
def _walk_rows(times, powers, first, last, twice_idle, found, me):
    """Sum the intervals that end at rows ``first:last``, into column ``me`` of ``found``."""
    energy = np.int64(0)
    static = np.int64(0)
    low = np.int64(_NONE)
    high = np.int64(0)
    longest = np.int64(0)
    lead = np.int64(-1)
    since = np.int64(-1)
    inner = np.int64(-1)
    peak = np.int64(0)
    for i in range(first, last):
        now = times[i]
        power = np.int64(powers[i])
        low = min(low, power)
        high = max(high, power)
        if i > 0:
            before = np.int64(powers[i - 1])
            apart = now - times[i - 1]
            longest = max(longest, apart if apart >= 0 else np.int64(FELL))
            energy += (before + power) * apart
            static += min(before + power, twice_idle) * apart
            if apart > 0:
                peak = max(peak, (before + power) // 2)
            if power != before:
                since = now
            elif since < 0:
                lead = now
            else:
                inner = max(inner, now - since)
    found[ENERGY, me] = energy
    found[STATIC, me] = static
    found[LOW, me] = low
    found[HIGH, me] = high
    found[LONGEST, me] = longest
    found[LEAD, me] = lead
    found[SINCE, me] = since
    found[INNER, me] = inner
    found[PEAK, me] = peak


@cuda.jit(device=True)
def _join(found, me, other):
    """Add to column ``me`` what follows it in time, which is in column ``other``."""
    found[ENERGY, me] += found[ENERGY, other]
    found[STATIC, me] += found[STATIC, other]
    found[LOW, me] = min(found[LOW, me], found[LOW, other])
    found[HIGH, me] = max(found[HIGH, me], found[HIGH, other])
    found[LONGEST, me] = max(found[LONGEST, me], found[LONGEST, other])
    found[PEAK, me] = max(found[PEAK, me], found[PEAK, other])
    inner = max(found[INNER, me], found[INNER, other])
    lead = found[LEAD, other]
    if lead >= 0:
        if found[SINCE, me] < 0:
            found[LEAD, me] = lead
        else:
            inner = max(inner, lead - found[SINCE, me])
    found[INNER, me] = inner
    if found[SINCE, other] >= 0:
        found[SINCE, me] = found[SINCE, other]


@cuda.jit
def sum_blocks(time_us, power_mw, begin, end, twice_idle, sums):
    """Sum block after block of rows ``begin[k]:end[k]`` of one GPU each, see `kernels.billing.block_sums`."""
    times = cuda.shared.array(BLOCK_ROWS, np.int64)
    powers = cuda.shared.array(BLOCK_ROWS, np.int32)
    found = cuda.shared.array((FIELDS, THREADS), np.int64)
    k = cuda.blockIdx.x
    me = cuda.threadIdx.x
    rows = end[k] - begin[k]
    i = np.int64(me)
    while i < rows:
        times[i] = time_us[begin[k] + i]
        powers[i] = power_mw[begin[k] + i]
        i += THREADS
    cuda.syncthreads()
    first = min(me * ROWS_A_THREAD, rows)
    last = min(first + ROWS_A_THREAD, rows)
    _walk_rows(times, powers, first, last, twice_idle[k], found, me)
    cuda.syncthreads()
    step = 1
    while step < THREADS:
        if me % (2 * step) == 0:
            _join(found, me, me + step)
        cuda.syncthreads()
        step *= 2
    field = me
    while field < FIELDS:
        sums[k, field] = found[field, 0]
        field += THREADS


@cuda.jit
def pour_blocks(time_us, power_mw, begin, end, shift, bins):
    """Add the weights of readings to bins: that of a reading of x mW in block k to ``bins[x + shift[k]]``.

    A block's first reading gets its interval after it alone, its last reading nothing.
    """
    k = cuda.blockIdx.x
    i = begin[k] + 1 + cuda.threadIdx.x
    while i < end[k]:
        apart = time_us[i] - time_us[i - 1]
        cuda.atomic.add(bins, shift[k] + power_mw[i - 1], apart)
        if i + 1 < end[k]:
            cuda.atomic.add(bins, shift[k] + power_mw[i], apart)
        i += THREADS
