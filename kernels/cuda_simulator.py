"""numba-cuda's simulator, mended: the threads of a block take turns, so its answer does not depend on the machine.

As it comes, all threads of a block run at once, and two that ask for a shared array in the same moment may get one
each: the block then sums what nobody wrote. Its main thread meanwhile asks without a pause whether they are done.

Here a thread runs to its next barrier, then the next one, the last one first by turns, and shared memory begins with
a pattern: a kernel that lacks a barrier, or reads what no thread wrote, is wrong every time.
"""

from __future__ import annotations

import importlib
import sys
import threading
from functools import partial
from typing import Any

import numpy as np

_PATTERN = 0x5A
"""Each byte of shared memory that nobody has written to."""


def _turns(thread: type) -> type:
    """Make threads that run when they are told to, to their next barrier or their end."""

    class Turns(thread):  # type: ignore[misc]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self._told, self._done = threading.Semaphore(0), threading.Semaphore(0)
            self.ended = False
            self.start()

        def go_on(self) -> None:
            """Let it run; return when it waits or has ended."""
            self._told.release()
            self._done.acquire()

        def run(self) -> None:
            self._told.acquire()
            super().run()
            self.ended = True
            self._done.release()

        def syncthreads(self) -> None:
            self._done.release()
            self._told.acquire()
            if self.abort:
                raise RuntimeError("another thread of the block failed")

    return Turns


def _run(turns: Any, block: Any, grid_point: Any, args: Any) -> None:
    """Run the threads of one block."""
    kernel, size, debug = block._f, block._block_dim, block._debug  # noqa: SLF001 - numba's, which gives no other way
    live = [turns(partial(kernel, *args), block, grid_point, point, debug) for point in np.ndindex(*size)]
    failed = None
    while live:
        for thread in live:
            thread.abort = failed is not None
            thread.go_on()
            failed = failed or thread.exception
        live = [thread for thread in reversed(live) if not thread.ended]
    if failed:
        error, trace = failed
        raise error.with_traceback(trace)


def take_turns() -> None:
    """Mend the simulator of this process, before a kernel runs."""
    kernel, api = (importlib.import_module(f"numba.cuda.simulator.{name}") for name in ("kernel", "kernelapi"))
    turns = _turns(kernel.BlockThread)

    def array(memory: Any, shape: Any, dtype: Any) -> Any:
        """Give all threads of a launch the same array in the same line."""
        caller = sys._getframe(1)  # noqa: SLF001 - as numba does
        given, place = memory._allocations, (caller.f_code, caller.f_lineno)  # noqa: SLF001
        if place not in given:
            kind = api.numpy_support.as_dtype(dtype) if isinstance(dtype, api.types.Type) else dtype
            given[place] = np.empty(shape, kind)
            given[place].view(np.uint8).fill(_PATTERN)
        return given[place]

    def run(block: Any, grid_point: Any, *args: Any) -> None:
        """Give each block shared memory of its own."""
        kernel._get_kernel_context().shared._allocations.clear()  # noqa: SLF001
        _run(turns, block, grid_point, args)

    api.FakeCUDAShared.array, kernel.BlockManager.run = array, run
