"""Whose energy a counter counts: the GPU's own, or that of the whole module it sits on.

The energy counter has no documented scope. On Grace superchips the driver reports the power of the GPU and of the
module side by side, and the counter's rate is one of the two (on GH200 it was seen to be the module's, on GB200 the
GPU's).
"""

from __future__ import annotations

from typing import NamedTuple

SECOND_US = 1_000_000
WATCH_US = 30 * SECOND_US
AGAIN_US = 300 * SECOND_US  # nothing about the hardware changes: a look now and then settles what was too close before
LONGEST_STEP_US = 5 * SECOND_US
LEAST_APART = 0.15  # of the module's power: closer than this the two cannot be told apart
SHORT_US = 500_000  # of a counter that is published every 100 ms: long enough where module and GPU are far apart
LEAST_APART_AT_ONCE = 0.3


class Moment(NamedTuple):
    """Readings of one moment: us, mJ, and mW; ``instant_mw`` is 0 where the GPU's own power is not reported.

    ``power_mw`` is average power where there is one, the better mean, else instant power.
    """

    time_us: int
    counter_mj: int
    power_mw: float
    instant_mw: float
    module_mw: float


def verdict(rate_mw: float, gpu_mw: float, module_mw: float, least_apart: float = LEAST_APART) -> str:
    """Return whether a counter of this rate is the ``"gpu"``'s or the ``"module"``'s; "" if that is not clear.

    Parameters
    ----------
    rate_mw, gpu_mw, module_mw : float, mW
        Means over the same time; ``gpu_mw`` is 0 where the GPU's own power is not reported.
    least_apart : float
        Part of the module's power by which the two must differ.
    """
    if gpu_mw <= 0:
        return "module" if abs(rate_mw - module_mw) <= LEAST_APART * module_mw else ""
    apart = module_mw - gpu_mw
    if apart < least_apart * module_mw:
        return ""
    place = (rate_mw - gpu_mw) / apart  # 0 is the GPU, 1 the module
    return "gpu" if abs(place) < 1 / 3 else "module" if abs(place - 1) < 1 / 3 else ""


class ScopeWatch:
    """Follows a counter beside both powers, from reading to reading.

    Attributes
    ----------
    judged : bool
        Whether readings have shown whose counter it is.
    """

    def __init__(self) -> None:
        self.judged = False
        self._first: Moment | None = None
        self._last: Moment | None = None
        self._sums = 0.0, 0.0
        self._count = 0
        self._again_us = 0

    def add(self, now: Moment) -> tuple[str, float, float, float]:
        """Take a reading.

        Returns
        -------
        found : str
            ``"gpu"`` or ``"module"``, once it is known; "" till then.
        rate_mw, gpu_mw, module_mw : float, mW
            What it was found from.
        """
        nothing = "", 0.0, 0.0, 0.0
        if now.time_us < self._again_us or now.counter_mj < 0 or now.module_mw <= 0:
            return nothing
        first, last = self._first, self._last
        if first is None or last is None or _breaks(last, now):
            self._first, self._last, self._sums, self._count = now, now, (0.0, 0.0), 0
            return nothing
        self._last, self._count = now, self._count + 1
        # The module's mean is the GPU's and what the rest draws: the rest is steadier than the GPU's moments are.
        self._sums = self._sums[0] + now.power_mw, self._sums[1] + now.module_mw - now.instant_mw
        if now.time_us - first.time_us < WATCH_US:
            return nothing
        rate_mw = (now.counter_mj - first.counter_mj) * 1e6 / (now.time_us - first.time_us)
        gpu_mw = self._sums[0] / self._count
        module_mw = gpu_mw + self._sums[1] / self._count
        self._first = None
        found = verdict(rate_mw, gpu_mw, module_mw)
        if found:
            self._again_us = now.time_us + AGAIN_US
        return found, rate_mw, gpu_mw, module_mw


def _breaks(last: Moment, now: Moment) -> bool:
    """Return whether two readings are of different stretches: too far apart, another counter, other kind of power."""
    reset, other = now.counter_mj < last.counter_mj, (now.instant_mw > 0) != (last.instant_mw > 0)
    return reset or other or not 0 < now.time_us - last.time_us <= LONGEST_STEP_US


def at_once(one: Moment, two: Moment) -> tuple[str, float, float, float]:
    """Judge by two readings about a second apart, as far as that goes; returns as :meth:`ScopeWatch.add`."""
    lasted_us = two.time_us - one.time_us
    if lasted_us < SHORT_US or two.counter_mj < one.counter_mj:
        return "", 0.0, 0.0, 0.0
    rate_mw = (two.counter_mj - one.counter_mj) * 1e6 / lasted_us
    seen = (one.instant_mw, two.instant_mw, two.power_mw)
    rest_mw = (one.module_mw - one.instant_mw + two.module_mw - two.instant_mw) / 2
    gpu_mw = sum(seen) / len(seen)
    steady = max(seen) - min(seen) <= rest_mw / 2
    found = verdict(rate_mw, gpu_mw, gpu_mw + rest_mw, LEAST_APART_AT_ONCE) if steady else ""
    return found, rate_mw, gpu_mw, gpu_mw + rest_mw
