"""Energy of each GPU from its power readings: the exact trapezoid sum.

A trapezoid of whole milliwatts over whole microseconds is (p0 + p1) * dt half-nanojoules, a whole number: no rounding,
so no order of summation, number of threads or device can change the result.

The sum of any stretch of rows is a *part*: its energy, the time it covers, its first and its last valid reading. Two
neighbouring parts join into one, with the interval between them. So the same few lines serve chunks on many threads,
blocks on a GPU, a stream whose past is one part per GPU, and states that workers bring together.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.arrays.trapezoid import (
    BACKWARDS,
    COVERED,
    PART,
    falls_between_chunks,
    join_chunks,
    round_parts,
    sum_chunks,
)
from wattshed.kernels.columns import CHUNK, CUDA_BLOCK, cut_into_chunks
from wattshed.kernels.lanes import lanes
from wattshed.kernels.placing import place, raise_backwards
from wattshed.kernels.threads import each

if TYPE_CHECKING:
    from numpy.typing import NDArray


def new_state(gpus: int) -> NDArray[np.int64]:
    """State of ``gpus`` GPUs before their first reading: int64[gpus, PART], a part each."""
    return np.zeros((gpus, PART), np.int64)


def extend(
    state: NDArray[np.int64],
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    offsets: NDArray[np.int64],
    max_gap_us: int,
    *,
    device: str = "cpu",
) -> None:
    """Add the next rows of a stream to ``state``, in place; wherever a stream is cut, the sum is the same.

    Parameters
    ----------
    state : int64[g, PART]
        From :func:`new_state`.
    time_us, power_mw, offsets, max_gap_us, device
        As for :func:`integrate`, from where the stream stopped.

    Raises
    ------
    ValueError
        As for :func:`integrate`; ``state`` is then of no more use.
    """
    time_us, power_mw, on_cuda = place(time_us, power_mw, offsets, device)
    if len(state) != len(offsets) - 1:
        raise ValueError(f"the state has {len(state)} GPUs and offsets {len(offsets) - 1}; they must have the same")
    if state.shape[1:] != (PART,) or not state.flags.writeable:
        raise ValueError(f"the state must be an array of {PART} columns that can be written to; take that of new_state")
    if max_gap_us < 0:
        raise ValueError(f"max_gap_us must not be negative, got {max_gap_us}")
    gap = np.int64(min(max_gap_us, np.iinfo(np.int64).max))
    with np.errstate(over="ignore"):  # a sum that wrapped is found by its bound and done again
        owner, rows = cut_into_chunks(offsets, CUDA_BLOCK if on_cuda else CHUNK)
        parts = np.empty((len(rows) - 1, PART), np.int64)
        crossed = False
        if on_cuda:
            from wattshed.kernels import cuda

            cuda.sum_chunks(time_us, power_mw, owner, rows, int(gap), parts)
        else:
            count = lanes(len(parts))
            longest = min(CHUNK, len(time_us))
            spare = np.empty((count, longest), np.int64), np.empty((count, longest), np.int32)
            each(sum_chunks, count, time_us, power_mw, rows, gap, parts, *spare, rows=len(time_us))
            crossed = falls_between_chunks(time_us, owner, rows)
        join_chunks(owner, parts, gap, state)
    if crossed or state[:, BACKWARDS].any():
        raise_backwards(time_us, offsets)


def read(state: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Energy and covered time of a state, as :func:`integrate` returns them."""
    energy_uj = np.empty(len(state), np.int64)
    round_parts(state, energy_uj)
    if (energy_uj < 0).any():
        raise OverflowError(f"the energy of GPU {int(np.argmax(energy_uj < 0))} is 2**63 uJ or more; check the units")
    return energy_uj, state[:, COVERED].copy()


def integrate(
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    offsets: NDArray[np.int64],
    max_gap_us: int,
    *,
    device: str = "cpu",
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Energy of each GPU: the trapezoid of power between valid readings no more than ``max_gap_us`` apart.

    Parameters
    ----------
    time_us : int64[n], us
        Ascending within a GPU; equal times add nothing.
    power_mw : int32[n], mW
        A reading <= 0 is not a reading: it is skipped, and its neighbours are joined if they are close enough.
    offsets : int64[g + 1]
        GPU i owns rows ``offsets[i]:offsets[i + 1]``.
    max_gap_us : int, us
        Longer intervals are holes: not bridged, not covered.
    device : {"cpu", "cuda", "auto"}
        Where to run; the integers are the same everywhere. With the last two, ``time_us`` and ``power_mw`` may
        lie on a CUDA device.

    Returns
    -------
    energy_uj : int64[g], uJ
        The exact sum, rounded half to even once.
    covered_us : int64[g], us
        The time that was integrated over.

    Raises
    ------
    ValueError
        If an array has another type or shape, offsets fall, or time runs backwards within a GPU.
    OverflowError
        If a GPU used 2**63 uJ or more.
    """
    state = new_state(max(np.size(offsets) - 1, 0))
    extend(state, time_us, power_mw, offsets, max_gap_us, device=device)
    return read(state)
