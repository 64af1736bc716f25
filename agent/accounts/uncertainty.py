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

from wattshed.agent.inputs.boards import likely_limit_mw
from wattshed.agent.wire.parts import Doubt
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.ledger import GpuKey, JobAccount, Line
    from wattshed.agent.window import Device

FULL_TIME = frozenset({"pascal", "volta", "turing", "ampere", "ada"})
PART_TIME_MODELS = ("A100", "A800", "A30", "GH200", "H100", "H200")
"""GA100 and Hopper look at 25 ms of every 100 ms; other Ampere, Turing and Ada boards at all of it (same source). Of an
H200 that is true of instant power; its average of a second still moves with the phase of a load (docs/measurements)."""

DEFAULT_PERIOD_US = 100_000
FROZEN_US = 60_000_000
"""A sensor that shows the same value, to the last digit, for longer than this is taken to be dead."""
SPREAD = 0.7
"""Relative standard deviation of watts per activity between jobs of whom nothing is known: a kernel that waits for
memory and one that keeps the tensor cores busy draw two to four times apart at the same utilisation. That is 0.6; the
rest is what the first order of `kernels.billing.doubt` leaves out where the lighter job is the more active one."""
SPREAD_OF_ROWS = 0.9
"""The same of activities that may be the mean of the whole time, or only of those samples in which the job was active:
a job that works a fifth of the time is taken for five times as active as it is."""
IDLE_SIGMA_MW = 2_000
"""Standard deviation of what a card draws at rest from what was learned, or stated, of it: temperature and clocks."""
SAMPLING = 0.4
"""Standard deviation of one instantaneous reading of a load that moves fast, relative to its mean."""
UNLISTED_US = 5_000_000
"""A job that is shorter may have come and gone between two process lists: that none was seen says nothing."""
OPEN_US = 5_000_000
"""Time of a job that always waits for its energy, beside an interval between readings, at most: it comes soon."""
AVERAGE_US = 1_000_000  # what the driver's average power is the mean of


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
    """Return whether a card's power sensor looks only part of the time, as is assumed where nothing is known."""
    if any(model in device.model.split() or f"{model}-" in device.model for model in PART_TIME_MODELS):
        return True
    return device.architecture.lower() not in FULL_TIME


def span_w(account: GpuAccount) -> float:
    """Return how far apart idle and limit are (W): what an unseen stretch can hide."""
    device = account.device
    limit_mw = device.limit_mw if device.limit_mw > 0 else account.likely_limit_mw or likely_limit_mw(device, ())
    return max(limit_mw - max(device.idle_mw, 0), 0) / 1e3


def idle_sigma_mw(device: Device) -> int:
    """Return one sigma of a card's idle power, mW: the static part of a shared GPU depends on it."""
    return device.idle_sigma_mw if device.idle_sigma_mw >= 0 else IDLE_SIGMA_MW


def split_spread(device: Device) -> float:
    """Return the relative standard deviation of watts per activity between jobs on a card; see `kernels.billing.doubt`.

    It is wider where it is not known what the driver's rows of process utilisation are the mean of: activities
    themselves may then be off by as much.
    """
    rows = device.capabilities.get("process_rows", "") if not device.capabilities.get("process_utilisation") else ""
    return math.hypot(SPREAD, SPREAD_OF_ROWS) if rows else SPREAD


def interval_us(account: GpuAccount) -> float:
    """Return the mean time between two readings of a GPU's power; a counter bridges what is a gap to power."""
    samples, seen = account.totals.samples, account.totals.covered_us
    if account.method == "counter":
        seen += account.totals.gap_us
    return seen / samples if samples else 0.0


def blur_us(account: GpuAccount) -> float:
    """Return how long after a step in power the readings may still not show it: the sensor's period and theirs."""
    return math.hypot(account.device.publication_us.get("instant", DEFAULT_PERIOD_US), interval_us(account))


def sampling_floor(account: GpuAccount, seconds: float) -> float:
    """Return the relative sigma of an energy of sampled power that was read for so long, for what was not seen.

    A sensor that looks all the time, and is read as often as it publishes, leaves nothing out. One that looks part of
    the time has the floor of `part_time_floor`, and one that is read less often than it publishes misses what lies
    between: by `SAMPLING` over the root of the number of readings.

    Parameters
    ----------
    account : GpuAccount
    seconds : float, s
    """
    device, apart_us = account.device, interval_us(account)
    average = "average" in device.publication_us
    period_us = AVERAGE_US if average else device.publication_us.get("instant", DEFAULT_PERIOD_US)
    part = sees_part(device)
    seldom = apart_us > 1.5 * period_us or (part and not average)
    readings = max(seconds * 1e6 / apart_us, 1.0) if apart_us > 0 else 1.0
    return math.hypot(part_time_floor(seconds) if part else 0.0, SAMPLING / math.sqrt(readings) if seldom else 0.0)


def missing_w(account: GpuAccount) -> float:
    """Return what an unseen stretch that is booked as nothing lacks (W): the root mean square from idle to limit."""
    idle_w, span = max(account.device.idle_mw, 0) / 1e3, span_w(account)
    return math.hypot(idle_w + span / 2, span / math.sqrt(12))


def estimated_w(account: GpuAccount) -> float:
    """Return what a stretch that is estimated by the power beside it may be off by (W).

    Both lie anywhere between idle and limit, and one says little about the other.
    """
    return span_w(account) / math.sqrt(6)


