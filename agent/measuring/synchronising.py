"""Waiting for what a GPU was told to do: a window that ends before has not seen all of it."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

DRIVER = "libcuda.so.1"
_NOT_STARTED = 3  # CUDA_ERROR_NOT_INITIALIZED


def synchroniser(sync: str | bool | Callable[[], object]) -> Callable[[], object] | None:
    """Return what waits for the GPU at a window's edges; None if nothing does.

    Parameters
    ----------
    sync : "auto", bool or callable
        ``"auto"`` waits by PyTorch if the program has started it on a GPU: nothing is imported or started for this.
        False never waits. A callable is called: ``jax.effects_barrier`` or what else the program needs.

    Raises
    ------
    ValueError
        It is none of these.
    """
    if callable(sync):
        return sync
    if sync not in ("auto", True, False):
        raise ValueError(f"sync is 'auto', True, False or a callable, not {sync!r}")
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
    if not sync or cuda is None or not cuda.is_initialized():
        return None
    wait: Callable[[], object] = cuda.synchronize
    return wait


def leaves_work(driver: str = DRIVER) -> bool:
    """Tell whether the program may have left work to a GPU: by whatever module, it has started the driver of CUDA.

    A module that is only imported starts nothing, and asking loads and starts nothing either.
    """
    try:
        cuda = ctypes.CDLL(driver, mode=os.RTLD_NOW | os.RTLD_NOLOAD)
    except OSError:
        return False
    return bool(cuda.cuDeviceGetCount(ctypes.byref(ctypes.c_int())) != _NOT_STARTED)
