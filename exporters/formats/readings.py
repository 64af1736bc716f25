"""What a GPU shows beside its energy: utilisation, memory, temperatures, clocks, XID errors, throttling.

`READINGS` are rows of the table of `exporters.formats.prometheus`. Units are Prometheus' base units; a gauge that the
driver does not answer has no series. The same under dcgm-exporter's names is at ``/metrics/dcgm``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.exporters.formats.exposition import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wattshed.exporters.formats.exposition import Rows
    from wattshed.exporters.snapshot import GpuFacts, Snapshot

MIB = 1 << 20
MEGAHERTZ = 1_000_000
THROTTLE, SECONDS = "throttle_", "_s"  # gauges of the driver's own counters: throttle_<reason>_s


def _one(gauge: str, unit: float) -> Callable[[Snapshot], Rows]:
    """Read one gauge of every GPU that has it, in base units."""
    return lambda s: [((g.uuid,), g.gauges[gauge] * unit) for g in s.gpus if gauge in g.gauges]


def _several(gauges: Mapping[str, str], unit: float) -> Callable[[Snapshot], Rows]:
    """Read gauges that one label tells apart: value of the label -> gauge."""
    return lambda s: [
        ((g.uuid, value), g.gauges[name] * unit) for g in s.gpus for value, name in gauges.items() if name in g.gauges
    ]


def throttled_s(gpu: GpuFacts) -> dict[str, float]:
    """Return for how long a GPU's clocks were held back (s), by reason."""
    return {
        name.removeprefix(THROTTLE).removesuffix(SECONDS): seconds
        for name, seconds in gpu.gauges.items()
        if name.startswith(THROTTLE) and name.endswith(SECONDS)
    }


def _throttled(snapshot: Snapshot) -> Rows:
    return [((g.uuid, reason), seconds) for g in snapshot.gpus for reason, seconds in throttled_s(g).items()]


READINGS: tuple[Family, ...] = (
    Family(
        "wattshed_gpu_utilization_ratio",
        "gauge",
        "Share of the driver's last sampling period in which a kernel ran on the GPU, 0 to 1; not how much of it ran.",
        ("gpu_uuid",),
        lambda s: [((g.uuid,), g.gauges["gpu_util"] / 100) for g in s.gpus if "gpu_util" in g.gauges],
    ),
    Family(
        "wattshed_gpu_memory_used_bytes",
        "gauge",
        "Device memory in use, in bytes.",
        ("gpu_uuid",),
        _one("fb_used_mib", MIB),
    ),
    Family(
        "wattshed_gpu_memory_total_bytes",
        "gauge",
        "Device memory installed, in bytes.",
        ("gpu_uuid",),
        _one("fb_total_mib", MIB),
    ),
    Family(
        "wattshed_gpu_temperature_celsius",
        "gauge",
        "Temperature in degrees Celsius, by sensor: gpu, or memory where the board has one.",
        ("gpu_uuid", "sensor"),
        _several({"gpu": "temperature_c", "memory": "memory_temperature_c"}, 1),
    ),
    Family(
        "wattshed_gpu_clock_hertz",
        "gauge",
        "Clock frequency in hertz: sm or memory.",
        ("gpu_uuid", "clock"),
        _several({"sm": "sm_clock_mhz", "memory": "mem_clock_mhz"}, MEGAHERTZ),
    ),
    Family(
        "wattshed_gpu_throttle_seconds_total",
        "counter",
        "Seconds that the clocks of a GPU were held back, by reason, as the driver has counted since it was loaded.",
        ("gpu_uuid", "reason"),
        _throttled,
    ),
    Family(
        "wattshed_gpu_xid_errors_total",
        "counter",
        "XID errors that the driver reported since the agent first started, by number; 999 is one without a number.",
        ("gpu_uuid", "xid"),
        lambda s: [((g.uuid, str(number)), count) for g in s.gpus for number, count in g.xids.items()],
    ),
    Family(
        "wattshed_gpu_status",
        "gauge",
        "1 for what a GPU is now, absent otherwise: ok, stale (no reading for a while, or a call does not return), "
        "sick (its calls take too long, and it is left alone), lost, released (let go of for somebody else), asleep "
        "(and not woken) or unmeterable (it reports neither energy nor power).",
        ("gpu_uuid", "status"),
        lambda s: [((g.uuid, g.status), 1) for g in s.gpus],
    ),
    Family(
        "wattshed_gpu_recovery_action",
        "gauge",
        "1 for what the driver advises to do about a GPU, absent otherwise: none, gpu_reset, node_reboot, drain_p2p, "
        "drain_and_reset, recover_imex_domain, bus_reset, system_reboot. No series if the driver does not say.",
        ("gpu_uuid", "action"),
        lambda s: [((g.uuid, g.recovery_action), 1) for g in s.gpus if g.recovery_action is not None],
    ),
)
