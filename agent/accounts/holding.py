"""Who held a GPU while nobody could see it: over a hole in its readings, and over the time that the agent was down.

What is on a GPU is known while the driver answers for it. In a *hole* (windows without any reading of it, time between
two windows, the time that the agent was down) process lists cannot be read, and only what others report is known: who
was granted the GPU, and when that began and ended. The counter may still give the energy of a hole, once it is over.
One rule, whatever caused the hole, decides who is charged:

* who was there when it began and is there when it is over held the GPU throughout;
* whose beginning or end is known to lie in the hole is held to that;
* who was there only before it, or only after it, and nobody knows when it went or came, may have held the GPU for any
  part of it: it is billed for none, and its sigma holds the rest (`agent.accounts.unseen`). What was still claimed for
  it after the GPU could be read last is taken back;
* who only held the GPU in the hole, as far as is known, is taken to have used it if a process of theirs was there
  before or after, or if nobody ever saw them but in the hole. How active they were is the mean of what was known last
  and first; where neither is known, so is this;
* time for which nobody can be named is nobody's.

All of that is decided from windows alone, so that a replay decides it alike; what is open is saved with the books.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.agent.accounts.hole import Hole, OwnerAtEdge
from wattshed.agent.accounts.pending_usage import NO_PENDING_USAGE, PendingUsage
from wattshed.agent.accounts.unseen import AFTER, BEFORE, share_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from wattshed.agent.window import JobKey, Owner, Window, WindowBatch


@dataclass(frozen=True)
class WindowRows:
    """The rows of one window, and its end (us)."""

    usage: PendingUsage
    end_us: int

    @cached_property
    def by_gpu(self) -> defaultdict[int, list[tuple[int, OwnerAtEdge]]]:
        """Who is on each GPU, in the rows' order, and until when (us); every save asks for all of them."""
        found: defaultdict[int, list[tuple[int, OwnerAtEdge]]] = defaultdict(list)
        usage = self.usage
        columns = (usage.gpu, usage.owner, usage.end_us, usage.activity_ppm, usage.share_ppm, usage.live)
        for gpu, place, end_us, activity, share, live in zip(*(column.tolist() for column in columns), strict=True):
            found[gpu].append((end_us, OwnerAtEdge(usage.owners[place], activity, share, live)))
        return found


