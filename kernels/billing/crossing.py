"""Cutting energy intervals at owners' edges: along the line between the powers at their ends, or by what is known.

Next to a time in which nobody is there, power is idle until an owner comes and after the last one went, if the readings
on that side say so: the rest of such an interval is the owner's, however steeply power rose and fell in it.

A *hole* is an interval that no reading covers, and whose energy only the counter tells.

The straight line between the powers at its ends is not a shape of what happened inside. What is known is who was there:
until the first owner came or went the power was that before the hole, from the last such edge on that after it, and
between these idle power where nobody was there. Of who was there between them and not at either end no reading tells:
theirs is what the counter says beside the rest, as far as that can be relied on. All is scaled to the interval's
energy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wattshed.kernels.billing.doubt import of_share
from wattshed.kernels.billing.shares import portion
from wattshed.kernels.billing.usage import comes, count_past_edge, goes, next_edge
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    from wattshed.kernels.billing.usage import SweepPlace, UsageRows

FOREVER = 1 << 62
STEADY = 0.2
"""One sigma, relative, of taking a load to have drawn in a hole what it drew in the seconds beside it."""


class Powers(NamedTuple):
    """Power at the begin and the end of an interval (-1 unknown), and that of a GPU at rest, mW."""

    begin_mw: int
    end_mw: int
    idle_mw: int


class HoleCut(NamedTuple):
    """How a hole is cut where owners come and go.

    Attributes
    ----------
    first_us, last_us : int, us
        When the first and the last owner came or went in it; FOREVER, -1 if none did.
    weights : int, nJ
        What the powers make of the rest of it: its energy is scaled to that.
    between_mw : int, mW
        Power of the time in between of which no reading tells; -1 while it is not known.
    above_hnj, since_edge_hnj : float, hnj
        What is above idle in all of it, and of that what was used since an owner came or went last.
    """

    first_us: int
    last_us: int
    weights: int
    between_mw: int
    above_hnj: float
    since_edge_hnj: float


@jit
def no_cut() -> HoleCut:
    """Return what is cut where there is no hole."""
    return HoleCut(FOREVER, -1, 0, -1, 0.0, 0.0)


@jit
def is_cut(cut: HoleCut) -> bool:
    """Tell whether owners came or went in a hole, so that powers say how it is cut."""
    return cut.last_us >= 0 and cut.weights > 0


@jit
def along_the_line(rest: int, begin_mw: int, end_mw: int, span: int, dt: int) -> tuple[int, int]:
    """Cut ``span`` off an interval of ``rest`` energy and length ``dt``: its energy, and the power at the cut.

    Along the straight line between the powers at its ends; evenly in time where these are not known (-1).
    """
    weights = (begin_mw + end_mw) * dt
    if begin_mw < 0 or weights <= 0:
        return portion(rest, span, dt), begin_mw
    cut_mw = begin_mw + (end_mw - begin_mw) * span // dt
    weight = min((begin_mw + cut_mw) * span, weights)
    return (weight if rest == weights else portion(rest, weight, weights)), cut_mw


@jit
def power_in(since: int, present: int, cut: HoleCut, powers: Powers) -> int:
    """Power (mW, relative to the rest of the hole) from ``since`` to the next edge, with so many rows present."""
    before = powers.begin_mw if powers.begin_mw >= 0 else powers.end_mw
    after = powers.end_mw if powers.end_mw >= 0 else powers.begin_mw
    if before < 0:
        return 1  # neither is known: evenly in time
    if since < cut.first_us:
        return before
    if since >= cut.last_us:
        return after
    if present == 0 and powers.idle_mw >= 0:
        return powers.idle_mw
    return cut.between_mw


@jit
def between(known: int, unknown: int, time_us: int, energy: int, dt: int) -> int:
    """Return the power (mW) of a time of which no reading tells, next to what is known of the rest of the hole.

    What was drawn there is no more certain than the mean power of the hole; what was drawn in the rest is known to
    `STEADY`. What the counter says beside both is divided by the squares of these.

    Parameters
    ----------
    known, unknown : int, nJ
        What the rest and that time would have used by the powers before and after the hole.
    time_us : int, us
        How long it is, > 0.
    energy : int, hnj
        Of the whole hole.
    dt : int, us
        How long that is.
    """
    more = energy / 2.0 - known - unknown
    sure = (STEADY * known) * (STEADY * known)
    unsure = (energy / 2.0 * time_us / dt) * (energy / 2.0 * time_us / dt)
    if sure + unsure <= 0.0:
        return max(unknown // time_us, 1)
    rest = known + more * (sure / (sure + unsure))
    mine = max(unknown + more * (unsure / (sure + unsure)), 0.0)
    # Relative to the powers of the rest, which are scaled with it.
    scale = min(max(known / rest, 0.01), 100.0) if rest > 0.0 else 1.0
    return max(int(mine / time_us * scale), 1)


@jit
def at_rest(power_mw: int, idle_mw: int) -> bool:
    """Tell whether a reading is one of a GPU that rests."""
    return 0 <= power_mw <= idle_mw + idle_mw // 4


@jit
def nobody_after(edge: int, t1: int, usage: UsageRows, at: SweepPlace) -> bool:
    """Tell whether all who are present leave at an edge, and nobody comes before the interval ends."""
    if at.coming < at.stop and usage.row[usage.by_start[at.coming]].start_us < t1:
        return False
    present, i = at.present, at.going
    while i < at.stop and usage.row[usage.by_end[i]].end_us <= edge:
        present -= usage.row[usage.by_end[i]].start_us < usage.row[usage.by_end[i]].end_us
        i += 1
    return present == 0


@jit
def beside_rest(amount: int, rest: int, before: int, after: int, powers: Powers) -> int:
    """Return what of ``rest``, ``amount`` along the line, lies before an edge if a GPU rests on one side of it.

    ``before`` and ``after`` are the times (us) on either side of the edge if it rests there, else 0.
    """
    if before > 0 and at_rest(powers.begin_mw, powers.idle_mw):
        return min(amount, 2 * powers.idle_mw * before)
    if after > 0 and at_rest(powers.end_mw, powers.idle_mw):
        return max(amount, rest - 2 * powers.idle_mw * after)
    return amount


@jit
def _owners_edges(t0: int, t1: int, usage: UsageRows, at: SweepPlace) -> tuple[int, int]:
    """Return when the first and the last owner came or went strictly inside a hole; FOREVER, -1 if none did.

    Where a row follows another of its owner without a break (a window's end), nobody did.
    """
    first, last = FOREVER, -1
    for i in range(at.coming, at.stop):
        row = usage.by_start[i]
        edge = usage.row[row].start_us
        if edge >= t1:
            break
        if edge > t0 and usage.row[row].end_us > edge and comes(usage, at, row):
            first, last = min(first, edge), max(last, edge)
    for i in range(at.going, at.stop):
        row = usage.by_end[i]
        edge = usage.row[row].end_us
        if edge >= t1:
            break
        if edge > t0 and usage.row[row].start_us < edge and goes(usage, at, row):
            first, last = min(first, edge), max(last, edge)
    return first, last


@jit
def begin_hole(t0: int, t1: int, energy: int, powers: Powers, usage: UsageRows, at: SweepPlace) -> HoleCut:
    """Look through a hole: sum `power_in` x time over it, edge by edge, and find `between` of it."""
    first, last = _owners_edges(t0, t1, usage, at)
    above = max(energy - 2.0 * max(powers.idle_mw, 0) * (t1 - t0), 0.0)
    known, unknown, unknown_us = 0, 0, 0
    mean_mw = max(powers.begin_mw, powers.end_mw)
    if powers.begin_mw >= 0 and powers.end_mw >= 0:
        mean_mw = (powers.begin_mw + powers.end_mw) // 2
    cut = HoleCut(first, last, 0, -1, above, 0.0)
    since = t0
    while since < t1:
        edge = next_edge(usage, at, t1)
        if edge > since:
            power_mw = power_in(since, at.present, cut, powers)
            if power_mw < 0:
                unknown += mean_mw * (edge - since)
                unknown_us += edge - since
            else:
                known += power_mw * (edge - since)
            since = edge
        at = count_past_edge(usage, at, edge)
    between_mw = mean_mw
    if unknown_us > 0:
        between_mw = between(known, unknown, unknown_us, energy, t1 - t0)
    return HoleCut(first, last, known + between_mw * unknown_us, between_mw, above, 0.0)


@jit
def cut_hole(rest: int, since: int, span: int, present: int, cut: HoleCut, powers: Powers) -> tuple[int, HoleCut]:
    """Cut ``span`` from ``since`` on off what is left of a hole: its energy, and the cut of what is left then."""
    weight = power_in(since, present, cut, powers) * span
    amount = portion(rest, min(weight, cut.weights), cut.weights)
    weights = cut.weights - weight
    return amount, HoleCut(cut.first_us, cut.last_us, weights, cut.between_mw, cut.above_hnj, cut.since_edge_hnj)


@jit
def doubt_with(sigma_hnj: float, above_hnj: int, cut: HoleCut) -> tuple[float, HoleCut]:
    """Return a segment's sigma with so much more above idle since an owner came or went, and the cut with that.

    Windows end in a hole, and with them rows, but that makes nothing less certain.
    """
    since_edge = cut.since_edge_hnj + float(above_hnj)
    sigma_hnj -= of_share(cut.above_hnj, cut.since_edge_hnj)
    sigma_hnj += of_share(cut.above_hnj, since_edge)
    return sigma_hnj, HoleCut(cut.first_us, cut.last_us, cut.weights, cut.between_mw, cut.above_hnj, since_edge)


@jit
def owner_changes(cut: HoleCut) -> HoleCut:
    """Begin anew with what is used since an owner came or went."""
    return HoleCut(cut.first_us, cut.last_us, cut.weights, cut.between_mw, cut.above_hnj, 0.0)
