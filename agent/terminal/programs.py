"""What a process runs, as this host's own /proc shows it to whoever looks: the agent publishes no command lines."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from wattshed.agent.jobs.procfs import read, stat
from wattshed.agent.terminal.facts import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.terminal.facts import ShownProcess

_SAME_S = 2.0


class Programs:
    """Looks up command lines of processes that an agent names.

    A pid means another process on another host, in another namespace, or later: only one that began when the agent
    says is taken for the same.

    Parameters
    ----------
    proc_root : str
    wall, uptime : callable, s
        Unix time, and time since boot.
    """

    def __init__(
        self,
        proc_root: str = "/proc",
        wall: Callable[[], float] = time.time,
        uptime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._root, self._booted_s = proc_root, wall() - uptime()
        self._ticks = os.sysconf("SC_CLK_TCK")

    def command(self, process: ShownProcess) -> str:
        """Return a process's command line; empty: it is not of this host, or may not be seen."""
        if process.started_s is None:
            return ""
        _, columns = stat(self._root, process.pid)
        if len(columns) < 20 or not columns[19].isdecimal():
            return ""
        began_s = self._booted_s + int(columns[19]) / self._ticks
        if abs(began_s - process.started_s) > _SAME_S:
            return ""
        return printable(read(f"{self._root}/{process.pid}/cmdline").rstrip("\0").replace("\0", " "))
