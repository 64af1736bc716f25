"""Fleets that might have been: many units that each replay a measured trace, and how often their sum exceeds a limit.

The unit is a job (or host): its GPUs lie on one block, for they move together. Two ways to add a fleet up:

- blocks: each unit draws block after block of the measured traces (circular block bootstrap, D. N. Politis and J. P.
Romano 1992),
  with a phase of its own. Units are exchangeable, so only how many drew which block matters: multinomial counts
  times the matrix of blocks.
- phases: each unit replays a whole trace from a phase of its own. The sum is the circular convolution of the trace
with the
  histogram of phases, exact by FFT.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.bootstrap import check_unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.drawing import Drawing
    from wattshed.agent.fleet.demand.grid import Load

MOST_STARTS = 128
"""Blocks in the matrix; more of them add nothing to a bootstrap of traces this long."""
MOST_CELLS = 20_000_000
"""Replicates times steps that are held at once."""
MOST_BLOCKS = 256
"""Blocks in a row: a recording is never cut finer, for longer blocks than needed cost nothing but variety."""
PHASE_GROUPS = 8
"""Units with one phase, in a fleet of very many; up to this number of units each has its own."""


@dataclass(frozen=True, slots=True)
class Exceedance:
    """How likely the fleet's peak is above a limit, with its 95 % interval (Wilson, for the number of replicates)."""

    limit_w: float
    probability: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Peaks of simulated fleets.

    Attributes
    ----------
    units : int
    unit : str
    block_s, span_s : float, s
    mean_w, sd_w : float, W
        Of the fleet's power, over time and replicates.
    peaks_w : float64[r], W
        One for each replicate.
    coincidence : float
        Median peak over the sum of the units' own largest power.
    exceedance : Exceedance or None
    """

    units: int
    unit: str
    block_s: float
    span_s: float
    mean_w: float
    sd_w: float
    peaks_w: NDArray[np.float64]
    coincidence: float
    exceedance: Exceedance | None


def optimal_block(series: NDArray[np.float64]) -> int:
    """Block length for the circular bootstrap, in steps.

    D. N. Politis and H. White, Econometric Reviews 23 (2004), with the correction of A. Patton, Politis and White
    (2009): a flat-top window over the autocovariance up to twice the lag beyond which correlation is negligible.
    """
    n = series.size
    x = series - series.mean()
    if n < 8 or not np.any(x):
        return 1
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    most = min(math.ceil(math.sqrt(n)) + run, n - 1)
    size = 1 << (2 * n - 1).bit_length()
    covariance = np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2, size)[: most + 1] / n
    small = np.abs(covariance[1:] / covariance[0]) < 2.0 * math.sqrt(math.log10(n) / n)
    quiet = next((k for k in range(small.size - run + 1) if small[k : k + run].all()), None)
    if quiet is None:
        large = np.flatnonzero(~small)
        quiet = int(large[-1]) + 1 if large.size else 0
    lags = np.arange(1, min(2 * max(quiet, 1), most) + 1)
    share = lags / lags[-1]
    window = np.where(share <= 0.5, 1.0, 2.0 * (1.0 - share))
    level = covariance[0] + 2.0 * float(window @ covariance[lags])
    slope = 2.0 * float((window * lags) @ covariance[lags])
    longest = math.ceil(min(3.0 * math.sqrt(n), n / 3.0))
    if level <= 0.0:
        # A periodic load has nothing at frequency 0, where the rule looks: the longest block keeps its period.
        return longest
    length = (2.0 * slope**2 / (4.0 / 3.0 * level**2)) ** (1.0 / 3.0) * n ** (1.0 / 3.0)
    return int(min(max(math.ceil(length), 1), longest))


def replay_by_phase(trace_w: NDArray[np.float64], phases: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum of units that replay one trace, unit i late by ``phases[i]`` steps, round and round: float64[n], W, by FFT.

    Parameters
    ----------
    trace_w : float64[n], W
    phases : int64[units], steps
    """
    n = trace_w.size
    count = np.bincount(phases % n, minlength=n).astype(np.float64)
    # The mean is added apart, so that rounding is relative to the swing and not to the level.
    mean = float(trace_w.mean())
    swing = np.fft.irfft(np.fft.rfft(trace_w - mean) * np.fft.rfft(count), n)
    return np.asarray(swing + mean * phases.size, np.float64)


