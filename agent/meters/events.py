"""What the driver reports by itself: XID errors, and possible changes of what a GPU can do."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.meters.errors import Fault, MeterError, TooSlow
from wattshed.agent.meters.handle import SLOW_US
from wattshed.agent.meters.nvml import NO_INSTANCE
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
    """A critical error that the driver reported; ``gpu`` is -1 if it names none that we know.

    ``instance`` is the MIG instance that it is about ("3/0"), if it is about one.
    """

    gpu: int
    number: int
    instance: str = ""


class Changed(NamedTuple):
    """The driver reported that a GPU's capabilities may have changed; ``gpu`` is -1 if it names none that we know."""

    gpu: int


class Deaf(NamedTuple):
    """The driver cannot be waited for: nothing is heard of any GPU."""

    reason: str


News = Xid | Changed | Bound | Deaf


class DriverEvents:
    """The events of a driver session, and the driver's own. One thread may wait while another one opens and closes.

    Parameters
    ----------
    nvml : Nvml
    """

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._set: object = None
        self._filled = False  # one without any GPU is not waited for
        self._system = SystemEvents(nvml)
        self._lock = threading.Lock()

    def listen(self) -> None:
        """Ask for the driver's own events, before a session begins."""
        with self._lock:
            self._system.open()

    def open(self, gpu_handles: Sequence[GpuHandle]) -> None:
        """Ask for the events of these GPUs, as far as they report any, and of no others."""
        with self._lock:
            self._free()
            if not self._system.heard:
                self._system.open()  # nvml.h says that this needs a session; drivers were seen that do without
            for gpu_handle in gpu_handles:
                self.add(gpu_handle)

    def add(self, gpu_handle: GpuHandle) -> None:
        """Ask for those of one GPU too, if it reports any."""
        if gpu_handle.sick or gpu_handle.device.capabilities["events"]:
            return
        if self._set is None:
            self._set = self._nvml.ask_or(None, "nvmlEventSetCreate")
        if self._set is None:
            return
        try:
            with self._nvml.costs.patience(hanging_us=SLOW_US):
                told = self._nvml.ask("nvmlDeviceGetSupportedEventTypes", gpu_handle.handle) & (
                    MIG_CONFIG | RECOVERY_ACTION
                )
                self._nvml.ask("nvmlDeviceRegisterEvents", gpu_handle.handle, XID | told, self._set)
        except (MeterError, TooSlow) as error:
            LOG.info("XID events unavailable on %s: %s", gpu_handle.device.uuid, error)
        else:
            self._filled = True

    @property
    def heard(self) -> bool:
        """Whether the driver or any GPU reports events."""
        return self._filled or self._system.heard

    def wait(self, gpu_handles: Sequence[GpuHandle], timeout_ms: int) -> News | None:
        """Wait for an event; None if there was none."""
        with self._lock:
            if not self._filled:
                return self._system.next(0)  # whoever opens or closes a session needs not wait for it
            try:
                found = self._nvml.wait_event(self._set, timeout_ms)
            except MeterError as error:
                # A driver that went is missed by whoever reads; a GPU that is lost makes all others silent.
                return self._system.next(0) or (None if error.fault is Fault.DRIVER else Deaf(error.reason))
            if found is None:
                return self._system.next(0)
        gpu = next((i for i, b in enumerate(gpu_handles) if self._nvml.address(b.handle) == found.device), -1)
        if not found.event_type & XID:
            return Changed(gpu)
        mig = gpu >= 0 and not gpu_handles[gpu].device.capabilities["mig"] and NO_INSTANCE not in found.instance
        return Xid(gpu, found.data, "/".join(map(str, found.instance)) if mig else "")

    def close(self) -> None:
        """Ask for none any more."""
        with self._lock:
            self._free()
            self._system.close()

    def _free(self) -> None:
        if self._set is not None:
            self._nvml.ask_or(None, "nvmlEventSetFree", self._set)
        self._set, self._filled = None, False
