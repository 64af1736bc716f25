"""Sums of trapezoids, part by part: what `kernels.energy` and its CUDA twin are made of."""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import numpy as np

from wattshed.kernels.arrays.squeeze import squeeze
from wattshed.kernels.entry import b1, i32, i64, kernel, written
from wattshed.kernels.int128 import MASK, WORD, add_product, to_microjoules
from wattshed.kernels.jit import jit

# Columns of a part: int64[PART]. FIRST_MW and LAST_MW are 0 where there is no valid reading.
HI, LO, COVERED, FIRST_US, FIRST_MW, LAST_US, LAST_MW, BACKWARDS = range(8)
PART = 8

_SAFE = 1 << 62
_SHORT_US = 1 << 31
"""Shorter intervals times any two int32 powers fit an int64."""


@jit
def _sum_whole(time_us, power_mw):
    """Sum as if every reading were valid and every interval short; the compiler makes this pass vector code.

    Returns (energy, least and longest interval, least and greatest reading); the last four show whether it can be
    trusted.
    """
    energy = np.uint64(0)
    shortest = np.int64(0)
    longest = np.int64(0)
    low = power_mw[0]
    high = power_mw[0]
    for i in range(1, len(time_us)):
        dt = time_us[i] - time_us[i - 1]
        power = power_mw[i]
        shortest = min(shortest, dt)
        longest = max(longest, dt)
        low = min(low, power)
        high = max(high, power)
        # 32 by 32 bits is one cheap instruction, 64 by 64 is not; both factors fit when the checks hold.
        energy += np.uint64(np.uint32(dt)) * np.uint64(np.uint32(power + power_mw[i - 1]))
    return np.int64(energy), shortest, longest, np.int64(low), np.int64(high)


@jit
def _sum_bridged(time_us, power_mw, longest_us):
    """Sum as if every reading were valid, but leave out intervals beyond ``longest_us``: (energy, time covered)."""
    energy = np.uint64(0)
    covered = np.int64(0)
    for i in range(1, len(time_us)):
        dt = time_us[i] - time_us[i - 1]
        span = dt if dt <= longest_us else np.int64(0)
        covered += span
        energy += np.uint64(np.uint32(span)) * np.uint64(np.uint32(power_mw[i] + power_mw[i - 1]))
    return np.int64(energy), covered


@jit
def _sum_careful(time_us, power_mw, max_gap_us, part):
    """Sum into ``part``, skipping readings <= 0, in two words that cannot overflow."""
    part[:] = 0
    last_us = np.int64(0)
    last_mw = np.int64(0)
    covered = np.int64(0)
    hi = np.int64(0)
    lo = np.int64(0)  # may hold more than a word until the end: a chunk has fewer than 2**31 rows
    for i in range(len(time_us)):
        now = time_us[i]
        if i > 0 and now < time_us[i - 1]:
            part[BACKWARDS] = 1
        power = np.int64(power_mw[i])
        if power <= 0:
            continue
        if last_mw == 0:
            part[FIRST_US] = now
            part[FIRST_MW] = power
        else:
            dt = now - last_us
            if 0 <= dt <= max_gap_us:
                covered += dt
                if dt < _SHORT_US:
                    product = (power + last_mw) * dt
                    hi += product >> WORD
                    lo += product & MASK
                else:
                    hi, lo = add_product(hi, lo, power + last_mw, dt)
        last_us = now
        last_mw = power
    part[HI] = hi + (lo >> WORD)
    part[LO] = lo & MASK
    part[COVERED] = covered
    part[LAST_US] = last_us
    part[LAST_MW] = last_mw


@jit
def _sum_quickly(time_us, power_mw, max_gap_us, part):
    """Sum rows that should all be readings into ``part``: 1, or 0 if it cannot be so, or -1 if only readings lack."""
    energy, shortest, longest, low, high = _sum_whole(time_us, power_mw)
    if shortest < 0:
        return 0
    if low <= 0:
        return -1
    n = len(time_us)
    covered = time_us[n - 1] - time_us[0]
    if longest > max_gap_us and max_gap_us <= MASK:
        energy, covered = _sum_bridged(time_us, power_mw, max_gap_us)
    elif longest > min(max_gap_us, MASK):
        return 0
    # Every partial sum is at most 2 * high * covered.
    if covered < 0 or covered > _SAFE // (2 * high):
        return 0
    part[HI] = energy >> WORD
    part[LO] = energy & MASK
    part[COVERED] = covered
    part[FIRST_US] = time_us[0]
    part[FIRST_MW] = power_mw[0]
    part[LAST_US] = time_us[n - 1]
    part[LAST_MW] = power_mw[n - 1]
    part[BACKWARDS] = 0
    return 1


