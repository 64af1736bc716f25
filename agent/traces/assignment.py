"""Lays a jobs file over windows: who held which of a window's GPUs, from when to when."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agent.window import MISSING, Device, JobKey, Owner, Usage, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.traces.jobs_file import JobRow

_PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class _Held:
    """The rows that name one GPU: columns ascending in start, with rows of one job united where they overlap."""

    job: NDArray[np.int32]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    share_ppm: NDArray[np.int64]
    weight_ppm: NDArray[np.int64]


class Assignment:
    """Gives windows the owners that a jobs file names, in place of any that the trace knew.

    Parameters
    ----------
    rows : sequence of JobRow

    Attributes
    ----------
    gpu_time : dict of job -> int
        GPU time so far in millionths of GPU-microseconds: all of a GPU that the job is named for, and its part of
        GPUs of which only the number is known.
    matched : set of str
        Hosts of the jobs file that were found in the trace.
    """

    def __init__(self, rows: Sequence[JobRow]) -> None:
        self._rows = rows
        self._names = list(dict.fromkeys(row.job for row in rows))
        labels: dict[str, dict[str, str]] = defaultdict(dict)
        for row in rows:
            labels[row.job].update(row.labels)
        self._owners = [Owner(JobKey(name), labels[name]) for name in self._names]
        self.hosts = {row.host for row in rows if row.host}
        self.matched: set[str] = set()
        self.gpu_time: dict[str, int] = defaultdict(int)
        self._held: dict[tuple[str, int, str, int], _Held] = {}

    def apply(self, window: Window) -> Window:
        """Return the window with usage from the jobs file."""
        columns: list[tuple[NDArray[np.int64], ...]] = []
        for gpu, device in enumerate(window.devices):
            held = self._of(device, len(window.devices))
            mine = np.flatnonzero((held.start_us < window.end_us) & (held.end_us > window.start_us))
            if not mine.size:
                continue
            start = np.maximum(held.start_us[mine], window.start_us)
            end = np.minimum(held.end_us[mine], window.end_us)
            job = held.job[mine].astype(np.int64)
            for number, time in zip(job.tolist(), ((end - start) * held.weight_ppm[mine]).tolist(), strict=True):
                self.gpu_time[self._names[number]] += time
            columns.append((np.full(mine.size, gpu, np.int64), job, start, end, held.share_ppm[mine]))
        if not columns:
            return replace(window, owners=(), usage=Usage.empty())
        gpus, jobs, starts, ends, shares = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        used, owner = np.unique(jobs, return_inverse=True)
        usage = Usage(
            gpus.astype(np.int32),
            owner.astype(np.int32),
            starts,
            ends,
            np.full(gpus.size, MISSING, np.int64),
            shares.astype(np.int32),
            np.ones(gpus.size, np.int8),
        )
        return replace(window, owners=tuple(self._owners[i] for i in used), usage=usage)

    def _of(self, device: Device, gpus: int) -> _Held:
        key = (device.host, device.index, device.uuid, gpus)
        if key not in self._held:
            self._held[key] = self._look_up(device, gpus)
        return self._held[key]

    def _look_up(self, device: Device, gpus: int) -> _Held:
        spans: dict[int, list[list[int]]] = defaultdict(list)
        place = {name: i for i, name in enumerate(self._names)}
        for row in self._rows:
            if not self._is_host(row.host, device.host) or not _is_gpu(row, device):
                continue
            self.matched.add(row.host)
            part = min(_PPM, row.count * _PPM // gpus) if row.count >= 0 and row.gpus == ("*",) else _PPM
            share = part * (row.share_ppm if row.share_ppm >= 0 else _PPM) // _PPM
            known = row.share_ppm >= 0 or part < _PPM
            spans[place[row.job]].append([row.start_us, row.end_us, share if known else MISSING, part])
        merged: list[tuple[int, int, int, int, int]] = []
        for job, stretches in spans.items():
            stretches.sort()
            current = stretches[0]
            for stretch in stretches[1:]:
                if stretch[0] < current[1]:
                    current[1:] = [max(a, b) for a, b in zip(current[1:], stretch[1:], strict=True)]
                else:
                    merged.append((job, *current))  # type: ignore[arg-type]
                    current = stretch
            merged.append((job, *current))  # type: ignore[arg-type]
        merged.sort(key=lambda entry: entry[1])
        table = np.array(merged, np.int64).reshape(-1, 5)
        return _Held(table[:, 0].astype(np.int32), table[:, 1], table[:, 2], table[:, 3], table[:, 4])

    def _is_host(self, wanted: str, host: str) -> bool:
        """Compare hosts; a trace that does not know its host is that of the only one the jobs file names."""
        if not wanted or wanted.lower() == host.lower():
            return True
        if not host:
            return len(self.hosts) == 1
        short = wanted.partition(".")[0].lower() == host.partition(".")[0].lower()
        return short and ("." in wanted) != ("." in host)


def _is_gpu(row: JobRow, device: Device) -> bool:
    if row.gpus == ("*",):
        return True
    names = {str(device.index), device.uuid.lower(), device.pci_bus_id.lower()} - {""}
    return any(gpu.lower() in names for gpu in row.gpus)
