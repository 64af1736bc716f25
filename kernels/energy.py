"""Energy of each GPU from its power readings: the exact trapezoid sum.

A trapezoid of whole milliwatts over whole microseconds is (p0 + p1) * dt half-nanojoules, a whole number: no rounding,
so no order of summation, number of threads or device can change the result. An int64 of these holds a GPU at 2 kW for
26 days; a chunk is summed in one int64 where its span and peak show that it fits, else term by term in two words, and
chunks are always combined in two words.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN001, ANN201, ANN202, PLR0917

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.jit import jit, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 65_536
"""Samples in a chunk: the unit of parallel work and of a CUDA block."""

HNJ_PER_MICROJOULE = 2_000
PARALLEL_FROM = 4 * CHUNK
"""Fewer samples than this are summed on the caller's thread: waking the pool would cost more."""

_WORD = 32
_MASK = (1 << _WORD) - 1
_LIMB = 30
_LIMB_MASK = (1 << _LIMB) - 1
_SAFE = 1 << 62


@jit
def _sum_clean(time_us, power_mw, max_gap_us):
    """Sum as if every reading were valid, in one pass that the compiler turns into vector code.

    Returns (energy, covered, least interval, least and greatest reading); the last three tell whether to believe it.
    """
    energy = np.int64(0)
    covered = np.int64(0)
    least_dt = np.int64(0)
    low = np.int64(power_mw[0])
    high = np.int64(power_mw[0])
    for i in range(1, len(time_us)):
        dt = time_us[i] - time_us[i - 1]
        power = np.int64(power_mw[i])
        least_dt = min(least_dt, dt)
        low = min(low, power)
        high = max(high, power)
        held = dt if dt <= max_gap_us else np.int64(0)
        covered += held
        energy += (power + np.int64(power_mw[i - 1])) * held
    return energy, covered, least_dt, low, high


@jit
def add_trapezoid(hi, lo, power_sum_mw, dt_us):
    """``hi * 2**32 + lo`` plus ``power_sum_mw * dt_us``, exact for any int32 powers and any interval.

    Parameters
    ----------
    hi, lo : int64
        An energy in two words, 0 <= lo < 2**32, half-nanojoules.
    power_sum_mw : int64, mW
        p0 + p1, from 0 to 2**32 - 2.
    dt_us : int64, us
        From 0 to 2**63 - 1.

    Returns
    -------
    (int64, int64)
    """
    low = power_sum_mw * (dt_us & _LIMB_MASK)
    middle = power_sum_mw * ((dt_us >> _LIMB) & _LIMB_MASK)
    high = power_sum_mw * (dt_us >> (2 * _LIMB))
    # low + middle * 2**30 + high * 2**60, cut at 2**32
    lo = lo + (low & _MASK) + ((middle & 3) << _LIMB)
    hi = hi + (low >> _WORD) + (middle >> 2) + (high << 28) + (lo >> _WORD)
    return hi, lo & _MASK


@jit
def _sum_careful(time_us, power_mw, max_gap_us):
    """Sum that skips readings <= 0 and cannot overflow: (hi, lo, covered, first valid row, last valid row)."""
    hi = np.int64(0)
    lo = np.int64(0)
    covered = np.int64(0)
    first = -1
    last = -1
    for i in range(len(time_us)):
        power = np.int64(power_mw[i])
        if power <= 0:
            continue
        if last < 0:
            first = i
        else:
            dt = time_us[i] - time_us[last]
            if 0 <= dt <= max_gap_us:
                covered += dt
                hi, lo = add_trapezoid(hi, lo, power + np.int64(power_mw[last]), dt)
        last = i
    return hi, lo, covered, first, last


