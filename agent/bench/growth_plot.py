"""The picture of growth: seconds above, memory below, against what grows, with the slope beside each line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from wattshed.agent.printing.pictures import COLOURS, STYLE, save

if TYPE_CHECKING:
    from pathlib import Path

_COLOURS = (COLOURS[0], COLOURS[4], COLOURS[2], COLOURS[9])
_MARKERS = "os^D"
_ROWS = (("seconds", "seconds"), ("peak_mib", "peak memory, MiB"))
_SCALES = ((1e9, " G"), (1e6, " M"), (1e3, " k"))


def plot(document: dict[str, Any], path: Path) -> None:
    """Draw a document of ``wattshed bench growth``.

    Parameters
    ----------
    document : dict
    path : Path
        Its ending says the format.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    axes = list(dict.fromkeys(one["axis"] for one in document["series"]))
    with rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(axes), 6.6), layout="constrained")
        grid = figure.subplots(2, len(axes), squeeze=False, sharex="col")
        for column, axis in enumerate(axes):
            mine = [one for one in document["series"] if one["axis"] == axis]
            for row, (name, label) in enumerate(_ROWS):
                _panel(grid[row][column], mine, name)
                if not column:
                    grid[row][column].set_ylabel(label)
            grid[1][column].set_xlabel(f"number of {axis}")
        figure.supxlabel("slope 1: in proportion to the number; slope 0: does not grow", fontsize=9, x=0.01, ha="left")
        save(figure, str(path))


def _panel(axes: Any, series: list[dict[str, Any]], name: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415 - an extra

    for colour, marker, one in zip(_COLOURS, _MARKERS, series, strict=False):
        slope = f", slope {one['slope'][name]:z.2f}" if one["slope"] else ""
        values = [point[name] for point in one["points"]]
        axes.loglog(
            [point["size"] for point in one["points"]], values, f"{marker}-", color=colour, markersize=4,
            linewidth=1.5, label=f"{one['name']}{slope}",
        )  # fmt: skip
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    # Whole decades, so that what does not grow looks flat; and room for the legend above the lines.
    axes.set_ylim(10 ** math.floor(low), 10 ** max(high + 0.4 * (high - math.floor(low)), math.floor(low) + 2))
    for along in (axes.xaxis, axes.yaxis):
        along.set_major_locator(LogLocator(numticks=9))
        along.set_major_formatter(FuncFormatter(lambda value, _: brief(value)))
        along.set_minor_formatter(NullFormatter())
    axes.legend(loc="upper left", fontsize=8)


def brief(value: float) -> str:
    """Return a round number of an axis as people read it: 0.001, 10, 1 k, 100 k, 1 M."""
    scale, suffix = next(((scale, suffix) for scale, suffix in _SCALES if value >= scale), (1.0, ""))
    return f"{value / scale:.12f}".rstrip("0").rstrip(".") + suffix
