"""What a metering process does without a driver: it serves, says so once, and looks for the driver again and again.

A host without a driver is not a failed start (docs/decisions/0920): drivers are loaded late, reloaded and upgraded, and
the agent of a node should be there before and after. Nothing is metered meanwhile, and nothing is made up.
"""

from __future__ import annotations

import logging
import queue
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.meters.errors import NoMeter, RestartNeeded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wattshed.agent.daemon.board import Board
    from wattshed.agent.daemon.source import Source
    from wattshed.agent.daemon.systemd import Notifier
    from wattshed.agent.meters.release import Release, ReleaseDesk

LOG = logging.getLogger("wattshed")
LOOK_S = 10.0
SHUT_OUT_AFTER = 2  # looks: a driver that is being loaded makes its device nodes a moment later


class Wait:
    """Looks for a driver until it is there.

    Parameters
    ----------
    find : callable
        Opens what is metered.
    board : Board
        Where the reason is shown.
    notifier : Notifier
    proc_root : Path
        Where the kernel shows a loaded driver.
    for_s : float, s
        Give up after this long; 0: never.
    desk : ReleaseDesk
        Whether the driver is let go of: then it is not looked for.
    """

    def __init__(
        self,
        find: Callable[[], Source],
        board: Board,
        notifier: Notifier,
        proc_root: Path,
        desk: ReleaseDesk,
        *,
        for_s: float = 0.0,
    ) -> None:
        self._find, self._board, self._notifier, self._for_s = find, board, notifier, for_s
        self._loaded = proc_root / "driver/nvidia/version"
        # No event: a signal handler may put into this queue even while the same thread waits for it.
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._said: set[str] = set()
        self._desk = desk

    def look(self) -> None:
        """Look at once; may be called from a signal handler."""
        self._asked.put(None)

    def until_found(self) -> Source:
        """Return what is metered, as soon as it can be opened.

        Raises
        ------
        NoMeter
            The time is over.
        RestartNeeded
            The driver came, but this process is locked out of it: the library or the devices were given to it when it
            was made (a container, a unit whose devices are listed by the names that drivers have registered).
        """
        began_s, was_loaded, shut_out = time.monotonic(), self._loaded.exists(), 0
        while True:
            if (release := self._desk.wanted()) is not None and release.whole:
                self._sit_out(release, began_s)
                continue
            self._desk.obeyed = None
            try:
                return self._find()
            except NoMeter as error:
                self._tell(str(error), f"looking for a driver every {LOOK_S:.0f} s", "waiting for the NVIDIA driver")
                if self._for_s and time.monotonic() - began_s >= self._for_s:
                    raise
                shut_out += self._loaded.exists() and not was_loaded
                if shut_out > SHUT_OUT_AFTER:
                    raise RestartNeeded(f"{error}, although the driver was loaded meanwhile") from None
            self._pause(began_s)

    def _sit_out(self, release: Release, began_s: float) -> None:
        """Leave the driver to whoever needs it, for a while: none of it is open here."""
        self._desk.obeyed = replace(release, gpus=frozenset())
        until = time.strftime("%H:%M:%S", time.localtime(release.until_us / 1e6))
        self._tell(f"the driver was let go of until {until}", "`wattshed resume` takes it back", "released")
        if self._for_s and time.monotonic() - began_s >= self._for_s:
            raise NoMeter("the driver was let go of")
        self._pause(began_s, self._desk.left_s())

    def _tell(self, why: str, then: str, state: str) -> None:
        self._board.show(replace(self._board.current(), meter="nvml", time_us=time.time_ns() // 1000, unmetered=why))
        if why in self._said:
            return
        LOG.warning("not metering: %s; %s", why, then)
        if self._said:
            self._notifier.status(f"{state}: {why}")
        else:
            self._notifier.ready(f"{state}: {why}")
        self._said.add(why)

    def _pause(self, began_s: float, most_s: float = LOOK_S) -> None:
        """Wait for the next look, for the end, or for someone who asks; the watchdog is told that all is well."""
        until_s = time.monotonic() + most_s
        if self._for_s:
            until_s = min(until_s, began_s + self._for_s)
        longest_s = self._notifier.watchdog_s / 3 or LOOK_S
        while (left_s := until_s - time.monotonic()) > 0:
            self._notifier.watchdog()
            try:
                self._asked.get(timeout=min(left_s, longest_s))
            except queue.Empty:
                continue
            return
