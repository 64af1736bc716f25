"""The picture of a benchmark: shares of memory bandwidth, speed beside others, and what the letters mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattshed.agent.printing.pictures import COLOURS, INK, OTHERS, STYLE, save

if TYPE_CHECKING:
    from pathlib import Path

_MEANINGS = {
    "a": "energy of each GPU; a sample is read as 8 bytes (the format of a recording) or as 12 (time and power)",
    "b": "energy of each job, from the same samples and a table of jobs",
    "c": "minimum, maximum, mean and energy in windows of fixed length",
    "d": "exact quantiles of power, over time",
    "e": "bootstrap of a fleet's jobs: 100 replicates of a day by the minute",
    "f": "energy straight from a file; 'decode' only decodes the Parquet file",
    "g": "replay of a recording; 'reading' only reads its bytes",
    "h": "whole processes, from start to end",
}
"""Of the letter that a contest's name begins with."""
_RIVALS = {"numpy": 2, "polars": 3, "duckdb": 4, "decode": 5, "reading": 6}
"""Places in `COLOURS`: a rival keeps its colour, whichever others there are."""
_ROW = 0.21
"""Inches of a bar and its label."""


def plot(document: dict[str, Any], path: Path) -> None:
    """Draw ``document`` of ``wattshed bench`` to ``path``, in the format that its ending names.

    Parameters
    ----------
    document : dict
    path : Path
    """
    from matplotlib import rc_context  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    shares = [each for each in document["contests"] if "share_of_bandwidth" in each]
    led = [each for each in document["contests"] if each["rivals"]]
    letters = _letters(document["contests"])
    rows = max(len(shares), sum(len(each["rivals"]) for each in led) + 0.5 * len(led))
    height, key = _ROW * rows + 1.6, 0.2 * len(letters) + 0.2
    with rc_context(STYLE):
        figure = Figure(figsize=(11.5, height + key), layout="constrained")
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(height, key))[:, 0]
        left, right = above.subplots(1, 2)
        _shares(left, shares)
        _leads(right, led)
        about = document["machine"]
        above.suptitle(f"{about['processor']}, {about['threads']} threads; {document['samples']:,} samples")
        for x, column in ((0.02, letters), (0.04, [_MEANINGS[letter] for letter in letters])):
            below.text(x, 0.98, "\n".join(column), va="top", linespacing=1.45)
        save(figure, str(path))


def _letters(contests: list[dict[str, Any]]) -> list[str]:
    """Return the letters that there is something to say about, in order."""
    found = dict.fromkeys(each["kernel"].partition(" ")[0] for each in contests)
    return [letter for letter in found if letter in _MEANINGS]


def _shares(axes: Any, contests: list[dict[str, Any]]) -> None:
    shares = [100 * each["share_of_bandwidth"] for each in contests]
    bars = axes.barh([each["kernel"] for each in contests], shares, color=COLOURS[5], height=0.7)
    axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=8)
    axes.axvline(100, color=INK, linewidth=0.9)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(y=0.02)
    axes.set_xlim(0, max([*shares, 100.0]) * 1.12)
    axes.set_xlabel("% of the bandwidth probe")
    axes.set_title("Share of memory bandwidth")


def _leads(axes: Any, contests: list[dict[str, Any]]) -> None:
    """Draw a group of bars for each kernel, one bar for each rival; they grow from 1, which is equal."""
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter  # noqa: PLC0415 - an extra

    at, places, all_times = 0.0, [], []
    legend: dict[str, Any] = {}
    for each in contests:
        first = at
        for rival, result in each["rivals"].items():
            times = result["times_quicker"]
            colour = COLOURS[_RIVALS[rival]] if rival in _RIVALS else OTHERS
            bar = axes.barh(at, times - 1, left=1, color=colour, height=0.85)
            legend.setdefault(rival, bar)
            axes.annotate(
                f"{times:.2g}" if times < 10 else f"{times:.0f}", (max(times, 1), at), xytext=(3, 0),
                textcoords="offset points", va="center", fontsize=8,
            )  # fmt: skip
            all_times.append(times)
            at += 1
        places.append((first + at - 1) / 2)
        at += 0.5
    axes.set_xscale("log")
    low, high = min([*all_times, 0.8]) * 0.85, max([*all_times, 2.0]) * 1.6
    round_times = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    axes.xaxis.set_major_locator(FixedLocator([times for times in round_times if low <= times <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlim(low, high)
    axes.axvline(1, color=INK, linewidth=0.9)
    axes.set_yticks(places, [each["kernel"] for each in contests])
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("times as fast; below 1, the other was faster")
    axes.set_title("Speed beside others on the same samples")
    if legend:
        axes.legend(list(legend.values()), list(legend), loc="best")
