"""Which GPUs a job had, where its table says only how many: looked for in what the trace shows of them.

A GPU whose work begins and ends with one job and with no other is that job's. A GPU that is busy is somebody's: where
the jobs of a node account for all its busy GPUs, each of these belongs to one of those running, none to two whole ones
at once, and a job keeps its GPUs; what follows from that is taken for known (`INFERRED`). Jobs of the same time that
fit alike share the busy GPUs among them (`EXCHANGEABLE`); where these are fewer than the jobs had, the first of them is
taken to be the busy one, which is a guess (`GUESSED`). Where nothing shows it (`COUNTED`), a job that had k of n GPUs
has k/n of each that can be its, and no more: the rest belongs to nobody. Everything is done in the jobs' own order: no
order of rows and no numbering of GPUs changes anything.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from wattshed.agent.traces.jobs.evidence import Evidence
    from wattshed.agent.traces.jobs.wants import Want

LEVELS = INFERRED, EXCHANGEABLE, COUNTED, GUESSED = "inferred", "exchangeable", "counted", "guessed"
"""How well it is known, best first; the label ``placement`` of a job says the worst that was needed."""
_PPM = 1_000_000
_FITS, _FITS_NOT = 0.9, 0.6  # busy for so much of a job's time speaks for it, for less than so much against it


@dataclass(frozen=True, slots=True)
class Placed:
    """One want on one GPU.

    Attributes
    ----------
    gpu : int
        Place among the host's GPUs.
    share_ppm : int
    at_most : bool
        The share is the most that can be its.
    doubt_mw : int, mW
        One sigma of the power of the GPUs that it may have been, for a whole one.
    """

    gpu: int
    share_ppm: int
    at_most: bool
    doubt_mw: int = 0


@dataclass(slots=True)
class _Open:
    """A want that is being placed."""

    want: Want
    left: int  # GPUs (of wholes) or instances (of parts) that are not placed
    found: list[int] = field(default_factory=list)
    shared: dict[int, int] = field(default_factory=dict)  # GPUs of a group, and how much of each it has at most, ppm
    level: str = INFERRED
    instead: set[int] = field(default_factory=set)  # GPUs that it may as well have had, where that is a guess

    @property
    def whole(self) -> bool:
        return self.want.count > 0

    @property
    def gpus(self) -> set[int]:
        return {*self.found, *self.shared}


class Placement:
    """Places the wants of one host.

    Parameters
    ----------
    wants : sequence of Want
        In the order of their jobs; a job's wants do not overlap in time, but for whole GPUs beside parts.
    evidence : Evidence
    """

    def __init__(self, wants: Sequence[Want], evidence: Evidence) -> None:
        self._evidence, self._gpus = evidence, evidence.gpus
        self._open = [_Open(want, want.count or len(want.parts) or 1) for want in wants]
        self._running: list[list[_Open]] = [[] for _ in range(evidence.stretches)]
        for one in self._open:
            for t in range(one.want.first, one.want.last):
                self._running[t].append(one)
        self._holders: dict[int, list[_Open]] = defaultdict(list)
        self.demand = [sum(one.want.count for one in running) for running in self._running]
        capacity = [sum(one.left for one in running) for running in self._running]
        self._foreign, self._explained = evidence.foreign(np.array(capacity, np.int64))
        self._stuck: set[tuple[int, int]] = set()
        self._cursor = 0  # nothing is open before this stretch

    def place(self) -> list[tuple[list[Placed], str]]:
        """Return what every want has of which GPU, and how well that is known; in the order of the wants."""
        self._by_edges()
        pending = list(range(self._evidence.stretches))
        while True:
            self._force(pending)
            pending = self._choose() or self._by_exclusion()
            if not pending:
                break
        return [self._outcome(one) for one in self._open]

    def _by_edges(self) -> None:
        """Place jobs that as many GPUs as they had began and ended with, if these went with no other job."""
        like: dict[int, list[_Open]] = defaultdict(list)
        mine: list[tuple[_Open, list[int]]] = []
        for one in self._open:
            want = one.want
            if not one.whole or max(self.demand[want.first : want.last], default=0) > self._gpus:
                continue
            found = [
                gpu
                for gpu in range(self._gpus)
                if self._evidence.spans(gpu, want.first, want.last) and self._is_free(one, gpu)
            ]
            for gpu in found:
                like[gpu].append(one)
            if len(found) == want.count:
                mine.append((one, found))
        for one, found in mine:
            if all(other is one or not _overlap(one, other) for gpu in found for other in like[gpu]):
                for gpu in found:
                    self._take(one, gpu)

    def _possible(self, t: int, gpu: int) -> list[_Open]:
        return [one for one in self._running[t] if one.left > 0 and gpu not in one.gpus and self._is_free(one, gpu)]

    def _is_free(self, one: _Open, gpu: int, *, held: bool = False) -> bool:
        """Return whether a GPU can be a want's: no whole GPU is two wants' at once, nor an owner's that is known."""
        if self._evidence.owned[gpu, one.want.first : one.want.last].any():
            return False
        return held or not any(
            _overlap(one, other) and (one.whole or other.whole) and other is not one for other in self._holders[gpu]
        )

    def _is_held(self, t: int, gpu: int) -> bool:
        return any(one.want.first <= t < one.want.last for one in self._holders[gpu])

    def _unheld(self, t: int) -> list[int]:
        """List the busy GPUs that nobody has yet, the busiest first, where the jobs account for all of them."""
        if not self._explained[t] or self.demand[t] > self._gpus:
            return []
        busy = np.flatnonzero(self._evidence.busy[:, t] & ~self._foreign[:, t]).tolist()
        open_ = [gpu for gpu in busy if (t, gpu) not in self._stuck and not self._is_held(t, gpu)]
        return sorted(open_, key=lambda gpu: (-int(self._evidence.power_mw[gpu, t]), self._evidence.order[gpu]))

    def _force(self, pending: list[int]) -> None:
        """Place what can be in one way only, as long as that leaves others only one way."""
        heapq.heapify(pending)
        while pending:
            t = heapq.heappop(pending)
            for gpu in self._unheld(t):
                possible = self._possible(t, gpu)
                if len(possible) == 1:
                    self._take(possible[0], gpu)
                    for touched in range(possible[0].want.first, possible[0].want.last):
                        heapq.heappush(pending, touched)
                    break
                if not possible:
                    self._stuck.add((t, gpu))

    def _take(self, one: _Open, gpu: int) -> None:
        one.found.append(gpu)
        one.left -= 1
        self._holders[gpu].append(one)

    def _choose(self) -> list[int]:
        """Decide the earliest of what is open; returns the stretches that this concerns, none at the end."""
        for t in range(self._cursor, self._evidence.stretches):
            self._cursor = t
            groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
            alike: dict[tuple[int, ...], list[_Open]] = {}
            for gpu in self._unheld(t):
                possible = self._possible(t, gpu)
                key = tuple(map(id, possible))
                groups[key].append(gpu)
                alike[key] = possible
            for key, gpus in groups.items():
                touched = self._by_fit(alike[key], gpus) or self._by_group(t, alike[key], gpus)
                if touched:
                    return [s for one in touched for s in range(one.want.first, one.want.last)]
        return []

    def _by_fit(self, possible: list[_Open], gpus: list[int]) -> list[_Open]:
        """Place a GPU that is busy for all of one job's time, and idle for much of every other's."""
        best: tuple[float, int, _Open] | None = None
        for gpu in gpus:
            ranked = sorted(
                ((self._evidence.fit(gpu, one.want.first, one.want.last), -i, one) for i, one in enumerate(possible)),
                key=lambda entry: entry[:2],
                reverse=True,
            )
            if len(ranked) < 2 or ranked[0][0] < _FITS or ranked[1][0] > _FITS_NOT:
                continue
            margin = ranked[0][0] - ranked[1][0]
            if best is None or margin > best[0]:
                best = margin, gpu, ranked[0][2]
        if best is None:
            return []
        self._take(best[2], best[1])
        return [best[2]]

    def _by_exclusion(self) -> list[int]:
        """Place jobs that are left with as many GPUs as they had (parts: with one); returns the stretches concerned."""
        touched: list[int] = []
        for one in self._open:
            free = self._free(one) if one.left and (one.whole or not one.gpus) else []
            if not free or len(free) != (one.left if one.whole else 1):
                continue
            alone = len(free) == self._gpus >= max(self.demand[one.want.first : one.want.last], default=0)
            if alone or self._is_accounted(one, free):
                for gpu in free:
                    self._take(one, gpu)
                touched += range(one.want.first, one.want.last)
        return touched

    def _by_group(self, t: int, possible: list[_Open], gpus: list[int]) -> list[_Open]:
        """Let jobs that nothing distinguishes share their busy GPUs; returns those that got any."""
        wholes = [one for one in possible if one.whole]
        spans = {(one.want.first, one.want.last) for one in possible}
        # Jobs of other times would leave other traces; and one whole job, or several parts: nothing shows which.
        if len(spans) > 1 or (wholes and len(wholes) < len(possible)):
            self._stuck |= {(t, gpu) for gpu in gpus}
            return []
        if not wholes:
            taking = [(one, one.left) for one in possible]
            level = EXCHANGEABLE if len(gpus) == 1 else COUNTED
        else:
            wanted = sum(one.left for one in possible)
            level = EXCHANGEABLE if wanted <= len(gpus) else GUESSED
            ranked = sorted(
                possible,
                key=lambda one: (
                    -round(sum(self._evidence.fit(gpu, one.want.first, one.want.last) for gpu in gpus), 6),
                    one.want.order,
                ),
            )
            taking, still = [], len(gpus)
            for one in ranked:
                taken = min(one.left, still)
                if taken:
                    taking.append((one, taken))
                    still -= taken
        turn = 0
        for one, taken in taking:
            size = taken * _PPM if one.whole else self._size(one, gpus)
            shares, turn = _dealt(size, gpus, len(gpus), turn)
            one.shared.update(shares)
            one.left -= taken
            one.level = max(one.level, level, key=_rank)
            for gpu in gpus:
                self._holders[gpu].append(one)
        if level == GUESSED:
            for one in possible:
                one.level = GUESSED
                one.instead = {*gpus, *(gpu for gpu in range(self._gpus) if self._is_free(one, gpu))}
        return possible

    def _outcome(self, one: _Open) -> tuple[list[Placed], str]:
        want = one.want
        at_most = one.level != INFERRED
        if one.whole:
            placed = [Placed(gpu, _PPM, at_most) for gpu in one.found]
            placed += [Placed(gpu, share, at_most=True) for gpu, share in one.shared.items()]
            if one.left:
                placed += self._left_over(one, one.left * _PPM)
        elif one.gpus:
            gpus = sorted(one.gpus)
            shares, _ = _dealt(self._size(one, gpus), gpus, len(gpus), 0)
            at_most = not want.shards or len(gpus) > 1
            placed = [Placed(gpu, share, at_most) for gpu, share in shares.items()]
        else:
            placed = self._left_over(one, self._size(one, []))
        doubt_mw = self._evidence.spread_mw({p.gpu for p in placed if p.at_most} | one.instead, want.first, want.last)
        placed = [replace(p, doubt_mw=doubt_mw) if p.at_most else p for p in placed]
        return sorted(placed, key=lambda one: one.gpu), one.level

    def _size(self, one: _Open, gpus: Collection[int]) -> int:
        """Sum a want's parts, in millionths of a GPU; a shard's size follows from the most that were there at once."""
        if not one.want.shards:
            return sum(one.want.parts)
        if not gpus:
            return _PPM
        there = [
            sum(o.want.shards for o in self._running[t] if o is one or not o.gpus.isdisjoint(gpus))
            for t in range(one.want.first, one.want.last)
        ]
        return one.want.shards * _PPM // max(there, default=one.want.shards)

    def _free(self, one: _Open, *, held: bool = False) -> list[int]:
        """List the GPUs that can be a want's, beside those that it has; or that could, if not for others."""
        return [gpu for gpu in range(self._gpus) if gpu not in one.gpus and self._is_free(one, gpu, held=held)]

    def _is_accounted(self, one: _Open, free: list[int]) -> bool:
        """Return whether the jobs account for all that is done on the node in a want's time, and ``free`` GPUs idle."""
        first, last = one.want.first, one.want.last
        if self._foreign[:, first:last].any() or not all(self._explained[first:last]):
            return False
        if max(self.demand[first:last], default=0) > self._gpus:
            return False
        places, times = np.nonzero(self._evidence.busy[free, first:last])
        return all(self._is_held(first + t, free[p]) for p, t in zip(places.tolist(), times.tolist(), strict=True))

    def _left_over(self, one: _Open, size_ppm: int) -> list[Placed]:
        """Spread what could not be placed over the GPUs that can be its: those that are idle, if all is accounted for.

        A job that is known to be on idle GPUs has its part of these; else it has k/n of the node's, and no more.
        """
        free = self._free(one) or self._free(one, held=not one.whole)
        accounted = size_ppm <= len(free) * _PPM and self._is_accounted(one, free)
        of = len(free) if accounted else max(self._gpus, *self.demand[one.want.first : one.want.last])
        if free and size_ppm >= of * _PPM:  # it had all of them, whatever they did
            return [Placed(gpu, _PPM, at_most=one.level != INFERRED) for gpu in free]
        alike = accounted and one.level == INFERRED and bool(one.gpus)
        one.level = max(one.level, EXCHANGEABLE if alike else COUNTED, key=_rank)
        shares, _ = _dealt(size_ppm, free, of, self._open.index(one))
        return [Placed(gpu, share, at_most=True) for gpu, share in shares.items()]


def _dealt(size_ppm: int, gpus: Sequence[int], of: int, turn: int) -> tuple[dict[int, int], int]:
    """Deal a size out to GPUs as evenly as whole millionths allow; those left over go round, from ``turn`` on.

    Parameters
    ----------
    size_ppm : int
    gpus : sequence of int
    of : int
        How many it would be dealt to, of which these are some.
    turn : int
    """
    each, left = divmod(size_ppm, max(of, 1))
    shares = dict.fromkeys(gpus, min(each, _PPM))
    if len(gpus) == of and each < _PPM:
        for i in range(left):
            shares[gpus[(turn + i) % of]] += 1
    return shares, turn + left


def _overlap(one: _Open, other: _Open) -> bool:
    return one.want.first < other.want.last and other.want.first < one.want.last


def _rank(level: str) -> int:
    return LEVELS.index(level)
