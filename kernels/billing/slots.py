"""Slots of time in which watts are learned: what was active in each, and what energy the rows of that time got."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SLOT_US = 5_000_000
RING = 20
"""Slots of a GPU that are open at most: energy that is booked later teaches nothing."""
GAP, CONCURRENT, LIMITED, UNKNOWN, COARSE = 1, 2, 4, 8, 16
"""Why a slot teaches nothing: its energy is not known; kernels of several jobs ran at once; the board was held back;
an activity is not known; rows are longer than two slots."""
LONG_US = 2 * SLOT_US
CONCURRENT_PPM, CONCURRENT_EACH_PPM = 1_020_000, 5_000
"""More activity than this, and so much for each row, cannot be one after the other."""
USED_COLUMNS, BOOKED_COLUMNS = 10, 4
"""Of the columns of `agent.accounts.pending_usage.COLUMNS` so many are laid out of rows that are seen, and booked."""
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
    """Usage rows of a window, GPU by GPU.

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


class SeenWindow(NamedTuple):
    """A window: its usage, and by what is told whether a power limit held a GPU back.

    Attributes
    ----------
    start_us, end_us : int, us
    rows : UsedRows
        Those count in which somebody was live.
    busy_us : int64[g], us
        How long each GPU was busy; -1 unknown.
    offsets, power_mw : int64[g + 1], int64[n]
        The readings.
    limit_w, held_s : float64[g]
        The power limit, and for how long (s) it held the GPU back so far; NaN or 0 unknown.
    """

    start_us: int
    end_us: int
    rows: UsedRows
    busy_us: NDArray[np.int64]
    offsets: NDArray[np.int64]
    power_mw: NDArray[np.int64]
    limit_w: NDArray[np.float64]
    held_s: NDArray[np.float64]


@jit
def rows_in(seen, at: int, m: int) -> UsedRows:  # type: ignore[no-untyped-def]
    """Return the ``m`` rows whose columns lie one after the other from ``at``."""
    return UsedRows(
        seen[at : at + m], seen[at + m : at + 2 * m], seen[at + 2 * m : at + 3 * m], seen[at + 3 * m : at + 4 * m],
        seen[at + 4 * m : at + 5 * m], seen[at + 5 * m : at + 6 * m], seen[at + 6 * m : at + 7 * m],
        seen[at + 7 * m : at + 8 * m],
    )  # fmt: skip


@jit
def rows_of(table) -> UsedRows:  # type: ignore[no-untyped-def]
    """Return the rows of a table (int64[10, m])."""
    return UsedRows(table[0], table[1], table[2], table[3], table[4], table[5], table[6], table[7])


@jit
def length_of(m: int, gpus: int, readings: int) -> int:
    """Return how many numbers a window is laid out in."""
    return USED_COLUMNS * m + 2 * gpus + 1 + readings


@jit
def window_in(seen, gauges, window, w: int, at: int, gauge: int) -> SeenWindow:  # type: ignore[no-untyped-def]
    """Return a window whose columns lie one after the other: the rows', its GPUs', the readings'."""
    start_us, end_us, m, gpus, readings = window[w]
    busy = at + USED_COLUMNS * m
    offsets = busy + gpus
    power = offsets + gpus + 1
    return SeenWindow(
        start_us, end_us, rows_in(seen, at, m), seen[busy:offsets], seen[offsets:power], seen[power : power + readings],
        gauges[gauge : gauge + gpus], gauges[gauge + gpus : gauge + 2 * gpus],
    )  # fmt: skip


@jit
def see(one: SeenWindow, place, own_limit_w, held_s, seen_us, slot_of, slots: Slots) -> None:  # type: ignore[no-untyped-def]
    """Add what was used in a window to the slots.

    Parameters
    ----------
    one : SeenWindow
    place : int64[g, owners]
        Of each owner on each GPU; below 0: it has none.
    own_limit_w : float64[g]
        The limit of a GPU that says none.
    held_s, seen_us, slot_of : float64[g], int64[g, n], int64[g, 2]
        ``held_s`` of the window before; when each place's owner was seen last; and the last closed slot. A GPU that has
        none (-1) begins with the slot in which the window ends: of that one only a part was seen.
    slots : Slots
    """
    rows, window_us, row = one.rows, max(one.end_us - one.start_us, 1), 0
    for g in range(len(slot_of)):
        if slot_of[g, 0] < 0:
            slot_of[g, 0] = (one.end_us - 1) // SLOT_US
        near, busy_us = False, -1
        if g < len(one.busy_us):
            busy_us = one.busy_us[g]
            limit_w = one.limit_w[g] if one.limit_w[g] > 0.0 else own_limit_w[g]
            near = _near_limit(one.power_mw[one.offsets[g] : one.offsets[g + 1]], limit_w)
            near = near or one.held_s[g] - held_s[g] > HELD_BACK * (one.end_us - one.start_us) / 1e6
            held_s[g] = held_s[g] if math.isnan(one.held_s[g]) else one.held_s[g]
        first = row
        while row < len(rows.gpu) and rows.gpu[row] == g:
            if rows.live[row] > 0 and place[g, rows.owner[row]] >= 0:
                seen_us[g, place[g, rows.owner[row]]] = one.end_us
            row += 1
        if row > first:
            _see_gpu(slots, rows, place[g], first, row, busy_us, window_us, LIMITED if near else 0)


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
            other = place[rows.owner[i]] < 0 or place[rows.owner[i]] != place[rows.owner[last]]
            other = other and rows.owner[i] != rows.owner[last]
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
                _active(slots, rows, i, place[rows.owner[i]], rate)


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


@jit
def book(booked, at: int, m: int, gpus: int, slots: Slots) -> None:  # type: ignore[no-untyped-def]
    """Add what rows got in one split to the slots, in proportion to time.

    ``booked[at:]`` (int64) holds columns one after the other: of ``m`` rows, GPU by GPU, the GPU, owner, begin and end
    (us), and dynamic energy (hnj); and what each of ``gpus`` GPUs drew above idle that no row got (hnj): where that is
    as much as an eighth of all, somebody unknown was there.
    """
    gpu, start, end = booked[at : at + m], booked[at + 2 * m : at + 3 * m], booked[at + 3 * m : at + 4 * m]
    got = at + BOOKED_COLUMNS * m
    dynamic, nobodys = booked[got : got + m], booked[got + m : got + m + gpus]
    row = 0
    while row < m:
        g, first, whole = gpu[row], row, 0
        while row < m and gpu[row] == g:
            whole += dynamic[row]
            row += 1
        for i in range(first, row):
            if dynamic[i] != 0 and end[i] > start[i]:
                if nobodys[g] * 8 > whole:
                    _flag(slots, g, start[i], end[i], UNKNOWN)
                _spread(slots, g, start[i], end[i], dynamic[i])


@jit
def miss(hole, slots: Slots) -> None:  # type: ignore[no-untyped-def]
    """Mark holes, which teach nothing: GPU, begin and end, us (int64[3, h])."""
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
