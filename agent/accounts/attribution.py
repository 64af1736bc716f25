"""A window's joules, job by job: the one path that live and replayed windows take.

`Accounts` keeps, per host, where the merge of counter and power stands (int64 state, see `kernels.booking`), books each
window's energy, and splits it among the owners in the window's usage (`kernels.splitting`). Energy may be booked later
than it was used (a counter that is read once a second closes a stretch at its next reading), so usage rows wait until
their time was booked.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agent.accounts.ledger import GpuKey, Ledger
from agent.accounts.restart import go_on
from agent.accounts.statistics import Moving, PowerStatistics
from agent.accounts.tenancy import NO_TENANCY, PPM, Coverage, Tenancy
from kernels import booking
from kernels.booking import merge, new_state
from kernels.plain import book_plain
from kernels.splitting import BY_SHARE, EQUAL, split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from agent.window import Device, Event, JobKey, Window

LONGEST_GAP_US = 86_400_000_000  # a damaged stamp must not bridge centuries, which no int64 holds
MANY_ROWS = 200_000  # from here on threads pay
WAIT_US = 120_000_000  # usage of a GPU whose energy cannot be read is not kept longer than this
REJECTIONS = {
    "zero": booking.REJECTED_ZERO,
    "negative": booking.REJECTED_NEGATIVE,
    "above_ceiling": booking.REJECTED_HIGH,
    "time_backwards": booking.REJECTED_TIME,
    "counter_step": booking.REJECTED_STEP,
    "counter_dip": booking.REJECTED_DIP,
}


@dataclass(slots=True)
class GpuAccount:
    """What one GPU used, and how well that is known. Energies in hnj, times in us."""

    device: Device
    energy_hnj: int = 0
    idle_hnj: int = 0
    unattributed_hnj: int = 0
    totals: list[int] = field(default_factory=lambda: [0] * booking.TALLIES)
    power: PowerStatistics = field(default_factory=PowerStatistics)
    moving: Moving = field(default_factory=Moving)
    up: bool = True
    lost_since_us: int = -1
    last_xid: int | None = None

    @property
    def rejected(self) -> dict[str, int]:
        """Readings that were not believed, by reason; reasons that never occurred are left out."""
        return {reason: self.totals[column] for reason, column in REJECTIONS.items() if self.totals[column]}

    @property
    def method(self) -> str:
        """``"counter"`` if the driver's energy counter was believed for any stretch, else ``"power"``."""
        return (
            "counter" if self.totals[booking.BOOKED_BY_COUNTER] > 0 or self.totals[booking.COUNTER_HNJ] > 0 else "power"
        )

    @property
    def disagreement(self) -> float | None:
        """(power integral - counter) / counter over the stretches that both saw whole, or None without any."""
        counter, power = self.totals[booking.COMPARED_COUNTER], self.totals[booking.COMPARED_POWER]
        return (power - counter) / counter if counter > 0 and power > 0 else None

    def add(self, tally: NDArray[np.int64], energy_hnj: int, idle_hnj: int, unattributed_hnj: int) -> None:
        """Add one window's result; ``tally`` is a row of `kernels.booking.Pieces.tally`."""
        self.energy_hnj += energy_hnj
        self.idle_hnj += idle_hnj
        self.unattributed_hnj += unattributed_hnj
        if tally.any():
            self.totals = [have + int(more) for have, more in zip(self.totals, tally, strict=True)]


@dataclass(slots=True)
class _Host:
    """One host's books between two windows."""

    keys: list[GpuKey] = field(default_factory=list)
    state: NDArray[np.int64] = field(default_factory=lambda: new_state(0))
    waiting: Tenancy = NO_TENANCY
    coverage: Coverage = field(default_factory=Coverage)
    alone: dict[int, JobKey] = field(default_factory=dict)  # GPU -> its only owner in the last window


