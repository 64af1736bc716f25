"""Reads the CPU time of jobs in a thread of its own: whatever hangs there, nothing waits for it.

A reading is asked for when the owners of a window are known, and is in the next window. cgroup v2 counts microseconds
in ``cpu.stat``, of every cgroup and its children, also where the controller is off; cgroup v1 nanoseconds in
``cpuacct.usage``. A process counts ticks in ``/proc/PID/stat``, without children.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, Protocol

from wattshed.agent.jobs.procfs import stat
from wattshed.agent.window import NO_CPU_TIMES, CpuTime, CpuTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from wattshed.agent.clock import Clock
    from wattshed.agent.errors import Faults
    from wattshed.agent.jobs.cpu_places import CpuPlace

PART = "cpu-times"
"""What faults are counted as."""
ONLINE = "devices/system/cpu/online"
_GONE = {errno.ENOENT, errno.ENODEV, errno.ENOTDIR}
_MOST = 1 << 62
_LARGEST = 1 << 16
_MOST_CPUS = 1 << 16
_UTIME, _STIME, _START = 11, 12, 19  # columns of /proc/PID/stat behind the name, proc_pid_stat(5)


class SysFiles(Protocol):
    """Small files below what is, or stands for, ``/sys``."""

    def read(self, path: str) -> bytes:
        """Return what a file says now; raises OSError."""


class PassingFiles:
    """Files that come and go with jobs: each is opened for one reading, so that no gone cgroup is held.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)

    def read(self, path: str) -> bytes:
        """Return what a file says now; raises OSError."""
        descriptor = os.open(f"{self._root}/{path}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.read(descriptor, _LARGEST)
        finally:
            os.close(descriptor)


class CpuClock:
    """The CPU time of jobs, window by window.

    Parameters
    ----------
    files : SysFiles
    proc_root : Path
    clock : Clock
        Under a virtual one a reading is made when it is asked for.
    faults : Faults
    """

    def __init__(self, files: SysFiles, proc_root: Path, clock: Clock, faults: Faults) -> None:
        self._files, self._proc, self._clock, self._faults = files, os.fspath(proc_root), clock, faults
        self._places: Sequence[CpuPlace] = ()
        self._found = NO_CPU_TIMES
        self._wanted, self._stopped = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="wattshed-cpu-times", daemon=True)
        self._ticks = os.sysconf("SC_CLK_TCK")

    def start(self) -> None:
        """Begin: the first reading says how many CPUs there are."""
        if not self._clock.virtual:
            self._thread.start()
        self.ask(())

    def ask(self, places: Sequence[CpuPlace]) -> None:
        """Have these counters read, now or soon; what was asked before and is not read yet is not read."""
        self._places = places
        if self._clock.virtual:
            self._read()
        else:
            self._wanted.set()

    def collect(self) -> CpuTimes:
        """Return the last reading, once."""
        found, self._found = self._found, NO_CPU_TIMES
        return found

    def close(self) -> None:
        """Stop; a thread that hangs is left behind."""
        self._stopped = True
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(0.5)

    def _run(self) -> None:
        while not self._stopped:
            self._wanted.wait()
            self._wanted.clear()
            if not self._stopped:
                self._read()

    def _read(self) -> None:
        with self._faults.noting(PART, then="it is read again"):
            places, begun_us = self._places, self._clock.now_us()
            cpus = self._cpus()
            read = ((place, self._used_us(place)) for place in places)
            counters = tuple(CpuTime(place.owner, place.counter, used) for place, used in read if used is not None)
            self._found = CpuTimes(cpus, (begun_us + self._clock.now_us()) // 2, counters)

    def _cpus(self) -> int:
        """Return how many CPUs are online."""
        return count_cpus(self._files.read(ONLINE).decode("ascii", "replace"))

    def _used_us(self, place: CpuPlace) -> int | None:
        """Return the CPU time of one counter; None if it is gone, or says nothing that can be one."""
        if place.cgroup:
            return self._of_cgroup(place.cgroup)
        _, columns = stat(self._proc, place.pid)
        if len(columns) <= _START or columns[_START] != str(place.ticks):
            return None
        user, system = _number(columns[_UTIME]), _number(columns[_STIME])
        return None if user is None or system is None else (user + system) * 1_000_000 // self._ticks

    def _of_cgroup(self, path: str) -> int | None:
        for root, name, read in _COUNTERS:
            try:
                text = self._files.read(f"fs/cgroup{root}{path}/{name}")
            except OSError as error:
                if error.errno not in _GONE:
                    raise
            else:
                return read(text.decode("ascii", "replace"))
        return None


def count_cpus(text: str) -> int:
    """Count the CPUs of a list such as ``0-3,8``; raises ValueError if it is none."""
    count = 0
    for stretch in text.strip().split(","):
        first, _, last = stretch.partition("-")
        count += int(last or first) - int(first) + 1
    if not 0 < count <= _MOST_CPUS:
        raise ValueError(f"{text.strip()[:80]!r} is no list of CPUs")
    return count


def _usage(text: str) -> int | None:
    """Return ``usage_usec`` of a cgroup's ``cpu.stat``; None if it has none."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "usage_usec":
            return _number(value)
    return None


def _from_nanoseconds(text: str) -> int | None:
    found = _number(text)
    return None if found is None else found // 1000


def _number(text: str) -> int | None:
    text = text.strip()
    found = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else _MOST
    return found if found < _MOST else None


_COUNTERS: tuple[tuple[str, str, Callable[[str], int | None]], ...] = (
    ("", "cpu.stat", _usage),
    ("/unified", "cpu.stat", _usage),  # of systemd's units where both versions are mounted
    ("/cpuacct", "cpuacct.usage", _from_nanoseconds),
)
"""Where a cgroup may be mounted, and the file that counts there."""
