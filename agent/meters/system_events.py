"""What the driver says about itself: GPUs are being unbound from it, or were bound to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.meters.errors import MeterError

if TYPE_CHECKING:
    from wattshed.agent.meters.nvml import Nvml

# nvmlSystemEventType... of nvml.h, and the versions of its requests.
UNBIND, BIND = 0x1, 0x2
_CREATE, _FREE, _REGISTER = 0x1000010, 0x1000010, 0x1000018


UNKNOWN_SLOT = -1


class Bound(NamedTuple):
    """GPUs are being unbound from the driver, in these slots (`slot_of`; none: nobody knows), or were bound to it."""

    unbinding: bool
    slots: tuple[int, ...] = ()


def slot_of(pci_bus_id: str) -> int:
    """Return the driver's id of the GPU at a PCI address, such as ``00000000:1B:00.0``; -1: it is no address.

    The driver makes it of domain, bus and device (gpuGenerate32BitId of NVIDIA/open-gpu-kernel-modules).
    """
    match = re.fullmatch(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.[0-9a-f]", pci_bus_id.lower())
    if match is None:
        return UNKNOWN_SLOT
    domain, bus, device = (int(text, 16) for text in match.groups())
    return (domain & 0xFFFF) << 16 | bus << 8 | device


class SystemEvents:
    """The driver's own events, which need no session: asked for before one begins, none is missed.

    Parameters
    ----------
    nvml : Nvml
    """

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._set: object = None

    def open(self) -> None:
        """Ask for them, where the driver has any."""
        self.close()
        created = self._nvml.ask_or(None, "nvmlSystemEventSetCreate", _CREATE)
        if created is None:
            return
        try:
            self._nvml.ask("nvmlSystemRegisterEvents", _REGISTER, UNBIND | BIND, created)
            self._set = created
        except MeterError:
            self._nvml.ask_or(None, "nvmlSystemEventSetFree", _FREE, created)

    @property
    def heard(self) -> bool:
        """Whether the driver reports them."""
        return self._set is not None

    def next(self, timeout_ms: int) -> Bound | None:
        """Wait for one; None if there was none."""
        told = self._nvml.wait_system_event(self._set, timeout_ms) if self._set is not None else []
        leaving = tuple(slot for kind, slot in told if kind & UNBIND)
        return Bound(bool(leaving), leaving) if told else None

    def close(self) -> None:
        """Ask for none any more."""
        if self._set is not None:
            self._nvml.ask_or(None, "nvmlSystemEventSetFree", _FREE, self._set)
            self._set = None
