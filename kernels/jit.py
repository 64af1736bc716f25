"""Helpers that kernels call: plain Python functions, for which a compiler finds compiled twins when there is one.

A helper stays the function that it was written as, in every form and at no cost, so that importing a kernel never
imports numba. A compiler that comes to the name of a helper, for the CPU or for CUDA, asks for three attributes of what
it finds there; `link` sets them.

The results are the same to the last bit in every form, because kernels keep to three rules: arithmetic on int64 only
(``np.int64(x)`` around every narrower value that is loaded), floor division by numbers that cannot be zero, and no
float sum whose order could change. Nothing that is compiled allocates: scratch comes from the caller.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

COMPILER_OPTIONS = {"nogil": True, "error_model": "numpy"}
"""How everything is compiled for the CPU: without the interpreter's lock, and without exceptions for a division."""
MODE = "off" if os.environ.get("WATTSHED_JIT", "").strip().lower() in {"off", "0", "no", "false"} else "cpu"
prange: Any = range

_helpers: list[tuple[Callable[..., Any], str, bool]] = []
_twins: list[Any] = []  # numba holds them weakly


class ParallelKernel:
    """A kernel of the old kind, on one thread."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.serial = self
        self._function = function
        self._compiled: Any = None

    def __call__(self, *args: Any) -> Any:
        """Run it."""
        if MODE == "off":
            return self._function(*args)
        if self._compiled is None:
            import numba

            link()
            self._compiled = numba.njit(self._function, **COMPILER_OPTIONS)
        return self._compiled(*args)


@overload
def jit(function: F, /) -> F: ...
@overload
def jit(*, inline: str = "never", allocates: bool = False) -> Callable[[F], Any]: ...
@overload
def jit(*, parallel: bool) -> Callable[[F], Any]: ...
def jit(function: Any = None, /, *, inline: str = "never", parallel: bool = False, allocates: bool = False) -> Any:
    """Mark a helper of kernels: ``@jit``, or ``@jit(inline="always")``.

    Parameters
    ----------
    function : callable
        Numbers and arrays in, numbers and tuples out.
    inline : {"never", "always"}
        numba's inlining, before type inference.

    Returns
    -------
    callable
        The function itself.
    """

    def mark(helper: Any) -> Any:
        if parallel:
            return ParallelKernel(helper)
        _helpers.append((helper, inline, allocates))
        if _twins:
            link()
        return helper

    return mark if function is None else mark(function)


def link() -> None:
    """Let numba find a compiled twin of every helper, those of modules that are imported later too.

    Three attributes make it take a function for one of its dispatchers: by the first it infers types, by the other two
    it inlines. Each twin is compiled when a kernel needs it.
    """
    import numba
    from numba.core import types

    for helper, inline, allocates in _helpers[len(_twins) :]:
        twin = numba.njit(helper, inline=inline, _nrt=allocates, **COMPILER_OPTIONS)
        _twins.append(twin)
        made: Any = helper
        made._numba_type_ = types.Dispatcher(twin)
        made.targetoptions, made.py_func = twin.targetoptions, helper
