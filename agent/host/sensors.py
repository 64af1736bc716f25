"""What a source of host meters is, and what its sensors answer: a number, or why there is none."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wattshed.agent.host.files import HostFiles
    from wattshed.agent.window.host_meters import HostMeter

MOST_SENSORS = 256
"""So many of one source are read; a host has tens, and a broken or simulated tree may show any number."""
LARGEST = 2**62
_REASONS = {
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.ENOENT: "gone",
    errno.ENODEV: "gone",
    errno.ENXIO: "gone",
    errno.EBUSY: "busy",
    errno.ENODATA: "unknown",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")


class NoReadingError(Exception):
    """A sensor answered, and its answer is no reading; the message is the reason in a word, as in the metric."""


class SensorReading(NamedTuple):
    """What a sensor says: microjoules of a counter or milliwatts of a gauge, and how long ago (us) that was so."""

    value: int
    age_us: int = 0


class MeterSensor(NamedTuple):
    """One meter and how it is read.

    ``read`` returns None where there is nothing new; it raises OSError or `NoReadingError`. After ``tries`` failures
    in a row it is not read any more; 0: it always is. It is read every ``every_us``; 0: in the meter's own period.
    """

    meter: HostMeter
    read: Callable[[], SensorReading | None]
    tries: int = 0
    every_us: int = 0


@dataclass(frozen=True, slots=True)
class NotRead:
    """A meter that is there and cannot be read: its name, why, and what to do about it."""

    name: str
    reason: str
    remedy: str = ""


class HostSource(Protocol):
    """Meters that are found in one place, and read in one thread."""

    name: str
    look_us: int
    """Time between two looks for meters that came or went."""

    def look(self) -> tuple[Sequence[MeterSensor], Sequence[NotRead]]:
        """Find what there is now. A meter that is found again keeps its name."""

    def remedy(self, reason: str) -> str:
        """Say what helps where a meter cannot be read; empty if nothing does."""


def reason_of(error: OSError) -> str:
    """Say in a word why the kernel gave no answer."""
    return _REASONS.get(error.errno or 0, "error")


def whole(text: bytes) -> int:
    """Read the first word as a whole number; raises `NoReadingError` for anything that cannot be energy or power."""
    word = text.split(maxsplit=1)[0] if text.strip() else b""
    digits = word[1:] if word[:1] in {b"-", b"+"} else word
    if not digits.isdigit():
        raise NoReadingError("text" if word else "empty")
    if word.startswith(b"-"):
        raise NoReadingError("negative")
    if len(digits) > 19 or int(digits) > LARGEST:
        raise NoReadingError("huge")
    return int(digits)


def number(files: HostFiles, path: str, otherwise: int) -> int:
    """Return the whole number in a file; ``otherwise`` if there is none."""
    try:
        return whole(files.read(path))
    except (OSError, NoReadingError):
        return otherwise


def word(files: HostFiles, path: str) -> str:
    """Return the one line in a file; empty if there is no file, or it has more than a name of at most 64 characters."""
    try:
        text = files.read(path).decode("ascii", "replace").strip()
    except OSError:
        return ""
    return text if _NAME.fullmatch(text) else ""


def domain_of(text: str) -> str:
    """Write a label as a domain: ``Module Power Socket 0`` becomes ``module-power-socket-0``."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-")
