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
_HAIR = 1e-6  # of a step
_NEARLY = 0.05  # of a step, by which two moments may be further apart than a ramp's window
_BLOCK = 1 << 14  # steps: what is made of them lies in a core's cache


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
    power, weight = _those(load.power_w, known), _those(covered, known)
    covered_s = float(weight.sum())
    mean = float(power @ weight) / covered_s
    apart = power - mean
    spread = math.sqrt(float(np.square(apart, out=apart) @ weight) / covered_s)
    del covered, known, power, weight, apart
    steps = _those(load.steps_w, ~np.isnan(load.steps_w))
    top = float(steps.max())
    sums = RunningSums(load.steps_w)
    return Demand(
        load.step_s,
        load.power_w.size * load.step_s,
        covered_s,
        mean,
        top,
        float(steps.min()),
        spread,
        mean / top if top > 0.0 else 1.0,
        tuple(peak(load, name, seconds, sums) for name, seconds in PEAK_WINDOWS_S.items()),
        duration_curve(steps),
        coincidence(load),
        tuple(ramp(load, name, seconds) for name, seconds in RAMP_WINDOWS_S.items()),
    )


def _those(values: NDArray[np.float64], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Select values; themselves, not a copy, where all are wanted."""
    return values if wanted.all() else values[wanted]


def steps_in(window_s: float, step_s: float, slack: float = _HAIR) -> tuple[int, float] | None:
    """Count the whole steps of a window, and what is left of it as a part of one; None if the grid is coarser.

    Less than ``slack`` of a step more or less is none.
    """
    if window_s < step_s * (1.0 - _HAIR):
        return None
    whole = max(1, math.floor(window_s / step_s + slack))
    part = window_s / step_s - whole
    return whole, part if part > slack else 0.0


def _blind(window_s: float, step_s: float) -> str:
    return f"readings every {step_s:g} s cannot show what happens within {window_s:g} s"


def peak(load: Load, window: str, window_s: float, sums: RunningSums) -> Peak:
    """Largest mean over ``window_s``; ``sums`` are those of the load's steps."""
    found = steps_in(window_s, load.step_s)
    if found is None:
        return Peak(window, None, _blind(window_s, load.step_s))
    watts = sums.largest_mean(*found)
    return Peak(window, watts, f"no stretch of {window_s:g} s without a hole" if watts is None else "")


class RunningSums:
    """Sums of a load from its begin to each step, which give the mean of any stretch.

    Parameters
    ----------
    power : float64[n], W
        NaN in a hole.
    """

    def __init__(self, power: NDArray[np.float64]) -> None:
        unknown = np.isnan(power)
        holes = bool(unknown.any())
        known = power.size - int(np.count_nonzero(unknown))
        # Deviations from the mean are summed, not the power itself: a day's running sum would lose digits.
        self._centre = float(np.where(unknown, 0.0, power).sum() if holes else power.sum()) / max(known, 1)
        self._total = np.zeros(power.size + 1)
        inner = self._total[1:]
        np.subtract(power, self._centre, out=inner)
        if holes:
            inner[unknown] = 0.0
        np.cumsum(inner, out=inner)
        self._holes = np.concatenate(([0], np.cumsum(unknown, dtype=np.int32))) if holes else None

    def largest_mean(self, k: int, part: float = 0.0) -> float | None:
        """Largest mean over ``k`` successive steps and ``part`` of one more, W; None where no such stretch is known.

        Power is even within a step, so that the largest mean begins or ends with a step.
        """
        reach, largest = k + (part > 0.0), -math.inf
        # Rounding keeps order: the largest sum has the largest mean.
        for low in range(0, self._total.size - reach, _BLOCK):
            first, last = (self._total[low + i : low + i + _BLOCK] for i in (0, reach))
            first = first[: last.size]
            sums = last - first
            if part:
                inner = np.maximum(
                    self._total[low + k : low + k + last.size] - first, last - self._total[low + 1 :][: last.size]
                )
                sums = part * sums + (1.0 - part) * inner
            if self._holes is not None:
                holes = self._holes
                sums = sums[holes[low + reach :][: last.size] == holes[low : low + last.size]]
            largest = max(largest, float(sums.max(initial=-math.inf)))
        return None if largest == -math.inf else self._centre + largest / (k + part)


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
    found = steps_in(window_s, load.step_s, _NEARLY)
    if found is None:
        return Ramp(window, window_s, None, None, None, None, _blind(window_s, load.step_s))
    k, _ = found
    if load.stretch.size <= k:
        return Ramp(window, window_s, None, None, None, None, f"no stretch of {window_s:g} s without a hole")
    power = load.steps_w
    up_w, down_w = _largest_changes(power, k)
    return Ramp(window, window_s, up_w, down_w, _root_mean_square(power, k), max(up_w, down_w))


def _largest_changes(power: NDArray[np.float64], k: int) -> tuple[float, float]:
    """Largest rise and largest fall between two moments at most ``k`` steps apart; 0 where there is none."""
    # The first k moments have shorter pasts; their changes count as well.
    head = power[: k + 1]
    up = np.fmax.reduce(head - np.fmin.accumulate(head), initial=0.0)
    down = np.fmax.reduce(np.fmax.accumulate(head) - head, initial=0.0)
    block = max(_BLOCK, 4 * k)
    for begin in range(0, power.size - k, block):
        piece = power[begin : begin + block + k]
        low, high = moving_extremes(piece, k)
        late = piece[k:]
        up = np.fmax.reduce(late - low, initial=up)
        down = np.fmax.reduce(high - late, initial=down)
    return float(up), float(down)


def _root_mean_square(power: NDArray[np.float64], k: int) -> float:
    """Root mean square of the changes over ``k`` steps of which both ends are known."""
    square = power[k:] - power[:-k]
    np.square(square, out=square)
    unknown = np.isnan(square)
    pairs = square.size - int(np.count_nonzero(unknown))
    if pairs < square.size:
        square[unknown] = 0.0
    return math.sqrt(float(square.sum()) / pairs)


def moving_extremes(power: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and largest of each ``k + 1`` successive values: float64[n - k] each, by doubling, in n log k steps."""
    low = high = power
    width = 1
    while width < k + 1:
        shift = min(width, k + 1 - width)
        low, high = np.fmin(low[:-shift], low[shift:]), np.fmax(high[:-shift], high[shift:])
        width += shift
    return low, high
