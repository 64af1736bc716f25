"""One sigma of a split by learned watts (`kernels.billing.watts`); it moves no joule."""

from __future__ import annotations

import math

from wattshed.kernels.billing.shares import BY_ACTIVITY
from wattshed.kernels.entry import f64, i64, kernel, written
from wattshed.kernels.jit import jit


@kernel(
    i64[:], i64[:], i64[:], i64[:], i64[:], i64[:], i64[:], i64[:], i64[:], i64[:], f64[:, :, :, :], f64,
    written(i64[:]), written(f64[:]),
)  # fmt: skip
def doubt(  # type: ignore[no-untyped-def]
    gpu, place, which, start, end, dynamic, method, activity, cut, bare, unlike, spread, sigma, room
) -> None:
    """Add one sigma (hnj) of what rows got by learned watts to ``sigma`` (int64[m]); rows lie GPU by GPU.

    To first order a share ``s_j`` of energy E moves by ``s_j (1[i = j] - s_i)`` for each relative error of k_i; their
    covariance is the state's (``unlike[gpu, which]``), a stranger's the prior's. Weights that were cut to the bound
    (``cut`` and not ``bare``) move it by as much as that changes. It is at most half of E. ``room`` is float64[m].
    """
    first = 0
    while first < len(gpu):
        stop = first + 1
        while stop < len(gpu) and gpu[stop] == gpu[first]:
            stop += 1
        for i in range(first, stop):
            if method[i] & BY_ACTIVITY and activity[i] > 0:
                sigma[i] += int(
                    _doubt_of(i, first, stop, place, which, start, end, dynamic, method, activity, cut, bare,
                              unlike[gpu[first]], spread, room)
                )  # fmt: skip
        first = stop


@jit
def _doubt_of(  # type: ignore[no-untyped-def]
    i: int, first: int, stop: int, place, which, start, end, dynamic, method, activity, cut, bare, unlike,
    spread: float, room,
) -> float:  # fmt: skip
    """One sigma of row ``i``'s energy, beside those that were there at the same time."""
    whole, bare_weights, cut_weights = 0.0, 0.0, 0.0
    for j in range(first, stop):
        together = min(end[i], end[j]) - max(start[i], start[j])
        room[j] = 0.0
        if together > 0 and method[j] & BY_ACTIVITY and activity[j] > 0:
            room[j] = dynamic[j] * (together / (end[j] - start[j]))
            part = activity[j] * (together / (end[i] - start[i]))
            cut_weights += part * cut[j]
            bare_weights += part * bare[j]
        whole += room[j]
    if whole <= 0.0:
        return 0.0
    share, variance = room[i] / whole, 0.0
    for j in range(first, stop):
        if room[j] == 0.0:
            continue
        moved = (1.0 if j == i else 0.0) - room[j] / whole
        for m in range(first, stop):
            if room[m] == 0.0:
                continue
            other = (1.0 if m == i else 0.0) - room[m] / whole
            if place[j] >= 0 and place[m] >= 0:
                variance += moved * other * unlike[which[i], place[j], place[m]]
            elif j == m:
                variance += moved * other * spread * spread
    off = activity[i] * cut[i] / cut_weights - activity[i] * bare[i] / bare_weights
    return whole * min(math.sqrt(share * share * max(variance, 0.0) + off * off), 0.5)
