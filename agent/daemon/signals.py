"""What signals do: SIGTERM and SIGINT end the agent in order, SIGHUP makes it look again at what may have changed.

SIGUSR1 makes it let go of the driver, SIGUSR2 take it back.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.daemon.board import Board
    from wattshed.agent.daemon.loop import Daemon

LOG = logging.getLogger("wattshed")
UNWIND_S = 3.0
"""Seconds that a process has to unwind when it is told to end before its first window."""
_ENDS = (signal.SIGTERM, signal.SIGINT)


def end_at_once() -> None:
    """Before the first window there is nothing to save, and nothing that a reload could change."""
    for number in _ENDS:
        signal.signal(number, _nothing_to_close)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def end_in_order(board: Board, daemon: Daemon, close_source: Callable[[], None]) -> None:
    """From now on the state is saved before the agent ends; ``close_source`` makes it wait for no more windows."""

    def stop(number: int, frame: object) -> None:
        if not board.current().seq:
            _nothing_to_close(number, frame)  # the kernels may have tens of seconds left to compile
        saving = "saving totals" if daemon.keeps_totals else "totals are not kept"
        LOG.info("%s: shutting down, %s", signal.Signals(number).name, saving)
        daemon.stop()
        # The sampler may be waiting, or a call may hang: close it from another thread, so that next() returns.
        threading.Thread(target=close_source, daemon=True).start()

    for number in _ENDS:
        signal.signal(number, stop)


def look_again(*looks: Callable[[], None]) -> None:
    """On SIGHUP call each of these."""

    def again(_number: int, _frame: object) -> None:
        for look in looks:
            look()

    signal.signal(signal.SIGHUP, again)


def let_go_and_resume(release: Callable[[], object], resume: Callable[[], object]) -> None:
    """On SIGUSR1 let go of the driver, on SIGUSR2 take it back."""
    signal.signal(signal.SIGUSR1, lambda *_: release())
    signal.signal(signal.SIGUSR2, lambda *_: resume())


def once(close: Callable[[], None]) -> Callable[[], None]:
    """Close in whichever thread asks first; the others find it done, or being done."""
    first = threading.Lock()

    def close_once() -> None:
        if first.acquire(blocking=False):
            close()

    return close_once


def _nothing_to_close(number: int, _frame: object) -> NoReturn:
    LOG.info("%s: shutting down before the first window", signal.Signals(number).name)
    # What it interrupts may swallow it: the compiler runs callbacks that nothing can be raised through.
    end = threading.Timer(UNWIND_S, os._exit, (0,))
    end.daemon = True
    end.start()
    raise SystemExit(0)
