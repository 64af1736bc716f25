"""numba's CUDA target, mended where its parts no longer fit each other, and a trial of it.

numba-cuda, in maintenance since 0.30, registers a function for ``numpy.row_stack``, which numpy 2.5 removed: then every
kernel fails when it is compiled, for this alone. It registers on the first compilation, so a stand-in that lasts for
that one import is enough; nothing calls it (docs/decisions/0994-numba-cuda-is-mended-and-tried.md).
"""

# Kernels are typed by numba when they are first called.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: ANN202

from __future__ import annotations

import importlib
import os
import warnings
from types import FunctionType
from typing import Any

import numpy as np
from numba import cuda

from wattshed.kernels.int128 import add_product
from wattshed.kernels.jit import link

__all__ = ["SIMULATED", "THREADS", "cuda", "each", "launch", "trial"]

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
"""Kernels run in numba-cuda's simulator, as plain Python."""
THREADS = 8 if SIMULATED else 256
"""Threads of a block; the simulator starts a Python thread for each."""
_FACTOR, _DT_US = (1 << 31) + 5, (1 << 40) + 3


def _row_stack(_arrays: Any) -> None:
    """Stand for the function that numpy no longer has."""


def _mend() -> None:
    """Let numba-cuda register what it has for arrays, on any numpy."""
    if SIMULATED or hasattr(np, "row_stack"):
        return
    vars(np)["row_stack"] = _row_stack
    try:
        importlib.import_module("numba.cuda.np.arrayobj")
    except ModuleNotFoundError:  # an older numba-cuda keeps it elsewhere, and knows no such numpy anyway
        pass
    finally:
        del vars(np)["row_stack"]


def _find_helpers() -> None:
    """Let numba-cuda compile our helpers, which are plain functions that name their twin (`kernels.jit.link`).

    It makes a device function of a dispatcher that it comes upon; of a function with a dispatcher's type it would take
    the CPU's code.
    """
    if SIMULATED:
        return
    context = importlib.import_module("numba.cuda.target").CUDATypingContext
    real = context.resolve_value_type

    def resolve(self: Any, value: Any) -> Any:
        twin = getattr(getattr(value, "_numba_type_", None), "dispatcher", None)
        return real(self, twin if twin is not None and isinstance(value, FunctionType) else value)

    context.resolve_value_type = resolve


_mend()
_find_helpers()
if SIMULATED:
    importlib.import_module("wattshed.kernels.cuda_simulator").take_turns()
else:
    link()


def launch(kernel: Any, blocks: int | tuple[int, int], threads: int, *args: Any) -> None:
    """Run a kernel, without numba's advice on how many blocks it should have: that is for who writes it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Grid size .* will likely result in GPU under-utilization")
        configured = kernel[blocks, threads]
    configured(*args)


def each(kernel: Any, tasks: int, *args: Any) -> None:
    """Run a kernel with one thread per task."""
    if tasks:
        launch(kernel, (tasks + THREADS - 1) // THREADS, THREADS, *args)


@cuda.jit
def _multiply(words):
    """Write one exact product in two words."""
    if cuda.grid(1) == 0:
        words[0], words[1] = add_product(np.int64(0), np.int64(0), np.int64(_FACTOR), np.int64(_DT_US))


def trial() -> None:
    """Compile and run one small kernel: what can break on the way from Python to the device breaks here.

    Raises
    ------
    Exception
        Whatever numba, its libraries or the driver raise.
    ArithmeticError
        If the device's answer is wrong.
    """
    words = cuda.to_device(np.zeros(2, np.int64))
    launch(_multiply, 1, 1, words)
    high, low = words.copy_to_host().tolist()
    if (high << 32) + low != _FACTOR * _DT_US:
        raise ArithmeticError(f"a product came back wrong: {high} and {low}")
