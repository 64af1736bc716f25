"""What a failure leads to: back-off, a GPU that is down, a new driver session, or a new process.

A failure affects one GPU alone, as far as possible; only a driver that went away concerns all of them.
"""

from __future__ import annotations

import logging
import math
import queue
from collections import defaultdict
from typing import TYPE_CHECKING

from wattshed.agent.errors import Faults
from wattshed.agent.meters.errors import Fault, MeterError, RestartNeeded, TooSlow
from wattshed.agent.meters.events import Deaf, Xid
from wattshed.agent.meters.handle import SLOW_US
from wattshed.agent.meters.letting_go import LettingGo
from wattshed.agent.meters.release import ReleaseDesk
from wattshed.agent.meters.reprobing import HOPELESS_US, Reprobing
from wattshed.agent.meters.schedule import SECOND_US, GpuSchedule, Meter, Rates
from wattshed.agent.meters.system_events import Bound
from wattshed.agent.window import MISSING, Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.clock import Clock
    from wattshed.agent.meters.events import News

LOG = logging.getLogger(__name__)

REINIT_US = 60 * SECOND_US
RETRY_DRIVER_US = 10 * SECOND_US  # once it is away for longer than that
SOONER_US = tuple(s * SECOND_US for s in (1, 2, 4, 8))  # after it went: most reloads take seconds
LOOK_US = 30 * SECOND_US  # for GPUs that came: hot-plugged, bound to the driver again, returned from a virtual machine
LONGEST_BACKOFF_US = 60 * SECOND_US
CUT_OFF_US = 10 * SECOND_US
DEAF_US = 10 * SECOND_US  # between two tries to hear again
XID_FALLEN_OFF_THE_BUS = 79
XID_RECOVERY_ACTION = 154  # what is to be done about the GPU changed
CUT_OFF_CODES = {4, 17, 999}  # what a container gets whose device cgroup was rewritten under it


