"""Pictures of a load: over time, its duration curve, its spectrum, and the transformer's hot spot. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.findings import Findings

FORMATS = (".png", ".svg")
MOST_POINTS = 4000


def check_target(path: str) -> None:
    """Refuse a file that could not be drawn, before any work is done.

    Raises
    ------
    InputError
        For a name that ends otherwise, a folder that is not there, or if matplotlib is absent.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise InputError("a plot's name must end in .png or .svg", path)
    if not target.resolve().parent.is_dir():
        raise InputError("the plot's folder does not exist", path)
    try:
        import matplotlib as mpl  # noqa: F401, PLC0415  (an extra)
    except ImportError:
        raise InputError("--plot needs matplotlib; install wattshed[plot]") from None


def thinned(power_w: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Position (0 to 1), least and largest of at most MOST_POINTS stretches, so that no peak is lost."""
    width = max(1, -(-power_w.size // MOST_POINTS))
    rows = np.full(-(-power_w.size // width) * width, np.nan)
    rows[: power_w.size] = power_w
    table = rows.reshape(-1, width)
    return np.arange(len(table)) * width / power_w.size, np.fmin.reduce(table, axis=1), np.fmax.reduce(table, axis=1)


def draw(found: Findings, path: str) -> None:
    """Write the picture.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    # A figure of its own, not pyplot's: nothing is kept, and no display is needed.
    from matplotlib.figure import Figure  # noqa: PLC0415  (an extra)

    with_transformer = found.ageing is not None
    figure = Figure(figsize=(9.0, 10.5 if with_transformer else 8.0), layout="constrained")
    axes: list[Any] = list(figure.subplots(4 if with_transformer else 3, 1))
    scale, unit = _scale(found.demand.max_w)
    _over_time(axes[0], found, scale, unit)
    known = np.sort(found.load.power_w[~np.isnan(found.load.power_w)])[::-1]
    at = np.unique(np.linspace(0, known.size - 1, MOST_POINTS).astype(np.int64))
    axes[1].plot(100.0 * (at + 0.5) / known.size, known[at] / scale, color="#1f6f8b")
    axes[1].set(xlabel="% of the time at or above", ylabel=unit, title="Load duration", ylim=(0, None))
    _spectrum(axes[2], found, scale, unit)
    if found.ageing is not None:
        position, low, high = thinned(found.ageing.hot_spot_c)
        span_s = found.ageing.hot_spot_c.size * found.load.step_s
        per, name = _time_unit(span_s)
        axes[3].fill_between(position * span_s / per, low, high, color="#b5523b", linewidth=0.8, edgecolor="#b5523b")
        axes[3].axhline(110.0, color="#444444", linestyle=":", label="110 C, normal ageing")
        axes[3].set(xlabel=name, ylabel="hot spot, C", title="Transformer")
        axes[3].legend(frameon=False)
    for axis in axes:
        axis.grid(alpha=0.3)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", path) from None


def _time_unit(span_s: float) -> tuple[float, str]:
    return (3600.0, "hours") if span_s > 2 * 3600.0 else (60.0, "minutes") if span_s > 300.0 else (1.0, "seconds")


def _scale(most_w: float) -> tuple[float, str]:
    return next(((s, u) for s, u in ((1e9, "GW"), (1e6, "MW"), (1e3, "kW")) if most_w >= s), (1.0, "W"))


def _over_time(axis: Any, found: Findings, scale: float, unit: str) -> None:
    position, low, high = thinned(found.load.power_w)
    per, name = _time_unit(found.demand.span_s)
    axis.fill_between(
        position * found.demand.span_s / per,
        low / scale,
        high / scale,
        color="#1f6f8b",
        linewidth=0.8,
        edgecolor="#1f6f8b",
    )
    axis.set(xlabel=name, ylabel=unit, title=f"Power, mean of {found.load.step_s:g} s steps", ylim=(0, None))


def _spectrum(axis: Any, found: Findings, scale: float, unit: str) -> None:
    s = found.spectrum
    shown = (s.frequency_hz > 0.0) & (s.frequency_hz <= s.observable_up_to_hz)
    if (s.density[shown] > 0.0).any():
        axis.loglog(s.frequency_hz[shown], np.sqrt(s.density[shown]) / scale, color="#5b7f3a")
    axis.set(xlabel="Hz", ylabel=f"{unit} per root Hz", title=f"Swings, observable up to {s.observable_up_to_hz:g} Hz")
