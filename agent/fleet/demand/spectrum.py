"""How a load swings: frequency bands that add up to its variance, up to what the recording can show and no further.

Grid operators ask about 0.1-20 Hz (torsion of generators, flicker) and 0.2-3 Hz (swings between regions). A band is
the sum of the lines of the whole stretch's periodogram in it, so that nothing slow is lost: the squares of ``slower``,
of 0.1-20 Hz and of ``faster`` add up to that of the standard deviation (Parseval). The density over frequency, for
looking at, is an average over stretches (P. D. Welch, IEEE Transactions on Audio and Electroacoustics 15, 1967).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.fleet.demand.chi_square import chi_square
from wattshed.agent.fleet.demand.mixing import passed

if TYPE_CHECKING:
    from numpy.typing import NDArray

BANDS_HZ = {"below 1 Hz": (0.0, 1.0), "0.1-20 Hz": (0.1, 20.0), "0.2-3 Hz": (0.2, 3.0), "1-2.5 Hz": (1.0, 2.5)}
SLOWEST_HZ, FASTEST_HZ = 0.1, 20.0
"""Beyond these there are ``slower`` and ``faster``."""
_LONG = 1 << 14  # readings of a stretch: below, the products lie too far apart, and nobody waits
_WHOLE = 1 << 20  # readings: of more, a length is taken whose transform is quick, up to 0.2 % less
_LEAST = 8  # readings


@dataclass(frozen=True, slots=True)
class Band:
    """Swing in a band, as a root mean square in W; None, with the reason, where the recording cannot show it.

    Attributes
    ----------
    name : str
    low_hz, high_hz, observable_up_to_hz : float
    rms_w : float or None, W
    partial_w : float or None, W
        Swing in the part of the band that the recording does show, up to ``observable_up_to_hz``.
    reason : str
    lower_w, upper_w : float or None, W
        95 % interval of that, if the load is one stretch of a process that goes on alike: chi-square, with the degrees
        of freedom of its lines. A line of known frequency is known far better than this.
    """

    name: str
    low_hz: float
    high_hz: float
    observable_up_to_hz: float
    rms_w: float | None
    partial_w: float | None = None
    reason: str = ""
    lower_w: float | None = None
    upper_w: float | None = None


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Power spectral density (W^2/Hz, one-sided) over frequency, and the bands; empty where the load is too short.

    ``sd_w`` is the standard deviation of the readings of the stretch of ``span_s``: its square is the sum of the
    squares of ``slower``, 0.1-20 Hz (as far as shown) and ``faster``.
    """

    frequency_hz: NDArray[np.float64]
    density: NDArray[np.float64]
    observable_up_to_hz: float
    resolution_hz: float
    bands: tuple[Band, ...]
    sd_w: float = 0.0
    span_s: float = 0.0


def observable_up_to(step_s: float, meter_window_s: float = 0.0) -> float:
    """Highest frequency that readings every ``step_s`` show, if each is a mean over ``meter_window_s``.

    Half the sampling rate; and half of one over the meter's window, where it passes 64 % of a swing and hides the rest.
    """
    return min(0.5 / step_s, 0.5 / meter_window_s if meter_window_s > 0.0 else math.inf)


def analyse(
    power_w: NDArray[np.float64], step_s: float, *, meter_window_s: float = 0.0, mixing: float = 0.0
) -> Spectrum:
    """Spectrum and bands of a stretch without holes.

    Parameters
    ----------
    power_w : float64[n], W
    step_s, meter_window_s : float, s
    mixing : float
        How far steps mix readings, see `agent.fleet.demand.mixing`: what that took from swings is given back.
    """
    limit = observable_up_to(step_s, meter_window_s)
    if power_w.size < _LEAST:
        bands = tuple(
            Band(name, low, high, limit, None, None, f"fewer than {_LEAST} readings in a row show no spectrum")
            for name, (low, high) in BANDS_HZ.items()
        )
        return Spectrum(np.empty(0), np.empty(0), limit, math.inf, bands)
    length = segment_length(power_w.size)
    frequency, density = welch(power_w, step_s, length)
    whole = power_w[: whole_length(power_w.size)]
    lines = Periodogram(
        np.asarray(np.fft.rfftfreq(whole.size, step_s)), line_powers(whole, mixing), limit, meter_window_s
    )
    return Spectrum(
        frequency,
        density / passed(2.0 * np.pi * step_s * frequency, mixing),
        limit,
        float(lines.frequency_hz[1]),
        lines.bands(),
        math.sqrt(float(lines.lines.sum())),
        float(whole.size * step_s),
    )


