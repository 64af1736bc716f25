"""One series of a recording, as a line of the spectrum is fitted to it: least squares at its own stamps.

What a reading tells is the mean power over a time, and the mean over that time is fitted: the meter's averaging is part
of the model. A counter's readings end when its value was published, which is before they were read; where nobody knows
how long before, a line's amplitude is known between two bounds only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.agent.fleet.demand.published import published_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

HANN = 1.5
"""How much wider than a line the window makes it, in noise."""
_LEVEL = 21  # readings whose mean is the level about which a counter is early or late
_PIECES, _PERIODS = 16, 4.0  # in which a phase is followed, and how much of a swing each of them shows at least


class Amplitude(NamedTuple):
    """Swing of one series at one frequency, W, as cosine and sine: as it was fitted, and as is likely.

    ``most`` is the largest that is possible, ``late_s`` how long before their readings its values may have been
    published, ``beats_w`` the standard deviation of what beats of publication and reading may add.
    """

    fitted: complex
    likely: complex
    most: float
    late_s: float
    beats_w: float = 0.0


@dataclass(frozen=True)
class FittedSeries:
    """Readings of one series: power over the time from ``begin_s`` to ``end_s`` each (the same moment: at it).

    Attributes
    ----------
    begin_s, end_s, power_w : float64[n], s and W
    counted : bool
        They are differences of an energy counter.
    held_s : float, s
        They are means of readings of moments, each of which is held for so long; of a step as long as that it is the
        reading itself.
    latest_s : float, s
        Of a sum of counters: how long before a reading a value was published at most, by each its own time.
    offset_s : float, s
        How much longer, by a constant that nobody knows, its values may have been published before that at most.
    placed : bool
        Readings lie at their publication (but for ``offset_s``).
    """

    begin_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    power_w: NDArray[np.float64]
    counted: bool = False
    held_s: float = 0.0
    latest_s: float = 0.0
    offset_s: float = 0.0
    placed: bool = False

    @property
    def every_s(self) -> float:
        """Median time between readings."""
        return float(np.median(np.diff(self.begin_s)))

    @cached_property
    def _weight(self) -> NDArray[np.float64]:
        """Fade towards both ends, so that a slow swing does not pass for a fast one; energies count, not readings."""
        faded = _hann(self.begin_s)
        return faded * (self.end_s - self.begin_s) if self.counted else faded

    def _basis(self, hz: float) -> NDArray[np.float64]:
        """Mean over each reading's time of cosine and sine: float64[n, 2]."""
        passed = np.sinc(hz * (self.end_s - self.begin_s)) / max(float(np.sinc(hz * self.held_s)), 0.1)
        at = math.pi * hz * (self.begin_s + self.end_s)
        return np.column_stack((passed * np.cos(at), passed * np.sin(at)))

    def fit(self, hz: float) -> tuple[complex, float]:
        """Amplitude (as cosine and sine, W) of a frequency, and how much of the swing it explains (W^2)."""
        weight = self._weight
        basis = np.column_stack((self._basis(hz), np.ones(self.power_w.size)))
        weighted = basis * weight[:, None]
        solved = np.linalg.solve(weighted.T @ basis, weighted.T @ self.power_w)
        swing = basis[:, :2] @ solved[:2]
        return complex(solved[0], solved[1]), float(weight @ np.square(swing) / weight.sum())

    def amplitude(self, hz: float) -> Amplitude:
        """Amplitude of a frequency, with what is unknown of the counter's publication.

        A delay that wanders slowly turns the phase, and leaves the swing of each piece of time as it is; one that
        wanders fast lessens it, at most as if all delays were as likely.
        """
        fitted = self.fit(hz)[0]
        if self.placed or not self._told:
            turned = max(math.cos(math.pi * hz * self.latest_s), 0.5) if 2.0 * hz * self.latest_s < 1.0 else 0.5
            return Amplitude(fitted, fitted, abs(fitted) / _smear(hz, self.latest_s) / turned, self.offset_s)
        early_s = self.scatter_s([hz])
        apart_s = float(np.median(self.end_s - self.begin_s))
        likely_s = min(_step_s(early_s), apart_s)
        latest_s = min(max(likely_s, float(np.abs(early_s).max())), apart_s)
        most = max(abs(fitted) / _smear(hz, latest_s), self._turning(hz))
        beats_w = float(self.power_w.mean() * early_s.std()) / apart_s * math.sqrt(2.0 * HANN / early_s.size)
        return Amplitude(fitted, fitted / _smear(hz, likely_s), most, max(latest_s, self.offset_s), beats_w)

    def _turning(self, hz: float) -> float:
        """Swing of the pieces of the recording, whatever their phases, W."""
        span_s = float(self.end_s[-1] - self.begin_s[0])
        pieces = min(_PIECES, int(span_s * hz / _PERIODS))
        cuts = np.searchsorted(self.begin_s, self.begin_s[0] + span_s * np.arange(pieces + 1) / max(pieces, 1))
        own = [self._part(low, high) for low, high in pairwise(cuts.tolist()) if high - low > 2 * _PERIODS]
        turning = np.array([part.fit(hz)[0] for part in own])
        # Noise of one piece is not that of the next: in the product it cancels.
        return math.sqrt(abs(np.mean(turning[1:] * turning[:-1].conj()))) if turning.size > 1 else 0.0

    def _part(self, low: int, high: int) -> FittedSeries:
        """Return some of the readings."""
        return replace(self, begin_s=self.begin_s[low:high], end_s=self.end_s[low:high], power_w=self.power_w[low:high])

    def at_publication(self) -> FittedSeries | None:
        """Put a counter's readings where its values were published; None if that is not known."""
        if not self._told or not np.allclose(self.begin_s[1:], self.end_s[:-1], 0.0, 1e-6):
            return None
        placed = published_s(np.append(self.begin_s, self.end_s[-1]))
        if placed is None:
            return None
        moments, offset_s = placed
        power = self.power_w * (self.end_s - self.begin_s) / np.diff(moments)
        return replace(self, begin_s=moments[:-1], end_s=moments[1:], power_w=power, offset_s=offset_s, placed=True)

    @property
    def _told(self) -> bool:
        """Whether its energies tell of its publication."""
        return self.counted and self.power_w.size >= 8 * _LEVEL

    def scatter_s(self, lines_hz: Sequence[float]) -> NDArray[np.float64]:
        """Tell how much more than its time's each energy is, without some lines, in the time of drawing it.

        Parameters
        ----------
        lines_hz : sequence of float

        Returns
        -------
        float64[n - 20], s
        """
        columns = np.column_stack([np.ones(self.power_w.size), *(self._basis(hz) for hz in lines_hz)])
        weight = self._weight[:, None]
        solved = np.linalg.lstsq(columns * weight, self.power_w * weight[:, 0], rcond=None)[0]
        left = self.power_w - columns[:, 1:] @ solved[1:]
        inner = slice(_LEVEL // 2, -(_LEVEL // 2))
        level = np.convolve(self.power_w, np.full(_LEVEL, 1.0 / _LEVEL), "same")[inner]
        return np.asarray((left[inner] / np.where(level > 0.0, level, 1.0) - 1.0) * (self.end_s - self.begin_s)[inner])


def _step_s(early_s: NDArray[np.float64]) -> float:
    """Length of the steps in which a counter is published, from how much too early its energies came, s.

    A delay that is anywhere in a step makes what is too much in one reading too little in the next: the covariance of
    successive ones is minus a twelfth of the step's square. Where publication and reading beat there are two numbers of
    steps between readings, and their distance is the step: it follows from variance and skewness.
    """
    by_neighbours = math.sqrt(12.0 * max(-float(np.mean(early_s[1:] * early_s[:-1])), 0.0))
    variance = float(early_s.var())
    skew = float(np.mean((early_s - early_s.mean()) ** 3)) / variance**1.5 if variance > 0.0 else 0.0
    # Two values, p apart, of shares q and 1 - q: variance p^2 q (1 - q), skewness (1 - 2q) / sqrt(q (1 - q)).
    return max(by_neighbours, math.sqrt(variance * (4.0 + skew**2)))


def _smear(hz: float, late_s: float) -> float:
    """How much of a swing is left where all delays up to some time are as likely."""
    return max(float(np.sinc(hz * late_s)), 0.5)


def _hann(at: NDArray[np.float64]) -> NDArray[np.float64]:
    place = (at - at[0]) / (at[-1] - at[0])
    return np.asarray(0.5 - 0.5 * np.cos(2.0 * np.pi * (place * 0.998 + 0.001)))
