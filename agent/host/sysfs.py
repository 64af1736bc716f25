"""The meters that the kernel shows below ``/sys``: all sources of them, and files that were opened for this process."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from wattshed.agent.host.cray import Cray
from wattshed.agent.host.hwmon import Hwmon
from wattshed.agent.host.rapl import FOLDER, Rapl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.host.files import HostFiles
    from wattshed.agent.host.sensors import HostSource

_FIRST = 3
"""Of the descriptors that a service manager passes (sd_listen_fds(3))."""
_RAPL = re.compile(r"rapl((?:-\d{1,3}){1,2})")
KERNEL_SOURCES = frozenset({"rapl", "hwmon", "grace", "cray", "nvml"})


def kernel_sources(files: HostFiles) -> list[HostSource]:
    """Return all sources of meters below ``/sys``."""
    return [Rapl(files), Hwmon(files, "grace"), Hwmon(files, "acpi"), Hwmon(files, "hwmon"), Cray(files)]


def given_files(environ: Mapping[str, str], pid: int | None = None) -> dict[str, int]:
    """Return the files that the service manager has opened for this process: of systemd, those of ``OpenFile=``.

    Parameters
    ----------
    environ : mapping
        ``LISTEN_PID``, ``LISTEN_FDS`` and ``LISTEN_FDNAMES``; ``rapl-0`` is the counter of the zone ``intel-rapl:0``,
        ``rapl-0-1`` that of ``intel-rapl:0:1``.
    pid : int, optional
        Of this process.

    Returns
    -------
    dict of str -> int
        Path below ``/sys`` -> descriptor.
    """
    if environ.get("LISTEN_PID") != str(pid or os.getpid()):
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    return {
        f"{FOLDER}/intel-rapl{match[1].replace('-', ':')}/energy_uj": _FIRST + place
        for place, name in enumerate(names)
        if (match := _RAPL.fullmatch(name))
    }
