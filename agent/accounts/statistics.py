"""Moving peaks and ramps of one GPU's power, as a running agent publishes them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from wattshed.kernels.billing.settling import HNJ_PER_MJ

if TYPE_CHECKING:
    from collections.abc import Mapping

WINDOWS_US = {"1s": 1_000_000, "10s": 10_000_000, "1m": 60_000_000}
COUNTED = ("10s", "1m")
"""Windows over which the counter gives the mean: an error of one publication is 1 % of the shortest."""
HORIZON_US = 60_000_000  # peaks and ramps are the largest of the last minute, so that no usual scrape misses one


class _Segment(NamedTuple):
    """Power from the point before to this one, straight between: us, mW, mW, and the integral up to here (hnj)."""

    time_us: int
    begin_mw: float
    end_mw: float
    upto_hnj: int


class _Curve:
    """Power of the last minute as segments that join, and what a window that ends now says of it."""

    def __init__(self) -> None:
        self._segments: deque[_Segment] = deque()
        self._starts = dict.fromkeys(WINDOWS_US, 0)

    @property
    def last(self) -> _Segment | None:
        """The newest segment, if there is one."""
        return self._segments[-1] if self._segments else None

    def begin(self, time_us: int, power_mw: float = 0.0) -> None:
        """Forget everything: what comes now does not join what was."""
        self._segments.clear()
        self._starts = dict.fromkeys(WINDOWS_US, 0)
        self._segments.append(_Segment(time_us, power_mw, power_mw, 0))

    def extend(self, segment: _Segment) -> None:
        """Add a segment that joins the last one, and drop what no window reaches any more."""
        segments = self._segments
        segments.append(segment)
        drop = 0
        while len(segments) > 2 and segments[1].time_us <= segment.time_us - max(WINDOWS_US.values()):
            segments.popleft()
            drop += 1
        if drop:
            self._starts = {name: max(start - drop, 0) for name, start in self._starts.items()}

    def look_back(self, name: str) -> tuple[float, float] | None:
        """Return the mean over a window and the power at its beginning (mW); None if the curve is shorter."""
        segments, length = self._segments, WINDOWS_US[name]
        last = segments[-1]
        begin_us = last.time_us - length
        if segments[0].time_us > begin_us:
            return None
        start = self._starts[name]
        while segments[start + 1].time_us <= begin_us:
            start += 1
        self._starts[name] = start
        before, cut = segments[start], segments[start + 1]
        inside_us = begin_us - before.time_us
        there = cut.begin_mw + (cut.end_mw - cut.begin_mw) * inside_us / (cut.time_us - before.time_us)
        outside_hnj = before.upto_hnj + (cut.begin_mw + there) * inside_us
        return (last.upto_hnj - outside_hnj) / (2 * length), there


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
        for name, length in WINDOWS_US.items():
            if (seen := self._power.look_back(name)) is not None:
                ramp = (power_mw - seen[1]) / length * 1e3
                _keep_largest(self._ramps[name, "up"], time_us, max(ramp, 0.0))
                _keep_largest(self._ramps[name, "down"], time_us, max(-ramp, 0.0))

    def add_mean(self, time_us: int, power_mw: int, max_gap_us: int, *, of_last_second: bool = False) -> None:
        """Add a reading for means (us, mW), which may be the driver's own mean of the last second."""
        if not _join(self._mean, time_us, power_mw, max_gap_us):
            return
        if of_last_second:
            _keep_largest(self._peaks["1s"], time_us, power_mw / 1e3)
        for name in COUNTED if of_last_second else WINDOWS_US:
            if (seen := self._mean.look_back(name)) is not None:
                _keep_largest(self._peaks[name], time_us, seen[0] / 1e3)
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
        for name in COUNTED:
            if (seen := self._energy.look_back(name)) is not None:
                _keep_largest(self._counted[name], time_us, seen[0] / 1e3)

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
    _drop_old(best, time_us)


def _drop_old(best: deque[tuple[int, float]], time_us: int) -> None:
    while best and best[0][0] < time_us - HORIZON_US:
        best.popleft()
