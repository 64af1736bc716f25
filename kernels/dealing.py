"""Columns of a log as they lie in its file: numbers made whole, and rows laid out as windows want them, GPU by GPU."""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN201, ANN202

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.columns import Columns
from wattshed.kernels.entry import f64, i32, i64, kernel, written
from wattshed.kernels.jit import loop_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BEFORE_ALL = np.iinfo(np.int64).min
_TOO_MUCH = 2.0**62


def _scale(values, times, over, out):
    """Do what `whole_numbers` does."""
    scaled = values * times / over
    fits = (values >= 0.0) & (scaled < _TOO_MUCH)
    out[:] = np.rint(np.where(fits, scaled, -1.0))
    return np.count_nonzero(~fits)


@loop_of(_scale)
def _scale_by_rows(values, times, over, out):
    wrong = 0
    for row in range(len(values)):
        scaled = values[row] * times / over
        fits = (values[row] >= 0.0) & (scaled < _TOO_MUCH)
        out[row] = np.int64(np.rint(scaled if fits else -1.0))
        wrong += 0 if fits else 1
    return wrong


@kernel(f64[:], f64, f64, written(i64[:]), returns=i64)
def whole_numbers(values, times, over, out):
    """Multiply by a fraction, and round half to even; what is no number, negative or too much becomes -1.

    Returns how many are so.
    """
    return _scale(values, times, over, out)


def _lay_out(gpu, time_us, power_mw, place, edges_us, offsets, last_us, at, times, powers):
    """Do what `_deal` does."""
    windows, gpus = at.shape
    own = place[gpu]
    window = np.searchsorted(edges_us, time_us, side="right") - 1
    by_gpu = np.argsort(own, kind="stable")
    same = own[by_gpu][1:] == own[by_gpu][:-1]
    if (power_mw < 0).any() or (same & (np.diff(time_us[by_gpu]) <= 0)).any():
        return -1
    last_us[own] = time_us  # of several rows the last one's stays
    there = window < windows
    task = window[there] * gpus + own[there]
    counts = np.bincount(task, minlength=windows * gpus)
    offsets[:, 1:] = np.cumsum(counts.reshape(windows, gpus), axis=1)
    at[:] = np.cumsum(counts).reshape(windows, gpus)
    order = np.flatnonzero(there)[np.argsort(task, kind="stable")]
    times[: len(order)], powers[: len(order)] = time_us[order], power_mw[order]
    return len(order)


@loop_of(_lay_out)
def _lay_out_by_rows(gpu, time_us, power_mw, place, edges_us, offsets, last_us, at, times, powers):
    windows, gpus = at.shape
    window = 0
    for row in range(len(gpu)):
        own, time = place[gpu[row]], time_us[row]
        if power_mw[row] < 0 or time <= last_us[own]:
            return -1
        last_us[own] = time
        while window < windows and time >= edges_us[window + 1]:
            window += 1
        while window > 0 and time < edges_us[window]:
            window -= 1
        if window < windows:
            offsets[window, own + 1] += 1
    rows = 0
    for window in range(windows):
        for own in range(gpus):
            at[window, own] = rows + offsets[window, own]
            offsets[window, own + 1] += offsets[window, own]
        rows += offsets[window, gpus]
    window = 0
    for row in range(len(gpu)):
        own, time = place[gpu[row]], time_us[row]
        while window < windows and time >= edges_us[window + 1]:
            window += 1
        while window > 0 and time < edges_us[window]:
            window -= 1
        if window < windows:
            to = at[window, own]
            times[to] = time
            powers[to] = power_mw[row]
            at[window, own] = to + 1
    return rows


@kernel(
    i32[:], i64[:], i32[:], i32[:], i64[:], written(i64[:, :]), written(i64[:]), written(i64[:, :]), written(i64[:]),
    written(i32[:]), returns=i64,
)  # fmt: skip
def _deal(gpu, time_us, power_mw, place, edges_us, offsets, last_us, at, times, powers):
    """Fill ``offsets``, ``times`` and ``powers``; ``last_us`` and ``at`` are room for a time a GPU, and for places."""
    return _lay_out(gpu, time_us, power_mw, place, edges_us, offsets, last_us, at, times, powers)


def deal_windows(
    gpu: NDArray[np.int32],
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    place: NDArray[np.int32],
    edges_us: NDArray[np.int64],
) -> Columns | None:
    """Lay rows out window by window, and GPU by GPU within each.

    Parameters
    ----------
    gpu, time_us, power_mw : int32[n], int64[n] in us, int32[n] in mW
        Rows in any order, none from before the first edge.
    place : int32[k]
        Which GPU of the windows is meant by each number in ``gpu``.
    edges_us : int64[w + 1], us
        Window i has the rows from ``edges_us[i]`` to before ``edges_us[i + 1]``; later rows are left.

    Returns
    -------
    Columns or None
        None if a power is missing (< 0), or a GPU's times do not rise from each row to its next: then somebody has to
        look at the rows first.
    """
    windows, gpus = len(edges_us) - 1, int(place.max(initial=-1)) + 1
    offsets, at = np.zeros((windows, gpus + 1), np.int64), np.zeros((windows, gpus), np.int64)
    times, powers = np.empty(len(gpu), np.int64), np.empty(len(gpu), np.int32)
    last_us = np.full(gpus, _BEFORE_ALL)
    owner, stamps, readings = (np.ascontiguousarray(column) for column in (gpu, time_us, power_mw))
    rows = _deal(owner, stamps, readings, place, edges_us, offsets, last_us, at, times, powers)
    if rows < 0:
        return None
    begin = np.concatenate([np.zeros(1, np.int64), np.cumsum(offsets[:-1, -1])])
    return Columns(offsets, times[:rows], begin, np.zeros(windows, np.int64), powers[:rows], begin)
