"""A look through windows before any of them is booked: which may be part of a run over which owners hold the GPUs."""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN202

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels import threads
from wattshed.kernels.entry import i32, i64, kernel, u32, written
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.kernels.columns import Columns

FIRST, LATEST, GOOD, HIGH, STILL, FIELDS = range(6)
"""What is told of a GPU in a window: the first and the latest time of any row, the time of the last reading that is
believed (us; -1 none), the highest of these (mW), and for how long power repeated itself by then, at most (us)."""


@jit
def _glance(times, powers):
    """Tell whether times fall, whether any neighbours are equal, and the lowest and highest power."""
    falls, equal = np.uint32(0), np.uint32(0)
    low = high = np.uint32(powers[0])
    times_next, powers_next = times[1:], powers[1:]  # sliced first, or the loop is not vectorised
    for i in range(len(powers_next)):
        power = np.uint32(powers_next[i])
        falls |= np.uint32(times_next[i] < times[i])
        equal |= np.uint32(power == np.uint32(powers[i]))
        low, high = min(low, power), max(high, power)
    return falls, equal, np.int64(low), np.int64(high)


def _look(offsets, times, time_at, base_us, power_mw, power_at, gpu, ceiling, carried, told):
    """Look through one GPU's rows; ``carried`` are the last time, since when power repeats itself, and that power."""
    for w in range(len(base_us)):
        t, p, base = time_at[w], power_at[w], np.int64(base_us[w])
        a, b = offsets[w, gpu], offsets[w, gpu + 1]
        one = told[w, gpu]
        one[FIRST], one[LATEST], one[GOOD], one[HIGH], one[STILL] = -1, -1, -1, 0, 0
        if a == b:
            continue
        falls, equal, low, high = _glance(times[t + a : t + b], power_mw[p + a : p + b])
        first, latest = base + np.int64(times[t + a]), base + np.int64(times[t + b - 1])
        if (
            falls == 0 and equal == 0 and low > 0 and high <= ceiling and first >= carried[0] and b - a > 1
            and np.int64(power_mw[p + a]) != carried[2]
        ):  # fmt: skip
            one[FIRST], one[LATEST], one[GOOD], one[HIGH] = first, latest, latest, high
            carried[0], carried[1], carried[2] = latest, latest, np.int64(power_mw[p + b - 1])
            continue
        one[FIRST] = first
        for i in range(a, b):
            now, power = base + np.int64(times[t + i]), np.int64(power_mw[p + i])
            one[FIRST], one[LATEST] = min(one[FIRST], now), max(one[LATEST], now)
            if now < carried[0]:
                continue
            if 0 < power <= ceiling:
                # Of two readings at one time the interval before may be still, and the one after, too.
                if power != carried[2] and now > carried[0]:
                    carried[1] = now
                carried[2] = power
                one[STILL] = max(one[STILL], now - carried[1])
                one[GOOD], one[HIGH] = now, max(one[HIGH], power)
            carried[0] = now


_LOOK = {
    times.dtype: kernel(
        i64[:, :], times[:], i64[:], i64[:], i32[:], i64[:], i64, i64, written(i64[:]), written(i64[:, :, :]),
        name=f"look_{times.dtype.name}",
    )(_look)
    for times in (u32, i64)
}  # fmt: skip
"""By the dtype of a recording's times."""


@dataclass(frozen=True, slots=True)
class Looks:
    """What was seen of windows.

    Attributes
    ----------
    first_us, latest_us : int64[w], us
        Of any row of a window.
    good_us : int64[w, g], us
        The last reading that is believed; -1 none.
    high_mw : int64[w], mW
        The highest of these.
    still_us : int64[w], us
        For how long the power of any GPU repeated itself, at most.
    """

    first_us: NDArray[np.int64]
    latest_us: NDArray[np.int64]
    good_us: NDArray[np.int64]
    high_mw: NDArray[np.int64]
    still_us: NDArray[np.int64]

    @classmethod
    def through(cls, run: Columns, ceiling_mw: NDArray[np.int64], carried: NDArray[np.int64]) -> Looks:
        """Look through a run of windows.

        Parameters
        ----------
        run : Columns
        ceiling_mw : int64[g], mW
        carried : int64[g, 3]
            Of each GPU the last time (us), since when its power repeats itself (us), and that power (mW; -1 none);
            changed, for the run that follows.
        """
        look, gpus = _LOOK[run.times.dtype], len(ceiling_mw)
        told = np.empty((len(run.base_us), gpus, FIELDS), np.int64)

        def look_at(first: int, last: int) -> None:
            for gpu in range(first, last):
                look(*run, gpu, int(ceiling_mw[gpu]), carried[gpu], told)

        threads.each(look_at, gpus, rows=int(run.offsets[:, -1].sum()))
        first = np.where(told[:, :, GOOD] < 0, np.iinfo(np.int64).max, told[:, :, FIRST])
        return cls(
            first.min(axis=1), told[:, :, LATEST].max(axis=1), told[:, :, GOOD], told[:, :, HIGH].max(axis=1),
            told[:, :, STILL].max(axis=1),
        )  # fmt: skip
