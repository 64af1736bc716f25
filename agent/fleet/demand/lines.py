"""Lines of a spectrum: swings of one frequency that go on for the whole recording, such as a training job's steps.

A line is found in the periodogram of the load, and measured by least squares at the true stamps of each series: the
meter's own averaging is part of the model, and stamps that are not even tell a frequency from its mirror image at half
the sampling rate. A counter that is published in steps is late by up to a step; readings then miss a little of a line,
which the scatter of its steps gives back. Publication and polling that are both even also beat: that makes a line of
its own, which is not in step on different GPUs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.fleet.demand.held import HeldSeries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.grid import Load
    from wattshed.agent.fleet.demand.series import LoadRecording

MOST_LINES = 5
MOST_SERIES = 64
"""Of more series than this the sum is looked at, whose grid is even."""
MOST_READINGS = 1 << 16
LEAST_PERIODS = 8
CHANCE = 1e-3
"""With which noise alone shows a line, in the whole spectrum."""
ALIAS_RATIO = 1.3
"""A frequency that explains so many times its mirror's swing is the right one of the two."""
_NEAR, _OWN = 32, 3  # lines: the neighbours that are the background, and those that the window spreads a line to
_LEVEL = 21  # readings whose mean is the level about which a counter is early or late
_HANN = 1.5  # how much wider than a line the window makes it, in noise


@dataclass(frozen=True, slots=True)
class SpectralLine:
    """One frequency of the load.

    Attributes
    ----------
    hz : float
    mirror_hz : float or None
        What it may be as well: the stamps do not tell which.
    rms_w, lower_w, upper_w : float, W
        Swing as a root mean square, before the meter smooths it, with its 95 % interval.
    in_step : float or None
        The sum's swing over the sum of the series' swings: 1 where all move together, about one over the root of their
        number where each has a phase of its own; None for a single series.
    """

    hz: float
    mirror_hz: float | None
    rms_w: float
    lower_w: float
    upper_w: float
    in_step: float | None = None

    @property
    def frequency(self) -> str:
        """Frequency, as it is told."""
        return f"{self.hz:.4g} Hz" + ("" if self.mirror_hz is None else f" or {self.mirror_hz:.4g} Hz")


def find_lines(
    load: Load, recording: LoadRecording, *, max_gap_s: float | None = None, meter_window_s: float = 0.0
) -> tuple[SpectralLine, ...]:
    """Lines of the longest stretch without a hole, the strongest first.

    Parameters
    ----------
    load : Load
        The recording on its grid.
    recording : LoadRecording
    max_gap_s, meter_window_s : float, optional, s
    """
    begin, end = load.longest
    power = load.steps_w[begin:end][:MOST_READINGS]
    if power.size < 8 * LEAST_PERIODS:
        return ()
    start_us = load.start_us + (begin - 0.5) * load.step_s * 1e6
    parts = _parts(load, recording, start_us, start_us + power.size * load.step_s * 1e6, max_gap_s)
    found: list[SpectralLine] = []
    width_hz = 1.0 / (power.size * load.step_s)
    for hz, noise in _candidates(power, load.step_s):
        if len(found) < MOST_LINES and all(abs(hz - other.hz) > _OWN * width_hz for other in found):
            found.append(_measured(parts, hz, width_hz, noise, meter_window_s))
    return tuple(found)


