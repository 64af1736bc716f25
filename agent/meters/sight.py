"""Whose processes the driver's lists can name at all: an empty list is proof only to one who would see everybody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.meters.nvml import Nvml
    from wattshed.agent.window import Device

HOST_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO in include/linux/proc_ns.h, the same on every host
GUESTS = {
    2: "this is a vGPU: other guests' processes are on other machines",
    3: "the GPU is shared out as vGPUs: the processes are their guests'",
    4: "the GPU is shared out to virtual machines: the processes are theirs",
}
"""Answers of nvmlDeviceGetVirtualizationMode (nvmlGpuVirtualizationMode_t) that hide processes."""


def guests(nvml: Nvml, handle: object) -> str:
    """Say why a GPU's processes may be in virtual machines; "" if they are not."""
    return GUESTS.get(nvml.ask_or(0, "nvmlDeviceGetVirtualizationMode", handle), "")


def own_namespace(link: Path = Path("/proc/self/ns/pid")) -> str:
    """Say why this process may not see all others: the driver lists those of the caller's PID namespace; "" if it may.

    Drivers before the open kernel modules list host pids in any namespace, but not all of them do, or say so.
    """
    try:
        name = str(link.readlink())
    except OSError as error:
        return f"{link} cannot be read: {error.strerror}"
    return (
        "" if name == HOST_NAMESPACE else "this is a PID namespace of its own: processes outside of it are not listed"
    )


def seen_from(reason: str) -> Callable[[Device], Device]:
    """Make what notes the reason on each device."""

    def noted(device: Device) -> Device:
        able = device.capabilities
        return replace(device, capabilities={**able, "all_processes": able["all_processes"] or reason})

    return noted
