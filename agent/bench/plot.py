"""The picture of a benchmark: shares of memory bandwidth, leads over the rivals, and growth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_COLOURS = {"numpy": "#4c72b0", "polars": "#dd8452", "duckdb": "#8c8c8c", "direct": "#55a868", "decode": "#937860"}


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

    grown = document.get("scaling", {})
    figure, grid = plt.subplots(2 if grown else 1, 2, figsize=(12, 9 if grown else 4.5), squeeze=False)
    contests = document["contests"]
    _shares(grid[0][0], [each for each in contests if "share_of_bandwidth" in each])
    _leads(grid[0][1], [each for each in contests if each["rivals"]])
    if grown:
        _samples(grid[1][0], grown["samples"])
        _edges(grid[1][1], grown["edges"])
    about = document["machine"]
    figure.suptitle(f"{about['processor']}, {about['threads']} threads; {document['samples']:,} samples")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _shares(axes: Any, contests: list[dict[str, Any]]) -> None:
    names = [each["kernel"] for each in contests]
    shares = [100 * each["share_of_bandwidth"] for each in contests]
    axes.barh(names, shares, color="#55a868")
    axes.axvline(100, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("% of the bandwidth probe beside it")
    axes.set_title("Share of memory bandwidth")


def _leads(axes: Any, contests: list[dict[str, Any]]) -> None:
    names, at = [], 0
    for each in contests:
        for rival, result in each["rivals"].items():
            axes.barh(at, result["times_quicker"], color=_COLOURS.get(rival, "#c44e52"))
            names.append(f"{each['kernel']} / {rival}")
            at += 1
    axes.set_yticks(range(at), names, fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("times as fast")
    axes.set_title("Lead over others on the same samples")


def _samples(axes: Any, points: list[dict[str, float]]) -> None:
    x = [point["samples"] for point in points]
    axes.loglog(x, [point["seconds"] for point in points], "o-", color="#4c72b0", label="seconds")
    axes.set_xlabel("samples, streamed in blocks")
    axes.set_ylabel("seconds")
    memory = axes.twinx()
    memory.plot(x, [point["rss_mib"] for point in points], "s--", color="#c44e52", label="MiB")
    memory.set_ylim(0, 1.5 * max(point["rss_mib"] for point in points))
    memory.set_ylabel("resident memory, MiB")
    axes.set_title("Time grows with the samples, memory does not")


def _edges(axes: Any, points: list[dict[str, float]]) -> None:
    axes.loglog([point["edges"] for point in points], [point["seconds"] for point in points], "o-", color="#4c72b0")
    axes.set_xlabel("starts and ends of jobs on 8,000,000 samples")
    axes.set_ylabel("seconds")
    axes.set_title("Energy per job")
