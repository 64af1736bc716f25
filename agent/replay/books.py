"""The accounts of a replay: chains of files, piece by piece, on one process or on many.

A chain's files are processed one after the other, because accounts continue from day to day: an interval over midnight
belongs to neither day alone. Chains are independent. So a piece is (host, day), a chain's pieces follow each other
wherever they are worked on, and the integers are the same however they are spread.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.ledger import GpuKey
from wattshed.agent.replay.extremes import Extremes, joined
from wattshed.agent.replay.gathering import gathered
from wattshed.agent.replay.times import JobTimes
from wattshed.agent.traces.sources import Chain
from wattshed.agent.window import MISSING, Window, WindowBatch
from wattshed.kernels.billing.power_runs import book_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from wattshed.agent.accounts.split_rule import SplitRule
    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.replay.work_feed import WorkFeed
    from wattshed.agent.traces.jobs.assignment import Assignment
    from wattshed.agent.traces.jobs.jobs_file import JobRow
    from wattshed.agent.traces.jobs.survey import Survey
    from wattshed.agent.traces.options import Options
    from wattshed.agent.window import Device, WorkRow
    from wattshed.kernels.billing.power_runs import BookPowers

    Tell = Callable[["Part", str, int, int], None]


_TOGETHER = 1 << 22
"""Rows of short segments that are booked at once, GPU by GPU: with each change of the GPU a histogram is cold."""
_WINDOWS_TOGETHER = 1 << 18
"""Rows of other tools' windows that are: progress is told after each such run."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for, as far as it changes the accounts; it is sent to workers.

    Attributes
    ----------
    options : Options
    jobs : tuple of JobRow or None
        None: owners come from the trace alone.
    idle_mw : int, mW
        Idle power of every GPU; -1: what the trace says.
    max_gap_us : int, us
        -1: each trace's own.
    notes : tuple of str
        What the user should know about the jobs.
    work : tuple of WorkRow
        What the jobs did, where a table says it, in the order of time.
    split : SplitRule, optional
        None: all jobs draw the same per activity, and nothing is learned.
    compare : bool
        Whether the same is also split by the common line.
    """

    options: Options
    jobs: tuple[JobRow, ...] | None = None
    idle_mw: int = MISSING
    max_gap_us: int = MISSING
    notes: tuple[str, ...] = ()
    work: tuple[WorkRow, ...] = ()
    split: SplitRule | None = None
    compare: bool = False

    def accounts(self, book_powers: BookPowers = book_runs) -> Accounts:
        """Open empty accounts."""
        if self.max_gap_us > 0:
            return Accounts(max_gap_us=self.max_gap_us, book_powers=book_powers, split=self.split)
        return Accounts(book_powers=book_powers, split=self.split)


@dataclass(slots=True)
class Part:
    """Accounts of some chains, and what was read for them; ``common`` are the same by the common line, if wanted."""

    accounts: Accounts = field(default_factory=Accounts)
    common: Accounts | None = None
    reports: list[SourceReport] = field(default_factory=list)
    extremes: dict[GpuKey, Extremes] = field(default_factory=dict)
    devices: dict[str, tuple[Device, ...]] = field(default_factory=dict)
    times: JobTimes = field(default_factory=JobTimes)
    less_time: Counter[str] = field(default_factory=Counter)  # by job, see Assignment
    doubt: Counter[str] = field(default_factory=Counter)
    matched_hosts: set[str] = field(default_factory=set)
    windows: int = 0


def pieces_of(chain: Chain) -> list[Chain]:
    """Cut a chain into its days where its files are segments; rows are ordered as a whole and stay together."""
    if not chain.native:
        return [chain]
    days = itertools.groupby(chain.sources, key=lambda source: source.path.parent)
    pieces = [Chain(chain.name, list(sources)) for _, sources in days]
    pieces[0].passed_over = chain.passed_over
    return pieces


def needs_survey(chains: list[Chain], settings: Settings) -> bool:
    """Return whether the trace has to be looked at before it is booked.

    So it is for jobs of which only the number of GPUs is known, and where a recording may know the jobs by itself.
    """
    if settings.jobs is None or any(chain.holds_runs for chain in chains):
        return False
    from wattshed.agent.traces.jobs.wants import counts  # noqa: PLC0415 - most replays have no table of jobs

    return counts(settings.jobs) or any(chain.native for chain in chains)


def look(chain: Chain, settings: Settings, stop: Callable[[], bool] = lambda: False) -> Survey:
    """Look at one piece of a chain; what was seen of the others is added with `Survey.merge`."""
    from wattshed.agent.traces.jobs.survey import Survey  # noqa: PLC0415
    from wattshed.agent.traces.jobs.wants import Edges, counts  # noqa: PLC0415

    rows = settings.jobs or ()
    return Survey(Edges(rows), readings=counts(rows)).read(chain, settings.options, stop)


def settled(settings: Settings, surveys: Iterable[Survey]) -> Settings:
    """Name the GPUs of the jobs, as well as the trace shows them."""
    from wattshed.agent.traces.jobs.demands import name_gpus  # noqa: PLC0415
    from wattshed.agent.traces.jobs.survey import Survey  # noqa: PLC0415
    from wattshed.agent.traces.jobs.wants import Edges  # noqa: PLC0415

    whole = Survey(Edges(settings.jobs or ()))
    for survey in surveys:
        whole.merge(survey)
    rows, notes = name_gpus(settings.jobs or (), whole, settings.idle_mw)
    return replace(settings, jobs=tuple(rows), notes=(*settings.notes, *notes))


def new_part(settings: Settings, book_powers: BookPowers = book_runs) -> Part:
    """Open empty accounts."""
    common = replace(settings, split=None).accounts(book_powers) if settings.compare else None
    return Part(settings.accounts(book_powers), common)


def book(
    chain: Chain,
    settings: Settings,
    part: Part | None = None,
    *,
    tell: Tell | None = None,
    cut: Callable[[Window], Iterable[Window]] | None = None,
    see: Callable[[Window], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    gather: int = 0,
    feed: WorkFeed | None = None,
) -> Part:
    """Book one piece of a chain.

    Parameters
    ----------
    chain : Chain
    settings : Settings
    part : Part, optional
        The books after the chain's piece before.
    tell : callable, optional
        Called after each window, or run of windows, with the books, its host, start and end: for progress and backfill.
    cut : callable, optional
        Cuts windows into shorter ones before they are booked, so that ``tell`` is called more often.
    see : callable, optional
        Called with each window before it is cut or booked, as it is then.
    stop : callable, optional
        Asked between blocks; when it says so, what was read is booked and the rest left.
    gather : int
        Book power readings in runs of so many rows, as a device wants them; 0: in runs that suit the CPU's caches.
    feed : WorkFeed, optional
        Has the work of the jobs.

    Returns
    -------
    Part
        The same, changed.

    Raises
    ------
    InputError
        If a file cannot be used.
    """
    if part is None:
        part = new_part(settings)
    if chain.holds_runs:
        from wattshed.agent.replay.runs import book_runs as book_table_of_runs  # noqa: PLC0415

        book_table_of_runs(chain, settings.options, part)
        if feed is not None:
            feed.enter(part.accounts.ledger)
        return part
    assignment = _assignment(settings)
    whose = _Whose(assignment, part.times) if assignment is not None else None
    beside = _Beside(part.common, settings)
    whole = cut is not None or see is not None or feed is not None
    together = _TOGETHER if chain.native else _WINDOWS_TOGETHER
    stream = chain.windows(settings.options, stop) if whole else chain.batches(settings.options, stop)
    first = next(stream, None)
    part.reports += chain.reports
    items = itertools.chain([] if first is None else [first], stream)
    for day, its in itertools.groupby(items, lambda _: chain.day):
        before = {key: account.rejected for key, account in part.accounts.gpus.items()}
        for item in its if whole else gathered(its, gather or together):
            if not isinstance(item, Window):
                run = _told_run([item] if isinstance(item, WindowBatch) else item, settings)
                part.accounts.add_run(run, whose)
                beside.add_run(run)
                for batch in run:
                    _note(part, batch, tell)
                continue
            told = _told_all(item, settings)
            window = told if assignment is None else assignment.apply(told)
            for fed in [window] if feed is None else feed.into(window, native=chain.native):
                if see is not None:
                    see(fed)
                for piece in [fed] if cut is None else cut(fed):
                    part.accounts.add(piece)
                    beside.add(piece)
                    _note(part, piece, tell)
        _count_rejected(part, chain.report_of(day), before)
    if assignment is not None:
        part.less_time.update(assignment.less_time)
        part.doubt.update(assignment.doubt)
        part.matched_hosts |= assignment.matched
    return part


def _assignment(settings: Settings) -> Assignment | None:
    """Return what a table of jobs says, if there is one."""
    if settings.jobs is None:
        return None
    from wattshed.agent.traces.jobs.assignment import Assignment  # noqa: PLC0415

    return Assignment(settings.jobs)


class _Whose:
    """What a table of jobs says of windows; jobs' times are noted when it is asked."""

    def __init__(self, assignment: Assignment, times: JobTimes) -> None:
        self._assignment, self._times = assignment, times
        self.owners = assignment.owners
        self.edges = assignment.edges

    def told(self, window: Window) -> Window:
        """Return the window with its usage."""
        window = self._assignment.apply(window)
        self._times.add(window)
        return window


