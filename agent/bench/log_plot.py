"""The picture of ``wattshed bench files``: how fast each kind is read, and how fast beside other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattshed.agent.printing.pictures import COLOURS, INK, STYLE, save

if TYPE_CHECKING:
    from pathlib import Path

_RIVALS = {"polars": 3, "duckdb": 4, "pyarrow decode": 5}
"""Places in `COLOURS`: the same as in the picture of kernels."""
_ROW = 0.27
"""Inches of a bar and its label."""


def plot(document: dict[str, Any], path: Path) -> None:
    """Draw a document of ``wattshed bench files``.

    Parameters
    ----------
    document : dict
    path : Path
        Its ending says the format.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    kinds = document["kinds"]
    led = [one for one in kinds if one["rivals"]]
    bars = max(len(kinds), sum(len(one["rivals"]) + 0.6 for one in led))
    with rc_context(STYLE):
        figure = Figure(figsize=(11.5, _ROW * bars + 1.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _speeds(left, kinds)
        _beside(right, led)
        about = document["machine"]
        figure.suptitle(f"{about['processor']}, {about['cores']} cores; medians of {document['rounds']} rounds")
        save(figure, str(path))


def _speeds(axes: Any, kinds: list[dict[str, Any]]) -> None:
    millions = [one["rows"] / one["reading_s"] / 1e6 for one in kinds]
    bars = axes.barh([one["kind"] for one in kinds], millions, color=COLOURS[5], height=0.7)
    labels = [
        f"{rate:.3g} M rows/s, {one['reading_mb_per_s']:,.0f} MB/s" for rate, one in zip(millions, kinds, strict=True)
    ]
    axes.bar_label(bars, labels, padding=3, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(min(millions) / 2, max(millions) * 12)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("million readings a second, without the start")
    axes.set_title("Speed of reading")


def _beside(axes: Any, kinds: list[dict[str, Any]]) -> None:
    """Draw a group of bars for each kind, one bar for each other tool; they grow from 1, which is equal."""
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter  # noqa: PLC0415 - an extra

    at, places, all_times = 0.0, [], [0.8, 1.5]
    legend: dict[str, Any] = {}
    for one in kinds:
        first = at
        for name, rival in one["rivals"].items():
            times = rival["times_quicker"]
            bar = axes.barh(at, times - 1, left=1, color=COLOURS[_RIVALS[name]], height=0.85)
            legend.setdefault(name, bar)
            axes.annotate(
                f"{times:.2f}", (max(times, 1), at), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8
            )
            all_times.append(times)
            at += 1
        places.append((first + at - 1) / 2)
        at += 0.6
    low, high = min(all_times) * 0.85, max(all_times) * 1.4
    axes.set_xscale("log")
    marks = [mark for mark in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50) if low <= mark <= high]
    axes.xaxis.set_major_locator(FixedLocator(marks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlim(low, high)
    axes.axvline(1, color=INK, linewidth=0.9)
    axes.set_yticks(places, [one["kind"] for one in kinds])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("times as fast, whole processes; below 1, the other was faster")
    axes.set_title("Beside other tools, on the same files")
    if legend:
        axes.legend(list(legend.values()), list(legend), loc="best")
