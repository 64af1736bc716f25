"""What the driver reports by itself: XID errors, and possible changes of what a GPU can do."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.meters.errors import MeterError, TooSlow
from wattshed.agent.meters.handle import SLOW_US
from wattshed.agent.meters.system_events import Bound, SystemEvents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.meters.handle import GpuHandle
    from wattshed.agent.meters.nvml import Nvml

LOG = logging.getLogger(__name__)

# nvmlEventType... of nvml.h. What a driver reports other than XID errors is asked of it first: registering a type that
# it does not know fails as a whole.
XID, MIG_CONFIG, RECOVERY_ACTION = 0x8, 0x100, 0x8000


class Xid(NamedTuple):
    """A critical error that the driver reported; ``gpu`` is -1 if it names none that we know."""

    gpu: int
    number: int


class Changed(NamedTuple):
    """The driver reported that a GPU's capabilities may have changed; ``gpu`` is -1 if it names none that we know."""

    gpu: int


News = Xid | Changed | Bound


class DriverEvents:
    """The events of a driver session, and the driver's own. One thread may wait while another one opens and closes.

    Parameters
    ----------
    nvml : Nvml
    """

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._set: object = None
        self._system = SystemEvents(nvml)
        self._lock = threading.Lock()

    def listen(self) -> None:
        """Ask for the driver's own events, before a session begins."""
        with self._lock:
            self._system.open()

    def open(self, gpu_handles: Sequence[GpuHandle]) -> None:
        """Ask for the events of every GPU that reports them."""
        with self._lock:
            self._set = self._nvml.ask_or(None, "nvmlEventSetCreate")
            if not any([self.add(gpu_handle) for gpu_handle in gpu_handles]):  # noqa: C419 - all of them, not the first
                self._set = None

    def add(self, gpu_handle: GpuHandle) -> bool:
        """Ask for those of one GPU; False if it reports none."""
        if self._set is None or gpu_handle.sick or gpu_handle.device.capabilities["events"]:
            return False
        try:
            with self._nvml.costs.patience(hanging_us=SLOW_US):
                told = self._nvml.ask("nvmlDeviceGetSupportedEventTypes", gpu_handle.handle) & (
                    MIG_CONFIG | RECOVERY_ACTION
                )
                self._nvml.ask("nvmlDeviceRegisterEvents", gpu_handle.handle, XID | told, self._set)
        except (MeterError, TooSlow) as error:
            LOG.info("XID events unavailable on %s: %s", gpu_handle.device.uuid, error)
            return False
        return True

    @property
    def heard(self) -> bool:
        """Whether the driver or any GPU reports events."""
        return self._set is not None or self._system.heard

    def wait(self, gpu_handles: Sequence[GpuHandle], timeout_ms: int) -> News | None:
        """Wait for an event; None if there was none."""
        with self._lock:
            if self._set is None:
                return self._system.next(0)  # whoever opens or closes a session needs not wait for it
            found = self._nvml.wait_event(self._set, timeout_ms)
            if found is None:
                return self._system.next(0)
        gpu = next((i for i, b in enumerate(gpu_handles) if self._nvml.address(b.handle) == found.device), -1)
        return Xid(gpu, found.data) if found.event_type & XID else Changed(gpu)

    def close(self) -> None:
        """Ask for none any more."""
        with self._lock:
            if self._set is not None:
                self._nvml.ask_or(None, "nvmlEventSetFree", self._set)
                self._set = None
            self._system.close()
