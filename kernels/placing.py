"""Where a caller's columns are, where they are to be read, and what is asked of them in either place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.kernels import columns
from wattshed.kernels.arrays import squeeze
from wattshed.kernels.columns import check_columns, on_device
from wattshed.kernels.devices import choose

if TYPE_CHECKING:
    from numpy.typing import NDArray


def place(
    time_us: Any, power_mw: Any, offsets: NDArray[np.int64], device: str, *, whole: bool = False
) -> tuple[Any, Any, bool]:
    """Check the columns, choose where to run, and bring them there.

    Parameters
    ----------
    time_us, power_mw : int64[n], int32[n], on the host or on a CUDA device
        A device's array may be of any library that has ``__cuda_array_interface__``.
    offsets : int64[g + 1], on the host
    device : {"cpu", "cuda", "auto"}
    whole : bool
        Copy columns from the host as a whole if they are to be read on the device; else they stay, for pieces.

    Returns
    -------
    time_us, power_mw
        Both on the host, or both on the device and of numba's kind.
    on_cuda : bool

    Raises
    ------
    ValueError
        As :func:`kernels.columns.check_columns` and :func:`kernels.devices.choose` do.
    """
    resident = on_device(time_us) or on_device(power_mw)
    if resident:
        choose(device, time_us=time_us, power_mw=power_mw)
        from wattshed.kernels.device_memory import adopted

        time_us, power_mw = adopted(time_us), adopted(power_mw)
    check_columns(time_us, power_mw, offsets)
    on_cuda = resident or choose(device, time_us=time_us, power_mw=power_mw).device == "cuda"
    if not resident:
        time_us, power_mw = np.ascontiguousarray(time_us), np.ascontiguousarray(power_mw)
    if resident or (on_cuda and whole):
        from wattshed.kernels.device_memory import put

        time_us, power_mw = put(time_us), put(power_mw)
    return time_us, power_mw, on_cuda


def take(column: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Copy single rows of a column to the host, from wherever it lies."""
    if on_device(column):
        from wattshed.kernels import resident

        return resident.take(column, rows)
    return column[rows]  # type: ignore[no-any-return]


def least_and_greatest(power_mw: Any) -> tuple[int, int]:
    """Find the least and the greatest of at least one reading, mW."""
    if on_device(power_mw):
        from wattshed.kernels import resident

        return resident.least_and_greatest(power_mw)
    return int(power_mw.min()), int(power_mw.max())


def valid_rows(time_us: Any, power_mw: Any, offsets: NDArray[np.int64]) -> tuple[Any, Any, NDArray[np.int64]]:
    """Copy the rows whose reading is one (> 0), still GPU-major, and where they lie."""
    if on_device(power_mw):
        from wattshed.kernels import resident

        return resident.valid_rows(time_us, power_mw, offsets)
    return squeeze.valid_rows(time_us, power_mw, offsets)


def raise_backwards(time_us: Any, offsets: NDArray[np.int64]) -> None:
    """Raise ValueError for the first row whose time is before the row above it, wherever it lies."""
    if on_device(time_us):
        from wattshed.kernels import resident

        columns.raise_backwards(resident.first_fall(time_us, offsets), offsets)
    columns.raise_backwards(columns.first_fall(time_us, offsets), offsets)
