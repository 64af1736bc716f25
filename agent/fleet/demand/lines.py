"""Lines of a spectrum: swings of one frequency that go on for the whole recording, such as a training job's steps.

A line is found in the periodogram of the load, and measured by least squares at the true stamps of each series: the
meter's own averaging is part of the model, and stamps that are not even tell a frequency from its mirror image at half
the sampling rate. A counter's values are published before they are read. Where each publication was read, its moment
is known; else readings miss some of a line, of which the scatter of the steps gives back what is likely, and the
interval goes to what is possible. Publication and reading that are both even also beat: that makes lines of the meter's
own, which vanish at the moments of publication, and are not in step on different GPUs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.fleet.demand.fitted import HANN, Amplitude, FittedSeries
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
_AS_EVEN = 1.02  # scatter at the moments of publication, over that at the readings
_MENDED = 0.7  # below which the moments are proved
_TELLING = 0.1  # how wide what is unknown of the publication makes an interval, over the line, where it is told
_JITTER = 0.01  # how wrong the jitter of publication may make a line
_DEAF = 0.05  # of a swing; a meter that leaves less shows nothing of it
_BEAT = 0.5  # a line of whose swing less is left at the moments of publication is the meter's


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
    moments_known : bool
        Whether it is known well enough when counters' values were published, which is before they were read: not if it
        may change the swing by more than a tenth, from end to end.
    """

    hz: float
    mirror_hz: float | None
    rms_w: float
    lower_w: float
    upper_w: float
    in_step: float | None = None
    moments_known: bool = True

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
    candidates = _candidates(power, load.step_s)
    read = _parts(load, recording, start_us, start_us + power.size * load.step_s * 1e6, max_gap_s)
    strongest = [hz for hz, _ in candidates[:MOST_LINES]]
    parts = [_as_published(part, strongest) for part in read]
    at = np.asarray(np.arange(power.size) * load.step_s, np.float64)
    grid = FittedSeries(at, at, power)
    found: list[SpectralLine] = []
    width_hz = 1.0 / (power.size * load.step_s)
    for hz, noise in candidates:
        if len(found) == MOST_LINES:
            break
        new = all(abs(hz - other.hz) > _OWN * width_hz for other in found)
        if new and _heard(hz, meter_window_s) > _DEAF and _total(parts, hz) > _BEAT * _total(read, hz):
            found.append(_measured(parts, grid, hz, noise, meter_window_s))
    return tuple(found)


def said_of(lines: Sequence[SpectralLine]) -> list[str]:
    """Say of which lines the interval is wide because nobody knows when a counter's values were published."""
    wide = [f"{line.hz:.4g} Hz" for line in lines if not line.moments_known]
    if not wide:
        return []
    *others, last = wide
    of = f"the intervals of {', '.join(others)} and {last} include" if others else f"the interval of {last} includes"
    return [f"when the energy counters' values were published is not known; {of} this"]


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
            found.append(((k + _between(lines[k - 1 : k + 2])) / (n * step_s), noise))
    return found


def _between(top: NDArray[np.float64]) -> float:
    """Tell how far from the middle one of three lines the swing is that shows in all of them, in lines."""
    low, middle, high = np.log(np.maximum(top, 1e-12 * top[1])).tolist()
    return float(0.5 * (low - high) / (low - 2.0 * middle + high))


def _parts(
    load: Load, recording: LoadRecording, start_us: float, end_us: float, max_gap_s: float | None
) -> list[FittedSeries]:
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
            parts.append(FittedSeries(at, at + (end - begin) / 1e6, stairs.power_w[known], held.by_counter))
    return parts


def _sum(load: Load, several: Sequence[HeldSeries]) -> FittedSeries:
    """Take the sum on its grid, in means over its steps; counters in it may be as late as a step."""
    power = load.steps_w[slice(*load.longest)][:MOST_READINGS]
    at = np.asarray(np.arange(power.size) * load.step_s, np.float64)
    period_s = max((held.period_us or 0.0) / 1e6 for held in several)
    held_s, latest_s = (0.0, min(period_s, load.step_s)) if load.counted else (min(period_s, load.step_s), 0.0)
    return FittedSeries(at, at + load.step_s, power, held_s=held_s, latest_s=latest_s)


