"""The MIG devices of one GPU: which there are, and how large a part of it each is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.meters.errors import Fault, MeterError
from wattshed.agent.meters.probe import is_ga100
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.meters.handle import GpuHandle
    from wattshed.agent.meters.nvml import Nvml

PPM = 1_000_000
NO_INSTANCE = 0xFFFFFFFF


class Instance(NamedTuple):
    """A MIG device: handle, ids of its GPU and compute instance, SMs in ppm of the GPU's, UUID, place in the list."""

    handle: Any
    gi: int
    ci: int
    ppm: int
    uuid: str
    place: int

    @property
    def name(self) -> str:
        """``gpu-instance/compute-instance``."""
        return f"{self.gi}/{self.ci}"


def mig_devices(nvml: Nvml, gpu_handle: GpuHandle, before: Sequence[Instance]) -> list[Instance]:
    """List MIG devices; they may change whenever no process is on them.

    What a call will not say for a while is taken from the list before: an instance that loses its name or its size
    would have its energy counted as nobody's.

    Parameters
    ----------
    nvml : Nvml
    gpu_handle : GpuHandle
    before : sequence of Instance
        What was listed last.
    """
    ask, handle = nvml.ask_or, gpu_handle.handle
    most = ask(MISSING, "nvmlDeviceGetMaxMigDeviceCount", handle)
    if most < 0:
        return list(before)
    cores = ask(0, "nvmlDeviceGetNumGpuCores", handle)
    lanes = 64 if is_ga100(gpu_handle.device.model) else 128  # FP32 of an SM, as NVIDIA's white papers state them
    known = {one.place: one for one in before}
    found = []
    for place in range(most):
        try:
            mig = nvml.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, place)
        except MeterError as error:
            if place in known and error.fault in {Fault.OFF, Fault.TRANSIENT}:
                found.append(known[place])
            continue
        gi, ci = ask(NO_INSTANCE, "nvmlDeviceGetGpuInstanceId", mig), ask(-1, "nvmlDeviceGetComputeInstanceId", mig)
        uuid = ask("", "nvmlDeviceGetUUID", mig)
        older = _same(before, gi, ci, uuid)
        attributes = ask(None, "nvmlDeviceGetAttributes_v2", mig)
        if cores >= lanes and attributes is not None:
            ppm = min(PPM, attributes.multiprocessorCount * PPM // (cores // lanes))
        else:
            ppm = older.ppm if older else 0
        if older:
            gi, ci, uuid = older.gi if gi == NO_INSTANCE else gi, older.ci if ci < 0 else ci, uuid or older.uuid
        found.append(Instance(mig, gi, max(ci, 0), ppm, uuid, place))
    return found


def _same(known: Sequence[Instance], gi: int, ci: int, uuid: str) -> Instance | None:
    """Find the MIG device that was listed before: by UUID, or by its ids where that is not known."""
    for one in known:
        if one.uuid == uuid if uuid and one.uuid else (gi, ci) == (one.gi, one.ci):
            return one
    return None
