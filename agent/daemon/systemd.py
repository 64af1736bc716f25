"""What the supervisor is told, and how: systemd's notification protocol and the journal's priorities.

Both are a few lines by specification: sd_notify(3) is one datagram to a unix socket, sd-daemon(3) is ``<N>`` in front
of a line on standard error.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REPEAT_S = 600.0
FEW = 5
"""So many lines of one kind are written before they are counted."""
MOST_KINDS = 10_000
LONG_TEXT = 16
_NO_DIGITS = str.maketrans("", "", "0123456789")


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


class Lines(logging.Formatter):
    """One record is one line, whatever is in it: names of jobs and processes are other people's text.

    Parameters
    ----------
    form : {"text", "journald", "json"}
        ``journald`` puts ``<priority>`` first; the journal itself knows the time.
    """

    def __init__(self, form: str) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """Write the record, with control characters escaped."""
        message = record.getMessage()
        if record.exc_info:
            message += " | " + self.formatException(record.exc_info)
        if self._form == "json":
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            return json.dumps(
                {"time": f"{stamp}.{int(record.msecs):03d}Z", "level": record.levelname.lower(), "message": message}
            )
        message = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        if self._form == "journald":
            return f"<{_priority(record.levelno)}>{message}"
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        return f"{stamp} {record.levelname.lower():<7} {message}"


class AtARate(logging.Filter):
    """Lets a line that repeats through a few times, and then once in ten minutes with how often it came.

    Of one kind are records of one place in the code about the same things: numbers that are measured, and digits in
    long texts, may differ.

    Parameters
    ----------
    clock : callable
        Seconds on any monotonic time line.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[object, ...], tuple[float, int]] = {}  # kind -> since when, and how often

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is to be written."""
        if record.levelno < logging.INFO:
            return True
        now, kind = self._clock(), (record.name, record.msg, *map(_kind, record.args or ()))
        since_s, count = self._seen.get(kind, (now, 0))
        if now - since_s >= REPEAT_S:
            if count > FEW:
                record.msg = f"{record.getMessage()} ({count - FEW} more in the last {(now - since_s) / 60:.0f} min)"
                record.args = None
            since_s, count = now, FEW - 1 if count > FEW else 0
        if len(self._seen) >= MOST_KINDS:
            self._seen.clear()
        self._seen[kind] = since_s, count + 1
        return count < FEW


def _kind(given: object) -> object:
    """Return what of an argument tells one kind of line from another."""
    if isinstance(given, int):
        return given
    if isinstance(given, float):
        return None
    text = str(given)  # an exception would be a kind of its own, and kept with all that it holds
    return text.translate(_NO_DIGITS) if len(text) > LONG_TEXT else text


def _priority(level: int) -> int:
    """Syslog's number for a Python level (sd-daemon(3))."""
    for least, priority in ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)):
        if level >= least:
            return priority
    return 7


def set_up_log(level: str, form: str, environ: Mapping[str, str], stream: TextIO) -> None:
    """Send the logs of all packages to ``stream``, and nowhere else.

    Parameters
    ----------
    level : {"debug", "info", "warning", "error"}
    form : {"auto", "text", "journald", "json"}
        ``auto``: journald where ``JOURNAL_STREAM`` names the very file that ``stream`` is, else text.
    """
    if form == "auto":
        form = "journald" if _is_journal(environ.get("JOURNAL_STREAM", ""), stream) else "text"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Lines(form))
    handler.addFilter(AtARate())
    log = logging.getLogger("wattshed")
    for old in list(log.handlers):
        log.removeHandler(old)
    log.addHandler(handler)
    log.setLevel(level.upper())
    log.propagate = False


def _is_journal(named: str, stream: TextIO) -> bool:
    """Whether ``device:inode`` is what ``stream`` writes to (systemd.exec(5): it may have been redirected since)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return named == f"{found.st_dev}:{found.st_ino}"
