"""In which form the kernels of this process run: compiled just in time by numba, or plain Python."""

from __future__ import annotations

import importlib.util
import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

FORMS = ("so", "objects", "numba", "off")


class Entry(Protocol):
    """What Python calls of the kernels, as `kernels.entry` makes it."""

    name: str
    function: Callable[..., Any]
    kinds: tuple[Any, ...]
    returns: Any
    now: Callable[..., Any]

    def plain(self, *args: Any) -> Any:
        """Run it as plain Python."""


class Form(NamedTuple):
    """How the kernels of this process run.

    Attributes
    ----------
    name : str
        One of `FORMS`.
    cpu : str
        What they are compiled for; empty for plain Python.
    reason : str
        Why it is this form.
    """

    name: str
    cpu: str
    reason: str


KERNELS: dict[str, Entry] = {}
"""All entries of the modules that are imported, by name."""
_lock = threading.RLock()
_form: Form | None = None
_binder: Callable[[Entry], Callable[..., Any]] | None = None


def setting() -> str:
    """Return what ``WATTSHED_JIT`` says: ``auto`` where it says nothing."""
    given = os.environ.get("WATTSHED_JIT", "").strip().lower()
    return "off" if given in {"off", "0", "no", "false"} else given if given in FORMS else "auto"


def form() -> Form:
    """Return the form of this process; the first call decides it."""
    with _lock:
        return _form or use(setting())


def use(name: str) -> Form:
    """Run all kernels in a form from the next call on.

    Parameters
    ----------
    name : str
        One of `FORMS`, or ``auto``.
    """
    global _form, _binder
    with _lock:
        if name == "auto":
            name = "numba" if importlib.util.find_spec("numba") else "off"
        if name == "numba":
            _form, _binder = Form("numba", "native", "just in time"), just_in_time
        else:
            _form, _binder = Form("off", "", "plain Python"), lambda kernel: kernel.plain
        for kernel in KERNELS.values():
            kernel.now = _binder(kernel)
        return _form


def register(kernel: Entry) -> None:
    """Enter a kernel, which takes the form of this process when it is first called."""
    before = KERNELS.setdefault(kernel.name, kernel)
    if before.function.__module__ != kernel.function.__module__:
        raise TypeError(f"two kernels are called {kernel.name}")
    KERNELS[kernel.name] = kernel


def bind(kernel: Entry) -> None:
    """Give one kernel the form of this process."""
    with _lock:
        form()
        if _binder is not None:
            kernel.now = _binder(kernel)


class _Opened:
    """An array that may be written to, by name only: so numba sees one type of array, and compiles once."""

    def __init__(self, array: Any) -> None:
        self._array = array
        interface = dict(array.__array_interface__)
        interface["data"] = interface["data"][0], False
        self.__array_interface__ = interface


def just_in_time(kernel: Entry) -> Callable[..., Any]:
    """Return a kernel that numba compiles when it is first called."""
    arrays = [place for place, kind in enumerate(kernel.kinds) if kind.dimensions]
    compiled: list[Any] = []

    def call(*args: Any) -> Any:
        if not compiled:
            from wattshed.kernels.compiler import dispatcher

            with _lock:
                compiled.append(dispatcher(kernel))
        for place in arrays:
            if not args[place].flags.writeable:
                args = (*args[:place], np.asarray(_Opened(args[place])), *args[place + 1 :])
        return compiled[0](*args)

    return call
