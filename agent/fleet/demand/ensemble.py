"""Fleets that might have been: their peaks, their spread, and how often their power exceeds a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.demand.fleets import FleetOrder, Fleets, join, over
from wattshed.agent.fleet.demand.grid import longest_stretch
from wattshed.agent.fleet.estimate.bootstrap import check_unit
from wattshed.agent.fleet.estimate.student import quantile

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.drawing import DrawingPlace
    from wattshed.agent.fleet.demand.grid import Load

MOST_CELLS = 4_000_000
"""Replicates times steps that are held at once, where recorded units are drawn again."""
LEAST_READINGS = 8


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
        What a unit replays at a time, which is the whole recording, and how long the fleet is.
    mean_w, sd_w : float, W
        Of the fleet's power, over time and replicates.
    peaks_w : float64[r], W
        One for each replicate.
    coincidence : float
        Median peak over the sum of the units' own largest power.
    exceedance : Exceedance or None
    typical_w : float64[n] or None, W
        The fleet whose peak is the median, where whole fleets are drawn.
    looked : sequence
        What was made of the first fleets that were drawn, see `simulate`.
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
    typical_w: NDArray[np.float64] | None = None
    looked: tuple[Any, ...] = ()


def simulate(
    load: Load,
    units: int,
    *,
    replicates: int = 200,
    unit: str = "job",
    checkpoint_s: float = 0.0,
    limit_w: float | None = None,
    seed: int = 1,
    peak_steps: int = 1,
    progress: Callable[[int], None] | None = None,
    look: Callable[[NDArray[np.float64]], Any] | None = None,
    most_looks: int = 0,
    drawing: DrawingPlace | None = None,
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
        The recording has to be at least this long, so that there is a checkpoint's dip in it.
    limit_w : float, optional
    seed : int
    peak_steps : int
        Peaks are of means over so many steps.
    progress : callable, optional
        Told how many fleets are drawn.
    look : callable, optional
        Shown the power of the first ``most_looks`` fleets, float64[n], W: what it returns is in ``looked``.
    drawing : DrawingPlace, optional
        Where fleets are drawn; they are the same wherever that is. By default on the CPU.

    Raises
    ------
    InputError
        For ``gpu`` as the unit, with the reason; if the recording is too short.
    """
    check_unit(unit)
    traces = _units(load)
    n = traces.shape[1]
    span_s = n * load.step_s
    if n < LEAST_READINGS:
        raise InputError(f"{n} readings in a row are too few for a fleet: it takes {LEAST_READINGS}; record longer")
    if span_s < checkpoint_s:
        raise InputError(
            f"{span_s:g} s without a hole hold no period of checkpoints of {checkpoint_s:g} s; "
            "record longer, or give a shorter --checkpoint"
        )
    drawing = drawing or _on_the_cpu()
    fleets = Fleets(traces, units, seed, drawing.sums)
    several, done = [], 0
    for some in drawing.fleets(FleetOrder(fleets, peak_steps, look, most_looks), replicates):
        several.append(some)
        done += some.peaks_w.size
        if progress is not None:
            progress(done)
    drawn = join(several)
    peaks, means = drawn.peaks_w, drawn.means_w
    alone = float(np.mean([over(trace, peak_steps).max() for trace in traces])) * units
    return Ensemble(
        units,
        unit,
        span_s,
        span_s,
        float(means.mean()),
        math.sqrt(float(drawn.variances.mean() + means.var())),
        peaks,
        float(np.median(peaks)) / alone if alone > 0.0 else 1.0,
        None if limit_w is None else exceedance(peaks, limit_w),
        fleets.draw(int(np.argsort(peaks)[(replicates - 1) // 2])),
        drawn.looked,
    )


def resample(
    load: Load,
    *,
    replicates: int = 200,
    unit: str = "job",
    limit_w: float | None = None,
    seed: int = 1,
    drawing: DrawingPlace | None = None,
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
    check_unit(unit)
    traces = _units(load)
    units, n = traces.shape
    if units < 2:
        raise InputError(f"one {unit} cannot be resampled; record more of them, or give --scale")
    totals = np.rint(traces * 1e3).astype(np.int64)
    columns = max(1, MOST_CELLS // replicates)
    stretches = [totals[:, start : start + columns] for start in range(0, n, columns)]
    peaks = np.zeros(replicates)
    first, second = 0.0, 0.0
    for i, some in enumerate((drawing or _on_the_cpu()).resampled(stretches, replicates, seed)):
        np.maximum(peaks, some.peaks_w, out=peaks)
        first += some.total_w
        second += some.squares_w2
        if progress is not None:
            progress((i + 1) / len(stretches))
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


def _on_the_cpu() -> DrawingPlace:
    from wattshed.agent.fleet.demand.drawing import Drawing  # noqa: PLC0415  (kernels, only where fleets are drawn)

    return Drawing("cpu")


def exceedance(peaks_w: NDArray[np.float64], limit_w: float) -> Exceedance:
    """Share of the replicates whose peak lies above a limit, with Wilson's interval (E. B. Wilson 1927)."""
    n, z = peaks_w.size, quantile(0.95, math.inf)
    p = float(np.mean(peaks_w > limit_w))
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Exceedance(
        limit_w, p, max(centre - half, 0.0) if p > 0.0 else 0.0, min(centre + half, 1.0) if p < 1.0 else 1.0
    )


def _units(load: Load) -> NDArray[np.float64]:
    """Traces of the units that are drawn: float64[units, n], the stretch that all of them have without a hole."""
    table = np.array(list(load.units.values())) if load.units else load.steps_w[None, :]
    unknown = np.isnan(table).any(axis=0) | np.isnan(load.steps_w)
    first, last = longest_stretch(unknown)
    if first == last:
        raise InputError("no stretch of the recording is without a hole")
    return np.ascontiguousarray(table[:, first:last])