class Accounts:
    """The books of any number of hosts.

    Parameters
    ----------
    max_gap_us : int, us
        Power readings further apart are not bridged, unless the device says otherwise.
    ledger : Ledger, optional
        A fresh one without limits by default.
    live : bool
        Also keep moving peaks and ramps, which only a running agent publishes.
    """

    def __init__(self, *, max_gap_us: int = 5_000_000, ledger: Ledger | None = None, live: bool = False) -> None:
        self.max_gap_us = max_gap_us
        self.ledger = ledger or Ledger()
        self.gpus: dict[GpuKey, GpuAccount] = {}
        self.live = live
        self.since_us: int | None = None  # start of the first window of these books, before any restart
        self._hosts: dict[str, _Host] = {}

    def add(self, window: Window) -> None:
        """Book one window. Windows of one host come in order; hosts may be mixed."""
        host = self._enter(window)
        if self.since_us is None:
            self.since_us = window.start_us
        for event in window.events:
            self._note(window, host, event)
        rows = host.waiting.followed_by(Tenancy.of(window, host.coverage.busy_us(window)))
        self._remember_owners(window, host)
        if len(rows.gpu) or not self._book_plain(window, host):
            readings = window.readings
            pieces = merge(
                readings.offsets, readings.time_us, readings.power_mw, readings.counter_mj, host.state,
                *self._limits(window.devices), instant_mw=readings.instant_mw if len(readings.instant_mw) else None,
            )  # fmt: skip
            self._book(window.devices, host, pieces, rows)
        booked = host.state[:, booking.BOOKED_T]
        oldest = np.maximum(booked, window.end_us - WAIT_US)
        host.waiting = rows.keep(rows.end_us > oldest[rows.gpu]).only_named_owners() if len(rows.gpu) else NO_TENANCY
        self._observe(window, host)
        if any(event.kind == "shutdown" for event in window.events):
            self.finish(window.host)

    def finish(self, host: str | None = None) -> None:
        """Nothing follows (of one host, or of all): book what is still open."""
        for name, books in self._hosts.items():
            if host is not None and name != host:
                continue
            devices = tuple(self.gpus[key].device for key in books.keys)
            nothing = np.empty(0, np.int64)
            pieces = merge(
                np.zeros(len(devices) + 1, np.int64), nothing, nothing.astype(np.int32), nothing, books.state,
                *self._limits(devices), closing=True,
            )  # fmt: skip
            self._book(devices, books, pieces, books.waiting)
            books.waiting = NO_TENANCY

    def merge(self, other: Accounts) -> None:
        """Add the finished books of another part (other hosts, or another day of the same ones)."""
        for key, theirs in other.gpus.items():
            mine = self.gpus.get(key)
            if mine is None:
                self.gpus[key] = theirs
                continue
            mine.energy_hnj += theirs.energy_hnj
            mine.idle_hnj += theirs.idle_hnj
            mine.unattributed_hnj += theirs.unattributed_hnj
            mine.totals = [a + b for a, b in zip(mine.totals, theirs.totals, strict=True)]
            mine.power.merge(theirs.power)
        self.ledger.merge(other.ledger)

    def account(self, device: Device) -> GpuAccount:
        """Return the account of one GPU that was in a window."""
        return self.gpus[_key(device)]

    def state_of(self, host: str) -> NDArray[np.int64]:
        """Return the merge state of one host's GPUs: int64[g, kernels.booking.STATES], in the devices' order."""
        return self._hosts[host].state

    def books_of(self, host: str) -> list[tuple[GpuAccount, NDArray[np.int64], JobKey | None]]:
        """Return one host's books, GPU by GPU: account, merge state, and the only owner in the last window."""
        books = self._hosts.get(host, _Host())
        return [(self.gpus[key], books.state[i], books.alone.get(i)) for i, key in enumerate(books.keys)]

    def restore(self, host: str, books: Iterable[tuple[GpuAccount, NDArray[np.int64], JobKey | None]]) -> None:
        """Take over one host's books from before a restart, as `books_of` returned them."""
        mine = self._hosts[host] = _Host()
        for place, (account, state, alone) in enumerate(books):
            key = _key(account.device)
            self.gpus[key] = account
            mine.keys.append(key)
            mine.state = np.vstack([mine.state, state.reshape(1, -1)])
            if alone is not None:
                mine.alone[place] = alone

    def _enter(self, window: Window) -> _Host:
        """Find the host's books, with a place for each device in the window's order."""
        host = self._hosts.setdefault(window.host, _Host())
        keys = [_key(device) for device in window.devices]
        if keys != host.keys:
            place = {key: i for i, key in enumerate(host.keys)}
            state = new_state(len(keys))
            for i, key in enumerate(keys):
                if key in place:
                    state[i] = host.state[place[key]]
            host.waiting = host.waiting.moved({i: keys.index(key) for key, i in place.items() if key in keys})
            host.keys, host.state = keys, state
        for key, device in zip(keys, window.devices, strict=True):
            account = self.gpus.get(key)
            if account is None:
                self.gpus[key] = GpuAccount(device)
            else:
                account.device = device
        return host

    def _limits(self, devices: tuple[Device, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        ceiling = np.array([device.ceiling_mw for device in devices], np.int64)
        limit = np.array([device.limit_mw for device in devices], np.int64)
        gap = np.array(
            [device.max_gap_us if device.max_gap_us > 0 else self.max_gap_us for device in devices], np.int64
        )
        return ceiling, limit, gap

    def _book_plain(self, window: Window, host: _Host) -> bool:
        """Book a window of good power readings and nothing else the fast way; False if it is not one."""
        readings, devices = window.readings, window.devices
        if int(readings.counter_mj.max(initial=-1)) >= 0 or any(d.gain_ppm or d.offset_mw for d in devices):
            return False
        ceiling, _, gap = self._limits(devices)
        idle = np.array([device.idle_mw for device in devices], np.int64)
        booked = book_plain(readings.offsets, readings.time_us, readings.power_mw, host.state, ceiling, gap, idle)
        if booked is None:
            return False
        tally, static = booked
        for i, key in enumerate(host.keys):
            energy = int(tally[i, booking.BOOKED_BY_POWER])
            self.gpus[key].add(tally[i], energy, int(static[i]), energy - int(static[i]))
        return True

    def _book(self, devices: tuple[Device, ...], host: _Host, pieces: booking.Pieces, rows: Tenancy) -> None:
        """Split the pieces among the rows and enter the result."""
        gpus = len(devices)
        self._calibrate(devices, pieces)
        bounds = np.searchsorted(rows.gpu, np.arange(gpus + 1)).astype(np.int64)
        idle = np.array([device.idle_mw for device in devices], np.int64)
        parts = split(
            pieces.starts, pieces.counts, pieces.t0_us, pieces.t1_us, pieces.energy_hnj, idle, bounds,
            rows.start_us, rows.end_us, rows.activity_ppm, rows.busy_ppm, rows.share_ppm, rows.live,
            begin_mw=pieces.begin_mw, end_mw=pieces.end_mw,
        )  # fmt: skip
        for i, key in enumerate(host.keys):
            first, count = int(pieces.starts[i]), int(pieces.counts[i])
            energy = int(pieces.energy_hnj[first : first + count].sum())
            self.gpus[key].add(pieces.tally[i], energy, int(parts.idle_hnj[i]), int(parts.unattributed_hnj[i]))
        got = (parts.static_hnj > 0) | (parts.dynamic_hnj > 0)
        for row in np.flatnonzero(got):
            owner = rows.owners[rows.owner[row]]
            job = self.ledger.job(owner.key, owner.labels)
            line = job.line(host.keys[rows.gpu[row]])
            method = int(parts.method[row])
            line.static_hnj += int(parts.static_hnj[row])
            line.dynamic_hnj += int(parts.dynamic_hnj[row])
            line.peak_mw = max(line.peak_mw, int(parts.peak_mw[row]))
            if method & (BY_SHARE | EQUAL):
                line.guessed_hnj += int(parts.dynamic_hnj[row])
            job.method |= method

    @staticmethod
    def _calibrate(devices: tuple[Device, ...], pieces: booking.Pieces) -> None:
        """Correct the pieces for what is known of each card's meter: E (1 + gain) + offset x time, in whole hnj."""
        for i, device in enumerate(devices):
            if device.gain_ppm == 0 and device.offset_mw == 0:
                continue
            mine = slice(int(pieces.starts[i]), int(pieces.starts[i] + pieces.counts[i]))
            energy = pieces.energy_hnj[mine]
            energy += energy // PPM * device.gain_ppm + energy % PPM * device.gain_ppm // PPM
            energy += 2 * device.offset_mw * (pieces.t1_us[mine] - pieces.t0_us[mine])
            np.maximum(energy, 0, out=energy)

    def _remember_owners(self, window: Window, host: _Host) -> None:
        """Enter the time that jobs held and used GPUs, and who was alone on one."""
        usage = window.usage
        on_gpu: dict[int, set[int]] = {}
        for row in range(len(usage.gpu)):
            gpu, place = int(usage.gpu[row]), int(usage.owner[row])
            owner = window.owners[place]
            start, end = int(usage.start_us[row]), int(usage.end_us[row])
            job = self.ledger.job(owner.key, owner.labels)
            known = host.keys[gpu] in job.lines
            line = job.line(host.keys[gpu])
            if usage.live[row]:
                line.active_us += end - start
            else:
                line.held_us += end - start
            if not known or start > job.end_us:
                line.edges += 2
            job.seen(start, end)
            on_gpu.setdefault(gpu, set()).add(place)
        host.alone = {gpu: window.owners[next(iter(p))].key for gpu, p in on_gpu.items() if len(p) == 1}

    def _observe(self, window: Window, host: _Host) -> None:
        """Keep what the published power statistics need."""
        readings = window.readings
        if len(readings.time_us) >= MANY_ROWS and not self.live:
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # the kernels let go of the interpreter's lock
                list(pool.map(lambda i: self._observe_gpu(window, host, i), range(len(host.keys))))
        else:
            for i in range(len(host.keys)):
                self._observe_gpu(window, host, i)

    def _observe_gpu(self, window: Window, host: _Host, i: int) -> None:
        readings, key = window.readings, host.keys[i]
        lo, hi = int(readings.offsets[i]), int(readings.offsets[i + 1])
        if hi > lo:
            account = self.gpus[key]
            limits = account.device.ceiling_mw, self._gap(account.device)
            times, power = readings.time_us[lo:hi], readings.power_mw[lo:hi]
            if self.live:
                instant = readings.instant_mw[lo:hi] if len(readings.instant_mw) else power
                account.moving.add_all(times, np.where(instant > 0, instant, power), *limits)
            else:
                account.power.add(times, power, *limits)

    def _gap(self, device: Device) -> int:
        return min(device.max_gap_us if device.max_gap_us > 0 else self.max_gap_us, LONGEST_GAP_US)

    def _note(self, window: Window, host: _Host, event: Event) -> None:
        """Take account of what happened: a GPU that went or came, or an agent that was down."""
        if event.kind in {"lost", "back"} and 0 <= event.gpu < len(host.keys):
            account = self.gpus[host.keys[event.gpu]]
            account.up = event.kind == "back"
            account.lost_since_us = event.time_us if event.kind == "lost" else -1
        elif event.kind == "xid" and 0 <= event.gpu < len(host.keys) and event.detail.isdecimal():
            self.gpus[host.keys[event.gpu]].last_xid = int(event.detail)
        elif event.kind == "restart":
            host.coverage = Coverage()
            host.waiting = go_on(host.state, window, host.alone, same_boot=event.detail != "new-boot")


def _key(device: Device) -> GpuKey:
    return GpuKey(device.host, device.uuid or str(device.index))