@jit
def _sum_chunk(time_us, power_mw, max_gap_us):
    """One chunk: (hi, lo, covered, first valid row, last valid row, whether time ran backwards)."""
    energy, covered, least_dt, low, high = _sum_clean(time_us, power_mw, max_gap_us)
    # covered bounds the sum of all intervals that were used, so 2 * high * covered bounds every partial sum
    if least_dt >= 0 and low > 0 and covered <= _SAFE // (2 * high):
        return energy >> _WORD, energy & _MASK, covered, 0, len(time_us) - 1, False
    hi, lo, covered, first, last = _sum_careful(time_us, power_mw, max_gap_us)
    return hi, lo, covered, first, last, least_dt < 0


@jit
def cut_into_chunks(offsets, size):
    """Cut each GPU's rows at every ``size``: (int64[g + 1] first chunk of each GPU, int64[k + 1] first row of each)."""
    gpus = len(offsets) - 1
    owner = np.empty(gpus + 1, np.int64)
    owner[0] = 0
    for gpu in range(gpus):
        owner[gpu + 1] = owner[gpu] + (offsets[gpu + 1] - offsets[gpu] + size - 1) // size
    rows = np.empty(owner[gpus] + 1, np.int64)
    rows[owner[gpus]] = offsets[gpus]
    for gpu in range(gpus):
        for k in range(owner[gpu], owner[gpu + 1]):
            rows[k] = offsets[gpu] + (k - owner[gpu]) * size
    return owner, rows


@jit(parallel=True)
def _sum_chunks(time_us, power_mw, rows, max_gap_us, out):
    """Sum every chunk into its row of ``out``: int64[k, 6] as :func:`_sum_chunk` returns, rows absolute."""
    for k in prange(len(rows) - 1):
        a = rows[k]
        b = rows[k + 1]
        hi, lo, covered, first, last, backwards = _sum_chunk(time_us[a:b], power_mw[a:b], max_gap_us)
        out[k, 0] = hi
        out[k, 1] = lo
        out[k, 2] = covered
        out[k, 3] = a + first if first >= 0 else -1
        out[k, 4] = a + last if last >= 0 else -1
        out[k, 5] = backwards


@jit
def round_to_microjoules(hi, lo):
    """``(hi * 2**32 + lo)`` half-nanojoules (0 <= lo < 2**32) in microjoules, half to even; -1 beyond int64."""
    quotient = hi // HNJ_PER_MICROJOULE
    rest = ((hi - quotient * HNJ_PER_MICROJOULE) << _WORD) + lo
    if quotient >= 1 << 30:
        return np.int64(-1)
    whole = (quotient << _WORD) + rest // HNJ_PER_MICROJOULE
    remainder = rest % HNJ_PER_MICROJOULE
    half = HNJ_PER_MICROJOULE // 2
    if remainder > half or (remainder == half and whole & 1):
        whole += 1
    return whole


@jit
def _combine(time_us, power_mw, owner, parts, max_gap_us, energy_uj, covered_us):
    """Join each GPU's chunks, and the intervals between them, into ``energy_uj`` and ``covered_us``.

    Returns the first chunk in or before which time ran backwards, else -1.
    """
    for gpu in range(len(owner) - 1):
        hi = np.int64(0)
        lo = np.int64(0)
        covered = np.int64(0)
        last = -1
        for k in range(owner[gpu], owner[gpu + 1]):
            if parts[k, 5]:
                return k
            hi += parts[k, 0]
            lo += parts[k, 1]
            covered += parts[k, 2]
            first = parts[k, 3]
            if first >= 0:
                if last >= 0:
                    dt = time_us[first] - time_us[last]
                    if dt < 0:
                        return k
                    if dt <= max_gap_us:
                        covered += dt
                        power_sum = np.int64(power_mw[first]) + np.int64(power_mw[last])
                        hi, lo = add_trapezoid(hi, lo, power_sum, dt)
                last = parts[k, 4]
            hi += lo >> _WORD
            lo &= _MASK
        energy_uj[gpu] = round_to_microjoules(hi, lo)
        covered_us[gpu] = covered
    return -1


