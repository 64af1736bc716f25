"""Quantiles in one pass over the samples: they are guessed to lie in narrow bands of power, and only those are counted.

A guess comes from one row in `EVERY`. The pass sums the weight below each band as vector code, and counts by milliwatt
only what lies inside, so that the answer is exact; where the guess was wrong, that shows, and nothing is answered.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wattshed.kernels.billing.histogram import PPM
from wattshed.kernels.entry import b1, i32, i64, kernel, u8, written
from wattshed.kernels.jit import jit

EVERY = 64
"""One row in so many is looked at for a guess."""
SHIFT = 9
LEVELS = 4096
"""A guess is made in steps of ``1 << SHIFT`` mW, so many of them; what is above makes no guess."""
WIDEST = 1 << 17
"""The bands of one GPU are together no wider, in mW: what is counted for a task stays near the core."""
SURE = 3.0
"""A guess is so many standard errors wide on each side: wider ones are wrong less often, and cost every row more."""
BANDS = 4
"""Of a GPU, whether it has so many or not: then they are summed in one loop."""
NOWHERE = (1 << 31) - 1
"""Where a band begins that is not there, mW."""
BLOCK = 1_024
"""Rows whose weights, marks and places are held at once, in the nearest cache."""


@jit
def needed(total, ppm):
    """Weight that the quantile must reach: ceil(total * ppm / 10**6), at least 1, without overflow."""
    whole = total // PPM * ppm
    rest = total % PPM * ppm
    return max(whole + (rest + PPM - 1) // PPM, np.int64(1))


@jit
def _sample(time_us, power_mw, lo, hi, max_gap_us, levels):
    """Add the weights of one row in `EVERY` of ``lo:hi`` to ``levels``; returns how many have any, 0 if unusable."""
    levels[:] = 0
    rows: Any = 0
    for i in range(lo + 1, hi - 1, EVERY):
        before = time_us[i] - time_us[i - 1]
        after = time_us[i + 1] - time_us[i]
        level = (np.int64(power_mw[i]) - 1) >> SHIFT
        if level < 0 or level >= LEVELS or before < 0 or after < 0:
            return 0
        weight = (before if before <= max_gap_us else np.int64(0)) + (after if after <= max_gap_us else np.int64(0))
        levels[level] += weight
        rows += weight > 0
    return rows


@jit
def _choose(levels, rows, ppm, least, width):
    """Choose the bands of one GPU; returns how many, 0 if there can be no guess.

    Those that touch are one: each begins at ``least`` mW and is ``width`` wide.
    """
    total = np.int64(0)
    for level in range(LEVELS):
        total += levels[level]
    bands = 0
    wide = np.int64(0)
    begin = 0
    end = 0  # of the last band, in levels
    for q in range(len(ppm)):
        need = needed(total, ppm[q])
        share = ppm[q] / PPM
        margin = np.int64(total / rows * (SURE * math.sqrt(share * (1.0 - share) * rows) + 1.0))
        at = 0
        upto = levels[0]
        while at < LEVELS - 1 and upto < need - margin:
            at += 1
            upto += levels[at]
        begin = max(begin, at)
        while at < LEVELS - 1 and upto < min(need + margin, total):
            at += 1
            upto += levels[at]
        stop = max(at + 1, end)
        if bands > 0 and begin <= end:
            bands -= 1
            wide -= width[bands]
        else:
            least[bands] = np.int32((begin << SHIFT) + 1)
        width[bands] = (np.int64(stop) << SHIFT) + 1 - least[bands]
        wide += width[bands]
        bands += 1
        end = stop
    return bands if wide <= WIDEST else 0


@kernel(
    i64[:], i32[:], i64[:], i64, i64, i64[:], written(i64[:, :]), written(i32[:, :]), written(i64[:, :]),
    written(i64[:]), i64, i64,
)  # fmt: skip
def guess(time_us, power_mw, offsets, max_gap_us, fewest, ppm, levels, least, width, bands, first, last):
    """Choose the bands of every GPU with at least ``fewest`` rows, in lanes ``first:last``.

    Parameters
    ----------
    ppm : int64[q]
        Ascending, at most `BANDS`.
    levels : int64[lanes, LEVELS]
        Room to work in.
    least, width : int32[g, BANDS], int64[g, BANDS], mW
        To be filled; `NOWHERE` and 0 where there are fewer bands.
    bands : int64[g]
        To be filled: how many there are, 0 for a GPU without a guess.
    """
    for lane in range(first, last):
        for g in range(lane, len(bands), len(levels)):
            bands[g] = 0
            lo = offsets[g]
            hi = offsets[g + 1]
            if hi - lo >= fewest:
                rows = _sample(time_us, power_mw, lo, hi, max_gap_us, levels[lane])
                if rows > 0:
                    bands[g] = _choose(levels[lane], rows, ppm, least[g], width[g])


@jit
def _weigh(time_us, power_mw, max_gap_us, weight):
    """Weigh rows whose neighbours are there: ``time_us`` has one before and one after. True unless one is unusable."""
    n = len(power_mw)
    before_us = time_us[:n]
    now_us = time_us[1 : n + 1]
    after_us = time_us[2 : n + 2]
    shortest = np.int64(0)
    low = power_mw[0]
    for i in range(n):
        before = now_us[i] - before_us[i]
        after = after_us[i] - now_us[i]
        shortest = min(shortest, before)
        low = min(low, power_mw[i])
        weight[i] = (before if before <= max_gap_us else np.int64(0)) + (after if after <= max_gap_us else np.int64(0))
    return shortest >= 0 and low > 0


@jit
def _weigh_end(time_us, power_mw, i, beside, max_gap_us):
    """Weigh the first or the last row of a GPU, by its only neighbour: -1 if it is unusable."""
    apart = time_us[max(i, beside)] - time_us[min(i, beside)]
    if apart < 0 or power_mw[i] <= 0:
        return np.int64(-1)
    return apart if apart <= max_gap_us else np.int64(0)


@jit
def _sum_below(power_mw, weight, least, width, sums, marks):
    """Add the weights below each of `BANDS` bands, and all weights, to ``sums``, and mark the rows inside a band."""
    all_of_it = np.int64(0)
    below_a, below_b, below_c, below_d = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    a, b, c, d = least[0], least[1], least[2], least[3]
    wide_a, wide_b, wide_c, wide_d = np.uint32(width[0]), np.uint32(width[1]), np.uint32(width[2]), np.uint32(width[3])
    for i in range(len(power_mw)):
        power, own = power_mw[i], weight[i]
        all_of_it += own
        below_a += own if power < a else np.int64(0)
        below_b += own if power < b else np.int64(0)
        below_c += own if power < c else np.int64(0)
        below_d += own if power < d else np.int64(0)
        marks[i] = (
            np.uint8(np.uint32(power - a) < wide_a)
            | np.uint8(np.uint32(power - b) < wide_b)
            | np.uint8(np.uint32(power - c) < wide_c)
            | np.uint8(np.uint32(power - d) < wide_d)
        )
    sums[0] += below_a
    sums[1] += below_b
    sums[2] += below_c
    sums[3] += below_d
    sums[BANDS] += all_of_it


@jit
def _list_marked(marks, places):
    """List the rows that are marked and return how many; there is no branch."""
    n: Any = 0
    for i in range(len(marks)):
        places[n] = i
        n += np.int64(marks[i])
    return n


@jit
def _pour_marked(power_mw, weight, least, width, fine, places, n):
    """Add the rows listed to ``fine``, in which bands lie one after the other; which band it is takes no branch."""
    b, c, d = np.int64(least[1]), np.int64(least[2]), np.int64(least[3])
    from_a = np.int64(least[0])
    from_b = b - width[0]
    from_c = c - width[0] - width[1]
    from_d = d - width[0] - width[1] - width[2]
    for j in range(n):
        i = places[j]
        power = np.int64(power_mw[i])
        first = from_b if power >= b else from_a
        first = from_c if power >= c else first
        first = from_d if power >= d else first
        places[j] = power - first
        weight[j] = weight[i]
    # In a loop of its own: where one is added must not wait for what was added before it.
    for j in range(n):
        fine[places[j]] += weight[j]


@jit
def _pour(time_us, power_mw, lo, hi, a, b, max_gap_us, least, width, sums, fine, weight, marks, places):
    """Pour rows ``a:b`` of the GPU of rows ``lo:hi``; False, and not all of them, if one is unusable."""
    sums[:] = 0
    while a < b:
        end = min(a + BLOCK, b)
        n = end - a
        begin = np.int64(0)
        if a == lo:
            weight[0] = _weigh_end(time_us, power_mw, lo, min(lo + 1, hi - 1), max_gap_us)
            begin = np.int64(1)
        stop = n
        if end == hi and n > begin:
            stop = n - 1
            weight[stop] = _weigh_end(time_us, power_mw, hi - 1, hi - 2, max_gap_us)
        if (begin == 1 and weight[0] < 0) or (stop < n and weight[stop] < 0):
            return False
        if stop > begin and not _weigh(
            time_us[a + begin - 1 : a + stop + 1], power_mw[a + begin : a + stop], max_gap_us, weight[begin:stop]
        ):
            return False
        _sum_below(power_mw[a:end], weight[:n], least, width, sums, marks)
        _pour_marked(power_mw[a:end], weight, least, width, fine, places, _list_marked(marks[:n], places))
        a = end
    return True


@kernel(
    i64[:], i32[:], i64[:], i64[:], i64[:], i64, i32[:, :], i64[:, :], i64[:], written(i64[:, :]), i64[:],
    written(i64[:]), written(b1[:]), written(i64[:, :]), written(u8[:, :]), written(i64[:, :]), i64, i64,
)  # fmt: skip
def pour(
    time_us, power_mw, offsets, gpu, rows, max_gap_us, least, width, bands, sums, place, fine, usable,
    weight, marks, places, first, last,
):  # fmt: skip
    """Count chunks in lanes ``first:last``, until one has an unusable row.

    Parameters
    ----------
    gpu : int64[k]
        Whose each chunk is; one without bands is left out.
    rows : int64[k + 1]
        Chunk k is rows ``rows[k]:rows[k + 1]``.
    least, width, bands
        From `guess`.
    sums : int64[k, BANDS + 1], us
        To be filled: the weight below each band, then that of all rows.
    place, fine : int64[k], int64[*], us
        The weight of each milliwatt in the bands of chunk k is added to ``fine`` from ``place[k]`` on.
    usable : bool[k]
        To be filled.
    weight, marks, places : int64, uint8, int64[lanes, BLOCK]
        Room to work in.
    """
    lanes = len(weight)
    for lane in range(first, last):
        for k in range(lane, len(gpu), lanes):
            g = gpu[k]
            if bands[g] > 0:
                usable[k] = _pour(
                    time_us, power_mw, offsets[g], offsets[g + 1], rows[k], rows[k + 1], max_gap_us,
                    least[g], width[g], sums[k], fine[place[k] :], weight[lane], marks[lane],
                    places[lane],
                )  # fmt: skip
                if not usable[k]:
                    return
