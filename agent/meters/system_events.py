"""What the driver says about itself: GPUs are being unbound from it, or were bound to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.meters.errors import MeterError

if TYPE_CHECKING:
    from wattshed.agent.meters.nvml import Nvml

# nvmlSystemEventType... of nvml.h, and the versions of its requests.
UNBIND, BIND = 0x1, 0x2
_CREATE, _FREE, _REGISTER = 0x1000010, 0x1000010, 0x1000018


class Bound(NamedTuple):
    """A GPU is being unbound from the driver, or was bound to it; which one is known to the driver alone."""

    unbinding: bool


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
        kinds = self._nvml.wait_system_event(self._set, timeout_ms) if self._set is not None else 0
        return Bound(bool(kinds & UNBIND)) if kinds & (UNBIND | BIND) else None

    def close(self) -> None:
        """Ask for none any more."""
        if self._set is not None:
            self._nvml.ask_or(None, "nvmlSystemEventSetFree", _FREE, self._set)
            self._set = None
