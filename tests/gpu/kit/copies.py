"""How fast a card copies its own memory, and how fast the bus is: what the kernels are measured against."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np

from .clock import now_ns

CARD_BYTES = 8 << 30  # each of two buffers; less where the card has less
BUS_BYTES = 1 << 30
TURNS = 7


def best(nbytes: float, call, finish, turns: int = TURNS) -> float:
    """Bytes a second of the best of some turns, after one that is not counted."""
    call()
    finish()
    quickest = None
    for _ in range(turns):
        begun = now_ns()
        call()
        finish()
        quickest = min(now_ns() - begun, quickest or 1 << 62)
    return nbytes / (max(quickest, 1) / 1e9)


def on_the_card(kit, cuda) -> dict[str, float]:
    """Bytes a second read and written by a copy within the card, by each library that is here."""
    words = (1 << 10) if kit.simulated else min(CARD_BYTES, free_bytes(cuda) // 3) // 8
    found = {}
    for name, way in (("numba", _numba_copy), ("cupy", _cupy_copy), ("torch", _torch_copy)):
        if name != "numba" and (kit.simulated or importlib.util.find_spec(name) is None):
            continue
        try:
            found[name] = best(2 * 8 * words, *way(cuda, words))
        except Exception as error:
            kit.error(f"copy by {name}", error)
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()
    return found


def free_bytes(cuda) -> int:
    """Free memory of the card."""
    return int(cuda.current_context().get_memory_info().free)


def _numba_copy(cuda, words: int):
    """The driver's own copy, through numba."""
    a, b = cuda.device_array(words, np.int64), cuda.device_array(words, np.int64)
    return (lambda: b.copy_to_device(a)), cuda.synchronize


def _cupy_copy(_cuda, words: int):
    """A kernel that copies, through CuPy; its memory goes back when this is over."""
    import cupy

    cupy.cuda.set_allocator(None)
    a, b = cupy.zeros(words, cupy.int64), cupy.zeros(words, cupy.int64)
    return (lambda: cupy.copyto(b, a)), cupy.cuda.Device().synchronize


def _torch_copy(_cuda, words: int):
    """The same through PyTorch."""
    import torch

    a = torch.zeros(words, dtype=torch.int64, device="cuda")
    b = torch.empty_like(a)
    return (lambda: b.copy_(a)), torch.cuda.synchronize


def over_the_bus(kit, cuda) -> dict[str, float]:
    """Bytes a second to and from the card, from pageable and from pinned memory."""
    words = (1 << 10) if kit.simulated else BUS_BYTES // 8
    there = cuda.device_array(words, np.int64)
    pageable = np.arange(words, dtype=np.int64)
    pinned = cuda.pinned_array(words, np.int64)
    pinned[:] = pageable
    found = {}
    for name, host in (("pageable", pageable), ("pinned", pinned)):
        found[f"to the card, {name}"] = best(
            host.nbytes, lambda host=host: there.copy_to_device(host), cuda.synchronize
        )
        found[f"to the host, {name}"] = best(host.nbytes, lambda host=host: there.copy_to_host(host), cuda.synchronize)
    return found
