"""What is known about each card beside its readings: its meter's gain and offset, and what it draws when idle.

It is written into a window's devices before the window is recorded and accounted, so that a recording replays with the
very numbers that it was accounted with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.window import Device, Window

SETTLE_US = 30_000_000  # clocks and temperatures take a while to come down after a job
PRIOR_SHARE_OF_LIMIT = 0.10  # measured idle of A100, H100 and H200: 62 to 80 W of 400 to 700 W
SMOOTHING = 0.02
BOUND_SHARE_OF_LIMIT = 0.4  # what draws more than this with no process in sight is not idle


@dataclass(frozen=True, slots=True)
class MeterCorrection:
    """True power = shown power x ``gain`` + ``offset_w`` (W); ``sigma`` is one sigma of the gain that is left."""

    gain: float = 1.0
    offset_w: float = 0.0
    sigma: float = 0.02


class Calibrator:
    """Fills in what the operator knows about the cards, and learns idle power while nobody uses them.

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
        self._free_since: dict[str, int] = {}

    def apply(self, window: Window) -> Window:
        """Return the window with its devices filled in, learning from it where a GPU is free."""
        used = {int(gpu) for gpu in window.usage.gpu}
        for gpu, device in enumerate(window.devices):
            if gpu in used or window.busy_us[gpu] > 0:
                self._free_since.pop(device.uuid, None)
            elif window.start_us - self._free_since.setdefault(device.uuid, window.start_us) >= SETTLE_US:
                self._learn(window, gpu, device)
        return replace(window, devices=tuple(self._filled_in(device) for device in window.devices))

    def _learn(self, window: Window, gpu: int, device: Device) -> None:
        lo, hi = int(window.readings.offsets[gpu]), int(window.readings.offsets[gpu + 1])
        bound = device.limit_mw * BOUND_SHARE_OF_LIMIT if device.limit_mw > 0 else device.ceiling_mw
        for power in window.readings.power_mw[lo:hi].tolist():
            if 0 < power <= bound:
                known = self.learned_mw.get(device.uuid, float(power))
                self.learned_mw[device.uuid] = known + SMOOTHING * (power - known)

    def _filled_in(self, device: Device) -> Device:
        correction = self.corrections.get(device.uuid, MeterCorrection(sigma=self.default_sigma))
        return replace(
            device,
            idle_mw=self._idle_mw(device),
            gain_ppm=round((correction.gain - 1) * 1e6),
            offset_mw=round(correction.offset_w * 1e3),
            sigma_gain_ppm=round(correction.sigma * 1e6),
        )

    def _idle_mw(self, device: Device) -> int:
        if device.uuid in self.idle_w:
            return round(self.idle_w[device.uuid] * 1e3)
        if device.uuid in self.learned_mw:
            return round(self.learned_mw[device.uuid])
        if device.model in self.idle_w:
            return round(self.idle_w[device.model] * 1e3)
        return round(device.limit_mw * PRIOR_SHARE_OF_LIMIT) if device.limit_mw > 0 else device.idle_mw
