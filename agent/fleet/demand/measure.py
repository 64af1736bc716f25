"""What a load asks of its supply: peaks, duration, coincidence, ramps.

All of it on an even grid of mean power; a hole in the recording is left out, never bridged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.grid import Load

PEAK_WINDOWS_S = {"1s": 1.0, "1m": 60.0, "15m": 900.0}
RAMP_WINDOWS_S = {"1s": 1.0, "10s": 10.0, "1m": 60.0, "15m": 900.0}
DURATION_PERCENT = (0, 0.1, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)


@dataclass(frozen=True, slots=True)
class Peak:
    """Largest mean power over any stretch of a length; None, with the reason, where the recording cannot tell."""

    window: str
    watts: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ramp:
    """Largest rise and fall between two moments at most ``window`` apart, and the root mean square over exactly it."""

    window: str
    window_s: float
    up_w: float | None
    down_w: float | None
    rms_w: float | None
    watts: float | None  # the larger of rise and fall
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Demand:
    """The figures of one load."""

    step_s: float
    span_s: float
    covered_s: float
    mean_w: float
    max_w: float
    min_w: float
    sd_w: float
    load_factor: float
    peaks: tuple[Peak, ...]
    duration: Mapping[float, float]  # percent of the time at or above -> W
    coincidence: float | None
    ramps: tuple[Ramp, ...]


def measure(load: Load) -> Demand:
    """Peaks, duration curve, coincidence and ramps of a load.

    Mean and spread are of all that is known; extremes are of steps that are known at least by half.
    """
    covered = load.covered_s
    known = covered > 0.0
    power, weight = load.power_w[known], covered[known]
    covered_s = float(weight.sum())
    mean = float(power @ weight) / covered_s
    steps = load.steps_w[~np.isnan(load.steps_w)]
    top = float(steps.max())
    return Demand(
        load.step_s,
        load.power_w.size * load.step_s,
        covered_s,
        mean,
        top,
        float(steps.min()),
        math.sqrt(float(np.square(power - mean) @ weight) / covered_s),
        mean / top if top > 0.0 else 1.0,
        tuple(peak(load, name, seconds) for name, seconds in PEAK_WINDOWS_S.items()),
        duration_curve(steps),
        coincidence(load),
        tuple(ramp(load, name, seconds) for name, seconds in RAMP_WINDOWS_S.items()),
    )


def steps_in(window_s: float, step_s: float) -> int | None:
    """Count the steps of a window; None if the grid is coarser than the window."""
    if window_s < step_s * (1.0 - 1e-6):
        return None
    return max(1, round(window_s / step_s))


def _blind(window_s: float, step_s: float) -> str:
    return f"readings every {step_s:g} s cannot show what happens within {window_s:g} s"


def peak(load: Load, window: str, window_s: float) -> Peak:
    """Largest mean over ``window_s``."""
    k = steps_in(window_s, load.step_s)
    if k is None:
        return Peak(window, None, _blind(window_s, load.step_s))
    means = moving_mean(load.steps_w, k)
    if not means.size or np.isnan(means).all():
        return Peak(window, None, f"no stretch of {window_s:g} s without a hole")
    return Peak(window, float(np.nanmax(means)))


def moving_mean(power: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Mean over each ``k`` successive steps: float64[n - k + 1], NaN where one of them is unknown."""
    if power.size < k:
        return np.empty(0)
    unknown = np.isnan(power)
    # Deviations from the mean are summed, not the power itself: a day's running sum would lose digits.
    centre = float(np.nanmean(power)) if not unknown.all() else 0.0
    total = np.concatenate(([0.0], np.cumsum(np.where(unknown, 0.0, power - centre))))
    holes = np.concatenate(([0], np.cumsum(unknown)))
    means = centre + (total[k:] - total[:-k]) / k
    return np.where(holes[k:] > holes[:-k], math.nan, means)


def duration_curve(power: NDArray[np.float64]) -> dict[float, float]:
    """Power that is reached or exceeded for a percentage of the time: percent -> W."""
    return {
        p: float(q)
        for p, q in zip(DURATION_PERCENT, np.percentile(power, [100 - p for p in DURATION_PERCENT]), strict=True)
    }


def coincidence(load: Load) -> float | None:
    """Largest sum over sum of the largest; None for a single series, or where nothing is ever drawn.

    1 where all peak together; for independent jobs the excess over the mean falls as one over the root of their number.
    """
    apart = sum(load.largest_w)
    if len(load.largest_w) < 2 or apart <= 0.0:
        return None
    return float(np.nanmax(load.steps_w)) / apart


def ramp(load: Load, window: str, window_s: float) -> Ramp:
    """Fastest change within ``window_s``."""
    k = steps_in(window_s, load.step_s)
    if k is None:
        return Ramp(window, window_s, None, None, None, None, _blind(window_s, load.step_s))
    if load.stretch.size <= k:
        return Ramp(window, window_s, None, None, None, None, f"no stretch of {window_s:g} s without a hole")
    power = load.steps_w
    low, high = moving_extremes(power, k)
    late = power[k:]
    apart = late - power[:-k]
    with np.errstate(invalid="ignore"):
        up, down = late - low, high - late
    # The first k moments have shorter pasts; their changes count as well.
    head = power[: k + 1]
    rise = [float(np.nanmax(head - np.fmin.accumulate(head))), float(np.nanmax(np.fmax.accumulate(head) - head))]
    up_w, down_w = max(float(np.nanmax(up)), rise[0], 0.0), max(float(np.nanmax(down)), rise[1], 0.0)
    return Ramp(window, window_s, up_w, down_w, float(np.sqrt(np.nanmean(apart**2))), max(up_w, down_w))


def moving_extremes(power: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and largest of each ``k + 1`` successive values: float64[n - k] each, by doubling, in n log k steps."""
    low = high = power
    width = 1
    while width < k + 1:
        shift = min(width, k + 1 - width)
        low, high = np.fmin(low[:-shift], low[shift:]), np.fmax(high[:-shift], high[shift:])
        width += shift
    return low, high
