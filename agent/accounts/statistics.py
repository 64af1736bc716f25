"""Moving peaks and ramps of one GPU's power, as a running agent publishes them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

WINDOWS_US = {"1s": 1_000_000, "10s": 10_000_000, "1m": 60_000_000}
HORIZON_US = 60_000_000  # peaks and ramps are the largest of the last minute, so that no usual scrape misses one


class Moving:
    """The largest mean over, and the steepest change across, 1 s, 10 s and 1 min, each of the last minute.

    A mean is the integral of the readings, joined by straight lines, over the window, divided by its length; a ramp is
    the difference of power at the window's two ends divided by its length. Windows with a gap do not count.
    """

    def __init__(self) -> None:
        self._points: deque[tuple[int, int, int]] = deque()  # time, power, integral up to here (hnj)
        self._peaks: dict[str, deque[tuple[int, float]]] = {name: deque() for name in WINDOWS_US}
        self._ramps: dict[tuple[str, str], deque[tuple[int, float]]] = {
            (name, way): deque() for name in WINDOWS_US for way in ("up", "down")
        }
        self._starts = dict.fromkeys(WINDOWS_US, 0)

    def add(self, time_us: int, power_mw: int, max_gap_us: int) -> None:
        """Add one reading (us, mW)."""
        points = self._points
        if points:
            t, p, integral = points[-1]
            if time_us <= t:
                return
            if time_us - t > max_gap_us:
                points.clear()
                integral = 0
                self._starts = dict.fromkeys(WINDOWS_US, 0)
            else:
                integral += (p + power_mw) * (time_us - t)
        else:
            integral = 0
        points.append((time_us, power_mw, integral))
        for name, length in WINDOWS_US.items():
            self._look_back(name, length)
        drop = 0
        while len(points) > 2 and points[1][0] <= time_us - max(WINDOWS_US.values()):
            points.popleft()
            drop += 1
        if drop:
            self._starts = {name: max(start - drop, 0) for name, start in self._starts.items()}

    def add_all(
        self, time_us: NDArray[np.int64], power_mw: NDArray[np.int32], ceiling_mw: int, max_gap_us: int
    ) -> None:
        """Add one window's readings of this GPU; invalid ones (-1, 0, above the ceiling) are skipped."""
        for t, value in zip(time_us.tolist(), power_mw.tolist(), strict=True):
            if 0 < value <= ceiling_mw:
                self.add(t, value, max_gap_us)

    def peaks_w(self) -> Mapping[str, float]:
        """Return the largest mean power (W) by window; a window longer than what was seen is left out."""
        return {name: best[0][1] for name, best in self._peaks.items() if best}

    def ramps_w_per_s(self) -> Mapping[tuple[str, str], float]:
        """Return the steepest rise and fall (W/s, both positive) by window and direction."""
        return {key: best[0][1] for key, best in self._ramps.items() if best}

    def _look_back(self, name: str, length: int) -> None:
        points = self._points
        time_us, power, integral = points[-1]
        begin = time_us - length
        if points[0][0] > begin:
            return
        start = self._starts[name]
        while points[start + 1][0] <= begin:
            start += 1
        self._starts[name] = start
        (t, p, upto), (t_next, p_next, _) = points[start], points[start + 1]
        there = p + (p_next - p) * (begin - t) / (t_next - t)
        mean = (integral - upto - (p + there) * (begin - t)) / (2 * length)
        ramp = (power - there) / length * 1e6
        _keep_largest(self._peaks[name], time_us, mean / 1e3)
        _keep_largest(self._ramps[name, "up"], time_us, max(ramp, 0.0) / 1e3)
        _keep_largest(self._ramps[name, "down"], time_us, max(-ramp, 0.0) / 1e3)


def _keep_largest(best: deque[tuple[int, float]], time_us: int, value: float) -> None:
    """Sliding-window maximum: the first entry is the largest of the horizon."""
    while best and best[-1][1] <= value:
        best.pop()
    best.append((time_us, value))
    while best[0][0] < time_us - HORIZON_US:
        best.popleft()
