"""The picture of growth: seconds above, memory below, against what grows, with the slope beside each line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from wattshed.agent.bench.plot import INK, STYLE

if TYPE_CHECKING:
    from pathlib import Path

_COLOURS = ("#2f81d6", "#d9822b", "#1a9e77", "#b86fc0")
_ROWS = (("seconds", "seconds"), ("peak_mib", "peak memory, MiB"))


def plot(document: dict[str, Any], path: Path) -> None:
    """Draw a document of ``wattshed bench growth``.

    Parameters
    ----------
    document : dict
    path : Path
        Its ending says the format.
    """
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 - an extra

    axes = list(dict.fromkeys(one["axis"] for one in document["series"]))
    with mpl.rc_context(STYLE):
        figure, grid = plt.subplots(2, len(axes), figsize=(3.6 * len(axes), 6.4), squeeze=False, sharex="col")
        for column, axis in enumerate(axes):
            mine = [one for one in document["series"] if one["axis"] == axis]
            for row, (name, label) in enumerate(_ROWS):
                _panel(grid[row][column], mine, name)
                if not column:
                    grid[row][column].set_ylabel(label)
            grid[1][column].set_xlabel(axis)
        figure.tight_layout()
        figure.savefig(path, transparent=True, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)


def _panel(axes: Any, series: list[dict[str, Any]], name: str) -> None:
    from matplotlib.ticker import NullFormatter  # noqa: PLC0415 - an extra

    for colour, one in zip(_COLOURS, series, strict=False):
        slope = f", slope {one['slope'][name]:z.2f}" if one["slope"] else ""
        values = [point[name] for point in one["points"]]
        axes.loglog([point["size"] for point in one["points"]], values, "o-", color=colour, markersize=4, linewidth=1.5,
                    label=f"{one['name']}{slope}")  # fmt: skip
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    # Whole decades, so that what does not grow looks flat; and room for the legend above the lines.
    axes.set_ylim(10 ** math.floor(low), 10 ** max(high + 0.4 * (high - math.floor(low)), math.floor(low) + 2))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, color=INK, alpha=0.2, linewidth=0.6)
    axes.legend(loc="upper left", frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