def replay_by_blocks(trace_w: NDArray[np.float64], phases: NDArray[np.int64], block: int = 4096) -> NDArray[np.float64]:
    """Compute what `replay_by_phase` does by adding up, a block of time after the other; float64[n], W."""
    n = trace_w.size
    count = np.bincount(phases % n, minlength=n).astype(np.float64)
    twice = np.concatenate((trace_w, trace_w))
    late = count[::-1]
    fleet = np.empty(n)
    for start in range(0, n, block):
        stop = start + block  # beyond the end there is nothing to cut off
        # fleet[t] = sum over phases of count[phase] * trace[t - phase]: a correlation with the phases in reverse.
        fleet[start:stop] = np.correlate(twice[start + 1 : stop + n], late, mode="valid")
    return fleet


def block_matrix(traces: NDArray[np.float64], block: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Blocks of the units' traces, each taken as a circle: float64[k, block]; at most MOST_STARTS, evenly over them."""
    units, n = traces.shape
    starts = min(n, max(1, MOST_STARTS // units))
    first = random.integers(n)
    at = (first + np.arange(starts) * n // starts)[:, None] + np.arange(block)
    return np.concatenate([trace[at % n] for trace in traces])


def bootstrap_fleet(
    blocks: NDArray[np.float64], units: int, steps: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Power of a fleet of exchangeable units: float64[steps], W.

    Parameters
    ----------
    blocks : float64[k, block], W
    units : int
    steps : int
    random : numpy.random.Generator
    """
    k, block = blocks.shape
    groups = min(units, PHASE_GROUPS, block)  # there are no more phases than steps in a block
    fleet = np.zeros(steps)
    for group in range(groups):
        mine = units // groups + (group < units % groups)
        phase = int(random.integers(block))
        rows = -(-(steps + phase) // block)
        counts = random.multinomial(mine, np.full(k, 1.0 / k), size=rows).astype(np.float64)
        fleet += (counts @ blocks).ravel()[phase : phase + steps]
    return fleet


def simulate(
    load: Load,
    units: int,
    *,
    replicates: int = 200,
    unit: str = "job",
    checkpoint_s: float = 0.0,
    limit_w: float | None = None,
    seed: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Ensemble:
    """Draw fleets of ``units`` jobs (or hosts) like the measured ones, and look at their peaks.

    Parameters
    ----------
    load : Load
        Measured jobs or hosts (``units``); without these, all of it is one unit.
    units : int
        Units of the fleet.
    replicates : int
    unit : {"job", "host"}
    checkpoint_s : float, s
        Blocks are at least this long, so that a checkpoint's dip stays within one.
    limit_w : float, optional
    seed : int
    progress : callable, optional
        Told how many fleets are drawn.

    Raises
    ------
    InputError
        For ``gpu`` as the unit, with the reason; if the recording is too short.
    """
    check_unit(unit)
    traces = _units(load)
    n = traces.shape[1]
    wanted = max(*(optimal_block(t) for t in traces), math.ceil(checkpoint_s / load.step_s), -(-n // MOST_BLOCKS))
    if n < 8 or wanted > n:
        raise InputError(
            f"{n} readings in a row are too few for blocks of {max(wanted, 8)}; "
            "record longer, or give a shorter --checkpoint"
        )
    random = np.random.default_rng(seed)
    peaks = np.empty(replicates)
    means, squares = np.empty(replicates), np.empty(replicates)
    for r in range(replicates):
        fleet = bootstrap_fleet(block_matrix(traces, wanted, random), units, n, random)
        peaks[r], means[r], squares[r] = fleet.max(), fleet.mean(), fleet.var()
        if progress is not None:
            progress(r + 1)
    alone = float(traces.max(axis=1).mean()) * units
    return Ensemble(
        units,
        unit,
        wanted * load.step_s,
        n * load.step_s,
        float(means.mean()),
        math.sqrt(float(squares.mean() + means.var())),
        peaks,
        float(np.median(peaks)) / alone if alone > 0.0 else 1.0,
        None if limit_w is None else exceedance(peaks, limit_w),
    )


def resample(
    load: Load,
    *,
    replicates: int = 200,
    unit: str = "job",
    limit_w: float | None = None,
    seed: int = 1,
    drawing: Drawing | None = None,
    progress: Callable[[float], None] | None = None,
) -> Ensemble:
    """Draw the measured jobs (or hosts) again with replacement, as many as there are, each with its whole series.

    This is the sampling error of a fleet that was recorded job by job: times stay as they were, only which jobs it has
    changes. The sums are the kernels' exact ones, in whole milliwatts, wherever ``drawing`` makes them (by default on
    the CPU). ``progress`` is told which share of the time is drawn.

    Raises
    ------
    InputError
        For ``gpu`` as the unit, with the reason; if there are fewer than two units.
    """
    from wattshed.agent.fleet.demand.drawing import Drawing  # noqa: PLC0415  (kernels, only where fleets are drawn)

    drawing = drawing or Drawing("cpu")

    check_unit(unit)
    traces = _units(load)
    units, n = traces.shape
    if units < 2:
        raise InputError(f"one {unit} cannot be resampled; record more of them, or give --scale")
    totals = np.rint(traces * 1e3).astype(np.int64)
    columns = max(1, MOST_CELLS // replicates)
    peaks = np.zeros(replicates)
    first, second = 0.0, 0.0
    for start in range(0, n, columns):
        # One seed draws the same jobs for every stretch of time.
        left = -(-n // columns) - start // columns - 1
        fleets = drawing.fleets(totals[:, start : start + columns], replicates, seed, left) / 1e3
        np.maximum(peaks, fleets.max(axis=1), out=peaks)
        first += float(fleets.sum())
        second += float(np.square(fleets).sum())
        if progress is not None:
            progress(min((start + columns) / n, 1.0))
    mean = first / (replicates * n)
    return Ensemble(
        units,
        unit,
        n * load.step_s,
        n * load.step_s,
        mean,
        math.sqrt(max(second / (replicates * n) - mean**2, 0.0)),
        peaks,
        float(np.median(peaks)) / float(traces.max(axis=1).sum()) if traces.any() else 1.0,
        None if limit_w is None else exceedance(peaks, limit_w),
    )


def exceedance(peaks_w: NDArray[np.float64], limit_w: float) -> Exceedance:
    """Share of the replicates whose peak lies above a limit, with Wilson's interval (E. B. Wilson 1927)."""
    n, z = peaks_w.size, 1.959963984540054
    p = float(np.mean(peaks_w > limit_w))
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Exceedance(
        limit_w, p, max(centre - half, 0.0) if p > 0.0 else 0.0, min(centre + half, 1.0) if p < 1.0 else 1.0
    )


def _units(load: Load) -> NDArray[np.float64]:
    """Traces of the units that are drawn: float64[units, n], the stretch that all of them have without a hole."""
    table = np.array(list(load.units.values())) if load.units else load.power_w[None, :]
    unknown = np.isnan(table).any(axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate(([1], unknown.astype(np.int8), [1]))))
    if not edges.size:
        raise InputError("no stretch of the recording is without a hole")
    longest = int(np.argmax(edges[1::2] - edges[::2]))
    return np.ascontiguousarray(table[:, edges[::2][longest] : edges[1::2][longest]])
