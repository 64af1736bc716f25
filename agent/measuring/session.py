"""One meter and one thread for all windows of a process.

A window's edge is a moment that is noted at once and known later: the thread reads, or asks the agent, until it is. A
process that was forked starts anew.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from wattshed.agent.measuring.points import EdgeValue

if TYPE_CHECKING:
    from collections.abc import Callable

GIVE_UP_NS = 60_000_000_000
"""A moment that is not known after so long never will be."""
ESTIMATED_NS = 2_000_000_000
"""Where a moment is not known after so long, all that wait are estimated, and not only the first."""
SHARED_APART_NS = 5_000_000_000
IDLE_NS = 100_000_000


class EnergyMeter(Protocol):
    """Where joules come from."""

    source: str
    scope: str
    continuous: bool  # whether it must be read as long as a window is open

    def read(self) -> None:
        """Read once."""

    def pause_ns(self) -> int:
        """Return how long to wait before the next time, ns."""

    def near_edge(self) -> None:
        """Take note that a window begins or ends now."""

    def value(self, time_ns: int) -> EdgeValue | None:
        """Return what is known of a moment, None as long as it is not; moments are asked for in order."""

    def estimate(self) -> EdgeValue | None:
        """Return what the moment may be that was asked for last, if it was not known yet; None: nobody can say."""

    def trouble(self) -> str:
        """Say why a moment is not known yet."""

    def look_who_shares(self) -> None:
        """Find out whether others use the GPUs too."""

    def close(self) -> None:
        """Give the driver back."""


class Edge:
    """A moment at which a window begins or ends.

    Parameters
    ----------
    time_ns : int, ns
        Of CLOCK_MONOTONIC.

    Attributes
    ----------
    value : EdgeValue or None
        None as long as nothing is known.
    estimate : EdgeValue or None
        What it may be, as long as it is not known.
    """

    def __init__(self, time_ns: int) -> None:
        self.time_ns = time_ns
        self.value: EdgeValue | None = None
        self.estimate: EdgeValue | None = None
        self._known = threading.Event()

    def settle(self, value: EdgeValue) -> None:
        """Say what is known, once and for all."""
        self.value = value
        self._known.set()

    def wait(self, patience_s: float) -> EdgeValue | None:
        """Wait until it is known, but no longer than that; returns what is known."""
        self._known.wait(patience_s)
        return self.value


class MeteringSession:
    """Keeps a meter, and settles edges.

    Parameters
    ----------
    meter : EnergyMeter or None
        None: nothing can be measured here.
    why : str
        Why not.
    now_ns : callable, ns
    threaded : bool
        False where whoever made it calls `step`, in virtual time.
    """

    def __init__(
        self,
        meter: EnergyMeter | None,
        why: str = "",
        now_ns: Callable[[], int] = time.monotonic_ns,
        *,
        threaded: bool = True,
    ) -> None:
        self._meter, self.why, self.now_ns, self._threaded = meter, why, now_ns, threaded
        self._pending: deque[Edge] = deque()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._windows, self._stopped, self._looked_ns = 0, False, 0

    @property
    def source(self) -> str:
        """Where the joules come from; empty: from nowhere."""
        return self._meter.source if self._meter is not None else ""

    @property
    def scope(self) -> str:
        """Whose joules: ``job``, ``process``, or ``gpu`` for whole GPUs."""
        return self._meter.scope if self._meter is not None else ""

    def edge(self, *, opens: bool = False, closes: bool = False) -> Edge:
        """Note this moment as an edge; never waits for the meter.

        Parameters
        ----------
        opens, closes : bool
            Whether a window begins or ends with it: the meter is read as long as any is open.
        """
        with self._condition:
            edge = Edge(self.now_ns())
            self._windows += opens - closes
            if self._meter is None:
                edge.settle(EdgeValue(reason=self.why))
                return edge
            self._pending.append(edge)
            self._meter.near_edge()
            if self._threaded and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wattshed-measure", daemon=True)
                self._thread.start()
            self._condition.notify()
        return edge

    def step(self) -> int:
        """Read once, and settle what is known by then; returns how long to wait before the next time, ns."""
        meter = self._meter
        if meter is None:
            return IDLE_NS
        meter.read()
        now_ns = self.now_ns()
        if now_ns - self._looked_ns > SHARED_APART_NS:
            self._looked_ns = now_ns
            meter.look_who_shares()
        for edge in list(self._pending):
            value = meter.value(edge.time_ns)
            if value is None and now_ns - edge.time_ns > GIVE_UP_NS:
                value = EdgeValue(reason=meter.trouble())
            if value is None:
                edge.estimate = meter.estimate() or edge.estimate
                if now_ns - edge.time_ns < ESTIMATED_NS:
                    break
                continue
            with self._condition:
                self._pending.remove(edge)
            edge.settle(value)
        return meter.pause_ns()

    def trouble(self) -> str:
        """Say why an edge is not known yet."""
        return self._meter.trouble() if self._meter is not None else self.why

    def close(self) -> None:
        """End the thread, and give the driver back."""
        with self._condition:
            self._stopped = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(timeout=5)
        if self._meter is not None:
            self._meter.close()

    def _run(self) -> None:
        due_ns, continuous = self.now_ns(), self._meter is not None and self._meter.continuous
        while True:
            with self._condition:
                while not (self._stopped or self._pending or (self._windows and continuous)):
                    self._condition.wait()
                    due_ns = self.now_ns()
                if self._stopped:
                    return
            due_ns = max(due_ns + self.step(), self.now_ns())
            with self._condition:
                seen = len(self._pending)
                while not self._stopped and len(self._pending) <= seen and (left := due_ns - self.now_ns()) > 0:
                    self._condition.wait(left / 1e9)
                due_ns = min(due_ns, self.now_ns())
