"""Processes as /proc shows them: which one a pid is, since when it runs, and when it ended.

A pid is reused, so the key of a process is (boot id, pid, start ticks). Its end is exact where the kernel reports it: a
pidfd becomes readable at exit (pidfd_open(2), Linux 5.3; it needs no privilege). Everything read here (stat, cgroup,
status, cmdline) may be read by anybody; only ``environ`` needs privileges, and nobody has to read it.
"""

from __future__ import annotations

import logging
import os
import resource
import select
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.jobs.cgroup import CgroupIdentity, identify, lines_of
from wattshed.agent.jobs.delegation import Delegation
from wattshed.agent.jobs.identity import HIDDEN
from wattshed.agent.jobs.procfs import listed, read, stat
from wattshed.agent.jobs.users import UserNames, local_uid

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger(__name__)

MOST_WATCHED = 2048
"""Processes whose exit is awaited by pidfd (a file descriptor each); the others are looked up once a window."""

_MOST_THREADS = 8


@dataclass(slots=True, eq=False)
class Process:
    """One process, for as long as it lives and a little longer.

    Attributes
    ----------
    key : tuple of str, int, int
        Boot id, pid, start time in clock ticks since boot.
    identity : CgroupIdentity
        What its cgroup says, as far as root alone wrote it; read once, and again by `Processes.identify_again`.
    started_us, ended_us : int or None, us
        Real start and exit on the time line of the windows; None unknown or still running.
    alive_us : int, us
        Time of the last proof that it lives.
    uid, command : int, str or None
        Filled in by `Processes` when first asked for.
    parent : int
        Pid of its parent when it was first seen.
    """

    key: tuple[str, int, int]
    identity: CgroupIdentity
    comm: str
    started_us: int | None
    ended_us: int | None = None
    alive_us: int = 0
    watched: bool = False
    uid: int | None = None
    command: str | None = None
    parent: int = 0

    @property
    def pid(self) -> int:
        """The process id."""
        return self.key[1]


