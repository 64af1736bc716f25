"""The log: one record a line, at a rate, with the journal's priorities where it goes there (sd-daemon(3))."""

from __future__ import annotations

import io
import json
import logging
import os
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
    handler = logging.StreamHandler(_unbuffered(stream))
    handler.setFormatter(Lines(form))
    handler.addFilter(AtARate())
    log = logging.getLogger("wattshed")
    for old in list(log.handlers):
        log.removeHandler(old)
    log.addHandler(handler)
    log.setLevel(level.upper())
    log.propagate = False


def _unbuffered(stream: TextIO) -> TextIO:
    """Return the stream without its buffer, which refuses a signal handler's line while another one is written."""
    if not (isinstance(stream, io.TextIOWrapper) and isinstance(stream.buffer, io.BufferedWriter)):
        return stream
    raw = io.FileIO(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(raw, stream.encoding, stream.errors, write_through=True)


def _is_journal(named: str, stream: TextIO) -> bool:
    """Whether ``device:inode`` is what ``stream`` writes to (systemd.exec(5): it may have been redirected since)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return named == f"{found.st_dev}:{found.st_ino}"
