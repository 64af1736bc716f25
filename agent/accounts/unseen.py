"""What a hole leaves open: who of those beside it was there, and how much of its energy may be theirs.

Of an owner who was on a GPU before a hole and is not there after it, nobody knows when it left; of one who is there
only after it, now and then nobody knows when it came. `agent.accounts.holding` gives both a row that says so, `live` of
`BEFORE` or `AFTER`. Such a row takes no energy. Of the hole's energy, which the counter gives, each moment gets what is
known of it: idle power where nobody is known to be there, else the power beside the hole, as far as it was that of
those who are known to be there in it. What is left is nobody's that can be named: who may have been there may have
drawn all of it or nothing, and one sigma of that goes on its bill; who was there for sure may have drawn more or less
than the power beside the hole says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.accounts.late_holes import LateHole
from wattshed.agent.accounts.pending_usage import PPM
from wattshed.kernels.billing.doubt import of_share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.accounts.hole import OwnerAtEdge
    from wattshed.agent.accounts.ledger import GpuKey, Ledger
    from wattshed.agent.accounts.pending_usage import PendingUsage
    from wattshed.agent.window import JobKey
    from wattshed.kernels.billing.layout import EnergyIntervals

BEFORE, AFTER = -1, -2
"""In place of `PendingUsage.live`: the owner may have been there, for it was before the hole, or is after it.
``share_ppm``
is then its share of what was drawn on that side."""
LEVEL = 0.1
"""One sigma of the mean of some seconds of a load that goes up and down within seconds, relative to its mean."""


@dataclass
class Aside:
    """What is not split of some intervals, and whose it may be.

    Attributes
    ----------
    nobodys_hnj : dict of int to int, hnj
        By GPU.
    sigma_hnj : dict of int to int, hnj
        By row: how much more or less its owner may have drawn.
    booked_us : dict of int to int, us
        By row of one who may have been there: so much of its time is booked.
    """

    nobodys_hnj: dict[int, int] = field(default_factory=dict)
    sigma_hnj: dict[int, int] = field(default_factory=dict)
    booked_us: dict[int, int] = field(default_factory=dict)

    def enter(
        self, ledger: Ledger, rows: PendingUsage, keys: Sequence[GpuKey], untold_hnj: NDArray[np.int64] | None
    ) -> None:
        """Enter what is known of rows; ``keys`` are the GPUs', ``untold_hnj`` is of `agent.accounts.untold`."""
        for row in sorted(self.sigma_hnj.keys() | self.booked_us.keys()):
            job = ledger.jobs.get(rows.key(row))
            if job is None:
                continue  # it ended so long ago that its account is closed
            line = job.line(keys[int(rows.gpu[row])])
            line.split_hnj += self.sigma_hnj.get(row, 0)
            if row in self.booked_us:
                line.unread_us = max(line.unread_us - self.booked_us[row], 0)
                line.untold_hnj += 0 if untold_hnj is None else int(untold_hnj[row])


def share_beside(key: JobKey, side: Mapping[JobKey, OwnerAtEdge]) -> int:
    """Return an owner's share of what was drawn beside a hole, ppm: by activity if all are known, else evenly."""
    used = {k: one for k, one in side.items() if one.live} or side
    if key not in used:
        return 0
    active = sum(one.activity_ppm for one in used.values())
    if min(one.activity_ppm for one in used.values()) < 0 or active == 0:
        return PPM // len(used)
    return used[key].activity_ppm * PPM // active


def set_aside(intervals: EnergyIntervals, rows: PendingUsage, idle_mw: NDArray[np.int64]) -> Aside:
    """Take out of holes what may be anybody's.

    Parameters
    ----------
    intervals : EnergyIntervals
        The energy of holes, and the powers beside them, are changed in place.
    rows : PendingUsage
    idle_mw : int64[g], mW

    Returns
    -------
    Aside
        With the intervals it sums to what they held.
    """
    aside = Aside()
    for gpu in sorted(set(rows.gpu[rows.live < 0].tolist())):
        mine = [_Row(rows, row) for row in np.flatnonzero(rows.gpu == gpu).tolist()]
        for k in range(int(intervals.starts[gpu]), int(intervals.starts[gpu] + intervals.counts[gpu])):
            hole = LateHole.of(intervals, k)
            there = [row for row in mine if row.within(hole) > 0]
            unsure = [row for row in there if row.live < 0]
            for row in unsure:
                aside.booked_us[row.place] = aside.booked_us.get(row.place, 0) + row.within(hole)
            if unsure and intervals.hole[k]:
                known, unheld = _known_hnj(hole, there, max(int(idle_mw[gpu]), 0))
                known = min(known, hole.energy_hnj)
                intervals.energy_hnj[k] = known
                # What is known is cut by these powers: nobody who is not there for sure had any of them.
                if not any(row.live >= 0 and row.at(hole.t0_us) for row in there):
                    intervals.begin_mw[k] = idle_mw[gpu]
                if not any(row.live >= 0 and row.at(hole.t1_us - 1) for row in there):
                    intervals.end_mw[k] = idle_mw[gpu]
                aside.nobodys_hnj[gpu] = aside.nobodys_hnj.get(gpu, 0) + hole.energy_hnj - known
                for place, sigma in _sigma_hnj(hole, there, known, min(unheld, known)):
                    aside.sigma_hnj[place] = aside.sigma_hnj.get(place, 0) + sigma
    _set_doubt(intervals, rows, aside)
    return aside


