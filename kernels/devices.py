"""Where a kernel should run: by where its data lies, how much there is, and how fast this machine was measured to be.

Every kernel here reads its input once, so it takes as long as the slowest way that the bytes must go. On the CPU that
is memory. On a CUDA device it is the device's memory if the data lies there already, else the bus, which is usually
slower than the CPU's own memory: data in host memory is then faster on the CPU, and ``auto`` says so.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.kernels.bandwidth import read_once
from wattshed.kernels.columns import on_device

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger(__name__)
NO_DEVICE = "no CUDA driver or no device"
_PROBE_WORDS = 1 << 22
_LONGEST = 240
_LAUNCH_S = 1e-4
"""Start of a kernel, allocation and copying back: dozens of microseconds each (CUDA C++ Best Practices Guide, 9.1)."""


PASS_START_S = 3.0
"""Start of a whole pass in a new process: importing numba, the device's context, compiling two kernels (0.2 to 2 s each
on an H200)."""
SLOWEST_PASS = 1e9
"""Bytes of readings a second that a machine books without a device, at least."""
MARKS = ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia", "/dev/dxg", "/dev/nvhost-gpu", "/dev/nvmap")
"""What is there where a driver is: on a server, under WSL, on a Jetson."""


class Speeds(NamedTuple):
    """Bytes a second: reading host memory, copying from the host to the device; of a pass, without and with it."""

    host: float
    bus: float


class Choice(NamedTuple):
    """``device`` is "cpu" or "cuda"; ``reason`` says why, for people."""

    device: str
    reason: str


def _versions() -> str:
    """Name what takes part in compiling for a device."""
    from importlib import metadata  # its parts cost a start 5 ms, which is for those who have a device

    names = ("numba-cuda", "numba", "numpy")
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


def simulated() -> bool:
    """Return whether kernels for a device run in numba-cuda's simulator: as plain Python, with or without a device."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


def absent() -> bool:
    """Look, without loading anything, whether this machine has no trace of a device's driver."""
    return not simulated() and not any(os.path.exists(mark) for mark in MARKS)  # noqa: PTH110 - nothing is imported


