"""Sums of many copies of integer series, each copy turned round by a number of steps: circular convolutions, exact.

On the CPU by floating-point FFT, in as many parts as it takes for every sum to be rounded to the right integer; on a
CUDA device by transforms modulo primes, which need no rounding. The integers are the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.columns import need_host
from wattshed.kernels.devices import choose

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MOST = 1 << 62
"""What no sum may reach."""
_ERROR = 8 * 2.0**-52  # of a convolution, for each doubling of its length: three transforms, and some to spare
_SURE = 0.25  # an error of half of one would be rounded to another number


class TurnedSums:
    """Adds up copies of series, each turned round by its own number of steps.

    Parameters
    ----------
    series : int64[j, n]
    copies : int
        How many there are in each sum.
    device : {"cpu", "cuda"}

    Raises
    ------
    ValueError
        If sums may reach ``MOST``, there is no usable device, or it cannot transform series of this length.
    """

    def __init__(self, series: NDArray[np.int64], copies: int, *, device: str = "cpu") -> None:
        need_host(series=series)
        if copies * max(int(series.max(initial=0)), -int(series.min(initial=0))) >= MOST:
            raise ValueError(f"{copies} copies of such series are more than can be added up ({MOST:.2g})")
        self.shape = series.shape
        self._add: Callable[[NDArray[np.int64]], NDArray[np.int64]]
        if choose(device).device == "cuda":
            from wattshed.kernels.cuda_convolution import TurnedOnCard

            self._add = TurnedOnCard(series)
        else:
            self._add = _Rounded(series, copies)

    def __call__(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sums of several sets of copies.

        Parameters
        ----------
        counts : int64[r, j, n]
            How many copies of each series are turned by each number of steps: not negative, ``copies`` in each set.

        Returns
        -------
        int64[r, n]
            Of set r, at step t: the sum over j and s of ``counts[r, j, s] * series[j, (t - s) % n]``.
        """
        return self._add(counts)


class _Rounded:
    """The CPU's way. Pickled it is as large as the series."""

    def __init__(self, series: NDArray[np.int64], copies: int) -> None:
        # The mean is added apart, so that the error of a transform is relative to the swing and not to the level.
        self._means = np.rint(series.mean(axis=1)).astype(np.int64)
        self._n = series.shape[1]
        self._parts = _transformed(series - self._means[:, None], copies)

    def __call__(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([self._one(of) for of in counts], np.int64)

    def _one(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        turned = np.fft.rfft(counts)
        total = np.full(self._n, self._means @ counts.sum(axis=1))
        for shift, part in self._parts:
            digits = np.rint(np.fft.irfft((part * turned).sum(axis=0), self._n))
            total += digits.astype(np.int64) << shift
        return total


def _transformed(swings: NDArray[np.int64], copies: int) -> tuple[tuple[int, NDArray[np.complex128]], ...]:
    """Transform whole numbers, in as many parts as it takes for their convolution to be rounded to the right ones.

    The error of a convolution by FFT is relative to the product of the norms of what is convolved (N. J. Higham,
    Accuracy and Stability of Numerical Algorithms, 2002, section 24.1). Series whose sum would not be sure to a quarter
    are cut into digits, which are small.

    Returns
    -------
    sequence of (int, complex128[j, n // 2 + 1])
        Parts whose multiples by two to the power of the first, added up, are ``swings``.
    """
    cells = swings.size
    counts = min(float(copies), 4.0 * math.sqrt(copies + copies * (copies / cells)))  # the norm is rarely half of this
    error = _ERROR * math.log2(4.0 * swings.shape[1]) * counts
    bits = max(4, math.floor(math.log2(_SURE / (error * math.sqrt(cells)))))
    parts, shift = [], 0
    while error * float(np.linalg.norm(swings.astype(np.float64))) > _SURE:
        high = (swings + (1 << (bits - 1))) >> bits
        parts.append((shift, np.fft.rfft(swings - (high << bits))))
        swings, shift = high, shift + bits
    return (*parts, (shift, np.fft.rfft(swings)))
