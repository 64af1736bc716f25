"""Energy counters of processors, Intel's and AMD's, in the kernel's powercap tree.

Names are the kernel's own (drivers/powercap/intel_rapl_common.c): ``package-0`` or ``package-0-die-1`` at the top, with
``core``, ``uncore`` and ``dram`` below, and ``psys`` beside it, which holds the whole platform. What lies below a
package in the tree need not lie in its energy: memory stands beside it.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from wattshed.agent.host.sensors import (
    MOST_SENSORS,
    MeterSensor,
    NoReadingError,
    NotRead,
    SensorReading,
    number,
    whole,
    word,
)
from wattshed.agent.window.host_meters import COUNTER, DEVICE, MEMORY, PACKAGE, HostMeter

if TYPE_CHECKING:
    from wattshed.agent.host.files import HostFiles

FOLDER = "class/powercap"
_ZONE = re.compile(r"intel-rapl:(\d{1,6})(?::(\d{1,6}))?")  # intel-rapl-mmio:0 shows the same package once more
_AMD_UJ = 65_532_610_987
"""Where AMD's counters begin anew: 2^32 of 15.3 uJ. Intel counts packages in other units, memory in the same."""
_PACKAGE_MW, _MEMORY_MW, _PLATFORM_MW = 1_000_000, 400_000, 4_000_000
_MEMORY_MW_PER_GIB = 1500
"""No memory takes more; some domains of memory show 200 W beside 6 (icl-utk-edu/papi#635)."""


class Rapl:
    """The powercap tree as a source.

    Parameters
    ----------
    files : HostFiles
        Below ``/sys``.
    """

    name = "rapl"
    look_us = 30_000_000

    def __init__(self, files: HostFiles) -> None:
        self._files = files

    def look(self) -> tuple[list[MeterSensor], list[NotRead]]:
        """Find all zones."""
        zones = sorted(
            (int(match[1]), int(match[2]) if match[2] else -1, name)
            for name in self._files.names(FOLDER)
            if (match := _ZONE.fullmatch(name))
        )
        refused = []
        if len(zones) > MOST_SENSORS:
            refused = [NotRead("rapl", f"too many zones ({len(zones)}; {MOST_SENSORS} are read)")]
            del zones[MOST_SENSORS:]
        names = {(top, below): word(self._files, f"{FOLDER}/{folder}/name") for top, below, folder in zones}
        platform = next((name for name in names.values() if name == "psys"), "")
        memories = sum(name == "dram" for name in names.values())
        sensors: dict[str, MeterSensor] = {}
        for top, below, folder in zones:
            name, parent = names[top, below], names.get((top, -1), "")
            if not name or (below >= 0 and not parent):
                refused.append(NotRead(f"rapl/{folder}", "its name cannot be read"))
                continue
            meter = self._meter(folder, name, parent if below >= 0 else "", platform, memories)
            if meter.domain in sensors:
                refused.append(NotRead(meter.name, "two zones have this name"))
                continue
            sensors[meter.domain] = MeterSensor(
                meter, partial(self._read, f"{FOLDER}/{folder}/energy_uj", meter.wrap_uj)
            )
        return list(sensors.values()), refused

    def remedy(self, reason: str) -> str:
        """Say how the agent comes to read them: only root may since CVE-2020-8694."""
        if reason != "denied":
            return ""
        return (
            "energy_uj is root's alone: the package's udev rule lets the group wattshed-rapl read it "
            "(udevadm trigger -s powercap); in a container mount the host's /sys and set node.sys_root"
        )

    def _meter(self, folder: str, name: str, parent: str, platform: str, memories: int) -> HostMeter:
        wrap_uj = number(self._files, f"{FOLDER}/{folder}/max_energy_range_uj", 0)
        amd = wrap_uj == _AMD_UJ and name != "dram"
        boundary, ceiling_mw, sigma_ppm, part_of = PACKAGE, _PACKAGE_MW, 100_000 if amd else 50_000, parent
        domain = name + parent.removeprefix("package") if parent else name
        if name.startswith("psys"):
            boundary, ceiling_mw, part_of = DEVICE, _PLATFORM_MW, "psys" if name != "psys" else ""
        elif name == "dram":
            boundary, ceiling_mw, sigma_ppm, part_of = MEMORY, self._memory_mw(memories), 100_000, platform
        elif not parent:
            part_of = platform
        return HostMeter(
            self.name,
            domain,
            COUNTER,
            boundary,
            part_of,
            wrap_uj=wrap_uj,
            ceiling_mw=ceiling_mw,
            sigma_ppm=sigma_ppm,
            flags=("sigma-assumed",),
        )

    def _memory_mw(self, memories: int) -> int:
        """Return what the memory of one domain can take at most."""
        nodes = [name for name in self._files.names("devices/system/node") if re.fullmatch(r"node\d{1,4}", name)]
        gib = sum(self._gib(f"devices/system/node/{name}/meminfo") for name in nodes)
        return round(_MEMORY_MW_PER_GIB * gib / memories) or _MEMORY_MW

    def _gib(self, path: str) -> float:
        try:
            found = re.search(rb"MemTotal:\s+(\d{1,15}) kB", self._files.read(path))
        except OSError:
            return 0.0
        return int(found[1]) / 2**20 if found else 0.0

    def _read(self, path: str, wrap_uj: int) -> SensorReading:
        value_uj = whole(self._files.read(path))
        if wrap_uj and value_uj > wrap_uj:
            raise NoReadingError("huge")
        return SensorReading(value_uj)
