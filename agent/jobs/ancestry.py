"""Who started a process: its parent, the parent of that, and so on, as far as /proc proves it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.jobs.procfs import stat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wattshed.agent.jobs.processes import Process

MOST_PARENTS = 256
"""A chain of parents that is longer is not followed further."""


class Lineage(NamedTuple):
    """One process of a chain: its pid, and when it started, in clock ticks since boot."""

    pid: int
    ticks: int


class Ancestry:
    """Follows parents below one proc root.

    Parameters
    ----------
    proc_root : Path
    """

    def __init__(self, proc_root: Path) -> None:
        self._root = os.fspath(proc_root)

    def of(self, process: Process) -> tuple[Lineage, ...]:
        """Return a process and those who started it, nearest first, up to the first that is not certain.

        A parent that has ended gives its pid back: whoever has the pid now started after the child, and is not the
        parent. A child whose parent has ended has another one, which is read anew.

        Parameters
        ----------
        process : Process
            May have ended; then its parent is the one that it had when it was seen first.
        """
        told = self._look(process.pid)
        parent = told[1] if told is not None and told[0] == process.key[2] else process.parent
        return Lineage(*process.key[1:]), *self._parents(parent, process.key[2])

    def descends(self, pid: int, ancestor: int) -> bool:
        """Return whether a process is another one, or was started by it; False if it is not here."""
        told = self._look(pid)
        if told is None:
            return False
        return pid == ancestor or any(one.pid == ancestor for one in self._parents(told[1], told[0]))

    def lives(self, one: Lineage) -> bool:
        """Return whether this process is there, and not another one that has its pid."""
        told = self._look(one.pid)
        return told is not None and told[0] == one.ticks

    def _parents(self, parent: int, child_ticks: int) -> Iterator[Lineage]:
        for _ in range(MOST_PARENTS):
            told = self._look(parent) if parent > 0 else None
            if told is None or told[0] > child_ticks:
                return
            yield Lineage(parent, told[0])
            child_ticks, parent = told

    def _look(self, pid: int) -> tuple[int, int] | None:
        """Return when a process started, and the pid of its parent; None if there is none."""
        _, columns = stat(self._root, pid)
        if len(columns) < 20 or not (columns[1].isdecimal() and columns[19].isdecimal()):  # as in proc_pid_stat(5)
            return None
        return int(columns[19]), int(columns[1])
