"""Slots of time in which watts are learned: what was active in each, and what energy the rows of that time got."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from wattshed.kernels.entry import f64, i64, kernel, written
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
NEAR_LIMIT = 0.97
HELD_BACK = 0.02
"""Part of a window for which a board was at its power limit, above which its watts teach nothing."""


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


class UsedRows(NamedTuple):
    """Usage rows of some windows, each window's GPU by GPU.

    Attributes
    ----------
    gpu, owner, start_us, end_us, rate, live, tensor, dram : int64[m]
        As in `agent.accounts.pending_usage.PendingUsage`: rates are millionths of the GPU, -1 unknown.
    """

    gpu: NDArray[np.int64]
    owner: NDArray[np.int64]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    rate: NDArray[np.int64]
    live: NDArray[np.int64]
    tensor: NDArray[np.int64]
    dram: NDArray[np.int64]


@kernel(
    i64[:], i64[:, :], i64[:, :], i64[:, :], i64[:, :], i64[:], f64[:, :], f64[:, :], f64[:],
    written(f64[:]), written(i64[:, :]), written(i64[:, :]),
    written(i64[:, :]), written(i64[:, :]), written(i64[:, :]), written(i64[:, :, :]),
)  # fmt: skip
def see(  # type: ignore[no-untyped-def]
    place, used, window, busy_us, offsets, power_mw, limit_w, held_s, own_limit_w, held_before_s, seen_us, slot_of,
    number, flags, energy, active,
) -> None:  # fmt: skip
    """Add what was used in some windows, in their order, to the slots.

    Parameters
    ----------
    place : int64[m]
        Of each row's owner among those of its GPU; -1: it has none.
    used : int64[8, m]
        `UsedRows`; those count in which somebody was live.
    window : int64[w, 4]
        Begin and end (us), and where its rows, and its readings, end.
    busy_us : int64[w, g]
        How long each GPU was busy; -1 unknown.
    offsets, power_mw : int64[w, g + 1], int64[n]
        The readings.
    limit_w, held_s : float64[w, g]
        The power limit, and for how long (s) it held the GPU back so far; NaN or 0 unknown.
    own_limit_w : float64[g]
        The limit of a GPU that says none.
    held_before_s, seen_us, slot_of : float64[g], int64[g, n], int64[g, 2]
        ``held_s`` of the window before; when each place's owner was seen last; and the last closed slot. A GPU that has
        none (-1) begins with the slot in which the first window ends: of that one only a part was seen.
    """
    rows = UsedRows(used[0], used[1], used[2], used[3], used[4], used[5], used[6], used[7])
    slots = Slots(number, flags, energy, active)
    row, reading = 0, 0
    for w in range(len(window)):
        start_us, end_us, stop, readings = window[w]
        for g in range(len(slot_of)):
            if slot_of[g, 0] < 0:
                slot_of[g, 0] = (end_us - 1) // SLOT_US
            near = False
            if g < busy_us.shape[1]:
                own_w = limit_w[w, g] if limit_w[w, g] > 0.0 else own_limit_w[g]
                near = _near_limit(power_mw[reading + offsets[w, g] : reading + offsets[w, g + 1]], own_w)
                near = near or held_s[w, g] - held_before_s[g] > HELD_BACK * (end_us - start_us) / 1e6
                held_before_s[g] = held_before_s[g] if math.isnan(held_s[w, g]) else held_s[w, g]
            first = row
            while row < stop and rows.gpu[row] == g:
                if rows.live[row] > 0 and place[row] >= 0:
                    seen_us[g, place[row]] = end_us
                row += 1
            busy = busy_us[w, g] if g < busy_us.shape[1] else -1
            _see_gpu(slots, rows, place, first, row, busy, max(end_us - start_us, 1), LIMITED if near else 0)
        row, reading = stop, readings


@jit
def _near_limit(power_mw, limit_w: float) -> bool:  # type: ignore[no-untyped-def]
    """Return whether any power is near a limit, if that is known."""
    for i in range(len(power_mw) if limit_w > 0.0 else 0):  # noqa: SIM110, numba knows no generators
        if power_mw[i] > NEAR_LIMIT * limit_w * 1e3:
            return True
    return False


@jit
def _see_gpu(  # type: ignore[no-untyped-def]
    slots: Slots, rows: UsedRows, place, first: int, stop: int, busy_us: int, window_us: int, flag: int
) -> None:
    """Add a GPU's rows of one window; of an owner who is alone and not asked for, with the GPU's own activity."""
    users, whole, known, alone, last = 0, 0, True, True, first
    for i in range(first, stop):
        if rows.live[i] > 0:
            other = place[i] != place[last] or (place[i] < 0 and rows.owner[i] != rows.owner[last])
            alone = alone and not (users > 0 and other)
            known = known and rows.rate[i] >= 0
            users, last = users + 1, i
    own = min(busy_us * 1_000_000 // window_us, 1_000_000) if busy_us >= 0 and alone and not known else -1
    for i in range(first, stop):
        if rows.live[i] > 0:
            whole += max(rows.rate[i] if own < 0 else own, 0) * (rows.end_us[i] - rows.start_us[i])
    if not known and own < 0:
        flag |= UNKNOWN
    if whole > (CONCURRENT_PPM + CONCURRENT_EACH_PPM * users) * window_us:
        flag |= CONCURRENT
    for i in range(first, stop):
        start_us, end_us = rows.start_us[i], rows.end_us[i]
        if rows.live[i] > 0:
            _flag(slots, rows.gpu[i], start_us, end_us, flag | (COARSE if end_us - start_us > LONG_US else 0))
            rate = rows.rate[i] if own < 0 else own
            if rate > 0:
                _active(slots, rows, i, place[i], rate)


@jit
def _active(slots: Slots, rows: UsedRows, i: int, place: int, rate: int) -> None:
    """Add a row's activities to its slots."""
    g, start, end = rows.gpu[i], rows.start_us[i], rows.end_us[i]
    for slot in range(start // SLOT_US, min((end - 1) // SLOT_US, start // SLOT_US + RING - 1) + 1):
        at = _open(slots, g, slot)
        if at < 0:
            continue
        span = min(end, (slot + 1) * SLOT_US) - max(start, slot * SLOT_US)
        slots.active[g, at, 0] += span * rate
        slots.active[g, at, 1] += span * max(rows.tensor[i], 0)
        slots.active[g, at, 2] += span * max(rows.dram[i], 0)
        if place >= 0:
            slots.active[g, at, place] += span * rate


@kernel(
    i64[:, :], i64[:], i64[:, :], i64[:, :],
    written(i64[:, :]), written(i64[:, :]), written(i64[:, :]), written(i64[:, :, :]),
)  # fmt: skip
def book(booked, stops, nobodys, hole, number, flags, energy, active) -> None:  # type: ignore[no-untyped-def]
    """Add what rows got to the slots, in proportion to time; and the holes, which teach nothing.

    Parameters
    ----------
    booked : int64[4, m]
        GPU, begin and end (us), and dynamic energy (hnj) of rows, which lie split by split and GPU by GPU.
    stops : int64[k]
        Where the rows of each split end.
    nobodys : int64[k, g], hnj
        What each GPU drew above idle that no row got: where there is as much as an eighth of all, somebody unknown was
        there.
    hole : int64[3, h]
        GPU, begin and end (us).
    """
    slots = Slots(number, flags, energy, active)
    gpu, start, end, dynamic = booked[0], booked[1], booked[2], booked[3]
    row = 0
    for k in range(len(stops)):
        while row < stops[k]:
            g, first, whole = gpu[row], row, 0
            while row < stops[k] and gpu[row] == g:
                whole += dynamic[row]
                row += 1
            for i in range(first, row):
                if dynamic[i] != 0 and end[i] > start[i]:
                    if nobodys[k, g] * 8 > whole:
                        _flag(slots, g, start[i], end[i], UNKNOWN)
                    _spread(slots, g, start[i], end[i], dynamic[i])
    for i in range(hole.shape[1]):
        _flag(slots, hole[0, i], hole[1, i], hole[2, i], GAP)


@jit
def _spread(slots: Slots, g: int, start: int, end: int, dynamic: int) -> None:
    """Add a row's energy to its slots."""
    left, at_us = dynamic, start
    for slot in range(start // SLOT_US, (end - 1) // SLOT_US + 1):
        until = min(end, (slot + 1) * SLOT_US)
        part = left if until == end else int(left * ((until - at_us) / (end - at_us)))
        at = _open(slots, g, slot) if end - start < RING * SLOT_US else -1
        if at >= 0:
            slots.energy_hnj[g, at] += part
        left, at_us = left - part, until
