"""Histograms of power, coarse then fine: quantiles in two passes, for any recording."""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import numpy as np

from wattshed.kernels.arrays.bands import needed
from wattshed.kernels.entry import b1, i32, i64, kernel, u8, written
from wattshed.kernels.jit import jit

COARSE = 2048


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
        at = min(np.int64(np.uint32(power[i] - 1)) >> shift, COARSE)
        seen |= at
        bins[at] += before + held
        before = held
    after = time_us[min(b, hi - 1)] - time[n - 1]
    if after <= max_gap_us:
        before += after
    at = min(np.int64(np.uint32(power[n - 1] - 1)) >> shift, COARSE)
    bins[at] += before
    return not falls and (seen | at) < COARSE


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


@kernel(i64[:], i32[:], i64[:], i64[:], i64[:], i64, i64, written(i64[:, :]), written(b1[:]), i64, i64)
def pour_coarse(time_us, power_mw, offsets, gpu, rows, max_gap_us, shift, bins, usable, first, last):
    """Fill the coarse histograms of chunks ``first:last``, until one has an unusable row."""
    for k in range(first, last):
        g = gpu[k]
        bins[k, :] = 0
        usable[k] = _pour_coarse(
            time_us, power_mw, offsets[g], offsets[g + 1], rows[k], rows[k + 1], max_gap_us, shift, bins[k]
        )
        if not usable[k]:
            break


@kernel(i64[:], i32[:], i64[:], i64[:], i64, i64[:], i64, i64, u8[:, :], written(i64[:, :]), i64, i64)
def pour_fine(time_us, power_mw, offsets, gpu, base, rows, max_gap_us, shift, slot_of, fine, first, last):
    """Fill the fine histograms of chunks ``first:last``."""
    for k in range(first, last):
        g = gpu[k]
        fine[k, :] = 0
        _pour_fine(
            time_us, power_mw, offsets[g], offsets[g + 1], rows[k], rows[k + 1], max_gap_us, shift,
            slot_of[g - base], fine[k],
        )  # fmt: skip


@kernel(i64[:], i64[:, :], i64[:], written(u8[:, :]), written(i64[:, :]), written(i64[:, :]), written(i64[:]))
def choose_bins(owner, bins, ppm, slot_of, wanted, below, sums):
    """Find the coarse bin of every quantile of every GPU and give each such bin a slot.

    ``wanted[g, q]`` becomes the bin, -1 where the GPU has no weight; ``below[g, q]`` the weight to find in it. ``sums``
    (int64[2048]) is room to work in.
    """
    for g in range(len(owner) - 1):
        sums[:] = 0
        for k in range(owner[g], owner[g + 1]):
            for i in range(COARSE):
                sums[i] += bins[k, i]
        total = np.int64(0)
        for i in range(COARSE):
            total += sums[i]
        slots = 0
        for q in range(len(ppm)):
            wanted[g, q] = -1
            if total == 0:
                continue
            need = needed(total, ppm[q])
            at = 0
            while need > sums[at]:
                need -= sums[at]
                at += 1
            wanted[g, q] = at
            below[g, q] = need
            if slot_of[g, at] == 0:
                slots += 1
                slot_of[g, at] = slots


@kernel(i64[:], i64[:, :], i64, u8[:, :], i64[:, :], i64[:, :], written(i64[:, :]))
def read_fine(owner, fine, shift, slot_of, wanted, below, out):
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
