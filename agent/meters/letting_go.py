"""Letting go of GPUs, or of the driver as a whole, while somebody else needs them, and taking them back.

Whoever has a session with the driver keeps its GPUs from being reset, unbound or switched to MIG, and the driver from
being unloaded. What is asked for at the desk is done in the thread that reads, between two readings, and proved: a
device node that this process still has open afterwards is let go of with the process itself.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from wattshed.agent.meters.errors import RestartNeeded
from wattshed.agent.meters.schedule import SECOND_US
from wattshed.agent.meters.system_events import UNKNOWN_SLOT, slot_of
from wattshed.agent.window import MISSING
from wattshed.agent.window.recovery_actions import action_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wattshed.agent.clock import Clock
    from wattshed.agent.meters.release import Release, ReleaseDesk
    from wattshed.agent.meters.schedule import GpuSchedule, Meter

LOG = logging.getLogger(__name__)

UNBOUND_US = 15 * SECOND_US
"""A GPU that is being unbound from the driver goes as soon as nobody has it open: within a moment."""
FREED_US = 600 * SECOND_US
"""A GPU for which the driver wants a reset is left to whoever resets it, and looked at again after this."""
PENDING_US = 60 * SECOND_US
"""A recovery action that passes by itself within this is waited for."""
HUNG_US = 10 * SECOND_US
ACTION = "recovery_action"


class LettingGo:
    """Does what the desk wants.

    Parameters
    ----------
    meter : Meter
    clock : Clock
    schedules : list of GpuSchedule
        Shared with the poller.
    desk : ReleaseDesk
    released : callable
        Takes a GPU off the schedule, and says so with the reason.
    renew : callable
        Starts a session, after the end of the one that is open unless there is none (True).
    missing : callable
        Says that a GPU did not come back.
    """

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        meter: Meter,
        clock: Clock,
        schedules: list[GpuSchedule],
        desk: ReleaseDesk,
        released: Callable[[int, str], None],
        renew: Callable[[bool], None],
        missing: Callable[[int], None],
    ) -> None:
        self._meter, self._clock, self._schedules, self._desk = meter, clock, schedules, desk
        self._released, self._renew, self._missing = released, renew, missing
        self._now: Release | None = None
        self._delayed_us = MISSING
        self._pending_us: dict[int, int] = {}  # since when the driver wants something done about a GPU

    @property
    def whole(self) -> bool:
        """Whether the driver itself is let go of."""
        return self._now is not None and self._now.whole

    def turn(self) -> None:
        """Do what is wanted now.

        Raises
        ------
        RestartNeeded
            Only the end of this process lets go.
        """
        wanted = self._desk.wanted()
        if wanted is None:
            if self._now is not None:
                self._take_back(self._now)
        elif self._now is None or wanted.gpus != self._now.gpus:
            self._let_go(wanted)
        else:
            self._now = self._desk.obeyed = wanted

    def watch(self) -> None:
        """Once a window: see that what was let go of is not open again, and that no GPU waits for a reset in vain."""
        if self._now is not None and not self._now.whole and (nodes := self._meter.still_open()):
            self._widen(nodes)
        now_us = self._clock.now_us()
        for gpu, schedule in enumerate(self._schedules):
            action = schedule.gauges.value(ACTION, now_us) if schedule.up else None
            if not action:
                self._pending_us.pop(gpu, None)
            elif now_us - self._pending_us.setdefault(gpu, now_us) >= PENDING_US:
                self.free(gpu, FREED_US, f"the driver advises {action_named(action)}")

    def free(self, gpu: int, for_us: int, why: str) -> None:
        """Leave a GPU to whoever shall mend it."""
        self._desk.ask(for_us, frozenset({self._meter.devices[gpu].uuid}), why)

    def unbound(self, slots: Iterable[int]) -> None:
        """Let go of the GPUs that are being unbound, by their slots; of all where one of those is not known."""
        here = {slot_of(device.pci_bus_id): device for device in self._meter.devices}
        found = [here.get(slot) if slot != UNKNOWN_SLOT else None for slot in slots]
        gpus = frozenset(device.uuid for device in found if device is not None) if all(found) else frozenset()
        self._desk.ask(UNBOUND_US, gpus, why="unbound from the driver")

    def _let_go(self, wanted: Release) -> None:
        if self._is_delayed():
            return
        devices, present = self._meter.devices, self._meter.present
        if all(wanted.covers(one.uuid) for one, here in zip(devices, present, strict=True) if here):
            self._desk.widen()
            wanted = self._desk.wanted() or wanted
        before, already = self._now, not wanted.whole and self._meter.let_alone == wanted.gpus
        self._meter.let_alone = wanted.gpus
        for gpu, schedule in enumerate(self._schedules):
            covered = wanted.covers(devices[gpu].uuid)
            if covered and schedule.up:
                self._released(gpu, wanted.why)
            schedule.released = covered
        self._now = wanted
        if wanted.whole:
            if nodes := self._meter.let_go():
                raise RestartNeeded(f"{', '.join(nodes)} still open after the end of the driver session")
        else:
            if not already:
                self._renew(before is not None and before.whole)
            if nodes := self._meter.still_open():
                self._widen(nodes)
                return
            self._desk.note(devices)
        self._desk.obeyed = wanted
        until = time.strftime("%H:%M:%S", time.localtime(wanted.until_us / 1e6))
        names = "the driver" if wanted.whole else ", ".join(f"GPU {d.index}" for d in devices if wanted.covers(d.uuid))
        LOG.warning("let go of %s until %s%s", names, until, f": {wanted.why}" if wanted.why else "")

    def _widen(self, nodes: list[str]) -> None:
        LOG.warning("%s still open: letting go of the driver as a whole", ", ".join(nodes))
        self._desk.widen()
        self.turn()

    def _is_delayed(self) -> bool:
        """Whether a GPU is being asked, in a thread of its own: no session ends under a call, if it ever returns."""
        now_us = self._clock.now_us()
        if not self._meter.busy:
            self._delayed_us = MISSING
            return False
        if self._delayed_us == MISSING:
            self._delayed_us = now_us
        if now_us - self._delayed_us >= HUNG_US:
            raise RestartNeeded("a driver call does not return, and the driver is to be let go of")
        return True

    def _take_back(self, before: Release) -> None:
        if self._is_delayed():
            return
        self._now = self._desk.obeyed = None
        self._meter.let_alone = frozenset()
        back = [gpu for gpu, schedule in enumerate(self._schedules) if schedule.released]
        for gpu in back:
            self._schedules[gpu].released = False
        LOG.info("taking the driver back" if before.whole else "taking GPUs back")
        self._renew(before.whole)
        for gpu in back:
            if not self._schedules[gpu].up:
                self._missing(gpu)
