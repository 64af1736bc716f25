"""What all pictures share: colours that anybody can tell apart, clock time below, and files that are written alike."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from datetime import tzinfo

FORMATS = (".png", ".svg")
INK, FAINT = "#2b3440", "#d5dae1"
"""Text and axes, and lines across, on white."""
COLOURS = ("#332288", "#88ccee", "#117733", "#ddcc77", "#cc6677", "#44aa99", "#aa4499", "#999933", "#882255", "#6699cc")
"""In the order in which they are used; neighbours differ in lightness too. After Paul Tol's muted scheme."""
OTHERS, IDLE, UNKNOWN_OWNER = "#8a93a0", "#c9ced6", "#5d6670"
STYLE = {
    "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white",
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": FAINT, "grid.linewidth": 0.6,
    "axes.axisbelow": True, "axes.titlesize": 11, "axes.titlelocation": "left", "font.size": 9.5,
    "legend.frameon": False, "svg.hashsalt": "wattshed", "svg.fonttype": "none",
}  # fmt: skip
"""Of matplotlib; the same document gives the same file."""
_SCALES = ((1e9, "GW"), (1e6, "MW"), (1e3, "kW"))
_DAY_S = 86_400


def check_target(path: str) -> None:
    """Refuse a picture that could not be drawn, before any work is done.

    Raises
    ------
    InputError
        For a name that ends otherwise, a folder that is not there, or if matplotlib is absent.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError("a plot's name must end in .png or .svg", path)
    if not Path(path).resolve().parent.is_dir():
        raise InputError("the plot's folder does not exist", path)
    if find_spec("matplotlib") is None:
        raise InputError("--plot needs matplotlib: pip install 'wattshed[plot]'")


def save(figure: Any, path: str) -> None:
    """Write a figure in our style; the same one gives the same file.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - an extra

    try:
        with rc_context(STYLE):
            figure.savefig(path, dpi=140, metadata={"Date": None} if Path(path).suffix.lower() == ".svg" else None)
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", path) from None


def scale_of(most_w: float) -> tuple[float, str]:
    """Choose the unit of an axis of power: what a value is divided by, and its name."""
    return next(((scale, unit) for scale, unit in _SCALES if most_w >= scale), (1.0, "W"))


def days(seconds: Any) -> Any:
    """Turn Unix seconds into what an axis of clock time counts."""
    return seconds / _DAY_S


def clock_axis(axis: Any, begin_s: float, end_s: float, zone: tzinfo = UTC) -> None:
    """Let an axis below a plot show clock time, in round steps.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Its values along are those of `days`.
    begin_s, end_s : float, s
        Unix time.
    zone : tzinfo
        It is named below; where its clock is changed meanwhile, both its names are.
    """
    from matplotlib.dates import MINUTELY, SECONDLY, AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - an extra

    locator = AutoDateLocator(minticks=4, maxticks=9, tz=zone)
    locator.intervald |= {kind: [1, 2, 5, 10, 15, 30] for kind in (MINUTELY, SECONDLY)}
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(
        ConciseDateFormatter(
            locator,
            tz=zone,
            formats=["%Y", "%b", "%d", "%H:%M", "%H:%M", "%H:%M:%S"],
            zero_formats=["", "%Y", "%b %d", "%b %d", "%H:%M", "%H:%M:%S"],
            offset_formats=["", "%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d"],
        )
    )
    axis.set_xlim(days(begin_s), days(end_s))
    names = dict.fromkeys(datetime.fromtimestamp(at, zone).tzname() or "" for at in (begin_s, end_s))
    key = getattr(zone, "key", "")
    told = ", then ".join(names) if not key or key in names else f"{key}, {', then '.join(names)}"
    axis.set_xlabel(f"clock time ({told})")
