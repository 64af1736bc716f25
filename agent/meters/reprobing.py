"""GPUs that are asked again: those that are sick, alone and off the path of the others; the others when a mode changes.

What was probed can change while the agent runs: MIG, accounting and persistence are switched, a driver grows up after
its start, a slow GPU recovers. And a GPU whose calls take longer than a second must not be asked in the way of others.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.meters.errors import Fault, MeterError
from wattshed.agent.meters.schedule import SECOND_US
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wattshed.agent.clock import Clock
    from wattshed.agent.meters.asking import Asking
    from wattshed.agent.meters.schedule import GpuSchedule, Meter

LOG = logging.getLogger(__name__)

FIRST_US, LONGEST_US = 60 * SECOND_US, 600 * SECOND_US
MODES_US = 30 * SECOND_US
SOON_US = 5 * SECOND_US  # after a hint: no more often than this
REFUSED_US = 300 * SECOND_US
HOPELESS_US = 60 * SECOND_US  # a question under way for so long keeps nobody else waiting


@dataclass(slots=True)
class Ailment:
    """When a sick GPU is asked next, and how long after the last time that is."""

    due_us: int
    wait_us: int
    cured_us: int = MISSING


class Reprobing:
    """Asks GPUs again, each in its time.

    Parameters
    ----------
    meter : Meter
    clock : Clock
    schedules : list of GpuSchedule
        Shared with the poller.
    guard : callable
        Does one GPU's work, and deals with its failures.
    failed : callable
        Deals with a question that failed.
    cured : callable
        Takes GPUs back to work: it, and all that came.
    """

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        meter: Meter,
        clock: Clock,
        schedules: list[GpuSchedule],
        guard: Callable[[int, Callable[[], None]], None],
        failed: Callable[[int, MeterError], None],
        cured: Callable[[int], None],
    ) -> None:
        self._meter, self._clock, self._schedules = meter, clock, schedules
        self._guard, self._failed, self._cured = guard, failed, cured
        self._ailments: dict[int, Ailment] = {}  # by number in the session
        self._modes_us: dict[int, int] = {}
        self._hinted: set[int] = set()
        self._refused_us: dict[int, int] = {}
        self._doubted: set[int] = set()

    def fell(self, gpu: int) -> None:
        """Note that a GPU is sick: it is asked again after a while, which is longer the sooner it fell sick again."""
        self._again(self._meter.gpu_handles[gpu].session_index)

    def _again(self, index: int) -> None:
        now_us = self._clock.now_us()
        one = self._ailments.get(index)
        if one is not None and (one.cured_us == MISSING or now_us - one.cured_us < LONGEST_US):
            one.wait_us, one.cured_us = min(LONGEST_US, max(FIRST_US, one.wait_us * 2)), MISSING
        else:
            # A busy host makes a call late, too. Where it has a thread, a second opinion costs the others nothing.
            one = self._ailments[index] = Ailment(0, FIRST_US if self._clock.virtual else SECOND_US)
        one.due_us = now_us + one.wait_us

    def held_up(self) -> None:
        """Note that a question to a sick GPU held up another one: the driver's lock is in it. Ask it rarely."""
        for asking in self._meter.asked:
            one = self._ailments.setdefault(asking.index, Ailment(0, LONGEST_US))
            one.wait_us = LONGEST_US

    def hurry(self) -> None:
        """Ask all that are sick at once, when somebody says that they may be cured."""
        for one in self._ailments.values():
            one.due_us = self._clock.now_us()

    def start_over(self) -> None:
        """Start over with a new session, whose numbers are its own."""
        now_us, count = self._clock.now_us(), len(self._meter.gpu_handles)
        old, self._ailments = self._ailments, {}
        self._doubted.clear()
        self._hinted.clear()
        asked = {asking.index for asking in self._meter.asked}
        for gpu, (gpu_handle, schedule) in enumerate(zip(self._meter.gpu_handles, self._schedules, strict=True)):
            self._modes_us[gpu] = now_us + MODES_US * (gpu + 1) // count  # spread: no tick shall wait for all of them
            self._refused_us[gpu] = now_us + REFUSED_US * (gpu + 1) // count
            schedule.sick = bool(gpu_handle.sick)
            if gpu_handle.sick and self._meter.present[gpu]:
                index = gpu_handle.session_index
                if index in old:
                    self._ailments[index] = old[index]
                elif index not in asked:  # how that ends shows more
                    self._again(index)

    def doubt(self, gpu: int) -> None:
        """Probe a GPU soon: the driver says that something changed; -1: all of them."""
        self._doubted |= set(range(len(self._schedules))) if gpu == MISSING else {gpu}

    def hint(self, gpu: int) -> None:
        """Ask for its modes soon: something that worked is refused."""
        self._hinted.add(gpu)

    def turn(self, may_read: Callable[[int], bool]) -> None:
        """Once a window: whatever is due, of few GPUs at a time."""
        now_us = self._clock.now_us()
        ended = self._meter.answered()
        for asking in ended:
            self._told(asking, [*ended, *self._meter.asked])
        if not any(asking.age_us < HOPELESS_US for asking in self._meter.asked):
            self._ask_next(now_us)
        refused = next((g for g, due_us in self._refused_us.items() if now_us >= due_us and may_read(g)), MISSING)
        for gpu in range(len(self._schedules)):
            if may_read(gpu):
                self._look_at(gpu, now_us, refused_too=gpu == refused)

    def _ask_next(self, now_us: int) -> None:
        """One after the other: one that is slow because another one is would look sick, too."""
        due = [(one.due_us, index) for index, one in self._ailments.items() if one.cured_us == MISSING]
        away = {asking.index for asking in self._meter.asked}
        for due_us, index in sorted(due):
            if due_us <= now_us and index not in away:
                self._meter.ask_again(index)
                break

    def _told(self, asking: Asking, others: list[Asking]) -> None:
        """Deal with the end of a question."""
        place = self._meter.place(asking.index)
        if isinstance(asking.error, MeterError) and asking.error.fault in {Fault.LOST, Fault.DRIVER, Fault.RESTART}:
            self._ailments.pop(asking.index, None)
            self._failed(place, asking.error)
        elif asking.gpu_handle is None or asking.gpu_handle.sick:
            LOG.info(
                "GPU %d still unusable: %s", asking.index, asking.gpu_handle.sick if asking.gpu_handle else asking.error
            )
            self._again(asking.index)
            # One that was asked while another one hung may have waited for that one only.
            if any(o.begun_us < asking.begun_us and not 0 <= o.ended_us <= asking.begun_us for o in others):
                one = self._ailments[asking.index]
                one.due_us, one.wait_us = self._clock.now_us() + SECOND_US, max(SECOND_US, one.wait_us // 2)
        else:
            if asking.index in self._ailments:
                self._ailments[asking.index].cured_us = self._clock.now_us()
            self._cured(place)
            # It may be here for the first time: when its session began, it did not answer.
            self._modes_us.setdefault(place, self._clock.now_us() + MODES_US)
            self._refused_us.setdefault(place, self._clock.now_us() + REFUSED_US)

    def _look_at(self, gpu: int, now_us: int, *, refused_too: bool) -> None:
        gpu_handle = self._meter.gpu_handles[gpu]

        def modes() -> None:
            if gpu_handle.modes_changed():
                self._doubted.add(gpu)

        def ask() -> None:
            everything = gpu in self._doubted
            changed = gpu_handle.ask_again(refused_only=not everything)
            self._doubted.discard(gpu)
            if changed:
                LOG.info("GPU %d capabilities changed: %s", gpu, _difference(before, gpu_handle.device.capabilities))
                self._meter.watches[gpu].follow(gpu_handle)
                schedule = self._schedules[gpu]
                schedule.utils, schedule.busy = [], {}
                schedule.list_due_us = schedule.gauges_due_us = schedule.usage_due_us = 0

        before = gpu_handle.device.capabilities
        # A hint may come with every reading: the questions are not more frequent for that.
        if now_us >= self._modes_us[gpu] - (MODES_US - SOON_US if gpu in self._hinted else 0):
            self._modes_us[gpu] = now_us + MODES_US
            self._hinted.discard(gpu)
            self._guard(gpu, modes)
        if gpu in self._doubted or refused_too:
            if refused_too:
                self._refused_us[gpu] = now_us + REFUSED_US
            self._guard(gpu, ask)


def _difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Say in a few words what changed."""
    return "; ".join(f"{n}: {after[n] or 'yes'}" for n in after if after[n] != before.get(n)) or "its limits"
