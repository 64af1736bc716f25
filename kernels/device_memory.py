"""Columns on a CUDA device: what does not fit its memory is done in pieces, halved until they fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import cuda

if TYPE_CHECKING:
    from collections.abc import Callable


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "OUT_OF_MEMORY" in str(error).upper()


def in_pieces(first: int, last: int, run: Callable[[int, int], None]) -> None:
    """Run over chunks ``first:last``, halving what the device's memory does not hold."""
    if first >= last:
        return
    try:
        run(first, last)
        return
    except Exception as error:
        if not _out_of_memory(error) or last - first == 1:
            raise
    # Outside the handler: the exception would keep the arrays of the failed attempt alive.
    middle = (first + last) // 2
    in_pieces(first, middle, run)
    in_pieces(middle, last, run)


def rows_on_device(column: Any, a: int, b: int) -> Any:
    """Rows ``a:b`` of a column, copied over unless it lies on the device already."""
    return (
        cuda.as_cuda_array(column)[a:b] if hasattr(column, "__cuda_array_interface__") else cuda.to_device(column[a:b])
    )
