"""Work beside energy: how much a job did, and what it used over just that time.

A row of work waits until the energy of its time is booked (docs/decisions/0006), so that both sides of a ratio end
together. What a job had used at the row's end is what it has used by now, less what was booked of the time behind it.
Work moves no energy: it only notes where energy stood.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.accounts.by_name import named, of_names
from wattshed.agent.window import SCRAPED, JobKey, WorkRow
from wattshed.agent.wire.work_text import UnitDone, WorkDone, relative

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from wattshed.agent.accounts.ledger import GpuKey, JobAccount
    from wattshed.agent.accounts.pending_usage import PendingUsage
    from wattshed.exporters.work_facts import WorkFacts
    from wattshed.kernels.billing.layout import EnergyIntervals
    from wattshed.kernels.billing.split import Split

MOST_UNITS = 8
"""Of one job and source: each is a series."""
MOST_WAIT_US = 120_000_000
"""A row waits no longer than that for a GPU that cannot be read."""
_EDGES = 16  # moments that are kept of a job, for the time between two of them: its servers are not read at once


@dataclass(slots=True)
class UnitWork:
    """How much of one unit a job did, and its energy meanwhile.

    Attributes
    ----------
    count : int
    base_hnj, energy_hnj : int, hnj
        What the job had used when counting began, and what it used from there to the end of the last row.
    edge : int
        One sigma of the count: what may have been in progress at the end of the last row.
    kept : int
        The same of the moments when counting began, or began anew; squared, so that they add up.
    """

    count: int = 0
    base_hnj: int = 0
    energy_hnj: int = 0
    edge: int = 0
    kept: int = 0


@dataclass(slots=True)
class JobWork:
    """All work of one job.

    Attributes
    ----------
    units : dict of (str, str) to UnitWork
        By unit and source.
    waiting_hnj : int or None, hnj
        What it used while its servers had no request; None: they do not tell.
    edges : dict of int to int, us to hnj
        What it had used at the ends of the last rows.
    """

    units: dict[tuple[str, str], UnitWork] = field(default_factory=dict)
    waiting_hnj: int | None = None
    edges: dict[int, int] = field(default_factory=dict)

    def numbers(self) -> tuple[Any, ...]:
        """Return all of it, to be compared."""
        units = [(key, *named(one).values()) for key, one in self.units.items()]
        return self.waiting_hnj, list(self.edges), units

    def plain(self) -> dict[str, Any]:
        """Lay it out for a state file."""
        return {
            "units": [[*key, named(one)] for key, one in self.units.items()],
            "waiting_hnj": self.waiting_hnj,
            "edges": list(self.edges.items()),
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> JobWork:
        """Read what `plain` laid out.

        Raises
        ------
        ValueError, KeyError, TypeError
            It is another thing.
        """
        units = {(str(unit), str(source)): of_names(UnitWork, one) for unit, source, one in plain["units"]}
        waiting = plain["waiting_hnj"]
        edges = {int(us): int(hnj) for us, hnj in plain["edges"]}
        return cls(units, None if waiting is None else int(waiting), edges)

    def facts(self, energy_hnj: int, sigma_j: float) -> Iterator[WorkFacts]:
        """Yield what is shown of it; the energy of a unit is as uncertain as the job's, whose sigma (J) is given."""
        doubt = relative(sigma_j, energy_hnj)
        yield from (one.facts(*key, doubt) for key, one in self.done().units.items())

    def done(self) -> WorkDone:
        """Return it as it is kept for good."""
        units = {key: UnitDone(one.count, one.energy_hnj, one.kept + one.edge**2) for key, one in self.units.items()}
        return WorkDone(units, self.waiting_hnj)

    def enter(self, row: WorkRow, used_hnj: int) -> bool:
        """Enter a row at whose end the job had used so much; False if it would be a unit too many."""
        if not row.unit:
            self._wait(row, used_hnj)
            return True
        key = row.unit, row.source
        one = self.units.get(key)
        if one is None:
            if sum(source == row.source for _, source in self.units) >= MOST_UNITS:
                return False
            # Where counting begins with a page, what was used before is no work's; a job tells all of its own.
            one = self.units[key] = UnitWork(base_hnj=used_hnj if row.begins else 0)
        one.count += row.count
        one.energy_hnj = max(one.energy_hnj, used_hnj - one.base_hnj)
        if row.begins:
            one.kept += row.doubt**2
        else:
            one.edge = row.doubt
        self._keep(row.end_us, used_hnj)
        return True

    def _wait(self, row: WorkRow, used_hnj: int) -> None:
        if self.waiting_hnj is None:
            self.waiting_hnj = 0
        if row.waiting and (before := self.edges.get(row.start_us)) is not None:
            self.waiting_hnj += max(used_hnj - before, 0)
        self._keep(row.end_us, used_hnj)

    def _keep(self, us: int, used_hnj: int) -> None:
        self.edges[us] = used_hnj
        while len(self.edges) > _EDGES:
            del self.edges[next(iter(self.edges))]

    def merge(self, other: JobWork, mine_hnj: int, theirs_hnj: int) -> None:
        """Add the work of another part of the same job, of which the parts used so much.

        What a part used that did no work of a unit is part of the unit's energy too: the job's other GPUs.
        """
        for key in dict.fromkeys([*self.units, *other.units]):
            mine, theirs = self.units.get(key), other.units.get(key)
            if mine is None:
                mine = self.units[key] = UnitWork(energy_hnj=mine_hnj)
            if theirs is None:
                mine.energy_hnj += theirs_hnj
                continue
            mine.count += theirs.count
            mine.energy_hnj += theirs.energy_hnj
            mine.kept += theirs.kept + theirs.edge**2
        if other.waiting_hnj is not None:
            self.waiting_hnj = (self.waiting_hnj or 0) + other.waiting_hnj


