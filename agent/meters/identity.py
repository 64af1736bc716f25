"""Who a GPU is: what the library knows without asking the GPU itself, but for the first call, which may wake it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.meters import probe
from wattshed.agent.meters.errors import MeterError
from wattshed.agent.window import MISSING, Device

if TYPE_CHECKING:
    from wattshed.agent.meters.nvml import Nvml

WAKING_US = 10_000_000
"""A GPU without persistence mode is initialised by the first call to it, which takes seconds and is not a fault."""


def identify(nvml: Nvml, index: int, host: str, *, uuid: str = "", simulated: bool = False) -> tuple[object, Device]:
    """Return a handle, and the device as far as it is known without probing.

    Parameters
    ----------
    nvml : Nvml
    index : int
        In this driver session.
    host : str
    uuid : str
        Of the GPU that is meant, if that is known: an index is not an identity.
    simulated : bool

    Raises
    ------
    MeterError
        The GPU does not answer.
    TooSlow
        Its identity comes so slowly that nothing else must be asked.
    """
    with nvml.costs.patience(hanging_us=WAKING_US):
        handle = handle_of(nvml, uuid, index)
        model = nvml.ask_or("", "nvmlDeviceGetName", handle)
        architecture = probe.ARCHITECTURES.get(nvml.ask_or(MISSING, "nvmlDeviceGetArchitecture", handle), "")
        info = nvml.ask_or(None, "nvmlDeviceGetPciInfo", handle)
        pci = str(info.busId or info.busIdLegacy) if info is not None else ""
        return handle, Device(
            host=host,
            index=index,
            uuid=nvml.ask_or("", "nvmlDeviceGetUUID", handle) or f"GPU-{pci or index}",
            model=model,
            pci_bus_id=pci,
            driver=nvml.ask_or("", "nvmlSystemGetDriverVersion"),
            architecture=architecture,
            minor=nvml.ask_or(MISSING, "nvmlDeviceGetMinorNumber", handle),
            simulated=simulated,
        )


def handle_of(nvml: Nvml, uuid: str, index: int) -> object:
    """Return a fresh handle, by UUID where the library knows it, else by the index in this session.

    The library opens any GPUs while it looks for a UUID: not in a session in which some are to be let alone.

    Raises
    ------
    MeterError
        The GPU does not answer.
    """
    if uuid and nvml.attaches:
        try:
            return nvml.ask("nvmlDeviceGetHandleByUUID", uuid)
        except MeterError:
            pass  # an older library, or a name that we made because it has none
    return nvml.ask("nvmlDeviceGetHandleByIndex", index)
