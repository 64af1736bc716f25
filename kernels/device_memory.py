"""Columns on a CUDA device: what does not fit its memory is done in pieces, halved until they fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.kernels.columns import on_device
from wattshed.kernels.cuda_target import cuda

if TYPE_CHECKING:
    from collections.abc import Callable


def out_of_memory(error: Exception) -> bool:
    """Return whether an allocation failed, here or on the device."""
    return isinstance(error, MemoryError) or "OUT_OF_MEMORY" in str(error).upper()


def in_pieces(first: int, last: int, run: Callable[[int, int], None]) -> None:
    """Run over chunks ``first:last``, halving what the device's memory does not hold."""
    if first >= last:
        return
    try:
        run(first, last)
        return
    except Exception as error:
        if not out_of_memory(error) or last - first == 1:
            raise
    # Outside the handler: the exception would keep the arrays of the failed attempt alive.
    middle = (first + last) // 2
    in_pieces(first, middle, run)
    in_pieces(middle, last, run)


def adopted(column: Any) -> Any:
    """See another library's array on the device (CuPy, PyTorch ...) as one of numba's; leave any other as it is.

    Nothing is copied. The device's work on the array that was begun before is waited for.
    """
    return cuda.as_cuda_array(column) if on_device(column) and not hasattr(column, "__cuda_ndarray__") else column


def put(column: Any) -> Any:
    """Copy a column to the device unless it lies there already."""
    return column if on_device(column) else cuda.to_device(np.ascontiguousarray(column))


def rows_on_device(column: Any, a: int, b: int) -> Any:
    """Rows ``a:b`` of a column, copied over unless it lies on the device already."""
    return put(column[a:b])
