"""Exact time-weighted quantiles of power, to the milliwatt, without sorting.

A reading weighs half of each bridged interval beside it, as it does in the trapezoid sum, so that the mean under these
weights is the energy over the covered time. The quantile q is the smallest reading at or below which at least q of the
weight lies.

Where a GPU has many rows, its quantiles are found in one pass, in bands of power that a few rows suggest
(:mod:`kernels.arrays.bands`). Where they were not there, and for short recordings, on a device, and for many quantiles,
there are two passes (:mod:`kernels.arrays.bins`): a histogram of at most 2048 coarse bins per chunk, small enough for
the first-level cache, then one of single milliwatts in just those bins that hold a wanted quantile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.kernels.arrays.bands import BANDS, BLOCK, LEVELS, NOWHERE, guess, pour
from wattshed.kernels.arrays.bins import COARSE, choose_bins, pour_coarse, pour_fine, read_fine
from wattshed.kernels.billing.histogram import PPM
from wattshed.kernels.columns import cut_into_chunks
from wattshed.kernels.lanes import lanes
from wattshed.kernels.placing import least_and_greatest, place, raise_backwards, valid_rows
from wattshed.kernels.threads import each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CHUNK = 1 << 20
"""Rows that share one histogram: large, because clearing and adding up a histogram costs as much as some rows."""
_BATCH = 2048
"""Chunks whose histograms are held at once: bounds the memory at any number of GPUs."""
_GUESS_FROM = 1 << 17
"""Rows of a GPU from which on looking at some of them first is worth it."""
_MOST_CHUNKS = 128
"""Into about so many a recording is cut for the pass in bands."""
_CELLS = 1 << 23
"""Milliwatts that are counted by chunk at once: bounds the memory."""
_UNKNOWN = -2


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
    offsets = np.ascontiguousarray(offsets)
    if max_gap_us < 0:
        raise ValueError(f"max_gap_us must not be negative, got {max_gap_us}")
    if not all(0 <= q <= PPM for q in ppm) or len(ppm) > 30:
        raise ValueError(f"quantiles are given in millionths from 0 to {PPM}, at most 30 of them, got {list(ppm)}")
    gap = np.int64(min(max_gap_us, np.iinfo(np.int64).max))
    out = np.full((len(offsets) - 1, len(ppm)), _UNKNOWN, np.int64)
    with np.errstate(over="ignore"):
        guessed = not on_cuda and 0 < len(ppm) <= BANDS
        usable = not guessed or _in_bands(time_us, power_mw, offsets, gap, ppm, out)
        # What was not found in bands, a run of GPUs at a time.
        left = np.concatenate([[False], (out == _UNKNOWN).any(axis=1), [False]])
        edges = np.flatnonzero(left[1:] != left[:-1])
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            if usable:
                rows = slice(int(offsets[first]), int(offsets[last]))
                own = offsets[first : last + 1] - rows.start
                wanted = np.array(ppm, np.int64)
                usable = _by_bins(time_us[rows], power_mw[rows], own, gap, wanted, on_cuda, out[first:last])
    if usable:
        return out
    if least_and_greatest(power_mw)[0] > 0:
        raise_backwards(time_us, offsets)
    return quantiles(*valid_rows(time_us, power_mw, offsets), max_gap_us, ppm, device=device)


def _in_bands(
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    offsets: NDArray[np.int64],
    gap: np.int64,
    ppm: Sequence[int],
    out: NDArray[np.int64],
) -> bool:
    """Find what can be found in one pass; False if a row is unusable."""
    gpus, size = len(offsets) - 1, len(time_us)
    if not (np.diff(offsets) >= _GUESS_FROM).any():
        return True
    ascending = np.sort(np.array(ppm, np.int64))
    least, width = np.full((gpus, BANDS), NOWHERE, np.int32), np.zeros((gpus, BANDS), np.int64)
    bands = np.zeros(gpus, np.int64)
    count = lanes(gpus)
    each(
        guess, count, time_us, power_mw, offsets, gap, np.int64(_GUESS_FROM), ascending,
        np.empty((count, LEVELS), np.int64), least, width, bands, rows=size,
    )  # fmt: skip
    owner, cuts = cut_into_chunks(offsets, max(CHUNK, -(-size // _MOST_CHUNKS)))
    tasks = np.diff(owner)
    wide = width.sum(axis=1) * (bands > 0)
    begin = 0
    while begin < gpus:
        cells = np.cumsum(tasks[begin:] * wide[begin:])
        end = begin + max(int(np.searchsorted(cells, _CELLS, side="right")), 1)
        gpu = np.repeat(np.arange(begin, end), tasks[begin:end])
        own = slice(int(owner[begin]), int(owner[end]))
        place = np.concatenate([np.zeros(1, np.int64), np.cumsum(wide[gpu])])
        sums, fine = np.zeros((len(gpu), BANDS + 1), np.int64), np.zeros(int(place[-1]), np.int64)
        usable = np.ones(len(gpu), np.bool_)
        count = lanes(len(gpu))
        each(
            pour, count, time_us, power_mw, offsets, gpu, cuts[own.start : own.stop + 1], gap, least, width, bands,
            sums, place, fine, usable, np.empty((count, BLOCK), np.int64), np.empty((count, BLOCK), np.uint8),
            np.empty((count, BLOCK), np.int64), rows=size,
        )  # fmt: skip
        if not usable.all():
            return False
        for g in np.flatnonzero(bands[begin:end]) + begin:
            chunks = slice(owner[g] - own.start, owner[g + 1] - own.start)
            counted = fine[place[chunks.start] : place[chunks.stop]].reshape(-1, wide[g]).sum(axis=0)
            found = (least[g, : bands[g]], width[g, : bands[g]], sums[chunks].sum(axis=0), counted)
            out[g] = [_read(int(q), *found) for q in ppm]
        begin = end
    return True


def _read(
    ppm: int, least: NDArray[np.int32], width: NDArray[np.int64], sums: NDArray[np.int64], counted: NDArray[np.int64]
) -> int:
    """Read one quantile from the bands of a GPU, mW; -1 if it has no weight, `_UNKNOWN` if it is in no band."""
    below, total = sums[: len(least)], int(sums[BANDS])
    if total == 0:
        return -1
    need = max(-(-total * ppm // PPM), 1)
    band = int(np.searchsorted(below, need)) - 1  # the last one with less below it
    if band < 0:
        return _UNKNOWN
    first = int(width[:band].sum())
    upto = np.cumsum(counted[first : first + width[band]]) + below[band]
    at = int(np.searchsorted(upto, need))
    return int(least[band]) + at if at < len(upto) else _UNKNOWN


def _by_bins(
    time_us: Any,
    power_mw: Any,
    offsets: NDArray[np.int64],
    gap: np.int64,
    ppm: NDArray[np.int64],
    on_cuda: bool,
    out: NDArray[np.int64],
) -> bool:
    """Find the quantiles of all GPUs in two passes; False if a row is unusable."""
    owner, rows = cut_into_chunks(offsets, CHUNK)
    gpu = np.repeat(np.arange(len(offsets) - 1), np.diff(owner))
    if on_cuda:
        from wattshed.kernels import cuda
    shift = 10
    begin = 0
    while begin < len(out):
        end = max(int(np.searchsorted(owner, owner[begin] + _BATCH, side="right")) - 1, begin + 1)
        own = slice(int(owner[begin]), int(owner[end]))
        part = (time_us, power_mw, offsets, gpu[own])
        cut = rows[own.start : own.stop + 1]
        bins = np.empty((own.stop - own.start, COARSE + 1), np.int64)
        usable = np.zeros(len(bins), np.bool_)
        if on_cuda:
            bins[:] = 0
            usable[:] = cuda.weigh_chunks(*part, cut, int(gap), shift, bins)
        else:
            each(pour_coarse, len(bins), *part, cut, gap, np.int64(shift), bins, usable, rows=len(time_us))
        if not usable.all():
            lowest, highest = least_and_greatest(power_mw)
            if lowest <= 0 or (highest - 1) >> shift < COARSE:
                return False
            shift = (highest - 1).bit_length() - (COARSE - 1).bit_length()
            continue
        batch = owner[begin : end + 1] - own.start
        slot_of = np.zeros((end - begin, COARSE), np.uint8)
        wanted, below = np.zeros((2, end - begin, len(ppm)), np.int64)
        choose_bins(batch, bins, ppm, slot_of, wanted, below, np.empty(COARSE, np.int64))
        fine = np.empty((len(bins), max(int(slot_of.max(initial=0)), 1) << shift), np.int64)
        if on_cuda:
            cuda.weigh_chunks(*part, cut, int(gap), shift, fine, slot_of, begin)
        else:
            each(pour_fine, len(bins), *part, begin, cut, gap, np.int64(shift), slot_of, fine, rows=len(time_us))
        read_fine(batch, fine, np.int64(shift), slot_of, wanted, below, out[begin:end])
        begin = end
    return True
