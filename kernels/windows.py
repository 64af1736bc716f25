"""Power over fixed windows: count, least, greatest and mean reading, and energy, in one pass over the samples."""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.kernels.arrays.sweep import COUNT, HIGH, sweep_all
from wattshed.kernels.columns import CHUNK, CUDA_CHUNK
from wattshed.kernels.placing import least_and_greatest, place, raise_backwards, take, valid_rows
from wattshed.kernels.threads import each

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INT64_MAX = np.iinfo(np.int64).max


class Windows(NamedTuple):
    """Windows of all GPUs, from the one of the first valid reading to that of the last, GPU-major.

    Attributes
    ----------
    offsets : int64[g + 1]
        GPU i owns windows ``offsets[i]:offsets[i + 1]``.
    start_us : int64[w], us
        Multiples of the window's length.
    counts : int64[w]
        Valid readings in the window.
    min_mw, max_mw : int64[w], mW
        0 where ``counts`` is 0.
    sum_mw : int64[w], mW
        Sum of the readings; their mean is ``sum_mw / counts``.
    energy_hnj : int64[w], half-nanojoules
        Exact: a trapezoid that crosses an edge is cut there, evenly in time, which leaves no remainder.
    covered_us : int64[w], us
    """

    offsets: NDArray[np.int64]
    start_us: NDArray[np.int64]
    counts: NDArray[np.int64]
    min_mw: NDArray[np.int64]
    max_mw: NDArray[np.int64]
    sum_mw: NDArray[np.int64]
    energy_hnj: NDArray[np.int64]
    covered_us: NDArray[np.int64]


def windows(
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    offsets: NDArray[np.int64],
    window_us: int,
    max_gap_us: int,
    *,
    device: str = "cpu",
) -> Windows:
    """Summarise each GPU's power window by window.

    Parameters
    ----------
    time_us, power_mw, offsets
        As for :func:`kernels.energy.integrate`.
    window_us : int, us
        Length; windows begin at its multiples.
    max_gap_us : int, us
    device : {"cpu", "cuda", "auto"}

    Returns
    -------
    Windows
        Its energies sum to what ``integrate`` gives before rounding.

    Raises
    ------
    ValueError
        As for ``integrate``, or if a window could hold more than an int64 of half-nanojoules (13 days at 2 kW).
    """
    time_us, power_mw, on_cuda = place(time_us, power_mw, offsets, device, whole=True)
    offsets = np.ascontiguousarray(offsets)
    if window_us <= 0 or max_gap_us < 0:
        raise ValueError(f"window_us must be positive and max_gap_us not negative, got {window_us} and {max_gap_us}")
    gap = np.int64(min(max_gap_us, _INT64_MAX))
    gpus = np.flatnonzero(np.diff(offsets))
    head, tail = take(time_us, offsets[gpus]), take(time_us, offsets[gpus + 1] - 1)
    if (tail < head).any():
        raise_backwards(time_us, offsets)
    begin, count = head // window_us, tail // window_us - head // window_us + 1
    bounds = np.zeros(len(offsets), np.int64)
    bounds[gpus + 1] = count
    np.cumsum(bounds, out=bounds)
    # Tasks: each GPU's windows in as many equal stretches as it has chunks of rows.
    tasks = np.minimum(-(-np.diff(offsets)[gpus] // (CUDA_CHUNK if on_cuda else CHUNK)), count)
    of = np.repeat(np.arange(len(gpus)), tasks)
    turn = np.arange(len(of)) - np.repeat(np.cumsum(tasks) - tasks, tasks)
    first = begin[of] + count[of] * turn // tasks[of]
    last = begin[of] + count[of] * (turn + 1) // tasks[of]
    out = np.empty((bounds[-1], 6), np.int64)
    usable = np.zeros(len(of), np.bool_)
    into = bounds[gpus[of]] + first - begin[of]
    given = (time_us, power_mw, offsets, gpus[of], first, last, into, np.int64(window_us), gap, out, usable)
    with np.errstate(over="ignore"):  # checked below
        if on_cuda:
            from wattshed.kernels.cuda_windows import sweep_windows

            sweep_windows(*given)
        else:
            each(sweep_all, len(of), *given, rows=len(time_us))
    if not usable.all() or out[:, COUNT].sum() != len(time_us):
        if least_and_greatest(power_mw)[0] <= 0:
            return windows(*valid_rows(time_us, power_mw, offsets), window_us, max_gap_us, device=device)
        raise_backwards(time_us, offsets)
    if len(out) and 2 * int(out[:, HIGH].max()) * window_us > _INT64_MAX:
        raise ValueError(f"a window of {window_us} us at {out[:, HIGH].max()} mW overflows; take shorter windows")
    start = np.arange(bounds[-1]) - np.repeat(bounds[gpus], count) + np.repeat(begin, count)
    return Windows(bounds, start * window_us, *out.T)
