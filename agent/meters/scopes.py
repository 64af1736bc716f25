"""Powers that the driver reports beside a GPU's own, as meters of the host: of the module it sits on, of its memory.

GPUs of one superchip show the same module: it is read through one of them, that of the lowest number, for as long as
they agree. Which GPUs may be on one, the kernel says: those that are local to the same CPUs.
"""

from __future__ import annotations

import logging
from math import sqrt
from statistics import fmean, pvariance
from typing import TYPE_CHECKING

from wattshed.agent.window.host_meters import GAUGE, MEMORY, MODULE, NO_HOST_METERS, HostMeter, HostReadings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wattshed.agent.window import Device

LOG = logging.getLogger("wattshed.meters")
SOURCE = "nvml"
MODULE_W, MEMORY_W = "power_module_w", "power_memory_w"
WATCH_US = 60_000_000
MOST_APART = 0.02
SIGMAS = 3
SIGMA_PPM = 50_000


class Scopes:
    """Collects the powers of modules and memory of all GPUs, window by window.

    Parameters
    ----------
    period_us : int, us
        How often they are read.
    local_cpus : callable
        Says of a device which CPUs are local to it; empty if that is not known.
    """

    def __init__(self, period_us: int, local_cpus: Callable[[Device], str]) -> None:
        self._period_us, self._local_cpus = period_us, local_cpus
        self._places: dict[str, int] = {}
        self._meters: tuple[HostMeter, ...] = ()
        self._rows: list[tuple[int, int, int]] = []
        self._chips: dict[str, _Superchip] = {}  # by the local CPUs
        self._chip_of: dict[str, str] = {}  # uuid -> local CPUs

    def add(self, device: Device, time_us: int, powers: Mapping[str, float], own_w: float, alike_w: float) -> None:
        """Take what one reading showed.

        Parameters
        ----------
        device : Device
        time_us : int, us
        powers : mapping of str to float, W
            By gauge, as far as they can be true.
        own_w, alike_w : float, W
            The GPU's own in the same call, its mean and as the module's is: a mean, or of that moment; 0 or less where
            that is not known. Of a module's moment, as GPUs change quickly, the mean is the GPU's mean and what the
            module takes beyond the GPU's moment. What is "memory" to one driver is another scope to the next, and no
            memory draws as much as its GPU.
        """
        if device.index < 0:
            return
        module = ""
        if (power_w := powers.get(MODULE_W, 0.0)) > 0:
            mean_w = power_w - alike_w + own_w if own_w > 0 and 0 < alike_w < power_w else power_w
            module = self._module(device, time_us, mean_w)
        if 0 < (power_w := powers.get(MEMORY_W, 0.0)) < own_w:
            self._append(f"memory-{device.index}", MEMORY, module, time_us, power_w)

    def take(self, end_us: int) -> HostReadings:
        """Return what was read before the end of a window."""
        if not self._meters:
            return NO_HOST_METERS
        ready = [row for row in self._rows if row[1] < end_us]
        self._rows = [row for row in self._rows if row[1] >= end_us]
        return HostReadings.of(self._meters, ready)

    def _module(self, device: Device, time_us: int, power_w: float) -> str:
        """Note the power of the module that a GPU sits on; returns its domain."""
        if device.uuid not in self._chip_of:
            self._chip_of[device.uuid] = self._local_cpus(device) or device.uuid
        chip = self._chips.setdefault(self._chip_of[device.uuid], _Superchip())
        number = chip.number(device.index, time_us, power_w)
        domain = f"module-{number}"
        if number == device.index:
            self._append(domain, MODULE, "", time_us, power_w)
        return domain

    def _append(self, domain: str, boundary: str, part_of: str, time_us: int, power_w: float) -> None:
        place = self._places.get(domain)
        if place is None:
            place = self._places[domain] = len(self._meters)
            self._meters += (
                HostMeter(
                    SOURCE, domain, GAUGE, boundary, part_of,
                    period_us=self._period_us, sigma_ppm=SIGMA_PPM, flags=("sigma-assumed",),
                ),
            )  # fmt: skip
        self._rows.append((place, time_us, round(power_w * 1e3)))


class _Superchip:
    """GPUs that may be on one module, and whether what they show of it agrees."""

    def __init__(self) -> None:
        self._apart = False
        self._since_us = 0
        self._seen: dict[int, list[float]] = {}  # number of a GPU -> W, reading by reading
        self._first: int | None = None

    def number(self, index: int, time_us: int, power_w: float) -> int:
        """Return the number of the module that a GPU shows: that of the first GPU on it."""
        if self._apart:
            return index
        if self._first is None or index < self._first:
            self._first = index
        self._seen.setdefault(index, []).append(power_w)
        if not self._since_us:
            self._since_us = time_us
        elif time_us - self._since_us >= WATCH_US:
            self._compare()
            self._since_us, self._seen = time_us, {}
        return index if self._apart else self._first

    def _compare(self) -> None:
        """Tell modules apart by means that differ by more than moments at different times of a changing load do."""
        means = {index: fmean(seen) for index, seen in self._seen.items()}
        if len(means) < 2:
            return
        errors = sum(pvariance(seen) / len(seen) for seen in self._seen.values())
        if max(means.values()) - min(means.values()) > MOST_APART * max(means.values()) + SIGMAS * sqrt(errors):
            self._apart = True
            told = ", ".join(f"{watts:.0f} W by GPU {index}" for index, watts in sorted(means.items()))
            LOG.info(
                "GPUs of the same CPUs show modules of different power (%s): counted as modules of their own", told
            )
