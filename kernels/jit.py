"""Helpers that kernels call: plain Python functions, for which a compiler finds compiled twins when there is one.

A helper stays the function that it was written as, in every form and at no cost, so that importing a kernel never
imports numba. A compiler that comes to the name of a helper, for the CPU or for CUDA, asks what it finds there for its
type; `link` lets each say that it is one of numba's.

The results are the same to the last bit in every form, because kernels keep to three rules: arithmetic on int64 only
(``np.int64(x)`` around every narrower value that is loaded), floor division by numbers that cannot be zero, and no
float sum whose order could change. Nothing that is compiled allocates: scratch comes from the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

COMPILER_OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""How everything is compiled for the CPU: without the interpreter's lock, without exceptions for a division, and
without numba's memory and its counts of references, which cost a small kernel more than its work (numba issues 2345 and
2350)."""

_helpers: list[tuple[Callable[..., Any], Callable[..., Any]]] = []  # what is called, and what is compiled for it
_twins: list[Any] = []  # numba holds them weakly
_apart: list[Callable[[], None]] = []


def jit(helper: F) -> F:
    """Mark a helper of kernels: numbers and arrays in, numbers and tuples out.

    Returns
    -------
    callable
        The function itself.
    """
    _helpers.append((helper, helper))
    if _twins:
        link()
    return helper


def loop_of(helper: Callable[..., Any]) -> Callable[[F], F]:
    """Mark the loop that is compiled for a helper which plain Python has in numpy's vectors.

    Both give the same: plain Python takes a microsecond a step, which is too much where each reading takes several.
    """

    def mark(loop: F) -> F:
        _helpers.append((helper, loop))
        if _twins:
            link()
        return loop

    return mark


def written_apart(compile_it: Callable[[], None]) -> Callable[[F], F]:
    """Mark a helper whose compiled twin is another function: ``compile_it`` tells numba which, before it compiles."""
    _apart.append(compile_it)
    return lambda helper: helper


def link() -> None:
    """Let numba find a compiled twin of every helper, those of modules that are imported later too.

    An attribute makes it take a function for one of its dispatchers. Each twin is compiled when a kernel needs it. None
    is inlined by numba itself: LLVM does that as well, and types are then inferred once a helper, not once a call.
    """
    import numba  # only where something is compiled
    from numba.core import types

    for helper, loop in _helpers[len(_twins) :]:
        # Nobody calls a twin from Python or C: wrappers for that would be half of what is compiled.
        twin = numba.njit(loop, no_cpython_wrapper=True, no_cfunc_wrapper=True, **COMPILER_OPTIONS)
        _twins.append(twin)
        made: Any = helper
        made._numba_type_ = types.Dispatcher(twin)
    while _apart:
        _apart.pop()()
