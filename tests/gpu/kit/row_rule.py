"""What a row of process utilisation should say if the driver goes by this rule, from the bursts that really were.

Every 200 ms the driver takes a sample: how busy the whole card was since the one before, percent, and one process: the
one that is on the card at that tick, else the one that was there last. A row of an answer sums the values of the
samples that name its process, and divides by the number of all samples newer than the stamp handed over. Its stamp is
that of the last sample that names it; who is named by none has no row. A sample of an idle card names somebody too: a
row may be 0 %.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from .schedule import merged, union

if TYPE_CHECKING:
    from .schedule import Load

USUAL_NS = 200_000_000
EDGE_NS = 1_000_000  # a burst that begins or ends so near a tick may count for either side
POINTS = 3.0  # a row is explained within that


@dataclass(frozen=True)
class Sample:
    """A sample that the driver took, by the rule.

    Attributes
    ----------
    t_ns : int
        Its tick, ns after t0.
    percent : float
        How busy the card was since the tick before.
    names : frozenset of str
        Who may be named: one, unless several had work on the card or a burst's edge was near.
    """

    t_ns: int
    percent: float
    names: frozenset[str]


def ticks(stamps: list[int]) -> list[int]:
    """All ticks from those that were seen: the holes are filled evenly."""
    seen = sorted(set(stamps))
    gaps = [b - a for a, b in pairwise(seen)]
    short = [gap for gap in gaps if 0.5 * USUAL_NS < gap < 1.5 * USUAL_NS]
    period = statistics.median(short) if short else USUAL_NS
    found = seen[:1]
    for a, b in pairwise(seen):
        if b - a < period / 2:  # one tick, stamped for two processes
            continue
        count = max(1, round((b - a) / period))
        found += [a + (b - a) * i // count for i in range(1, count + 1)]
    return found


def named_at(loads: list[Load], t_ns: int) -> frozenset[str]:
    """Who may be named at a moment: those who have work on the card, else the one that had some last."""
    running = {load.name for load in loads if any(a <= t_ns <= b for a, b, _ in load.log)}
    if running:
        return frozenset(running)
    last = [(max((b for _, b, _ in load.log if b < t_ns), default=-1), load.name) for load in loads]
    newest = max(last, default=(-1, ""))
    return frozenset({newest[1]} if newest[0] >= 0 else ())


def samples(loads: list[Load], at_ns: list[int]) -> list[Sample]:
    """The samples that the driver took at these ticks; of the first tick nothing is said."""
    busy = union(loads)
    found = []
    for before, t in pairwise(at_ns):
        active = sum(max(0, min(b, t) - max(a, before)) for a, b in busy)
        names = frozenset().union(*(named_at(loads, t + shift) for shift in (-EDGE_NS, 0, EDGE_NS)))
        found.append(Sample(t, 100 * active / (t - before), names))
    return found


@dataclass(frozen=True)
class Bounds:
    """What a row may say, by the samples that name its process surely, and by those that may.

    Attributes
    ----------
    least, most : float, percent
    surely, maybe : int
        How many samples name it.
    own : float, percent
        Mean of the samples that name it, which is another way to read a row.
    """

    least: float
    most: float
    surely: int
    maybe: int
    own: float

    @property
    def certain(self) -> bool:
        """Whether the rule leaves nothing open."""
        return self.surely == self.maybe

    def explains(self, percent: float | None) -> bool:
        """Whether a row of this many percent, or None for no row, is what the rule says."""
        if percent is None:
            return self.surely == 0
        return self.maybe > 0 and self.least - POINTS <= percent <= self.most + POINTS


def bounds(window: list[Sample], name: str) -> Bounds:
    """What the row of a process may say of the samples since the stamp that was handed over."""
    surely = [s.percent for s in window if s.names == {name}]
    maybe = [s.percent for s in window if name in s.names]
    count = max(1, len(window))
    own = sum(maybe) / len(maybe) if maybe else 0.0
    return Bounds(sum(surely) / count, sum(maybe) / count, len(surely), len(maybe), own)


def busy_ns(loads: list[Load], begin_ns: int, end_ns: int) -> dict[str, float]:
    """How long each load really was on the card: time that several shared is divided evenly between them."""
    cuts = sorted({begin_ns, end_ns, *(t for load in loads for a, b, _ in load.log for t in (a, b))})
    spans = {load.name: merged((a, b) for a, b, _ in load.log) for load in loads}
    places = dict.fromkeys(spans, 0)
    found = dict.fromkeys(spans, 0.0)
    for a, b in pairwise([t for t in cuts if begin_ns <= t <= end_ns]):
        here = []
        for name, own in spans.items():
            while places[name] < len(own) and own[places[name]][1] <= a:
                places[name] += 1
            if places[name] < len(own) and own[places[name]][0] <= a:
                here.append(name)
        for name in here:
            found[name] += (b - a) / len(here)
    return found