class Processes:
    """Look up pids below one proc root, with a cache.

    Parameters
    ----------
    proc_root : Path
        ``/proc``, or a tree like it; anything in it may be missing.
    clock : callable
        Returns the time of now in microseconds, on the time line of the windows.
    boot_id : str
        Empty: read from the proc root.
    delegation : Delegation, optional
        Who may write which cgroup; by default what is mounted here, if the proc root is a real one.
    await_exits : bool
        False where only who a pid is matters, and not when it ends: without a thread, and without descriptors.
    """

    def __init__(
        self,
        proc_root: Path,
        clock: Callable[[], int],
        boot_id: str = "",
        delegation: Delegation | None = None,
        *,
        await_exits: bool = True,
    ) -> None:
        self._root = os.fspath(proc_root)
        self._clock = clock
        self._boot_id = boot_id or read(f"{self._root}/sys/kernel/random/boot_id").strip()
        self._known: dict[int, Process] = {}
        self._identities: dict[str, CgroupIdentity] = {}
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._real = Path(proc_root) == Path("/proc")
        self._exits = Exits(clock) if self._real and await_exits else None
        self._users = UserNames()
        real_proc = Path(proc_root, "self/stat").exists()
        self._delegation = delegation or (Delegation.of_this_host() if real_proc else Delegation(()))
        self._flux_uid = local_uid("flux") if real_proc else None

    def look(self, pid: int) -> Process | None:
        """Find the process that has this pid now; None where /proc does not know it or it is already dead."""
        known = self._known.get(pid)
        if known is not None and known.watched and known.ended_us is None:
            known.alive_us = self._clock()
            return known
        stat = self._stat(pid)
        if stat is None:
            return None
        comm, ticks, parent = stat
        if known is not None and known.key[2] == ticks:
            known.alive_us = self._clock()
            return known if known.ended_us is None else None
        process = Process((self._boot_id, pid, ticks), self._identity(pid), comm, self._started(ticks), parent=parent)
        process.alive_us = self._clock()
        if self._exits is not None:
            self._exits.watch(process)
        # Only now is it certain that no other process took the pid in between.
        if not self._still(process):
            if self._exits is not None:
                self._exits.release(process)
            return None
        self._known[pid] = process
        return process

    def meet(self, pid: int) -> None:
        """Note who has a pid now, while it lives: by the end of the window only its number may be left."""
        process = self.look(pid)
        if process is not None:
            self.uid(process)
            self.command(process)

    def last(self, pid: int) -> Process | None:
        """Return the process last seen under this pid, dead or alive."""
        return self._known.get(pid)

    def alive(self, process: Process) -> bool:
        """Return whether it still runs: by its pidfd, else by looking again."""
        if process.ended_us is not None:
            return False
        return process.watched or self.look(process.pid) is process

    def forget(self, keep: set[int]) -> None:
        """Drop all pids but these."""
        for pid in self._known.keys() - keep:
            process = self._known.pop(pid)
            if self._exits is not None and process.watched and process.ended_us is None:
                self._exits.release(process)

    def identify_again(self, process: Process) -> CgroupIdentity:
        """Read the cgroup of a process once more, and return its identity.

        A manager may move a process to its job's cgroup after it was first seen (Slurm does after the fork, and for
        those that pam_slurm_adopt takes in). A user cannot but within what was handed over to that user.
        """
        identity = self._identity(process.pid)
        if self._still(process):
            process.identity = identity
        return process.identity

    def cgroup(self, process: Process) -> str:
        """Return what its cgroup file says now, as far as root alone wrote it; empty once it has ended."""
        text = self._delegation.believed(self._cgroup(process.pid))
        return text if self._still(process, alive=False) else ""

    def uid(self, process: Process) -> int:
        """Return the real user id; -1 unknown."""
        if process.uid is None:
            line = self._of(process, "status").partition("\nUid:")[2].partition("\n")[0]
            real = line.split()[:1]
            process.uid = int(real[0]) if real and real[0].isdecimal() else -1
        return process.uid

    def command(self, process: Process) -> str:
        """Return the program's name: the last part of argv[0], else the kernel's own 15 characters."""
        if process.command is None:
            argv0 = self._of(process, "cmdline").split("\0", 1)[0]
            # A process may rewrite its title ("nginx: master process ..."): the first word is the program.
            name = argv0.split(" ", 1)[0].rstrip(":").rsplit("/", 1)[-1]
            process.command = name or process.comm or "unknown"
        return process.command

    def environ(self, process: Process, name: str) -> str:
        """Return one variable of the environment the process started with; empty if unreadable or absent."""
        for entry in self._of(process, "environ").split("\0"):
            if entry.startswith(f"{name}="):
                return entry[len(name) + 1 :]
        return ""

    def user(self, uid: int) -> str:
        """Return a user's name; empty if unknown, not known yet, or if this is not our own /proc."""
        return self._users.name(uid) if self._real else ""

    def close(self) -> None:
        """Stop waiting for exits."""
        if self._exits is not None:
            self._exits.close()

    def _stat(self, pid: int, *, alive: bool = True) -> tuple[str, int, int] | None:
        """Return name, start (ticks) and parent of a process."""
        comm, columns = stat(self._root, pid)
        if len(columns) < 20 or not columns[19].isdecimal():  # field 22 is the start
            return None
        # A zombie with threads lives: its first thread has ended, and the others go on.
        if alive and (columns[0] in {"X", "x"} or (columns[0] == "Z" and columns[17] == "1")):
            return None
        return comm, int(columns[19]), int(columns[1]) if columns[1].isdecimal() else 0

    def _still(self, process: Process, *, alive: bool = True) -> bool:
        """Return whether the pid is the same process's yet; then it was when anything was read of it before."""
        stat = self._stat(process.pid, alive=alive)
        return stat is not None and stat[1] == process.key[2]

    def _of(self, process: Process, name: str) -> str:
        """Read a file of a process, or nothing: never that of another one that has the pid by now."""
        text = read(f"{self._root}/{process.pid}/{name}")
        return text if self._still(process, alive=False) else ""

    def _cgroup(self, pid: int) -> str:
        folder = f"{self._root}/{pid}"
        text = read(f"{folder}/cgroup")
        if not lines_of(text):
            # cgroup v1 puts a first thread that has ended nowhere; the others know where the process is.
            threads = (read(f"{folder}/task/{name}/cgroup") for name in listed(f"{folder}/task")[:_MOST_THREADS])
            text = next((found for found in threads if lines_of(found)), text)
        return text

    def _identity(self, pid: int) -> CgroupIdentity:
        # Who may write a folder is asked each time, what its name means only once.
        raw = self._cgroup(pid)
        if not raw and Path(f"{self._root}/{pid}/cgroup").exists():
            return HIDDEN
        text = self._delegation.believed(raw)
        identity = self._identities.get(text)
        if identity is None:
            if len(self._identities) > MOST_WATCHED:
                self._identities.clear()
            identity = self._identities[text] = identify(text, self._flux_uid)
        return identity

    def _started(self, ticks: int) -> int | None:
        if self._real:
            uptime_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
        else:
            booted = read(f"{self._root}/stat").partition("\nbtime ")[2].partition("\n")[0]
            if not booted.isdecimal():
                return None
            # btime is cut to the second below: the middle of that second is the best guess.
            return int(booted) * 1_000_000 + 500_000 + ticks * 1_000_000 // self._ticks
        age_us = uptime_us - ticks * 1_000_000 // self._ticks
        return self._clock() - max(0, age_us)


class Exits:
    """Await the end of processes by pidfd, in one thread that sleeps until something ends."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        # Half of what may be open at once is for others: scrapers, files, the driver.
        self._most = min(MOST_WATCHED, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._poll = select.epoll()
        self._watched: dict[int, Process] = {}
        self._lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="wattshed-exits", daemon=True)
        self._thread.start()

    def watch(self, process: Process) -> bool:
        """Start waiting for one process; False where the kernel or a limit does not allow it."""
        if len(self._watched) >= self._most:
            return False
        try:
            descriptor = os.pidfd_open(process.pid)
        except OSError:
            return False
        process.watched = True
        with self._lock:
            self._watched[descriptor] = process
            self._poll.register(descriptor, select.EPOLLIN)
        return True

    def release(self, process: Process) -> None:
        """Stop waiting for one process."""
        with self._lock:
            for descriptor in [d for d, p in self._watched.items() if p is process]:
                self._drop(descriptor)

    def close(self) -> None:
        """End the thread and close all descriptors; once is enough."""
        if self._poll.closed:
            return
        os.eventfd_write(self._wake, 1)
        self._thread.join(timeout=5)
        with self._lock:
            for descriptor in list(self._watched):
                self._drop(descriptor)
        self._poll.close()
        os.close(self._wake)

    def _drop(self, descriptor: int) -> None:
        self._watched.pop(descriptor).watched = False
        self._poll.unregister(descriptor)
        os.close(descriptor)

    def _run(self) -> None:
        while True:
            ready = self._poll.poll()
            now_us = self._clock()
            with self._lock:
                for descriptor, _ in ready:
                    if descriptor == self._wake:
                        return
                    if descriptor in self._watched:
                        self._watched[descriptor].ended_us = now_us
                        self._drop(descriptor)
