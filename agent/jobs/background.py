"""Ask something slow again and again, in a thread of its own: whoever needs the answer takes the last one."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger(__name__)

T = TypeVar("T")


class Background(Generic[T]):
    """The latest answer of a function that may be slow, fail, or never return.

    Parameters
    ----------
    name : str
        Of the thread, the log lines and the fault counter.
    ask : callable
        Called in the thread. What it raises is counted and logged once per message; the last answer stays.
    first : T
        The answer until there is one.
    period_s : float
        Pause between two questions; :meth:`hurry` shortens it to ``hurry_s``.
    """

    def __init__(self, name: str, ask: Callable[[], T], first: T, period_s: float, hurry_s: float = 1.0) -> None:
        self.name = name
        self.answer = first
        self.answers = 0
        self.faults = 0
        self._answered_s = time.monotonic()
        self._ask = ask
        self._period_s, self._hurry_s = period_s, min(hurry_s, period_s)
        self._hurried = threading.Event()
        self._stopped = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name=f"wattshed-{name}", daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Ask again soon; returns at once."""
        self._hurried.set()

    def age_s(self) -> float:
        """Return the seconds since the last answer."""
        return time.monotonic() - self._answered_s

    def close(self, wait_s: float = 1.0) -> None:
        """Stop asking; a question that hangs is left behind (the thread is a daemon)."""
        self._stopped.set()
        self._hurried.set()
        self._thread.join(timeout=wait_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.answer = self._ask()
                self.answers += 1
                self._answered_s = time.monotonic()
                self._said = ""
            except Exception as fault:  # noqa: BLE001 - whatever fails at run time is a metric and a log line
                self.faults += 1
                said = f"{type(fault).__name__}: {fault}"
                if said != self._said:
                    LOG.warning("%s failed, the last answer stays in use: %s", self.name, said)
                    self._said = said
            # What fails is not asked more than once a second, however often it would be otherwise.
            if not self._stopped.wait(max(self._hurry_s, 1.0) if self._said else self._hurry_s):
                self._hurried.wait(max(0.0, self._period_s - self._hurry_s))
                self._hurried.clear()
