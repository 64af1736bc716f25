"""What the agent tells of itself: its windows, its sampler, its faults, its calls into the driver, and its process.

`SELF` are rows of the table of `exporters.formats.prometheus`; those of the process are read when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from prometheus_client import ProcessCollector

from wattshed.exporters.formats.exposition import Family
from wattshed.exporters.snapshot import MICRO

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.exporters.formats.exposition import Kind, Rows
    from wattshed.exporters.snapshot import Snapshot

SELF: tuple[Family, ...] = (
    Family(
        "wattshed_windows_total",
        "counter",
        "Windows accounted since the agent started; standing still means that no data comes.",
        (),
        lambda s: [((), s.seq)],
    ),
    Family(
        "wattshed_last_window_timestamp_seconds",
        "gauge",
        "Unix time in seconds at the end of the last accounted window.",
        (),
        lambda s: [((), s.time_us / MICRO)] if s.seq else [],
    ),
    Family(
        "wattshed_sampler_late_seconds_total",
        "counter",
        "Seconds that samples were taken later than planned, summed.",
        (),
        lambda s: [((), s.late_s)],
    ),
    Family(
        "wattshed_sampler_duty_ratio",
        "gauge",
        "Share of time that the sampler spends inside driver calls, 0 to 1.",
        (),
        lambda s: [((), s.duty)],
    ),
    Family(
        "wattshed_faults_total",
        "counter",
        "Faults at run time by the part that met them; each is also a log line, and the agent went on.",
        ("part",),
        lambda s: [((part,), n) for part, n in s.faults.items()],
    ),
    Family(
        "wattshed_nvml_call_seconds",
        "histogram",
        "Duration in seconds of calls into the driver library, by call.",
        ("call",),
        histograms=lambda s: s.calls,
    ),
)


def process_families() -> list[Family]:
    """Read process_* of the agent itself (CPU, memory, descriptors, start) from /proc, now."""
    return [
        Family(
            sample.name,
            cast("Kind", metric.type),
            f"{metric.documentation.rstrip('.')} of the agent.",
            (),
            _constant(sample.value),
        )
        for metric in ProcessCollector(registry=None).collect()
        for sample in metric.samples
    ]


def _constant(value: float) -> Callable[[Snapshot], Rows]:
    return lambda _: [((), value)]
