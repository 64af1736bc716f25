"""What the agent reports of itself: its windows, its sampler, its faults, its calls into the driver, and its process.

`SELF` are rows of the table of `exporters.formats.prometheus`; those of the process are read when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.exporters.formats.exposition import Family
from wattshed.exporters.own_process import host_cpu, own_process
from wattshed.exporters.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.exporters.formats.exposition import Kind, Rows
    from wattshed.exporters.own_process import OwnProcess
    from wattshed.exporters.snapshot import Snapshot

SELF: tuple[Family, ...] = (
    Family(
        "wattshed_windows_total",
        "counter",
        "Windows accounted since the agent started; if it stands still, no data arrives.",
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
        "wattshed_history_bytes",
        "gauge",
        "Bytes of the disk that the history of jobs takes.",
        (),
        lambda s: [((), s.history.bytes_used)] if s.history is not None else [],
    ),
    Family(
        "wattshed_history_outbox_parts",
        "gauge",
        "Parts of jobs that wait to be written into the history; if it only grows, nothing is written.",
        (),
        lambda s: [((), s.history.outbox_parts)] if s.history is not None else [],
    ),
    Family(
        "wattshed_history_parts_total",
        "counter",
        "Parts of jobs that were written into the history.",
        (),
        lambda s: [((), s.history.parts)] if s.history is not None else [],
    ),
    Family(
        "wattshed_history_dropped_parts_total",
        "counter",
        "Parts of jobs that were dropped from the history for their age, or for its size.",
        (),
        lambda s: [((), s.history.dropped_parts)] if s.history is not None else [],
    ),
    Family(
        "wattshed_history_write_seconds",
        "gauge",
        "Seconds that the last write into the history took.",
        (),
        lambda s: [((), s.history.write_s)] if s.history is not None else [],
    ),
    Family(
        "wattshed_nvml_call_seconds",
        "histogram",
        "Duration in seconds of calls into the driver library, by call.",
        ("call",),
        histograms=lambda s: s.calls,
    ),
)


PROCESS: tuple[tuple[str, Kind, str, Callable[[OwnProcess], float | None]], ...] = (
    (
        "process_cpu_seconds_total",
        "counter",
        "User and system processor time in seconds of the agent.",
        lambda process: process.cpu_s,
    ),
    (
        "process_children_cpu_seconds_total",
        "counter",
        "Processor time in seconds of the programs that the agent ran (squeue, scontrol) and that have ended.",
        lambda process: process.children_cpu_s,
    ),
    (
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory in bytes of the agent.",
        lambda process: process.resident_bytes,
    ),
    (
        "process_virtual_memory_bytes",
        "gauge",
        "Virtual memory in bytes of the agent.",
        lambda process: process.virtual_bytes,
    ),
    ("process_threads", "gauge", "Threads of the agent.", lambda process: process.threads),
    ("process_open_fds", "gauge", "Open file descriptors of the agent.", lambda process: process.open_fds),
    ("process_max_fds", "gauge", "How many file descriptors the agent may open.", lambda process: process.max_fds),
    (
        "process_start_time_seconds",
        "gauge",
        "Unix time in seconds at which the agent started.",
        lambda process: process.started_s,
    ),
)
"""Names as every client library has them, what they mean, and how each is read off `OwnProcess`."""


HOST_CPU = Family(
    "wattshed_host_cpu_seconds_total",
    "counter",
    "Seconds that the processors of the host have been in a mode since its boot; not of a simulated or recorded host.",
    ("mode",),
    lambda s: [((mode,), seconds) for mode, seconds in host_cpu().items()] if s.meter == "nvml" else [],
)


def process_families() -> list[Family]:
    """Read process_* of the agent itself, now, and the host's processors; what the kernel hides has no series."""
    process = own_process()
    read = [(name, kind, text, value(process)) for name, kind, text, value in PROCESS]
    told = [Family(name, kind, text, (), _constant(value)) for name, kind, text, value in read if value is not None]
    return [*told, HOST_CPU]


def _constant(value: float) -> Callable[[Snapshot], Rows]:
    return lambda _: [((), value)]
