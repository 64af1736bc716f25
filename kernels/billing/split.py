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

A piece that is a hole (no reading covers it) is cut at its owners' edges by the powers before and after it
(`kernels.billing.crossing`). How far off a split may be, `kernels.billing.doubt` says; it moves no joule.

For a cost of the form *idle + k x activity* this is the Shapley value. Parts sum to the whole by largest remainder,
ties in the order of the rows, which the caller makes the order of the owners' keys: no order of arrival matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.kernels.billing import crossing, doubt
from wattshed.kernels.billing.shares import (
    BY_ACTIVITY,
    BY_SHARE,
    EQUAL,
    NOBODY_ACTIVE,
    parts_of_use,
    portion,
    split_dynamic,
    split_static,
)
from wattshed.kernels.columns import as_read
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Split(NamedTuple):
    """What each usage row and each GPU got.

    Attributes
    ----------
    static_hnj, dynamic_hnj : int64[m]
    method : int64[m]
        Bits: ALONE, BY_ACTIVITY, BY_SHARE, EQUAL, NOBODY_ACTIVE.
    peak_mw : int64[m], mW
        The row's part of the highest power of any piece while it was there.
    unlike_hnj : int64[m]
        One sigma of what was split by activity, if watts per activity differ among jobs by 100 %.
    guessed_hnj : int64[m]
        One sigma of what was split in any other way, and of how holes were cut.
    booked_us : int64[m], us
        Time of the row that pieces cover.
    idle_us : int64[m], us
        By how much its energy would rise with idle power (below 0: fall); what is nobody's takes the rest.
    idle_hnj, unattributed_hnj : int64[g]
    """

    static_hnj: NDArray[np.int64]
    dynamic_hnj: NDArray[np.int64]
    method: NDArray[np.int64]
    peak_mw: NDArray[np.int64]
    unlike_hnj: NDArray[np.int64]
    guessed_hnj: NDArray[np.int64]
    booked_us: NDArray[np.int64]
    idle_us: NDArray[np.int64]
    idle_hnj: NDArray[np.int64]
    unattributed_hnj: NDArray[np.int64]


