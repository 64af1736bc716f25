"""How a load swings: frequency bands by Welch's method, up to what the recording can show and no further.

P. D. Welch, IEEE Transactions on Audio and Electroacoustics 15 (1967): periodograms of overlapping Hann-windowed
stretches, averaged. Grid operators ask about 0.1-20 Hz (torsion of generators, flicker) and 0.2-3 Hz (swings between
regions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BANDS_HZ = {"below 1 Hz": (0.0, 1.0), "0.1-20 Hz": (0.1, 20.0), "0.2-3 Hz": (0.2, 3.0), "1-2.5 Hz": (1.0, 2.5)}
_LONG = 1 << 14  # readings of a stretch: below, the products lie too far apart, and nobody waits


@dataclass(frozen=True, slots=True)
class Band:
    """Swing in a band, as a root mean square in W; None, with the reason, where the recording cannot show it.

    ``partial_w`` is the swing in the part of the band that it does show, up to ``observable_up_to_hz``.
    """

    name: str
    low_hz: float
    high_hz: float
    observable_up_to_hz: float
    rms_w: float | None
    partial_w: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Power spectral density (W^2/Hz, one-sided) over frequency, and the bands; empty where the load is too short."""

    frequency_hz: NDArray[np.float64]
    density: NDArray[np.float64]
    observable_up_to_hz: float
    resolution_hz: float
    bands: tuple[Band, ...]


def observable_up_to(step_s: float, meter_window_s: float = 0.0) -> float:
    """Highest frequency that readings every ``step_s`` show, if each is a mean over ``meter_window_s``.

    Half the sampling rate; and half of one over the meter's window, where it passes 64 % of a swing and hides the rest.
    """
    return min(0.5 / step_s, 0.5 / meter_window_s if meter_window_s > 0.0 else math.inf)


def analyse(power_w: NDArray[np.float64], step_s: float, *, meter_window_s: float = 0.0) -> Spectrum:
    """Spectrum and bands of a stretch without holes.

    Parameters
    ----------
    power_w : float64[n], W
    step_s, meter_window_s : float, s
    """
    limit = observable_up_to(step_s, meter_window_s)
    n = power_w.size
    if n < 8:
        bands = tuple(
            Band(name, low, high, limit, None, None, "fewer than 8 readings in a row show no spectrum")
            for name, (low, high) in BANDS_HZ.items()
        )
        return Spectrum(np.empty(0), np.empty(0), limit, math.inf, bands)
    length = segment_length(n)
    frequency, density = welch(power_w, step_s, length)
    found = Spectrum(frequency, density, limit, 1.0 / (length * step_s), ())
    return replace(found, bands=tuple(_band(name, found, meter_window_s) for name in BANDS_HZ))


def segment_length(n: int) -> int:
    """Choose the readings of a stretch: about eight overlapping ones make an average with sharp bands.

    A long one is shortened by some per cent to a product of 2, 3 and 5, whose transform is ten times as quick.
    """
    length = n if n < 64 else max(64, 2 * (n // 9))
    if length < _LONG:
        return length
    return next(even for even in range(length, 0, -2) if _is_smooth(even))


def _is_smooth(number: int) -> bool:
    for prime in (2, 3, 5):
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


def band_power(frequency: NDArray[np.float64], density: NDArray[np.float64], low: float, high: float) -> float:
    """Mean square (W^2) between two frequencies; a line of the spectrum counts by the part of its width in the band."""
    width = float(frequency[1])
    left, right = np.maximum(frequency - width / 2.0, 0.0), frequency + width / 2.0
    right[-1] = frequency[-1] + (width / 2.0 if len(frequency) % 2 == 0 else 0.0)
    share = (np.minimum(right, high) - np.maximum(left, low)).clip(0.0) / (right - left).clip(1e-300)
    weights = share * width
    return float(weights @ density)


def _band(name: str, spectrum: Spectrum, meter_window_s: float) -> Band:
    (low, high), limit = BANDS_HZ[name], spectrum.observable_up_to_hz
    shown = min(high, limit)
    partial = None
    if low < shown:
        partial = math.sqrt(band_power(spectrum.frequency_hz, spectrum.density, low, shown))
    if high > limit * (1.0 + 1e-9):
        by_window = meter_window_s > 0.0 and 0.5 / meter_window_s <= limit
        cure = "a meter that averages over" if by_window else "a reading every"
        reason = f"this recording shows swings up to {limit:g} Hz; the band needs {cure} {0.5 / high:.3g} s or less"
        return Band(name, low, high, limit, None, partial, reason)
    if low > 0.0 and spectrum.resolution_hz > low:
        reason = f"too short to tell {low:g} Hz from a drift; it takes {4.5 / low:.0f} s without a hole"
        return Band(name, low, high, limit, None, partial, reason)
    return Band(name, low, high, limit, partial)
