"""What measuring costs: seconds by driver call, the call under way, and the share of time spent in calls."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from typing import TYPE_CHECKING

from wattshed.agent.meters.errors import Fault, MeterError, TooSlow
from wattshed.exporters.snapshot import Histogram

if TYPE_CHECKING:
    from types import TracebackType

    from wattshed.agent.clock import Clock

HANGING_NS = 1_000_000_000
_GONE = frozenset({Fault.LOST, Fault.DRIVER, Fault.RESTART})
BOUNDS_S = (50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 50e-3, 250e-3, 1.0, 5.0, math.inf)


class CallCosts:
    """Histogram per call name. One thread calls, any thread reads.

    Attributes
    ----------
    in_flight : tuple of (str, int) or None
        Name and start (ns of the clock's ``elapsed_ns``) of the call that has not returned yet.
    busy_ns : int, ns
        Time spent inside calls since the start, without calls that hung: these say nothing about what polling costs.
    last_ns : int, ns
        What the last call took that returned.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, list[int]] = {}
        self._totals_ns: dict[str, int] = {}
        self.in_flight: tuple[str, int] | None = None
        self.busy_ns = self.last_ns = 0
        self._left_ns: float = math.inf
        self._hanging_ns: float = math.inf
        self._why = ""

    def patience(self, budget_us: float = math.inf, hanging_us: int = HANGING_NS // 1000) -> _Patience:
        """Let no further call begin in a block once one took over ``hanging_us``, or all together over ``budget_us``.

        Raises
        ------
        TooSlow
            In place of the next call, or at the end.
        """
        return _Patience(self, budget_us * 1e3, hanging_us * 1000)

    def bound(self, left_ns: float, hanging_ns: float) -> tuple[float, float, str]:
        """Bound what calls may take from now on; returns what bounded them before, and why no more may begin."""
        before = self._left_ns, self._hanging_ns, self._why
        self._left_ns, self._hanging_ns, self._why = left_ns, hanging_ns, ""
        return before

    def begin(self, name: str) -> int:
        """Note that ``name`` starts; returns the moment to hand to :meth:`end`.

        Raises
        ------
        TooSlow
            This GPU has used up its time.
        """
        if self._why:
            raise TooSlow(self._why)
        now_ns = self._clock.elapsed_ns()
        self.in_flight = (name, now_ns)
        return now_ns

    def end(self, name: str, begun_ns: int) -> None:
        """Note that ``name`` returned."""
        self.in_flight = None
        self.last_ns = took_ns = self._clock.elapsed_ns() - begun_ns
        if took_ns < HANGING_NS:
            self.busy_ns += took_ns
        self._left_ns -= took_ns
        if took_ns >= self._hanging_ns:
            self._why = f"a call took {took_ns / 1e9:.0f} s ({name})"
        elif self._left_ns < 0 and not self._why:
            self._why = "its calls take over a second in total"
        counts = self._counts.get(name)
        if counts is None:
            counts = self._counts[name] = [0] * len(BOUNDS_S)
            self._totals_ns[name] = 0
        counts[bisect_left(BOUNDS_S, took_ns / 1e9)] += 1
        self._totals_ns[name] += took_ns

    def add(self, other: CallCosts) -> None:
        """Add what calls from another thread cost, once that is over."""
        for name, counts in other._counts.items():
            mine = self._counts.setdefault(name, [0] * len(BOUNDS_S))
            self._counts[name] = [a + b for a, b in zip(mine, counts, strict=True)]
            self._totals_ns[name] = self._totals_ns.get(name, 0) + other._totals_ns[name]
        self.busy_ns += other.busy_ns

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


class _Patience:
    """A block in which calls are bounded, see `CallCosts.patience`; entered some thirty times a second."""

    __slots__ = ("_before", "_bounds", "_costs")

    def __init__(self, costs: CallCosts, left_ns: float, hanging_ns: float) -> None:
        self._costs, self._bounds = costs, (left_ns, hanging_ns)

    def __enter__(self) -> None:
        self._before = self._costs.bound(*self._bounds)

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        left_ns, hanging_ns, _ = self._before
        _, _, why = self._costs.bound(left_ns, hanging_ns)
        # A refusal that took so long is no answer.
        if why and (error is None or (isinstance(error, MeterError) and error.fault not in _GONE)):
            raise TooSlow(why)


class Percentile:
    """The 95th percentile of the last ``size`` durations."""

    def __init__(self, size: int = 64) -> None:
        self._last: deque[int] = deque(maxlen=size)
        self._ordered: list[int] = []  # the same: it is looked at more often than added to

    def add(self, took_us: int) -> None:
        """Add one duration in microseconds."""
        if len(self._last) == self._last.maxlen:
            del self._ordered[bisect_left(self._ordered, self._last[0])]
        self._last.append(took_us)
        insort(self._ordered, took_us)

    def clear(self) -> None:
        """Forget all, after a change of what is measured."""
        self._last.clear()
        self._ordered.clear()

    def p95_us(self) -> int:
        """Return the percentile, or -1 without any duration."""
        return self._ordered[(len(self._ordered) - 1) * 95 // 100] if self._ordered else -1

    def __len__(self) -> int:
        return len(self._last)
