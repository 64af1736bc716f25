"""Reads one step ahead on a thread of its own, so that a trace is decoded while what came before it is processed."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

T = TypeVar("T")

_POLL_S = 0.1


def ahead(items: Iterable[T], steps: int = 1) -> Generator[T]:
    """Yield ``items``, fetched up to ``steps`` ahead; an error comes where it would have come.

    Parameters
    ----------
    items : iterable
        Runs on the other thread alone, and ends there when the reader stops reading.
    steps : int
    """
    fetched: queue.Queue[tuple[str, Any]] = queue.Queue(steps)
    left = threading.Event()

    def put(kind: str, what: Any) -> bool:
        while not left.is_set():
            try:
                fetched.put((kind, what), timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def fetch() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the reader's thread
            put("error", error)
        else:
            put("end", None)

    thread = threading.Thread(target=fetch, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, what = fetched.get()
            if kind == "item":
                yield what
            elif kind == "error":
                raise what
            else:
                return
    finally:
        left.set()
        thread.join()
