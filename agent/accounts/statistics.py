"""Moving peaks and ramps of one GPU's power, as a running agent publishes them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from wattshed.kernels.billing.settling import HNJ_PER_MJ

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WINDOWS_US = {"1s": 1_000_000, "10s": 10_000_000, "1m": 60_000_000}
_LENGTHS_US = tuple(WINDOWS_US.values())
_NAMES = tuple(WINDOWS_US)
COUNTED = ("10s", "1m")
"""Windows over which the counter gives the mean: an error of one publication is 1 % of the shortest."""
_FIRST_COUNTED = _NAMES.index(COUNTED[0])
HORIZON_US = 60_000_000  # peaks and ramps are the largest of the last minute, so that no usual scrape misses one


class _Segment(NamedTuple):
    """Power from the point before to this one, straight between: us, mW, mW, and the integral up to here (hnj)."""

    time_us: int
    begin_mw: float
    end_mw: float
    upto_hnj: int


class _Curve:
    """Power of the last minute as segments that join, and what windows that end now say of it."""

    __slots__ = ("_segments", "_starts")

    def __init__(self) -> None:
        self._segments: deque[_Segment] = deque()
        self._starts = [0] * len(_LENGTHS_US)

    @property
    def last(self) -> _Segment | None:
        """The newest segment, if there is one."""
        return self._segments[-1] if self._segments else None

    def begin(self, time_us: int, power_mw: float = 0.0) -> None:
        """Forget everything: what comes now does not join what was."""
        self._segments.clear()
        self._starts = [0] * len(_LENGTHS_US)
        self._segments.append(_Segment(time_us, power_mw, power_mw, 0))

    def extend(self, segment: _Segment) -> None:
        """Add a segment that joins the last one, and drop what no window reaches any more."""
        segments = self._segments
        segments.append(segment)
        drop, reached_us = 0, segment.time_us - _LENGTHS_US[-1]
        while len(segments) > 2 and segments[1].time_us <= reached_us:
            segments.popleft()
            drop += 1
        if drop:
            self._starts = [max(start - drop, 0) for start in self._starts]

    def look_back(self, shortest: int = 0) -> Iterator[tuple[int, float, float]]:
        """Yield of each window that the curve fills: its place in `WINDOWS_US`, its mean, the power at its begin (mW).

        Parameters
        ----------
        shortest : int
            Place of the first window that is wanted; they become longer.
        """
        segments, starts = self._segments, self._starts
        now_us, _, _, upto_hnj = segments[-1]
        first_us = segments[0].time_us
        for place in range(shortest, len(_LENGTHS_US)):
            length = _LENGTHS_US[place]
            begin_us = now_us - length
            if first_us > begin_us:
                return
            start = starts[place]
            before, cut = segments[start], segments[start + 1]
            while cut.time_us <= begin_us:
                start += 1
                before, cut = cut, segments[start + 1]
            starts[place] = start
            before_us, _, _, before_hnj = before
            cut_us, begin_mw, end_mw, _ = cut
            inside_us = begin_us - before_us
            there = begin_mw + (end_mw - begin_mw) * inside_us / (cut_us - before_us)
            outside_hnj = before_hnj + (begin_mw + there) * inside_us
            yield place, (upto_hnj - outside_hnj) / (2 * length), there


class Moving:
    """The largest mean over, and the steepest change across, 1 s, 10 s and 1 min, each of the last minute.

    A mean is the integral of readings of power, joined by straight lines, over the window, divided by its length. What
    the driver itself says is the mean of the last second is taken for that. Over 10 s and more the energy counter has
    the last word: readings see a moment of every 100 ms, and of a load that keeps step with them they show its peaks
    alone, or its pauses (24 % above the counter over 10 s on an H200 whose load worked for 60 ms in every 100 ms). Over
    1 s the counter is too coarse: it is published every 100 ms. A ramp is the difference of power at the window's two
    ends divided by its length. Windows with a gap do not count.
    """

    def __init__(self) -> None:
        self._power, self._mean, self._energy = _Curve(), _Curve(), _Curve()
        self._counter_mj = -1
        self._peaks: dict[str, deque[tuple[int, float]]] = {name: deque() for name in WINDOWS_US}
        self._counted: dict[str, deque[tuple[int, float]]] = {name: deque() for name in COUNTED}
        self._ramps: dict[tuple[str, str], deque[tuple[int, float]]] = {
            (name, way): deque() for name in WINDOWS_US for way in ("up", "down")
        }

    def add_power(self, time_us: int, power_mw: int, max_gap_us: int) -> None:
        """Add a reading for ramps (us, mW)."""
        if not _join(self._power, time_us, power_mw, max_gap_us):
            return
        for place, _, there_mw in self._power.look_back():
            ramp, name = (power_mw - there_mw) / _LENGTHS_US[place] * 1e3, _NAMES[place]
            _keep_largest(self._ramps[name, "up"], time_us, max(ramp, 0.0))
            _keep_largest(self._ramps[name, "down"], time_us, max(-ramp, 0.0))

    def add_mean(self, time_us: int, power_mw: int, max_gap_us: int, *, of_last_second: bool = False) -> None:
        """Add a reading for means (us, mW), which may be the driver's own mean of the last second."""
        if not _join(self._mean, time_us, power_mw, max_gap_us):
            return
        if of_last_second:
            _keep_largest(self._peaks["1s"], time_us, power_mw / 1e3)
        for place, mean_mw, _ in self._mean.look_back(_FIRST_COUNTED if of_last_second else 0):
            _keep_largest(self._peaks[_NAMES[place]], time_us, mean_mw / 1e3)
        for best in self._counted.values():  # a counter that went silent says nothing any more
            _drop_old(best, time_us)

    def add_counter(self, time_us: int, counter_mj: int, ceiling_mw: int, max_gap_us: int) -> None:
        """Add a reading of the energy counter (us, mJ); over one that goes back or leaps nothing is joined."""
        last, before_mj = self._energy.last, self._counter_mj
        if last is not None and time_us <= last.time_us:
            return
        self._counter_mj = counter_mj
        if last is None or time_us - last.time_us > max_gap_us:
            self._energy.begin(time_us)
            return
        mean_mw = (counter_mj - before_mj) * 1_000_000 / (time_us - last.time_us)
        if not 0 <= mean_mw <= ceiling_mw:
            self._energy.begin(time_us)
            return
        self._energy.extend(_Segment(time_us, mean_mw, mean_mw, last.upto_hnj + (counter_mj - before_mj) * HNJ_PER_MJ))
        for place, energy_mw, _ in self._energy.look_back(_FIRST_COUNTED):
            _keep_largest(self._counted[_NAMES[place]], time_us, energy_mw / 1e3)

    def forget_counter(self) -> None:
        """Take the counter for another meter's from now on."""
        self._energy, self._counter_mj = _Curve(), -1
        for best in self._counted.values():
            best.clear()

    def peaks_w(self) -> Mapping[str, float]:
        """Return the largest mean power (W) by window; a window longer than what was seen is left out."""
        by_power = {name: best[0][1] for name, best in self._peaks.items() if best}
        return by_power | {name: best[0][1] for name, best in self._counted.items() if best}

    def ramps_w_per_s(self) -> Mapping[tuple[str, str], float]:
        """Return the steepest rise and fall (W/s, both positive) by window and direction."""
        return {key: best[0][1] for key, best in self._ramps.items() if best}


def _join(curve: _Curve, time_us: int, power_mw: int, max_gap_us: int) -> bool:
    """Join a reading of power to a curve, or begin it anew after a gap; False if it is no newer than the last one."""
    last = curve.last
    if last is None or time_us - last.time_us > max_gap_us:
        curve.begin(time_us, power_mw)
        return True
    if time_us <= last.time_us:
        return False
    upto_hnj = last.upto_hnj + (int(last.end_mw) + power_mw) * (time_us - last.time_us)
    curve.extend(_Segment(time_us, last.end_mw, power_mw, upto_hnj))
    return True


def _keep_largest(best: deque[tuple[int, float]], time_us: int, value: float) -> None:
    """Sliding-window maximum: the first entry is the largest of the horizon."""
    while best and best[-1][1] <= value:
        best.pop()
    best.append((time_us, value))
    while best[0][0] < time_us - HORIZON_US:
        best.popleft()


def _drop_old(best: deque[tuple[int, float]], time_us: int) -> None:
    while best and best[0][0] < time_us - HORIZON_US:
        best.popleft()
