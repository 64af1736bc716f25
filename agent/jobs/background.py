"""Ask something slow again and again, in a thread of its own: whoever needs the answer takes the latest one."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.errors import Faults

T = TypeVar("T")

HURRY_S = 1.0
"""Pause before a question that somebody hurries, unless a part says another."""
_SPREAD = 0.2
"""Pauses of a second and more differ by as much either way: a thousand nodes that started at once soon ask apart."""


class Background(Generic[T]):
    """The latest answer of a function that may be slow, fail, or never return.

    Parameters
    ----------
    name : str
        Of the thread and of the part that fails.
    ask : callable
        Called in the thread. What it raises is noted; the last answer stays.
    first : T
        The answer until there is one.
    period_s : float
        Pause between two questions. What fails is asked again after a second, then two, four ..., at least once a
        period.
    faults : Faults
    hurry_s : float, optional
        What :meth:`hurry` shortens the pause to; `HURRY_S` by default.
    """

    def __init__(  # noqa: PLR0917 - what to ask, how often, and who hears of failures
        self, name: str, ask: Callable[[], T], first: T, period_s: float, faults: Faults, hurry_s: float | None = None
    ) -> None:
        self.name = name
        self.answer = first
        self.answers = 0
        self._faults = faults
        self._answered_s = time.monotonic()
        self._ask = ask
        self._period_s, self._hurry_s = period_s, min(HURRY_S if hurry_s is None else hurry_s, period_s)
        self._hurried = threading.Event()
        self._stopped = threading.Event()
        self._tried = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"wattshed-{name}", daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Ask again soon; returns at once."""
        self._hurried.set()

    def age_s(self) -> float:
        """Return the seconds since the last answer."""
        return time.monotonic() - self._answered_s

    def tried(self, wait_s: float) -> bool:
        """Wait until it has answered, or failed, for the first time; False if it has not."""
        return self._tried.wait(wait_s)

    def close(self, wait_s: float = 1.0) -> None:
        """Stop asking; a question that hangs is left behind (the thread is a daemon)."""
        self._stopped.set()
        self._hurried.set()
        self._thread.join(timeout=wait_s)

    def _run(self) -> None:
        failed = 0
        while not self._stopped.is_set():
            failed += 1
            with self._faults.noting(self.name, then="using the last good answer"):
                self.answer = self._ask()
                self.answers += 1
                self._answered_s = time.monotonic()
                failed = 0
            self._tried.set()
            # A service that is down must not be asked faster and faster by every node that waits for it.
            spread = 1 + random.uniform(-_SPREAD, _SPREAD) if self._period_s >= 1 else 1.0  # noqa: S311 - no secret
            if failed:
                self._stopped.wait(min(2.0 ** min(failed - 1, 10), max(1.0, self._period_s * spread)))
            elif not self._stopped.wait(self._hurry_s):
                self._hurried.wait(max(0.0, self._period_s * spread - self._hurry_s))
            self._hurried.clear()
