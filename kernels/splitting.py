"""The fair split of a GPU's booked energy among those who held and used it; exact to the last half-nanojoule.

Per GPU, time is cut at every start and end of a usage row. Within one such segment the set of owners is constant, and
its energy is split once:

* static = min(E, idle power x time) of each piece: by reserved share, the unreserved rest to nobody (``_idle``);
  without any reservation equally among those present; nobody present: ``_idle``;
* dynamic = the rest: one live owner alone takes all; otherwise by activity, and what the known activities do not cover
  of the device's busy time (if they cover less than 90 %) belongs to somebody unknown (``_unattributed``); without
  activities by reserved share, else equally. Several present and none active: ``_unattributed``. Where an owner had at
  most its share (`AT_MOST`: it held some GPUs of a node, and nothing tells which), it takes that share and no more, and
  what nobody reserved is ``_unattributed``.

For a cost of the form *idle + k x activity* this is the Shapley value. Parts sum to the whole by largest remainder,
ties in the order of the rows, which the caller makes the order of the owners' keys: no order of arrival matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernels.columns import as_read
from kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHOLE_PPM = 1_000_000
HELD, LIVE, AT_MOST = 0, 1, 2
"""Values of ``live``: only held; a process was there; no more than the share can be the owner's."""
ALONE, BY_ACTIVITY, BY_SHARE, EQUAL, NOBODY_ACTIVE = 1, 2, 4, 8, 16
"""Bits of ``method``: how a row's dynamic energy was split."""


class Split(NamedTuple):
    """What each usage row and each GPU got.

    Attributes
    ----------
    static_hnj, dynamic_hnj : int64[m]
    method : int64[m]
        Bits: ALONE, BY_ACTIVITY, BY_SHARE, EQUAL, NOBODY_ACTIVE.
    peak_mw : int64[m], mW
        The row's part of the highest power of any piece while it was there.
    idle_hnj, unattributed_hnj : int64[g]
    """

    static_hnj: NDArray[np.int64]
    dynamic_hnj: NDArray[np.int64]
    method: NDArray[np.int64]
    peak_mw: NDArray[np.int64]
    idle_hnj: NDArray[np.int64]
    unattributed_hnj: NDArray[np.int64]


@jit(inline="always")
def _portion(total: int, part: int, whole: int) -> int:
    """floor(total x part / whole) without overflow, for 0 <= part <= whole; exact while ``whole`` < 2**31."""
    while whole >= 2_147_483_648:
        whole >>= 1
        part >>= 1
    return total // whole * part + total % whole * part // whole


@jit
def _apportion(total: int, weight, weights: int, n: int, out) -> None:  # type: ignore[no-untyped-def]
    """Split ``total`` by ``weight[:n]`` (sum ``weights`` > 0) into ``out[:n]``, by largest remainder."""
    left = total
    for j in range(n):
        out[j] = total // weights * weight[j] + total % weights * weight[j] // weights
        left -= out[j]
    chosen, bar = -1, weights  # the remainder just served, and whose it was; the next is lower, or as high and later
    while left > 0:
        best, best_remainder = -1, -1
        for j in range(n):
            remainder = total % weights * weight[j] % weights
            if (remainder < bar or (remainder == bar and j > chosen)) and remainder > best_remainder and weight[j] > 0:
                best, best_remainder = j, remainder
        out[best] += 1
        left -= 1
        chosen, bar = best, best_remainder


@jit
def _split_static(total: int, share, rows, n: int, weight, part, static) -> int:  # type: ignore[no-untyped-def]
    """Give a segment's static energy to the ``n`` owners present; returns what is left for ``_idle``."""
    if n == 0 or total == 0:
        return total
    reserved = 0
    unknown = 0
    for j in range(n):
        if share[rows[j]] >= 0:
            reserved += share[rows[j]]
        else:
            unknown += 1
    free = max(WHOLE_PPM - reserved, 0)
    # Weights in millionths of the GPU times the number without a reservation, so that these divide the rest evenly.
    times = max(unknown, 1)
    weights = 0
    for j in range(n):
        weight[j] = share[rows[j]] * times if share[rows[j]] >= 0 else free
        weights += weight[j]
    weight[n] = free * times if unknown == 0 else 0
    weights += weight[n]
    if weights == 0:
        return total
    _apportion(total, weight, weights, n + 1, part)
    for j in range(n):
        static[rows[j]] += part[j]
    return int(part[n])


