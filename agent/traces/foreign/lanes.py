"""Rows that no column says the GPU of: they wait in the lane of their host until their rounds tell.

Up to two million rows are judged as a whole, across all files that are read one after the other; what comes after them
is checked against that, round by round. So neither blocks nor the bounds of files change the answer. A round with
fewer or more rows than there are GPUs is left out, since nothing says which of its rows is missing: the powers of the
rounds before and after are connected, GPU by GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import UnclearGpusError, counted
from wattshed.agent.traces.foreign.rounds import ONE, Rounds, judge, sizes_of
from wattshed.agent.traces.foreign.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.traces.foreign.gpus import Gpus, Lane

HELD_ROWS = 2_000_000
WAY_OUT = "say --columns gpu=COLUMN, or log with `index` or `uuid`; --columns gpu=- if it is one GPU"
_CHANCE = 1e-9  # that so many rounds in a row lack rows by accident; else the log is of other GPUs there
_PASSES = 16  # a log that was appended to itself goes back in time so often at most; else its rows are shuffled
_NAMELESS = "no column says which GPU a row is of"


def in_lanes(blocks: Iterable[Rows], gpus: Gpus, held_rows: int = HELD_ROWS) -> Iterator[Rows]:
    """Give numbers to rows of nameless GPUs (`Gpus.lane`); other rows pass as they are.

    Raises
    ------
    UnclearGpusError
        If rows come in bursts and it cannot be told how many GPUs they are of.
    """
    open_lanes: dict[int, _Open] = {}
    held = 0
    for block in blocks:
        if not gpus.lanes:
            yield block
            continue
        nameless = block.gpu < 0
        if not nameless.all():
            yield block.take(~nameless)
            block = block.take(nameless)  # noqa: PLW2901
        for number in np.unique(block.gpu).tolist():
            lane = open_lanes.setdefault(number, _Open(gpus, gpus.lanes[-1 - number]))
            yield from lane.add(block.take(block.gpu == number))
        held = sum(lane.held for lane in open_lanes.values())
        if held > held_rows:
            for lane in open_lanes.values():
                yield from lane.pour(final=False)
    for lane in open_lanes.values():
        yield from lane.pour(final=True)


@dataclass(slots=True)
class _Open:
    """A lane in the reading: what waits, and what was found."""

    gpus: Gpus
    lane: Lane
    rounds: Rounds | None = None
    waiting: list[Rows] = field(default_factory=list)
    ascending: bool = True
    numbers: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    full: int = 0
    missed: int = 0
    stretch: int = 0  # rounds that are not full, up to the last
    longest: int = 0
    odd_size: int = 0

    @property
    def held(self) -> int:
        return sum(map(len, self.waiting))

    @property
    def report(self) -> SourceReport:
        return self.lane.report

    def add(self, rows: Rows) -> Iterator[Rows]:
        """Take rows in the order of the file, and give those that need not wait."""
        self.waiting.append(rows)
        if self.rounds is not None and (self.rounds.gpus == 1 or self.ascending):
            yield from self.pour(final=False)

    def pour(self, *, final: bool) -> Iterator[Rows]:
        """Give what can be numbered: all rounds but the last, unless nothing more will come."""
        if not self.waiting:
            return
        rows = Rows.join(self.waiting)
        if self.rounds is None:
            self.rounds, rows = self._first(rows)
        if self.rounds.gpus == 1:
            self.waiting = []
            yield _usable(replace(rows, gpu=np.full(len(rows), self.numbers[0], np.int32)))
            return
        late = rows.take(slice(0, 0))
        if not self.ascending:
            rows = rows.take(np.argsort(rows.time_us, kind="stable"))
            if not final:
                late, rows = rows.take(slice(len(rows) // 2, None)), rows.take(slice(0, len(rows) // 2))
        ready, rest = self._numbered(rows, self.rounds, final=final)
        self.waiting = [rest, late]
        yield _usable(ready)
        if final:
            self._last_word()

    def _first(self, rows: Rows) -> tuple[Rounds, Rows]:
        """Judge the rows that were held, in order; returns them so, less what was there twice."""
        rows, lane = self._once(rows), self.lane
        self.ascending = bool((rows.time_us[1:] >= rows.time_us[:-1]).all())
        if not self.ascending:
            rows = rows.take(np.argsort(rows.time_us, kind="stable"))
        power = rows.filled("power_mw") if rows.has("power_mw").any() else rows.filled("instant_mw")
        rounds = ONE if lane.alone else judge(rows.time_us, power, lane.tick_us)
        if rounds.unclear:
            raise UnclearGpusError(f"{_NAMELESS}, and {rounds.unclear}; {WAY_OUT}", self.report.path)
        n = rounds.gpus
        if n == 1:
            numbers = [self.gpus.number(lane.host, model=lane.model)]
            doubt = f", and {rounds.doubt}; counted as one GPU ({WAY_OUT})" if rounds.doubt else ""
            if doubt or not self.gpus.loads:  # a load need not have a name
                self.report.note(_NAMELESS + doubt)
        else:
            numbers = [self.gpus.number(lane.host, index=i, model=lane.model) for i in range(n)]
            order = (
                "" if self.ascending else "; the rows are not in order of time, so which GPU is which is not certain"
            )
            self.report.note(
                f"{_NAMELESS}; they come in rounds of {n} and are counted as GPUs 0 to {n - 1} in this order{order}"
            )
        for number in numbers:
            self.gpus.describe(number, limit_mw=lane.limit_mw)
        self.numbers = np.array(numbers, np.int32)
        return rounds, rows

    def _once(self, rows: Rows) -> Rows:
        """Leave out rows of a log that was appended to itself.

        Raises
        ------
        InputError
            If time starts again with other powers: those of another GPU or host.
        """
        time_us = rows.time_us
        steps = np.diff(time_us)
        usual = int(np.median(np.abs(steps))) if steps.size else 0
        starts = np.flatnonzero(steps <= -2 * max(usual, 1)) + 1
        if not 0 < starts.size <= min(_PASSES, len(rows) // 4):
            return rows
        keep = np.ones(len(rows), bool)
        energy = rows.filled("counter_mj"), rows.filled("energy_uj")
        cells = np.stack([time_us, rows.filled("power_mw"), *energy], axis=1)
        keys = np.ascontiguousarray(cells).view("V32")[:, 0]
        for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
            again = start + np.flatnonzero(time_us[start:stop] <= time_us[:start].max())
            if again.size * 10 < stop - start:
                continue
            same = np.isin(keys[again], keys[:start])
            if not same.all():
                raise UnclearGpusError(
                    f"{_NAMELESS}, and time starts again with other powers: logs of several GPUs or hosts, one "
                    "after the other; give a file for each, or add a column",
                    self.report.path,
                )
            keep[again] = False
        self.report.reject("repeated", int((~keep).sum()))
        return rows.take(keep) if not keep.all() else rows

    def _numbered(self, rows: Rows, rounds: Rounds, *, final: bool) -> tuple[Rows, Rows]:
        """Give numbers to the rows of full rounds; returns them, and the rows of the last round unless it is final."""
        n, steps = rounds.gpus, np.diff(rows.time_us)
        steps[steps < 0] = rounds.pause_us  # a log that was started again before its end
        sizes = sizes_of(steps, rounds.pause_us)
        last = int(sizes[-1])
        if not final:
            sizes = sizes[:-1]
        used = int(sizes.sum())
        good = sizes % n == 0
        if final and last < n:
            good[-1] = True  # the file ends within a round: the first GPUs are there
        self._count(good, sizes)
        keep = np.repeat(good, sizes)
        place = np.arange(used) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        ready = replace(rows.take(slice(0, used)), gpu=self.numbers[place % n])
        return ready.take(keep) if not keep.all() else ready, rows.take(slice(used, None))

    def _count(self, good: NDArray[np.bool_], sizes: NDArray[np.int64]) -> None:
        bad = np.flatnonzero(~good)
        self.full += int(good.sum())
        self.missed += bad.size
        if not bad.size:
            self.stretch = 0 if good.size else self.stretch
            return
        self.report.reject("incomplete_round", int(sizes[bad].sum()))
        ends = np.flatnonzero(good)
        runs = np.diff(np.concatenate(([-1 - self.stretch], ends, [good.size]))) - 1
        self.stretch = int(runs[-1])
        if int(runs.max()) > self.longest:
            self.longest = int(runs.max())
            self.odd_size = int(np.bincount(sizes[bad]).argmax())

    def _last_word(self) -> None:
        """Look whether it was right for the whole log."""
        if not self.missed:
            return
        rounds = self.missed + self.full
        usual = max((self.missed - self.longest) / rounds, 0.01)
        if 4 * self.full < rounds or (self.longest > 2 and usual**self.longest < _CHANCE):
            raise UnclearGpusError(
                f"{_NAMELESS}, and rounds of {len(self.numbers)} rows become rounds of {self.odd_size}; {WAY_OUT}",
                self.report.path,
            )
        self.report.note(f"{self.missed} of {counted(rounds, 'round')} have not one row a GPU and are left out")


def _usable(rows: Rows) -> Rows:
    usable = rows.usable()
    return rows if usable.all() else rows.take(usable)