def _heard(hz: float, window_s: float) -> float:
    """Return what a mean over a window leaves of a swing, as a share of it."""
    return max(abs(float(np.sinc(hz * window_s))), _DEAF)


def _explained(parts: Sequence[FittedSeries], hz: float) -> float:
    return sum(part.fit(hz)[1] for part in parts)


def _total(parts: Sequence[FittedSeries], hz: float) -> float:
    """Amplitude of the sum of all series as it is fitted, W."""
    return abs(sum(part.fit(hz)[0] for part in parts))


def _measured(
    parts: Sequence[FittedSeries],
    grid: FittedSeries,
    hz: float,
    noise: float,
    meter_window_s: float,
) -> SpectralLine:
    """Measure a line near a frequency."""
    reach = 1.0 / (grid.begin_s.size * grid.every_s)
    for _ in range(4):
        tried = hz + reach * np.linspace(-1.0, 1.0, 9)
        hz = float(tried[np.argmax([_explained(parts, f) for f in tried.tolist()])])
        reach /= 4.0
    each = [part.amplitude(hz) for part in parts]
    total, apart = abs(sum(one.likely for one in each)), sum(abs(one.likely) for one in each)
    least, most = _bounds(each, hz)
    scale = 1.0 / math.sqrt(2.0) / _heard(hz, meter_window_s)
    # Noise was told on the grid, which took from it as much as from the swing: by uneven stamps, and means over steps.
    taken = min(max(total / max(abs(grid.fit(hz)[0]), 1e-12), 1.0), 1.0 / _DEAF)
    error = 1.96 * scale * taken * math.sqrt(HANN * noise)
    mirror = 1.0 / parts[0].every_s - hz
    told = _explained(parts, hz) > ALIAS_RATIO**2 * _explained(parts, mirror)
    in_step = total / apart if len(parts) > 1 and apart > 0.0 else None
    if any(part.counted for part in parts):
        error = math.hypot(error, _JITTER * total * scale, *(1.96 * scale * one.beats_w for one in each))
    least, most = min(least, total), max(most, total)
    lower, upper = max(least * scale - error, 0.0), most * scale + error
    known = most - least <= _TELLING * total
    return SpectralLine(hz, None if told else mirror, total * scale, lower, upper, in_step, known)


def _bounds(each: Sequence[Amplitude], hz: float) -> tuple[float, float]:
    """Least and largest amplitude of the sum, W, that what is unknown of the publication allows.

    Each series may be smeared, and series that were published at different times before their readings may look less
    in step than they are: at most as two halves that are as far apart as can be.
    """
    found, apart = abs(sum(one.fitted for one in each)), sum(one.most for one in each)
    smeared = max((one.most / abs(one.fitted) for one in each if one.fitted), default=1.0)
    turn = math.pi * hz * max(one.late_s for one in each) if len(each) > 1 else 0.0
    together = found * smeared / math.cos(turn) if turn < 0.499 * math.pi else apart
    return found, min(apart, together)


def _as_published(part: FittedSeries, strongest: Sequence[float]) -> FittedSeries:
    """Put readings where they were published, if that is known and lets the energies be as even as at the readings.

    Parameters
    ----------
    part : FittedSeries
    strongest : sequence of float, Hz
        Swings that are no errors of the meter, or its own beats.
    """
    there = part.at_publication()
    if there is None:
        return part
    own = [hz for hz, _ in _candidates(there.power_w, there.every_s)[:MOST_LINES]]
    left, before = there.scatter_s(own).std(), min(part.scatter_s(lines).std() for lines in (own, strongest))
    if left < _MENDED * before:
        return there
    return replace(part, offset_s=part.every_s) if left <= _AS_EVEN * before else part
