"""Rows of foreign traces into windows: any order of rows in, blocks of bounded and canonical size out.

A file of up to two million rows is ordered as a whole, whatever its order was. Of a longer one that many rows are held
back, so that rows may be late by them; what is later still is counted as ``out_of_order``. Windows are cut by counting
the rows of a host in the order of time: never by how the file was read. Of many hosts they are shorter, so that all
of them together are no more than what is held.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.traces.chunk import each_window
from wattshed.agent.traces.foreign.energies import EnergyColumns
from wattshed.agent.traces.foreign.repeats import Repeats
from wattshed.agent.traces.foreign.rows import RoomForRows, Rows
from wattshed.agent.window import MISSING, Device, JobKey, Owner, Readings, Usage, Window, WindowBatch
from wattshed.kernels.columns import dealt
from wattshed.kernels.dealing import deal_windows

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.traces.foreign.gpus import Gpus

WINDOW_ROWS = 1 << 16
HELD_ROWS = 2_000_000
_BATCH_ROWS = 1 << 18  # of a host's windows that are laid out at once: their memory is used again
_LEAST_ROWS = 1 << 11  # of a window, however many hosts there are
_AFTER_ALL = np.iinfo(np.int64).max


@dataclass(slots=True)
class _Host:
    """How far the windows of one host are; the next begins at ``start_us``."""

    start_us: int
    order: dict[int, int] = field(default_factory=dict)  # number in Gpus -> place in the devices
    devices: list[Device] = field(default_factory=list)
    seq: int = 0


class Assembler:
    """Cuts the rows of one source into windows, host by host.

    Parameters
    ----------
    gpus : Gpus
    report : SourceReport
        Gets ``out_of_order`` counted.
    window_rows, held_rows : int
        See the module's text.
    """

    def __init__(
        self, gpus: Gpus, report: SourceReport, *, window_rows: int = WINDOW_ROWS, held_rows: int = HELD_ROWS
    ) -> None:
        self._gpus, self._report = gpus, report
        self._window_rows, self._held_rows = window_rows, held_rows
        self._hosts: dict[str, _Host] = {}
        self._emitted_us: dict[str, int] = {}
        self._repeats = Repeats()
        self._energies = EnergyColumns(gpus, report)
        self._rooms = deque([RoomForRows(), RoomForRows()])

    def windows(self, blocks: Iterable[Rows]) -> Iterator[Window]:
        """Cut blocks of rows, in any order, into windows that ascend within each host."""
        yield from each_window(self.batches(blocks))

    def batches(self, blocks: Iterable[Rows]) -> Iterator[Window | WindowBatch]:
        """Cut them likewise; windows that hold powers and nothing else, one a GPU and stamp, come together."""
        held: list[Rows] = []
        count, most = 0, self._held_rows
        for block in blocks:
            held.append(block)
            count += block.time_us.size
            if count > most:
                rows = yield from self._cut(held, final=False)
                held, count = [rows], rows.time_us.size
                most = max(self._held_rows, 2 * count)  # else all that stays is looked at again with each block
        if held:
            yield from self._cut(held, final=True)
        yield from self._silent()
        self._repeats.say(self._report)
        self._energies.say()
        self._report.gpus = len(self._gpus)

    def _silent(self) -> Iterator[Window]:
        """Name the GPUs of hosts that never gave a number: they are in the answer, without one."""
        now_us = max(self._emitted_us.values(), default=0)
        for name in dict.fromkeys(device.host for device in self._gpus.devices):
            if name not in self._hosts:
                devices = tuple(device for device in self._gpus.devices if device.host == name)
                busy_us = np.full(len(devices), MISSING, np.int64)
                readings = Readings.empty(len(devices))
                yield Window(name, 0, now_us, now_us + 1, devices, readings, busy_us, (), Usage.empty())

    def _cut(self, held: list[Rows], *, final: bool) -> Generator[Window | WindowBatch, None, Rows]:
        """Emit the windows that are complete; returns the rows that stay (a generator's return value)."""
        self._rooms.rotate()  # what stayed lies in the other one
        rows = Rows.join(held, self._rooms[0])
        held.clear()  # what was joined is as large as what is made of it
        rows = self._energies.settle(_instant_for_power(rows), self._emitted_us)
        self._gpus.learn_gaps(rows)
        numbers: dict[str, list[int]] = {}
        for number, device in enumerate(self._gpus.devices):
            numbers.setdefault(device.host, []).append(number)
        window_rows = min(self._window_rows, max(self._held_rows // (2 * max(len(numbers), 1)), _LEAST_ROWS))
        stay: list[Rows] = [rows.take(slice(0, 0))]
        for name, arrived in _by_host(rows, numbers):
            mine = self._in_time(name, arrived)
            ordered = bool((mine.time_us[1:] >= mine.time_us[:-1]).all())
            cuts = self._cuts(mine.time_us if ordered else np.sort(mine.time_us), window_rows, final=final)
            if not cuts:
                stay.append(mine)
                continue
            begin_us = int(mine.time_us[0] if ordered else mine.time_us.min())
            host = self._host(name, numbers[name], begin_us)
            last, until_us = cuts[-1]
            some = max(_BATCH_ROWS // window_rows, 1) if ordered else len(cuts)  # windows at once
            at = 0
            for first in range(0, len(cuts), some):
                part = [(stop - at, end_us) for stop, end_us in cuts[first : first + some]]
                here = mine.take(slice(at, at + part[-1][0])) if ordered else mine
                yield from self._emit(name, host, here, part, ordered=ordered)
                at += part[-1][0]
            self._emitted_us[name] = until_us
            if last < len(mine):
                stay.append(mine.take(slice(last, None) if ordered else mine.time_us >= until_us))
        return Rows.join(stay)

    def _emit(
        self, name: str, host: _Host, rows: Rows, cuts: list[tuple[int, int]], *, ordered: bool
    ) -> Iterator[Window | WindowBatch]:
        """Emit windows of a host; rows in the order of time are those of the windows, others may be of later ones."""
        batch = self._batch(name, host, rows, cuts) if rows.is_mere_power else None
        if batch is not None:
            yield batch
            return
        if not ordered:
            rows = rows.take(np.argsort(rows.time_us, kind="stable"))
        for at, (stop, end_us) in zip([0, *(stop for stop, _ in cuts)], cuts, strict=False):
            yield self._window(name, host, rows.take(slice(at, stop)), end_us)

    def _in_time(self, name: str, rows: Rows) -> Rows:
        """Leave out rows of a host that come too late."""
        emitted_us = self._emitted_us.get(name)
        if emitted_us is None or int(rows.time_us.min()) >= emitted_us:
            return rows
        late = rows.time_us < emitted_us
        self._report.reject("out_of_order", int(late.sum()))
        return rows.take(~late)

    def _cuts(self, time_us: NDArray[np.int64], rows: int, *, final: bool) -> list[tuple[int, int]]:
        """Choose where windows end: behind how many of the ascending rows, and when (us)."""
        found: list[tuple[int, int]] = []
        limit, at = time_us.size if final else time_us.size // 2, 0
        while at < limit:
            # So many rows, and all of the last one's stamp.
            last = min(at + rows, time_us.size) - 1
            stop = int(np.searchsorted(time_us, time_us[last], side="right"))
            if stop < time_us.size:
                found.append((stop, int(time_us[stop])))
            elif final:
                found.append((stop, max(int(time_us[-1]), int(time_us[at]) + 1)))
            else:
                break
            at = stop
        return found

    def _host(self, name: str, numbers: list[int], begin_us: int) -> _Host:
        """Return a host, whose first window begins then, with its GPUs so far."""
        host = self._hosts.setdefault(name, _Host(start_us=begin_us))
        for number in sorted(set(numbers) - host.order.keys(), key=lambda n: (self._gpus.devices[n].index, n)):
            host.order[number] = len(host.devices)
            host.devices.append(self._gpus.devices[number])
        return host

    def _places(self, host: _Host) -> NDArray[np.int32]:
        """Return where each GPU is in the windows of a host; -1 elsewhere."""
        place = np.full(len(self._gpus), -1, np.int32)
        place[list(host.order)] = list(host.order.values())
        return place

    def _batch(self, name: str, host: _Host, rows: Rows, cuts: list[tuple[int, int]]) -> WindowBatch | None:
        """Lay windows of mere power out at once; None where single rows have to be looked at."""
        edges_us = np.array([host.start_us, *(end_us for _, end_us in cuts)])
        begin_us, end_us = edges_us[:-1].copy(), edges_us[1:].copy()
        if cuts[-1][0] == len(rows):
            edges_us[-1] = _AFTER_ALL  # the last window has what is at its very end
        columns = deal_windows(rows.gpu, rows.time_us, rows.power_mw, self._places(host), edges_us)
        if columns is None:
            return None
        seq = host.seq + np.arange(len(cuts))
        host.seq, host.start_us = host.seq + len(cuts), cuts[-1][1]
        return WindowBatch(name, tuple(host.devices), seq, begin_us, end_us, columns)

    def _window(self, name: str, host: _Host, rows: Rows, end_us: int) -> Window:
        place, start_us = self._places(host), host.start_us
        order, offsets = dealt(place[rows.gpu], len(host.devices))
        rows = replace(rows, gpu=place[rows.gpu]).take(order)
        gaps_us = [device.max_gap_us for device in host.devices]
        rows = self._energies.counted(rows, offsets, list(host.order), gaps_us)
        owners, usage = _observations(rows, start_us, end_us)
        busy_us = _busy(rows, len(host.devices), start_us)
        readings = self._readings(rows, offsets, host.devices)
        window = Window(name, host.seq, start_us, end_us, tuple(host.devices), readings, busy_us, owners, usage)
        host.seq += 1
        host.start_us = end_us
        return window

    def _readings(self, rows: Rows, offsets: NDArray[np.int64], devices: Sequence[Device]) -> Readings:
        """Take the rows that hold a reading, one power a stamp; they are GPU-major already."""
        size = len(rows)
        if len(rows.power_mw) != size or int(rows.power_mw.min(initial=0)) < 0:
            real = rows.has("power_mw") | rows.has("counter_mj") | rows.has("instant_mw")
            if not real.all():
                rows = rows.take(real)
        rows = self._repeats.join(rows, devices)
        if len(rows) != size:
            offsets = np.searchsorted(rows.gpu, np.arange(len(devices) + 1))
        instant = rows.instant_mw if (rows.instant_mw >= 0).any() else rows.instant_mw[:0]
        return Readings(offsets, rows.time_us, rows.filled("power_mw"), rows.filled("counter_mj"), instant)


def _by_host(rows: Rows, numbers: dict[str, list[int]]) -> Iterator[tuple[str, Rows]]:
    """Part the rows by host; a host without any is left out."""
    if len(numbers) == 1:
        yield next(iter(numbers)), rows
        return
    host_of = np.zeros(sum(map(len, numbers.values())), np.int32)
    for place, mine in enumerate(numbers.values()):
        host_of[mine] = place
    order, bounds = dealt(host_of[rows.gpu], len(numbers))
    for place, name in enumerate(numbers):
        if bounds[place] < bounds[place + 1]:
            yield name, rows.take(order[bounds[place] : bounds[place + 1]])


def _instant_for_power(rows: Rows) -> Rows:
    """Integrate instant power where a GPU has no other."""
    if not rows.instant_mw.size:
        return rows
    power = rows.filled("power_mw")
    for gpu in np.unique(rows.gpu[rows.instant_mw >= 0]):
        mine = rows.gpu == gpu
        if not (power[mine] >= 0).any():
            power = np.where(mine, rows.instant_mw, power)
    return replace(rows, power_mw=power)


def _busy(rows: Rows, gpus: int, start_us: int) -> NDArray[np.int64]:
    """Integrate utilisation per GPU: each reading stands for the time since the one before."""
    busy = np.full(gpus, MISSING, np.int64)
    if not rows.util_ppm.size:
        return busy
    known = rows.has("util_ppm") & ~rows.has("pid")
    for gpu in np.unique(rows.gpu[known]):
        mine = known & (rows.gpu == gpu)
        since = np.diff(rows.time_us[mine], prepend=start_us)
        busy[gpu] = int((since * rows.util_ppm[mine]).sum() // 1_000_000)
    return busy


def _observations(rows: Rows, start_us: int, end_us: int) -> tuple[tuple[Owner, ...], Usage]:
    """Turn rows that name a process into usage: one row per GPU and process, with its activity where it is known."""
    if not (rows.pid >= 0).any():
        return (), Usage.empty()
    found: list[tuple[int, int, int, int, int]] = []
    for gpu in np.unique(rows.gpu):
        mine = rows.take(rows.gpu == gpu)
        stamps = np.unique(mine.time_us)
        before = np.concatenate(([start_us], stamps[:-1]))
        for pid in np.unique(mine.pid[mine.pid >= 0]):
            seen = mine.take(mine.pid == pid)
            at = np.searchsorted(stamps, seen.time_us)
            until = end_us if seen.time_us[-1] == stamps[-1] else int(seen.time_us[-1])
            known = seen.has("util_ppm")
            busy = ((stamps - before)[at] * seen.filled("util_ppm"))[known].sum() // 1_000_000
            activity = busy if known.any() else MISSING
            found.append((int(gpu), int(pid), int(before[at[0]]), until, int(activity)))
    pids = sorted({row[1] for row in found})
    owner = {pid: i for i, pid in enumerate(pids)}
    gpus, names, starts, ends, active = (np.array(column, np.int64) for column in zip(*found, strict=True))
    usage = Usage(
        gpus.astype(np.int32),
        np.array([owner[int(pid)] for pid in names], np.int32),
        starts,
        ends,
        np.minimum(active, ends - starts),
        np.full(gpus.size, MISSING, np.int32),
        np.ones(gpus.size, np.int8),
    )
    return tuple(Owner(JobKey(f"pid:{pid}"), {"manager": "none"}) for pid in pids), usage
