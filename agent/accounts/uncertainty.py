"""One sigma for every energy: what is known about how wrong a GPU's own meter is.

The card's gain error dominates and does not average out: it is the same at every moment, and within one model it is
largely the same for every card. So the gain errors of a job's GPUs add up linearly, everything else in squares.

Sources: external meters against nvidia-smi on seven cards (Yang, Adamek, Armour, "Part-time power measurements",
arXiv 2312.02741) show -7 % to +0.5 % with a median magnitude of 2.6 %: 4 % is the default for an uncalibrated card.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from exporters.snapshot import HNJ_PER_JOULE
from kernels import booking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.accounts.attribution import GpuAccount
    from agent.accounts.ledger import GpuKey, Job
    from agent.window import Device

FULL_TIME = frozenset({"pascal", "volta", "turing", "ampere", "ada"})
PART_TIME_MODELS = ("A100", "A800", "A30", "GH200", "H100", "H200")
"""GA100 and Hopper look at 25 ms of every 100 ms; other Ampere, Turing and Ada boards at all of it (same source)."""

DEFAULT_PERIOD_US = 100_000
FROZEN_US = 60_000_000
"""A sensor that shows the same value, to the last digit, for longer than this is taken to be dead."""
FLOOR_WATTS = 300.0  # span between idle and limit where a trace knows neither


def part_time_floor(seconds: float) -> float:
    """Return the relative sigma of an energy that a part-time sensor saw for so long without an energy counter.

    10 % at 1 s, 3 % at 10 s, 1 % from 60 s on, straight lines between these in the logarithm of time.

    Parameters
    ----------
    seconds : float, s
    """
    points = ((1.0, 0.10), (10.0, 0.03), (60.0, 0.01))
    if seconds <= points[0][0]:
        return points[0][1]
    for (t0, f0), (t1, f1) in itertools.pairwise(points):
        if seconds <= t1:
            return f0 * math.exp(math.log(f1 / f0) * math.log(seconds / t0) / math.log(t1 / t0))
    return points[-1][1]


def sees_part(device: Device) -> bool:
    """Tell whether a card's power sensor looks only part of the time, as is assumed where nothing is known."""
    if any(model in device.model.split() or f"{model}-" in device.model for model in PART_TIME_MODELS):
        return True
    return device.architecture.lower() not in FULL_TIME


def span_w(account: GpuAccount) -> float:
    """Return how far apart idle and limit are (W): what an unseen stretch can hide."""
    device = account.device
    if device.limit_mw <= 0:
        return FLOOR_WATTS
    return (device.limit_mw - max(device.idle_mw, 0)) / 1e3


def missing_w(account: GpuAccount) -> float:
    """Return what an unseen stretch that is booked as nothing lacks (W): the root mean square from idle to limit."""
    idle_w, span = max(account.device.idle_mw, 0) / 1e3, span_w(account)
    return math.hypot(idle_w + span / 2, span / math.sqrt(12))


def gain_j(account: GpuAccount, energy_j: float) -> float:
    """Return one sigma (J) of what the card's gain error can do to this much energy."""
    return abs(energy_j) * account.device.sigma_gain_ppm * 1e-6


def gpu_sigma_j(account: GpuAccount, longest_run_us: int = 0) -> float:
    """Return one sigma (J) of a GPU's energy: gain, part-time sensing, gaps, and what contradicts or stands still.

    Parameters
    ----------
    account : GpuAccount
    longest_run_us : int, us
        How long its power stood at the very same value.
    """
    energy_j = account.energy_hnj / HNJ_PER_JOULE
    parts = [gain_j(account, energy_j)]
    if account.method == "power":
        if sees_part(account.device):
            parts.append(energy_j * part_time_floor(account.totals[booking.COVERED] / 1e6))
        parts.append(account.totals[booking.GAP] / 1e6 * missing_w(account))
        if longest_run_us > FROZEN_US:
            parts.append(longest_run_us / 1e6 * span_w(account) / math.sqrt(12))
    # Over a reset of the counter, or a hole of which it does not tell, energy is an estimate between idle and limit, or
    # is booked as nothing.
    parts.append(account.totals[booking.ESTIMATED_US] / 1e6 * span_w(account) / math.sqrt(12))
    parts.append(account.totals[booking.UNKNOWN_US] / 1e6 * missing_w(account))
    if account.method != "power" and disagrees(account):
        off = account.totals[booking.COMPARED_POWER] - account.totals[booking.COMPARED_COUNTER]
        parts.append(off / HNJ_PER_JOULE)
    return math.hypot(*parts)


def disagrees(account: GpuAccount) -> bool:
    """Tell whether counter and sampled power differ by more than a fifth over at least half a minute."""
    off = account.disagreement
    return off is not None and account.totals[booking.COMPARED_US] >= 30_000_000 and not -0.25 <= off <= 0.2


def job_sigma_j(job: Job, gpus: Mapping[GpuKey, GpuAccount]) -> float:
    """Return one sigma (J) of a job's energy.

    Gains add up linearly over its GPUs. Each start and end is blurred by one publication period of the sensor times
    the step in power there, uniformly. Energy that was split by share or equally, for want of activities, could have
    been anything between none and all of it: uniformly again.
    """
    gain, squares = 0.0, 0.0
    for key, line in job.lines.items():
        account = gpus[key]
        energy_j = (line.static_hnj + line.dynamic_hnj) / HNJ_PER_JOULE
        gain += gain_j(account, energy_j)
        seconds = line.active_us / 1e6
        step_w = line.dynamic_hnj / HNJ_PER_JOULE / seconds if seconds > 0 else 0.0
        period_s = account.device.publication_us.get("instant", DEFAULT_PERIOD_US) / 1e6
        squares += line.edges * (period_s * step_w) ** 2 / 12
        squares += (line.guessed_hnj / HNJ_PER_JOULE) ** 2 / 12
        if account.method == "power" and sees_part(account.device) and seconds > 0:
            squares += (energy_j * part_time_floor(seconds)) ** 2
    return math.hypot(gain, math.sqrt(squares))