class Holding:
    """Follows the holes of one host's GPUs, which are numbered as in the accounts."""

    def __init__(self) -> None:
        self._holes: dict[int, Hole] = {}
        self._last: WindowRows | None = None  # the window before
        self._earlier: WindowRows | None = None
        self._resumed_us = -1  # when the agent started again

    def follow(
        self, window: Window, new: PendingUsage, waiting: PendingUsage, max_gap_us: NDArray[np.int64]
    ) -> tuple[PendingUsage, PendingUsage]:
        """Take in a window, and return what it shows about holes that end with it.

        Parameters
        ----------
        window : Window
        new : PendingUsage
            Its usage.
        waiting : PendingUsage
            Earlier usage whose energy is not booked yet.
        max_gap_us : int64[g], us
            What readings may bridge: over no more than that, who is said to hold only did so.

        Returns
        -------
        waiting, new : PendingUsage
            Corrected; and with ``new`` the usage that is now known beside it.
        """
        told = np.zeros(len(max_gap_us), bool)
        told[: len(window.devices)] = np.diff(window.readings.offsets) > 0
        added: list[Any] = []
        touches = self._last is not None and self._last.end_us == window.start_us
        if self._holes or not touches or not told.all():
            for gpu, is_told in enumerate(told.tolist()):
                if gpu not in self._holes and touches and is_told:
                    continue
                hole = self._hole(gpu, window.start_us)
                new = _reaching(new, gpu, hole, window.start_us)
                held = self._since_life(gpu, hole, window.start_us, new, told=is_told)
                here = _there(new, gpu, window.start_us)
                if is_told:
                    del self._holes[gpu]
                    before, after = hole.beside(here, window.start_us)
                    held |= {key: (here[key][1], window.start_us) for key in before & after}
                    edge = _Edge(gpu, hole, here, window.start_us, int(max_gap_us[gpu]))
                    waiting, new = edge.corrected(waiting, before - after), edge.corrected(new)
                    added += edge.unseen(before - after, after - before, (waiting, new))
                for key, (there, until_us) in sorted(held.items()):
                    was, own = hole.before.get(key), waiting.stretches(gpu, key) + new.stretches(gpu, key)
                    since_us = hole.since_us if was is not None else min(own)[0]
                    added += [(gpu, *_joined(was, there), *gap) for gap in _gaps(own, since_us, until_us)]
                if not is_told:
                    now = [row for row in _rows(new, gpu) if new.end_us[row] > window.start_us]
                    hole.see({new.key(row): int(new.end_us[row]) for row in now}, window.end_us)
        self._earlier, self._last = self._last, WindowRows(new, window.end_us)
        return waiting, PendingUsage.made(added).followed_by(new)

    def _since_life(
        self, gpu: int, hole: Hole, start_us: int, new: PendingUsage, *, told: bool
    ) -> dict[JobKey, tuple[OwnerAtEdge, int]]:
        """Take note of rows that begin before their window: late owners, and holds of a GPU that is found only now.

        Returns
        -------
        dict of JobKey to (Seen, int)
            Who is known to hold the GPU since the agent lives again (us), and did when it went down: who did not go
            in between.
        """
        rows = _rows(new, gpu)
        lived = {new.key(row): _seen(new, row) for row in rows if new.start_us[row] == self._resumed_us}
        at_once = told and start_us == self._resumed_us
        held = {key: (one, self._resumed_us) for key, one in lived.items() if hole.may_hold(key, at_once=at_once)}
        past = [row for row in rows if new.start_us[row] < start_us]
        hole.see({new.key(row): min(int(new.end_us[row]), start_us) for row in past}, start_us)
        return held

    @property
    def knows_anybody(self) -> bool:
        """Whether somebody was on a GPU in the last windows, or in a hole that is not over."""
        rows = any(one is not None and len(one.usage.gpu) for one in (self._earlier, self._last))
        return rows or any(hole.before or hole.came for hole in self._holes.values())

    def goes_on_at(self, start_us: int) -> bool:
        """Return whether a window that begins then follows the one before, and no hole is open."""
        return not self._holes and self._last is not None and self._last.end_us == start_us

    def go_on(self, new: PendingUsage, end_us: int) -> None:
        """Take in usage up to a moment, as `follow` would where windows touch and tell of every GPU."""
        self._earlier, self._last = self._last, WindowRows(new, end_us)

    def pass_by(self, batch: WindowBatch) -> None:
        """Take in windows without owners, as `follow` would while nobody is known."""
        told = np.diff(batch.columns.offsets, axis=1) > 0
        if everybody := bool(told.all()):
            self._holes.clear()
        for gpu in range(0 if everybody else told.shape[1]):
            if told[:, gpu].any():
                self._holes.pop(gpu, None)
            if not told[-1, gpu] and gpu not in self._holes:
                read = np.flatnonzero(told[:, gpu])
                if len(read):
                    self._holes[gpu] = Hole(int(batch.end_us[read[-1]]))
                else:
                    self._hole(gpu, int(batch.start_us[0]))
        self._earlier = self._last = WindowRows(NO_PENDING_USAGE, int(batch.end_us[-1]))

    def restart(self, gpus: int, start_us: int, *, same_boot: bool) -> None:
        """Take the time that the agent was down for a hole of all GPUs; after a boot nobody is there any more."""
        for gpu in range(gpus):
            hole = self._hole(gpu, start_us)
            hole.since_us = min(hole.since_us, start_us - 1)  # the new time line may begin before the old one ended
        if not same_boot:
            self._holes = {gpu: Hole(start_us - 1) for gpu in range(gpus)}
        self._last = self._earlier = None
        self._resumed_us = start_us

    def since_us(self, gpus: int, now_us: int) -> NDArray[np.int64]:
        """Return since when nothing is known of who is on each GPU; ``now_us`` where it is known (int64[g], us)."""
        return np.array([self._holes[gpu].since_us if gpu in self._holes else now_us for gpu in range(gpus)], np.int64)

    def keys(self) -> set[JobKey]:
        """Name those who may have held a GPU in a hole that is not over: energy may still be theirs."""
        return {key for hole in self._holes.values() for key in hole.before.keys() - hole.gone}

    def renamed(self, found: Mapping[JobKey, JobKey], now: Callable[[JobKey], JobKey]) -> None:
        """Give owners the keys of today; ``found`` are the new names of this window, ``now`` has all of them."""
        for hole in self._holes.values():
            hole.before = {now(k): s._replace(owner=replace(s.owner, key=now(k))) for k, s in hole.before.items()}
            hole.gone, hole.came = set(map(now, hole.gone)), set(map(now, hole.came))
        if found:
            self._earlier, self._last = (
                WindowRows(one.usage.renamed(found), one.end_us) if one is not None else None
                for one in (self._earlier, self._last)
            )

    def moved(self, place: Mapping[int, int]) -> None:
        """Renumber the GPUs by ``place`` (old to new)."""
        self._holes = {place[gpu]: hole for gpu, hole in self._holes.items()}
        self._earlier, self._last = (
            WindowRows(one.usage.moved(place), one.end_us) if one is not None else None
            for one in (self._earlier, self._last)
        )

    def of(self, gpu: int) -> Hole:
        """Return what is known of one GPU as if a hole began now, for after a restart one did."""
        return self._holes.get(gpu) or self._began(gpu, 0)

    def restore(self, gpu: int, hole: Hole) -> None:
        """Take over what `of` returned before a restart, which must be the next event."""
        self._holes[gpu] = hole

    def _hole(self, gpu: int, start_us: int) -> Hole:
        if gpu not in self._holes:
            self._holes[gpu] = self._began(gpu, start_us)
        return self._holes[gpu]

    def _began(self, gpu: int, start_us: int) -> Hole:
        """Make the hole that begins at the end of the last window."""
        if self._last is None:
            return Hole(start_us)
        last, end_us = self._last.by_gpu[gpu], self._last.end_us
        before = {one.owner.key: one for until_us, one in last if until_us >= end_us}
        if self._earlier is not None:
            # In the second in which a GPU fails its processes are not asked for: what was seen in the one before
            # still holds. A window that was cut late, as the agent was stopped, claims nobody, and does not show that
            # they left.
            claims_nobody = not any(one.live for _, one in last)
            for until_us, one in self._earlier.by_gpu[gpu]:
                key = one.owner.key
                if until_us < self._earlier.end_us:
                    continue
                if key in before and before[key].activity_ppm < 0:
                    before[key] = before[key]._replace(activity_ppm=one.activity_ppm)
                elif key not in before and claims_nobody:
                    before[key], end_us = one, self._earlier.end_us
        return Hole(end_us, before)