class _Beside:
    """Other accounts of what is read, or none.

    What a table of jobs says is asked for them once more: whoever asks notes what it takes from each job.
    """

    def __init__(self, accounts: Accounts | None, settings: Settings) -> None:
        self._accounts = accounts
        assignment = _assignment(settings) if accounts is not None else None
        self._whose = _Whose(assignment, JobTimes()) if assignment is not None else None

    def add(self, window: Window) -> None:
        """Book a window that has its owners."""
        if self._accounts is not None:
            self._accounts.add(window)

    def add_run(self, run: Sequence[WindowBatch]) -> None:
        """Book windows of power readings."""
        if self._accounts is not None:
            self._accounts.add_run(run, self._whose)


def _note(part: Part, booked: Window | WindowBatch, tell: Tell | None) -> None:
    part.devices[booked.host] = booked.devices
    if isinstance(booked, WindowBatch):
        part.windows += len(booked.seq)
        start_us, end_us = int(booked.start_us[0]), int(booked.end_us[-1])
    else:
        part.windows += 1
        part.times.add(booked)
        start_us, end_us = booked.start_us, booked.end_us
    if tell is not None:
        tell(part, booked.host, start_us, end_us)


def _told_all(window: Window, settings: Settings) -> Window:
    """Apply to a window's devices what the user said."""
    devices = _told_devices(window.devices, settings)
    return window if devices is window.devices else replace(window, devices=devices)


