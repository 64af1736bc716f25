"""What measuring costs: seconds by driver call, the call under way, and the share of time spent in calls."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING

from exporters.snapshot import Histogram

if TYPE_CHECKING:
    from agent.meters.clock import Clock

HANGING_NS = 1_000_000_000
BOUNDS_S = (50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 50e-3, 250e-3, 1.0, 5.0, math.inf)


class CallCosts:
    """Histogram per call name. One thread calls, any thread reads.

    Attributes
    ----------
    in_flight : tuple of (str, int) or None
        Name and start (ns of the clock's ``elapsed_ns``) of the call that has not returned yet.
    busy_ns : int, ns
        Time spent inside calls since the start, without calls that hung: these say nothing about what polling costs.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, list[int]] = {}
        self._totals_ns: dict[str, int] = {}
        self.in_flight: tuple[str, int] | None = None
        self.busy_ns = 0

    def begin(self, name: str) -> int:
        """Note that ``name`` starts; returns the moment to hand to :meth:`end`."""
        now_ns = self._clock.elapsed_ns()
        self.in_flight = (name, now_ns)
        return now_ns

    def end(self, name: str, begun_ns: int) -> None:
        """Note that ``name`` returned."""
        self.in_flight = None
        took_ns = self._clock.elapsed_ns() - begun_ns
        if took_ns < HANGING_NS:
            self.busy_ns += took_ns
        counts = self._counts.get(name)
        if counts is None:
            counts = self._counts[name] = [0] * len(BOUNDS_S)
            self._totals_ns[name] = 0
        counts[bisect_left(BOUNDS_S, took_ns / 1e9)] += 1
        self._totals_ns[name] += took_ns

    def histograms(self) -> dict[str, Histogram]:
        """Seconds by call name, as they are published."""
        published = {}
        for name in list(self._counts):
            counts, cumulative, seen = self._counts[name], [], 0
            for count in counts:
                seen += count
                cumulative.append(seen)
            published[name] = Histogram(BOUNDS_S, tuple(cumulative), self._totals_ns[name] / 1e9)
        return published


class Percentile:
    """The 95th percentile of the last ``size`` durations."""

    def __init__(self, size: int = 64) -> None:
        self._last: deque[int] = deque(maxlen=size)

    def add(self, took_us: int) -> None:
        """Add one duration in microseconds."""
        self._last.append(took_us)

    def clear(self) -> None:
        """Forget all, after a change of what is measured."""
        self._last.clear()

    def p95_us(self) -> int:
        """Return the percentile, or -1 without any duration."""
        ordered = sorted(self._last)
        return ordered[(len(ordered) - 1) * 95 // 100] if ordered else -1

    def __len__(self) -> int:
        return len(self._last)
