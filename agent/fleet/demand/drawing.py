"""Where the fleets of an ensemble are drawn: what ``--device`` asked for, what came of it, and why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.kernels import devices
from wattshed.kernels.devices import NO_DEVICE, PASS_START_S
from wattshed.kernels.ensemble import bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class Drawing:
    """Draws stretch after stretch of an ensemble, on the CPU or on a CUDA device; the integers are the same.

    Parameters
    ----------
    asked : {"auto", "cpu", "cuda"}
        With "auto" the first stretch is drawn on the CPU. Where what is left would take it seconds, a device is tried,
        and kept if it is quicker once its kernels are compiled.
    clock : callable
        Seconds.

    Attributes
    ----------
    stretches : dict of device -> int
        How many were drawn where.
    reason : str

    Raises
    ------
    InputError
        If "cuda" cannot be had.
    """

    def __init__(self, asked: str, *, clock: Callable[[], float] = time.perf_counter) -> None:
        if asked == "cuda" and (why := devices.obstacle()):
            raise InputError(f"--device cuda: no usable CUDA device here ({why}); use --device cpu")
        self._clock = clock
        self._asked, self._device = asked, "cuda" if asked == "cuda" else "cpu"
        self._took: dict[str, float] = {}
        self.stretches = {"cpu": 0, "cuda": 0}
        self.reason = "asked for" if asked != "auto" else ""

    def fleets(self, totals_mw: NDArray, replicates: int, seed: int, left: int) -> NDArray:  # type: ignore[type-arg]
        """Draw one stretch, see `kernels.ensemble.bootstrap`; ``left`` more of its length follow."""
        device, begun = self._device, self._clock()
        drawn = bootstrap(totals_mw, replicates, seed, device=device)
        self._took[device] = self._clock() - begun
        self.stretches[device] += 1
        if self._asked == "auto":
            self._choose(device, left)
        return drawn

    def _choose(self, device: str, left: int) -> None:
        """Say where the next stretch is drawn."""
        here_s = self._took["cpu"]
        if self.stretches == {"cpu": 1, "cuda": 0}:
            if here_s * left < PASS_START_S:
                self.reason = "so few fleets are drawn before a device has started"
            elif devices.absent():
                self.reason = NO_DEVICE
            elif why := devices.obstacle():
                self.reason = why
            else:
                self._device, self.reason = "cuda", f"{here_s * left:.1f} s of drawing on the CPU were left"
        elif device == "cuda" and self.stretches["cuda"] > 1:  # the first one compiled its kernels
            there_s = self._took["cuda"]
            self.reason = f"a stretch took {here_s:.2f} s on the CPU, {there_s:.2f} s with the device"
            self._device = "cuda" if there_s < here_s else "cpu"

    def told(self) -> dict[str, str]:
        """Say where fleets were drawn: ``device`` and ``device_reason`` of the answer."""
        if not any(self.stretches.values()):
            other = "a device only draws fleets of the recorded jobs (--limit without --scale)"
            return {"device": "cpu", "device_reason": "asked for" if self._asked == "cpu" else other}
        return {"device": "cuda" if self.stretches["cuda"] else "cpu", "device_reason": self.reason}