def line_powers(power_w: NDArray[np.float64], mixing: float = 0.0) -> NDArray[np.float64]:
    """Mean square of each line of a stretch, less its mean: float64[n // 2 + 1], W^2; their sum is its variance.

    ``mixing`` is as for `analyse`: the variance is then that of the readings, not of the steps that mix them.
    """
    transform = np.fft.rfft(power_w - power_w.mean())
    lines = np.square(transform.real)
    lines += np.square(transform.imag)
    lines /= power_w.size**2
    lines[1 : (power_w.size + 1) // 2] *= 2.0
    lines[0] = 0.0
    if mixing > 0.0:
        lines /= passed(2.0 * np.pi * np.arange(lines.size) / power_w.size, mixing)
    return np.asarray(lines)


def whole_length(n: int) -> int:
    """Choose the readings of a periodogram: all, but of very many the most whose transform is quick."""
    return n if n <= _WHOLE else next(length for length in range(n, 0, -1) if _is_smooth(length, (2, 3, 5, 7)))


def segment_length(n: int) -> int:
    """Choose the readings of a stretch: about eight overlapping ones make an average with sharp bands.

    A long one is shortened by some per cent to a product of 2, 3 and 5, whose transform is ten times as quick.
    """
    length = n if n < 64 else max(64, 2 * (n // 9))
    if length < _LONG:
        return length
    return next(even for even in range(length, 0, -2) if _is_smooth(even))


def _is_smooth(number: int, primes: tuple[int, ...] = (2, 3, 5)) -> bool:
    for prime in primes:
        while number % prime == 0:
            number //= prime
    return number == 1


def welch(power_w: NDArray[np.float64], step_s: float, length: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies (Hz) and one-sided density (W^2/Hz), of Hann stretches that overlap by half, each less its mean."""
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)
    hop = max(length // 2, 1)
    starts = range(0, power_w.size - length + 1, hop)
    density = np.zeros(length // 2 + 1)
    for start in starts:
        piece = power_w[start : start + length]
        spectrum = np.fft.rfft((piece - piece.mean()) * window)
        density += spectrum.real**2 + spectrum.imag**2
    density *= step_s / (len(starts) * float(np.sum(window**2)))
    density[1 : (length + 1) // 2] *= 2.0
    return np.asarray(np.fft.rfftfreq(length, step_s), np.float64), density


def shares(frequency: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Share of each line that lies between two frequencies: float64[k]; a line is as wide as they are apart."""
    width = float(frequency[1])
    found = np.zeros(frequency.size)
    begin, end = np.searchsorted(frequency, (low - width, high + width))  # beyond these they are 0
    near = frequency[begin:end]
    left, right = np.maximum(near - width / 2.0, 0.0), near + width / 2.0
    if end == frequency.size and near.size:
        right[-1] = frequency[-1]
    found[begin:end] = (np.minimum(right, high) - np.maximum(left, low)).clip(0.0) / (right - left)
    return found


@dataclass(frozen=True, slots=True)
class Periodogram:
    """Lines of a whole stretch, and the bands that they add up to.

    Attributes
    ----------
    frequency_hz : float64[k], Hz
    lines : float64[k], W^2
        Mean square of each line, see `line_powers`.
    limit_hz, meter_window_s : float, Hz and s
    """

    frequency_hz: NDArray[np.float64]
    lines: NDArray[np.float64]
    limit_hz: float
    meter_window_s: float

    def bands(self) -> tuple[Band, ...]:
        """All bands, what is slower and, as far as there is something, what is faster than all of them."""
        found = [self._band(name, low, high) for name, (low, high) in BANDS_HZ.items()]
        found.append(self._part("slower", 0.0, min(SLOWEST_HZ, self.limit_hz)))
        begin, top = min(FASTEST_HZ, self.limit_hz), float(self.frequency_hz[-1])
        if begin < top * (1.0 - 1e-9):
            found.append(self._part("faster", begin, top))
        return tuple(found)

    def _part(self, name: str, low: float, high: float) -> Band:
        """Sum the lines of a band that the recording shows, with its interval."""
        powers = shares(self.frequency_hz, low, high) * self.lines
        square = float(powers.sum())
        # A sum of exponentially distributed lines is about a chi-square with 2 (sum E p)^2 / sum (E p)^2 degrees of
        # freedom (Satterthwaite); of the lines themselves, whose mean square is twice the square of their mean, it is
        # told by this.
        rms = math.sqrt(square)
        lower = upper = rms
        if square > 0.0:
            freedom = max(4.0 * square**2 / float(np.square(powers).sum()) - 2.0, 2.0)
            lower, upper = (rms * math.sqrt(freedom / chi_square(p, freedom)) for p in (0.975, 0.025))
        return Band(name, low, high, self.limit_hz, rms, rms, "", lower, upper)

    def _band(self, name: str, low: float, high: float) -> Band:
        limit = self.limit_hz
        if low >= min(high, limit):
            return Band(name, low, high, limit, None, None, self._too_fast(high))
        shown = self._part(name, low, min(high, limit))
        reason = ""
        if high > limit * (1.0 + 1e-9):
            reason = self._too_fast(high)
        elif low > 0.0 and self.frequency_hz[1] > low * (1.0 + 1e-9):
            reason = f"too short to tell {low:g} Hz from a drift; it takes {1.0 / low:.3g} s without a hole"
        return replace(shown, high_hz=high, rms_w=None if reason else shown.rms_w, reason=reason)

    def _too_fast(self, high_hz: float) -> str:
        by_window = self.meter_window_s > 0.0 and 0.5 / self.meter_window_s <= self.limit_hz
        cure = "a meter that averages over" if by_window else "a reading every"
        return (
            f"this recording shows swings up to {self.limit_hz:g} Hz; "
            f"the band needs {cure} {0.5 / high_hz:.3g} s or less"
        )
