"""numba, as it compiles an entry: one signature, our private cache."""

from __future__ import annotations

from typing import Any

import numba
from numba.core import types
from numba.np import numpy_support

from wattshed.kernels.cache import cache_folder
from wattshed.kernels.jit import COMPILER_OPTIONS, link

COMPILER_FLAGS = {
    "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "nrt": False, "error_model": "numpy",
}  # fmt: skip
"""How an entry is compiled that is called as a function of C."""


def numba_type(kind: Any) -> Any:
    """Return numba's type of an argument."""
    scalar = numpy_support.from_dtype(kind.dtype)
    return types.Array(scalar, kind.dimensions, "C") if kind.dimensions else scalar


def signature(kernel: Any) -> Any:
    """Return numba's signature of an entry."""
    result = types.none if kernel.returns is None else numba_type(kernel.returns)
    return result(*map(numba_type, kernel.kinds))


def dispatcher(kernel: Any) -> Any:
    """Compile an entry, or load it from the cache; returns what numba calls a dispatcher.

    numba checks only the file that holds the function, not those that it calls: the folder carries a digest of all.
    """
    link()
    folder = cache_folder()
    before = numba.config.CACHE_DIR
    try:
        # numba reads this while it decorates; put back, so that other users of numba keep their own place.
        numba.config.CACHE_DIR = str(folder or "")
        return numba.njit(signature(kernel), cache=folder is not None, **COMPILER_OPTIONS)(kernel.function)
    except RuntimeError:  # numba found the place unusable after all
        return numba.njit(signature(kernel), **COMPILER_OPTIONS)(kernel.function)
    finally:
        numba.config.CACHE_DIR = before
