"""What the supervisor is told, by systemd's notification protocol: one datagram to a unix socket (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Notifier:
    """Reports the daemon's state to the service manager; without one every call does nothing.

    Parameters
    ----------
    environ : mapping
        ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are read once. The caller drops them from what it
        hands to child processes; a child that inherits them could say that all is well.
    pid : int
        Of this process; ``WATCHDOG_PID`` names the one that is watched.

    Attributes
    ----------
    watchdog_s : float, s
        Time without :meth:`watchdog` after which the manager kills the daemon; 0 if it does not watch. Ping at least
        twice in it.
    """

    def __init__(self, environ: Mapping[str, str], pid: int | None = None) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")) or len(address) < 2:
            address = ""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watched = environ.get("WATCHDOG_PID", "")
        mine = not watched or watched == str(pid or os.getpid())
        usec = environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(usec) / 1e6 if self._address and mine and usec.isascii() and usec.isdigit() else 0.0

    @property
    def present(self) -> bool:
        """Whether there is a service manager to tell."""
        return bool(self._address)

    def ready(self, status: str = "") -> None:
        """Say that start-up is over: the first window has been processed."""
        self._send("READY=1", "STATUS=" + status.replace("\n", " ") if status else "")

    def watchdog(self) -> None:
        """Say that all is well: windows come."""
        if self.watchdog_s:
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Say that the configuration is being read again; :meth:`ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that the daemon is stopping, on purpose."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Show one line in ``systemctl status``."""
        self._send("STATUS=" + text.replace("\n", " "))

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        message = "\n".join(line for line in lines if line)
        # A manager that is away (daemon-reexec) or slow is no reason to stop metering, or to wait.
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except OSError as error:
            logging.getLogger("wattshed").debug("could not notify the service manager of %s: %s", lines[0], error)
