"""The fair split of a GPU's booked energy among those who held and used it; exact to the last half-nanojoule.

Per GPU, time is cut at every start and end of a usage row. Within one such segment the set of owners is constant, and
its energy is split once:

* static = min(E, idle power x time) of each interval: by reserved share, the unreserved rest to nobody (``_idle``);
  without any reservation equally among those present; nobody present: ``_idle``;
* dynamic = the rest: one live owner alone takes all; otherwise by activity, and what the known activities do not cover
  of the device's busy time (if they cover less than 90 %) belongs to somebody unknown (``_unattributed``); without
  activities by reserved share, else equally. Several present and none active: ``_unattributed``. Where an owner had at
  most its share (`AT_MOST`: it held some GPUs of a node, and nothing tells which), it takes that share and no more, and
  what nobody reserved is ``_unattributed``.

An energy interval that is a hole (no reading covers it) is cut at its owners' edges by the powers before and after it
(`kernels.billing.crossing`). How far off a split may be, `kernels.billing.doubt` says; it moves no joule.

For a cost of the form *idle + k x activity* this is the Shapley value. Parts sum to the whole by largest remainder,
ties in the order of the rows, which the caller makes the order of the owners' keys: no order of arrival matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.kernels.billing import crossing, doubt
from wattshed.kernels.billing.layout import IntervalColumns
from wattshed.kernels.billing.shares import (
    ALONE,
    BY_ACTIVITY,
    NOBODY_ACTIVE,
    ROOM,
    Before,
    Here,
    before_in,
    here_in,
    parts_of_use,
    portion,
    split_dynamic,
    split_static,
)
from wattshed.kernels.billing.usage import (
    OwnerUse,
    SweepPlace,
    UsageRows,
    next_edge,
    owners_changed,
    pass_edge,
    usage_rows,
)
from wattshed.kernels.entry import b1, f64, i64, kernel, written
from wattshed.kernels.entry import rows as records
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray


SHORT_US = 2_000_000
"""A counter is published in steps, and may be read later than its row says: over less than this its difference says
more, or less, than was drawn in the time. What power was read then is the peak."""
PIECE_US = 1_000_000
"""A piece of an interval that is as long as this shows a power of its own."""


class Split(NamedTuple):
    """What each usage row and each GPU got.

    Attributes
    ----------
    static_hnj, dynamic_hnj : int64[m]
    method : int64[m]
        Bits: ALONE, BY_ACTIVITY, BY_SHARE, EQUAL, NOBODY_ACTIVE.
    peak_mw : int64[m], mW
        The row's part of the highest power of any energy interval while it was there; of a short one no more than was
        read at its ends, see `SHORT_US`.
    unlike_hnj : int64[m]
        One sigma of what was split by activity, if watts per activity differ among jobs by 100 %.
    guessed_hnj : int64[m]
        One sigma of what was split in any other way, and of how holes were cut.
    booked_us : int64[m], us
        Time of the row that energy intervals cover.
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


class Cursor(NamedTuple):
    """Where the sweep over a GPU's energy intervals stands: in which, when, what is left of it, and the power there."""

    interval: int
    at_us: int
    rest_hnj: int
    power_mw: int


class SplitSegment(NamedTuple):
    """What was used between two edges, the highest power (mW) of an interval, how long it is covered (us).

    And one sigma (hnj) of how holes were cut for it.
    """

    static_hnj: int
    dynamic_hnj: int
    peak_mw: int
    covered_us: int
    sigma_hnj: float


@jit
def begin(intervals: IntervalColumns, k: int, stop: int, last: Cursor) -> Cursor:
    """Go to the begin of interval ``k``; behind the last one the cursor stays where it is."""
    if k >= stop:
        return Cursor(k, last.at_us, last.rest_hnj, last.power_mw)
    return Cursor(k, intervals.t0_us[k], intervals.energy_hnj[k], intervals.begin_mw[k])


@jit
def _before_edge(
    edge: int, cursor: Cursor, intervals: IntervalColumns, powers: crossing.Powers, rests: bool, usage: UsageRows,
    at: SweepPlace,
) -> tuple[int, int]:  # fmt: skip
    """Cut what is left of an interval at an edge, along the line: what lies before it, and the power at it."""
    k, since, rest, power = cursor
    until = intervals.t1_us[k]
    amount, power = crossing.along_the_line(rest, power, powers.end_mw, edge - since, until - since)
    if rests:
        alone = at.present == 0 and since == intervals.t0_us[k]
        left = at.present > 0 and crossing.at_rest(powers.end_mw, powers.idle_mw)
        left = left and crossing.nobody_after(edge, until, usage, at)
        amount = crossing.beside_rest(amount, rest, edge - since if alone else 0, until - edge if left else 0, powers)
    return amount, power