def _reaching(new: PendingUsage, gpu: int, hole: Hole, start_us: int) -> PendingUsage:
    """Cut rows that reach back to the birth of a process at the beginning of the hole.

    An owner who was not there before, and none of whose processes began in the hole, came to the GPU at any time in it.
    """
    early = (new.gpu == gpu) & (new.live > 0) & (new.start_us < min(hole.since_us, start_us))
    if not early.any():
        return new
    since_us = new.start_us.copy()
    for row in np.flatnonzero(early).tolist():
        key = new.key(row)
        was_there = key in hole.before and key not in hole.gone
        since_us[row] = hole.since_us if was_there else start_us
    new = new.but(start_us=since_us)
    return new.keep(new.start_us < new.end_us)


def _rows(pending_usage: PendingUsage, gpu: int) -> list[int]:
    rows: list[int] = np.flatnonzero(pending_usage.gpu == gpu).tolist()
    return rows


def _seen(pending_usage: PendingUsage, row: int) -> OwnerAtEdge:
    return OwnerAtEdge(
        pending_usage.owners[pending_usage.owner[row]],
        int(pending_usage.activity_ppm[row]),
        int(pending_usage.share_ppm[row]),
        int(pending_usage.live[row]),
    )


def _rate(*edges: OwnerAtEdge | None) -> int:
    """Return the mean of the activities that are known, ppm; -1 if none is."""
    known = [one.activity_ppm for one in edges if one is not None and one.activity_ppm >= 0 and one.live]
    return sum(known) // len(known) if known else -1