@dataclass(slots=True)
class _Waiting:
    """A row, and what was booked for its job of the time behind it since it came."""

    row: WorkRow
    after_hnj: int = 0


class PendingWork:
    """Work that waits for the energy of its time.

    Attributes
    ----------
    rejected : Counter
        Rows that are no job's any more, or of one unit too many, by reason.
    baselines : dict of str to dict
        What the pages of servers said last, for the next page; not looked into here.
    """

    def __init__(self) -> None:
        self._rows: list[_Waiting] = []
        self.rejected: Counter[str] = Counter()
        self.baselines: dict[str, dict[str, Any]] = {}

    def __bool__(self) -> bool:
        """Whether any waits."""
        return bool(self._rows)

    def owners(self) -> set[JobKey]:
        """Name the jobs whose work waits."""
        return {one.row.owner for one in self._rows}

    def take(self, rows: Iterable[WorkRow], jobs: Collection[JobKey], names: Mapping[JobKey, JobKey]) -> None:
        """Take in a window's work, before its energy is booked.

        Parameters
        ----------
        rows : iterable of WorkRow
        jobs : collection of JobKey
            Who has an account. Whoever has none yet may have one soon: processes are listed every few seconds.
        names : mapping of JobKey to JobKey
            Who was called otherwise so far.
        """
        for one in self._rows if names else ():
            one.row = replace(one.row, owner=names.get(one.row.owner, one.row.owner))
        for row in rows:
            if row.source == SCRAPED or row.owner in jobs or not self._joined(row):
                self._rows.append(_Waiting(row))

    def _joined(self, row: WorkRow) -> bool:
        """Add what a job without an account told to what it told before, if it did: it waits as one row a unit."""
        for one in self._rows:
            if (one.row.owner, one.row.unit, one.row.source) == (row.owner, row.unit, row.source):
                one.row = replace(row, start_us=one.row.start_us, count=one.row.count + row.count)
                return True
        return False

    def note(self, rows: PendingUsage, keys: Sequence[GpuKey], parts: Split, intervals: EnergyIntervals) -> None:
        """Note what was booked, and of which time, before it is forgotten."""
        waiting: dict[JobKey, list[_Waiting]] = {}
        for one in self._rows:
            waiting.setdefault(one.row.owner, []).append(one)
        mine = [i for i, owner in enumerate(rows.owners) if owner.key in waiting]
        energy = parts.static_hnj + parts.dynamic_hnj
        begin, end = _booked(intervals, len(keys))
        for k in np.flatnonzero(np.isin(rows.owner, mine) & (energy != 0)).tolist():
            gpu = int(rows.gpu[k])
            from_us, to_us = max(int(rows.start_us[k]), begin[gpu]), min(int(rows.end_us[k]), end[gpu])
            for one in waiting[rows.owners[int(rows.owner[k])].key]:
                behind_us = min(to_us - one.row.end_us, to_us - from_us)
                if behind_us > 0:
                    one.after_hnj += int(energy[k]) * behind_us // (to_us - from_us)

    def settle(self, jobs: Mapping[JobKey, JobAccount], known_us: Mapping[GpuKey, int] | None, now_us: int = 0) -> None:
        """Enter what need not wait any more.

        Parameters
        ----------
        jobs : mapping of JobKey to JobAccount
        known_us : mapping of GpuKey to int, us
            Until when the energy of each GPU is booked; None: nothing more will be.
        now_us : int, us
        """
        kept = []
        for one in self._rows:
            job = jobs.get(one.row.owner)
            may_wait = now_us - one.row.end_us < MOST_WAIT_US
            if known_us is not None and may_wait and not (job and _is_booked(job, one.row.end_us, known_us)):
                kept.append(one)
            elif job is None:
                self.rejected["no_job"] += 1
            else:
                if job.work is None:
                    job.work = JobWork()
                if not job.work.enter(one.row, job.energy_hnj - one.after_hnj):
                    self.rejected["units_of_a_job"] += 1
        self._rows = kept

    def plain(self) -> dict[str, Any]:
        """Lay it out for a state file."""
        return {
            "rows": [[asdict(one.row), one.after_hnj] for one in self._rows],
            "rejected": dict(self.rejected),
            "baselines": dict(self.baselines),
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Read what `plain` laid out.

        Raises
        ------
        ValueError, KeyError, TypeError
            It is another thing.
        """
        rows = [_Waiting(WorkRow(**row), int(after)) for row, after in plain["rows"]]
        rejected = Counter({str(reason): int(count) for reason, count in plain["rejected"].items()})
        self.baselines = {str(name): dict(one) for name, one in plain["baselines"].items()}
        self._rows, self.rejected = rows, rejected


def _is_booked(job: JobAccount, until_us: int, known_us: Mapping[GpuKey, int]) -> bool:
    return all(known_us.get(gpu, until_us) >= until_us for gpu in job.lines)


def _booked(intervals: EnergyIntervals, gpus: int) -> tuple[list[int], list[int]]:
    """Return when the booked time of each GPU begins and ends, us."""
    begin, end = [0] * gpus, [0] * gpus
    for gpu in np.flatnonzero(intervals.counts[:gpus] > 0).tolist():
        first = int(intervals.starts[gpu])
        begin[gpu], end[gpu] = int(intervals.t0_us[first]), int(intervals.t1_us[first + int(intervals.counts[gpu]) - 1])
    return begin, end
