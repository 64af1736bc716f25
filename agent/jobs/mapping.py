"""Which job holds which GPU, from a directory that a scheduler's prolog and epilog write.

The format is dcgm-exporter's ``--hpc-job-mapping-dir``: a file named ``N`` for GPU index N, or ``N.gi`` for a MIG
instance, holds one job id a line; a second word is the job's user id, and a file may be named by the GPU's UUID, as
jobstats' prolog writes both. Beside it, a file ``jobs/ID`` may hold ``label=value`` lines about a job (deploy/slurm
writes it; dcgm-exporter ignores folders). Edges are exact: they are the files' modification times.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from wattshed.agent.jobs.text import for_key, printable
from wattshed.agent.window import MISSING, JobKey, Owner, uid_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from wattshed.agent.window import Device, MigDevice

LOG = logging.getLogger(__name__)

_HALF_WRITTEN_NS = 100_000_000
_TICK_NS = 20_000_000
"""A file may change once more without a new time: kernels count it in steps, of 10 ms at most."""
_KEEP_US = 600_000_000
_LONGEST_FILE = 1 << 16
_MOST_LABELS = 4096
_MOST_SAID = 100
_Stamp: TypeAlias = tuple[int, int, int, int]
_FILE = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,3}))?|(?:GPU|MIG)-[0-9A-Za-z-]{1,64}")
_JOB = re.compile(r"(?P<job>[A-Za-z0-9ƒ][A-Za-z0-9._+\[\]-]{0,63})(?:[ \t]+(?P<uid>[0-9]{1,10}))?")
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,31}")


_SHAPES = {
    "slurm": re.compile(r"[0-9]+"),
    "htcondor": re.compile(r"[0-9]+\.[0-9]+"),
    "pbs": re.compile(r"[0-9]+(?:\[[0-9]*\])?\.[A-Za-z][A-Za-z0-9.-]*"),
    "flux": re.compile(r"[fƒ](?=[1-9A-HJ-NP-Za-km-z]*[1-9A-Z])[1-9A-HJ-NP-Za-km-z]{1,12}"),
}
"""How the job ids of batch systems look: Slurm's number, HTCondor's cluster.process, PBS's number.server (with [] for
arrays), Flux's F58 (RFC 19). An id of another shape is nobody's in particular."""
_MANAGER = re.compile(r"[a-z][a-z0-9]{0,15}")
_NOT_BATCH = frozenset({"k8s", "container", "unit", "user"})


@dataclass(slots=True)
class Hold:
    """A job on a GPU from ``start_us`` to ``end_us``, None while it lasts.

    Attributes
    ----------
    index : int
        NVML's; -1 where the file is named by a UUID.
    instance : str
        GPU instance id under MIG, else empty.
    job : str
    uid : int
        As the line says; -1 if it does not.
    uuid : str
    """

    index: int
    instance: str
    job: str
    start_us: int
    end_us: int | None = None
    uid: int = MISSING
    uuid: str = ""

    def located(self, mig: Mapping[str, MigDevice]) -> Hold:
        """Return it with the GPU and the instance that its MIG UUID means."""
        found = mig.get(self.uuid)
        return self if found is None else replace(self, uuid=found.gpu, instance=found.instance)

    def place(self, devices: Sequence[Device]) -> int | None:
        """Find the GPU among the devices; None if it is none of them."""
        if self.uuid:
            return next((i for i, device in enumerate(devices) if device.uuid == self.uuid), None)
        return next((i for i, device in enumerate(devices) if device.index == self.index), None)


def owner_of(job: str, labels: Mapping[str, str] | None = None, uid: int = MISSING) -> Owner:
    """Name the owner that a job id means: the key is the same that the job's cgroup gives, if it has one.

    Parameters
    ----------
    job : str
        As the mapping has it.
    labels : mapping of str to str, optional
        What the prolog wrote: ``manager`` says what the id's shape leaves open.
    uid : int
        Whose job it is, if the labels do not say it; -1 unknown.
    """
    wrote = dict(labels or {})
    manager = wrote.pop("manager", "")
    wrote.pop("node", None)  # which of a host's nodes the job is on
    if not _MANAGER.fullmatch(manager) or manager in _NOT_BATCH:
        manager = next((name for name, shape in _SHAPES.items() if shape.fullmatch(job)), "")
    told = uid_of(wrote.pop("uid", ""))
    uid = uid if told == MISSING else told
    if uid != MISSING:
        wrote["uid"] = str(uid)
    return Owner(JobKey(f"{manager or 'job'}:{for_key(job)}"), {**wrote, "manager": manager or "mapping"})


class MappingDirectory:
    """Follows one mapping directory.

    Parameters
    ----------
    directory : Path
        Trusted only if root (or the agent's own user) owns it and nobody else may write it; so for each file in it.
    clock : callable
        Now, in microseconds on the time line of the windows.
    at_us : callable, optional
        From a file's modification time (ns) to the time line of the windows (us); by default both run alike.

    Attributes
    ----------
    changes : int
        How often a job took or left a GPU so far.
    refused : int
        Lines that are no job id.
    unsettled : bool
        Whether a file was seen that somebody may be about to fill: it is to be looked at again.
    """

    def __init__(
        self,
        directory: Path,
        clock: Callable[[], int],
        *,
        at_us: Callable[[int], int] | None = None,
    ) -> None:
        self._directory, self._name = directory, str(directory)
        self._at_us = at_us or self._ago_us
        self._clock = clock
        self._lock = threading.Lock()
        self._stamps: dict[str, _Stamp | None] = {}  # None: to be read again
        self._said: set[str] = set()
        self._open: dict[tuple[str, str], Hold] = {}
        self._closed: list[Hold] = []
        self._labels: dict[str, dict[str, str]] = {}
        self._first = True
        self.changes = self.refused = 0
        self.unsettled = False

    def scan(self) -> int:
        """Look at the directory once; return how many changes were seen so far.

        Raises
        ------
        OSError, PermissionError
            If the directory cannot be read, or others may write it.
        """
        found: dict[str, tuple[int, dict[str, int]]] = {}
        gone_ns, self.unsettled = time.time_ns(), False
        # Files are read without the lock, which holds() waits for. Before its first job since boot a node has no
        # directory: nobody holds anything.
        with suppress(FileNotFoundError, NotADirectoryError):
            # Through bare names: where nobody tells of changes, a `Path` a file is most of what this costs.
            gone_ns = _trusted(os.stat(self._name), self._directory, stat.S_ISDIR)  # noqa: PTH116
            seen = self._seen()
            if (
                seen.keys() == self._stamps.keys()
                and not self._first
                and all(_stamp(one) == self._stamps[name] for name, one in seen.items())
            ):
                with self._lock:
                    self._prune()
                return self.changes
            for name, one in seen.items():
                self._read(self._directory / name, one, found)
        self._stamps = {name: stamp for name, stamp in self._stamps.items() if name in found}
        new = {job for name, (_, jobs) in found.items() for job in jobs if (name, job) not in self._open}
        labels = {job: self._describe(job) for job in new}
        # Before the agent began another job may have come or gone: then the GPU's file is younger than the hold.
        written_us = {job: self._at_us(ns) for job in new if (ns := self._described_ns(job))} if self._first else {}
        with self._lock:
            self._labels.update(labels)
            for name, (changed_ns, jobs) in found.items():
                self._update(name, jobs, changed_ns, written_us)
            for name in {name for name, _ in self._open} - found.keys():
                self._update(name, {}, gone_ns, {})
            self._prune()
        self._first = False
        return self.changes

    def holds(self, start_us: int, end_us: int) -> list[Hold]:
        """Return copies of the holds that touch this stretch."""
        with self._lock:
            return [
                replace(hold)
                for hold in (*self._closed, *self._open.values())
                if hold.start_us < end_us and (hold.end_us is None or hold.end_us > start_us)
            ]

    def nowhere(self, hold: Hold) -> None:
        """Say once that a file is named by the UUID of no GPU and of no MIG device here."""
        name = hold.uuid
        if name and name not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(name)
            self.refused += 1
            LOG.warning(
                "%s/%s: unknown GPU or MIG UUID (see `nvidia-smi -L`): ignored",
                self._directory,
                name,
            )

    def labels(self, job: str) -> dict[str, str]:
        """Return what the prolog wrote about a job; empty if nothing."""
        with self._lock:
            return dict(self._labels.get(job, {}))

    def _seen(self) -> dict[str, os.stat_result]:
        """Look at the files that may say who holds a GPU."""
        found = {}
        for name in os.listdir(self._name):  # noqa: PTH208
            if name in self._stamps or _FILE.fullmatch(name):
                with suppress(FileNotFoundError):
                    found[name] = os.stat(f"{self._name}/{name}", follow_symlinks=False)  # noqa: PTH116
        return found

    def _read(self, path: Path, seen: os.stat_result, found: dict[str, tuple[int, dict[str, int]]]) -> None:
        name, stamp = path.name, _stamp(seen)
        try:
            if self._stamps.get(name) == stamp:
                found[name] = (seen.st_mtime_ns, self._held(name))
                return
            _trusted(seen, path, stat.S_ISREG)
            text = _text(path)
            if not text and name in self._stamps and time.time_ns() - seen.st_mtime_ns < _HALF_WRITTEN_NS:
                # Somebody who writes in place has emptied the file and may be about to fill it.
                found[name] = (seen.st_mtime_ns, self._held(name))
                self.unsettled = True
                return
        except FileNotFoundError:
            return
        self._stamps[name] = stamp if time.time_ns() - seen.st_ctime_ns > _TICK_NS else None
        found[name] = (seen.st_mtime_ns, self._jobs(path, text))

    def _held(self, name: str) -> dict[str, int]:
        return {job: hold.uid for (file, job), hold in self._open.items() if file == name}

    def _jobs(self, path: Path, text: str) -> dict[str, int]:
        """Read one file: job id -> user id. What is not understood is left out and logged, never taken for a job."""
        jobs: dict[str, int] = {}
        for number, line in enumerate(text.split("\n"), 1):
            words = line.strip(" \t\r")
            if not words or words.startswith("#"):
                continue
            found = _JOB.fullmatch(words)
            if found and (found["uid"] is None or uid_of(found["uid"]) != MISSING):
                jobs[found["job"]] = MISSING if found["uid"] is None else uid_of(found["uid"])
                continue
            self.refused += 1
            said = f"{path}:{number}: {printable(words)}"
            if said not in self._said and len(self._said) < _MOST_SAID:
                self._said.add(said)
                LOG.warning("%s: expected JOBID or JOBID UID; line ignored", said)
        return jobs

    def _ago_us(self, changed_ns: int) -> int:
        return self._clock() - max(0, time.time_ns() - changed_ns) // 1000

    def _update(self, name: str, jobs: Mapping[str, int], changed_ns: int, written_us: Mapping[str, int]) -> None:
        at_us = self._at_us(changed_ns)
        number, _, instance = name.partition(".")
        index, uuid = (int(number), "") if number.isdecimal() else (MISSING, name)
        for job, uid in jobs.items():
            if (name, job) not in self._open:
                since_us = min(at_us, written_us.get(job, at_us))
                self._open[name, job] = Hold(index, instance, job, since_us, uid=uid, uuid=uuid)
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

    def _described_ns(self, job: str) -> int:
        path = self._directory / "jobs" / job
        try:
            return _trusted(path.stat(follow_symlinks=False), path, stat.S_ISREG)
        except OSError:
            return 0

    def _describe(self, job: str) -> dict[str, str]:
        path = self._directory / "jobs" / job
        try:
            _trusted(path.parent.stat(follow_symlinks=False), path.parent, stat.S_ISDIR)
            _trusted(path.stat(follow_symlinks=False), path, stat.S_ISREG)
            # Nothing else ends a line: names of jobs may hold what Python takes for line ends (U+2028, \v, \f).
            lines = _text(path).split("\n")
        except OSError:
            return {}
        pairs = (line.partition("=") for line in lines)
        return {label: printable(value) for label, _, value in pairs if _LABEL.fullmatch(label) and value}


def _stamp(seen: os.stat_result) -> _Stamp:
    """Return what differs once a file was written, replaced, or given to others."""
    return seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino


def _trusted(seen: os.stat_result, path: Path, kind: Callable[[int], bool]) -> int:
    if not kind(seen.st_mode):
        message = f"{path} does not belong in a mapping directory"
        raise PermissionError(message)
    # The group of root, and that of the agent's own user for what is the agent's, are nobody else's.
    private = seen.st_gid == 0 or (seen.st_uid, seen.st_gid) == (os.geteuid(), os.getegid())
    others = stat.S_IWOTH | (0 if private else stat.S_IWGRP)
    if seen.st_uid not in {0, os.geteuid()} or seen.st_mode & others:
        message = f"{path} may be written by users other than root and is ignored: chown root, chmod go-w"
        raise PermissionError(message)
    return seen.st_mtime_ns


def _text(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, _LONGEST_FILE).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
