"""Which job holds which GPU, from a directory that a scheduler's prolog and epilog write.

The format is dcgm-exporter's ``--hpc-job-mapping-dir``: a file named ``N`` for GPU index N, or ``N.gi`` for a MIG
instance, holds one job id a line. Beside it, a file ``jobs/ID`` may hold ``label=value`` lines about a job
(deploy/slurm writes it; dcgm-exporter passes over folders). Edges are exact: they are the files' modification times.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.jobs.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POLL_S = 0.1
"""How often the directory is looked at: one stat call, on a file system in memory."""
IN_PLACE_S = 0.2
"""How often its files are: renames, as by deploy/slurm, show in the directory; other prologs may write in place."""
_HALF_WRITTEN_NS = 100_000_000
_KEEP_US = 600_000_000
_LONGEST_FILE = 1 << 16
_MOST_LABELS = 4096
_FILE = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,3}))?")
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+\[\]-]{0,63}")
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(slots=True)
class Hold:
    """A job on a GPU index (and MIG instance) from ``start_us`` to ``end_us``, None while it lasts."""

    index: int
    instance: str
    job: str
    start_us: int
    end_us: int | None = None


class MappingDirectory:
    """Follows one mapping directory.

    Parameters
    ----------
    directory : Path
        Believed only if root (or the agent's own user) owns it and nobody else may write it; so for each file in it.
    clock : callable
        Now, in microseconds on the time line of the windows.
    """

    def __init__(self, directory: Path, clock: Callable[[], int]) -> None:
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._stamps: dict[str, tuple[int, int, int]] = {}
        self._open: dict[tuple[str, str], Hold] = {}
        self._closed: list[Hold] = []
        self._labels: dict[str, dict[str, str]] = {}
        self._folder_ns, self._next_s = 0, 0.0
        self.changes = 0

    def scan(self) -> int:
        """Look at the directory once; return how many changes were seen so far.

        Raises
        ------
        OSError, PermissionError
            If the directory cannot be read, or others may write it.
        """
        found: dict[str, tuple[int, list[str]]] = {}
        gone_ns = time.time_ns()
        # Files are read without the lock, which holds() waits for. Before its first job since boot a node has no
        # directory: nobody holds anything.
        if self._directory.exists():
            gone_ns = _trusted(self._directory.stat(), self._directory, stat.S_ISDIR)
            if gone_ns == self._folder_ns and time.monotonic() < self._next_s:
                return self.changes
            self._folder_ns, self._next_s = gone_ns, time.monotonic() + IN_PLACE_S
            for path in self._directory.iterdir():
                if _FILE.fullmatch(path.name):
                    self._read(path, found)
        self._stamps = {name: stamp for name, stamp in self._stamps.items() if name in found}
        new = {job for name, (_, jobs) in found.items() for job in jobs if (name, job) not in self._open}
        labels = {job: self._describe(job) for job in new}
        with self._lock:
            self._labels.update(labels)
            for name, (changed_ns, jobs) in found.items():
                self._update(name, jobs, changed_ns)
            for name in {name for name, _ in self._open} - found.keys():
                self._update(name, [], gone_ns)
            self._prune()
        return self.changes

    def holds(self, start_us: int, end_us: int) -> list[Hold]:
        """Return copies of what touches this stretch."""
        with self._lock:
            return [
                Hold(hold.index, hold.instance, hold.job, hold.start_us, hold.end_us)
                for hold in (*self._closed, *self._open.values())
                if hold.start_us < end_us and (hold.end_us is None or hold.end_us > start_us)
            ]

    def labels(self, job: str) -> dict[str, str]:
        """Return what the prolog wrote about a job; empty if nothing."""
        with self._lock:
            return dict(self._labels.get(job, {}))

    def _read(self, path: Path, found: dict[str, tuple[int, list[str]]]) -> None:
        name = path.name
        try:
            seen = path.stat(follow_symlinks=False)
            stamp = (seen.st_mtime_ns, seen.st_size, seen.st_ino)
            if self._stamps.get(name) == stamp:
                found[name] = (seen.st_mtime_ns, [job for file, job in self._open if file == name])
                return
            _trusted(seen, path, stat.S_ISREG)
            text = _text(path)
            if not text and name in self._stamps and time.time_ns() - seen.st_mtime_ns < _HALF_WRITTEN_NS:
                # Somebody who writes in place has emptied the file and may be about to fill it.
                found[name] = (seen.st_mtime_ns, [job for file, job in self._open if file == name])
                self._next_s = 0.0
                return
        except FileNotFoundError:
            return
        self._stamps[name] = stamp
        lines = dict.fromkeys(line.strip() for line in text.splitlines())
        jobs = [job for job in lines if _JOB.fullmatch(job)]
        found[name] = (seen.st_mtime_ns, jobs)

    def _update(self, name: str, jobs: list[str], changed_ns: int) -> None:
        at_us = self._clock() - max(0, time.time_ns() - changed_ns) // 1000
        index, _, instance = name.partition(".")
        for job in jobs:
            if (name, job) not in self._open:
                self._open[name, job] = Hold(int(index), instance, job, at_us)
                self.changes += 1
        for key in [key for key in self._open if key[0] == name and key[1] not in jobs]:
            hold = self._open.pop(key)
            hold.end_us = max(at_us, hold.start_us)
            self._closed.append(hold)
            self.changes += 1

    def _prune(self) -> None:
        oldest_us = self._clock() - _KEEP_US
        self._closed = [hold for hold in self._closed if (hold.end_us or 0) >= oldest_us]
        if len(self._labels) > _MOST_LABELS:
            held = {job for _, job in self._open} | {hold.job for hold in self._closed}
            self._labels = {job: labels for job, labels in self._labels.items() if job in held}

    def _describe(self, job: str) -> dict[str, str]:
        path = self._directory / "jobs" / job
        try:
            _trusted(path.stat(follow_symlinks=False), path, stat.S_ISREG)
            lines = _text(path).splitlines()
        except OSError:
            return {}
        pairs = (line.partition("=") for line in lines)
        return {label: printable(value) for label, _, value in pairs if _LABEL.fullmatch(label) and value}


def _trusted(seen: os.stat_result, path: Path, kind: Callable[[int], bool]) -> int:
    if not kind(seen.st_mode):
        message = f"{path} is not what a mapping directory holds"
        raise PermissionError(message)
    others = stat.S_IWOTH | (stat.S_IWGRP if seen.st_uid == 0 and seen.st_gid != 0 else 0)
    if seen.st_uid not in {0, os.geteuid()} or seen.st_mode & others:
        message = f"{path} may be written by others than root: chown root and chmod go-w, or it is not believed"
        raise PermissionError(message)
    return seen.st_mtime_ns


def _text(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, _LONGEST_FILE).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
