"""Eight bytes a sample: times as 32-bit ticks from a base per chunk, powers as 32-bit milliwatts.

A third less to read than an int64 and an int32, and narrow enough that two intervals fit one 64-bit word: the sum
works on both halves at once. A chunk spans less than 2**31 ticks, so that neither half borrows from the other, and no
sum over a chunk can overflow: 2 * 2**31 mW * 2**31 ticks < 2**64.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.kernels.arrays.trapezoid import (
    BACKWARDS,
    COVERED,
    FIRST_MW,
    FIRST_US,
    HI,
    LAST_MW,
    LAST_US,
    LO,
    PART,
    join_chunks,
)
from wattshed.kernels.columns import CHUNK, PARALLEL_FROM, check_columns, first_fall, need_host, raise_backwards
from wattshed.kernels.energy import new_state, read
from wattshed.kernels.int128 import MASK, WORD, add_product
from wattshed.kernels.jit import jit, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOW = np.uint64(MASK)
_HALF = np.uint64(WORD)
_SIGNS = np.uint64(1 << 63 | 1 << 31)
_ONES = np.uint64(1 << 32 | 1)
_MOST_TICKS = (1 << 31) - 1


class Packed(NamedTuple):
    """Samples of all GPUs in chunks. Every chunk begins at an even row; a row between chunks may be padding.

    Attributes
    ----------
    ticks : uint32[n], ticks after the base of the row's chunk
    power_mw : uint32[n], mW
        0 where there is no valid reading.
    first, last : int64[k]
        Chunk j is rows ``first[j]:last[j]``.
    base_us : int64[k], us
    owner : int64[g + 1]
        GPU i owns chunks ``owner[i]:owner[i + 1]``.
    tick_us : int, us
    """

    ticks: NDArray[np.uint32]
    power_mw: NDArray[np.uint32]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    base_us: NDArray[np.int64]
    owner: NDArray[np.int64]
    tick_us: int


@jit
def _count_chunks(time_us, offsets, span_us, size, owner, first, last):
    """Cut at every ``size`` rows and at every ``span_us``; fills ``first`` and ``last`` (source rows) if not empty.

    Returns the row at which time runs backwards, else -1.
    """
    k = 0
    for gpu in range(len(offsets) - 1):
        begin = offsets[gpu]
        for i in range(offsets[gpu], offsets[gpu + 1]):
            if i > offsets[gpu] and time_us[i] < time_us[i - 1]:
                return i
            if i - begin == size or not 0 <= time_us[i] - time_us[begin] <= span_us:
                if len(first):
                    first[k] = begin
                    last[k] = i
                k += 1
                begin = i
        if begin < offsets[gpu + 1]:
            if len(first):
                first[k] = begin
                last[k] = offsets[gpu + 1]
            k += 1
        owner[gpu + 1] = k
    return -1


@jit
def _fill(time_us, power_mw, source, first, last, base_us, tick_us, ticks, power):
    """Copy each chunk from ``source`` to its place."""
    for k in range(len(first)):
        base_us[k] = time_us[source[k]]
        for i in range(last[k] - first[k]):
            ticks[first[k] + i] = np.uint32((time_us[source[k] + i] - base_us[k]) // tick_us)
            power[first[k] + i] = np.uint32(max(np.int64(power_mw[source[k] + i]), np.int64(0)))


def pack(time_us: NDArray[np.int64], power_mw: NDArray[np.int32], offsets: NDArray[np.int64]) -> Packed:
    """Pack the columns of :func:`kernels.energy.integrate`, without loss.

    Parameters
    ----------
    time_us : int64[n], us
    power_mw : int32[n], mW
        Readings <= 0 become 0, which is not a reading.
    offsets : int64[g + 1]

    Returns
    -------
    Packed
        Its tick is the longest of 1 s, 1 ms and 1 us in which all times are whole.

    Raises
    ------
    ValueError
        As for ``integrate``.
    """
    need_host(time_us=time_us, power_mw=power_mw)
    check_columns(time_us, power_mw, offsets)
    tick_us = next(tick for tick in (1_000_000, 1_000, 1) if not (time_us % tick).any())
    owner = np.zeros(len(offsets), np.int64)
    none = np.empty(0, np.int64)
    span_us = _MOST_TICKS * tick_us
    with np.errstate(over="ignore"):
        if _count_chunks(time_us, offsets, span_us, CHUNK, owner, none, none) >= 0:
            raise_backwards(first_fall(time_us, offsets), offsets)
        source, end = np.empty((2, owner[-1]), np.int64)
        _count_chunks(time_us, offsets, span_us, CHUNK, owner, source, end)
    even = (end - source + 1) & -2
    first = np.cumsum(even) - even
    last = first + (end - source)
    rows = int(even.sum())
    packed = Packed(
        np.zeros(rows, np.uint32), np.zeros(rows, np.uint32), first, last, np.empty_like(first), owner, tick_us
    )
    _fill(time_us, power_mw, source, first, last, packed.base_us, tick_us, packed.ticks, packed.power_mw)
    return packed


@jit
def _sum_pairs(ticks, ticks_next, power, power_next, gap_pair):
    """Sum two intervals a word: row 2i to 2i + 1 in the low half, 2i + 1 to 2i + 2 in the high half.

    Returns the energy in mW ticks, and whether all intervals were within the gap and all readings valid: then bits 31
    and 63 of every difference below stay set.
    """
    low = np.uint64(0)
    high = np.uint64(0)
    valid = _SIGNS
    for i in range(len(ticks)):
        dt = ticks_next[i] - ticks[i]
        power_sum = power[i] + power_next[i]
        valid &= (gap_pair - dt) & ((power[i] | _SIGNS) - _ONES)
        low += (dt & _LOW) * (power_sum & _LOW)
        high += (dt >> _HALF) * (power_sum >> _HALF)
    return low + high, valid == _SIGNS


@jit
def _sum_careful(ticks, power, gap_ticks):
    """Sum that skips rows without a reading: (energy, covered, first valid row, last valid row), -1 for none."""
    energy = np.uint64(0)
    covered = np.int64(0)
    first = -1
    last = -1
    for i in range(len(ticks)):
        if power[i] == 0:
            continue
        if last < 0:
            first = i
        else:
            dt = np.int64(ticks[i]) - np.int64(ticks[last])
            if dt <= gap_ticks:
                covered += dt
                energy += np.uint64(dt) * (np.uint64(power[i]) + np.uint64(power[last]))
        last = i
    return energy, covered, first, last


@jit
def _sum_chunk(ticks, power, pairs, a, b, base_us, tick_us, gap_ticks, gap_pair, part):
    """Sum rows ``a:b`` of one chunk into ``part``."""
    ticks_pair, ticks_next, power_pair, power_next = pairs
    p = a // 2
    q = p + (b - a - 1) // 2
    energy, valid = _sum_pairs(ticks_pair[p:q], ticks_next[p:q], power_pair[p:q], power_next[p:q], gap_pair)
    first = np.int64(0)
    last = np.int64(b - a - 1)
    covered = np.int64(ticks[b - 1])
    tail = np.int64(0)  # with an even number of rows, the last interval is in no word
    if (b - a) % 2 == 0:
        tail = np.int64(ticks[b - 1]) - np.int64(ticks[b - 2])
        energy += np.uint64(tail) * (np.uint64(power[b - 1]) + np.uint64(power[b - 2]))
        valid = valid and power[b - 2] > 0
    if not valid or power[b - 1] == 0 or tail > gap_ticks:
        energy, covered, first, last = _sum_careful(ticks[a:b], power[a:b], gap_ticks)
    part[:] = 0
    if first < 0:
        return
    hi, lo = add_product(np.int64(0), np.int64(0), np.int64(energy & _LOW), tick_us)
    part[HI] = hi + np.int64(energy >> _HALF) * tick_us
    part[LO] = lo
    part[COVERED] = covered * tick_us
    part[FIRST_US] = base_us + np.int64(ticks[a + first]) * tick_us
    part[FIRST_MW] = np.int64(power[a + first])
    part[LAST_US] = base_us + np.int64(ticks[a + last]) * tick_us
    part[LAST_MW] = np.int64(power[a + last])


@jit(parallel=True)
def _sum_chunks(ticks, power, pairs, first, last, base_us, tick_us, gap_ticks, gap_pair, parts):
    """Sum every chunk into its part."""
    for k in prange(len(first)):
        _sum_chunk(ticks, power, pairs, first[k], last[k], base_us[k], tick_us, gap_ticks, gap_pair, parts[k])


def _in_pairs(column: NDArray[np.uint32]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """See a column as 64-bit words, from its first row and from its second."""
    return column.view(np.uint64), column[1:-1].view(np.uint64) if len(column) else column.view(np.uint64)


def extend(state: NDArray[np.int64], packed: Packed, max_gap_us: int) -> None:
    """Add packed samples to a state of :func:`kernels.energy.new_state`, in place.

    Parameters
    ----------
    state : int64[g, PART]
    packed : Packed
        What follows the rows that ``state`` has seen.
    max_gap_us : int, us
    """
    if max_gap_us < 0:
        raise ValueError(f"max_gap_us must not be negative, got {max_gap_us}")
    gap = np.int64(min(max_gap_us, np.iinfo(np.int64).max))
    ticks = min(int(gap) // packed.tick_us, _MOST_TICKS)
    pair = np.uint64((ticks | 1 << 31) << 32 | (ticks | 1 << 31))
    parts = np.empty((len(packed.first), PART), np.int64)
    pairs = (*_in_pairs(packed.ticks), *_in_pairs(packed.power_mw))
    run = _sum_chunks if len(packed.ticks) >= PARALLEL_FROM else _sum_chunks.serial
    run(
        packed.ticks, packed.power_mw, pairs, packed.first, packed.last, packed.base_us,
        np.int64(packed.tick_us), np.int64(ticks), pair, parts,
    )  # fmt: skip
    join_chunks(packed.owner, parts, gap, state)
    if state[:, BACKWARDS].any():
        raise ValueError("the packed samples begin before rows already added; add them in the order of time")


def integrate(packed: Packed, max_gap_us: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Energy and covered time of each GPU, the same integers as :func:`kernels.energy.integrate`."""
    state = new_state(len(packed.owner) - 1)
    extend(state, packed, max_gap_us)
    return read(state)
