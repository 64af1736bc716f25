"""A window's joules, job by job: the one path that live and replayed windows take.

`Accounts` keeps, per host, where the merge of counter and power stands (int64 state, see `kernels.booking`), books each
window's energy, and splits it among the owners in the window's usage (`kernels.splitting`). Energy may be booked later
than it was used (a counter that is read once a second closes a stretch at its next reading), so usage rows wait until
their time was booked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agent.accounts.former_names import FormerNames
from agent.accounts.ledger import GpuKey, Ledger
from agent.accounts.limits import NO_LIMITS, Limits, in_parts
from agent.accounts.modules import Module, counts_module, leave_counter, tells_power, without
from agent.accounts.restart import go_on
from agent.accounts.statistics import Moving
from agent.accounts.tenancy import NO_TENANCY, PPM, Coverage, Tenancy
from kernels import booking
from kernels.booking import merge, new_state
from kernels.columns import Columns
from kernels.histogram import PowerHistogram
from kernels.plain import book_plain
from kernels.splitting import BY_SHARE, EQUAL, split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from agent.window import Device, Event, JobKey, Readings, Run, Window

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
    booked_us: int = 0  # the time that energy_hnj was used in: readings may cover some of it later, or never
    power: PowerHistogram = field(default_factory=PowerHistogram)
    moving: Moving = field(default_factory=Moving)
    up: bool = True
    lost_since_us: int = -1
    last_xid: int | None = None
    module: Module | None = None  # of a superchip whose counter is the module's: known once is known for good

    @property
    def by_power_alone(self) -> bool:
        """Whether its counter is another meter's, and its own power is told."""
        return (self.module is not None or counts_module(self.device)) and tells_power(self.device)

    @property
    def boundary(self) -> str:
        """What its energy is the energy of: the ``"board"``, or a whole ``"module"``, CPU included."""
        return "module" if counts_module(self.device) and not tells_power(self.device) else "board"

    @property
    def rejected(self) -> dict[str, int]:
        """Readings that were not believed, by reason; reasons that never occurred are left out."""
        return {reason: self.totals[column] for reason, column in REJECTIONS.items() if self.totals[column]}

    @property
    def was_read(self) -> bool:
        """Whether any energy or power of it was ever known; without, its energy is unknown and not 0."""
        return self.totals[booking.SAMPLES] > 0 or self.energy_hnj > 0

    @property
    def method(self) -> str:
        """``"counter"`` if the driver's energy counter was believed for any stretch, else ``"power"``."""
        counted = self.totals[booking.BOOKED_BY_COUNTER] > 0 or self.totals[booking.COUNTER_HNJ] > 0
        return "counter" if counted and self.module is None else "power"

    @property
    def disagreement(self) -> float | None:
        """(power integral - counter) / counter over the stretches that both saw whole, or None without any."""
        counter, power = self.totals[booking.COMPARED_COUNTER], self.totals[booking.COMPARED_POWER]
        return (power - counter) / counter if counter > 0 and power > 0 and self.module is None else None

    def add(
        self, tally: NDArray[np.int64], energy_hnj: int, booked_us: int, idle_hnj: int, unattributed_hnj: int
    ) -> None:
        """Add a result; ``tally`` is a row of `kernels.booking.Pieces.tally`."""
        self.energy_hnj += energy_hnj
        self.booked_us += booked_us
        self.idle_hnj += idle_hnj
        self.unattributed_hnj += unattributed_hnj
        self.totals = [have + more for have, more in zip(self.totals, tally.tolist(), strict=True)]


