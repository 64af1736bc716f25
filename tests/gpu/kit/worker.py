"""A process that uses the card when told to, and says when it did what (CLOCK_MONOTONIC, ns).

``open ORDER``: a context, by the first maker of loads that works. ``run KIND NS SECONDS``: kernels of so many
nanoseconds, one after the other. ``allocate SECONDS``: memory taken and given back. ``copy SECONDS``: half a gigabyte
from memory to memory. The end of its input ends it.
"""

from __future__ import annotations

import ctypes
import gc
from typing import TYPE_CHECKING

from .child import serve
from .clock import now_ns, sleep_until
from .makers import Sleep, make

if TYPE_CHECKING:
    from collections.abc import Callable

ALLOCATION = 8 << 20  # more than the driver keeps in hand
COPY = 512 << 20


class Worker:
    """One context, and what is done in it."""

    def __init__(self) -> None:
        self._maker = None

    def open(self, order: str) -> dict:
        """Open a context."""
        begun = now_ns()
        self._maker, about = make(order.split(","), ())
        gc.disable()  # a collection would pass for a long launch
        return {"begin_ns": begun, "end_ns": now_ns(), **about}

    def run(self, kind: str, ns: str, seconds: str) -> dict:
        """Kernels one after the other: the times between them, and the loops that they did."""
        maker, length = self._maker, int(ns)

        def one() -> None:
            maker.start(kind, length)
            maker.wait()

        before = maker.loops
        return {"at_ns": again(one, seconds), "loops": maker.loops - before}

    def allocate(self, seconds: str) -> dict:
        """Allocations one after the other, where the maker has the CUDA driver in its hands."""
        if isinstance(self._maker, Sleep):
            return {"at_ns": again(lambda: sleep_until(now_ns() + 50_000), seconds)}
        if not hasattr(self._maker, "cu"):
            return {"at_ns": []}
        cu, place = self._maker.cu, ctypes.c_uint64()

        def one() -> None:
            code = cu.cuMemAlloc_v2(ctypes.byref(place), ctypes.c_size_t(ALLOCATION)) or cu.cuMemFree_v2(place)
            if code:
                raise RuntimeError(f"an allocation answered {code}")

        return {"at_ns": again(one, seconds)}

    def copy(self, seconds: str) -> dict:
        """Copies within the card's memory, where the maker has the CUDA driver in its hands."""
        if not hasattr(self._maker, "cu"):
            return {"at_ns": [], "bytes": 0}
        cu, places = self._maker.cu, [ctypes.c_uint64(), ctypes.c_uint64()]
        for place in places:
            if code := cu.cuMemAlloc_v2(ctypes.byref(place), ctypes.c_size_t(COPY)):
                return {"at_ns": [], "bytes": 0, "code": code}

        def one() -> None:
            for target, source in (places, reversed(places)):
                cu.cuMemcpyDtoDAsync_v2(target, source, ctypes.c_size_t(COPY), self._maker.stream)
            self._maker.wait()

        at = again(one, seconds)
        for place in places:
            cu.cuMemFree_v2(place)
        return {"at_ns": at, "bytes": 2 * COPY * (len(at) - 1)}


def again(one: Callable[[], None], seconds: str) -> list[int]:
    """Do it for so long: the time before the first and after each, ns."""
    at = [now_ns()]
    end = at[0] + int(float(seconds) * 1e9)
    while at[-1] < end:
        one()
        at.append(now_ns())
    return at


if __name__ == "__main__":
    worker = Worker()
    serve({"open": worker.open, "run": worker.run, "allocate": worker.allocate, "copy": worker.copy})
