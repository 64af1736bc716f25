"""Counter and power reconciled as the documents tell it: Python integers, lists of readings and intervals, no kernel.

Written from docs/metering.md, docs/decisions (4, 610, 611, 692, 693) and docstrings; it shares no code with what it
judges, not even a constant. What only counts readings is a pass over all of them (`tally`); what books is `Gpu`.
"""

import itertools
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import NamedTuple

SECOND = 1_000_000
HNJ = 2_000_000  # half-nanojoules in a millijoule
DIP, JUMP, OLD = "dip", "jump", "old"


@dataclass
class Limits:
    ceiling_mw: int
    limit_mw: int
    gap_us: int

    @property
    def most_mw(self):
        """One and a half times the limit, or the ceiling where no limit is known."""
        bound = self.limit_mw if self.limit_mw > 0 else self.ceiling_mw
        return bound + bound // 2

    def possible(self, step_mj, apart_us):
        """A board can use so much in that time and a second; and no step is more than 2 GJ."""
        return 0 <= step_mj <= 2 * 10**12 and step_mj * SECOND // (apart_us + SECOND) <= self.most_mw


class Reading(NamedTuple):
    t: int
    power: int  # None: no power that can be believed
    counter: int  # None: not read
    average: int  # as it was read


@dataclass
class Interval:
    t0: int
    t1: int
    energy: int
    begin_mw: int
    end_mw: int
    hole: int = 0

    @property
    def length(self):
        return self.t1 - self.t0


def energy_of(intervals):
    return sum(interval.energy for interval in intervals)


# --- what only counts: one pass over all rows so far for each rule ---


def in_order(rows):
    """Rows that are not before the one before them; the others are rejected."""
    kept, last = [], -1
    for row in rows:
        if row[0] >= last:
            kept.append(row)
            last = row[0]
    return kept


def believed(rows, limits):
    """Readings of rows (time, average, instant, counter): with a counter known before, instant power is preferred."""
    counted, readings, rejected = False, [], Counter()
    for t, average, instant, c in rows:
        p = instant if counted and instant > 0 else average
        rejected["rejected_zero"] += p == 0
        rejected["rejected_negative"] += p < -1
        rejected["rejected_high"] += p > limits.ceiling_mw
        readings.append(Reading(t, p if 0 < p <= limits.ceiling_mw else None, c if c >= 0 else None, average))
        counted = counted or c >= 0
    return readings, rejected


def levels(readings, limits):
    """The powers whose integral is what power says: all that are believed, and beside a counter the averages."""
    counted = False
    for r in readings:
        power = r.average if counted and 0 < r.average <= limits.ceiling_mw else None if counted else r.power
        if power:
            yield r.t, power
        counted = counted or r.counter is not None


def tally(rows, limits):
    """What `Diagnostics` counts of readings alone."""
    readings, counts = believed(in_order(rows), limits)
    counts["rejected_time"] = len(rows) - len(readings)
    powers = [(r.t, r.power) for r in readings if r.power]
    counts["samples"] = len(powers)
    for (t0, _), (t1, _) in itertools.pairwise(powers):
        if t1 - t0 <= limits.gap_us:
            counts["covered_us"] += t1 - t0
        else:
            counts["gap_us"] += t1 - t0
            counts["gaps"] += 1
    for (t0, p0), (t1, p1) in itertools.pairwise(levels(readings, limits)):
        if t1 - t0 <= limits.gap_us:
            counts["power_hnj"] += (p0 + p1) * (t1 - t0)
    # Of a GPU that tells its counter alone, gaps are the counter's.
    first_power = next((i for i, r in enumerate(readings) if r.power), len(readings))
    alone = [r.t for r in readings[:first_power] if r.counter is not None]
    for t0, t1 in itertools.pairwise(alone):
        if t1 - t0 > limits.gap_us:
            counts["gap_us"] += t1 - t0
            counts["gaps"] += 1
    return counts


