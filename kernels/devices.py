"""Where a kernel should run: by where its data lies, how much there is, and how fast this machine was measured to be.

Every kernel here reads its input once, so it takes as long as the slowest way that the bytes must go. On the CPU that
is memory. On a CUDA device it is the device's memory if the data lies there already, else the bus, which is usually
slower than the CPU's own memory: data in host memory is then faster on the CPU, and ``auto`` says so.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.kernels.bandwidth import read_once
from wattshed.kernels.jit import MODE

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger(__name__)
_PROBE_WORDS = 1 << 22
_LAUNCH_S = 1e-4
"""Start of a kernel, allocation and copying back: dozens of microseconds each (CUDA C++ Best Practices Guide, 9.1)."""


class Speeds(NamedTuple):
    """Bytes a second: reading host memory, copying from the host to the device."""

    host: float
    bus: float


class Choice(NamedTuple):
    """``device`` is "cpu" or "cuda"; ``reason`` says why, for people."""

    device: str
    reason: str


def on_device(array: Any) -> bool:
    """Return whether an array lies in a CUDA device's memory (numba, CuPy, PyTorch ... all say so in one way)."""
    return hasattr(array, "__cuda_array_interface__")


@functools.cache
def obstacle() -> str:
    """Say why no CUDA device can be used, or nothing if one can."""
    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"  # runs plain Python, so with or without compilation
    if MODE == "off" and not simulated:
        return "WATTSHED_JIT=off"
    try:
        from numba import cuda
    except ImportError:
        return "numba-cuda is not installed (pip install 'wattshed[cuda]')"
    if simulated:
        return ""
    try:
        return "" if cuda.is_available() else "no CUDA driver or no device"
    except Exception as error:  # noqa: BLE001 - a broken driver raises its own kinds, and all mean "not here"
        return f"the CUDA driver does not answer: {error}"


def _seconds(work: Callable[[], object]) -> float:
    work()
    start = time.perf_counter()
    work()
    return max(time.perf_counter() - start, 1e-9)


@functools.cache
def measure() -> Speeds:
    """Measure this machine once: tens of milliseconds, and 32 MiB of memory on each side."""
    from numba import cuda

    words = np.ones(_PROBE_WORDS, np.int64)
    target = cuda.device_array(len(words), np.int64)

    def copy() -> None:
        target.copy_to_device(words)
        cuda.synchronize()

    return Speeds(words.nbytes / _seconds(lambda: read_once(words)), words.nbytes / _seconds(copy))


def decide(size: int, *, resident: bool, obstacle: str, speeds: Callable[[], Speeds]) -> Choice:
    """Choose for ``size`` bytes of input.

    Parameters
    ----------
    size : int, bytes
    resident : bool
        The data lies on the device.
    obstacle : str
        Why no device can be used, or empty.
    speeds : callable
        Asked only where the answer depends on it.
    """
    if resident:
        return Choice("cuda", "the data lies on the device")
    if obstacle:
        return Choice("cpu", obstacle)
    if size < _LAUNCH_S * 1e9:
        return Choice("cpu", f"{size} bytes are summed before a device has started")
    host, bus = speeds()
    cpu_s, cuda_s = size / host, _LAUNCH_S + size / bus
    reason = f"{size / 1e6:.0f} MB in host memory: {cpu_s * 1e3:.1f} ms here, {cuda_s * 1e3:.1f} ms over the bus"
    return Choice("cuda" if cuda_s < cpu_s else "cpu", reason)


def choose(device: str, *arrays: Any) -> Choice:
    """Say where to run on ``arrays`` when the caller asked for ``device``.

    Parameters
    ----------
    device : {"cpu", "cuda", "auto"}
    *arrays : arrays on the host or on a device

    Returns
    -------
    Choice
        For "auto", also logged.

    Raises
    ------
    ValueError
        If ``device`` is none of these, or "cuda" cannot be had.
    """
    if device == "cpu":
        return Choice("cpu", "asked for")
    if device not in {"cuda", "auto"}:
        raise ValueError(f'device must be "cpu", "cuda" or "auto", got {device!r}')
    if device == "cuda":
        if why := obstacle():
            raise ValueError(f'device="cuda" cannot be used here: {why}; use device="cpu"')
        return Choice("cuda", "asked for")
    size = sum(int(array.nbytes) for array in arrays)
    choice = decide(size, resident=any(map(on_device, arrays)), obstacle=obstacle(), speeds=measure)
    _LOG.info("device: %s (%s)", *choice)
    return choice