def _told_run(batches: list[WindowBatch], settings: Settings) -> list[WindowBatch]:
    """Apply to the devices of batches, which have the same, what the user said."""
    before = batches[0].devices
    devices = _told_devices(before, settings)
    return batches if devices is before else [replace(batch, devices=devices) for batch in batches]


def _told_devices(devices: tuple[Device, ...], settings: Settings) -> tuple[Device, ...]:
    if settings.idle_mw < 0 and settings.max_gap_us <= 0:
        return devices
    return tuple(_told(device, settings) for device in devices)


def _told(device: Device, settings: Settings) -> Device:
    idle = settings.idle_mw if settings.idle_mw >= 0 else device.idle_mw
    gap = settings.max_gap_us if settings.max_gap_us > 0 else device.max_gap_us
    return replace(device, idle_mw=idle, max_gap_us=gap)


def _count_rejected(part: Part, report: SourceReport, before: dict[GpuKey, dict[str, int]]) -> None:
    """Count readings that the accounts rejected beside those that were not numbers, in a day's last report."""
    total: Counter[str] = Counter()
    for key, account in part.accounts.gpus.items():
        had = before.get(key, {})
        total.update({reason: count - had.get(reason, 0) for reason, count in account.rejected.items()})
    for reason, count in total.items():
        report.reject(reason, count)


def finish(part: Part) -> Part:
    """Close the accounts: nothing follows."""
    part.accounts.finish()
    if part.common is not None:
        part.common.finish()
    for host, devices in part.devices.items():
        state = part.accounts.state_of(host)
        for device, row in zip(devices, state, strict=True):
            key = GpuKey(device.host, device.uuid or str(device.index))
            part.extremes[key] = Extremes(row.lowest_mw, row.highest_mw, row.longest_run_us, row.first_us, row.last_us)
    return part


def merge(parts: list[Part]) -> Part:
    """Bring finished accounts of different chains together."""
    whole = Part()
    for part in parts:
        whole.accounts.merge(part.accounts)
        if part.common is not None:
            whole.common = whole.common or Accounts()
            whole.common.merge(part.common)
        whole.reports += part.reports
        whole.times.merge(part.times)
        whole.less_time.update(part.less_time)
        whole.doubt.update(part.doubt)
        whole.matched_hosts |= part.matched_hosts
        whole.windows += part.windows
        for key, theirs in part.extremes.items():
            mine = whole.extremes.get(key)
            whole.extremes[key] = theirs if mine is None else joined(mine, theirs)
    return whole
