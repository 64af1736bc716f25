"""Power meters among the kernel's hardware monitors: ACPI's, Grace's, and chips on the boards of known makers.

Only chips of an allowlist are read: the tree is full of regulators and batteries whose watts lie in others'.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from wattshed.agent.host.sensors import (
    MOST_SENSORS,
    MeterSensor,
    NoReadingError,
    NotRead,
    SensorReading,
    domain_of,
    number,
    whole,
    word,
)
from wattshed.agent.window.host_meters import COUNTER, DEVICE, GAUGE, MODULE, NODE_AC, PACKAGE, HostMeter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wattshed.agent.host.files import HostFiles

FOLDER = "class/hwmon"
_CHIPS = re.compile(r"amd_energy|ina\w{3,5}|ltc\w{3,5}|adm1\d{3}|occ")
_HWMON = re.compile(r"hwmon(\d{1,6})")
_VALUE = re.compile(r"(power|energy)(\d{1,3})_(average|input)")
_SOCKET = re.compile(r"(Module|Grace|CPU|SysIO) Power Socket (\d{1,3})")
_PARTS = {"module": (MODULE, ""), "grace": (PACKAGE, "module"), "cpu": (PACKAGE, "grace"), "sysio": (DEVICE, "grace")}
UNKNOWN_UW = 0xFFFF_FFFF * 1000
"""What ACPI answers where it knows no power (lm-sensors#460; TH500's tables)."""


class Hwmon:
    """One of the three kinds of hardware monitors as a source: they are read in threads of their own.

    Parameters
    ----------
    files : HostFiles
        Below ``/sys``.
    kind : str
        ``"grace"``, the sockets of Grace; ``"acpi"``, other meters of ACPI: some firmware takes long, or logs an error
        for each read (node_exporter#903); ``"hwmon"``, chips.
    """

    look_us = 30_000_000

    def __init__(self, files: HostFiles, kind: str) -> None:
        self._files = files
        self.name = kind
        self._known: dict[str, str] = {}  # file -> the domain that it keeps, though other chips come and go

    def look(self) -> tuple[list[MeterSensor], list[NotRead]]:
        """Find the meters of this kind."""
        chips = sorted((int(match[1]), name) for name in self._files.names(FOLDER) if (match := _HWMON.fullmatch(name)))
        find = {"grace": self._grace, "acpi": self._acpi, "hwmon": self._chips}[self.name]
        sensors: list[MeterSensor] = []
        for _, folder in chips:
            sensors += find(f"{FOLDER}/{folder}", word(self._files, f"{FOLDER}/{folder}/name"))
            if len(sensors) > MOST_SENSORS:
                return sensors[:MOST_SENSORS], [NotRead(self.name, f"too many meters ({MOST_SENSORS} are read)")]
        if self.name == "grace":
            return self._nested(sensors), []
        return sensors, []

    def remedy(self, reason: str) -> str:
        """Say what helps: these files are everybody's to read."""
        return "the file is not readable for the agent's user: see its mode" if reason == "denied" else ""

    def _grace(self, chip: str, name: str) -> Iterator[MeterSensor]:
        """Find the meter of a socket of Grace, which says itself what it meters."""
        match = _SOCKET.fullmatch(self._oem(chip)) if name == "power_meter" else None
        if match is None:
            return
        part, socket = match[1].lower(), match[2]
        for path in self._values(chip):
            boundary, parent = _PARTS[part]
            window_us = 1000 * number(self._files, f"{path.rpartition('/')[0]}/power1_average_interval", 0) or -1
            aliases = 0 < window_us < 1_000_000
            meter = HostMeter(
                "grace",
                f"{part}-{socket}",
                GAUGE,
                boundary,
                f"{parent}-{socket}" if parent else "",
                window_us=window_us,
                sigma_ppm=100_000 if aliases else 50_000,
                flags=("may-alias", "sigma-assumed") if aliases else ("sigma-assumed",),
            )
            yield MeterSensor(meter, partial(self._power, path))

    def _nested(self, sensors: list[MeterSensor]) -> list[MeterSensor]:
        """Leave out of `part_of` what is not there: a module's own socket is missing on some trays."""
        there = {sensor.meter.domain for sensor in sensors}
        unique = {sensor.meter.domain: sensor for sensor in reversed(sensors)}
        return [
            sensor
            if sensor.meter.part_of in there or not sensor.meter.part_of
            else sensor._replace(meter=_apart(sensor.meter))
            for sensor in reversed(unique.values())
        ]

    def _acpi(self, chip: str, name: str) -> Iterator[MeterSensor]:
        """Find a meter of ACPI that says nothing of itself: on servers it meters what the host draws."""
        if name != "power_meter" or _SOCKET.fullmatch(self._oem(chip)):
            return
        for path in self._values(chip):
            interval = number(self._files, f"{path.rpartition('/')[0]}/power1_average_interval", 0)
            meter = HostMeter(
                "hwmon",
                self._domain(path, "power_meter"),
                GAUGE,
                NODE_AC,
                window_us=1000 * interval or -1,
                period_us=5_000_000,
                sigma_ppm=100_000,
                flags=("sigma-assumed",),
            )
            yield MeterSensor(meter, partial(self._power, path), tries=3)

    def _chips(self, chip: str, name: str) -> Iterator[MeterSensor]:
        """Find the powers and energies of a chip that is known."""
        if not _CHIPS.fullmatch(name):
            return
        socket = name == "amd_energy"
        for path in self._values(chip):
            kind, place = re.findall(r"(power|energy)(\d+)_", path)[-1]
            label = word(self._files, f"{path.rpartition('/')[0]}/{kind}{place}_label")
            if socket and not label.lower().startswith("esocket"):
                continue  # that of a core is in its socket's
            meter = HostMeter(
                "hwmon",
                self._domain(path, f"{name}-{domain_of(label) or kind + place}"),
                GAUGE if kind == "power" else COUNTER,
                PACKAGE if socket else DEVICE,
                window_us=-1 if path.endswith("_average") else 0,
                ceiling_mw=1_000_000 if socket else 20_000_000,
                sigma_ppm=100_000 if socket else 50_000,
                flags=("sigma-assumed",),
            )
            yield MeterSensor(meter, partial(self._power if kind == "power" else self._energy, path))

    def _values(self, chip: str) -> Iterator[str]:
        """Yield the files of a chip's values, in order: of one power the mean rather than the instant."""
        for folder in (chip, f"{chip}/device"):
            found: dict[tuple[str, int], str] = {}
            for name in self._files.names(folder):
                if match := _VALUE.fullmatch(name):
                    what = match[1], int(match[2])
                    if match[3] == "average" or what not in found:
                        found[what] = name
            yield from (f"{folder}/{name}" for _, name in sorted(found.items()))
            if found:
                return

    def _domain(self, path: str, wanted: str) -> str:
        """Return the domain of a file, with a number where another one has it."""
        if path not in self._known:
            taken, again = set(self._known.values()), 2
            self._known[path] = wanted
            while self._known[path] in taken:
                self._known[path] = f"{wanted}-{again}"
                again += 1
        return self._known[path]

    def _oem(self, chip: str) -> str:
        return word(self._files, f"{chip}/device/power1_oem_info") or word(self._files, f"{chip}/power1_oem_info")

    def _power(self, path: str) -> SensorReading:
        power_uw = whole(self._files.read(path))
        if power_uw == UNKNOWN_UW:
            raise NoReadingError("unknown")
        return SensorReading((power_uw + 500) // 1000)

    def _energy(self, path: str) -> SensorReading:
        return SensorReading(whole(self._files.read(path)))


def _apart(meter: HostMeter) -> HostMeter:
    return replace(meter, part_of="")
