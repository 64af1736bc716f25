"""What this process itself costs, and its host's processors, by psutil, which has its only home here (decision 0981).

Processes of jobs are read by hand, below any proc root (`agent.jobs.processes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OwnProcess:
    """What this process has used until now; None is what the kernel does not let it read."""

    cpu_s: float | None
    children_cpu_s: float | None
    resident_bytes: int | None
    virtual_bytes: int | None
    threads: int | None
    open_fds: int | None
    max_fds: int | None
    started_s: float | None


def own_process() -> OwnProcess:
    """Read this process.

    Returns
    -------
    OwnProcess
        ``cpu_s`` is user and system time, s; ``children_cpu_s`` that of programs that it ran and that have ended, such
        as squeue; ``started_s`` is Unix time, s, to a hundredth.
    """
    this = psutil.Process()
    with this.oneshot():
        times, memory = _readable(this.cpu_times), _readable(this.memory_info)
        return OwnProcess(
            cpu_s=None if times is None else times.user + times.system,
            children_cpu_s=None if times is None else times.children_user + times.children_system,
            resident_bytes=None if memory is None else memory.rss,
            virtual_bytes=None if memory is None else memory.vms,
            threads=_readable(this.num_threads),
            open_fds=_readable(this.num_fds),
            max_fds=_readable(lambda: this.rlimit(psutil.RLIMIT_NOFILE)[0]),
            started_s=_readable(this.create_time),
        )


MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


def host_cpu() -> dict[str, float]:
    """Read how long the host's processors have been in which mode since its boot, in s; they sum to all their time."""
    times = _readable(psutil.cpu_times)
    return {} if times is None else {mode: getattr(times, mode) for mode in MODES if hasattr(times, mode)}


def _readable(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except (psutil.Error, OSError):  # descriptors are hidden from a process that may not be dumped
        return None
