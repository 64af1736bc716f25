"""What goes wrong: an error of the user's ends a command; a fault at run time is counted, logged once, and survived."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOG = logging.getLogger(__name__)
LOG_AGAIN_S = 600.0
"""A fault that lasts is logged again this often."""
_NO_DIGITS = str.maketrans("", "", "0123456789")


class InputError(Exception):
    """Something the user handed over cannot be used; the command line prints it as one line and exits with 2.

    Parameters
    ----------
    message : str
        What is wrong and what to do, without a full stop at the end.
    path : str
        The file, or empty.
    line, column : int
        1-based; 0 where it does not apply.
    """

    def __init__(self, message: str, path: str = "", line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message, self.path, self.line, self.column = message, path, line, column

    def __str__(self) -> str:
        """``file:line:column: message``, leaving out what is unknown."""
        where = ":".join([self.path, *(str(n) for n in (self.line, self.column) if n)]) if self.path else ""
        text = f"{where}: {self.message}" if where else self.message
        # What the file holds may be quoted in it: control characters are shown, not obeyed, so that it stays one line.
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Faults:
    """The one way in which a fault of a part becomes a metric and a line in the log, while the agent continues.

    Parameters
    ----------
    clock : callable
        Seconds on any monotonic time line.

    Attributes
    ----------
    counts : Counter of str
        Faults so far, by part.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._said: dict[tuple[str, str], float] = {}
        self._clock = clock
        self._lock = threading.Lock()

    @contextmanager
    def noting(self, part: str, kind: type[Exception] = Exception, then: str = "continuing") -> Iterator[None]:
        """Let a part fail inside the block: it is noted, and what follows the block is done.

        Parameters
        ----------
        part : str
            The label of the metric.
        kind : type of Exception
            What may happen; by default, anything.
        then : str
            What the agent does about it, for the log.
        """
        try:
            yield
        except kind as error:
            self.note(part, error, then)

    def note(self, part: str, why: Exception | str, then: str = "continuing") -> None:
        """Count one fault; the first of its kind goes to the log, and then one in ten minutes.

        Of one kind are exceptions of one type, and texts that differ in numbers only.
        """
        name = type(why).__name__
        kind, text = (name, f"{name}: {why}") if isinstance(why, Exception) else (why.translate(_NO_DIGITS), why)
        now = self._clock()
        with self._lock:
            self.counts[part] += 1
            new = now - self._said.get((part, kind), -LOG_AGAIN_S) >= LOG_AGAIN_S
            if new:
                self._said[part, kind] = now
        if new:
            LOG.error("%s: %s; %s (%d so far)", part, text, then, self.counts[part])
            if isinstance(why, Exception):
                LOG.debug("%s", part, exc_info=why)