@jit
def _split_dynamic(total: int, activity, busy, share, live, rows, n: int, weight, part, dynamic, method) -> int:  # type: ignore[no-untyped-def]
    """Give a segment's dynamic energy to the active ones; returns what is left for ``_unattributed``."""
    if total == 0 or n == 0:
        return total
    count, last, bounded = 0, -1, False
    active, all_active_known, reserved, all_reserved = 0, True, 0, True
    for j in range(n):
        row = rows[j]
        if live[row] == 0:
            continue
        count += 1
        last = row
        active += max(activity[row], 0)
        all_active_known = all_active_known and activity[row] >= 0
        reserved += max(share[row], 0)
        all_reserved = all_reserved and share[row] >= 0
        bounded = bounded or live[row] == AT_MOST
    if count == 0 and n == 1 and share[rows[0]] >= WHOLE_PPM:
        # Nobody was seen, but the whole GPU is this one's: what it drew above idle is the holder's too.
        count, last = 1, rows[0]
    if bounded:
        left = _split_static(total, share, rows, n, weight, part, dynamic)
        for j in range(n):
            method[rows[j]] |= BY_SHARE
        return left
    if count == 1:
        dynamic[last] += total
        method[last] |= ALONE
        return 0
    if count == 0:
        return total
    kind = BY_ACTIVITY if all_active_known else BY_SHARE if all_reserved and reserved > 0 else EQUAL
    weights = 0
    for j in range(n):
        row = rows[j]
        if live[row] == 0:
            weight[j] = 0
        elif kind == BY_ACTIVITY:
            weight[j] = activity[row]
        elif kind == BY_SHARE:
            weight[j] = share[row]
        else:
            weight[j] = 1
        weights += weight[j]
    if weights == 0:
        for j in range(n):
            if live[rows[j]] != 0:
                method[rows[j]] |= NOBODY_ACTIVE
        return total
    weight[n] = 0
    if kind == BY_ACTIVITY and active * 10 < busy[last] * 9:
        weight[n] = busy[last] - active
        weights += weight[n]
    _apportion(total, weight, weights, n + 1, part)
    for j in range(n):
        row = rows[j]
        if live[row] != 0:
            dynamic[row] += part[j]
            method[row] |= kind
    return int(part[n])


@jit(inline="always")
def _part(rest: int, begin_mw: int, end_mw: int, span: int, dt: int) -> tuple[int, int]:
    """Cut ``span`` off a piece of ``rest`` energy and length ``dt``: its energy, and the power at the cut.

    Along the straight line between the powers at its ends; evenly in time where these are not known (-1).
    """
    weights = (begin_mw + end_mw) * dt
    if begin_mw < 0 or weights <= 0:
        return _portion(rest, span, dt), begin_mw
    cut_mw = begin_mw + (end_mw - begin_mw) * span // dt
    weight = min((begin_mw + cut_mw) * span, weights)
    return (weight if rest == weights else _portion(rest, weight, weights)), cut_mw


