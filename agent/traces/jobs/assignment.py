"""Lays a jobs file over windows: who held which of a window's GPUs, from when to when.

What the windows know by themselves takes precedence: a table adds its columns to a job that they know, and fills in the
time of GPUs of which they know no owner. Owners that are mere process ids give way.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.traces.jobs.by_host import JobsByHost
from wattshed.agent.traces.jobs.survey import ANONYMOUS
from wattshed.agent.window import MISSING, USAGE, Device, JobKey, Owner, Usage, Window
from wattshed.kernels.billing.shares import AT_MOST, LIVE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.traces.jobs.jobs_file import JobRow

_PPM = 1_000_000
_Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Held:
    """The rows that name one GPU: columns ascending in start, with rows of one job united where they overlap."""

    job: NDArray[np.int64]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    share_ppm: NDArray[np.int64]
    live: NDArray[np.int64]
    doubt_mw: NDArray[np.int64]


class Assignment:
    """Gives windows the owners that a jobs file names, where they know none.

    Parameters
    ----------
    rows : sequence of JobRow
        Rows that name their GPUs (`agent.traces.jobs.demands.name_gpus`).

    Attributes
    ----------
    less_time : dict of job -> int
        GPU time, in millionths of GPU-microseconds, that the ledger counts and that was not the job's: of GPUs of
        which it had at most a part.
    doubt : dict of job -> int
        One sigma of what not knowing its GPUs does to its energy, in millionths of mW x us (1e-15 J).
    matched : set of str
        Hosts of the jobs file that were found in the trace.
    """

    def __init__(self, rows: Sequence[JobRow]) -> None:
        self._by_host = JobsByHost(rows)
        self._names = list(dict.fromkeys(row.job for row in rows))
        self._labels: dict[str, dict[str, str]] = defaultdict(dict)
        for row in sorted(rows, key=lambda row: (row.start_us, row.end_us, sorted(row.labels.items()))):
            self._labels[row.job].update(row.labels)
        self._place = {name: i for i, name in enumerate(self._names)}
        self._owners = [Owner(JobKey(name), self._labels[name]) for name in self._names]
        self.matched: set[str] = set()
        self.less_time: dict[str, int] = defaultdict(int)
        self.doubt: dict[str, int] = defaultdict(int)
        self._rows: dict[str, tuple[Sequence[JobRow], dict[str, list[int]]]] = {}
        self._held: dict[tuple[str, int, str], _Held] = {}

    def apply(self, window: Window) -> Window:
        """Return the window with usage from the jobs file beside its own."""
        columns: list[tuple[NDArray[np.int64], ...]] = []
        for gpu, device in enumerate(window.devices):
            held = self._of(device)
            mine = np.flatnonzero((held.start_us < window.end_us) & (held.end_us > window.start_us))
            if mine.size:
                start = np.maximum(held.start_us[mine], window.start_us)
                end = np.minimum(held.end_us[mine], window.end_us)
                numbers = np.full(mine.size, gpu, np.int64)
                rest = (held.share_ppm[mine], held.live[mine], held.doubt_mw[mine])
                columns.append((numbers, held.job[mine], start, end, *rest))
        told = [np.concatenate(parts) for parts in zip(*columns, strict=True)] if columns else []
        if len(window.usage.gpu):
            told, window = self._beside(told, window)
        if not told or not told[0].size:
            return window
        gpus, jobs, starts, ends, shares, live, doubts = told
        for row in np.flatnonzero(live == AT_MOST).tolist():
            job, length, share = self._names[jobs[row]], int(ends[row] - starts[row]), int(shares[row])
            self.less_time[job] += length * (_PPM - share)
            self.doubt[job] += length * share * int(doubts[row])
        used, owner = np.unique(jobs, return_inverse=True)
        known, usage = len(window.owners), window.usage
        return replace(
            window,
            owners=(*window.owners, *(self._owners[i] for i in used)),
            usage=Usage(
                np.concatenate([usage.gpu, gpus.astype(np.int32)]),
                np.concatenate([usage.owner, (owner + known).astype(np.int32)]),
                np.concatenate([usage.start_us, starts]),
                np.concatenate([usage.end_us, ends]),
                np.concatenate([usage.activity_us, np.full(gpus.size, MISSING, np.int64)]),
                np.concatenate([usage.share_ppm, shares.astype(np.int32)]),
                np.concatenate([usage.live, live.astype(np.int8)]),
            ),
        )

    @property
    def owners(self) -> Sequence[Owner]:
        """All jobs of the table."""
        return self._owners

    def edges(self, devices: Sequence[Device], start_us: NDArray[np.int64], end_us: NDArray[np.int64]) -> set[int]:
        """Tell the windows apart over which the same jobs hold the same GPUs.

        Parameters
        ----------
        devices : sequence of Device
        start_us, end_us : int64[w], us
            Of windows that touch.

        Returns
        -------
        set of int
            Windows at the beginning of which, or before it within the one before, a job comes to any of the GPUs or
            goes; and those within which one does.
        """
        found: set[int] = set()
        for held in map(self._of, devices):
            first = np.searchsorted(end_us, held.start_us, side="right")
            stop = np.searchsorted(start_us, held.end_us, side="left")
            here = first < stop
            first, stop = first[here], stop[here]
            comes_within = held.start_us[here] > start_us[first]
            goes_within = held.end_us[here] < end_us[stop - 1]
            for windows in (first, stop, first[comes_within] + 1, stop[goes_within] - 1):
                found.update(windows.tolist())
        return found

    def _beside(self, told: list[NDArray[np.int64]], window: Window) -> tuple[list[NDArray[np.int64]], Window]:
        """Cut the table's rows to the time that the window knows nobody in, and process ids to what is left then."""
        usage = window.usage
        owners = tuple(
            replace(owner, labels={**self._labels[owner.key], **owner.labels}) if owner.key in self._place else owner
            for owner in window.owners
        )
        nameless = np.array([owner.key.startswith(ANONYMOUS) for owner in owners])[usage.owner]
        known = _spans(usage.gpu[~nameless], usage.start_us[~nameless], usage.end_us[~nameless])
        if told and known:
            cut = [
                (gpu, job, start, end, *rest)
                for gpu, job, first, last, *rest in zip(*(column.tolist() for column in told), strict=True)
                for start, end in _without(first, last, known.get(gpu, []))
            ]
            told = list(np.array(cut, np.int64).reshape(-1, 7).T)
        window = replace(window, owners=owners)
        if not nameless.any():
            return told, window
        taken = _spans(told[0], told[2], told[3]) if told else {}
        rows: list[tuple[int, ...]] = []
        columns = (getattr(usage, name).tolist() for name in USAGE)
        for row, is_nameless in zip(zip(*columns, strict=True), nameless.tolist(), strict=True):
            gpu, owner, first, last, activity, share, live = row
            if not is_nameless or gpu not in taken:
                rows.append(row)
                continue
            for start, end in _without(first, last, taken[gpu]):
                part = activity * (end - start) // max(last - first, 1) if activity >= 0 else activity
                rows.append((gpu, owner, start, end, part, share, live))
        table = list(zip(*rows, strict=True)) or [()] * len(USAGE)
        kept = Usage(*(np.array(column, getattr(usage, n).dtype) for n, column in zip(USAGE, table, strict=True)))
        return told, replace(window, usage=kept)

    def _of(self, device: Device) -> _Held:
        key = (device.host, device.index, device.uuid)
        if key not in self._held:
            self._held[key] = self._look_up(device)
        return self._held[key]

    def _rows_of(self, host: str) -> tuple[Sequence[JobRow], dict[str, list[int]]]:
        """Return a host's rows, and of each name of a GPU which of them have it."""
        if host not in self._rows:
            rows = self._by_host.of(host)
            by_gpu: dict[str, list[int]] = defaultdict(list)
            self.matched.update(row.host for row in rows)
            for i, row in enumerate(rows):
                for gpu in row.gpus:
                    by_gpu[gpu.lower()].append(i)
            self._rows[host] = rows, by_gpu
        return self._rows[host]

    def _look_up(self, device: Device) -> _Held:
        spans: dict[int, list[tuple[int, int, int, int, int]]] = defaultdict(list)
        rows, by_gpu = self._rows_of(device.host)
        names = {"*", str(device.index), device.uuid.lower(), device.pci_bus_id.lower()} - {""}
        for i in sorted({i for name in names for i in by_gpu.get(name, ())}):  # once each, as the table has them
            row = rows[i]
            if row.start_us >= row.end_us:  # else it would be there within a window, and between two it would not
                continue
            live = AT_MOST if row.at_most else LIVE
            spans[self._place[row.job]].append((row.start_us, row.end_us, row.share_ppm, live, row.doubt_mw))
        merged: list[tuple[int, ...]] = []
        for job, stretches in spans.items():
            stretches.sort()
            current = stretches[0]
            for stretch in stretches[1:]:
                if stretch[0] < current[1]:
                    current = (
                        current[0],
                        max(current[1], stretch[1]),
                        max(current[2], stretch[2]),
                        min(current[3], stretch[3]),
                        max(current[4], stretch[4]),
                    )
                else:
                    merged.append((job, *current))
                    current = stretch
            merged.append((job, *current))
        merged.sort(key=lambda entry: entry[1])
        return _Held(*np.array(merged, np.int64).reshape(-1, 6).T)


def _spans(gpu: NDArray[np.integer], start: NDArray[np.int64], end: NDArray[np.int64]) -> dict[int, list[_Span]]:
    """Unite the time of rows, GPU by GPU."""
    found: dict[int, list[_Span]] = {}
    for number, first, last in sorted(zip(gpu.tolist(), start.tolist(), end.tolist(), strict=True)):
        mine = found.setdefault(number, [])
        if mine and first <= mine[-1][1]:
            mine[-1] = (mine[-1][0], max(mine[-1][1], last))
        else:
            mine.append((first, last))
    return found


def _without(start: int, end: int, spans: list[_Span]) -> Iterator[_Span]:
    """Yield what is left of a stretch without others that ascend."""
    for first, last in spans:
        if first > start:
            yield from [(start, min(first, end))] if start < min(first, end) else []
        start = max(start, last)
        if start >= end:
            return
    yield start, end