def _in_one_line(error: Exception) -> str:
    """Say what happened; numba writes pages, and begins them with the step that failed."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


@functools.cache
def obstacle() -> str:
    """Say in one line why no CUDA device can be used, or nothing if one can.

    A device counts as usable when a kernel has been compiled for it and has given the right answer: that a driver is
    there says little about numba's own parts. Asked once per process; with a device it takes about a second.
    """
    if absent():
        return NO_DEVICE
    if importlib.util.find_spec("numba_cuda") is None:
        return (
            "numba-cuda is not installed (deb and rpm do not contain it); "
            "`pip install 'wattshed[cuda]'` in a virtual environment installs it"
        )
    try:
        from wattshed.kernels.cuda_target import cuda, trial

        if not simulated() and (why := _no_driver(cuda)):
            return why
        trial()
    except Exception as error:  # noqa: BLE001 - numba, its libraries and the driver raise their own kinds
        return f"CUDA kernels do not run here ({_versions()}): {_in_one_line(error)}"
    return ""


def _no_driver(cuda: Any) -> str:
    """Say what is missing for kernels to be compiled at all."""
    try:
        if cuda.is_available():
            return ""
        devices = len(cuda.gpus)
    except Exception:  # noqa: BLE001 - a broken driver raises its own kinds, and all mean "not here"
        devices = 0
    return (
        "NVVM of the CUDA toolkit is not found (pip install 'wattshed[cuda]', or set CUDA_HOME)"
        if devices
        else NO_DEVICE
    )


def _seconds(work: Callable[[], object]) -> float:
    work()
    start = time.perf_counter()
    work()
    return max(time.perf_counter() - start, 1e-9)


@functools.cache
def measure() -> Speeds:
    """Measure this machine once: tens of milliseconds, and 32 MiB of memory on each side."""
    from wattshed.kernels.cuda_target import cuda

    words = np.ones(_PROBE_WORDS, np.int64)
    target = cuda.device_array(len(words), np.int64)

    def copy() -> None:
        target.copy_to_device(words)
        cuda.synchronize()

    return Speeds(words.nbytes / _seconds(lambda: read_once(words)), words.nbytes / _seconds(copy))


def decide(size: int, *, obstacle: Callable[[], str], speeds: Callable[[], Speeds]) -> Choice:
    """Choose for ``size`` bytes of input in host memory.

    Parameters
    ----------
    size : int, bytes
    obstacle : callable
        Why no device can be used, or empty. Asked only where the answer depends on it.
    speeds : callable
        Likewise.
    """
    if size < _LAUNCH_S * 1e9:
        return Choice("cpu", f"{size} bytes are summed before a device has started")
    if why := obstacle():
        return Choice("cpu", why)
    host, bus = speeds()
    cpu_s, cuda_s = size / host, _LAUNCH_S + size / bus
    reason = f"{size / 1e6:.0f} MB in host memory: {cpu_s * 1e3:.1f} ms here, {cuda_s * 1e3:.1f} ms over the bus"
    return Choice("cuda" if cuda_s < cpu_s else "cpu", reason)


def decide_pass(
    size: int, *, obstacle: Callable[[], str], speeds: Callable[[], Speeds], absent: Callable[[], bool] = absent
) -> Choice:
    """Choose for a whole pass over ``size`` bytes of readings that a new process makes once.

    Parameters
    ----------
    size : int, bytes
    obstacle : callable
        Why no device can be used, or empty. Asked only where the answer depends on it: it takes seconds.
    speeds : callable
        Bytes a second that this pass was measured to book without and with the device. Likewise.
    absent : callable
        Whether there is no trace of a device.
    """
    if size < PASS_START_S * SLOWEST_PASS:
        amount = f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
        return Choice("cpu", f"{amount} of power readings are summed before a device has started")
    if absent():
        return Choice("cpu", NO_DEVICE)
    if why := obstacle():
        return Choice("cpu", why)
    here, there = speeds()
    cpu_s, cuda_s = size / here, PASS_START_S + size / there
    reason = f"{size / 1e6:.0f} MB of power readings: {cpu_s:.1f} s on the CPU, {cuda_s:.1f} s with the device"
    return Choice("cuda" if cuda_s < cpu_s else "cpu", reason)


def choose(device: str, **columns: Any) -> Choice:
    """Say where to run on ``columns`` when the caller asked for ``device``.

    Parameters
    ----------
    device : {"cpu", "cuda", "auto"}
    **columns : arrays on the host or on a device
        By the names that the caller knows them by.

    Returns
    -------
    Choice
        For "auto", also logged.

    Raises
    ------
    ValueError
        If ``device`` is none of these, "cuda" cannot be had, or a column lies on a device and is asked for elsewhere.
    """
    if device not in {"cpu", "cuda", "auto"}:
        raise ValueError(f'device must be "cpu", "cuda" or "auto", got {device!r}')
    resident = next((name for name, column in columns.items() if on_device(column)), "")
    if device == "cpu":
        if resident:
            raise ValueError(f'{resident} lies on a CUDA device; use device="cuda", or copy it to host memory')
        return Choice("cpu", "asked for")
    if resident or device == "cuda":
        if why := obstacle():
            where = f"{resident} lies on a CUDA device, which" if resident else 'device="cuda"'
            rest = "copy it to host memory" if resident else 'use device="cpu"'
            raise ValueError(f"{where} cannot be used here: {why}; {rest}")
        return Choice("cuda", "asked for" if device == "cuda" else "the data lies on the device")
    choice = decide(sum(int(column.nbytes) for column in columns.values()), obstacle=obstacle, speeds=measure)
    _LOG.info("device: %s (%s)", *choice)
    return choice