@jit
def _split_gpu(  # type: ignore[no-untyped-def]
    t0,
    t1,
    energy,
    begin_mw,
    end_mw,
    hole,
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
    owner,
    static,
    dynamic,
    method,
    peak,
    known,
    rests,
) -> tuple[int, int]:
    """Sweep one GPU's pieces and the starts and ends of its rows ``lo:hi`` together."""
    rows = np.empty(hi - lo, np.int64)  # the owners present, in the order of the rows
    weight = np.empty(hi - lo + 1, np.int64)
    part = np.empty(hi - lo + 1, np.int64)
    before = np.empty((hi - lo, 3), np.int64)  # static and dynamic energy and method of those present, before a segment
    used = np.empty(hi - lo, np.float64)  # the part of each of them in what is split by use
    by_start = np.argsort(start[lo:hi], kind="mergesort")
    present = 0
    next_start, next_end = 0, lo
    idle, unattributed = 0, 0
    segment_static, segment_dynamic, segment_peak, segment_us, segment_doubt = 0, 0, 0, 0, 0.0
    first_edge, last_edge, weights, between_mw = crossing.FOREVER, -1, 0, 0  # of the hole that the cursor is in
    above, since_edge = 0.0, 0.0  # what of it was used above idle, and that since an owner came or went last
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
            unseen = len(hole) > 0 and hole[k] != 0
            if unseen and cursor == t0[k]:
                first_edge, last_edge = crossing.owners_edges(
                    cursor, t1[k], next_start, next_end, lo, hi, by_start, by_end, start, end, owner
                )
                weights, between_mw = crossing.weigh(
                    cursor, t1[k], rest, first_edge, last_edge, present, begin_mw[k], end_mw[k], idle_mw,
                    next_start, next_end, lo, hi, by_start, by_end, start, end,
                )  # fmt: skip
                above, since_edge = max(rest - 2.0 * max(idle_mw, 0) * dt, 0.0), 0.0
            cut = unseen and last_edge >= 0 and weights > 0
            if not whole and cut:
                weight_mw = crossing.power_in(
                    cursor, first_edge, last_edge, present, begin_mw[k], end_mw[k], idle_mw, between_mw
                )
                amount = portion(rest, min(weight_mw * span, weights), weights)
                weights -= weight_mw * span
            elif not whole:
                amount, power = crossing.along_the_line(rest, power, end_mw[k], span, dt)
                if rests and present == 0 and cursor == t0[k] and crossing.at_rest(begin_mw[k], idle_mw):
                    amount = min(amount, 2 * idle_mw * span)
                elif (
                    rests
                    and present > 0
                    and crossing.at_rest(end_mw[k], idle_mw)
                    and crossing.nobody_after(
                        edge, t1[k], present, next_start, next_end, lo, hi, by_start, by_end, start, end
                    )
                ):
                    amount = max(amount, rest - 2 * idle_mw * (dt - span))
            twice_mw = amount // max(span, 1)  # divided once: it is what most of the time for a piece goes into
            still = 0
            if idle_mw > 0 and span > 0:  # min(amount, 2 * idle_mw * span), which may not fit in a word
                still = amount if twice_mw < 2 * idle_mw else 2 * idle_mw * span
            segment_static += still
            segment_dynamic += amount - still
            segment_us += span
            if cut:
                # Windows end in a hole, and with them rows, but that makes nothing less certain.
                segment_doubt -= doubt.of_share(above, since_edge)
                since_edge += float(amount - still)
                segment_doubt += doubt.of_share(above, since_edge)
            segment_peak = max(segment_peak, twice_mw // 2)
            if whole:
                k += 1
                if k < stop:
                    cursor, rest, power = t0[k], energy[k], begin_mw[k]
            else:
                cursor, rest = edge, rest - amount
        for j in range(present):
            before[j, 0], before[j, 1], before[j, 2] = static[rows[j]], dynamic[rows[j]], method[rows[j]]
        idle += split_static(segment_static, share, rows, present, weight, part, static)
        left, kind = split_dynamic(
            segment_dynamic, activity, busy, share, live, rows, present, weight, part, dynamic, method
        )
        unattributed += left
        if kind == BY_ACTIVITY:
            doubt.of_activity(segment_dynamic, part, rows, present, known)
        elif kind == NOBODY_ACTIVE:
            doubt.of_nobody(segment_dynamic, live, rows, present, known)
        elif kind in {BY_SHARE, EQUAL}:
            doubt.of_guess(segment_dynamic, part, rows, present, known)
        elif kind < 0:
            doubt.of_bound(part, rows, present, known)
        total = segment_static + segment_dynamic
        if present > 0 and segment_static > 0:
            parts_of_use(
                segment_dynamic, before, activity, busy, share, live, rows, present, weight, part, dynamic, method, used
            )
        for j in range(present):
            row = rows[j]
            known[row, 2] += segment_us
            if segment_static > 0:
                by_rest = (static[row] - before[j, 0]) / segment_static
                known[row, 3] += round(segment_us * (by_rest - used[j]))
            moved = dynamic[row] - before[j, 1]
            own = static[row] - before[j, 0] + moved
            if total > 0:
                peak[row] = max(peak[row], portion(segment_peak, own, total))
            if segment_doubt != 0.0 and segment_dynamic > 0:
                known[row, 1] += int(segment_doubt * (moved / segment_dynamic))
        segment_static, segment_dynamic, segment_peak, segment_us, segment_doubt = 0, 0, 0, 0, 0.0
        # Those who go leave before those who come enter.
        while next_end < hi and end[by_end[next_end]] <= edge:
            gone = by_end[next_end]
            if len(hole) > 0 and not crossing.goes_on(gone, gone + 1, hi, start, end, owner):
                since_edge = 0.0
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
            if len(hole) > 0 and (row == lo or not crossing.goes_on(row - 1, row, hi, start, end, owner)):
                since_edge = 0.0
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
    hole,
    idle_mw,
    rows,
    by_end,
    start,
    end,
    activity,
    busy,
    share,
    live,
    owner,
    static,
    dynamic,
    method,
    peak,
    known,
    idle,
    unattributed,
    rests,
) -> None:
    for gpu in range(len(counts)):
        idle[gpu], unattributed[gpu] = _split_gpu(
            t0, t1, energy, begin_mw, end_mw, hole, starts[gpu], counts[gpu], idle_mw[gpu], rows[gpu], rows[gpu + 1],
            by_end, start, end, activity, busy, share, live, owner, static, dynamic, method, peak, known, rests,
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
    hole: NDArray[np.int64] | None = None,
    owner: NDArray[np.int64] | None = None,
    rests: bool = False,
) -> Split:
    """Split the pieces of `kernels.billing.reconcile.merge` among usage rows.

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
    hole : int64[*], optional
        Not 0 for a piece that no reading covers: it is cut where owners came and went, as `kernels.billing.crossing`
        says.
    owner : int64[m], optional
        Whose the rows are, to tell where an owner only goes on; by default each row is somebody else's.
    rests : bool
        Take a GPU that reads as idle beside a time of nobody to be idle until an owner comes, see
        `kernels.billing.crossing`.

    Returns
    -------
    Split
        Its parts sum to the pieces of each GPU exactly.
    """
    gpus, m = len(counts), len(start_us)
    static, dynamic = np.zeros(m, np.int64), np.zeros(m, np.int64)
    method, peak = np.zeros(m, np.int64), np.zeros(m, np.int64)
    known = np.zeros((m, 4), np.int64)  # sigma by activity, of all others (hnj); time covered, and `idle_us` (us)
    idle, unattributed = np.zeros(gpus, np.int64), np.zeros(gpus, np.int64)
    if begin_mw is None or end_mw is None:
        begin_mw = end_mw = np.full(len(energy_hnj), -1, np.int64)
    if hole is None:
        hole, owner = _NO_HOLES, _NO_OWNERS
    elif owner is None:
        owner = np.arange(m)
    gpu_of = np.repeat(np.arange(gpus), np.diff(rows))
    by_end = np.lexsort((end_us, gpu_of)).astype(np.int64)
    start_us, end_us, live = as_read(start_us), as_read(end_us), as_read(live)
    activity_ppm, busy_ppm, share_ppm = as_read(activity_ppm), as_read(busy_ppm), as_read(share_ppm)
    _split(
        starts, counts, t0_us, t1_us, energy_hnj, begin_mw, end_mw, hole, idle_mw, rows, by_end,
        start_us, end_us, activity_ppm, busy_ppm, share_ppm, live, owner,
        static, dynamic, method, peak, known, idle, unattributed, rests,
    )  # fmt: skip
    unlike, guessed, booked_us, idle_us = known.T
    return Split(static, dynamic, method, peak, unlike, guessed, booked_us, idle_us, idle, unattributed)


_NO_HOLES = np.empty(0, np.int64)
_NO_OWNERS = np.empty(0, np.int64)
