"""From GPUs to their node: P_node = a + b * sum of P_gpu, with its own error.

Proportional overhead is wrong: fans, CPUs, memory and conversion losses draw power at idle too (A100 nodes: about
890 W and 1.25 per GPU watt). The model is fitted where the node's own meter (BMC, RAPL) can be read beside its GPUs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.boundary.written import range_in
from wattshed.agent.fleet.estimate.student import quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.inputs.toml import Table

    Trace = tuple[NDArray[np.int64], NDArray[np.float64]]  # time_us, power_w

ASSUMED_FIXED_W = Range(890.0 / 8, 30.0, 190.0)
ASSUMED_SLOPE = Range(1.25, 1.05, 1.45)
"""Assumed per GPU where nothing was fitted: about 890 W and 1.25 for nodes of eight A100, with room for other kinds."""


@dataclass(frozen=True, slots=True)
class NodeModel:
    """Watts of a node from the watts of its GPUs: ``level_w + slope * (gpus - pivot_w)``.

    Level and slope are independent only about the pivot, the mean of the GPU power that the model was fitted on; an
    assumed model has its pivot at 0, and its level is the fixed power.

    Attributes
    ----------
    level_w, slope : Range
    pivot_w : float, W
    fitted : bool
    residual_w : float, W
        Standard deviation of what the line does not explain.
    samples : int
    gpu_share : float
        GPU energy over node energy while fitting; NaN unknown.
    """

    level_w: Range
    slope: Range
    pivot_w: float = 0.0
    fitted: bool = False
    residual_w: float = 0.0
    samples: int = 0
    gpu_share: float = math.nan

    @property
    def fixed_w(self) -> float:
        """Power of the node with GPUs that draw nothing, W."""
        return self.level_w.value - self.slope.value * self.pivot_w


def assumed(gpus_per_host: int) -> NodeModel:
    """Make the model of a node that nobody has measured."""
    a = ASSUMED_FIXED_W
    return NodeModel(Range(a.value * gpus_per_host, a.low * gpus_per_host, a.high * gpus_per_host), ASSUMED_SLOPE)


def read_node(table: Table, gpus: int) -> NodeModel:
    """Read ``{ level_w, slope, pivot_w }`` as ``wattshed fleet node`` prints it; what is absent is assumed.

    Raises
    ------
    InputError
        For a key that is unknown, or a number out of range; it names the line.
    """
    table.only(("level_w", "slope", "pivot_w", "fitted"))
    guess = assumed(gpus)
    return NodeModel(
        range_in(table, "level_w", guess.level_w),
        range_in(table, "slope", guess.slope),
        table.number("pivot_w", 0.0, low=0),
        fitted=table.flag("fitted", "level_w" in table and "slope" in table),
    )


def energy_until(trace: Trace, times_us: NDArray[np.int64]) -> NDArray[np.float64]:
    """Joules that a series of power readings has used by each of ``times_us``, by the trapezoid."""
    time_us, power = trace
    seconds = (time_us - time_us[0]) / 1e6
    joules = np.concatenate(([0.0], np.cumsum(0.5 * (power[1:] + power[:-1]) * np.diff(seconds))))
    return np.asarray(np.interp((times_us - time_us[0]) / 1e6, seconds, joules), np.float64)


def fit(gpus: list[Trace], node: Trace, *, average_s: float = 10.0) -> NodeModel:
    """Fit a node's meter to its GPUs by least squares.

    Parameters
    ----------
    gpus : list of (time_us int64[n], power_w float64[n])
        One series per GPU.
    node : (time_us int64[m], power_w float64[m])
        The node's meter.
    average_s : float, s
        Both are averaged over stretches of this length, since a BMC shows late and rarely what the GPUs do.

    Returns
    -------
    NodeModel
        With 95 % intervals. Residuals of successive stretches are alike, so the number of independent ones is
        reduced by (1 - r) / (1 + r) with their lag-one correlation r.

    Raises
    ------
    InputError
        If there are fewer than six common stretches, the GPUs' power hardly changes, or the node's not at all.
    """
    first = max(int(t[0]) for t, _ in [*gpus, node])
    last = min(int(t[-1]) for t, _ in [*gpus, node])
    edges = np.arange(first, last + 1, round(average_s * 1e6))
    if edges.size < 7:
        raise InputError(
            f"the node's meter and the GPUs have {max(last - first, 0) / 1e6:.0f} s in common, too few to fit; "
            f"record at least {6 * average_s:.0f} s together"
        )
    x = np.sum([np.diff(energy_until(g, edges)) for g in gpus], axis=0) / average_s
    model = _line(x, np.diff(energy_until(node, edges)) / average_s)
    ends = np.array([first, last])
    joules = sum(float(np.diff(energy_until(g, ends))[0]) for g in gpus)
    return replace(model, gpu_share=joules / float(np.diff(energy_until(node, ends))[0]))


PERIODS = 4
"""Periods of the node's meter that an average needs: below, power between its readings is not in its mean."""


def doubts(model: NodeModel, node: Trace, *, average_s: float) -> tuple[str, ...]:
    """Say what makes a fit doubtful beyond its intervals.

    Parameters
    ----------
    model : NodeModel
    node : (time_us int64[m], power_w float64[m])
        The node's meter.
    average_s : float, s
        What it was fitted with.
    """
    said = []
    period_s = float(np.median(np.diff(node[0]))) / 1e6
    if average_s < PERIODS * period_s * (1.0 - 1e-6):
        said.append(
            f"the node's meter is read every {period_s:g} s: averages of {average_s:g} s understate the slope by more "
            f"than its interval says where power changes fast; give --average {PERIODS * period_s:g} or more"
        )
    if model.gpu_share > 1.0 or model.slope.high < 1.0:
        said.append("a node draws at least what its GPUs draw: the meters are of different nodes, times or units")
    return tuple(said)


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> NodeModel:
    n, pivot = x.size, float(x.mean())
    spread = float(np.sum((x - pivot) ** 2))
    if spread < 1e-6 * n * pivot**2:
        raise InputError(
            "the GPUs' power hardly changes, so fixed and proportional power cannot be told apart; record idle and load"
        )
    if float(np.ptp(y)) <= 1e-9 * float(np.abs(y).max()):
        raise InputError("the node's meter does not change although its GPUs do: it is stuck, or of something else")
    slope = float((x - pivot) @ y) / spread
    residual = y - y.mean() - slope * (x - pivot)
    squares = float(residual @ residual)
    r = float(np.clip((residual[1:] @ residual[:-1]) / max(squares, 1e-12), 0.0, 0.9))
    independent = max(n * (1.0 - r) / (1.0 + r), 3.0)
    sd = math.sqrt(squares / (n - 2))
    half = quantile(0.95, max(independent - 2.0, 1.0)) * sd * math.sqrt(n / independent)
    level, level_half, slope_half = float(y.mean()), half / math.sqrt(n), half / math.sqrt(spread)
    return NodeModel(
        Range(level, level - level_half, level + level_half),
        Range(slope, slope - slope_half, slope + slope_half),
        pivot,
        fitted=True,
        residual_w=sd,
        samples=n,
    )