def extremes(rows, limits):
    """Lowest and highest power, the longest time that it repeats itself, the first reading; -1 where there is none."""
    readings, _ = believed(in_order(rows), limits)
    powers = [(r.t, r.power) for r in readings if r.power]
    longest, since = 0, None
    for i, (t, p) in enumerate(powers):
        if i and p == powers[i - 1][1] and t - powers[i - 1][0] <= limits.gap_us:
            longest = max(longest, t - since)
        else:
            since = t
    told = [p for _, p in powers] or [-1]
    rows = [t for t, average, _, c in in_order(rows) if average > 0 or c >= 0]
    return {
        "lowest_mw": min(told),
        "highest_mw": max(told),
        "longest_run_us": longest,
        "first_us": min(rows, default=-1),
    }


# --- what books ---


@dataclass
class Suspect:
    """A reading of the counter that is held back, and what power booked of the time after it."""

    kind: str
    t: int
    c: int
    booked: int = 0


@dataclass
class Level:
    """A reading of the counter to measure from, and what is booked since: the counter's next step holds that too."""

    t: int
    c: int
    booked: int = 0


@dataclass
class Gpu:
    """The books of one GPU. ``open`` is what lies before a suspect, ``beyond`` what lies after it."""

    limits: Limits
    counts: Counter = field(default_factory=Counter)
    final: list = field(default_factory=list)
    open: list = field(default_factory=list)
    beyond: list = field(default_factory=list)
    power: tuple = None  # time and power
    shaped: int = None  # until then power gave its shape
    booked: int = -1  # until then energy is booked
    base: Level = None
    suspect: Suspect = None
    high_water: Level = None  # where the counter stood before it began anew
    last_t: int = None
    counted_t: int = None
    still_since: int = None  # of a counter that repeats itself
    still_pause: int = 0
    stood_t: int = None  # when it was last seen to stand
    mean_mw: int = None  # of the seconds before, by the counter
    before_mw: int = None  # beside the last hole
    after_mw: int = None
    averages: list = field(default_factory=list)  # beside the counter, since its last step, without a gap between them

    # -- rows --

    def take(self, r):
        self.last_t = r.t
        if self.base and 0 < r.average <= self.limits.ceiling_mw:
            if self.averages and r.t - self.averages[-1][0] > self.limits.gap_us:
                self.averages = []
            self.averages.append((r.t, r.average))
        if r.power or r.counter is not None:
            self._give_shape(r)
        if r.power:
            self.power, self.shaped = (r.t, r.power), r.t
            if not self.base:
                self.booked = r.t
        if r.counter is not None:
            self._count(r.t, r.counter)
        elif self._waits_too_long(r.t):
            self._close_before_hole()

    def _give_shape(self, r):
        """From reading to reading by the straight line; where the last power is too old, by the one that is there."""
        if self.shaped is not None and r.t - self.shaped <= self.limits.gap_us:
            near = self.power and r.t - self.power[0] <= self.limits.gap_us
            if r.t == self.shaped or not (near or (self.base and (r.power or self.open or self.beyond))):
                return
            before = self.power[1] if near or not r.power else r.power
            after = r.power or self.power[1]
            interval = Interval(self.shaped, r.t, (before + after) * (r.t - self.shaped), before, after)
            (self.beyond if self.suspect else self.open).append(interval)
            self.shaped = r.t
            if not self.base:
                self._settle_by_power(self.open)
                self._finish_all()
                self.booked = r.t
        elif self.base:
            self._end_hole(r)

    def _end_hole(self, r):
        """Nobody read for longer than a gap: what is before it is closed, and the powers on both sides are noted."""
        self._close_before_hole()
        if self.mean_mw or self.power:
            self.before_mw = self.mean_mw or self.power[1]
        self.after_mw = r.average if 0 < r.average <= self.limits.ceiling_mw else r.power
        self.mean_mw = None

    def _waits_too_long(self, t):
        """A stretch waits a gap for its counter; one after a hole, of which nothing else tells, 30 s."""
        waiting = self.open + self.beyond
        if not self.base or not waiting or t - self.counted_t <= self.limits.gap_us:
            return False
        after_hole = waiting[0].t0 - self.booked > self.limits.gap_us
        return not after_hole or t - waiting[0].t0 > 30 * SECOND

    def _close_before_hole(self):
        if self.suspect and self.suspect.kind == OLD:
            self._book_old(moved=False)
        if self.open or self.beyond:
            self._close()

    # -- what a reading of the counter is worth --

    def _count(self, t, c):
        unseen = None if self.counted_t is None else t - self.counted_t
        self.counted_t = t
        if not self.base:
            self._start(t, c)
            return
        if self.high_water and t - self.high_water.t > 3600 * SECOND:
            self.high_water = None
        if self.suspect and self.suspect.kind == OLD:
            self._judge_old(t, c, unseen)
            if self.suspect:
                return
        from_base = self._possible_from(self.base, t, c)
        if self.suspect:
            onward = c > self.suspect.c and self._possible_from(self.suspect, t, c)
            if from_base and not (self.suspect.kind == JUMP and onward):
                self._forget_suspect()
            else:
                self._judge_suspect(t, c, unseen, onward)
                return
        self._judge(t, c, unseen, from_base)

    def _possible_from(self, level, t, c):
        return self.limits.possible(c - level.c, t - level.t)

    def _judge(self, t, c, unseen, from_base):
        if from_base and c == self.base.c:
            if self._stands(t, unseen):
                self._stood(t)
                self._close()
        elif self._is_back(t, c, from_base):
            self.counts["rejected_dip"] += 1
            self.base, self.high_water = self.high_water, None
            self._believe(t, c, may_lack=True)
        elif not from_base:
            self._hold_back(t, c, DIP if c < self.base.c else JUMP)
        elif self.power and (self.open[0].t0 if self.open else t) - self.booked > self.limits.gap_us:
            self._hold_back(t, c, OLD)
        else:
            self._believe(t, c, may_lack=self.stood_t is not None)

    def _stands(self, t, unseen):
        """Readings that repeat it, more than 2 s apart without their longest pause, while power flows."""
        if self.still_since is None or unseen > self.limits.gap_us:
            self.still_since, self.still_pause = t, 0
        elif unseen > 2 * SECOND:
            self.still_pause = max(self.still_pause, unseen)
        flows = self.power and t - self.power[0] <= self.limits.gap_us and (self.open or self.beyond)
        return flows and t - self.still_since - self.still_pause > 2 * SECOND

    def _stood(self, t):
        self.counts["stuck"] += 1
        self.stood_t = t

    def _is_back(self, t, c, from_base):
        """At the level from before it fell; if it may be a step from the new level too, power tells which."""
        was = self.high_water
        if not was or c < was.c or not self._possible_from(was, t, c):
            return False
        if not from_base:
            return True
        if not self.open or self.open[0].t0 - self.booked > self.limits.gap_us:
            return False
        unexplained = [abs((c - level.c) * HNJ - level.booked - energy_of(self.open)) for level in (was, self.base)]
        return unexplained[0] < unexplained[1]

    def _hold_back(self, t, c, kind):
        self.suspect = Suspect(kind, t, c)
        self.open, self.beyond = self.open + self.beyond, []
        self.shaped, self.still_since = t, None

    def _forget_suspect(self):
        self.counts["rejected_dip" if self.suspect.kind == DIP else "rejected_step"] += 1
        self._trust_again()

    def _trust_again(self):
        self.suspect = None
        self.open, self.beyond = self.open + self.beyond, []

    def _judge_suspect(self, t, c, unseen, onward):
        was = self.suspect
        repeats = c == was.c
        if repeats and self._stands(t, unseen):
            self._stood(t)
            self._close_standing()
        elif (onward and (self.stood_t is None or self.stood_t < was.t)) or (repeats and t - was.t > 30 * SECOND):
            self._begin_anew(t, c, onward)
        elif not repeats:
            self._hold_back(t, c, DIP if c < self.base.c else JUMP)

    def _judge_old(self, t, c, unseen):
        """The first value after a hole: the next one tells whether it was the hole's end, or as old as the hole."""
        was = self.suspect
        if c == was.c:
            if self._stands(t, unseen):
                self._old_stands(t)
            return
        moved = c > was.c and self._possible_from(was, t, c)
        waiting = self.open + self.beyond
        more_than_power = self.beyond and 2 * (c - was.c) * HNJ > 3 * energy_of(self.beyond)
        soon = bool(waiting) and t - waiting[0].t0 <= 30 * SECOND
        was_old = (more_than_power and soon) or not moved
        if c > was.c and was_old and self._possible_from(self.base, t, c):
            self._trust_again()
        else:
            self._book_old(moved)

    # -- what is booked --

    def _seen(self, t):
        """What power says of the time since energy was booked: the average, where it was read at both ends."""
        ends = [self.averages[0][0], self.averages[-1][0]] if self.averages else []
        if ends != [self.booked, t]:
            return energy_of(self.open)
        return sum((p0 + p1) * (t1 - t0) for (t0, p0), (t1, p1) in itertools.pairwise(self.averages))

    def _start(self, t, c, booked=0):
        self.averages = self.averages[-1:] if self.base else [self.power] if self.power else []
        self.base = Level(t, c, booked)
        self.booked = self.shaped = t
        self.still_since = self.stood_t = None

    def _believe(self, t, c, may_lack):
        """The step is the energy since the base: what power booked of it already is taken off."""
        said = (c - self.base.c) * HNJ
        rest = said - self.base.booked
        seen_whole = bool(self.open) and (self.open[0].t0, self.open[-1].t1) == (self.booked, t)
        self.counts["counter_hnj"] += said
        if not self.open and self.base.booked == 0 and t - self.booked <= self.limits.gap_us:
            self._follow_mean(t, said)
        if not self.open or self.open[0].t0 > self.booked:
            self._cover(t)
        carried = 0
        if may_lack and rest < 0 and -4 * rest > self.base.booked:  # lost while it stood: power stays
            self._by_power(self.open, min(said, energy_of(self.open)), 900 * SECOND)
        elif self.open:
            if seen_whole and self.base.booked == 0:
                self.counts["compared_us"] += t - self.booked
                self.counts["compared_counter_hnj"] += said
                self.counts["compared_power_hnj"] += self._seen(t)
                self._follow_mean(t, said)
            carried = self._by_counter(self.open, rest, said if self.booked == self.base.t else 0)
        else:
            carried = -rest
        self.final += self.open
        self.open, self.beyond = self.beyond, []
        self._start(t, c, carried)

    def _follow_mean(self, t, said):
        span = max(t - self.booked, 1)
        mean = min(said // (2 * span), self.limits.most_mw)  # a counter's step may be of a longer time
        short = span < SECOND // 5 and self.power and t - self.power[0] <= self.limits.gap_us
        if (before := self.mean_mw or (self.power[1] if short else None)) and span < 3 * SECOND:
            mean = before + (mean - before) * span // (3 * SECOND)
        self.mean_mw = mean

    def _book_old(self, moved):
        """If none moved on from it, what comes next is measured from before the hole, for it may be as old."""
        was, base_t, shaped = self.suspect, self.base.t, self.shaped
        self.suspect = None
        self._believe(was.t, was.c, may_lack=self.stood_t is not None)
        self.shaped = shaped
        if not moved:
            self.base.t = base_t

    def _old_stands(self, t):
        """A lower bound of the hole, the rest of which is estimated; the next step is measured from before it."""
        self._stood(t)
        said = (self.suspect.c - self.base.c) * HNJ
        self.counts["counter_hnj"] += said
        self._cover(t)
        self._by_power(self.open, max(said - self.base.booked, 0), 900 * SECOND)
        self._by_power(self.beyond, 0, 900 * SECOND)
        self.base.c, self.base.booked, self.suspect = self.suspect.c, self.base.booked - said, None
        self._finish_all(move=True)

    def _close(self):
        """Power is booked, for the counter does not tell."""
        self._cover((self.open + self.beyond)[-1].t1)
        self._by_power(self.open, 0, 900 * SECOND)
        self._book_beyond()
        self._finish_all(move=True)

    def _book_beyond(self):
        booked = self._by_power(self.beyond, 0, 900 * SECOND)
        if self.suspect:
            self.suspect.booked += booked

    def _close_standing(self):
        """As `_close`; a low value that stands is also a lower bound, should it prove to have begun anew."""
        self._cover((self.open + self.beyond)[-1].t1)
        self._by_power(self.open, self._told_anew(), (60 if self.suspect.kind == DIP else 900) * SECOND)
        self._book_beyond()
        self._finish_all(move=True)

    def _told_anew(self):
        """What a low value says of the time before it if it has counted from zero: as much, less what is booked."""
        was = self.suspect
        if was.kind != DIP or not self.limits.possible(was.c, was.t - self.base.t):
            return 0
        told = was.c * HNJ
        read = bool(self.open) and not self.open[0].hole
        booked_of_it = read or not self.open or not self.limits.possible(was.c, was.t - self.booked)
        if booked_of_it:
            told = max(told - (self.base.booked - was.booked), 0)
        if read:
            told = min(told, 2 * self.limits.most_mw * (self.open[-1].t1 - self.open[0].t0))
        return told

    def _settle_anew(self):
        self.counts["resets" if self.suspect.kind == DIP else "rejected_step"] += 1
        told, before = self._told_anew(), self.base.booked
        self.counts["counter_hnj"] += before + self._by_power(self.open, told, 60 * SECOND)

    def _begin_anew(self, t, c, onward):
        """A new epoch: from the suspect if the counter goes on from there, else from here."""
        was = self.suspect
        if was.kind == DIP:
            self.high_water = Level(self.base.t, self.base.c, self.base.booked)
        self._cover(t)
        self._settle_anew()
        carried = 0
        if onward and self.beyond:
            rest = (c - was.c) * HNJ - was.booked
            self.counts["counter_hnj"] += max(rest, 0)
            carried = self._by_counter(self.beyond, rest, rest if self.booked <= was.t else 0)
        else:
            self._by_power(self.beyond, 0, 60 * SECOND)
        self.suspect = None
        self._start(t, c, carried)
        self._finish_all()

    def finish(self):
        """Nothing follows: what is open is booked, unless the counter has just said that it used nothing."""
        if self.suspect and self.suspect.kind == OLD:
            self._book_old(moved=False)
        waiting = self.open + self.beyond
        if self.suspect:
            if not waiting and self.suspect.t <= self.booked:
                return
        elif not waiting or self.counted_t == self.last_t:
            return
        self._cover(self.shaped)
        if self.suspect and self.suspect.kind == DIP:
            self._settle_anew()
        else:
            self._by_power(self.open, 0, 900 * SECOND)
        self._by_power(self.beyond, 0, 900 * SECOND)
        self._finish_all(move=True)

    def end_window(self):
        """What is final now; what is open goes on as one interval on either side of the suspect."""
        final, self.final = self.final, []
        if self.open:
            a, z = self.open[0], self.open[-1]
            self.open = [Interval(a.t0, z.t1, energy_of(self.open), a.begin_mw, z.end_mw)]
        if self.beyond:
            self.beyond = [Interval(self.beyond[0].t0, self.beyond[-1].t1, energy_of(self.beyond), -1, -1)]
        return final

    # -- intervals --

    def _finish_all(self, *, move=False):
        done = self.open + self.beyond
        if move and done:
            self.booked = done[-1].t1
        self.final += done
        self.open, self.beyond = [], []

    def _settle(self, intervals):
        energy = energy_of(intervals)
        if self.high_water:
            self.high_water.booked += energy
        return energy

    def _settle_by_power(self, intervals):
        energy = self._settle(intervals)
        self.counts["by_power_hnj"] += energy
        if self.base:
            self.base.booked += energy
        return energy

    def _by_power(self, intervals, told, longest):
        estimated, unknown = estimate(intervals, told, longest)
        self.counts["estimated_us"] += estimated
        self.counts["unknown_us"] += unknown
        return self._settle_by_power(intervals)

    def _by_counter(self, intervals, rest, least):
        """Book ``rest``; returns what is booked beyond it (below 0: short of it), for the next step to make up for."""
        now = max(rest, 0)
        if not intervals[0].hole and now > least:
            most = 2 * self.limits.most_mw * (intervals[-1].t1 - intervals[0].t0)
            now = min(now, max(most, least, energy_of(intervals)))
        fill(intervals, now, self.limits.most_mw)
        self.counts["by_counter_hnj"] += self._settle(intervals)
        return now - rest

    def _cover(self, t):
        """Make intervals of the times up to ``t`` that none covers, before and after a suspect."""
        middle = self.suspect.t if self.suspect else t
        self._put_before(self.open, self.booked, middle)
        if self.suspect:
            self._put_before(self.beyond, max(middle, self.booked), t)

    def _put_before(self, intervals, since, until):
        until = intervals[0].t0 if intervals else until
        if until <= since:
            return
        before, after = self.before_mw or -1, self.after_mw or -1
        is_hole = until - since > self.limits.gap_us
        energy = (before + after) * (until - since) if not is_hole and before > 0 and after > 0 else 0
        intervals.insert(0, Interval(since, until, energy, before, after, int(is_hole)))


def estimate(intervals, told, longest):
    """A hole gets what is told beside the rest, and for as long as that does not explain, the powers beside it."""
    if not intervals:
        return 0, 0
    hole, rest = intervals[0], intervals[1:]
    if not hole.hole:
        seen = energy_of(intervals)
        if told > seen:
            scale(intervals, told)
        if seen > 0:
            return 0, 0
        for interval in intervals:
            interval.hole = -interval.length
        return 0, intervals[-1].t1 - hole.t0
    hole.energy = max(told - energy_of(rest), 0)
    powers = [p for p in (hole.begin_mw, hole.end_mw) if p > 0]
    unexplained = max(hole.length - hole.energy // (2 * powers[-1]), 0) if powers else hole.length
    if not powers or unexplained > longest:
        hole.hole = -unexplained or 1
        return 0, unexplained
    hole.energy += (powers[0] + powers[-1]) * unexplained
    hole.hole = 1 + unexplained
    return unexplained, 0


def fill(intervals, total, most_mw):
    """A hole has what the counter says beside what power saw of the rest; without one all is scaled."""
    if intervals[0].hole:
        hole, *intervals = intervals
        hole.energy = max(total - energy_of(intervals), 0)
        total -= hole.energy
    scale(intervals, total, most_mw)


def scale(intervals, total, most_mw=None):
    """To ``total``, by energy, else by time; what lifts one above the most is given by how far each lies below it."""
    seen = energy_of(intervals)
    if seen <= 0:
        share(intervals, total, [interval.length for interval in intervals])
    elif total != seen:
        too_much = (
            most_mw
            and total > seen
            and any(Fraction(i.energy * total, seen) > 2 * most_mw * i.length for i in intervals)
        )
        below = [max(2 * most_mw * i.length - i.energy, 0) for i in intervals] if too_much else []
        if sum(below) > 0:
            kept = [interval.energy for interval in intervals]
            share(intervals, total - seen, below)
            for interval, energy in zip(intervals, kept, strict=True):
                interval.energy += energy
        else:
            share(intervals, total, [interval.energy for interval in intervals])


def share(intervals, total, weights):
    """Sums from the first on are rounded down, in double precision; the last has the rest."""
    done = before = 0
    for interval, weight in zip(intervals, weights, strict=True):
        done += weight
        upto = min(max(floor(float(total) * (float(done) / float(sum(weights)))), before), total)
        assert abs(upto - Fraction(total * done, sum(weights))) <= 1 + Fraction(total, 2**51)
        if interval is intervals[-1]:
            upto = total
        interval.energy = upto - before
        before = upto
