"""Time as the meters see it: one ascending line of microseconds, real or simulated.

The line starts at the wall clock's reading and is advanced by the monotonic clock alone, so a stepped wall clock moves
no joule. That clock goes on while a process is stopped, and stands still while the machine is suspended: no job runs
then, and no energy is made up for it (docs/decisions/0631). A virtual clock never sleeps: waiting until a moment makes
it that moment.
"""

from __future__ import annotations

import heapq
import time
from itertools import count
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable


SHORT_US = 100_000


class Clock(Protocol):
    """Time, as the sampler, the meter and the simulated driver see it."""

    @property
    def virtual(self) -> bool:
        """Whether waiting costs no real time (then nothing runs in threads of its own)."""

    @property
    def offset_us(self) -> int:
        """How far the time line is ahead of the machine's CLOCK_MONOTONIC."""

    def now_us(self) -> int:
        """Microseconds on the agent's time line."""

    def elapsed_ns(self) -> int:
        """Nanoseconds from an arbitrary origin, for timing calls."""

    def sleep_until(self, time_us: int, stop: threading.Event | None = None) -> None:
        """Return at ``time_us``, or earlier once ``stop`` is set."""


class RealClock:
    """Wall time at construction, advanced by CLOCK_MONOTONIC."""

    virtual = False

    def __init__(self) -> None:
        self.offset_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000

    def now_us(self) -> int:
        """Microseconds on the agent's time line."""
        return self.offset_us + time.monotonic_ns() // 1000

    def elapsed_ns(self) -> int:
        """Nanoseconds of the monotonic clock."""
        return time.perf_counter_ns()

    def sleep_until(self, time_us: int, stop: threading.Event | None = None) -> None:
        """Sleep until ``time_us`` (absolute, so lateness never adds up), or until ``stop`` is set."""
        while (left_us := time_us - self.now_us()) > 0:
            if stop is None or left_us <= SHORT_US:
                time.sleep(left_us / 1e6)  # half the price of waiting for an event, and soon over
            elif stop.wait(left_us / 1e6):
                return


class VirtualClock:
    """A clock that stands still until someone waits.

    Parameters
    ----------
    start_us : int, us
        The moment at which it stands first; the default is a round one in 2026.
    """

    virtual = True
    offset_us = 0  # what a simulated node calls monotonic is this line

    def __init__(self, start_us: int = 1_767_225_600_000_000) -> None:
        self._now_us = start_us
        self._alarms: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    def call_at(self, time_us: int, what: Callable[[], None]) -> None:
        """Have ``what`` called when the clock gets there, whoever waits for what at the time."""
        heapq.heappush(self._alarms, (time_us, next(self._order), what))

    def now_us(self) -> int:
        """Return the moment at which the clock stands."""
        return self._now_us

    def elapsed_ns(self) -> int:
        """Return the same moment in nanoseconds: only simulated latency takes time."""
        return self._now_us * 1000

    def sleep_until(self, time_us: int, stop: threading.Event | None = None) -> None:  # noqa: ARG002 - never blocks, so there is nothing to stop
        """Move to ``time_us`` at once, past every alarm on the way; never back."""
        while self._alarms and self._alarms[0][0] <= time_us:
            at_us, _, what = heapq.heappop(self._alarms)
            self._now_us = max(self._now_us, at_us)
            what()
        self._now_us = max(self._now_us, time_us)
