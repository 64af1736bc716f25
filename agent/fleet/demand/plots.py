"""Pictures of a load: over time, its duration curve, its spectrum, and the transformer's hot spot. Needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.printing.pictures import COLOURS, INK, STYLE, clock_axis, days, save, scale_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.fleet.demand.findings import Findings

MOST_POINTS = 4000
_HEADROOM = 1.05
_UNIX_S = 1e8
"""A load that begins before this counts its time from its own beginning."""


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
    from matplotlib import rc_context  # noqa: PLC0415  (an extra)
    from matplotlib.figure import Figure  # noqa: PLC0415  (an extra)

    with_transformer = found.shown.ageing is not None
    with rc_context(STYLE):
        figure = Figure(figsize=(9.0, 10.5 if with_transformer else 8.0), layout="constrained")
        axes: list[Any] = list(figure.subplots(4 if with_transformer else 3, 1))
        scale, unit = scale_of(found.figures.demand.max_w)
        _over_time(axes[0], found, scale, unit)
        known = np.sort(found.load.steps_w[~np.isnan(found.load.steps_w)])[::-1]
        at = np.unique(np.linspace(0, known.size - 1, MOST_POINTS).astype(np.int64))
        axes[1].plot(100.0 * (at + 0.5) / known.size, known[at] / scale, color=COLOURS[0])
        axes[1].set(
            xlabel="% of the time at or above",
            ylabel=unit,
            title="Load duration",
            ylim=(0, _HEADROOM * found.shown.demand.max_w / scale or None),
        )
        _spectrum(axes[2], found, scale, unit)
        if found.shown.ageing is not None:
            _hot_spot(axes[3], found, found.shown.ageing.hot_spot_c)
        save(figure, path)


def _along(axis: Any, found: Findings, position: NDArray[np.float64], span_s: float) -> NDArray[np.float64]:
    """Return places along an axis of time, which is the clock's where it is known, and label it."""
    begin_s = found.load.start_us / 1e6
    if begin_s >= _UNIX_S:
        clock_axis(axis, begin_s, begin_s + span_s)
        return np.asarray(days(begin_s + position * span_s))
    per, name = (3600.0, "hours") if span_s > 2 * 3600.0 else (60.0, "minutes") if span_s > 300.0 else (1.0, "seconds")
    axis.set_xlabel(name)
    return position * span_s / per


def _hot_spot(axis: Any, found: Findings, hot_spot_c: NDArray[np.float64]) -> None:
    position, low, high = thinned(hot_spot_c)
    places = _along(axis, found, position, hot_spot_c.size * found.shown.demand.step_s)
    axis.fill_between(places, low, high, color=COLOURS[4], linewidth=0.8, edgecolor=COLOURS[4])
    axis.axhline(110.0, color=INK, linestyle=":", label="110 °C, normal ageing")
    axis.set(ylabel="hot spot, °C", title="Transformer")
    axis.legend()


def _over_time(axis: Any, found: Findings, scale: float, unit: str) -> None:
    position, low, high = thinned(found.load.steps_w)
    places = _along(axis, found, position, found.figures.demand.span_s)
    axis.fill_between(places, low / scale, high / scale, color=COLOURS[0], linewidth=0.8, edgecolor=COLOURS[0])
    of = "" if found.high is None else f" of {found.of}, that with the median peak"
    axis.set(
        ylabel=unit,
        title=f"Power{of}, mean of {found.load.step_s:g} s steps",
        ylim=(0, _HEADROOM * found.shown.demand.max_w / scale or None),
    )


def _spectrum(axis: Any, found: Findings, scale: float, unit: str) -> None:
    s = found.shown.spectrum
    shown = (s.frequency_hz > 0.0) & (s.frequency_hz <= s.observable_up_to_hz)
    if (s.density[shown] > 0.0).any():
        axis.loglog(s.frequency_hz[shown], np.sqrt(s.density[shown]) / scale, color=COLOURS[2])
        for line in found.lines if found.high is None else ():
            axis.axvline(line.hz, color=INK, linestyle=":", linewidth=0.8)
            axis.annotate(
                f"{line.hz:.4g} Hz",
                (line.hz, 1.0),
                (-2, -2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=8,
                rotation=90,
                ha="right",
                va="top",
            )
    axis.set(xlabel="Hz", ylabel=f"{unit} per root Hz", title=f"Swings, observable up to {s.observable_up_to_hz:g} Hz")
