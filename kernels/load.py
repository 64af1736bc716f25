"""In which form the kernels of this process run, decided once, and exchanged between two calls.

``so``: a shared library of all kernels, compiled ahead. ``objects``: the same as an object file, where there was
nothing to link it with; llvmlite loads it. ``numba``: each kernel compiled when it is first called, or taken from
numba's cache.
``off``: plain Python. All of them give the same integers.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from wattshed.kernels import cpu, library
from wattshed.kernels.library import SCHEMA, may_run_new_code, symbol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "FORMS", "KERNELS", "NO_COMPILER", "SCHEMA", "Form", "bind", "form", "has_compiler", "look_again",
    "may_run_new_code", "register", "setting", "symbol", "use",
]  # fmt: skip

FORMS = ("so", "objects", "numba", "off")
NO_COMPILER = (
    "numba, the compiler, is not installed (deb and rpm do not contain it); "
    "`pip install wattshed` in a virtual environment installs it"
)
"""What to say where something is to be compiled and cannot be."""


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
_binder: Callable[[Entry], Callable[..., Any] | None] | None = None


def setting() -> str:
    """Return what ``WATTSHED_JIT`` says: ``auto`` where it says nothing."""
    given = os.environ.get("WATTSHED_JIT", "").strip().lower()
    return "off" if given in {"off", "0", "no", "false"} else given if given in FORMS else "auto"


def form() -> Form:
    """Return the form of this process; the first call decides it."""
    with _lock:
        return _form or use(setting())


def use(name: str, *, just_in_time: bool = True) -> Form:
    """Run all kernels in a form from the next call on.

    Parameters
    ----------
    name : str
        One of `FORMS`, or ``auto``: the best that is here. Where a form that is asked for is not here, the next best.
    just_in_time : bool
        Whether numba may compile in this process if there is no library.

    Returns
    -------
    Form
        What they run in now, and why.
    """
    with _lock:
        if name not in {"off", "numba"}:
            for one in ("so", "objects") if name == "auto" else (name,):
                if found := library.find(one):
                    reason = f"loaded from {found.path}"
                    return _take(Form(one, found.cpu, reason), lambda kernel: library.bound(found, kernel))
        if name == "off":
            return _take(Form("off", "", "WATTSHED_JIT=off"), None)
        missing = "" if name == "numba" else "no compiled library for this version and processor: run wattshed warm"
        if not has_compiler():
            lacking = "no compiled library for this version and processor; " if missing else ""
            return _take(Form("off", "", f"{lacking}{NO_COMPILER}"), None)
        if not just_in_time:
            return _take(Form("off", "", missing), None)
        if not may_run_new_code():
            return _take(Form("off", "", f"{missing or 'numba is asked for'}; memory may not be written and run"), None)
        return _take(Form("numba", cpu.native(), missing or "WATTSHED_JIT=numba"), in_time)


def has_compiler() -> bool:
    """Return whether numba is installed; nothing is imported."""
    return importlib.util.find_spec("numba") is not None


def look_again() -> Form:
    """Take a library that was built meanwhile, if there is one; returns the form that is now."""
    with _lock:
        now = form()
        for name in ("so", "objects"):
            if now.name == name:
                break
            if library.find(name):
                return use(name)
        return now


def _take(new: Form, binder: Callable[[Entry], Callable[..., Any] | None] | None) -> Form:
    """Give all kernels a form, each between two of its calls."""
    global _form, _binder
    _form, _binder = new, binder
    for kernel in KERNELS.values():
        bind(kernel)
    return new


def register(kernel: Entry) -> None:
    """Enter a kernel, which takes the form of this process when it is first called."""
    before = KERNELS.setdefault(kernel.name, kernel)
    if before.function.__module__ != kernel.function.__module__:
        raise TypeError(f"two kernels are called {kernel.name}")
    KERNELS[kernel.name] = kernel


def bind(kernel: Entry) -> None:
    """Give one kernel the form of this process; one that is in no library is plain Python."""
    with _lock:
        form()
        kernel.now = (_binder and _binder(kernel)) or kernel.plain


class _Opened:
    """An array that may be written to, by name only: so numba sees one type of array, and compiles once."""

    def __init__(self, array: Any) -> None:
        self._array = array
        interface = dict(array.__array_interface__)
        interface["data"] = interface["data"][0], False
        self.__array_interface__ = interface


def in_time(kernel: Entry) -> Callable[..., Any]:
    """Return a kernel that numba compiles when it is first called."""
    arrays = [place for place, kind in enumerate(kernel.kinds) if kind.dimensions and not kind.is_written]
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
