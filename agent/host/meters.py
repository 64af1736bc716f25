"""All meters of a host: found at the start and again later, read in threads of their own, collected by window."""

from __future__ import annotations

import queue
import time
from collections import Counter
from typing import TYPE_CHECKING

from wattshed.agent.host.lane import PART, Found, SourceLane
from wattshed.agent.window.host_meters import HostReadings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from wattshed.agent.clock import Clock
    from wattshed.agent.errors import Faults
    from wattshed.agent.host.lane import Alarms, Correction
    from wattshed.agent.host.sensors import HostSource, NotRead
    from wattshed.agent.window.host_meters import HostMeter

MOST_METERS = 1024
"""Of a run, whatever came and went."""


class HostMeters:
    """Collects what the meters of a host say.

    Nothing here waits for a meter. A reading that came late, because its call took long, is in the window in which it
    came, at the time when it was read: before that window's start.

    Parameters
    ----------
    sources : iterable of HostSource
        Each is read in a thread of its own; no two have a meter of the same name.
    clock : Clock
        Under a virtual one everything is read when its time comes, in the thread that moves the clock.
    corrections : mapping of str -> Correction
        By name of the meter (``rapl/package-0``).
    faults : Faults
    close : callable
        Lets go of the files that the sources read; called unless one of them hangs.
    """

    def __init__(
        self,
        sources: Iterable[HostSource],
        clock: Clock,
        faults: Faults,
        *,
        corrections: Mapping[str, Correction] | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._faults, self._close = faults, close
        self._found: queue.SimpleQueue[Found] = queue.SimpleQueue()
        known = corrections or {}
        self._lanes = [SourceLane(source, clock, known, self._found.put, faults) for source in sources]
        self._places: dict[str, int] = {}
        self._meters: tuple[HostMeter, ...] = ()
        self._last_us: list[int] = []
        self._early: list[Found] = []

    @property
    def meters(self) -> tuple[HostMeter, ...]:
        """All meters that have answered so far, in the order of `collect`."""
        return self._meters

    @property
    def refusals(self) -> Sequence[NotRead]:
        """What is there and cannot be read."""
        return [refusal for lane in self._lanes for refusal in lane.refusals]

    def start(self, alarms: Alarms | None = None) -> None:
        """Begin to read; ``alarms`` is the clock, if it is a virtual one."""
        for lane in self._lanes:
            lane.start(alarms)

    def settle(self, timeout_s: float) -> list[str]:
        """Wait until every source was asked once; returns those that have not answered in that time."""
        ends_s = time.monotonic() + timeout_s
        return [lane.source.name for lane in self._lanes if not lane.asked(max(0.0, ends_s - time.monotonic()))]

    def collect(self, end_us: int) -> HostReadings:
        """Return what was read until the end of a window.

        Parameters
        ----------
        end_us : int, us
            Windows are collected in order.

        Returns
        -------
        HostReadings
        """
        rows, rejected = [], Counter[tuple[str, str]]()
        found = self._early + [self._found.get_nowait() for _ in range(self._found.qsize())]
        self._early = []
        for lane in self._lanes:
            if lane.hangs(end_us):
                what, lasts_s = lane.reading or lane.source.name, (end_us - lane.since_us) // 1_000_000
                self._faults.note(PART, f"{what} has not answered for {lasts_s} s", "it goes on without it")
                rejected[what, "hangs"] += 1
        for one in found:
            if one.time_us > end_us and not one.reason:
                self._early.append(one)
            elif one.reason:
                rejected[one.meter.name, one.reason] += 1
            elif (place := self._place(one.meter)) < 0:
                rejected[one.meter.name, "too-many"] += 1
            elif one.time_us > self._last_us[place]:
                self._last_us[place] = one.time_us
                rows.append((place, one.time_us, one.value))
            else:
                rejected[one.meter.name, "late"] += 1
        return HostReadings.of(self._meters, rows, tuple((*key, count) for key, count in sorted(rejected.items())))

    def close(self) -> None:
        """Stop reading; a thread that hangs in a read is left behind with its file."""
        if all([lane.stop() for lane in self._lanes]):  # noqa: C419 - all are stopped, also after one that hangs
            self._close()

    def _place(self, meter: HostMeter) -> int:
        """Return the place of a meter; -1 if another one has its name, or there are too many."""
        place = self._places.get(meter.name)
        if place is None:
            if len(self._meters) >= MOST_METERS:
                return -1
            place = self._places[meter.name] = len(self._meters)
            self._meters += (meter,)
            self._last_us.append(-1)
        return place