def frozen_w(account: GpuAccount) -> float:
    """Return what a sensor that stands still may be off by (W).

    What it shows may be as low as idle or as high as the limit: the root mean square from there.
    """
    return span_w(account) / math.sqrt(3)


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
    parts = [gain_j(account, energy_j), module_j(account)]
    if account.method == "power":
        parts.append(energy_j * sampling_floor(account, account.totals.covered_us / 1e6))
        parts.append((account.totals.gap_us + account.missing_us) / 1e6 * missing_w(account))
        if longest_run_us > FROZEN_US:
            parts.append(longest_run_us / 1e6 * frozen_w(account))
    # Over a reset of the counter, or a hole of which it does not tell, energy is an estimate between idle and limit, or
    # is booked as nothing.
    parts.append(account.totals.estimated_us / 1e6 * estimated_w(account))
    unknown_us = account.totals.unknown_us + (account.missing_us if account.method != "power" else 0)
    parts.append(unknown_us / 1e6 * missing_w(account))
    if account.method != "power" and disagrees(account):
        off = account.totals.compared_power_hnj - account.totals.compared_counter_hnj
        parts.append(off / HNJ_PER_JOULE)
    return math.hypot(*parts)


def module_j(account: GpuAccount) -> float:
    """Return what was booked too much (J) while a module's counter was still taken for the GPU's own."""
    if account.module is None:
        return 0.0
    return abs(account.totals.compared_counter_hnj - account.totals.compared_power_hnj) / HNJ_PER_JOULE


def disagrees(account: GpuAccount) -> bool:
    """Return whether counter and sampled power differ by more than a fifth over at least half a minute."""
    off = account.disagreement
    return off is not None and account.totals.compared_us >= 30_000_000 and not -0.25 <= off <= 0.2


def gpu_flags(account: GpuAccount, longest_run_us: int) -> tuple[str, ...]:
    """Name what is doubtful about a GPU's energy.

    Parameters
    ----------
    account : GpuAccount
    longest_run_us : int, us
        How long its power stood at the very same value.
    """
    totals = account.totals
    checks = {
        "frozen_sensor": longest_run_us > FROZEN_US,
        "counter_reset": totals.resets > 0,
        "counter_stuck": totals.stuck > 0,
        "counter_rejected": totals.rejected_step + totals.rejected_dip > 0,
        "disagreement": disagrees(account),
    }
    return (*account.device.flags, *(name for name, so in checks.items() if so))


def job_sigma_j(job: JobAccount, gpus: Mapping[GpuKey, GpuAccount]) -> float:
    """Return one sigma (J) of a job's energy.

    Gains add up linearly over its GPUs. So does what the split among jobs on one GPU may be off by
    (`kernels.billing.doubt`): it is the same job beside, as a rule, the same ones, with the same kernels everywhere.
    And so does what idle power may be off by: cards of one model are alike. Who only holds a GPU has less of it if that
    was taken to be too low, and who works has as much more; of one alone it moves nothing.
    Each start and end is blurred by one publication period of the sensor and one interval between readings, times the
    step in power there, uniformly. Time of the job that nobody read is booked as nothing: for good where there is no
    counter or the GPU was not read before, else until its counter can be read again. Its part of a time in which
    nothing measured its energy was found when that was booked (`agent.accounts.untold`).
    """
    doubt = Doubt()
    for key, line in job.lines.items():
        doubt = doubt.plus(doubt_of(line, gpus[key], short=job.end_us - job.start_us <= UNLISTED_US))
    return doubt.sigma_j


def doubt_of(line: Line, account: GpuAccount, *, short: bool = False) -> Doubt:
    """Return what one owner's energy on one GPU may be off by, in what adds up differently; see `job_sigma_j`.

    Parameters
    ----------
    line : Line
    account : GpuAccount
        Of the GPU.
    short : bool
        The job was there for so short a time that its processes may never have been listed.
    """
    energy_j = (line.static_hnj + line.dynamic_hnj) / HNJ_PER_JOULE
    split = line.split_hnj / HNJ_PER_JOULE
    if line.active_us == 0 == line.dynamic_hnj and short:
        split += line.held_us / 1e6 * frozen_w(account)  # as low as idle or as high as the limit
    seconds = line.active_us / 1e6
    step_w = line.dynamic_hnj / HNJ_PER_JOULE / seconds if seconds > 0 else 0.0
    squares = (line.untold_hnj / HNJ_PER_JOULE) ** 2
    squares += line.edges * (blur_us(account) / 1e6 * step_w) ** 2 / 12
    # A counter bridges gaps, but for one that is open.
    gap_us = account.missing_us + (account.totals.gap_us if account.method == "power" else 0)
    unread_us = max(min(line.unread_us, gap_us), line.unread_us - OPEN_US - interval_us(account))
    if account.method == "power" and seconds > 0:
        squares += (energy_j * sampling_floor(account, seconds)) ** 2
    elif disagrees(account):
        squares += (energy_j * (account.disagreement or 0.0)) ** 2
    if account.module is not None and account.energy_hnj > 0:
        squares += (module_j(account) * energy_j * HNJ_PER_JOULE / account.energy_hnj) ** 2
    return Doubt(
        gain_j(account, energy_j),
        split,
        abs(line.idle_hnj) / HNJ_PER_JOULE,
        unread_us / 1e6 * missing_w(account),  # whatever it was, it was more than nothing, on every GPU
        squares,
    )
