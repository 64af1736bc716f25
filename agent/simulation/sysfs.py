"""The sysfs of a simulated node: its host meters as kernels show them, by what really flows at the moment of a read.

The trees are those of real machines: powercap zones (Intel, and AMD under the same names), ACPI power meters of
superchips and of servers below ``class/hwmon``, and HPE's ``cray/pm_counters``.
"""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import TYPE_CHECKING

from wattshed.agent.simulation.host_sensor import GONE, UNKNOWN_UW, HostSensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from wattshed.agent.clock import Clock

KERNEL = ("rapl", "hwmon", "grace", "cray")
"""Sources that the kernel shows; all others are dropped files."""
OEM = {"module": "Module", "grace": "Grace", "cpu": "CPU", "sysio": "SysIO"}
SLOWEST_MS = 1000
CORES = 72  # of a package, as /sys/bus/pci/devices/.../local_cpulist tells them

File = tuple["HostSensor | None", "Callable[[], str]"]


class SimulatedSys:
    """Small files below what stands for ``/sys``; a :class:`agent.host.files.HostFiles`.

    Parameters
    ----------
    sensors : sequence of HostSensor
    clock : Clock
    """

    def __init__(self, sensors: Sequence[HostSensor], clock: Clock) -> None:
        self._clock = clock
        self._files: dict[str, File] = {}
        by_source = {source: [one for one in sensors if one.script.source == source] for source in KERNEL}
        self._rapl(by_source["rapl"])
        self._hwmon([*by_source["grace"], *by_source["hwmon"]])
        if by_source["cray"]:
            self._cray(by_source["cray"])

    def names(self, folder: str) -> list[str]:
        """Return what is in a folder, in order; nothing if there is no such folder."""
        before = f"{folder.strip('/')}/" if folder.strip("/") else ""
        inside = {
            path[len(before) :].partition("/")[0]
            for path, (sensor, _) in self._files.items()
            if path.startswith(before) and not (sensor is not None and sensor.strikes(GONE))
        }
        return sorted(inside)

    def read(self, path: str) -> bytes:
        """Return what a file says now; raises OSError."""
        sensor, text = self._files.get(path.strip("/"), (None, _missing))
        if sensor is not None and sensor.strikes(GONE):
            return _missing().encode()
        return f"{text()}\n".encode()

    def close(self) -> None:
        """Nothing is open."""

    def _constant(self, path: str, text: str, sensor: HostSensor | None = None) -> None:
        self._files[path] = sensor, lambda: text

    def _rapl(self, sensors: Sequence[HostSensor]) -> None:
        if sensors:
            self._constant("class/powercap/intel-rapl/enabled", "1")
        inner: dict[str, int] = {}
        for sensor in sensors:
            name, _, package = sensor.script.domain.partition("-")
            zone = f"intel-rapl:{package}"
            if name != "package":
                zone, inner[package] = f"{zone}:{inner.get(package, 0)}", inner.get(package, 0) + 1
            folder = f"class/powercap/{zone}"
            self._constant(f"{folder}/name", sensor.script.domain if name == "package" else name, sensor)
            self._constant(f"{folder}/max_energy_range_uj", str(sensor.script.wrap_uj), sensor)
            self._files[f"{folder}/energy_uj"] = sensor, partial(_shown, sensor.energy_uj)

    def _hwmon(self, sensors: Sequence[HostSensor]) -> None:
        for place, sensor in enumerate(sensors, 1):
            name, _, socket = sensor.script.domain.partition("-")
            of_grace = sensor.script.source == "grace"
            folder = f"class/hwmon/hwmon{place}"
            self._constant(f"{folder}/name", "power_meter", sensor)
            interval_ms = max(1, sensor.script.window_us // 1000)
            texts = {
                "average_interval": str(interval_ms),
                "average_interval_min": str(min(50, interval_ms)),
                "average_interval_max": str(max(SLOWEST_MS, interval_ms)),
                "oem_info": f"{OEM.get(name, name)} Power Socket {socket}" if of_grace else "",
                "is_battery": "0",
            }
            for key, text in texts.items():
                self._constant(f"{folder}/device/power1_{key}", text, sensor)
            self._files[f"{folder}/device/power1_average"] = sensor, partial(_microwatts, sensor)

    def _cray(self, sensors: Sequence[HostSensor]) -> None:
        """Counters in joules with the moment they are of, and how often they were made."""
        for sensor in sensors:
            domain = sensor.script.domain
            file = "energy" if domain == "node" else f"{domain}_energy"
            self._files[f"cray/pm_counters/{file}"] = sensor, partial(self._joules, sensor)
        period_us = sensors[0].script.period_us
        self._files["cray/pm_counters/freshness"] = None, lambda: str(self._clock.now_us() // period_us)
        for name, text in {"generation": "9", "raw_scan_hz": str(1_000_000 // period_us), "version": "2"}.items():
            self._constant(f"cray/pm_counters/{name}", text)

    def _joules(self, sensor: HostSensor) -> str:
        now_us = self._clock.now_us()
        return f"{sensor.energy_uj() // 1_000_000} J {now_us - now_us % sensor.script.period_us} us"


def place_on_bus(sys_root: Path, gpus: Iterable[tuple[str, int]]) -> None:
    """Write which CPUs are local to each GPU, from (PCI address, package)."""
    for address, package in gpus:
        folder = sys_root / f"bus/pci/devices/0000:{address.partition(':')[2].lower()}"
        folder.mkdir(parents=True)
        (folder / "local_cpulist").write_text(f"{package * CORES}-{(package + 1) * CORES - 1}\n")


def _shown(value: Callable[[], int]) -> str:
    return str(value())


def _microwatts(sensor: HostSensor) -> str:
    power_mw = sensor.power_mw()
    return str(UNKNOWN_UW if power_mw is None else power_mw * 1000)


def _missing() -> str:
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
