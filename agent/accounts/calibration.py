"""What is known about each card besides its readings: its meter's gain and offset, and what it draws when idle.

It is written into a window's devices before the window is recorded and attributed, so that a recording replays with the
very numbers that were used live.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.accounts.pending_usage import PPM
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.window import Device, Window
    from wattshed.kernels.billing.layout import EnergyIntervals

LOG = logging.getLogger(__name__)

SETTLE_US = 30_000_000  # clocks and temperatures take a while to come down after a job
UNSEEN_US = 10_000_000  # work that lasts so long is in one of the process lists, or they do not show everybody
PRIOR_SHARE_OF_LIMIT = 0.10  # measured idle of A100, H100 and H200: 62 to 80 W of 400 to 700 W
PRIOR_SIGMA_OF_LIMIT = (
    0.06  # root mean square, from there, of the models of agent/inputs/gpus.csv: 4 to 24 % of the limit
)
SMOOTHING = 0.02
BOUND_SHARE_OF_LIMIT = 0.4  # what draws more than this with no process in sight is not idle


@dataclass(frozen=True, slots=True)
class MeterCorrection:
    """True power = shown power x ``gain`` + ``offset_w`` (W); ``sigma`` is one sigma of the gain that is left."""

    gain: float = 1.0
    offset_w: float = 0.0
    sigma: float = 0.02


@dataclass(slots=True)
class _Rest:
    """Since when nobody uses a GPU, us; -1: it is used, or who uses it is not known."""

    since_us: int
    full_since_us: int = MISSING  # since when its utilisation has been 100 %, though nobody is there
    fresh: bool = True  # nobody was seen on it before: no job to settle from
    latched: bool = False
    unseen_us: int = 0  # how long it worked, though nobody was listed, since somebody last was


class Calibrator:
    """Fills in what the operator knows about the cards, and learns idle power while nobody uses them.

    Unknown is not idle: it is learned only from windows in which utilisation is known and 0, the process lists are
    told and empty, and nobody holds the GPU (docs/decisions/0670).

    Parameters
    ----------
    idle_w : mapping
        Idle power (W) by UUID, which stands for good, or by model, which stands until the card's own was learned.
    corrections : mapping
        Of single cards' meters, by UUID.
    default_sigma : float
        One sigma of the gain of a card without a correction.
    """

    def __init__(
        self,
        idle_w: Mapping[str, float] | None = None,
        corrections: Mapping[str, MeterCorrection] | None = None,
        default_sigma: float = 0.04,
    ) -> None:
        self.idle_w = dict(idle_w or {})
        self.corrections = dict(corrections or {})
        self.default_sigma = default_sigma
        self.learned_mw: dict[str, float] = {}
        self._rests: dict[str, _Rest] = {}
        # What was filled in last: while nothing changes, windows have the very same devices.
        self._before: dict[str, tuple[Device, tuple[int, ...], Device]] = {}
        self._devices: tuple[Device, ...] = ()

    def apply(self, window: Window) -> Window:
        """Return the window with its devices filled in, learning from it where a GPU is idle.

        Utilisation that is stuck is not a reading of how busy a GPU is: it becomes unknown.
        """
        held = {int(gpu) for gpu in window.usage.gpu}
        busy_us = window.busy_us.copy()
        for gpu, device in enumerate(window.devices):
            rest = self._rests.setdefault(device.uuid, _Rest(window.start_us))
            if self._is_idle(window, gpu, device, rest, held=gpu in held):
                self._learn(window, gpu, device)
            if rest.latched:
                busy_us[gpu] = MISSING
        devices = tuple(self._filled_in(device) for device in window.devices)
        if [*map(id, devices)] != [*map(id, self._devices)]:
            self._devices = devices
        return replace(window, busy_us=busy_us, devices=self._devices)

    def _is_idle(self, window: Window, gpu: int, device: Device, rest: _Rest, *, held: bool) -> bool:
        """Return whether a GPU is known to be idle in this window, and has settled."""
        busy_us, length_us = int(window.busy_us[gpu]), window.end_us - window.start_us
        listed = _listed(window, gpu)
        nobody = listed == 0 and not held and not device.capabilities.get("all_processes")
        if listed > 0:
            rest.unseen_us = 0
        if 0 <= busy_us < length_us:
            rest.full_since_us, rest.latched = MISSING, False
            rest.unseen_us += length_us if nobody and busy_us else 0
        if (busy_us == 0 and not held and math.isnan(listed)) or (nobody and busy_us < 0):
            return False  # one of the two failed, and the other says that there is nothing to settle from
        if not nobody or busy_us < 0 or 0 < busy_us < length_us or rest.unseen_us > UNSEEN_US:
            rest.since_us, rest.full_since_us, rest.fresh = MISSING, MISSING, False
            return False
        if rest.since_us < 0:
            rest.since_us = window.start_us
        if busy_us and not self._is_latched(window, device, rest):
            return False
        new = rest.fresh and device.uuid not in self.learned_mw
        return new or window.start_us - rest.since_us >= SETTLE_US

    @staticmethod
    def _is_latched(window: Window, device: Device, rest: _Rest) -> bool:
        """Return whether the 100 % of a GPU without anybody is stuck, as Blackwell's was seen to be.

        Utilisation by somebody who is not seen changes: within seconds it begins, ends, or waits for something.
        """
        if rest.full_since_us < 0:
            rest.full_since_us = window.start_us
        if not rest.latched and window.end_us - rest.full_since_us > UNSEEN_US:
            rest.latched = True
            text = "GPU %d: utilisation stuck at 100 %% for %d s without a process, treated as idle"
            LOG.warning(text, device.index, UNSEEN_US // 1_000_000)
        return rest.latched

    def _learn(self, window: Window, gpu: int, device: Device) -> None:
        lo, hi = int(window.readings.offsets[gpu]), int(window.readings.offsets[gpu + 1])
        bound = device.limit_mw * BOUND_SHARE_OF_LIMIT if device.limit_mw > 0 else device.ceiling_mw
        powers = [power for power in window.readings.power_mw[lo:hi].tolist() if 0 < power <= bound]
        if powers and device.uuid not in self.learned_mw:
            self.learned_mw[device.uuid] = float(np.median(powers))  # of the first window, at once
            return
        for power in powers:
            self.learned_mw[device.uuid] += SMOOTHING * (power - self.learned_mw[device.uuid])

    def _filled_in(self, device: Device) -> Device:
        correction = self.corrections.get(device.uuid, MeterCorrection(sigma=self.default_sigma))
        known = (
            self._idle_mw(device),
            MISSING if self._knows_idle(device) else round(device.limit_mw * PRIOR_SIGMA_OF_LIMIT),
            round((correction.gain - 1) * 1e6),
            round(correction.offset_w * 1e3),
            round(correction.sigma * 1e6),
        )
        before = self._before.get(device.uuid)
        if before is not None and before[0] is device and before[1] == known:
            return before[2]
        idle_mw, idle_sigma_mw, gain_ppm, offset_mw, sigma_gain_ppm = known
        filled = replace(
            device,
            idle_mw=idle_mw,
            idle_sigma_mw=idle_sigma_mw,
            gain_ppm=gain_ppm,
            offset_mw=offset_mw,
            sigma_gain_ppm=sigma_gain_ppm,
        )
        self._before[device.uuid] = device, known, filled
        return filled

    def _knows_idle(self, device: Device) -> bool:
        known = device.uuid in self.idle_w or device.uuid in self.learned_mw or device.model in self.idle_w
        return known or device.limit_mw <= 0

    def _idle_mw(self, device: Device) -> int:
        if device.uuid in self.idle_w:
            return round(self.idle_w[device.uuid] * 1e3)
        if device.uuid in self.learned_mw:
            return round(self.learned_mw[device.uuid])
        if device.model in self.idle_w:
            return round(self.idle_w[device.model] * 1e3)
        return round(device.limit_mw * PRIOR_SHARE_OF_LIMIT) if device.limit_mw > 0 else device.idle_mw


def correct(intervals: EnergyIntervals, devices: Sequence[Device]) -> None:
    """Correct intervals in place by what is known of each card's meter: E (1 + gain) + offset x time, in whole hnj."""
    for i, device in enumerate(devices):
        if device.gain_ppm == 0 and device.offset_mw == 0:
            continue
        mine = slice(int(intervals.starts[i]), int(intervals.starts[i] + intervals.counts[i]))
        energy = intervals.energy_hnj[mine]
        energy += energy // PPM * device.gain_ppm + energy % PPM * device.gain_ppm // PPM
        energy += 2 * device.offset_mw * (intervals.t1_us[mine] - intervals.t0_us[mine])
        np.maximum(energy, 0, out=energy)


def _listed(window: Window, gpu: int) -> float:
    """Return how many processes the driver lists on a GPU; NaN, where it does not say, is not 0."""
    listed = window.gauges.get("processes")
    return math.nan if listed is None else float(listed[gpu])
