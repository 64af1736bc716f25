"""Readings that root's readers leave in a folder: a BMC's, a PDU's, a vendor's tool's.

Whoever may write there decides joules, so only what root alone can write is taken, and of that only what is surely one
whole reading of this boot and of now.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from wattshed.agent.host.exchange import SCHEMA
from wattshed.agent.host.sensors import LARGEST, MeterSensor, NoReadingError, NotRead, SensorReading, reason_of
from wattshed.agent.host.sysfs import KERNEL_SOURCES
from wattshed.agent.window.host_meters import (
    COUNTER,
    DEVICE,
    GAUGE,
    MEMORY,
    MODULE,
    NODE_AC,
    NODE_DC,
    PACKAGE,
    HostMeter,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MOST_FILES, MOST_BYTES = 64, 4096
FRESH_PERIODS = 3
SECOND_US, DAY_US = 1_000_000, 86_400_000_000
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_BOUNDARIES = (NODE_AC, NODE_DC, PACKAGE, MEMORY, MODULE, DEVICE)
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


class Dropped:
    """A folder of readings as a source.

    Parameters
    ----------
    folder : Path
    boot_id : str
        Of this boot, as ``/proc/sys/kernel/random/boot_id`` has it.
    monotonic_us : callable
        What CLOCK_MONOTONIC shows now, us.
    owner : int
        Whose folder and files are taken: root's; on a simulated node those of this process' own user.
    """

    name = "drop"
    look_us = SECOND_US

    def __init__(self, folder: Path, boot_id: str, monotonic_us: Callable[[], int], owner: int = 0) -> None:
        self._folder, self._boot_id, self._monotonic_us, self._owner = folder, boot_id, monotonic_us, owner
        self._seen: dict[str, int] = {}  # file -> when its last reading was
        self._meters: dict[str, HostMeter] = {}  # file -> what it had when it was last whole

    def look(self) -> tuple[list[MeterSensor], list[NotRead]]:
        """Find the files. A meter is known from the first whole reading of it."""
        try:
            with os.scandir(self._folder) as entries:
                names = sorted(e.name for e in islice(entries, 4 * MOST_FILES) if e.name.endswith(".json"))
        except FileNotFoundError:
            return [], []
        except OSError as error:
            return [], [NotRead("drop", f"{self._folder}: {error.strerror}")]
        refused = [NotRead("drop", f"more than {MOST_FILES} files")] if len(names) > MOST_FILES else []
        found: dict[str, MeterSensor] = {}
        for name in names[:MOST_FILES]:
            try:
                meter = self._meters[name] if name in self._meters else self._meter(self._document(name))
            except (OSError, NoReadingError) as error:
                reason = reason_of(error) if isinstance(error, OSError) else str(error)
                meter = HostMeter("drop", _safe(name), GAUGE, DEVICE)  # one whose every reading is rejected
                refused.append(NotRead(f"drop/{_safe(name)}", _WHY.get(reason, reason), _REMEDY.get(reason, "")))
            else:
                self._meters[name] = meter
            if meter.name in found:
                refused.append(NotRead(f"drop/{_safe(name)}", f"another file is {meter.name} too"))
                continue
            found[meter.name] = MeterSensor(meter, partial(self._read, name), every_us=SECOND_US)
        self._meters = {name: meter for name, meter in self._meters.items() if name in names}
        return list(found.values()), refused

    def remedy(self, reason: str) -> str:
        """Say what helps."""
        return _REMEDY.get(reason, "")

    def _read(self, name: str) -> SensorReading | None:
        document = self._document(name)
        meter = self._meter(document)
        if name in self._meters and meter.name != self._meters[name].name:
            del self._meters[name]
            raise NoReadingError("renamed")
        time_us, now_us = _integer(document, "monotonic_us", 0, LARGEST), self._monotonic_us()
        if time_us > now_us:
            raise NoReadingError("future")
        if now_us - time_us > FRESH_PERIODS * meter.period_us:
            raise NoReadingError("stale")
        if time_us <= self._seen.get(name, -1):
            return None
        self._seen[name] = time_us
        value = document["power_mw"] if meter.kind == GAUGE else 1000 * document["energy_mj"]
        return SensorReading(value, now_us - time_us)

    def _document(self, name: str) -> Mapping[str, Any]:
        """Read one file that nobody but root can have written, and that no one changes meanwhile."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._trust(os.fstat(folder), "folder")
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            try:
                file = os.open(name, flags, dir_fd=folder)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise NoReadingError("symlink") from None
                raise
            try:
                status = os.fstat(file)
                if not stat.S_ISREG(status.st_mode):
                    raise NoReadingError("no-file")
                self._trust(status, "file")
                text = os.pread(file, MOST_BYTES + 1, 0)
                if text != os.pread(file, MOST_BYTES + 1, 0):
                    raise NoReadingError("torn")
            finally:
                os.close(file)
        finally:
            os.close(folder)
        if len(text) > MOST_BYTES:
            raise NoReadingError("huge")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise NoReadingError("text") from None
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise NoReadingError("schema")
        if not self._boot_id or document.get("boot_id") != self._boot_id:
            raise NoReadingError("boot")
        return document

    def _trust(self, status: os.stat_result, what: str) -> None:
        if status.st_uid != self._owner or status.st_mode & _WRITABLE:
            raise NoReadingError(f"{what}-owner")

    def _meter(self, document: Mapping[str, Any]) -> HostMeter:
        source, domain, part_of = (document.get(key, "") for key in ("source", "domain", "part_of"))
        named = all(isinstance(name, str) and _NAME.fullmatch(name) for name in (source, domain))
        if not named or not (part_of == "" or (isinstance(part_of, str) and _NAME.fullmatch(part_of))):
            raise NoReadingError("name")
        if source in KERNEL_SOURCES:
            raise NoReadingError("source")
        if document.get("boundary") not in _BOUNDARIES:
            raise NoReadingError("boundary")
        kinds = [kind for kind, key in ((GAUGE, "power_mw"), (COUNTER, "energy_mj")) if key in document]
        if len(kinds) != 1:
            raise NoReadingError("schema")
        _integer(document, "power_mw" if kinds[0] == GAUGE else "energy_mj", 0, LARGEST // 1000)
        assumed = "sigma_ppm" not in document
        return HostMeter(
            source,
            domain,
            kinds[0],
            document["boundary"],
            part_of,
            window_us=_integer(document, "window_us", 0, DAY_US) if "window_us" in document else -1,
            period_us=_integer(document, "period_us", SECOND_US // 10, DAY_US),
            sigma_ppm=50_000 if assumed else _integer(document, "sigma_ppm", 0, 1_000_000),
            flags=("sigma-assumed",) if assumed else (),
        )


def _integer(document: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = document.get(key)
    if type(value) is not int:  # true is one, too
        raise NoReadingError("text")
    if value < low:
        raise NoReadingError("negative" if value < 0 else "small")
    if value > high:
        raise NoReadingError("huge")
    return value


def _safe(name: str) -> str:
    """Write the name of a file as a domain."""
    return re.sub(r"[^a-z0-9_.-]+", "-", name.removesuffix(".json").lower())[:64].strip("-") or "unnamed"


_WHY = {
    "folder-owner": "the folder is not root's alone to write",
    "file-owner": "the file is not root's alone to write",
    "symlink": "it is a link",
    "no-file": "it is no plain file",
    "boot": "it was written before this boot",
    "schema": f"it is no {SCHEMA}",
    "source": "its source is one that the kernel has",
    "text": "it is not JSON of whole numbers",
    "huge": "it is too long, or a number in it is too large",
}
_REMEDY = {
    "folder-owner": "chown root and chmod 0755 the folder: whoever may write there decides joules",
    "file-owner": "have root write it, by rename, with mode 0644",
    "denied": "have root write it, with mode 0644",
}
