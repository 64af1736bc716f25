"""Readings of a simulated node's BMC and of other meters outside the kernel, as files that root's readers write."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from wattshed.agent.simulation.host_sensor import GONE, HostSensor
from wattshed.agent.simulation.sysfs import KERNEL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wattshed.agent.clock import Clock

SCHEMA = "wattshed.reading/1"
SIGMA_PPM = 50_000


class DroppedReadings:
    """Writes a file for each meter whenever it publishes.

    Parameters
    ----------
    folder : Path
    sensors : sequence of HostSensor
        Those of the kernel's sources are left out.
    clock : Clock
    boot_id : str
    """

    def __init__(self, folder: Path, sensors: Sequence[HostSensor], clock: Clock, boot_id: str) -> None:
        self._folder, self._clock, self._boot_id = folder, clock, boot_id
        self._monotonic_us = clock.now_us if clock.virtual else _monotonic_us
        self._sensors = [one for one in sensors if one.script.source not in KERNEL]
        self._due_us = dict.fromkeys((one.script.name for one in self._sensors), clock.now_us())
        if self._sensors:
            folder.mkdir(mode=0o755)
            self.write()

    @property
    def next_us(self) -> int | None:
        """When the next one is due; None: there are none."""
        return min(self._due_us.values(), default=None)

    def write(self) -> None:
        """Write what is due."""
        now_us = self._clock.now_us()
        for sensor in self._sensors:
            about = sensor.script
            if self._due_us[about.name] > now_us:
                continue
            self._due_us[about.name] = now_us - now_us % about.period_us + about.period_us
            target = self._folder / f"{about.source}-{about.domain}.json"
            if sensor.strikes(GONE):
                target.unlink(missing_ok=True)
            elif not (sensor.strikes("hung") or sensor.strikes("denied")):  # its reader gets no answer: it grows old
                self._replace(target, json.dumps(self._reading(sensor)))

    def _reading(self, sensor: HostSensor) -> dict[str, object]:
        about, power_mw = sensor.script, sensor.power_mw()
        return {
            "schema": SCHEMA,
            "source": about.source,
            "domain": about.domain,
            "part_of": about.part_of,
            "boundary": "ac",
            "boot_id": self._boot_id,
            "monotonic_us": self._monotonic_us(),
            "period_us": about.period_us,
            "power_mw": 0 if power_mw is None else power_mw,
            "sigma_ppm": SIGMA_PPM,
        }

    @staticmethod
    def _replace(target: Path, text: str) -> None:
        beside = target.with_suffix(".new")
        beside.write_text(text, encoding="ascii")
        beside.chmod(0o644)
        beside.replace(target)


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000
