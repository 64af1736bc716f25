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
GOOD_AFTER_S = 30.0
"""A part that failed and works has recovered after so long without a fault."""
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


class UnclearGpusError(InputError):
    """Rows may be of several GPUs, and nothing says which."""


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
        self._said: dict[tuple[str, str], tuple[float, int]] = {}  # when it was logged, and how often it came since
        self._failing: dict[str, tuple[int, float]] = {}  # part -> faults since it worked, and when the last one came
        self._clock = clock
        self._lock = threading.Lock()

    @contextmanager
    def noting(self, part: str, kind: type[Exception] = Exception, then: str = "continuing") -> Iterator[None]:
        """Let a part fail inside the block: it is noted, and what follows the block is done.

        A part that failed and has worked for a while since is logged as recovered.

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
        else:
            if part in self._failing:
                self._recover(part)

    def note(self, part: str, why: Exception | str, then: str = "continuing") -> None:
        """Count one fault; the first of its kind goes to the log, and then one in ten minutes with how many came.

        Of one kind are exceptions of one type, and texts that differ in numbers only.
        """
        name = type(why).__name__
        kind, text = (name, f"{name}: {why}") if isinstance(why, Exception) else (why.translate(_NO_DIGITS), why)
        now = self._clock()
        with self._lock:
            self.counts[part] += 1
            self._failing[part] = self._failing.get(part, (0, now))[0] + 1, now
            at_s, more = self._said.get((part, kind), (-LOG_AGAIN_S, 0))
            new = now - at_s >= LOG_AGAIN_S
            self._said[part, kind] = (now, 0) if new else (at_s, more + 1)
        if new:
            often = f" ({more} more in the last {max((now - at_s) / 60, 1):.0f} min)" if more else ""
            LOG.error("%s: %s; %s%s", part, text, then, often)
            if isinstance(why, Exception):
                LOG.debug("%s", part, exc_info=why)

    def count(self, part: str) -> None:
        """Count one fault that is told of elsewhere."""
        with self._lock:
            self.counts[part] += 1

    def _recover(self, part: str) -> None:
        """Take note that a part worked."""
        now = self._clock()
        with self._lock:
            faults, last_s = self._failing.get(part, (0, now))
            if not faults or now - last_s < GOOD_AFTER_S:
                return
            del self._failing[part]
            for key in [key for key in self._said if key[0] == part]:
                del self._said[key]
        LOG.info("%s: working again after %s", part, counted(faults, "fault"))


def counted(number: int, noun: str, plural: str = "") -> str:
    """Write how many of something there are: ``1 GPU``, ``8 GPUs``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
