"""The picture of a benchmark: shares of memory bandwidth, and leads over the rivals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

INK = "#7a8594"
"""Text and axes: readable on white and on black alike, for the ground is left out."""
STYLE = {
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "svg.hashsalt": "wattshed", "svg.fonttype": "none", "font.size": 9,
}  # fmt: skip
"""Of all our pictures; the same document gives the same file."""
_COLOURS = {"numpy": "#2f81d6", "polars": "#d9822b", "duckdb": "#1a9e77", "decode": "#b86fc0", "reading": "#b86fc0"}


def plot(document: dict[str, Any], path: Path) -> None:
    """Draw ``document`` of ``wattshed bench`` to ``path``, in the format that its ending names.

    Parameters
    ----------
    document : dict
    path : Path
    """
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 - an extra

    contests = document["contests"]
    with mpl.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.5))
        _shares(left, [each for each in contests if "share_of_bandwidth" in each])
        _leads(right, [each for each in contests if each["rivals"]])
        about = document["machine"]
        figure.suptitle(f"{about['processor']}, {about['threads']} threads; {document['samples']:,} samples")
        figure.tight_layout()
        figure.savefig(path, transparent=True, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)


def _shares(axes: Any, contests: list[dict[str, Any]]) -> None:
    names = [each["kernel"] for each in contests]
    shares = [100 * each["share_of_bandwidth"] for each in contests]
    axes.barh(names, shares, color="#1a9e77")
    axes.axvline(100, color=INK, linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("% of the bandwidth probe beside it")
    axes.set_title("Share of memory bandwidth", color=INK)


def _leads(axes: Any, contests: list[dict[str, Any]]) -> None:
    names, at = [], 0
    for each in contests:
        for rival, result in each["rivals"].items():
            axes.barh(at, result["times_quicker"], color=_COLOURS.get(rival, "#c44e52"))
            names.append(f"{each['kernel']} / {rival}")
            at += 1
    axes.set_yticks(range(at), names, fontsize=7)
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("times as fast")
    axes.set_title("Lead over others on the same samples", color=INK)
