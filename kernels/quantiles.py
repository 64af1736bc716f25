"""Exact time-weighted quantiles of power, to the milliwatt, without sorting.

A reading weighs half of each bridged interval beside it, as it does in the trapezoid sum, so that the mean under these
weights is the energy over the covered time. The quantile q is the smallest reading at or below which at least q of the
weight lies. Two passes: a histogram of at most 2048 coarse bins per chunk, small enough for the first-level cache, then
one of single milliwatts in just those bins that hold a wanted quantile.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.billing.histogram import PPM
from wattshed.kernels.columns import PARALLEL_FROM, cut_into_chunks
from wattshed.kernels.jit import jit, prange
from wattshed.kernels.placing import least_and_greatest, place, raise_backwards, valid_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CHUNK = 1 << 20
"""Rows that share one histogram: large, because clearing and adding up a histogram costs as much as some rows."""
_COARSE = 2048
_BATCH = 2048
"""Chunks whose histograms are held at once: bounds the memory at any number of GPUs."""


@jit
def _pour_coarse(time_us, power_mw, lo, hi, a, b, max_gap_us, shift, bins):
    """Add the weights of rows ``a:b`` to ``bins`` by coarse power; True unless a row is unusable.

    ``lo:hi`` are the rows of the whole GPU. The last bin takes what is not a reading, or too high for ``shift``.
    """
    time = time_us[a:b]
    power = power_mw[a:b]
    n = len(time)
    before = time[0] - time_us[max(a - 1, lo)]
    falls = before < 0
    if before > max_gap_us:
        before = np.int64(0)
    seen = np.int64(0)
    for i in range(n - 1):
        after = time[i + 1] - time[i]
        falls |= after < 0
        held = after if after <= max_gap_us else np.int64(0)
        at = min(np.int64(np.uint32(power[i] - 1)) >> shift, _COARSE)
        seen |= at
        bins[at] += before + held
        before = held
    after = time_us[min(b, hi - 1)] - time[n - 1]
    if after <= max_gap_us:
        before += after
    at = min(np.int64(np.uint32(power[n - 1] - 1)) >> shift, _COARSE)
    bins[at] += before
    return not falls and (seen | at) < _COARSE


@jit
def _pour_fine(time_us, power_mw, lo, hi, a, b, max_gap_us, shift, slot_of, fine):
    """Add the weights of rows ``a:b`` to the fine histogram of their coarse bin, if it has a slot.

    Few bins hold a wanted quantile, so that the branch is foreseen, and only few rows need their times.
    """
    mask = (np.int64(1) << shift) - 1
    power = power_mw[a:b]
    for i in range(len(power)):
        level = np.int64(power[i]) - 1
        slot = np.int64(slot_of[level >> shift])
        if slot > 0:
            row = a + i
            before = time_us[row] - time_us[max(row - 1, lo)]
            after = time_us[min(row + 1, hi - 1)] - time_us[row]
            weight = (before if before <= max_gap_us else np.int64(0)) + (after if after <= max_gap_us else np.int64(0))
            fine[((slot - 1) << shift) + (level & mask)] += weight


@jit(parallel=True)
def _coarse(time_us, power_mw, offsets, gpu, rows, max_gap_us, shift, bins, usable):
    """Fill the coarse histogram of every chunk."""
    for k in prange(len(gpu)):
        g = gpu[k]
        bins[k, :] = 0
        usable[k] = _pour_coarse(
            time_us, power_mw, offsets[g], offsets[g + 1], rows[k], rows[k + 1], max_gap_us, shift, bins[k]
        )


@jit(parallel=True)
def _fine(time_us, power_mw, offsets, gpu, base, rows, max_gap_us, shift, slot_of, fine):
    """Fill the fine histograms of every chunk."""
    for k in prange(len(gpu)):
        g = gpu[k]
        fine[k, :] = 0
        _pour_fine(
            time_us, power_mw, offsets[g], offsets[g + 1], rows[k], rows[k + 1], max_gap_us, shift,
            slot_of[g - base], fine[k],
        )  # fmt: skip


@jit
def _needed(total, ppm):
    """Weight that the quantile must reach: ceil(total * ppm / 10**6), at least 1, without overflow."""
    whole = total // PPM * ppm
    rest = total % PPM * ppm
    return max(whole + (rest + PPM - 1) // PPM, np.int64(1))


@jit(parallel=True)
def _choose_bins(owner, bins, ppm, slot_of, wanted, below):
    """Find the coarse bin of every quantile of every GPU and give each such bin a slot.

    ``wanted[g, q]`` becomes the bin, -1 where the GPU has no weight; ``below[g, q]`` the weight to find in it.
    """
    for g in range(len(owner) - 1):
        sums = np.zeros(_COARSE, np.int64)
        for k in range(owner[g], owner[g + 1]):
            for i in range(_COARSE):
                sums[i] += bins[k, i]
        total = sums.sum()
        slots = 0
        for q in range(len(ppm)):
            wanted[g, q] = -1
            if total == 0:
                continue
            need = _needed(total, ppm[q])
            at = 0
            while need > sums[at]:
                need -= sums[at]
                at += 1
            wanted[g, q] = at
            below[g, q] = need
            if slot_of[g, at] == 0:
                slots += 1
                slot_of[g, at] = slots


@jit(parallel=True)
def _read_fine(owner, fine, shift, slot_of, wanted, below, out):
    """Find every quantile in its fine histogram."""
    width = np.int64(1) << shift
    for g in range(len(owner) - 1):
        for q in range(wanted.shape[1]):
            at = wanted[g, q]
            if at < 0:
                out[g, q] = -1
                continue
            first = (np.int64(slot_of[g, at]) - 1) * width
            need = below[g, q]
            level = 0
            while True:
                here = np.int64(0)
                for k in range(owner[g], owner[g + 1]):
                    here += fine[k, first + level]
                if need <= here:
                    break
                need -= here
                level += 1
            out[g, q] = at * width + level + 1


def quantiles(
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    offsets: NDArray[np.int64],
    max_gap_us: int,
    ppm: Sequence[int] = (500_000, 950_000, 990_000),
    *,
    device: str = "cpu",
) -> NDArray[np.int64]:
    """Time-weighted quantiles of each GPU's power.

    Parameters
    ----------
    time_us, power_mw, offsets, max_gap_us
        As for :func:`kernels.energy.integrate`.
    ppm : sequence of int, millionths
        At most 30 quantiles from 0 to 1_000_000: 950_000 is p95.
    device : {"cpu", "cuda", "auto"}

    Returns
    -------
    int64[g, len(ppm)], mW
        -1 for a GPU without a bridged interval.

    Raises
    ------
    ValueError
        As for ``integrate``, or for a quantile that is none.
    """
    time_us, power_mw, on_cuda = place(time_us, power_mw, offsets, device)
    if max_gap_us < 0:
        raise ValueError(f"max_gap_us must not be negative, got {max_gap_us}")
    if not all(0 <= q <= PPM for q in ppm) or len(ppm) > 30:
        raise ValueError(f"quantiles are given in millionths from 0 to {PPM}, at most 30 of them, got {list(ppm)}")
    gap = np.int64(min(max_gap_us, np.iinfo(np.int64).max))
    wanted_ppm = np.array(ppm, np.int64)
    out = np.empty((len(offsets) - 1, len(ppm)), np.int64)
    owner, rows = cut_into_chunks(offsets, CHUNK)
    gpu = np.repeat(np.arange(len(offsets) - 1), np.diff(owner))
    if on_cuda:
        from wattshed.kernels import cuda
    shift = 10
    begin = 0
    with np.errstate(over="ignore"):
        while begin < len(out):
            end = max(int(np.searchsorted(owner, owner[begin] + _BATCH, side="right")) - 1, begin + 1)
            own = slice(int(owner[begin]), int(owner[end]))
            part = (time_us, power_mw, offsets, gpu[own])
            cut = rows[own.start : own.stop + 1]
            serial = len(time_us) < PARALLEL_FROM
            bins = np.empty((own.stop - own.start, _COARSE + 1), np.int64)
            usable = np.empty(len(bins), np.bool_)
            if on_cuda:
                bins[:] = 0
                usable[:] = cuda.weigh_chunks(*part, cut, int(gap), shift, bins)
            else:
                (_coarse.serial if serial else _coarse)(*part, cut, gap, np.int64(shift), bins, usable)
            if not usable.all():
                lowest, highest = least_and_greatest(power_mw)
                if lowest <= 0:
                    return quantiles(*valid_rows(time_us, power_mw, offsets), max_gap_us, ppm, device=device)
                highest -= 1
                if highest >> shift < _COARSE:
                    raise_backwards(time_us, offsets)
                shift = highest.bit_length() - (_COARSE - 1).bit_length()
                continue
            batch = owner[begin : end + 1] - own.start
            slot_of = np.zeros((end - begin, _COARSE), np.uint8)
            wanted, below = np.zeros((2, end - begin, len(ppm)), np.int64)
            _choose_bins(batch, bins, wanted_ppm, slot_of, wanted, below)
            fine = np.empty((len(bins), max(int(slot_of.max(initial=0)), 1) << shift), np.int64)
            if on_cuda:
                cuda.weigh_chunks(*part, cut, int(gap), shift, fine, slot_of, begin)
            else:
                (_fine.serial if serial else _fine)(*part, begin, cut, gap, np.int64(shift), slot_of, fine)
            _read_fine(batch, fine, np.int64(shift), slot_of, wanted, below, out[begin:end])
            begin = end
    return out
