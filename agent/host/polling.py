"""Readers in processes of their own: they ask a BMC again and again, and leave what it says for the agent."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Protocol

from wattshed.agent.host.exchange import SCHEMA
from wattshed.agent.host.ipmi import NoPowerError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from wattshed.agent.errors import Faults
    from wattshed.agent.host.ipmi import PowerReading

LONGEST_S = 300.0
_PADDED = 1024  # bytes of a file that is written in place: a shorter reading leaves nothing of a longer one


class ReadingSink(Protocol):
    """Where a reader leaves what it read."""

    def put(self, content: bytes) -> None:
        """Leave it there, whole; raises OSError."""


class RenamedFile:
    """A file in a folder of root's, replaced whole by each reading.

    Parameters
    ----------
    folder : Path
    name : str
        Of the reader.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path, self._new = folder / f"{name}.json", folder / f".{name}.new"

    def put(self, content: bytes) -> None:
        """Write it beside the old one, and rename."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(self._new, flags, 0o644)
        try:
            os.fchmod(file, 0o644)
            os.write(file, content)
        finally:
            os.close(file)
        self._new.rename(self._path)


class OpenedFile:
    """A file that the service manager opened as root, for a reader that is not: it is overwritten in place.

    Parameters
    ----------
    descriptor : int
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def put(self, content: bytes) -> None:
        """Write it over the old one, in one call; who reads meanwhile reads twice (`Dropped`)."""
        os.pwrite(self._descriptor, content.ljust(_PADDED), 0)


def document(
    source: str, domain: str, reading: PowerReading, *, boot_id: str, monotonic_us: int, period_us: int
) -> bytes:
    """Write a reading as the agent takes it."""
    told = {"sigma_ppm": reading.sigma_ppm, "window_us": reading.window_us}
    whole = {
        "schema": SCHEMA,
        "source": source,
        "domain": domain,
        "part_of": "",
        "boundary": reading.boundary,
        "boot_id": boot_id,
        "monotonic_us": monotonic_us,
        "period_us": period_us,
        "power_mw": reading.power_mw,
        **{key: value for key, value in told.items() if value >= 0},
    }
    return json.dumps(whole).encode() + b"\n"


def poll(
    read: Callable[[], PowerReading],
    put: Callable[[PowerReading, int], None],
    period_s: float,
    faults: Faults,
    stop: threading.Event,
    *,
    part: str,
) -> None:
    """Ask every ``period_s`` until told to stop; after a failure later and later, up to every five minutes.

    Parameters
    ----------
    read : callable
        Asks once; raises `NoPowerError`.
    put : callable
        Takes a reading, and when it was (CLOCK_MONOTONIC, us).
    period_s : float, s
    faults : Faults
    stop : threading.Event
    part : str
        What faults are counted as.
    """
    wait_s = period_s
    while True:
        began_s, failed = time.monotonic(), True
        with faults.noting(part, OSError, "it is asked again"):
            try:
                reading = read()
                put(reading, round(5e5 * (began_s + time.monotonic())))
                failed = False
            except NoPowerError as error:
                faults.note(part, str(error), "it is asked again")
        wait_s = min(2 * wait_s, max(LONGEST_S, period_s)) if failed else period_s
        if stop.wait(max(0.0, began_s + wait_s - time.monotonic())):
            return