@jit
def _split_gpu(  # type: ignore[no-untyped-def]
    t0,
    t1,
    energy,
    begin_mw,
    end_mw,
    first,
    count,
    idle_mw,
    lo,
    hi,
    by_end,
    start,
    end,
    activity,
    busy,
    share,
    live,
    static,
    dynamic,
    method,
    peak,
) -> tuple[int, int]:
    """Sweep one GPU's pieces and the starts and ends of its rows ``lo:hi`` together."""
    rows = np.empty(hi - lo, np.int64)  # the owners present, in the order of the rows
    weight = np.empty(hi - lo + 1, np.int64)
    part = np.empty(hi - lo + 1, np.int64)
    by_start = np.argsort(start[lo:hi], kind="mergesort")
    present = 0
    next_start, next_end = 0, lo
    idle, unattributed = 0, 0
    segment_static, segment_dynamic, segment_peak = 0, 0, 0
    k = first
    stop = first + count
    cursor = t0[k] if count > 0 else 0
    rest = energy[k] if count > 0 else 0
    power = begin_mw[k] if count > 0 else 0
    while k < stop:
        # The next moment at which somebody comes or goes.
        edge = t1[stop - 1] + 1
        if next_start < hi - lo:
            edge = min(edge, start[lo + by_start[next_start]])
        if next_end < hi:
            edge = min(edge, end[by_end[next_end]])
        # All the pieces, or parts of pieces, before it.
        while k < stop and cursor < edge:
            dt = t1[k] - cursor
            whole = t1[k] <= edge
            span = dt if whole else edge - cursor
            amount = rest
            if not whole:
                amount, power = _part(rest, power, end_mw[k], span, dt)
            still = 0
            if idle_mw > 0 and span > 0:  # min(amount, 2 * idle_mw * span), which may not fit in a word
                still = amount if amount // span < 2 * idle_mw else 2 * idle_mw * span
            segment_static += still
            segment_dynamic += amount - still
            segment_peak = max(segment_peak, amount // (2 * max(span, 1)))
            if whole:
                k += 1
                if k < stop:
                    cursor, rest, power = t0[k], energy[k], begin_mw[k]
            else:
                cursor, rest = edge, rest - amount
        before = np.empty(present, np.int64)
        for j in range(present):
            before[j] = static[rows[j]] + dynamic[rows[j]]
        idle += _split_static(segment_static, share, rows, present, weight, part, static)
        unattributed += _split_dynamic(
            segment_dynamic, activity, busy, share, live, rows, present, weight, part, dynamic, method
        )
        total = segment_static + segment_dynamic
        for j in range(present):
            own = static[rows[j]] + dynamic[rows[j]] - before[j]
            if total > 0:
                peak[rows[j]] = max(peak[rows[j]], _portion(segment_peak, own, total))
        segment_static, segment_dynamic, segment_peak = 0, 0, 0
        # Those who go leave before those who come enter.
        while next_end < hi and end[by_end[next_end]] <= edge:
            gone = by_end[next_end]
            j = 0
            while j < present and rows[j] != gone:
                j += 1
            if j < present:
                present -= 1
                for m in range(j, present):
                    rows[m] = rows[m + 1]
            next_end += 1
        while next_start < hi - lo and start[lo + by_start[next_start]] <= edge:
            row = lo + by_start[next_start]
            if end[row] > edge:
                j = present
                while j > 0 and rows[j - 1] > row:
                    rows[j] = rows[j - 1]
                    j -= 1
                rows[j] = row
                present += 1
            next_start += 1
    return idle, unattributed


@jit
def _split(  # type: ignore[no-untyped-def]
    starts,
    counts,
    t0,
    t1,
    energy,
    begin_mw,
    end_mw,
    idle_mw,
    rows,
    by_end,
    start,
    end,
    activity,
    busy,
    share,
    live,
    static,
    dynamic,
    method,
    peak,
    idle,
    unattributed,
) -> None:
    for gpu in range(len(counts)):
        idle[gpu], unattributed[gpu] = _split_gpu(
            t0, t1, energy, begin_mw, end_mw, starts[gpu], counts[gpu], idle_mw[gpu], rows[gpu], rows[gpu + 1], by_end,
            start, end, activity, busy, share, live, static, dynamic, method, peak,
        )  # fmt: skip


def split(
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    t0_us: NDArray[np.int64],
    t1_us: NDArray[np.int64],
    energy_hnj: NDArray[np.int64],
    idle_mw: NDArray[np.int64],
    rows: NDArray[np.int64],
    start_us: NDArray[np.int64],
    end_us: NDArray[np.int64],
    activity_ppm: NDArray[np.int64],
    busy_ppm: NDArray[np.int64],
    share_ppm: NDArray[np.int64],
    live: NDArray[np.int8],
    *,
    begin_mw: NDArray[np.int64] | None = None,
    end_mw: NDArray[np.int64] | None = None,
) -> Split:
    """Split the pieces of `kernels.booking.merge` among usage rows.

    Parameters
    ----------
    starts, counts : int64[g]
    t0_us, t1_us, energy_hnj : int64[*]
        The pieces, as `merge` returns them.
    idle_mw : int64[g], mW
        Idle power; -1 unknown (then nothing is static).
    rows : int64[g + 1]
        GPU ``i`` owns usage rows ``rows[i]:rows[i + 1]``, in the order of their owners' keys; rows of one owner never
        overlap.
    start_us, end_us : int64[m], us
    activity_ppm, busy_ppm : int64[m], millionths of the GPU
        How busy the owner kept the GPU while present, and how busy the GPU was with anything; -1 unknown.
    share_ppm : int64[m], millionths of the GPU
        Reserved share; -1 none known.
    live : int8[m]
        1 if a process of the owner was there, 0 if the GPU was only held, 2 if its share is all that can be its.
    begin_mw, end_mw : int64[*], mW, optional
        Power at the ends of each piece: a piece is cut along the straight line between them, else evenly in time.

    Returns
    -------
    Split
        Its parts sum to the pieces of each GPU exactly.
    """
    gpus, m = len(counts), len(start_us)
    static, dynamic = np.zeros(m, np.int64), np.zeros(m, np.int64)
    method, peak = np.zeros(m, np.int64), np.zeros(m, np.int64)
    idle, unattributed = np.zeros(gpus, np.int64), np.zeros(gpus, np.int64)
    if begin_mw is None or end_mw is None:
        begin_mw = end_mw = np.full(len(energy_hnj), -1, np.int64)
    gpu_of = np.repeat(np.arange(gpus), np.diff(rows))
    by_end = np.lexsort((end_us, gpu_of)).astype(np.int64)
    start_us, end_us, live = as_read(start_us), as_read(end_us), as_read(live)
    activity_ppm, busy_ppm, share_ppm = as_read(activity_ppm), as_read(busy_ppm), as_read(share_ppm)
    _split(
        starts, counts, t0_us, t1_us, energy_hnj, begin_mw, end_mw, idle_mw, rows, by_end,
        start_us, end_us, activity_ppm, busy_ppm, share_ppm, live, static, dynamic, method, peak, idle, unattributed,
    )  # fmt: skip
    return Split(static, dynamic, method, peak, idle, unattributed)
