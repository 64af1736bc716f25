"""The cumulative energy of one GPU as a line through what its meter said.

An energy counter is published every 20 to 100 ms; between two readings of it nobody knows where the energy was used.
So the line runs through the moments of publication, between two of them as if the load changed at the moment that is
asked for, and a moment within is in doubt by ``dE * sqrt(f * (1 - f))``: dE is the energy of that stretch, f the part
of it that lies before (all of dE may be on either side).

When a value was published is seen exactly where readings are close together (around the edges of windows), and follows
from the period that was learned there everywhere else.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import NamedTuple

from wattshed.agent.measuring.points import HNJ_PER_JOULE, EnergyPoint
from wattshed.agent.meters.load_change import part_before, sigma_of_moment

HNJ_PER_MJ = 2_000_000
CLOSE_NS = 12_000_000
"""Two readings no further apart bracket what was published between them."""
LONGEST_PERIOD_NS = 110_000_000
"""Longest period between two publications that is believed, and assumed where none was learned."""
LONGEST_GAP_NS = 2_000_000_000
"""Readings of power further apart are not joined."""
UNSEEN = 0.1
"""One sigma of the mean power between two readings beside the mean of these, where they are alike."""
_KEPT = 4096


class Knot(NamedTuple):
    """A known value: when it was true (ns, give or take ``blur_ns``), energy (hnj), doubts as in `EnergyPoint`."""

    time_ns: int
    energy_hnj: int
    blur_ns: float = 0.0
    doubt_j: float = 0.0
    squares_j2: float = 0.0


class EnergyCurve:
    """Knots in order of time.

    Parameters
    ----------
    gain : float
        One sigma of the meter's gain.
    """

    def __init__(self, gain: float) -> None:
        self._gain = gain
        self._knots: list[Knot] = []
        self._told_ns = 0

    @property
    def last(self) -> Knot | None:
        """The newest knot."""
        return self._knots[-1] if self._knots else None

    @property
    def slope(self) -> float:
        """The power at the end of the line, hnj/ns."""
        return self._slope(len(self._knots) - 1) if len(self._knots) > 1 else 0.0

    def add(self, knot: Knot) -> None:
        """Add a knot; one that is not later than the last is put right after it."""
        if self._knots and knot.time_ns <= self._knots[-1].time_ns:
            knot = knot._replace(time_ns=self._knots[-1].time_ns + 1)
        self._knots.append(knot)
        if len(self._knots) > _KEPT:
            del self._knots[: _KEPT // 2]

    def move_last(self, time_ns: int, blur_ns: float) -> None:
        """Say better when the newest knot was true; what was told already stays true."""
        least_ns = max(self._told_ns, self._knots[-2].time_ns + 1 if len(self._knots) > 1 else 0)
        last = self._knots[-1]
        if time_ns < last.time_ns:
            self._knots[-1] = last._replace(time_ns=max(time_ns, least_ns), blur_ns=blur_ns)

    def move_first(self, before_ns: int, blur_ns: float) -> None:
        """Say that the first of two knots was true so long before the second."""
        if len(self._knots) == 2 and not self._told_ns:
            first, second = self._knots
            self._knots[0] = first._replace(time_ns=min(first.time_ns, second.time_ns - before_ns), blur_ns=blur_ns)

    def reaches(self, time_ns: int) -> bool:
        """Tell whether the line goes on after a moment: it takes two knots."""
        return len(self._knots) > 2 and self._knots[-2].time_ns > time_ns

    def at(self, time_ns: int) -> EnergyPoint | None:
        """Return the value at a moment; None if it is not known yet. Moments are asked for in order."""
        knots = self._knots
        place = bisect_right(knots, time_ns, key=lambda knot: knot.time_ns)
        if not self.reaches(time_ns):
            return None
        self._told_ns = knots[place + 1].time_ns  # what was told depends on it
        if not place:
            return EnergyPoint(knots[0].energy_hnj, edge_j=self._blurred_j(0, 1))
        a, b = knots[place - 1 : place + 1]
        step_hnj, part = b.energy_hnj - a.energy_hnj, (time_ns - a.time_ns) / (b.time_ns - a.time_ns)
        # With nothing before, all that is known is what follows.
        before = self._slope(place - 1 if place > 1 else place + 1)
        energy_hnj = a.energy_hnj + int(step_hnj * part_before(part, before, self._slope(place + 1)))
        edge_j = math.hypot(sigma_of_moment(step_hnj / HNJ_PER_JOULE, part), self._blurred_j(place - 1, place))
        doubt_j, squares_j2 = (x + (y - x) * part for x, y in ((a.doubt_j, b.doubt_j), (a.squares_j2, b.squares_j2)))
        del knots[: max(place - 2, 0)]
        return EnergyPoint(energy_hnj, energy_hnj / HNJ_PER_JOULE * self._gain, doubt_j, edge_j, squares_j2)

    def beyond(self, time_ns: int) -> EnergyPoint | None:
        """Return what the value at a moment after the last knot may be, if it goes on as before: or not at all."""
        last = self.last
        if last is None:
            return None
        more_hnj = int(self.slope * max(0, time_ns - last.time_ns))
        energy_hnj = last.energy_hnj + more_hnj
        gain_j = energy_hnj / HNJ_PER_JOULE * self._gain
        return EnergyPoint(energy_hnj, gain_j, last.doubt_j, more_hnj / HNJ_PER_JOULE, last.squares_j2)

    def _slope(self, place: int) -> float:
        a, b = self._knots[place - 1 : place + 1]
        return max(0.0, (b.energy_hnj - a.energy_hnj) / (b.time_ns - a.time_ns))

    def _blurred_j(self, first: int, second: int) -> float:
        """Return what it does that it is not known when the knots were true, J."""
        a, b = self._knots[first], self._knots[second]
        return self._slope(second) * max(a.blur_ns, b.blur_ns) / HNJ_PER_JOULE


class CounterLine:
    """The line of a GPU that has an energy counter.

    Parameters
    ----------
    gain : float

    Attributes
    ----------
    line : EnergyCurve
    period_ns : int, ns
        Between two publications; 0: not known yet.
    resets : int
        How often the counter began anew.
    """

    def __init__(self, gain: float) -> None:
        self.line = EnergyCurve(gain)
        self.period_ns = self.resets = 0
        self._base_mj = self._value_mj = -1
        self._read_ns = 0
        self._anchor_ns = self._exact_ns = 0
        self._chain = False  # whether all readings since the last exact moment were close together
        self._doubt_j = 0.0

    def read(self, time_ns: int, value_mj: int) -> bool:
        """Take in a reading; returns whether it says anything new, and when that was is known exactly.

        Parameters
        ----------
        time_ns : int, ns
            Midpoint of the call.
        value_mj : int, mJ
        """
        before_ns, self._read_ns = self._read_ns, time_ns
        close = 0 < time_ns - before_ns <= CLOSE_NS
        if self._value_mj < 0:
            self._base_mj = self._value_mj = value_mj
            self.line.add(Knot(time_ns, 0, LONGEST_PERIOD_NS / math.sqrt(12)))
            return False
        if value_mj == self._value_mj:
            self._chain = self._chain and close
            return False
        if value_mj < self._value_mj:
            self._restart(time_ns, value_mj)
            return False
        if close:
            at_ns, blur_ns = (before_ns + time_ns) // 2, (time_ns - before_ns) / math.sqrt(12)
            self._learn(at_ns)
        else:
            at_ns, blur_ns = self._published(before_ns, time_ns)
        self._chain = close
        self._value_mj = value_mj
        self.line.add(Knot(at_ns, (value_mj - self._base_mj) * HNJ_PER_MJ, blur_ns, self._doubt_j))
        return close

    def _learn(self, at_ns: int) -> None:
        """Take in the exact moment of a publication: the value before it was published one period earlier."""
        apart_ns = at_ns - self._exact_ns
        if self._chain and self._exact_ns and 0 < apart_ns <= LONGEST_PERIOD_NS:
            if not self.period_ns:
                self.line.move_first(apart_ns, CLOSE_NS / math.sqrt(12))
            self.period_ns = apart_ns if not self.period_ns else (3 * self.period_ns + apart_ns) // 4
        elif self.period_ns and self._anchor_ns:
            periods = round((at_ns - self._anchor_ns) / self.period_ns)
            off_ns = at_ns - self._anchor_ns - periods * self.period_ns
            if periods > 3 and abs(off_ns) < self.period_ns // 4:
                self.period_ns += off_ns // periods
        self._anchor_ns = self._exact_ns = at_ns
        if self.period_ns:
            self.line.move_last(at_ns - self.period_ns, CLOSE_NS / math.sqrt(12))

    def _published(self, after_ns: int, until_ns: int) -> tuple[int, float]:
        """Guess when a value was published that was read now and was not there at the reading before."""
        period_ns = self.period_ns or LONGEST_PERIOD_NS
        earliest_ns = max(after_ns, until_ns - period_ns)
        if self.period_ns:
            at_ns = until_ns - (until_ns - self._anchor_ns) % period_ns
            if at_ns >= earliest_ns:
                return at_ns, CLOSE_NS / math.sqrt(12)
        return (earliest_ns + until_ns) // 2, (until_ns - earliest_ns) / math.sqrt(12)

    def _restart(self, time_ns: int, value_mj: int) -> None:
        """Go on after a driver that counts anew: what was used meanwhile is at least what it counted since."""
        last = self.line.last
        self.resets += 1
        counted_hnj = last.energy_hnj if last else 0
        missed_hnj = round(self.line.slope * (time_ns - (last.time_ns if last else time_ns)))
        self._doubt_j += missed_hnj / HNJ_PER_JOULE
        self._value_mj = value_mj
        self._base_mj = value_mj - (counted_hnj + missed_hnj) // HNJ_PER_MJ
        self._chain = False
        energy_hnj = (value_mj - self._base_mj) * HNJ_PER_MJ
        self.line.add(Knot(time_ns, energy_hnj, LONGEST_PERIOD_NS / math.sqrt(12), self._doubt_j))


class PowerLine:
    """The line of a GPU without a counter: the trapezoid of its power.

    Parameters
    ----------
    gain : float

    Attributes
    ----------
    line : EnergyCurve
    gaps : int
        How often readings were too far apart to be joined.
    """

    def __init__(self, gain: float) -> None:
        self.line = EnergyCurve(gain)
        self.gaps = 0
        self._last: tuple[int, int] | None = None

    def read(self, time_ns: int, power_mw: int) -> bool:
        """Take in a reading of power, mW."""
        last, self._last = self._last, (time_ns, power_mw)
        if last is None:
            self.line.add(Knot(time_ns, 0))
            return True
        before = self.line.last or Knot(time_ns, 0)
        us = (time_ns - last[0]) // 1000
        joined_hnj, doubt_j = (power_mw + last[1]) * us, before.doubt_j
        if time_ns - last[0] > LONGEST_GAP_NS:
            self.gaps += 1
            doubt_j += joined_hnj / HNJ_PER_JOULE
        # What the load did between two readings is not seen, each time anew.
        unseen_hnj = math.hypot((power_mw - last[1]) / math.sqrt(3), UNSEEN * (power_mw + last[1])) * us
        squares_j2 = before.squares_j2 + (unseen_hnj / HNJ_PER_JOULE) ** 2
        self.line.add(Knot(time_ns, before.energy_hnj + joined_hnj, 0.0, doubt_j, squares_j2))
        return True
