"""A window's joules, job by job: the one path that live and replayed windows take.

`Accounts` keeps, per host, where reconciling counter and power stands (see `kernels.billing.reconcile`),
books each window's energy, and splits it among the owners in the window's usage (`kernels.billing.split`). Energy may
be booked later than it was used (a counter that is read once a second closes a stretch at its next reading; one that
could not be read for an hour, that hour), so usage rows wait until their time was booked.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.accounts import events, silence
from wattshed.agent.accounts.account import GpuAccount
from wattshed.agent.accounts.batches import parts_of, until_one_is_read
from wattshed.agent.accounts.beside import BesideBooks
from wattshed.agent.accounts.entering import enter_time
from wattshed.agent.accounts.former_names import FormerNames
from wattshed.agent.accounts.host import HostAccounts
from wattshed.agent.accounts.learned import LearnedWatts
from wattshed.agent.accounts.ledger import GpuKey, Ledger
from wattshed.agent.accounts.limits import DeviceLimits, in_parts
from wattshed.agent.accounts.modules import Module, leave_counter, without
from wattshed.agent.accounts.observing import follow_moving, keep_powers
from wattshed.agent.accounts.pending_usage import ActivityShare, PendingUsage
from wattshed.agent.accounts.power_books import PowerBooks
from wattshed.agent.accounts.runs import WindowRun
from wattshed.agent.accounts.splitting import enter_split
from wattshed.agent.accounts.watts import ends_of_slots
from wattshed.agent.cutting import cut
from wattshed.agent.inputs.boards import likely_limit_mw
from wattshed.kernels.billing.layout import GpuState
from wattshed.kernels.billing.power_runs import book_runs
from wattshed.kernels.billing.reconcile import merge
from wattshed.kernels.columns import Columns
from wattshed.kernels.records import objects

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.accounts.host import GpuBooks
    from wattshed.agent.accounts.ledger import JobAccount
    from wattshed.agent.accounts.runs import Whose
    from wattshed.agent.accounts.split_rule import SplitRule
    from wattshed.agent.window import Device, Event, Readings, Window, WindowBatch
    from wattshed.kernels.billing.layout import EnergyIntervals
    from wattshed.kernels.billing.power_runs import BookPowers


class Accounts:
    """The accounts of any number of hosts.

    Parameters
    ----------
    max_gap_us : int, us
        Power readings further apart are not bridged, unless the device says otherwise.
    ledger : Ledger, optional
        A fresh one without limits by default.
    live : bool
        Also keep moving peaks and ramps, which only a running agent publishes.
    book_powers : BookPowers
        What books runs of power readings and nothing else.
    split : SplitRule, optional
        How a shared GPU's energy is split; then watts of jobs are learned. By default all jobs draw the same per
        activity, and nothing is learned.
    """

    def __init__(
        self,
        *,
        max_gap_us: int = 5_000_000,
        ledger: Ledger | None = None,
        live: bool = False,
        book_powers: BookPowers = book_runs,
        split: SplitRule | None = None,
    ) -> None:
        self.max_gap_us = max_gap_us
        self.ledger = ledger or Ledger()
        self.gpus: dict[GpuKey, GpuAccount] = {}
        self.live = live
        self.watts = LearnedWatts(split, self.keys_of)
        self.since_us: int | None = None  # start of the first window of these accounts, before any restart
        self.beside: dict[str, BesideBooks] = {}  # by host, of those that have other meters too
        self._hosts: dict[str, HostAccounts] = {}
        self._names = FormerNames()
        self._powers = PowerBooks(self.gpus, self.ledger, book_powers, live=live)

    def add(self, window: Window) -> None:
        """Attribute one window. Windows of one host come in order; hosts may be mixed."""
        slots = ends_of_slots(window) if self.watts.bills else ()
        for part in cut(window, slots):
            self._add(part)

    def _add(self, window: Window) -> None:
        host = self._enter(window.host, window.devices, window.start_us)
        # What was, or still is, said of a job under its former name; what is booked stays.
        found = self._names.learn(window, self.ledger.jobs.values())
        host.waiting = host.waiting.renamed(found)
        if host.watts is not None and found:
            host.watts.renamed(found)
        host.holding.renamed(found, self._names.now)
        window = self._names.applied(window)
        for event in window.events:
            if event.kind == "restart":
                self._resume(window, host, event)
            else:
                events.note(event, host, self.gpus)
        new = PendingUsage.of(window, host.activity_share.busy_us(window))
        waiting, new = host.holding.follow(window, new, host.waiting, host.limits.max_gap_us)
        enter_time(self.ledger, new, host.keys)
        self.ledger.work.take(window.work, self.ledger.jobs, found)
        rows = waiting.followed_by(new)
        if host.watts is not None:
            host.watts.see(window, new)
            rows = host.watts.cut(rows) if host.watts.rule.learned and host.watts.is_due(window) else rows
        before = silence.untold(host.state)
        readings = self._without_modules(window.readings.with_room(len(host.keys)), host, rows)
        if (
            len(rows.gpu)
            or int(readings.counter_mj.max(initial=-1)) >= 0
            or not self._powers.book(
                host,
                [Columns(readings.offsets.reshape(1, -1), readings.time_us, _ZERO, _ZERO, readings.power_mw, _ZERO)],
            )
        ):
            for part in in_parts(readings, host.limits):
                intervals = merge(
                    part.offsets, part.time_us, part.power_mw, part.counter_mj, host.state,
                    host.limits.ceiling_mw, host.limits.limit_mw, host.limits.max_gap_us,
                    instant_mw=part.instant_mw if len(part.instant_mw) else None,
                )  # fmt: skip
                self._book(host, intervals, rows)
            if not self.live:  # a running agent publishes no quantiles
                keep_powers(window.readings, self._here(host), host.limits)
        if self.live:
            follow_moving(window.readings, self._here(host), host.limits)
        host.wait(rows, window.end_us)
        if host.watts is not None and host.watts.is_due(window):
            host.watts.close(host.known_us(window.end_us), window.end_us)
        if self.ledger.work:
            self.ledger.work.settle(self.ledger.jobs, self.known_us(window.end_us), window.end_us)
        self._follow_silence(host, before, window.end_us)
        if window.beside.meters or window.host in self.beside:
            beside = self.beside.setdefault(window.host, BesideBooks())
            beside.take(window, (self.gpus[key] for key in host.keys), self.ledger.jobs)
        if any(event.kind == "shutdown" for event in window.events):
            self.finish(window.host)

    def _without_modules(self, readings: Readings, host: HostAccounts, rows: PendingUsage) -> Readings:
        """Return readings without the counters that are a module's, which are counted apart."""
        others = [gpu for gpu, key in enumerate(host.keys) if self.gpus[key].by_power_alone]
        if not others:
            return readings

        def book(gpu: int, mine: slice) -> None:
            account = self.gpus[host.keys[gpu]]
            if account.module is None:
                account.module = Module.from_gpu(account.totals.counter_hnj, host.state[gpu])
                self._book(host, leave_counter(host.state, gpu, host.limits), rows)
            account.module.book(readings.time_us[mine], readings.counter_mj[mine])

        return without(readings, others, book)

    def add_batch(self, batch: WindowBatch) -> None:
        """Book windows that hold power readings and nothing else, all at once if nothing prevents it."""
        self.add_run([batch])

    def add_run(self, batches: Sequence[WindowBatch], whose: Whose | None = None) -> None:
        """Book batches of one host and the same devices, which follow each other, at once as far as that may be.

        Parameters
        ----------
        batches : sequence of WindowBatch
        whose : Whose, optional
            Who held the GPUs meanwhile; by default nobody.
        """
        if whose is not None:
            self._add_held(batches, whose)
            return
        while batches:
            host = self._enter(batches[0].host, batches[0].devices, int(batches[0].start_us[0]))
            before = silence.untold(host.state)
            run, batches = until_one_is_read(batches, before[: len(host.devices), 0])
            if self.live or not host.is_nobodys:
                batches = [*self._one_by_one(host, run), *batches]
                continue
            if not self._powers.book(host, [batch.columns for batch in run]):
                for window in itertools.chain.from_iterable(batch.windows() for batch in run):
                    self.add(window)
                continue
            host.activity_share = ActivityShare()
            for batch in run:
                host.holding.pass_by(batch)
            self._follow_silence(host, before, int(run[-1].end_us[-1]))

    def _add_held(self, batches: Sequence[WindowBatch], whose: Whose) -> None:
        """Book batches in runs as long as may be, and one by one where one window depends on another."""
        host = self._enter(batches[0].host, batches[0].devices, int(batches[0].start_us[0]))
        run, place = WindowRun.of(batches, host.limits, host.state), 0
        renamed = self._names.knows_any or any(owner.formerly is not None for owner in whose.owners)
        alone = (
            self.live or renamed or bool(self.ledger.work) or any(self.gpus[key].by_power_alone for key in host.keys)
        )
        while place < len(run.start_us):
            last = place
            if not alone and host.goes_on_at(int(run.start_us[place])) and not (host.state["power_us"] < 0).any():
                before_mw = int(host.state["power_mw"].max())
                last = run.together(place, int(host.limits.max_gap_us.max()), before_mw)
            if last == place or not self._powers.book_held(host, run.windows(place, last), whose):
                last = place + 1
                for batch in run.windows(place, last):
                    for window in batch.windows():
                        self.add(whose.told(window))
            place = last

    def _one_by_one(self, host: HostAccounts, batches: Sequence[WindowBatch]) -> Sequence[WindowBatch]:
        """Book windows until what follows may be booked at once; returns that."""
        for k, batch in enumerate(batches):
            for w, window in enumerate(batch.windows(), start=1):
                self.add(window)
                if not self.live and host.is_nobodys:
                    return [*parts_of(batch, w), *batches[k + 1 :]]
        return ()

    def finish(self, host: str | None = None) -> None:
        """Nothing follows (of one host, or of all): book what is still open."""
        for name, books in self._hosts.items():
            if host is not None and name != host:
                continue
            nothing = np.empty(0, np.int64)
            intervals = merge(
                np.zeros(len(books.keys) + 1, np.int64), nothing, nothing.astype(np.int32), nothing, books.state,
                books.limits.ceiling_mw, books.limits.limit_mw, books.limits.max_gap_us, closing=True,
            )  # fmt: skip
            self._book(books, intervals, books.waiting)
            self._follow_silence(books, silence.untold(books.state), books.end_us)
            self._give_up_late(books)
            books.wait(books.waiting, int(books.waiting.end_us.max(initial=0)))
            for key in books.keys:
                self.gpus[key].power.settle()
        self.ledger.work.settle(self.ledger.jobs, None)

    def merge(self, other: Accounts) -> None:
        """Add the finished accounts of another part (other hosts, or another day of the same ones)."""
        for key, theirs in other.gpus.items():
            mine = self.gpus.get(key)
            if mine is None:
                self.gpus[key] = theirs
            else:
                mine.merge(theirs)
        for host, beside in other.beside.items():
            self.beside.setdefault(host, BesideBooks()).merge(beside)
        self.ledger.merge(other.ledger)
        self.watts.merge(other.watts)

    def retire(self, now_us: int, keep_us: int) -> list[JobAccount]:
        """Close the accounts of jobs that ended, see `Ledger.retire`; not before all their energy is booked."""
        waiting = {owner.key for host in self._hosts.values() for owner in host.waiting.owners}
        waiting.update(self.ledger.work.owners(), *(host.holding.keys() for host in self._hosts.values()))
        retired = self.ledger.retire(now_us, keep_us, waiting)
        self.watts.retire(retired)
        return retired

    def account(self, device: Device) -> GpuAccount:
        """Return the account of one GPU that was in a window."""
        return self.gpus[_key(device)]

    def ended_hnj(self, device: Device) -> int:
        """Return what jobs used of one GPU whose own series are gone, hnj."""
        return self.ledger.ended_hnj.get(_key(device), 0)

    def known_us(self, now_us: int) -> dict[GpuKey, int]:
        """Return until when (us) the energy of each GPU is booked and split: until now where it was never read."""
        hosts = self._hosts.values()
        return {key: us for host in hosts for key, us in zip(host.keys, host.known_us(now_us).tolist(), strict=True)}

    def state_of(self, host: str) -> list[GpuState]:
        """Return where reconciling the meters of one host's GPUs stands, in the devices' order."""
        books = self._hosts[host]
        return objects(books.state[: len(books.devices)], GpuState)

    def measured(self) -> dict[GpuKey, tuple[int, int]]:
        """Return of each GPU how much of its time is booked, and until when, us; -1 where nothing is."""
        return {
            key: (self.gpus[key].booked_us, until_us)
            for host in self._hosts.values()
            for key, until_us in zip(host.keys, host.state["booked_us"].tolist(), strict=True)
        }

    def books_of(self, host: str) -> list[GpuBooks]:
        """Return one host's accounts, GPU by GPU.

        A GPU that is away keeps them: its joules, and its counter's, must still be there when it comes back.
        """
        return self._hosts[host].books(self.gpus) if host in self._hosts else []

    def keys_of(self, host: str) -> list[GpuKey]:
        """Name the GPUs of `books_of`, in its order."""
        return list(self._hosts[host].keys) if host in self._hosts else []

    def restore(self, host: str, books: Iterable[GpuBooks]) -> dict[GpuKey, str]:
        """Take over one host's accounts from before a restart, as `books_of` returned them.

        Returns
        -------
        dict of GpuKey to str
            Of GPUs whose watts are learned anew: why those that were learned are none.
        """
        mine, found = HostAccounts(watts=self.watts.open(host)), {_key(one.account.device): one for one in books}
        anew = {key: mine.restore(key, one) for key, one in found.items()}
        self._hosts[host] = mine
        self.gpus.update((key, one.account) for key, one in found.items())
        return {key: why for key, why in anew.items() if why}

    def _enter(self, name: str, devices: tuple[Device, ...], start_us: int) -> HostAccounts:
        """Find the host's accounts, with a place for each device in the window's order."""
        if self.since_us is None:
            self.since_us = start_us
        if name not in self._hosts:
            self._hosts[name] = HostAccounts(watts=self.watts.open(name))
        host = self._hosts[name]
        if host.devices is devices and len(host.limits.ceiling_mw) == len(host.keys):
            return host
        here, before = [_key(device) for device in devices], host.keys[: len(host.devices)]
        host.arrange(here)
        for i, key in enumerate(host.keys[len(here) :], len(here)):
            events.leave(self.gpus[key], host.state[i : i + 1], start_us)
        for key, device in zip(here, devices, strict=True):
            account = self.gpus.get(key)
            if account is None:
                self.gpus[key] = GpuAccount(device)
            else:
                account.device = device
            self.gpus[key].likely_limit_mw = likely_limit_mw(device, devices)
            if key not in before:
                silence.begin(self.gpus[key], start_us)
        host.devices = devices
        host.limits = DeviceLimits.of(tuple(self.gpus[key].device for key in host.keys), self.max_gap_us)
        if host.watts is not None:
            host.watts.meet([self.gpus[key].device for key in host.keys])
        return host

    def _book(self, host: HostAccounts, intervals: EnergyIntervals, rows: PendingUsage) -> None:
        """Split the intervals among the rows and enter the result; holes wait for what comes after them."""
        for part in (host.late.hold_back(intervals, host.keys, rows), intervals):
            if part is not None:
                enter_split(part, rows, host, self.gpus, self.ledger)

    def _give_up_late(self, host: HostAccounts) -> None:
        """Split the holes that wait, by what is known of them."""
        if (late := host.late.give_up(host.keys)) is not None:
            enter_split(late, host.waiting, host, self.gpus, self.ledger)

    def _follow_silence(self, host: HostAccounts, before: NDArray[np.bool_], end_us: int) -> None:
        """Take note of who is not read at the end of a window."""
        host.follow_silence(self._here(host), before, end_us)

    def _here(self, host: HostAccounts) -> list[GpuAccount]:
        return [self.gpus[key] for key in host.keys[: len(host.devices)]]

    def _resume(self, window: Window, host: HostAccounts, event: Event) -> None:
        """Go on after the agent was down."""
        self._give_up_late(host)
        self.ledger.resume(window.start_us)
        beside, same_boot = self.beside.get(window.host), event.detail != "new-boot"
        events.resume(host, self.gpus, beside, window.start_us, same_boot=same_boot)
        if beside is not None:
            beside.share_anew(window, [self.gpus[key] for key in host.keys], self.ledger.jobs)


_ZERO = np.zeros(1, np.int64)


def _key(device: Device) -> GpuKey:
    return GpuKey(device.host, device.uuid or str(device.index))
