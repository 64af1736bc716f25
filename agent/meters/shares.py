"""How busy each process kept a GPU, from the driver's rows of process utilisation, whatever these rows mean.

NVML's reference says that a row comes for each process "that had some non-zero utilisation during the last sample
period", with the time stamp of a sample; it does not say what the percentage is the mean of. Three readings are
possible:

* ``interval``: the mean of all samples since the time stamp that was handed over;
* ``active``: the mean of those samples in which the process was active;
* ``latest``: the latest sample alone.

What is known of real drivers: the kernel module keeps the last ten seconds of samples, in each of them how busy the
engine was and one process that was active on it (ctrl2080perf.h of open-gpu-kernel-modules). On the boards whose rows
were published (go-nvml #51, nvtop #110), samples are 1/6 s apart, the stamp is that of the last sample in which the
process was seen, the same stamp came with another value when another time stamp was handed over (so not ``latest``),
and the values of two processes added up to the same whoever was seen more often (so ``interval``). These are two.

So nothing is assumed. If only one sample is new, all three readings say the same: until the reading is known, and for
good if it is ``active`` or ``latest``, the driver is asked once for every sample. Which reading it is, the driver shows
itself: asked for a longer stretch whose samples are known one by one, it answers the mean of all, of the active ones,
or the last. A driver that is too slow for that is asked for its newest sample alone, as soon as it is known that its
rows are not means of the whole time, and `agent.meters.lately` makes the best of it.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise
from typing import NamedTuple

from wattshed.agent.meters.lately import Lately
from wattshed.agent.meters.process_rows import NOT_SAID, ProcessRow, credible

SAMPLE_US = 1_000_000 // 6
"""Between two samples until it is learned; nvml.h: between 1 s and 1/6 s, depending on the product."""
SHORTEST_US, LONGEST_US = 20_000, 1_000_000
QUESTION = 6  # samples that the driver is asked to sum up
ENOUGH, CLEAR = 12, 8  # answers that tell readings apart, and how many must contradict a reading that is ruled out
NEAR, FAR = 3.0, 5.0  # percent: an answer agrees with a reading, or contradicts it
SILENT, SILENT_US = (
    20,
    3_000_000,
)  # answers, and time, without a row though the GPU works: the driver's clock may have been set back
RING_US = 12_000_000  # what the driver keeps at most: nothing is older, unless its clock was set
INTERVAL, ACTIVE, LATEST, SAMPLES = "interval", "active", "latest", "samples"
NOT_KNOWN = "it is not known yet what the driver's rows are averages of"
SPARSE = {
    ACTIVE: "rows are means of active samples, and the driver is too slow to be asked for each sample",
    LATEST: "rows are the latest sample, and the driver is too slow to be asked for each sample",
}


class _Sample(NamedTuple):
    """One of the driver's samples: when it began and ended by the driver's clock, and percent by process."""

    start_us: int
    end_us: int
    percent: dict[int, int]


class Shares:
    """The activity of the processes of one GPU, from answer to answer.

    Attributes
    ----------
    reading : str
        What rows mean; empty as long as it is not known, ``samples`` if a process has a row for every sample.
    asked_us : int, us
        When the driver was asked last, on our clock; 0: not since it began to rest.
    memory : dict of pid -> ratio
        How long each of the processes that `take` named last kept the memory busy, per time that it kept the SMs busy;
        those of whom the driver does not say are left out.
    """

    def __init__(self) -> None:
        self.reading = ""
        self._period_us = 0
        self._offset_us: int | None = None  # our clock less the driver's, when a stamp was as new as can be
        self._newest_us = 0  # the last sample that was asked for, by the driver's clock; 0: start over
        self._stamped = True  # whether that is the stamp of a row, and not reckoned
        self._covered_to_us = 0
        self.asked_us = 0
        self._rows_us = 0  # when there were rows, by our clock
        self._single = 1.0  # part of the answers since which there was one sample
        self._read_us = 0  # the last sample that the driver returned, by its clock
        self._lately = Lately()
        self.memory: dict[int, float] = {}
        self._busy_us: dict[int, float] = {}
        self._memory_us: dict[int, float] = {}  # not a number: the driver did not say
        self._covered_us = 0
        self._samples: deque[_Sample] = deque(maxlen=QUESTION)
        self._twice = 0  # answers with several rows of one process
        self._told = 0
        self._against = dict.fromkeys((INTERVAL, ACTIVE, LATEST), 0)

    @property
    def sample_us(self) -> int:
        """Time between two of the driver's samples, us."""
        return self._period_us or SAMPLE_US

    @property
    def each_sample(self) -> bool:
        """Whether the driver has to be asked for each sample."""
        return self.reading not in {INTERVAL, SAMPLES}

    @property
    def reason(self) -> str:
        """Why the activities may be wrong; empty if they are not."""
        if not self.each_sample or not self._lately.matters:
            return ""
        return NOT_KNOWN if not self.reading else SPARSE[self.reading] if self.sparse else ""

    @property
    def sparse(self) -> bool:
        """Whether the driver is asked for less than each sample though that is needed: activities are rough then."""
        return self.each_sample and self._single < 0.8

    @property
    def spotty(self) -> bool:
        """Whether what an answer says may be of one sample only, however long it was since the last one."""
        return self.each_sample and (bool(self.reading) or self._lately.spotty)

    @property
    def begun(self) -> bool:
        """Whether the driver's clock is known."""
        return self._newest_us > 0

    @property
    def since_us(self) -> int:
        """The time stamp to ask the driver with: of what is known to be over, only the last sample may come again."""
        # What was reckoned may be off by the jitter of the samples.
        return self._newest_us + (0 if self._stamped else self.sample_us // 4)

    def ask(self, now_us: int) -> int:
        """Return the time stamp to ask the driver with now.

        Where it is asked too rarely, and what a row of several samples says cannot be trusted, all but the newest
        sample are left out: of one sample every reading is the same.
        """
        if self.sparse and self._period_us and (self.reading or self._lately.too_much):
            before_us = self._last_sample_us(now_us, self._newest_us, 0) - self.sample_us
            if before_us > self._newest_us:
                self._newest_us, self._stamped = before_us, False
                self._samples.clear()
        return self.since_us

    def rest(self) -> None:
        """Nobody asks for a while: what the driver samples meanwhile must not be counted later."""
        self._newest_us = self.asked_us = self._covered_us = self._read_us = 0
        self._busy_us, self._memory_us, self.memory = {}, {}, {}
        self._samples.clear()
        self._lately.rest()

    def begin(self, rows: list[ProcessRow], now_us: int, span_us: int) -> bool:
        """Start over from all rows that the driver keeps: what counts is what it sampled in the last ``span_us``.

        Returns
        -------
        bool
            Whether there is a stretch to ask for.
        """
        rows = credible(rows, 0)
        self._samples.clear()
        self.asked_us, self._rows_us = now_us - span_us, now_us
        if rows:
            newest_us = max(row.stamp_us for row in rows)
            self._learn_period({row.stamp_us for row in rows})
            self._offset_us = min(now_us - newest_us, self._offset_us if self._offset_us is not None else 1 << 62)
        elif self._offset_us is not None:
            newest_us = now_us - self._offset_us
        else:
            return False
        self._newest_us = max(1, newest_us - span_us)
        self._covered_to_us, self._stamped = self._newest_us, span_us == 0 and bool(rows)
        return span_us > 0 and bool(rows)

    def add(self, rows: list[ProcessRow], now_us: int, *, running: bool = True) -> None:
        """Count an answer to ``since_us``.

        Parameters
        ----------
        rows : list of ProcessRow
        now_us : int, us
            On our clock.
        running : bool
            Whether the GPU is known to work: then no row for a while is no answer.
        """
        rows = credible(rows, self.since_us)
        every_us, self.asked_us = now_us - self.asked_us, now_us
        if not rows:
            self._add_nothing(now_us, every_us, running=running)
            return
        newest_us = max(row.stamp_us for row in rows)
        if not self._newest_us or newest_us - self._newest_us > every_us + RING_US:
            self._offset_us = None
            self.begin(rows, now_us, 0)
            return
        offset_us = now_us - newest_us
        self._offset_us = offset_us if self._offset_us is None else min(self._offset_us, offset_us)
        self._rows_us = now_us
        self._learn_period({row.stamp_us for row in rows})
        if self._stamped and every_us <= 0.9 * (newest_us - self._newest_us):
            self._learn_period({self._newest_us, newest_us})  # not so if there was time for another sample between them
        period_us, span_us = self.sample_us, newest_us - self._newest_us
        count = max(1, round(span_us / period_us))
        whole = self._is_whole(newest_us)
        each = self._are_samples(rows)
        # What the driver took the mean of ends with its newest sample, in which perhaps nobody was active.
        until_us = newest_us
        if count > 1 and self._period_us:
            until_us = self._last_sample_us(now_us, newest_us, period_us // 8)
        for row in rows:
            weight_us = float(until_us - self._newest_us)
            if each:
                weight_us = float(min(period_us, span_us))
            elif self.reading == LATEST:
                weight_us = float(span_us)
            elif self.reading == ACTIVE and count > 1:
                seen = [row.pid in sample.percent for sample in self._samples]
                often = sum(seen) / len(seen) if seen else 1.0
                weight_us = min(period_us, span_us) + max(0, row.stamp_us - self._newest_us - period_us) * often
            self._busy_us[row.pid] = self._busy_us.get(row.pid, 0.0) + row.percent / 100 * weight_us
            memory = row.memory_percent / 100 if 0 <= row.memory_percent < NOT_SAID else math.nan
            self._memory_us[row.pid] = self._memory_us.get(row.pid, 0.0) + memory * weight_us
        older = min(row.stamp_us for row in rows) < newest_us - period_us // 2
        past = {row.pid for row in rows if row.stamp_us < until_us - period_us // 2}
        self._lately.add(
            {row.pid: row.percent / 100 for row in rows},
            until_us - self._newest_us,
            whole=whole,
            past=past,
            older=older,
        )
        end_us = until_us if self.reading in {INTERVAL, ""} else newest_us
        self._cover(end_us, every_us)
        if count == 1 and every_us <= period_us:
            self._samples.append(_Sample(self._newest_us, newest_us, {row.pid: row.percent for row in rows}))
        elif self.reading != ACTIVE:
            self._samples.clear()
        self._newest_us, self._stamped = newest_us, True

    def _add_nothing(self, now_us: int, every_us: int, *, running: bool) -> None:
        """Count samples in which no process was active."""
        # One sample now and then has nobody active in it more often.
        if running and now_us - self._rows_us > (max(SILENT_US, SILENT * every_us) if self.sparse else SILENT_US):
            self._newest_us, self._offset_us, self._period_us = 0, None, 0
            self._samples.clear()
            return
        if not self._newest_us:
            return
        # A sample that comes late must not be taken for one without activity: it is waited for half a period more.
        until_us = self._last_sample_us(now_us, self._newest_us, self.sample_us // 2)
        if until_us <= self._newest_us:
            return
        if until_us - self._newest_us == self.sample_us and every_us <= self.sample_us:
            self._samples.append(_Sample(self._newest_us, until_us, {}))
        elif self.reading != ACTIVE:
            self._samples.clear()
        self._lately.add({}, until_us - self._newest_us, whole=self._is_whole(until_us), past=set(), older=False)
        self._cover(until_us, every_us)
        self._newest_us, self._stamped = until_us, False

    def _is_whole(self, newest_us: int) -> bool:
        """Whether there was no other sample since the last answer; count how often that is so."""
        whole = not self._read_us or newest_us - self._read_us < 1.5 * self.sample_us
        self._single += 0.05 * (whole - self._single)
        self._read_us = newest_us
        return whole

    def _cover(self, until_us: int, every_us: int) -> None:
        """Note the time that was asked for; stamps that are older than they seemed do not make it longer."""
        self._covered_us += min(max(0, until_us - self._covered_to_us), every_us + LONGEST_US)
        self._covered_to_us = max(self._covered_to_us, until_us)

    def _are_samples(self, rows: list[ProcessRow]) -> bool:
        """Whether a process has several rows: then each is one sample, and nothing needs to be found out."""
        twice = len({row.pid for row in rows}) < len(rows)
        self._twice += twice
        if self._twice >= 3:
            self.reading = SAMPLES
        return twice or self.reading == SAMPLES

    def _last_sample_us(self, now_us: int, since_us: int, slack_us: int) -> int:
        """Reckon which sample is the newest now, by the driver's clock."""
        since_now_us = now_us - (self._offset_us or 0) - slack_us - since_us
        return since_us + max(0, since_now_us // self.sample_us) * self.sample_us

    def _learn_period(self, stamps: set[int]) -> None:
        ordered = sorted(stamps)
        for before_us, stamp_us in pairwise(ordered):
            if SHORTEST_US <= stamp_us - before_us <= LONGEST_US and self.reading != INTERVAL:
                step_us = stamp_us - before_us
                self._period_us = min(self._period_us or LONGEST_US, step_us)

    def take(self, did: float | None = None) -> dict[int, float] | None:
        """Return the mean activity (0-1) by pid since the last call, or lately if it is sparse; None unknown.

        A process that is not in it did nothing.

        Parameters
        ----------
        did : float, optional
            What the GPU did in all meanwhile (0-1).
        """
        if self.sparse and did is not None:
            self._lately.compare(did)
        found: dict[int, float] | None = None
        if self.sparse and self.spotty and (lately := self._lately.mean()):
            found = lately
        elif self._covered_us:
            found = {pid: min(1.0, max(0.0, busy / self._covered_us)) for pid, busy in self._busy_us.items()}
        elif self.sparse:
            found = self._lately.newest()
        fresh = {pid: self._memory_us[pid] / busy for pid, busy in self._busy_us.items() if busy > 0}
        told = {pid: ratio for pid, ratio in (self.memory | fresh).items() if not math.isnan(ratio)}
        self.memory = {pid: ratio for pid, ratio in told.items() if pid in (found or {})}
        self._busy_us, self._memory_us, self._covered_us = {}, {}, 0
        return found

    def question_us(self) -> int:
        """Return the time stamp to ask again with, so that the answer shows what rows mean; 0: it would not."""
        if self.reading or len(self._samples) < QUESTION:
            return 0
        pids = {pid for sample in self._samples for pid in sample.percent}
        telling = any(max(said) - min(said) >= 2 * FAR for said in (self._said(pid).values() for pid in pids))
        return self._samples[0].start_us + self.sample_us // 8 if telling else 0

    def _said(self, pid: int) -> dict[str, float]:
        """Return what each reading would answer of a process to the question."""
        each = [sample.percent.get(pid, 0) for sample in self._samples]
        active = [percent for percent in each if percent]
        return {INTERVAL: sum(each) / len(each), ACTIVE: sum(active) / max(1, len(active)), LATEST: float(each[-1])}

    def answer(self, rows: list[ProcessRow]) -> None:
        """Learn from the answer to ``question_us``."""
        rows = credible(rows, self._samples[0].start_us)
        if self._are_samples(rows):
            return
        told = {row.pid: row.percent for row in rows}
        for pid in {pid for sample in self._samples for pid in sample.percent}:
            said = self._said(pid)
            off = {reading: abs(percent - told.get(pid, 0)) for reading, percent in said.items()}
            if max(said.values()) - min(said.values()) >= 2 * FAR and min(off.values()) <= NEAR:
                self._told += 1
                for reading, by in off.items():
                    self._against[reading] += by > FAR
        left = [reading for reading, count in self._against.items() if count * 10 <= self._told]
        others = [count for reading, count in self._against.items() if reading not in left]
        if self._told >= ENOUGH and len(left) == 1 and min(others) >= CLEAR:
            self.reading = left[0]
