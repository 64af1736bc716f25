"""The CUDA twin of adding up turned series: number-theoretic transforms modulo three primes, joined into one integer.

A transform modulo a prime is a Fourier transform whose root of unity is an integer (J. M. Pollard, Mathematics of
Computation 25, 1971): exact, whatever the order of its additions. Three primes below 2**31 tell any sum below 2**91
by its remainders (H. L. Garner, IRE Transactions on Electronic Computers 8, 1959), and products of two remainders fit
64 bits. Forward transforms leave their lines in bit-reversed order, which inverse ones begin with: nothing is permuted.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.kernels.cuda_target import THREADS, cuda, launch
from wattshed.kernels.device_memory import in_pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRIMES = (2013265921, 1811939329, 2113929217)
GENERATORS = (31, 13, 5)
LONGEST = 1 << 25
"""Of a transform: the largest power of two that divides each of the primes less one."""
_ROWS = 65535 // len(PRIMES)
_CELLS = 1 << 26
"""Remainders of counts by one prime that are held at once, 256 MiB."""
_SECOND_INVERSE = pow(PRIMES[0], -1, PRIMES[1])
_THIRD_INVERSE = pow(PRIMES[0] * PRIMES[1], -1, PRIMES[2])
_BOTH = PRIMES[0] * PRIMES[1]


@cuda.jit
def _take_remainders(values, residues):
    """Take the remainders of whole numbers, and nothing behind their end: one thread per place and row."""
    at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    row = cuda.blockIdx.y
    if at < residues.shape[2]:
        value = values[row, at] if at < values.shape[1] else 0
        residues[0, row, at] = value % PRIMES[0]
        residues[1, row, at] = value % PRIMES[1]
        residues[2, row, at] = value % PRIMES[2]


@cuda.jit
def _apart(residues, roots, half):
    """Do one step of forward transforms, from the largest half to the least: one thread per pair, row and prime."""
    pair = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    rows = residues.shape[1]
    k = cuda.blockIdx.y // rows
    row = cuda.blockIdx.y % rows
    pairs = residues.shape[2] // 2
    if pair < pairs:
        prime = np.int64(PRIMES[k])
        place = pair % half
        low = 2 * (pair - place) + place
        a = np.int64(residues[k, row, low])
        b = np.int64(residues[k, row, low + half])
        residues[k, row, low] = (a + b) % prime
        # Below twice the square of a prime, which is below 2**63.
        residues[k, row, low + half] = (a - b + prime) * np.int64(roots[k, place * (pairs // half)]) % prime


@cuda.jit
def _together(residues, roots, half):
    """Do one step of inverse transforms, from the least half to the largest: one thread per pair, row and prime."""
    pair = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    rows = residues.shape[1]
    k = cuda.blockIdx.y // rows
    row = cuda.blockIdx.y % rows
    pairs = residues.shape[2] // 2
    if pair < pairs:
        prime = np.int64(PRIMES[k])
        place = pair % half
        low = 2 * (pair - place) + place
        turn = place * (pairs // half)
        # The inverse of a root is that of the other half circle, negative.
        root = prime - np.int64(roots[k, pairs - turn]) if turn > 0 else np.int64(1)
        a = np.int64(residues[k, row, low])
        b = np.int64(residues[k, row, low + half]) * root % prime
        residues[k, row, low] = (a + b) % prime
        residues[k, row, low + half] = (a - b + prime) % prime


@cuda.jit
def _multiply_lines(counts, series, products):
    """Multiply lines and add them up over the series: one thread per line, set and prime."""
    at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    sets = products.shape[1]
    k = cuda.blockIdx.y // sets
    of = cuda.blockIdx.y % sets
    each = series.shape[1]
    if at < series.shape[2]:
        prime = np.int64(PRIMES[k])
        total = np.int64(0)
        for j in range(each):
            total = (total + np.int64(counts[k, of * each + j, at]) * np.int64(series[k, j, at])) % prime
        products[k, of, at] = total


@cuda.jit(device=True)
def _remainder(products, k, of, at, steps, scale):
    """Take one remainder of a sum: what lies behind the end belongs to the beginning."""
    total = np.int64(products[k, of, at])
    if at + steps < products.shape[2]:
        total += np.int64(products[k, of, at + steps])
    return total % np.int64(PRIMES[k]) * np.int64(scale[k]) % np.int64(PRIMES[k])


@cuda.jit
def _join_remainders(products, scale, sums):
    """Join three remainders into a whole number between -2**62 and 2**62: one thread per step and set."""
    at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    of = cuda.blockIdx.y
    steps = sums.shape[1]
    if at < steps:
        one = _remainder(products, 0, of, at, steps, scale)
        two = _remainder(products, 1, of, at, steps, scale)
        three = _remainder(products, 2, of, at, steps, scale)
        second = (two - one) % np.int64(PRIMES[1]) * np.int64(_SECOND_INVERSE) % np.int64(PRIMES[1])
        low = one + second * np.int64(PRIMES[0])
        third = (three - low) % np.int64(PRIMES[2]) * np.int64(_THIRD_INVERSE) % np.int64(PRIMES[2])
        if third > PRIMES[2] // 2:
            third -= np.int64(PRIMES[2])  # a negative number: of its highest digit few values are possible
        sums[of, at] = low + third * np.int64(_BOTH)


class TurnedOnCard:
    """Adds up copies of series on a device, see `kernels.convolution.TurnedSums`.

    Parameters
    ----------
    series : int64[j, n]

    Raises
    ------
    ValueError
        If there are too many series, or they are too long.
    """

    def __init__(self, series: NDArray[np.int64]) -> None:
        each, steps = series.shape
        length = _length_for(steps)
        if length > LONGEST or each > _ROWS:
            raise ValueError(f"a device adds up at most {_ROWS} series of {LONGEST // 2} steps, not {each} of {steps}")
        self._length = length
        self._roots = cuda.to_device(roots_of(length))
        self._scale = cuda.to_device(np.array([pow(length, -1, prime) for prime in PRIMES], np.int64))
        self._series = self._transformed(series)

    def __call__(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sums of several sets of copies: int64[r, n]."""
        sets, each, steps = counts.shape
        sums = np.empty((sets, steps), np.int64)
        together = max(1, min(_ROWS // each, _CELLS // (each * self._length)))

        def run(low: int, high: int) -> None:
            turned = self._transformed(counts[low:high].reshape(-1, steps))
            products = cuda.device_array((len(PRIMES), high - low, self._length), np.int32)
            self._launch(_multiply_lines, self._length, len(PRIMES) * (high - low), turned, self._series, products)
            half = 1
            while half < self._length:
                self._launch(
                    _together, self._length // 2, len(PRIMES) * (high - low), products, self._roots, np.int64(half)
                )
                half *= 2
            there = cuda.device_array((high - low, steps), np.int64)
            self._launch(_join_remainders, steps, high - low, products, self._scale, there)
            sums[low:high] = there.copy_to_host()

        for first in range(0, sets, together):
            in_pieces(first, min(first + together, sets), run)
        return sums

    def _transformed(self, rows: NDArray[np.int64]) -> Any:
        """Transform rows of whole numbers modulo each prime: int32[3, rows, length] on the device, lines reversed."""
        residues = cuda.device_array((len(PRIMES), len(rows), self._length), np.int32)
        self._launch(_take_remainders, self._length, len(rows), cuda.to_device(np.ascontiguousarray(rows)), residues)
        half = self._length // 2
        while half:
            self._launch(_apart, self._length // 2, len(PRIMES) * len(rows), residues, self._roots, np.int64(half))
            half //= 2
        return residues

    def _launch(self, kernel: Any, places: int, rows: int, *args: Any) -> None:
        """Run a kernel with one thread per place and row."""
        launch(kernel, (-(-places // THREADS), rows), THREADS, *args)


def _length_for(steps: int) -> int:
    """Give the length of transforms: a power of two, in which what goes beyond the end is not added to the rest."""
    return steps if steps & (steps - 1) == 0 else 1 << (2 * steps - 2).bit_length()


def roots_of(length: int) -> NDArray[np.int32]:
    """Powers of a root of unity modulo each prime, half a circle of them: int32[3, max(length // 2, 1)]."""
    table = np.ones((len(PRIMES), max(length // 2, 1)), np.int64)
    for k, (prime, generator) in enumerate(zip(PRIMES, GENERATORS, strict=True)):
        known = 1
        while known < length // 2:
            factor = pow(generator, (prime - 1) // length * known, prime)
            more = table[k, known : 2 * known]
            more[:] = table[k, : more.size] * factor % prime
            known *= 2
    return table.astype(np.int32)