def check_columns(
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    offsets: NDArray[np.int64],
) -> None:
    """Raise ValueError, naming the array and what to do, unless the columns are GPU-major rows as described.

    Parameters
    ----------
    time_us : int64[n], us
    power_mw : int32[n], mW
    offsets : int64[g + 1]
        From 0 to n, never falling.
    """
    for name, array, dtype in (
        ("time_us", time_us, np.int64),
        ("power_mw", power_mw, np.int32),
        ("offsets", offsets, np.int64),
    ):
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype != dtype:
            raise ValueError(f"{name} must be a one-dimensional {np.dtype(dtype).name} array; convert it with astype")
    if len(time_us) != len(power_mw):
        raise ValueError(f"time_us has {len(time_us)} rows and power_mw {len(power_mw)}; they must have the same")
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(time_us) or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets must rise from 0 to the number of rows ({len(time_us)}) and never fall")


def _raise_backwards(time_us: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
    """Raise ValueError for the first row whose time is before the row above it (or too far after it for int64)."""
    for gpu in range(len(offsets) - 1):
        own = time_us[offsets[gpu] : offsets[gpu + 1]]
        if (bad := np.flatnonzero(own[1:] < own[:-1])).size:
            row = int(offsets[gpu] + bad[0] + 1)
            raise ValueError(
                f"time_us must ascend within a GPU: row {row} of GPU {gpu} is before the row above; sort it"
            )
    raise ValueError("time_us spans more than an int64 of microseconds within a GPU; check its unit")


def integrate(
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    offsets: NDArray[np.int64],
    max_gap_us: int,
    *,
    device: str = "cpu",
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Energy of each GPU: the trapezoid of power between valid readings no more than ``max_gap_us`` apart.

    Parameters
    ----------
    time_us : int64[n], us
        Ascending within a GPU; equal times add nothing.
    power_mw : int32[n], mW
        A reading <= 0 is no reading: it is skipped, and its neighbours are joined if they are close enough.
    offsets : int64[g + 1]
        GPU i owns rows ``offsets[i]:offsets[i + 1]``.
    max_gap_us : int, us
        Longer intervals are holes: not bridged, not covered.
    device : {"cpu"}
        Where to run; the integers are the same everywhere.

    Returns
    -------
    energy_uj : int64[g], uJ
        The exact sum, rounded half to even once.
    covered_us : int64[g], us
        The time that was integrated over.

    Raises
    ------
    ValueError
        If an array has another type or shape, offsets fall, or time runs backwards within a GPU.
    OverflowError
        If a GPU used more than 2**62 uJ (146 kW for a million years).
    """
    check_columns(time_us, power_mw, offsets)
    if max_gap_us < 0:
        raise ValueError(f"max_gap_us must not be negative, got {max_gap_us}")
    if device != "cpu":
        raise ValueError(f'device must be "cpu", got {device!r}')
    gap = np.int64(min(max_gap_us, np.iinfo(np.int64).max))
    energy_uj = np.zeros(len(offsets) - 1, np.int64)
    covered_us = np.zeros(len(offsets) - 1, np.int64)
    with np.errstate(over="ignore"):  # a sum that wrapped is found by its bound and done again
        owner, rows = cut_into_chunks(offsets, CHUNK)
        parts = np.empty((len(rows) - 1, 6), np.int64)
        run = _sum_chunks if len(time_us) >= PARALLEL_FROM else _sum_chunks.serial
        run(time_us, power_mw, rows, gap, parts)
        if _combine(time_us, power_mw, owner, parts, gap, energy_uj, covered_us) >= 0:
            _raise_backwards(time_us, offsets)
    if (energy_uj < 0).any():
        raise OverflowError(f"the energy of GPU {int(np.argmax(energy_uj < 0))} is beyond 2**62 uJ; check the units")
    return energy_uj, covered_us
