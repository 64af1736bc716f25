"""Exact sums beyond int64: an energy in two words, hi * 2**32 + lo half-nanojoules, 0 <= lo < 2**32.

One int64 of half-nanojoules is full after a month at 2 kW; two words last longer than the hardware.
"""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201

from __future__ import annotations

import numpy as np

from wattshed.kernels.jit import jit

HNJ_PER_MICROJOULE = 2_000
WORD = 32
MASK = (1 << WORD) - 1
_LIMB = 30
_MOST = (1 << 63) - 1
_LIMB_MASK = (1 << _LIMB) - 1


@jit
def add_product(hi, lo, factor, dt_us):
    """Add ``factor * dt_us`` to two words, exact for any int32 powers and any interval.

    Parameters
    ----------
    hi, lo : int64
    factor : int64
        p0 + p1 in mW, or a number of ticks; from 0 to 2**32 - 1.
    dt_us : int64, us
        From 0 to 2**63 - 1.

    Returns
    -------
    (int64, int64)
    """
    low = factor * (dt_us & _LIMB_MASK)
    middle = factor * ((dt_us >> _LIMB) & _LIMB_MASK)
    high = factor * (dt_us >> (2 * _LIMB))
    # low + middle * 2**30 + high * 2**60, cut at 2**32
    lo = lo + (low & MASK) + ((middle & 3) << _LIMB)
    hi = hi + (low >> WORD) + (middle >> 2) + (high << (2 * _LIMB - WORD)) + (lo >> WORD)
    return hi, lo & MASK


@jit
def to_microjoules(hi, lo):
    """Round two words to microjoules, half to even: int64, or -1 where they do not fit (292 kW for a year)."""
    quotient = hi // HNJ_PER_MICROJOULE
    if quotient >= 1 << 31:
        return np.int64(-1)
    rest = ((hi - quotient * HNJ_PER_MICROJOULE) << WORD) + lo
    whole = (quotient << WORD) + rest // HNJ_PER_MICROJOULE
    remainder = rest % HNJ_PER_MICROJOULE
    half = HNJ_PER_MICROJOULE // 2
    if remainder > half or (remainder == half and whole & 1):
        if whole == _MOST:
            return np.int64(-1)
        whole += 1
    return whole
