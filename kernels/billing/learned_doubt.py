"""One sigma of a split by learned watts (`kernels.billing.watts`); it moves no joule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from wattshed.kernels.billing.late_rows import LateRows, note, owed_to
from wattshed.kernels.billing.shares import BY_ACTIVITY, LEARNED
from wattshed.kernels.billing.slots import SLOT_US, rows_of
from wattshed.kernels.billing.watts import CUT, FEATURES, LEAST_PART, ONE
from wattshed.kernels.entry import f64, i64, kernel, written
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class LearnedRows(NamedTuple):
    """Usage rows that were split by learned watts, GPU by GPU; see `doubt`."""

    place: NDArray[np.int64]
    which: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    dynamic: NDArray[np.int64]
    method: NDArray[np.int64]
    activity: NDArray[np.int64]
    feature: NDArray[np.int64]
    cut: NDArray[np.int64]
    bare: NDArray[np.int64]


@kernel(
    i64[:, :], i64[:, :], i64[:], written(i64[:]), written(i64[:]), written(i64[:]), f64[:, :, :], f64[:, :, :, :],
    f64[:], f64, written(i64[:, :]), written(i64[:, :, :]), written(i64[:, :, :]), written(i64[:, :]), written(f64[:]),
)  # fmt: skip
def doubt(  # type: ignore[no-untyped-def]
    table, told, dynamic, method, unlike, guessed, mean, covariance, prior_w, spread, slot_in, got, weighed, owed, room
) -> None:
    """Say of rows that were split by activity that it was by learned watts, and add one sigma of that to ``guessed``.

    ``table`` and ``told`` are as in `kernels.billing.watts.weigh`; ``dynamic``, ``method``, ``unlike`` and ``guessed``
    (int64[m]) as in `kernels.billing.split.Split`. To first order a share ``s_j`` of energy E moves by
    ``s_j (1[i = j] - s_i)`` for each relative error of k_i; their covariance is the state's (one of the two), a
    stranger's the prior's. Weights that were cut to the bound move it by as much as that changes. It is at most half of
    E. What rows have wrong that came late (`kernels.billing.late_rows`) is added once their slot is over. ``room`` is
    float64[m].
    """
    late = LateRows(slot_in, got, weighed, owed)
    used = rows_of(table)
    gpu, start, end, activity = used.gpu, used.start_us, used.end_us, used.rate
    place, which, cut, bare = told[0], told[1], told[CUT], told[CUT + 1]
    rows = LearnedRows(place, which, start, end, dynamic, method, activity, table[6:8], cut, bare)
    first = 0
    while first < len(gpu):
        g, stop = gpu[first], first + 1
        while stop < len(gpu) and gpu[stop] == g:
            stop += 1
        stranger = (spread * prior_w[g]) ** 2
        common = max(mean[g, 0, 0], LEAST_PART * prior_w[g])
        for i in range(first, stop):
            if not method[i] & BY_ACTIVITY:
                continue
            if activity[i] > 0:
                beside = _beside(i, first, stop, rows, room)
                guessed[i] += int(
                    _doubt_of(i, first, stop, rows, beside, covariance[g, which[i]], common, stranger, room)
                )
                weight = activity[i] * bare[i]
                got_hnj = beside.whole_hnj * (weight / beside.bare_weights) if beside.whole_hnj > 0.0 else 0.0
                note(late, g, place[i], start[i] // SLOT_US, got_hnj, weight * (end[i] - start[i]))
            guessed[i] += owed_to(late, g, place[i])
        for i in range(first, stop):
            if method[i] & BY_ACTIVITY:
                unlike[i] = 0
                method[i] ^= BY_ACTIVITY | LEARNED
        first = stop


@jit
def _together(rows: LearnedRows, i: int, j: int) -> int:
    """For how long (us) two rows were there at the same time."""
    return int(min(rows.end[i], rows.end[j]) - max(rows.start[i], rows.start[j]))


@jit
def _covariance(covariance, rows: LearnedRows, i: int, j: int, stranger: float) -> float:  # type: ignore[no-untyped-def]
    """Covariance of what two rows draw per activity, W^2."""
    found = 0.0
    for f in range(FEATURES):
        mine = 1.0 if f == 0 else max(rows.feature[f - 1, i], 0) / rows.activity[i]
        for h in range(FEATURES):
            other = 1.0 if h == 0 else max(rows.feature[h - 1, j], 0) / rows.activity[j]
            found += mine * other * covariance[f, h]
        if rows.place[j] >= 0:
            found += mine * covariance[f, rows.place[j]]
        if rows.place[i] >= 0:
            other = 1.0 if f == 0 else max(rows.feature[f - 1, j], 0) / rows.activity[j]
            found += other * covariance[rows.place[i], f]
    if rows.place[i] >= 0 and rows.place[j] >= 0:
        found += covariance[rows.place[i], rows.place[j]]
    elif i == j:
        found += stranger
    return found


class _Beside(NamedTuple):
    """What all rows got (hnj) while one was there, and their weights, cut to the bound and as estimated."""

    whole_hnj: float
    cut_weights: float
    bare_weights: float


@jit
def _beside(i: int, first: int, stop: int, rows: LearnedRows, room) -> _Beside:  # type: ignore[no-untyped-def]
    """Look at the rows that were there at the same time as row ``i``; what each got then goes to ``room``."""
    whole, cut_weights, bare_weights = 0.0, 0.0, 0.0
    for j in range(first, stop):
        together = _together(rows, i, j)
        room[j] = 0.0
        if together > 0 and rows.method[j] & BY_ACTIVITY and rows.activity[j] > 0:
            room[j] = rows.dynamic[j] * (together / (rows.end[j] - rows.start[j]))
            cut_weights += rows.activity[j] * (together / (rows.end[i] - rows.start[i])) * rows.cut[j]
            bare_weights += rows.activity[j] * (together / (rows.end[i] - rows.start[i])) * rows.bare[j]
        whole += room[j]
    return _Beside(whole, cut_weights, bare_weights)


@jit
def _doubt_of(  # type: ignore[no-untyped-def]
    i: int, first: int, stop: int, rows: LearnedRows, beside: _Beside, covariance, common: float, stranger: float, room
) -> float:
    """One sigma of row ``i``'s energy, beside those that were there at the same time."""
    whole = beside.whole_hnj
    if whole <= 0.0:
        return 0.0
    share, variance = room[i] / whole, 0.0
    for j in range(first, stop):
        if room[j] == 0.0:
            continue
        moved = ((1.0 if j == i else 0.0) - room[j] / whole) / (common * rows.cut[j] / ONE)
        for m in range(first, stop):
            if room[m] != 0.0:
                other = ((1.0 if m == i else 0.0) - room[m] / whole) / (common * rows.cut[m] / ONE)
                variance += moved * other * _covariance(covariance, rows, j, m, stranger)
    active = rows.activity[i]
    off = active * rows.cut[i] / beside.cut_weights - active * rows.bare[i] / beside.bare_weights
    return whole * min(math.sqrt(share * share * max(variance, 0.0) + off * off), 0.5)
