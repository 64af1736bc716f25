"""Many tasks of one kernel on all cores: compiled code lets go of the interpreter's lock, so Python's threads do.

A kernel of many tasks ends in two parameters, ``first`` and ``last``: which of them it does. How they are cut makes no
difference to any result.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from wattshed.kernels import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FEW_ROWS = 262_144
"""Fewer rows than this are done on the caller's thread: waking others would cost more."""
_PIECES = 4
"""Pieces for each thread: tasks differ in length."""

_wanted: contextvars.ContextVar[int | None] = contextvars.ContextVar("threads", default=None)
_pool: ThreadPoolExecutor | None = None
_making = threading.Lock()


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def threads() -> int:
    """How many threads a kernel of many tasks runs on."""
    return _wanted.get() or _cores()


@contextlib.contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Run kernels that this thread calls on ``count`` threads (1 to all) for a while."""
    before = _wanted.set(max(1, min(count, _cores())))
    try:
        yield
    finally:
        _wanted.reset(before)


def _shared_pool() -> ThreadPoolExecutor:
    """Return the threads of this process, which all callers share."""
    global _pool  # noqa: PLW0603 - one pool a process
    with _making:
        if _pool is None:
            _pool = ThreadPoolExecutor(_cores(), thread_name_prefix="kernels")
        return _pool


def _forget_pool() -> None:
    """Begin anew in a forked child, which has none of its parent's threads."""
    global _pool, _making
    _pool, _making = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_pool)


def each(kernel: Callable[..., object], count: int, *args: Any, rows: int) -> None:
    """Call ``kernel(*args, first, last)`` for pieces of ``range(count)`` on all threads, and wait for them.

    Parameters
    ----------
    kernel : Kernel, or a function that spends its time in kernels
        Its tasks write to places of their own.
    count : int
        Tasks.
    args
        All its arguments but the last two.
    rows : int
        How much work it is in all: where that is little, or plain Python does it, the caller's thread does.

    Raises
    ------
    Exception
        What a piece raised; the others are done.
    """
    crew = min(threads(), count)
    if crew <= 1 or rows < FEW_ROWS or load.form().name == "off":
        if count > 0:
            kernel(*args, 0, count)
        return
    edges = [count * k // (crew * _PIECES) for k in range(crew * _PIECES + 1)]
    pieces = iter([(first, last) for first, last in pairwise(edges) if last > first])

    def work() -> None:
        for first, last in pieces:  # a list's iterator gives each piece to one thread
            kernel(*args, first, last)

    helping = [_shared_pool().submit(work) for _ in range(crew - 1)]
    work()
    for one in helping:
        if not one.cancel():  # nothing is left for one that has not begun: so callers never wait for each other
            one.result()