def _candidates(power: NDArray[np.float64], step_s: float) -> list[tuple[float, float]]:
    """Frequencies (Hz) that stand out of their neighbourhood, and the mean square (W^2) of a line of noise there."""
    n = power.size
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n) / n)
    transform = np.fft.rfft((power - power.mean()) * window)
    lines = 2.0 * (transform.real**2 + transform.imag**2) / (n * float(np.sum(window**2)))
    inner = lines[1:-1]
    tops = np.flatnonzero((inner > lines[:-2]) & (inner >= lines[2:])) + 1
    tops = tops[tops >= LEAST_PERIODS]
    threshold = math.log(n / CHANCE)
    found = []
    for k in tops[np.argsort(lines[tops])[::-1]][: 8 * MOST_LINES].tolist():
        reach = min(_NEAR, k // 2)
        around = np.concatenate((lines[k - reach : k - _OWN], lines[k + _OWN + 1 : k + reach + 1]))
        # Of noise a line is distributed exponentially: its median is ln 2 of its mean.
        noise = float(np.median(around)) / math.log(2.0)
        if lines[k] > threshold * max(noise, 1e-12 * float(lines.sum())):
            found.append((k / (n * step_s), noise))
    return found


@dataclass(frozen=True, slots=True)
class _Part:
    """Readings of one series: power over the time from ``begin_s`` to ``end_s`` each (the same moment: at it).

    ``held_s``: they are means of readings of moments, each of which is held for so long; of a step as long as that it
    is the reading itself.
    """

    begin_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    power_w: NDArray[np.float64]
    weight: NDArray[np.float64]
    held_s: float = 0.0

    def fit(self, hz: float) -> tuple[complex, float]:
        """Amplitude (as cosine and sine, W) of a frequency, and how much of the swing it explains (W^2)."""
        w = 2.0 * math.pi * hz
        half = w * (self.end_s - self.begin_s) / 2.0
        passed, at = (
            np.sinc(half / math.pi) / max(float(np.sinc(hz * self.held_s)), 0.1),
            w * (self.begin_s + self.end_s) / 2.0,
        )
        basis = np.column_stack((passed * np.cos(at), passed * np.sin(at), np.ones(at.size)))
        weighted = basis * self.weight[:, None]
        solved = np.linalg.solve(weighted.T @ basis, weighted.T @ self.power_w)
        swing = basis[:, :2] @ solved[:2]
        return complex(solved[0], solved[1]), float(self.weight @ np.square(swing) / self.weight.sum())

    def lateness_s(self, hz: float, amplitude: complex) -> float:
        """Length of the steps in which the counter is published, from how far its energies are early and late, s.

        A delay that is anywhere in a step makes what is too much in one reading too little in the next: the covariance
        of successive ones is minus a twelfth of the step's square. Where publication and reading beat there are two
        numbers of steps between readings, and their distance is the step: it follows from variance and skewness.
        """
        apart = self.end_s - self.begin_s
        if self.power_w.size < 8 * _LEVEL or self.held_s > 0.0 or not (apart > 0.0).all():
            return 0.0  # no counter
        at = math.pi * hz * (self.begin_s + self.end_s)
        line = np.sinc(hz * apart) * (amplitude.real * np.cos(2.0 * at) + amplitude.imag * np.sin(2.0 * at))
        inner = slice(_LEVEL // 2, -(_LEVEL // 2))
        level = np.convolve(self.power_w, np.full(_LEVEL, 1.0 / _LEVEL), "same")[inner]
        late = ((self.power_w - line)[inner] / np.where(level > 0.0, level, 1.0) - 1.0) * apart[inner]
        by_neighbours = math.sqrt(12.0 * max(-float(np.mean(late[1:] * late[:-1])), 0.0))
        variance = float(late.var())
        skew = float(np.mean((late - late.mean()) ** 3)) / variance**1.5 if variance > 0.0 else 0.0
        # Two values, p apart, of shares q and 1 - q: variance p^2 q (1 - q), skewness (1 - 2q) / sqrt(q (1 - q)).
        by_values = math.sqrt(variance * (4.0 + skew**2))
        return min(max(by_neighbours, by_values), float(np.median(apart)))


def _parts(
    load: Load, recording: LoadRecording, start_us: float, end_us: float, max_gap_s: float | None
) -> list[_Part]:
    """Return the readings of each series in a stretch; of very many series, and of jobs that come and go, their sum."""
    step_us = load.step_s * 1e6
    several = [HeldSeries(recording, name, max_gap_s) for name in islice(recording.series, MOST_SERIES)]
    spans = [held.span_us(step_us) for held in several]
    if len(recording.series) > MOST_SERIES or any(
        first > start_us + step_us or last < end_us - step_us for first, last in spans
    ):
        return [_sum(load, several)]
    parts = []
    for held in several:
        stairs = held.between(start_us, end_us, step_us)
        known = ~np.isnan(stairs.power_w)  # of the stretch all, but not of what is before and after it
        if held.by_counter:
            begin, end = stairs.edges_us[:-1][known], stairs.edges_us[1:][known]
        else:
            begin = end = recording.series.between(held.name, int(start_us), int(end_us) + 1)[0].astype(np.float64)
        if begin.size > 3:
            at = (begin - start_us) / 1e6
            parts.append(_Part(at, at + (end - begin) / 1e6, stairs.power_w[known], _hann(at)))
    return parts


def _sum(load: Load, several: Sequence[HeldSeries]) -> _Part:
    """Take the sum on its grid, in means over its steps."""
    power = load.steps_w[slice(*load.longest)][:MOST_READINGS]
    at = np.asarray(np.arange(power.size) * load.step_s, np.float64)
    period_s = 0.0 if load.counted else max((held.period_us or 0.0) / 1e6 for held in several)
    return _Part(at, at + load.step_s, power, _hann(at), min(period_s, load.step_s))


def _hann(at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights that fade towards both ends, so that a slow swing does not pass for a fast one."""
    place = (at - at[0]) / (at[-1] - at[0])
    return np.asarray(0.5 - 0.5 * np.cos(2.0 * np.pi * (place * 0.998 + 0.001)))


def _explained(parts: Sequence[_Part], hz: float) -> float:
    return sum(part.fit(hz)[1] for part in parts)


def _measured(parts: Sequence[_Part], hz: float, width_hz: float, noise: float, meter_window_s: float) -> SpectralLine:
    """Measure a line near a frequency."""
    reach = width_hz
    for _ in range(4):
        tried = hz + reach * np.linspace(-1.0, 1.0, 9)
        hz = float(tried[np.argmax([_explained(parts, f) for f in tried.tolist()])])
        reach /= 4.0
    amplitudes = []
    for part in parts:
        amplitude = part.fit(hz)[0]
        amplitudes.append(amplitude / max(float(np.sinc(hz * part.lateness_s(hz, amplitude))), 0.5))
    total, apart = abs(sum(amplitudes)), sum(map(abs, amplitudes))
    rms = total / math.sqrt(2.0) / max(abs(float(np.sinc(hz * meter_window_s))), 0.05)
    error = 1.96 * math.sqrt(_HANN * noise / 2.0)
    rate_hz = 1.0 / float(np.median(np.diff(parts[0].begin_s)))
    mirror = rate_hz - hz
    told = _explained(parts, hz) > ALIAS_RATIO**2 * _explained(parts, mirror)
    in_step = total / apart if len(parts) > 1 and apart > 0.0 else None
    return SpectralLine(hz, None if told else mirror, rms, max(rms - error, 0.0), rms + error, in_step)
