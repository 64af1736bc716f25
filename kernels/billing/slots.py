"""Slots of time in which watts are learned: what was active in each, and what energy the rows of that time got."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wattshed.kernels.entry import i64, kernel, written
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SLOT_US = 5_000_000
RING = 16
"""Slots of a GPU that are open at most: energy that is booked later teaches nothing."""
GAP, CONCURRENT, LIMITED, UNKNOWN, COARSE = 1, 2, 4, 8, 16
"""Why a slot teaches nothing: its energy is not known; kernels of several jobs ran at once; the board was held back;
an activity is not known; rows are longer than two slots."""
LONG_US = 2 * SLOT_US
CONCURRENT_PPM, CONCURRENT_EACH_PPM = 1_020_000, 5_000
"""More activity than this, and so much for each row, cannot be one after the other."""


class Slots(NamedTuple):
    """What was seen of each GPU's last `RING` slots.

    Attributes
    ----------
    number : int64[g, RING]
        Which slot lies there; -1 none.
    flags : int64[g, RING]
    energy_hnj : int64[g, RING], hnj
        Dynamic energy of the rows.
    active : int64[g, RING, n], SM-microseconds in millionths
        Sums of the features, then each place's.
    """

    number: NDArray[np.int64]
    flags: NDArray[np.int64]
    energy_hnj: NDArray[np.int64]
    active: NDArray[np.int64]


@jit
def _open(slots: Slots, gpu: int, slot: int) -> int:
    """Return where a slot lies, cleared if it is new; -1 if it is too old."""
    at = slot % RING
    if slots.number[gpu, at] == slot:
        return at
    if slots.number[gpu, at] > slot:
        return -1
    slots.number[gpu, at], slots.flags[gpu, at], slots.energy_hnj[gpu, at] = slot, 0, 0
    for i in range(slots.active.shape[2]):
        slots.active[gpu, at, i] = 0
    return at


@jit
def _flag(slots: Slots, gpu: int, start: int, end: int, flag: int) -> None:
    """Mark all slots from ``start`` to ``end`` (us) of which there is one."""
    for slot in range(start // SLOT_US, min((end - 1) // SLOT_US, start // SLOT_US + RING - 1) + 1):
        at = _open(slots, gpu, slot)
        if at >= 0:
            slots.flags[gpu, at] |= flag


@kernel(
    i64[:], i64[:], i64[:], i64[:], i64[:], i64[:, :], i64[:], i64,
    written(i64[:, :]), written(i64[:, :]), written(i64[:, :]), written(i64[:, :, :]),
)  # fmt: skip
def see(  # type: ignore[no-untyped-def]
    gpu, place, start, end, rate, feature, limited, window_us, number, flags, energy, active
) -> None:
    """Add the usage rows of a window in which somebody was live, which lie GPU by GPU, to the slots.

    ``rate`` (millionths of the GPU, -1 unknown) and the other features' rates (``feature[2, m]``) belong to a row;
    ``limited`` is 1 for each GPU that its power limit held back.
    """
    slots = Slots(number, flags, energy, active)
    row = 0
    while row < len(gpu):
        g, first, whole, users, known = gpu[row], row, 0, 0, True
        while row < len(gpu) and gpu[row] == g:
            users += 1
            whole += max(rate[row], 0) * (end[row] - start[row])
            known = known and rate[row] >= 0
            row += 1
        flag = 0 if known else UNKNOWN
        if whole > (CONCURRENT_PPM + CONCURRENT_EACH_PPM * users) * window_us:
            flag |= CONCURRENT
        if limited[g] != 0:
            flag |= LIMITED
        for i in range(first, row):
            _flag(slots, g, start[i], end[i], flag | (COARSE if end[i] - start[i] > LONG_US else 0))
            if rate[i] > 0:
                _active(slots, i, g, place, start, end, rate, feature)


@jit
def _active(slots: Slots, i: int, g: int, place, start, end, rate, feature) -> None:  # type: ignore[no-untyped-def]
    """Add a row's activities to its slots."""
    for slot in range(start[i] // SLOT_US, min((end[i] - 1) // SLOT_US, start[i] // SLOT_US + RING - 1) + 1):
        at = _open(slots, g, slot)
        if at < 0:
            continue
        span = min(end[i], (slot + 1) * SLOT_US) - max(start[i], slot * SLOT_US)
        slots.active[g, at, 0] += span * rate[i]
        slots.active[g, at, 1] += span * max(feature[0, i], 0)
        slots.active[g, at, 2] += span * max(feature[1, i], 0)
        if place[i] >= 0:
            slots.active[g, at, place[i]] += span * rate[i]


@kernel(
    i64[:], i64[:], i64[:], i64[:], i64[:], i64[:], i64[:], i64[:],
    written(i64[:, :]), written(i64[:, :]), written(i64[:, :]), written(i64[:, :, :]),
)  # fmt: skip
def book(  # type: ignore[no-untyped-def]
    gpu, start, end, dynamic, hole_gpu, hole_start, hole_end, nobodys, number, flags, energy, active
) -> None:
    """Add what rows got to the slots, in proportion to time; and the holes, which teach nothing.

    ``nobodys`` (int64[g]) is what each GPU drew above idle that no row got: where there is as much as an eighth of all,
    somebody unknown was there.
    """
    slots = Slots(number, flags, energy, active)
    row = 0
    while row < len(gpu):
        g, first, whole = gpu[row], row, 0
        while row < len(gpu) and gpu[row] == g:
            whole += dynamic[row]
            row += 1
        for i in range(first, row):
            if dynamic[i] == 0 or end[i] <= start[i]:
                continue
            if nobodys[g] * 8 > whole:
                _flag(slots, g, start[i], end[i], UNKNOWN)
            left, at_us = dynamic[i], start[i]
            for slot in range(start[i] // SLOT_US, (end[i] - 1) // SLOT_US + 1):
                until = min(end[i], (slot + 1) * SLOT_US)
                part = left if until == end[i] else int(left * ((until - at_us) / (end[i] - at_us)))
                at = _open(slots, g, slot) if end[i] - start[i] < RING * SLOT_US else -1
                if at >= 0:
                    slots.energy_hnj[g, at] += part
                left, at_us = left - part, until
    for i in range(len(hole_gpu)):
        _flag(slots, hole_gpu[i], hole_start[i], hole_end[i], GAP)
