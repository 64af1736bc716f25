"""The live path: windows from the sampler to the owners, the recording, the accounts, the disk and the scrapers.

Only starting up fails fast. After that a part that fails is a counter, one line in the log, and the loop goes
on: what a window could not be recorded, named or saved for is stated, and the joules are booked all the same.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.errors import counted
from wattshed.agent.printing.figures import age
from wattshed.agent.window import NO_CPU_TIMES, Event, HostReadings, Readings, Usage, Window
from wattshed.agent.window.host_meters import joined
from wattshed.exporters.snapshot import Tenancy, WorkStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.calibration import Calibrator
    from wattshed.agent.accounts.publishing import Publisher
    from wattshed.agent.accounts.state import Restored, StateFile
    from wattshed.agent.daemon.board import Board
    from wattshed.agent.daemon.history_feed import HistoryFeed
    from wattshed.agent.daemon.loop_parts import (
        Beside,
        Callers,
        CpuTimeReader,
        LoopLimits,
        Resolver,
        WindowSink,
        WindowStream,
    )
    from wattshed.agent.daemon.systemd import Notifier
    from wattshed.agent.errors import Faults
    from wattshed.agent.window import ProcessObservation
    from wattshed.agent.work_units.inbox import WorkInbox
    from wattshed.exporters.snapshot import FleetFacts, GpuFacts, KernelFacts, NodeFacts

LOG = logging.getLogger(__name__)
NO_WORK = WorkStatus()
SLOW_US = 5_000_000
"""Windows without any reading say nothing about GPUs that did not fail, for so long after the start."""


class Daemon:
    """One running agent. All parts come from outside; nothing here knows where its numbers come from.

    Parameters
    ----------
    windows : WindowStream
    resolver : Resolver or None
        None where windows bring their usage along (a trace).
    accounts, calibrator, publisher
        See their classes.
    board : Board
        Where scrapers read.
    recorder : Recorder or None
    state : StateFile or None
        None keeps no totals over restarts.
    notifier : Notifier
    faults : Faults
    limits : LoopLimits
    extra_faults : callable
        Fault counts of parts that count for themselves, by part.
    notes : tuple of str
        Shown with every snapshot: what a reader must know.
    fleet : callable, optional
        From time (us), the host's GPUs and its node to what this host says about its fleet.
    history : HistoryFeed, optional
        Where parts of jobs are kept for good; not without a state.
    kernels : callable
        In which form what bills runs.
    between : callable
        Called between two windows, with the one that was taken in: then that form may change.
    tenancy : callable
        Who is on the GPUs at the moment.
    callers : Callers, optional
        Who answers processes that ask for their joules.
    work : WorkInbox, optional
        What jobs told of their work, and their servers' pages.
    beside : Beside, optional
        Meters of the host beside the GPUs' own; without them windows keep what they bring along.
    cpu_times : CpuTimeReader, optional
        CPU time of jobs, where their share of the node is estimated.

    Attributes
    ----------
    metered : bool
        Whether any energy was accounted so far.
    other_owner : str
        Which other agent has the state, so that these totals start at zero and are not kept; empty: none.
    """

    def __init__(
        self,
        *,
        windows: WindowStream,
        resolver: Resolver | None,
        accounts: Accounts,
        calibrator: Calibrator,
        publisher: Publisher,
        board: Board,
        recorder: WindowSink | None,
        state: StateFile | None,
        notifier: Notifier,
        faults: Faults,
        limits: LoopLimits,
        extra_faults: Callable[[], Mapping[str, int]] = dict,
        notes: tuple[str, ...] = (),
        fleet: Callable[[int, Sequence[GpuFacts], NodeFacts | None], FleetFacts | None] | None = None,
        history: HistoryFeed | None = None,
        kernels: Callable[[], KernelFacts | None] = lambda: None,
        between: Callable[[Window], None] = lambda _: None,
        tenancy: Callable[[], Tenancy] = Tenancy,
        callers: Callers | None = None,
        work: WorkInbox | None = None,
        beside: Beside | None = None,
        cpu_times: CpuTimeReader | None = None,
    ) -> None:
        self._windows, self._resolver = windows, resolver
        self._accounts, self._calibrator, self._publisher = accounts, calibrator, publisher
        self._board, self._recorder, self._state = board, recorder, state
        self._notifier, self._faults, self._limits = notifier, faults, limits
        self._extra_faults, self._notes, self._fleet = extra_faults, notes, fleet
        self._history, self._kernels, self._between, self._tenancy = history, kernels, between, tenancy
        self._callers, self._work, self._beside, self._cpu_times = callers, work, beside, cpu_times
        self._stopped = False
        self._restored: Restored | None = None
        self._first_us: int | None = None
        self._last: Window | None = None
        self._held: list[tuple[Window, list[ProcessObservation]]] = []  # while their owners are asked for
        self._unmetered: str | None = None  # nothing was told yet
        self.metered = False
        self.other_owner = ""

    @property
    def stopped(self) -> bool:
        """Whether the run was told to end."""
        return self._stopped

    def stop(self) -> None:
        """End the run after the window at hand; may be called from signal handlers, one within another."""
        self._stopped = True  # not a threading.Event: the second handler would wait for the lock of the first

    def restore(self) -> None:
        """Continue from the state on disk, if there is one that can be trusted."""
        if self._state is None:
            return
        mine = True  # of a folder that cannot be written to, saving will tell; there may still be something to read
        with self._faults.noting("state", OSError):
            mine = self._state.claim()
        if not mine:
            self._faults.count("state")
            self.other_owner = self._state.owner() or "of another user"
            self._state = self._history = None
            return
        self._restored = self._state.restore(self._accounts, self._calibrator)
        for problem in self._restored.problems:
            self._faults.note("state", problem)
        if self._history is not None:
            self._history.go_on(self._restored.cuts, self._accounts, self._restored.saved_us)
            self._history.show(self._accounts, self._restored.saved_us)
        if self._work is not None:
            self._work.restore(self._accounts.ledger.work.baselines)
        if self._restored.found:
            LOG.info("resumed totals saved %s ago", age(time.time() - self._restored.saved_us / 1e6))

    @property
    def keeps_totals(self) -> bool:
        """Whether totals are saved: not those of a playback, nor where another agent has the state."""
        return self._state is not None

    def run(self) -> None:
        """Process windows until stopped; then save the state and close the recording."""
        since_us: int | None = None
        try:
            while not self._stopped:
                window = self.step()
                if since_us is None:
                    since_us = None if self._held else window.end_us
                elif self._limits.run_us and window.end_us - since_us >= self._limits.run_us:
                    break
        except SystemExit:
            # Told to end before anything was shown: the next start's counter continues from the state. Nothing is
            # accounted any more, not even the first window's open end: with jit = "numba" it compiles for long.
            self._held.clear()
            self._last = None
            raise
        finally:
            self.close()

    def step(self) -> Window:
        """Wait for one window and process it, unless its owners are still asked for; return it as it was measured."""
        window, observations = self._windows.next()
        if self._beside is not None:
            with self._faults.noting("host"):
                window = replace(window, beside=joined(window.beside, self._beside.collect(window.end_us)))
        if self._cpu_times is not None:
            window = replace(window, cpu=self._cpu_times.collect())
        self._held.append((window, observations))
        if self._awaits_owners(window, observations):
            self._notifier.watchdog()
        else:
            self._account_held()
        self._between(window)
        return window

    def close(self) -> None:
        """Process what waits for its owners, then save the state and close the recording, in order."""
        self._notifier.stopping()
        self._account_held()
        self._book_what_is_open()

    def _awaits_owners(self, window: Window, observations: Sequence[ProcessObservation]) -> bool:
        """Return whether the schedulers' first answers are still to come: until then nothing is shown or attributed."""
        if self._resolver is None:
            return False
        ready = True
        with self._faults.noting("resolver"):  # if it fails, the owners are named by what is known
            ready = self._resolver.ready(observations, window.end_us)
        return not ready

    def _account_held(self) -> None:
        held, self._held = self._held, []
        for window, observations in held:
            self._account(self._named(window, observations))

    def _named(self, window: Window, observations: Sequence[ProcessObservation]) -> Window:
        """Return the window complete: with owners, usage, calibration, and the restart if there was one."""
        if self._resolver is not None:
            with self._faults.noting("resolver"):  # its joules are booked to nobody, not lost
                owners, usage = self._resolver.resolve(observations, window.devices, window.start_us, window.end_us)
                window = replace(window, owners=owners, usage=usage)
                if self._cpu_times is not None:
                    self._cpu_times.ask(self._resolver.cpu_places())
            if self._callers is not None:
                with self._faults.noting("callers"):
                    self._callers.settle(self._resolver, window)
        if self._work is not None:
            with self._faults.noting("work"):
                window = self._work.into(window, self._accounts.ledger.work.baselines)
        if self._first_us is None:
            self._first_us = window.start_us
            if self._restored is not None and self._restored.found:
                boot = "same-boot" if self._restored.same_boot else "new-boot"
                window = replace(window, events=(Event(window.start_us, "restart", detail=boot), *window.events))
        return self._calibrator.apply(window) if self._resolver is not None else window

    def _account(self, window: Window) -> None:
        """Record, attribute, save, publish: in this order, so that nothing is shown that a crash could take back."""
        self._last = window
        if self._recorder is not None:
            with self._faults.noting("recorder"):
                self._recorder.append(window)
        booked = False
        with self._faults.noting("accounts"):  # one bad window must not end the metering
            self._accounts.add(window)
            booked = True
            retired = self._accounts.retire(window.end_us, self._limits.keep_ended_us)
            if self._history is not None:
                self._history.follow(self._accounts, retired, window.end_us)
            if self._callers is not None:
                self._callers.follow(self._accounts, window)
        self._save(window.end_us)
        if booked:
            self._publish(window)
        self._notifier.watchdog()

    def _save(self, now_us: int, *, final: bool = False) -> None:
        if self._state is None:
            return
        cuts = self._history.cuts if self._history is not None else None
        certain = False
        with self._faults.noting("state", OSError):
            certain = self._state.save(self._accounts, self._calibrator, now_us, cuts=cuts, final=final)
        if self._history is not None:
            with self._faults.noting("history"):
                self._history.show(self._accounts, now_us)
            if certain:
                self._history.saved(self._accounts, now_us)

    def _publish(self, window: Window) -> None:
        with self._faults.noting("publisher", then="serving the last good snapshot"):
            snapshot = self._publisher.publish(
                self._accounts,
                window,
                calls=self._windows.calls(),
                late_s=self._windows.late_s,
                duty=self._windows.duty,
                faults=Counter(self._faults.counts) + Counter(self._extra_faults()),
                notes=self._notes,
                fleet=self._fleet,
                history=self._history.facts() if self._history is not None else None,
                kernels=self._kernels(),
                tenancy=self._tenancy(),
                work=self._work.status(self._accounts.ledger.work.rejected) if self._work is not None else NO_WORK,
            )
            self._board.show(snapshot)
            self._tell(snapshot.unmetered, window)

    def _tell(self, unmetered: str, window: Window) -> None:
        """Say once whether GPUs are being metered, and whenever that changes."""
        self.metered |= not unmetered
        first, gpus = self._unmetered is None, len(window.devices)
        if unmetered == self._unmetered or (first and unmetered and self._may_be_slow(window)):
            return
        self._unmetered = unmetered
        if unmetered:
            # A pause is reported by whatever failed; one that was there from the beginning is for somebody to look at.
            LOG.log(logging.WARNING if self.metered else logging.ERROR, "not metering: %s", unmetered)
        else:
            LOG.info("ready: metering %s" if first else "metering %s again", counted(gpus, "GPU"))
        status = f"not metering: {unmetered}" if unmetered else f"metering {counted(gpus, 'GPU')}"
        if first:
            self._notifier.ready(status)
        else:
            self._notifier.status(status)

    def _may_be_slow(self, window: Window) -> bool:
        """Whether nothing was read so far because this process came to nothing: a host that is busy while it starts."""
        began_us = window.start_us if self._first_us is None else self._first_us
        happened = {event.kind for event in window.events} - {"restart"}
        return not (len(window.readings.time_us) or happened) and window.end_us - began_us < SLOW_US

    def _book_what_is_open(self) -> None:
        """Attribute what is still open, in the recording too, so that it replays to the same joules."""
        last = self._last
        if last is None:
            return
        self._account(
            replace(
                last,
                seq=last.seq + 1,
                start_us=last.end_us,
                readings=Readings.empty(len(last.devices)),
                owners=(),
                usage=Usage.empty(),
                busy_us=last.busy_us * 0 - 1,
                events=(Event(last.end_us, "shutdown"),),
                work=(),
                beside=HostReadings.of(last.beside.meters, ()),
                cpu=NO_CPU_TIMES,
            )
        )
        self._save(last.end_us, final=True)
        if self._state is not None:
            self._state.release()
