"""dcgm-exporter's names, ``/metrics/dcgm``: dashboards and rules made for it work unchanged.

Names, labels and HELP follow dcgm-exporter's default counters. Everything is emitted once per GPU, at the board: a
board's watts copied to each MIG instance or pod, as dcgm-exporter does, would be counted several times in a sum.
Source: github.com/NVIDIA/dcgm-exporter, etc/default-counters.csv.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.exporters.formats.exposition import Family, Kind
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.exporters.formats.exposition import Labels, Rows
    from wattshed.exporters.snapshot import GpuFacts, Snapshot

HNJ_PER_MILLIJOULE = HNJ_PER_JOULE // 1000


def _gauge(name: str) -> Callable[[GpuFacts], float | None]:
    return lambda gpu: gpu.gauges.get(name)


def _set_limit(gpu: GpuFacts) -> float | None:
    return gpu.limits_w.get("requested", gpu.limits_w.get("enforced"))


def _usage(gpu: GpuFacts) -> float | None:
    return gpu.power_w.get("average", gpu.power_w.get("instant"))


def _energy(gpu: GpuFacts) -> float | None:
    return gpu.energy_hnj // HNJ_PER_MILLIJOULE if gpu.energy_source != "none" else None


FIELDS: tuple[tuple[str, Kind, str, Callable[[GpuFacts], float | None]], ...] = (
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz).", _gauge("sm_clock_mhz")),
    ("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz).", _gauge("mem_clock_mhz")),
    ("DCGM_FI_DEV_MEMORY_TEMP", "gauge", "Memory temperature (in C).", _gauge("memory_temperature_c")),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C).", _gauge("temperature_c")),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw of the board (in W).", _usage),
    (
        "DCGM_FI_DEV_POWER_USAGE_INSTANT",
        "gauge",
        "Instant power draw of the board (in W).",
        lambda gpu: gpu.power_w.get("instant"),
    ),
    (
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "counter",
        "Energy of the board since wattshed first started (in mJ).",
        _energy,
    ),
    ("DCGM_FI_DEV_POWER_MGMT_LIMIT", "gauge", "Power limit that is set (in W).", _set_limit),
    (
        "DCGM_FI_DEV_ENFORCED_POWER_LIMIT",
        "gauge",
        "Power limit that is in force (in W).",
        lambda gpu: gpu.limits_w.get("enforced"),
    ),
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %).", _gauge("gpu_util")),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", "Memory utilization (in %).", _gauge("mem_copy_util")),
    (
        "DCGM_FI_DEV_XID_ERRORS",
        "gauge",
        "Value of the last XID error encountered, 0 if none was seen.",
        lambda gpu: gpu.last_xid or 0,
    ),
    ("DCGM_FI_DEV_FB_FREE", "gauge", "Framebuffer memory free (in MiB).", _gauge("fb_free_mib")),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB).", _gauge("fb_used_mib")),
    (
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "gauge",
        "Ratio of time the graphics engine is active.",
        _gauge("gr_engine_active"),
    ),
    ("DCGM_FI_PROF_SM_ACTIVE", "gauge", "Ratio of time an SM has a warp assigned.", _gauge("sm_active")),
    ("DCGM_FI_PROF_SM_OCCUPANCY", "gauge", "Ratio of warps resident on an SM.", _gauge("sm_occupancy")),
    (
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "gauge",
        "Ratio of cycles the tensor pipe is active.",
        _gauge("pipe_tensor_active"),
    ),
    (
        "DCGM_FI_PROF_DRAM_ACTIVE",
        "gauge",
        "Ratio of cycles the memory interface moves data.",
        _gauge("dram_active"),
    ),
)


def families(*, hostname_label: str = "Hostname") -> tuple[Family, ...]:
    """Make dcgm-exporter's families.

    Parameters
    ----------
    hostname_label : str
        ``Hostname``, or ``hostname`` as newer releases of dcgm-exporter can spell it.
    """
    names = (
        "gpu",
        "UUID",
        "pci_bus_id",
        "device",
        "modelName",
        "GPU_I_PROFILE",
        "GPU_I_ID",
        hostname_label,
        "DCGM_FI_DRIVER_VERSION",
    )
    return tuple(Family(name, kind, text, names, _reader(read), marked=True) for name, kind, text, read in FIELDS)


def _reader(read: Callable[[GpuFacts], float | None]) -> Callable[[Snapshot], Rows]:
    def rows(snapshot: Snapshot) -> Rows:
        values = ((gpu, read(gpu)) for gpu in snapshot.gpus)
        return [(_labels(gpu, snapshot.host), value) for gpu, value in values if value is not None]

    return rows


def _labels(gpu: GpuFacts, host: str) -> Labels:
    # dcgm-exporter's dashboards take every model that starts with NVIDIA; a simulated one says so to their readers.
    model = " ".join(("NVIDIA", *(("simulated",) if gpu.simulated else ()), gpu.model.removeprefix("NVIDIA").strip()))
    model = model.rstrip()
    return (str(gpu.index), gpu.uuid, gpu.pci_bus_id, f"nvidia{gpu.index}", model, "", "", host, gpu.driver)
