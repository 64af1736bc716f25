"""Idle power, GPU by GPU: what a card draws when nobody uses it, learned while nobody does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.window import Device, Window

SETTLE_US = 30_000_000  # clocks and temperatures take a while to come down after a job
PRIOR_SHARE_OF_LIMIT = 0.10  # measured idle of A100, H100 and H200: 62 to 80 W of 400 to 700 W
SMOOTHING = 0.02
BOUND_SHARE_OF_LIMIT = 0.4  # what draws more than this with no process in sight is not idle


class IdleCalibrator:
    """Learns idle power from stretches without any process, and writes it into the devices before they are accounted.

    A window carries the idle power that its energy is split by, so that a recording replays with the same number.

    Parameters
    ----------
    configured_w : mapping
        Idle power (W) by UUID or model; stands until a better one was learned (a UUID's stands for good).
    """

    def __init__(self, configured_w: Mapping[str, float] | None = None) -> None:
        self._configured = configured_w or {}
        self.learned_mw: dict[str, float] = {}
        self._free_since: dict[str, int] = {}

    def apply(self, window: Window) -> Window:
        """Return the window with each device's idle power filled in, learning from it where a GPU is free."""
        busy = {int(gpu) for gpu in window.usage.gpu}
        for gpu, device in enumerate(window.devices):
            if gpu in busy or window.busy_us[gpu] > 0:
                self._free_since.pop(device.uuid, None)
            elif window.start_us - self._free_since.setdefault(device.uuid, window.start_us) >= SETTLE_US:
                self._learn(window, gpu, device)
        return replace(window, devices=tuple(self._with_idle(device) for device in window.devices))

    def _learn(self, window: Window, gpu: int, device: Device) -> None:
        lo, hi = int(window.readings.offsets[gpu]), int(window.readings.offsets[gpu + 1])
        bound = device.limit_mw * BOUND_SHARE_OF_LIMIT if device.limit_mw > 0 else device.ceiling_mw
        for power in window.readings.power_mw[lo:hi].tolist():
            if 0 < power <= bound:
                known = self.learned_mw.get(device.uuid, float(power))
                self.learned_mw[device.uuid] = known + SMOOTHING * (power - known)

    def _with_idle(self, device: Device) -> Device:
        if device.uuid in self._configured:
            idle = self._configured[device.uuid] * 1e3
        elif device.uuid in self.learned_mw:
            idle = self.learned_mw[device.uuid]
        elif device.model in self._configured:
            idle = self._configured[device.model] * 1e3
        elif device.limit_mw > 0:
            idle = device.limit_mw * PRIOR_SHARE_OF_LIMIT
        else:
            return device
        return replace(device, idle_mw=round(idle))