def _set_doubt(intervals: EnergyIntervals, rows: PendingUsage, aside: Aside) -> None:
    """Let who held a GPU over a hole, as far as is known, answer in sigma for what it drew there beyond both sides.

    Somebody else may have come and gone in it, and nothing would show it: anything from nothing to all of that may be
    theirs. Not where a job has the GPU to itself by a scheduler's word, nor where one is known to have come or gone.

    Parameters
    ----------
    intervals : EnergyIntervals
    rows : PendingUsage
    aside : Aside
        What was set aside of them; its sigma is added to.
    """
    for k in np.flatnonzero(intervals.hole == 1).tolist():
        gpu = int(np.searchsorted(intervals.starts, k, "right")) - 1
        if not intervals.starts[gpu] <= k < intervals.starts[gpu] + intervals.counts[gpu]:
            continue
        hole = LateHole.of(intervals, k)
        length, beside = hole.t1_us - hole.t0_us, max(hole.begin_mw, hole.end_mw)
        there = [row for row in (_Row(rows, i) for i in np.flatnonzero(rows.gpu == gpu).tolist()) if row.within(hole)]
        spent = {
            owner: sum(row.within(hole) for row in there if row.owner == owner) for owner in {r.owner for r in there}
        }
        shared = all(row.live >= 0 and row.share_ppm < PPM for row in there)
        if beside < 0 or not shared or any(us < length for us in spent.values()):
            continue
        more = max(hole.energy_hnj - 2 * beside * length, 0) / math.sqrt(3)
        for row in there:
            sigma = int(more * row.within(hole) / sum(spent.values()))
            aside.sigma_hnj[row.place] = aside.sigma_hnj.get(row.place, 0) + sigma


class _Row:
    """One row of what `set_aside` looks at."""

    def __init__(self, rows: PendingUsage, place: int) -> None:
        self.place, self.owner = place, rows.key(place)
        self.start_us, self.end_us = int(rows.start_us[place]), int(rows.end_us[place])
        self.live, self.share_ppm = int(rows.live[place]), int(rows.share_ppm[place])

    def within(self, hole: LateHole) -> int:
        """How much of an interval it covers, us."""
        return max(min(self.end_us, hole.t1_us) - max(self.start_us, hole.t0_us), 0)

    def at(self, time_us: int) -> bool:
        """Return whether it covers a moment."""
        return self.start_us <= time_us < self.end_us


def _sigma_hnj(hole: LateHole, there: Sequence[_Row], known: int, unheld: int) -> Iterator[tuple[int, int]]:
    """Yield the row of each owner, and by how much more or less it may have drawn: one sigma."""
    whole, length = hole.energy_hnj - unheld, hole.t1_us - hole.t0_us
    sure = float(known - unheld)
    level = math.hypot(of_share(float(whole), sure), LEVEL * sure)  # of those who were there for sure
    sure_us = sum(row.within(hole) for row in there if row.live >= 0)
    for row in there:
        if row.live >= 0:
            yield row.place, int(level * row.within(hole) / sure_us)
        else:
            rest = (hole.energy_hnj - known + unheld) / math.sqrt(3)  # uniformly from nothing to all
            yield row.place, int(math.hypot(rest, level) * row.within(hole) / length)


def _known_hnj(hole: LateHole, there: Sequence[_Row], idle_mw: int) -> tuple[int, int]:
    """Sum what is known of each moment of a hole, hnj: as `kernels.billing.crossing`, but of those surely there.

    Returns
    -------
    known, unheld : int, hnj
        All of that, and what of it is idle power while nobody was there for sure.
    """
    begin, end = hole.t0_us, hole.t1_us
    powers = {BEFORE: hole.begin_mw if hole.begin_mw >= 0 else hole.end_mw}
    powers[AFTER] = hole.end_mw if hole.end_mw >= 0 else hole.begin_mw
    sure, unsure = ([row for row in there if (row.live >= 0) == which] for which in (True, False))
    changes = {(row.owner, row.start_us) for row in sure} ^ {(row.owner, row.end_us) for row in sure}
    edges = sorted({edge for _, edge in changes if begin < edge < end})
    times = {edge for row in there for edge in (row.start_us, row.end_us) if begin < edge < end}
    known, unheld = 0, 0
    for since, until in pairwise(sorted({begin, end, *times})):
        if not any(row.at(since) for row in sure):
            unheld += 2 * idle_mw * (until - since)
            continue
        beside = dict(powers)
        for row in unsure:
            if row.at(since):
                beside[row.live] -= max(powers[row.live] - idle_mw, 0) * row.share_ppm // PPM
        if not edges:
            mw = min(beside.values())
        elif since < edges[0]:
            mw = beside[BEFORE]
        else:
            mw = beside[AFTER] if since >= edges[-1] else sum(beside.values()) // 2
        known += 2 * max(mw, 0) * (until - since)
    return known + unheld, unheld
