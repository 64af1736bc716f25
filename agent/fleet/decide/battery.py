"""What a battery between a load and the grid must be, for the grid to see slower changes.

The grid's power follows the load by a rule that knows nothing of the future: no faster than a ramp, or through a
low-pass. The battery gives the difference. Its power is the largest difference, its energy the range of its charge.
What it loses is bought evenly. Laws: a step D at a ramp R takes D^2 / 2R; a sine of amplitude A and frequency f,
A / (pi f).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.fleet.decide.given import BandLimit, Floor

MOST_STEPS = 10_000_000
"""Beyond the recording, until the grid has come to the load."""


@dataclass(frozen=True, slots=True)
class Battery:
    """A battery of a size.

    Attributes
    ----------
    power_w, energy_j : float
        What it must give or take at most, and hold between empty and full.
    charge_j : float, J
        Held at the beginning.
    efficiency : float
        Of a round trip.
    loss_w : float, W
        Mean loss, bought evenly.
    """

    power_w: float
    energy_j: float
    charge_j: float
    efficiency: float
    loss_w: float


def slew(power_w: NDArray[np.float64], step_s: float, ramp_w_per_s: float) -> NDArray[np.float64]:
    """Follow a load, no faster than a ramp: float64[n], W."""
    most = ramp_w_per_s * step_s
    grid = np.empty_like(power_w)
    now = float(power_w[0])
    for i, wanted in enumerate(power_w.tolist()):
        now += min(max(wanted - now, -most), most)
        grid[i] = now
    return grid


def settled(power_w: NDArray[np.float64], step_s: float, ramp_w_per_s: float) -> NDArray[np.float64]:
    """Extend a load by its last value, until a grid that follows it has come there: float64[m], W."""
    behind = abs(float(power_w[-1] - slew(power_w, step_s, ramp_w_per_s)[-1]))
    steps = math.ceil(behind / (ramp_w_per_s * step_s))
    if steps > MOST_STEPS:
        raise InputError(
            f"a ramp of {ramp_w_per_s:g} W/s takes more than {MOST_STEPS} steps to follow; give a larger one"
        )
    return np.concatenate((power_w, np.full(steps, power_w[-1])))


def low_pass(power_w: NDArray[np.float64], step_s: float, corner_hz: float) -> NDArray[np.float64]:
    """Follow a load through a first-order low-pass, in balance with its first period: float64[n], W."""
    share = -math.expm1(-2.0 * math.pi * corner_hz * step_s)
    grid = np.empty_like(power_w)
    now = float(power_w[: max(1, math.ceil(min(1.0 / (corner_hz * step_s), power_w.size)))].mean())
    for i, wanted in enumerate(power_w.tolist()):
        now += share * (wanted - now)
        grid[i] = now
    return grid


def in_band(power_w: NDArray[np.float64], step_s: float, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Part of a load between two frequencies, float64[n], W; knows the whole recording."""
    lines = np.fft.rfft(power_w - power_w.mean())
    at = np.fft.rfftfreq(power_w.size, step_s)
    lines[(at < low_hz) | (at > high_hz)] = 0.0
    return np.asarray(np.fft.irfft(lines, power_w.size), np.float64)


def within_band(power_w: NDArray[np.float64], step_s: float, limit: BandLimit) -> tuple[NDArray[np.float64], float]:
    """Follow a load through the fastest low-pass that keeps a band's limit; returns the grid's power and the corner.

    The corner, Hz, is infinite where the load keeps the limit by itself.
    """

    def rms(grid: NDArray[np.float64]) -> float:
        return float(np.sqrt(np.mean(in_band(grid, step_s, limit.low_hz, limit.high_hz) ** 2)))

    if rms(power_w) <= limit.rms_w:
        return power_w, math.inf
    low, high = 1e-7, 0.5 / step_s
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if rms(low_pass(power_w, step_s, middle)) <= limit.rms_w else (low, middle)
    return low_pass(power_w, step_s, low), low


def sized(power_w: NDArray[np.float64], grid_w: NDArray[np.float64], step_s: float, efficiency: float = 1.0) -> Battery:
    """Size the battery that gives the difference between a load and the grid's power.

    Parameters
    ----------
    power_w, grid_w : float64[n], W
    step_s : float, s
    efficiency : float
        Of a round trip, half of it lost either way.
    """
    given_w = power_w - grid_w
    loss_w = 0.0
    for _ in range(60):  # what is bought for the losses is lost in part itself; each round is a fraction of the last
        loss_w = float(np.mean(_lost(given_w - loss_w, efficiency)))
    battery_w = given_w - loss_w
    charge = np.concatenate(([0.0], np.cumsum(-(battery_w + _lost(battery_w, efficiency)) * step_s)))
    return Battery(
        float(np.abs(battery_w).max()), float(charge.max() - charge.min()), float(-charge.min()), efficiency, loss_w
    )


def _lost(battery_w: NDArray[np.float64], efficiency: float) -> NDArray[np.float64]:
    """Power lost while a battery gives (above 0) or takes it: float64[n], W."""
    one_way = math.sqrt(efficiency)
    return np.where(battery_w > 0.0, battery_w * (1.0 / one_way - 1.0), -battery_w * (1.0 - one_way))


def operate(
    battery: Battery, power_w: NDArray[np.float64], wanted_w: NDArray[np.float64], step_s: float
) -> NDArray[np.float64]:
    """Operate a battery so that the grid gives ``wanted_w`` and its losses; what the grid then gives: float64[n], W.

    It gives no more than its power, and no more than it holds.
    """
    one_way, charge = math.sqrt(battery.efficiency), battery.charge_j
    grid = np.empty_like(power_w)
    slack = 1e-9 * battery.energy_j
    for i, (load, wanted) in enumerate(zip(power_w.tolist(), wanted_w.tolist(), strict=True)):
        asked = load - wanted - battery.loss_w
        gives = min(max(asked, -battery.power_w), battery.power_w)
        gives = min(gives, (charge + slack) * one_way / step_s)
        gives = max(gives, -(battery.energy_j + slack - charge) / one_way / step_s)
        charge -= (gives / one_way if gives > 0.0 else gives * one_way) * step_s
        grid[i] = load - gives
    return grid


def smoothed(gpu_w: NDArray[np.float64], step_s: float, floor: Floor, tmp_w: float) -> NDArray[np.float64]:
    """Power of GPUs that draw at least a floor while they work: float64[gpus, n], W.

    As NVML's power smoothing does: behind the last reading above the floor, a GPU stays there for a while, then falls.
    """
    level = floor.share * tmp_w
    held = math.ceil(floor.hold_s / step_s - 1e-9)
    fall = floor.down_w_per_s * step_s
    result = np.empty_like(gpu_w)
    since = np.full(len(gpu_w), np.inf)
    for i in range(gpu_w.shape[1]):
        now = gpu_w[:, i]
        since = np.where(now >= level, 0.0, since + 1.0)
        kept = np.where(np.isfinite(since), level - fall * np.maximum(since - held, 0.0), -np.inf)
        result[:, i] = np.maximum(now, kept)
    return result