class Recovery:
    """Keeps the GPUs metered.

    Parameters
    ----------
    meter : Meter
    clock : Clock
    rates : Rates
    schedules : list of GpuSchedule
        Shared with the poller.
    grow : callable
        Puts GPUs that a new session found on the schedule.
    behind : callable
        Whether this process is busy, and a call that takes long says nothing about the driver.
    desk : ReleaseDesk, optional
        Where others ask for GPUs to be let go of.

    Attributes
    ----------
    note : callable
        Notes a failure of a driver call, or of another kind.
    faults : Counter of str
        How many there were of each.
    """

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        meter: Meter,
        clock: Clock,
        rates: Rates,
        schedules: list[GpuSchedule],
        grow: Callable[[], None],
        behind: Callable[[], bool],
        desk: ReleaseDesk | None = None,
    ) -> None:
        self._meter, self._clock, self._rates, self._schedules, self._grow = meter, clock, rates, schedules, grow
        self._behind = behind
        self._reprobing = Reprobing(meter, clock, schedules, self.guard, self._answered_not, self._cured)
        desk = desk or ReleaseDesk(clock.now_us)
        self._letting_go = LettingGo(meter, clock, schedules, desk, self._release, self._renew, self._missing)
        self._driver_went_us = MISSING
        self._faults = Faults(lambda: clock.now_us() / 1e6)
        self.note, self.faults = self._faults.note, self._faults.counts
        self._events: list[Event] = []
        self._xids: defaultdict[int, set[tuple[int, str]]] = defaultdict(set)  # heard in this window, by number
        self._driver_down, self._hear_due_us = False, 0
        self._reinit_due_us = clock.now_us() + REINIT_US if meter.unseen else MISSING
        self._look_due_us = clock.now_us() + LOOK_US
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()

    def look(self) -> None:
        """Start a new driver session at the end of this window; may be called from a signal handler."""
        self._asked.put(None)

    def obey(self) -> None:
        """Let go of what others ask for, and take back what they do not need any more; raises `RestartNeeded`."""
        self._letting_go.turn()

    def may_read(self, gpu: int) -> bool:
        """Whether a GPU is up, and not left alone for a while after a failure."""
        schedule = self._schedules[gpu]
        return schedule.up and not self._driver_down and self._clock.now_us() >= schedule.quiet_until_us

    def take_events(self) -> tuple[Event, ...]:
        """Return what happened since the last call, in order of time."""
        events, self._events = tuple(sorted(self._events, key=lambda event: event.time_us)), []
        return events

    def turn(self) -> None:
        """Once a window: whatever is due."""
        now_us = self._clock.now_us()
        for number, gpus in self._xids.items():
            LOG.warning("XID %d: GPU %s", number, ", ".join(_of(gpu, instance) for gpu, instance in sorted(gpus)))
        self._xids.clear()
        self._letting_go.watch()
        if self._letting_go.whole:
            return
        if not self._driver_down:
            self._reprobing.turn(self.may_read)
        asked = not self._asked.empty()
        while not self._asked.empty():
            self._asked.get()
        came = False
        if now_us >= self._look_due_us:
            self._look_due_us = now_us + LOOK_US
            if self._meter.unloaded():
                self._lose_driver("the driver was unloaded")
            came = not self._driver_down and self._meter.arrived()
        if asked or came or (self._reinit_due_us != MISSING and now_us >= self._reinit_due_us):
            self._reinit()
            if asked:
                self._reprobing.hurry()
        self._cut_off()

    def begin(self) -> None:
        """Review the GPUs that a new session found: some may be sick already."""
        self._reprobing.start_over()
        for gpu, schedule in enumerate(self._schedules):
            if schedule.sick and schedule.up:
                self._fall(gpu, schedule, self._meter.gpu_handles[gpu].sick, self._clock.now_us())

    def hint(self, gpu: int) -> None:
        """Look soon whether a mode of a GPU was switched: something that worked is refused."""
        self._reprobing.hint(gpu)

    def hear(self, news: News) -> None:
        """Take in what the driver reports."""
        if isinstance(news, Xid):
            self._xid(news)
        elif isinstance(news, Bound):
            if news.unbinding:
                self._letting_go.unbound(news.slots)
            else:
                self.look()
        elif isinstance(news, Deaf):
            self._deaf(news.reason)
        else:
            self._reprobing.doubt(news.gpu)

    def _deaf(self, reason: str) -> None:
        """Listen to the GPUs that are up: one that is lost ends every wait at once, and the others are not heard."""
        self.note("nvmlEventSetWait_v2", f"no XID error is heard: {reason}")
        now_us = self._clock.now_us()
        if now_us >= self._hear_due_us and not self._driver_down:
            self._hear_due_us = now_us + DEAF_US
            self._meter.listen([gpu for gpu, schedule in enumerate(self._schedules) if schedule.up])

    def _xid(self, xid: Xid) -> None:
        """Record an XID error; some mean that the GPU is gone."""
        self._events.append(Event(self._clock.now_us(), "xid", xid.gpu, str(xid.number)))
        self._xids[xid.number].add((xid.gpu, xid.instance))
        if 0 <= xid.gpu < len(self._schedules):
            now_us, event = self._clock.now_us(), {"xid": float(xid.number)}
            self._schedules[xid.gpu].gauges.renew("xid", event, now_us, math.inf)  # an event: it stays the last one
            if xid.number == XID_FALLEN_OFF_THE_BUS:
                self._schedules[xid.gpu].failing_code = xid.number
                self._lose(xid.gpu, "XID 79: fallen off the bus")
                self._letting_go.free(xid.gpu, REINIT_US, "XID 79: fallen off the bus")
            elif xid.number == XID_RECOVERY_ACTION:
                self._reprobing.doubt(xid.gpu)

    def worked(self, gpu: int) -> None:
        """Note that a GPU was read."""
        schedule = self._schedules[gpu]
        if schedule.failing_since_us != MISSING:
            LOG.info("GPU %d responds again", gpu)
            schedule.failing_since_us, schedule.backoff_us = MISSING, 0

    def all_stale(self, why: str) -> None:
        """Nothing can be read until a call returns."""
        for gpu, schedule in enumerate(self._schedules):
            if schedule.up:
                schedule.stale = True
                self._down(gpu, schedule, f"stale: {why}")

    def guard(self, gpu: int, work: Callable[[], None]) -> None:
        """Do one GPU's work; a failure affects that GPU alone, as far as possible."""
        schedule, begun_us = self._schedules[gpu], self._clock.now_us()
        others = self._meter.busy
        try:
            with self._meter.costs.patience(hanging_us=SLOW_US):
                work()
        except MeterError as error:
            self._failed(gpu, schedule, error)
        except TooSlow as slow:
            if others:
                self.note("held_up", f"GPU {gpu}: {slow} while another GPU was being read")
                self._reprobing.held_up()
            elif not self._behind():
                self._meter.gpu_handles[gpu].sick = f"sick: {slow}"
                self._fall(gpu, schedule, f"sick: {slow}", begun_us)
                self._reprobing.fell(gpu)
        took_us = self._clock.now_us() - begun_us
        if took_us >= self._rates.restart_us:
            raise RestartNeeded(f"a driver call took {took_us / 1e6:.0f} s")
        if took_us >= self._rates.stale_us:
            self.note("stale_call", f"GPU {gpu}: a driver call took {took_us / 1e6:.1f} s")
            if self._clock.virtual and schedule.up:
                self._events.append(
                    Event(begun_us + self._rates.stale_us, "lost", gpu, "stale: a call does not return")
                )
                self._events.append(Event(self._clock.now_us(), "back", gpu))
        for other, waiting in enumerate(self._schedules):
            if waiting.stale and not self._driver_down:
                waiting.stale = False
                self._up(other, waiting)

    def _failed(self, gpu: int, schedule: GpuSchedule, error: MeterError) -> None:
        now_us = self._clock.now_us()
        if error.fault is Fault.RESTART:
            raise RestartNeeded(f"{error}: the driver was replaced while in use")
        if error.fault is Fault.NOTHING:
            return
        self.note(error.call, f"GPU {gpu}: {error.reason}")
        if schedule.failing_since_us == MISSING:
            schedule.failing_since_us = now_us
        schedule.failing_code = error.code
        if error.fault is Fault.DRIVER:
            self._lose_driver(str(error))
        elif error.fault is Fault.LOST:
            self._lose(gpu, str(error))
        else:
            schedule.backoff_us = min(LONGEST_BACKOFF_US, max(SECOND_US, schedule.backoff_us * 2))
            schedule.quiet_until_us = now_us + schedule.backoff_us

    def _release(self, gpu: int, why: str) -> None:
        """Take a GPU off the schedule that somebody else needs."""
        self._take_off(gpu, self._schedules[gpu])
        self._events.append(Event(self._clock.now_us(), "released", gpu, why))

    def _missing(self, gpu: int) -> None:
        """Say that a GPU did not come back when it was to be read again."""
        self._events.append(Event(self._clock.now_us(), "lost", gpu, "it does not answer after a release"))

    def _renew(self, closed: bool) -> None:
        """Start a session, unless the driver is looked for anyway."""
        if not self._driver_down:
            self._reinit(closed=closed)

    def _take_off(self, gpu: int, schedule: GpuSchedule) -> None:
        schedule.up = False
        schedule.gauges.clear()
        schedule.utils, schedule.last_mw = [], MISSING
        self._meter.watches[gpu].listed = {}

    def _down(self, gpu: int, schedule: GpuSchedule, why: str, since_us: int = MISSING) -> None:
        self._take_off(gpu, schedule)
        self._events.append(Event(self._clock.now_us() if since_us == MISSING else since_us, "lost", gpu, why))
        LOG.error("GPU %d is down: %s", gpu, why)

    def _up(self, gpu: int, schedule: GpuSchedule) -> None:
        schedule.up, schedule.failing_since_us, schedule.failing_code = True, MISSING, 0
        schedule.backoff_us = schedule.quiet_until_us = 0
        schedule.full_due_us = schedule.list_due_us = schedule.gauges_due_us = 0
        self._events.append(Event(self._clock.now_us(), "back", gpu))
        LOG.info("GPU %d is back", gpu)

    def _fall(self, gpu: int, schedule: GpuSchedule, why: str, since_us: int) -> None:
        """Leave a GPU alone whose calls hold up the others."""
        schedule.sick = True
        self.faults["slow_call"] += 1
        if schedule.stale:
            schedule.stale = False  # known to be down already, and it stays so
            self._events.append(Event(self._clock.now_us(), "lost", gpu, why))
            LOG.error("GPU %d stays down: %s", gpu, why)
        else:
            self._down(gpu, schedule, why, min(self._clock.now_us(), since_us + self._rates.stale_us))

    def _cured(self, gpu: int) -> None:
        """Take a GPU back to work that was asked alone and answers as it should."""
        self._grow()
        schedule = self._schedules[gpu]
        schedule.sick = False
        if not schedule.up:
            self._up(gpu, schedule)

    def _answered_not(self, gpu: int, error: MeterError) -> None:
        """Deal with what a GPU that was asked alone says about itself, or about the driver."""
        if gpu != MISSING:
            self._schedules[gpu].sick = False
            self._failed(gpu, self._schedules[gpu], error)

    def _lose(self, gpu: int, why: str) -> None:
        if self._schedules[gpu].up:
            self._down(gpu, self._schedules[gpu], why)
        if self._reinit_due_us == MISSING:
            self._reinit_due_us = self._clock.now_us() + REINIT_US

    def _lose_driver(self, why: str) -> None:
        if self._driver_down:
            return
        self._driver_down = True
        for gpu, schedule in enumerate(self._schedules):
            if schedule.up:
                self._down(gpu, schedule, why)
        if not self._meter.busy:
            self._meter.close()
        self._driver_away()

    def _driver_away(self) -> None:
        """Look again after 1, 2, 4 and 8 s, and then every 10 s."""
        now_us = self._clock.now_us()
        if self._driver_went_us == MISSING:
            self._driver_went_us = now_us
        away_us = now_us - self._driver_went_us
        self._reinit_due_us = next(
            (self._driver_went_us + us for us in SOONER_US if us > away_us), now_us + RETRY_DRIVER_US
        )

    def _reinit(self, *, closed: bool = False) -> None:
        """Start a new driver session, in the place of the one that is open, and take every GPU that answers to work."""
        reloaded = self._driver_down
        if any(asking.age_us < HOPELESS_US for asking in self._meter.asked if not asking.over):
            self._reinit_due_us = self._clock.now_us() + SECOND_US  # no session ends under a call
            return
        try:
            if reloaded or closed:
                self._meter.open()
            else:
                self._meter.reopen([gpu for gpu, schedule in enumerate(self._schedules) if schedule.up])
        except MeterError as error:
            if error.fault is Fault.RESTART or error.code in CUT_OFF_CODES:
                raise RestartNeeded(f"{error}: this process lost access to the driver or its devices") from None
            self.note(error.call, f"the driver does not answer: {error.reason}")
            self._driver_down = True
            for gpu, schedule in enumerate(self._schedules):
                if schedule.up:
                    self._down(gpu, schedule, str(error))
            self._driver_away()
            return
        self._driver_down, self._driver_went_us = False, MISSING
        self._grow()
        self.begin()
        for gpu, schedule in enumerate(self._schedules):
            if reloaded:
                self._events.append(Event(self._clock.now_us(), "driver-reload", gpu))
            if self._meter.present[gpu] and not schedule.up and not schedule.sick:
                self._up(gpu, schedule)
            elif not self._meter.present[gpu] and schedule.up:
                self._down(gpu, schedule, "it does not answer in a new driver session")
        lost = self._meter.unseen or not all(one.up or one.sick or one.released for one in self._schedules)
        self._reinit_due_us = self._clock.now_us() + REINIT_US if lost else MISSING

    def _cut_off(self) -> None:
        """All GPUs failing alike for ten seconds: ask for a new session, which shows whether we were cut off."""
        now_us = self._clock.now_us()
        if self._schedules and all(
            schedule.up
            and schedule.failing_code in CUT_OFF_CODES
            and schedule.failing_since_us != MISSING
            and now_us - schedule.failing_since_us >= CUT_OFF_US
            for schedule in self._schedules
        ):
            self._reinit()


def _of(gpu: int, instance: str) -> str:
    """Name the GPU that an XID error is about."""
    return f"{gpu} (MIG instance {instance})" if instance else str(gpu) if gpu >= 0 else "unknown"
