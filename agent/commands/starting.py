"""What a command that people wait for leaves out while it imports its parts."""

from __future__ import annotations

import gc
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLAS_THREADS = "OPENBLAS_NUM_THREADS"


@contextmanager
def quick_start() -> Iterator[None]:
    """Import without collecting garbage, of which there is none yet, and without threads of numpy's linear algebra.

    What was imported stays, so later collections pass over it (`gc.freeze`), until `agent.__main__.main` ends. OpenBLAS
    starts a thread for each core, which spin a while for work that never comes. Programs that are started later see the
    environment as it was.
    """
    asked = _BLAS_THREADS in os.environ
    if not asked:
        os.environ[_BLAS_THREADS] = "1"
    collects = gc.isenabled()
    gc.disable()
    try:
        import numpy as np  # noqa: F401, PLC0415 - it looks at the environment now

        yield
    finally:
        if not asked:
            del os.environ[_BLAS_THREADS]
        gc.freeze()
        if collects:
            gc.enable()