@jit
def _highest(mean_mw: int, span: int, k: int, intervals: IntervalColumns, powers: crossing.Powers) -> int:
    """Return the highest power that an interval, or a piece of one, shows: in a short time, no more than was read.

    Energy beside a rest is put into the time in which somebody was there. Edges are known less well than that time may
    be short: all of an interval in its last millisecond is right as an energy, and would be a power of kilowatts.
    """
    length, read_mw = intervals.t1_us[k] - intervals.t0_us[k], max(powers.begin_mw, powers.end_mw)
    if length < SHORT_US and min(powers.begin_mw, powers.end_mw) > 0:
        return int(min(mean_mw, read_mw))
    if span == length or span >= PIECE_US or (len(intervals.hole) > 0 and intervals.hole[k] != 0):
        return mean_mw
    return int(min(mean_mw, max(intervals.energy_hnj[k] // length // 2, read_mw)))


@jit
def take_segment(
    edge: int, stop: int, cursor: Cursor, cut: crossing.HoleCut, intervals: IntervalColumns, idle_mw: int,
    rests: bool, usage: UsageRows, at: SweepPlace,
) -> tuple[SplitSegment, Cursor, crossing.HoleCut]:  # fmt: skip
    """Take all the intervals, and parts of intervals, before an edge."""
    static, dynamic, peak, covered, sigma = 0, 0, 0, 0, 0.0
    while cursor.interval < stop and cursor.at_us < edge:
        k, since, rest, power = cursor
        until = intervals.t1_us[k]
        whole = until <= edge
        span = until - since if whole else edge - since
        amount = rest
        unseen = len(intervals.hole) > 0 and intervals.hole[k] != 0
        powers = crossing.Powers(intervals.begin_mw[k], intervals.end_mw[k], idle_mw)
        if unseen and since == intervals.t0_us[k]:
            cut = crossing.begin_hole(since, until, rest, powers, usage, at)
        by_powers = unseen and crossing.is_cut(cut)
        if not whole and by_powers:
            amount, cut = crossing.cut_hole(rest, since, span, at.present, cut, powers)
        elif not whole:
            amount, power = _before_edge(edge, cursor, intervals, powers, rests, usage, at)
        twice_mw = amount // max(span, 1)  # divided once: it is what most of the time for an interval goes into
        still = 0
        if idle_mw > 0 and span > 0:  # min(amount, 2 * idle_mw * span), which may not fit in a word
            still = amount if twice_mw < 2 * idle_mw else 2 * idle_mw * span
        static += still
        dynamic += amount - still
        covered += span
        peak = max(peak, _highest(twice_mw // 2, span, k, intervals, powers))
        if by_powers:
            sigma, cut = crossing.doubt_with(sigma, amount - still, cut)
        cursor = begin(intervals, k + 1, stop, cursor) if whole else Cursor(k, edge, rest - amount, power)
    return SplitSegment(static, dynamic, peak, covered, sigma), cursor, cut


@jit
def _doubt(kind: int, dynamic: int, usage: UsageRows, here: Here, n: int, parts: Split) -> None:
    """Add one sigma of how a segment's dynamic energy was split."""
    if kind == BY_ACTIVITY:
        doubt.of_activity(dynamic, here, n, parts.unlike_hnj)
    elif kind == NOBODY_ACTIVE:
        doubt.of_nobody(dynamic, usage, here, n, parts.guessed_hnj)
    elif kind < 0:
        doubt.of_bound(here, n, parts.guessed_hnj)
    elif kind > ALONE:  # by share, or equally
        doubt.of_guess(dynamic, here, n, parts.guessed_hnj)


@jit
def share_out(
    segment: SplitSegment, usage: UsageRows, here: Here, n: int, before: Before, parts: Split, gpu: int
) -> None:
    """Split a segment among the ``n`` who are there."""
    static, dynamic = segment.static_hnj, segment.dynamic_hnj
    for j in range(n):
        row = here.rows[j]
        before.static_hnj[j], before.dynamic_hnj[j] = parts.static_hnj[row], parts.dynamic_hnj[row]
        before.method[j] = parts.method[row]
    parts.idle_hnj[gpu] += split_static(static, usage, here, n, parts.static_hnj)
    left, kind = split_dynamic(dynamic, usage, here, n, parts.dynamic_hnj, parts.method)
    parts.unattributed_hnj[gpu] += left
    _doubt(kind, dynamic, usage, here, n, parts)
    if n > 0 and static > 0:
        parts_of_use(dynamic, usage, here, n, before, parts.dynamic_hnj, parts.method)
    for j in range(n):
        row = here.rows[j]
        parts.booked_us[row] += segment.covered_us
        still = parts.static_hnj[row] - before.static_hnj[j]
        moved = parts.dynamic_hnj[row] - before.dynamic_hnj[j]
        if static > 0:
            parts.idle_us[row] += round(segment.covered_us * (still / static - before.used[j]))
        if static + dynamic > 0:
            own = portion(segment.peak_mw, still + moved, static + dynamic)
            parts.peak_mw[row] = max(parts.peak_mw[row], own)
        if segment.sigma_hnj != 0.0 and dynamic > 0:
            parts.guessed_hnj[row] += int(segment.sigma_hnj * (moved / dynamic))


@jit
def _split_gpu(
    gpu: int, first: int, stop: int, intervals: IntervalColumns, idle_mw: int, rests: bool, usage: UsageRows,
    at: SweepPlace, here: Here, before: Before, parts: Split,
) -> None:  # fmt: skip
    """Sweep one GPU's intervals ``first:stop`` and the starts and ends of its rows together."""
    cut = crossing.no_cut()
    cursor = begin(intervals, first, stop, Cursor(first, 0, 0, 0))
    while cursor.interval < stop:
        edge = next_edge(usage, at, intervals.t1_us[stop - 1] + 1)
        segment, cursor, cut = take_segment(edge, stop, cursor, cut, intervals, idle_mw, rests, usage, at)
        share_out(segment, usage, here, at.present, before, parts, gpu)
        after = pass_edge(usage, at, edge, here.rows)
        if len(intervals.hole) > 0 and owners_changed(usage, at, after):
            cut = crossing.owner_changes(cut)
        at = after


@kernel(
    i64[:], i64[:], i64[:], i64[:], i64[:], i64[:], i64[:], i64[:], i64[:], i64[:], records(OwnerUse), i64[:], i64[:],
    b1, written(i64[:, :]), written(f64[:]), written(i64[:, :]), written(i64[:, :]),
)  # fmt: skip
def _split(  # type: ignore[no-untyped-def]
    starts, counts, t0, t1, energy, begin_mw, end_mw, hole, idle_mw, rows_of, row, by_start, by_end,
    rests, room, used, of_rows, of_gpus,
) -> None:  # fmt: skip
    usage = UsageRows(row, by_start, by_end)
    intervals = IntervalColumns(t0, t1, energy, begin_mw, end_mw, hole)
    parts = Split(
        of_rows[0], of_rows[1], of_rows[2], of_rows[3], of_rows[4], of_rows[5], of_rows[6], of_rows[7],
        of_gpus[0], of_gpus[1],
    )  # fmt: skip
    for gpu in range(len(counts)):
        first, stop = starts[gpu], starts[gpu] + counts[gpu]
        lo, hi = rows_of[gpu], rows_of[gpu + 1]
        here, before = here_in(room, gpu, lo, hi), before_in(room, used, gpu, lo, hi)
        at = SweepPlace(lo, hi, 0, lo, lo)
        _split_gpu(gpu, first, stop, intervals, idle_mw[gpu], rests, usage, at, here, before, parts)


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
    live: NDArray[np.integer[Any]],
    *,
    begin_mw: NDArray[np.int64] | None = None,
    end_mw: NDArray[np.int64] | None = None,
    hole: NDArray[np.int64] | None = None,
    owner: NDArray[np.int64] | None = None,
    rests: bool = False,
    watts: NDArray[np.int64] | None = None,
) -> Split:
    """Split the energy intervals of `kernels.billing.reconcile.merge` among usage rows.

    Parameters
    ----------
    starts, counts : int64[g]
    t0_us, t1_us, energy_hnj : int64[*]
        The intervals, as `merge` returns them.
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
    live : integer[m]
        1 if a process of the owner was there, 0 if the GPU was only held, 2 if its share is all that can be its.
    begin_mw, end_mw : int64[*], mW, optional
        Power at the ends of each interval, which is cut along the straight line between them; else evenly in time.
    hole : int64[*], optional
        Not 0 for an interval that no reading covers: it is cut where owners came and went, as
        `kernels.billing.crossing` says.
    owner : int64[m], optional
        Whose the rows are, to tell where an owner only goes on; by default each row is somebody else's.
    rests : bool
        Take a GPU that reads as idle beside a time of nobody to be idle until an owner comes, see
        `kernels.billing.crossing`.
    watts : int64[m], 1024ths, optional
        What each row's owner is taken to draw per activity (`kernels.billing.watts`); by default all draw the same.

    Returns
    -------
    Split
        Its parts sum to the intervals of each GPU exactly.
    """
    of_rows, of_gpus = np.zeros((8, len(start_us)), np.int64), np.zeros((2, len(counts)), np.int64)
    if begin_mw is None or end_mw is None:
        begin_mw = end_mw = np.full(len(energy_hnj), -1, np.int64)
    if hole is None:
        hole, owner = _NO_HOLES, None
    elif owner is None:
        owner = np.arange(len(start_us))
    row, by_start, by_end = usage_rows(rows, start_us, end_us, activity_ppm, busy_ppm, share_ppm, live, owner, watts)
    places = len(start_us) + len(counts)
    _split(
        starts, counts, t0_us, t1_us, energy_hnj, begin_mw, end_mw, hole, idle_mw, rows, row, by_start, by_end,
        rests, np.empty((ROOM, places), np.int64), np.empty(places), of_rows, of_gpus,
    )  # fmt: skip
    return Split(*of_rows, *of_gpus)


_NO_HOLES = np.empty(0, np.int64)