@dataclass(slots=True)
class _Host:
    """One host's books between two windows."""

    devices: tuple[Device, ...] = ()
    keys: list[GpuKey] = field(default_factory=list)
    limits: Limits = NO_LIMITS
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
        self._names = FormerNames()

    def add(self, window: Window) -> None:
        """Book one window. Windows of one host come in order; hosts may be mixed."""
        host = self._enter(window.host, window.devices, window.start_us)
        # What was, or still is, said of a job under its former name; what is booked stays.
        host.waiting = host.waiting.renamed(self._names.learn(window, self.ledger.jobs.values()))
        host.alone = {gpu: self._names.now(key) for gpu, key in host.alone.items()}
        window = self._names.applied(window)
        for event in window.events:
            self._note(window, host, event)
        rows = host.waiting.followed_by(Tenancy.of(window, host.coverage.busy_us(window)))
        ends = any(event.kind == "shutdown" for event in window.events)
        alone = host.alone
        self._remember_owners(window, host)
        if ends and not len(window.usage.gpu):
            host.alone = alone  # who was on a GPU when the agent was told to end may still be when it comes back
        readings = self._without_modules(window, host, rows)
        if len(rows.gpu) or int(readings.counter_mj.max(initial=-1)) >= 0 or not self._book_plain(
            host,
            Columns(
                readings.offsets.reshape(1, -1), readings.time_us, _ZERO, _ZERO, readings.power_mw, _ZERO,
            ),
        ):  # fmt: skip
            for part in in_parts(readings, host.limits):
                pieces = merge(
                    part.offsets, part.time_us, part.power_mw, part.counter_mj, host.state,
                    host.limits.ceiling_mw, host.limits.limit_mw, host.limits.max_gap_us,
                    instant_mw=part.instant_mw if len(part.instant_mw) else None,
                )  # fmt: skip
                self._book(host, pieces, rows)
            self._observe(window, host)
        if self.live:
            self._follow(window, host)
        if len(rows.gpu):
            oldest = np.maximum(host.state[:, booking.BOOKED_T], window.end_us - WAIT_US)
            rows = rows.keep(rows.end_us > oldest[rows.gpu]).only_named_owners()
        host.waiting = rows
        if ends:
            self.finish(window.host)

    def _without_modules(self, window: Window, host: _Host, rows: Tenancy) -> Readings:
        """Return a window's readings without the counters that are a module's, which are booked beside."""
        others = [gpu for gpu, key in enumerate(host.keys) if self.gpus[key].by_power_alone]
        if not others:
            return window.readings

        def book(gpu: int, mine: slice) -> None:
            account = self.gpus[host.keys[gpu]]
            if account.module is None:
                account.module = Module.from_gpu(account.totals[booking.COUNTER_HNJ], host.state[gpu])
                self._book(host, leave_counter(host.state, gpu, host.limits), rows)
            account.module.book(window.readings.time_us[mine], window.readings.counter_mj[mine])

        return without(window.readings, others, book)

    def add_run(self, run: Run) -> None:
        """Book windows that hold power readings and nothing else, all at once if nothing stands against it."""
        host = self._enter(run.host, run.devices, int(run.start_us[0]))
        if self.live or len(host.waiting.gpu) or not self._book_plain(host, run.columns):
            for window in run.windows():
                self.add(window)
            return
        host.coverage, host.alone = Coverage(), {}

    def finish(self, host: str | None = None) -> None:
        """Nothing follows (of one host, or of all): book what is still open."""
        for name, books in self._hosts.items():
            if host is not None and name != host:
                continue
            nothing = np.empty(0, np.int64)
            pieces = merge(
                np.zeros(len(books.keys) + 1, np.int64), nothing, nothing.astype(np.int32), nothing, books.state,
                books.limits.ceiling_mw, books.limits.limit_mw, books.limits.max_gap_us, closing=True,
            )  # fmt: skip
            self._book(books, pieces, books.waiting)
            books.waiting = NO_TENANCY
            for key in books.keys:
                self.gpus[key].power.settle()

    def merge(self, other: Accounts) -> None:
        """Add the finished books of another part (other hosts, or another day of the same ones)."""
        for key, theirs in other.gpus.items():
            mine = self.gpus.get(key)
            if mine is None:
                self.gpus[key] = theirs
                continue
            mine.energy_hnj += theirs.energy_hnj
            mine.booked_us += theirs.booked_us
            mine.idle_hnj += theirs.idle_hnj
            mine.unattributed_hnj += theirs.unattributed_hnj
            mine.totals = [a + b for a, b in zip(mine.totals, theirs.totals, strict=True)]
            mine.power.merge(theirs.power)
            if theirs.module is not None:
                mine.module = mine.module or Module()
                mine.module.energy_hnj += theirs.module.energy_hnj
        self.ledger.merge(other.ledger)

    def retire(self, now_us: int, keep_us: int) -> None:
        """Close the accounts of jobs that ended, see `Ledger.retire`; not before all their energy is booked."""
        waiting = {owner.key for host in self._hosts.values() for owner in host.waiting.owners}
        self.ledger.retire(now_us, keep_us, waiting)

    def account(self, device: Device) -> GpuAccount:
        """Return the account of one GPU that was in a window."""
        return self.gpus[_key(device)]

    def ended_hnj(self, device: Device) -> int:
        """Return what jobs used of one GPU whose own series are gone, hnj."""
        return self.ledger.ended_hnj.get(_key(device), 0)

    def state_of(self, host: str) -> NDArray[np.int64]:
        """Return the merge state of one host's GPUs: int64[g, kernels.booking.STATES], in the devices' order."""
        return self._hosts[host].state

    def books_of(self, host: str) -> list[tuple[GpuAccount, NDArray[np.int64], JobKey | None]]:
        """Return one host's books, GPU by GPU: account, merge state, and the only owner in the last window.

        A GPU that is away keeps its account: its joules must still be there when it comes back.
        """
        books = self._hosts.get(host, _Host())
        here = [(self.gpus[key], books.state[i], books.alone.get(i)) for i, key in enumerate(books.keys)]
        away = [account for key, account in self.gpus.items() if key.host == host and key not in books.keys]
        return here + [(account, new_state(1)[0], None) for account in away]

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
        devices = tuple(self.gpus[key].device for key in mine.keys)
        mine.devices, mine.limits = devices, Limits.of(devices, self.max_gap_us)

    def _enter(self, name: str, devices: tuple[Device, ...], start_us: int) -> _Host:
        """Find the host's books, with a place for each device in the window's order."""
        if self.since_us is None:
            self.since_us = start_us
        host = self._hosts.setdefault(name, _Host())
        if host.devices is devices:
            return host
        keys = [_key(device) for device in devices]
        if keys != host.keys:
            place = {key: i for i, key in enumerate(host.keys)}
            state = new_state(len(keys))
            for i, key in enumerate(keys):
                if key in place:
                    state[i] = host.state[place[key]]
                elif key in self.gpus:  # it was away, and begins anew
                    self.gpus[key].power.restart()
            moved = {i: keys.index(key) for key, i in place.items() if key in keys}
            host.waiting = host.waiting.moved(moved)
            host.alone = {moved[i]: owner for i, owner in host.alone.items() if i in moved}
            host.keys, host.state = keys, state
        for key, device in zip(keys, devices, strict=True):
            account = self.gpus.get(key)
            if account is None:
                self.gpus[key] = GpuAccount(device)
            else:
                account.device = device
        host.devices, host.limits = devices, Limits.of(devices, self.max_gap_us)
        return host

    def _book_plain(self, host: _Host, columns: Columns) -> bool:
        """Book windows of power readings and nothing else the fast way; False if that cannot be."""
        if host.limits.calibrated:
            return False
        accounts = [self.gpus[key] for key in host.keys]
        booked = book_plain(
            columns, host.state, host.limits.ceiling_mw, host.limits.max_gap_us, host.limits.idle_mw,
            None if self.live else [account.power for account in accounts],
        )  # fmt: skip
        if booked is None:
            return False
        for account, tally, energy, static in zip(accounts, *booked, strict=True):
            account.add(tally, energy, int(tally[booking.COVERED]), static, energy - static)
            account.totals[booking.POWER_HNJ] += energy
            account.totals[booking.BOOKED_BY_POWER] += energy
        return True

    def _book(self, host: _Host, pieces: booking.Pieces, rows: Tenancy) -> None:
        """Split the pieces among the rows and enter the result."""
        if host.limits.calibrated:
            self._calibrate(host.devices, pieces)
        bounds = np.searchsorted(rows.gpu, np.arange(len(host.keys) + 1)).astype(np.int64)
        parts = split(
            pieces.starts, pieces.counts, pieces.t0_us, pieces.t1_us, pieces.energy_hnj, host.limits.idle_mw, bounds,
            rows.start_us, rows.end_us, rows.activity_ppm, rows.busy_ppm, rows.share_ppm, rows.live,
            begin_mw=pieces.begin_mw, end_mw=pieces.end_mw,
        )  # fmt: skip
        spans = [slice(a, a + n) for a, n in zip(pieces.starts.tolist(), pieces.counts.tolist(), strict=True)]
        energy = [int(pieces.energy_hnj[span].sum()) for span in spans]
        booked = [int((pieces.t1_us[span] - pieces.t0_us[span]).sum()) for span in spans]
        idle, nobodys = parts.idle_hnj.tolist(), parts.unattributed_hnj.tolist()
        for i, key in enumerate(host.keys):
            self.gpus[key].add(pieces.tally[i], energy[i], booked[i], idle[i], nobodys[i])
        columns = (rows.gpu, rows.owner, parts.static_hnj, parts.dynamic_hnj, parts.peak_mw, parts.method)
        for gpu, place, static, dynamic, peak, method in zip(*(column.tolist() for column in columns), strict=True):
            if static <= 0 and dynamic <= 0:
                continue
            owner = rows.owners[place]
            job = self.ledger.job(owner.key, owner.labels)
            line = job.line(host.keys[gpu])
            line.static_hnj += static
            line.dynamic_hnj += dynamic
            line.peak_mw = max(line.peak_mw, peak)
            if method & (BY_SHARE | EQUAL):
                line.guessed_hnj += dynamic
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
        on_gpu: dict[int, set[JobKey]] = {}
        columns = (usage.gpu, usage.owner, usage.start_us, usage.end_us, usage.live)
        for gpu, place, start, end, live in zip(*(column.tolist() for column in columns), strict=True):
            owner = window.owners[place]
            job = self.ledger.job(owner.key, owner.labels)
            known = host.keys[gpu] in job.lines
            line = job.line(host.keys[gpu])
            if live:
                line.active_us += end - start
            else:
                line.held_us += end - start
            if not known or start > job.end_us:
                line.edges += 2
            job.seen(start, end)
            on_gpu.setdefault(gpu, set()).add(owner.key)
        host.alone = {gpu: next(iter(keys)) for gpu, keys in on_gpu.items() if len(keys) == 1}

    def _observe(self, window: Window, host: _Host) -> None:
        """Keep what the quantiles of power need; a running agent publishes none."""
        readings, limits = window.readings, host.limits
        for i, key in enumerate([] if self.live else host.keys):
            mine = slice(int(readings.offsets[i]), int(readings.offsets[i + 1]))
            self.gpus[key].power.extend(
                readings.time_us[mine], readings.power_mw[mine], int(limits.ceiling_mw[i]), int(limits.max_gap_us[i])
            )

    def _follow(self, window: Window, host: _Host) -> None:
        """Keep the moving peaks and ramps that a running agent publishes."""
        readings, limits = window.readings, host.limits
        for i, key in enumerate(host.keys):
            mine = slice(int(readings.offsets[i]), int(readings.offsets[i + 1]))
            power = readings.power_mw[mine]
            if len(readings.instant_mw):
                power = np.where(readings.instant_mw[mine] > 0, readings.instant_mw[mine], power)
            self.gpus[key].moving.add_all(
                readings.time_us[mine], power, int(limits.ceiling_mw[i]), int(limits.max_gap_us[i])
            )

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
            self.ledger.resume(window.start_us)
            same_boot = event.detail != "new-boot"
            for key in host.keys:
                self.gpus[key].power.restart()
                if (module := self.gpus[key].module) is not None:
                    module.restart(window.start_us, same_boot=same_boot)
            host.waiting = go_on(host.state, window, host.alone, same_boot=same_boot)


_ZERO = np.zeros(1, np.int64)


def _key(device: Device) -> GpuKey:
    return GpuKey(device.host, device.uuid or str(device.index))