def _there(new: PendingUsage, gpu: int, at_us: int) -> dict[JobKey, tuple[int, OwnerAtEdge]]:
    """Return who is on a GPU at a moment, and since when (us) the rows say so."""
    rows = [row for row in reversed(_rows(new, gpu)) if new.start_us[row] <= at_us <= new.end_us[row]]
    return {new.key(row): (int(new.start_us[row]), _seen(new, row)) for row in rows}


class _Edge(NamedTuple):
    """The end of a hole: the GPU, what is known of it, who is there now, when that is, and what readings may bridge."""

    gpu: int
    hole: Hole
    here: Mapping[JobKey, tuple[int, OwnerAtEdge]]
    end_us: int
    max_gap_us: int

    def corrected(self, rows: PendingUsage, unseen: AbstractSet[JobKey] = frozenset()) -> PendingUsage:
        """Say of the rows in it what could not be known: whether their owners used the GPU, and how much.

        Of those whose end is ``unseen``, the processes that were claimed to be there still are taken back.
        """
        since_us = self.hole.since_us
        mine = (rows.gpu == self.gpu) & (rows.live > 0) & (rows.end_us > since_us) & (rows.start_us < self.end_us)
        claimed = [row for row in np.flatnonzero(mine).tolist() if rows.key(row) in unseen]
        if claimed:
            end_us = rows.end_us.copy()
            end_us[claimed] = since_us
            rows = rows.but(end_us=end_us)
            rows = rows.keep(rows.start_us < rows.end_us)
        activity, live = rows.activity_ppm.copy(), rows.live.copy()
        long = self.end_us - since_us > self.max_gap_us
        for row in _rows(rows, self.gpu):
            if not since_us <= rows.end_us[row] <= self.end_us:
                continue
            key = rows.key(row)
            edges = [self.hole.before.get(key), self.here[key][1] if key in self.here else None]
            used = [one.live == 1 for one in edges if one is not None]
            if long and live[row] == 0 and rows.end_us[row] > since_us and (any(used) or not used):
                live[row], activity[row] = 1, -1
            if live[row] and activity[row] < 0:
                activity[row] = _rate(*edges)
        return rows.but(activity_ppm=activity, live=live)

    def unseen(self, went: Iterable[JobKey], came: Iterable[JobKey], rows: Sequence[PendingUsage]) -> list[Any]:
        """Make rows of the time in which these may have been there: who went unseen, and who came unseen."""
        if self.end_us - self.hole.since_us <= self.max_gap_us:
            return []
        made = []
        here = {key: one for key, (_, one) in self.here.items()}
        for live, keys, side in ((BEFORE, went, self.hole.before), (AFTER, came, here)):
            for key in sorted(keys):
                own = [stretch for some in rows for stretch in some.stretches(self.gpu, key)]
                gaps = _gaps(own, self.hole.since_us, self.end_us)
                one = side[key]
                made += [(self.gpu, one.owner, -1, share_beside(key, side), live, *gap) for gap in gaps]
        return made


def _joined(before: OwnerAtEdge | None, after: OwnerAtEdge) -> tuple[Owner, int, int, int]:
    """Return owner, activity, share and ``live`` of who is there at both edges of a time."""
    live = after.live if before is None else max(before.live, after.live)
    return after.owner, _rate(before, after), after.share_ppm, live


def _gaps(own: list[tuple[int, int]], since_us: int, until_us: int) -> Iterator[tuple[int, int]]:
    """Yield what is left of a stretch beside these ones."""
    for start_us, stop_us in [*sorted(own), (until_us, until_us)]:
        if min(start_us, until_us) > since_us:
            yield since_us, min(start_us, until_us)
        since_us = max(since_us, stop_us)