@jit
def _sum_chunk(time_us, power_mw, max_gap_us, part, spare_us, spare_mw):
    """Sum the rows of one chunk into ``part``; rows that are no readings are squeezed out first."""
    done = _sum_quickly(time_us, power_mw, max_gap_us, part)
    if done < 0:
        n = squeeze(time_us, power_mw, spare_us, spare_mw)
        done = 0
        if n > 0:
            done = _sum_quickly(spare_us[:n], spare_mw[:n], max_gap_us, part)
    if done == 0:
        _sum_careful(time_us, power_mw, max_gap_us, part)


@jit
def join(left, right, max_gap_us):
    """Append the part ``right`` to the part ``left``, in place, with the interval between them.

    Parameters
    ----------
    left, right : int64[PART]
    max_gap_us : int64, us
    """
    left[BACKWARDS] |= right[BACKWARDS]
    if right[FIRST_MW] == 0:
        return
    hi = left[HI] + right[HI]
    lo = left[LO] + right[LO]
    hi += lo >> WORD
    lo &= MASK
    left[COVERED] += right[COVERED]
    if left[FIRST_MW] == 0:
        left[FIRST_US] = right[FIRST_US]
        left[FIRST_MW] = right[FIRST_MW]
    else:
        dt = right[FIRST_US] - left[LAST_US]
        if right[FIRST_US] < left[LAST_US]:
            left[BACKWARDS] = 1
        elif 0 <= dt <= max_gap_us:  # further apart than an int64 looks negative
            left[COVERED] += dt
            hi, lo = add_product(hi, lo, left[LAST_MW] + right[FIRST_MW], dt)
    left[HI] = hi
    left[LO] = lo
    left[LAST_US] = right[LAST_US]
    left[LAST_MW] = right[LAST_MW]


@kernel(i64[:], i64[:, :], i64, written(i64[:, :]))
def join_chunks(owner, parts, max_gap_us, state):
    """Append each GPU's parts to its row of ``state``.

    Parameters
    ----------
    owner : int64[g + 1]
        GPU i owns parts ``owner[i]:owner[i + 1]``.
    parts : int64[k, PART]
    max_gap_us : int64, us
    state : int64[g, PART]
    """
    for gpu in range(len(owner) - 1):
        for k in range(owner[gpu], owner[gpu + 1]):
            join(state[gpu], parts[k], max_gap_us)


@kernel(i64[:], i32[:], i64[:], i64, written(i64[:, :]), written(i64[:, :]), written(i32[:, :]), i64, i64)
def sum_chunks(time_us, power_mw, rows, max_gap_us, parts, spare_us, spare_mw, first, last):
    """Sum chunk j, rows ``rows[j]:rows[j + 1]``, into ``parts[j]``, in lanes ``first:last``.

    A lane takes every so-manieth chunk, and has a row of ``spare_us`` and ``spare_mw`` to squeeze it into: room for the
    longest.
    """
    lanes = len(spare_us)
    for lane in range(first, last):
        for k in range(lane, len(rows) - 1, lanes):
            a = rows[k]
            b = rows[k + 1]
            _sum_chunk(time_us[a:b], power_mw[a:b], max_gap_us, parts[k], spare_us[lane], spare_mw[lane])


@kernel(i64[:], i64[:], i64[:], returns=b1)
def falls_between_chunks(time_us, owner, rows):
    """Return whether a chunk begins before the row above it, which neither of the two chunks sees."""
    for gpu in range(len(owner) - 1):
        for k in range(owner[gpu] + 1, owner[gpu + 1]):
            if time_us[rows[k]] < time_us[rows[k] - 1]:
                return True
    return False


@kernel(i64[:, :], written(i64[:]))
def round_parts(state, energy_uj):
    """Round the energy of each part into ``energy_uj``."""
    for gpu in range(len(state)):
        energy_uj[gpu] = to_microjoules(state[gpu, HI], state[gpu, LO])
