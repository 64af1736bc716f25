"""Energy counters of HPE Cray EX nodes: ``/sys/cray/pm_counters``, renewed at 10 Hz, readable by all.

A file is ``123456789 J 1707930550000000 us``; of it the first number is read. ``energy`` is that of the whole node,
accelerators included (HPE's documentation of pm_counters).
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from wattshed.agent.host.sensors import MOST_SENSORS, MeterSensor, NoReadingError, NotRead, SensorReading, number, whole
from wattshed.agent.window.host_meters import COUNTER, DEVICE, MEMORY, NODE_DC, PACKAGE, HostMeter

if TYPE_CHECKING:
    from wattshed.agent.host.files import HostFiles

FOLDER = "cray/pm_counters"
_COUNTER = re.compile(r"(?:(cpu|memory|accel)(\d{0,3})_)?energy")
_BOUNDARY = {"cpu": PACKAGE, "memory": MEMORY, "accel": DEVICE, None: NODE_DC}


class Cray:
    """The counters of a Cray's node as a source.

    Parameters
    ----------
    files : HostFiles
        Below ``/sys``.
    """

    name = "cray"
    look_us = 30_000_000

    def __init__(self, files: HostFiles) -> None:
        self._files = files
        self._fresh: dict[str, int] = {}  # file -> state of `freshness` when it was read

    def look(self) -> tuple[list[MeterSensor], list[NotRead]]:
        """Find the counters."""
        names = [name for name in self._files.names(FOLDER) if _COUNTER.fullmatch(name)]
        whole_node = "energy" in names
        return [self._sensor(name, whole_node=whole_node) for name in names[:MOST_SENSORS]], []

    def remedy(self, reason: str) -> str:
        """Say what helps: these files are everybody's to read."""
        return "mount /sys/cray into the container" if reason == "denied" else ""

    def _sensor(self, name: str, *, whole_node: bool) -> MeterSensor:
        part, place = match.groups() if (match := _COUNTER.fullmatch(name)) else (None, None)
        domain = "node" if part is None else f"{part}{place}"
        meter = HostMeter(
            self.name,
            domain,
            COUNTER,
            _BOUNDARY[part],
            "node" if whole_node and part is not None else "",
            sigma_ppm=30_000,
            flags=("sigma-assumed",),
        )
        return MeterSensor(meter, partial(self._read, f"{FOLDER}/{name}"))

    def _read(self, path: str) -> SensorReading:
        """Read joules; the counter `freshness` says whether they were renewed since the last read."""
        fresh = number(self._files, f"{FOLDER}/freshness", -1)
        energy_j = whole(self._files.read(path))
        if fresh >= 0 and self._fresh.get(path) == fresh:
            raise NoReadingError("stale")
        self._fresh[path] = fresh
        if energy_j > 2**42:
            raise NoReadingError("huge")
        return SensorReading(energy_j * 1_000_000)
