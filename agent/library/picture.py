"""A plot that a notebook shows by itself. Needs matplotlib."""

from __future__ import annotations

import io
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.printing.pictures import STYLE, check_target, save
from wattshed.agent.replay.picture import draw

if TYPE_CHECKING:
    from datetime import tzinfo

    from matplotlib.figure import Figure

    from wattshed.agent.library.paths import Path
    from wattshed.agent.replay.power import PowerOverTime

_DPI = 110


class Picture:
    """A plot.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        To be changed as you like; ``figure.axes[0]`` has the power.
    """

    def __init__(self, figure: Figure, title: str = "") -> None:
        self.figure = figure
        self._title = title

    def __repr__(self) -> str:
        return f"<wattshed.Picture: {self._title}>"

    @classmethod
    def of_power(cls, power: PowerOverTime, title: str, zone: tzinfo) -> Picture:
        """Draw power over time by job, with clock time of a zone below.

        Raises
        ------
        InputError
            If matplotlib is not installed.
        """
        if find_spec("matplotlib") is None:
            raise InputError("a plot needs matplotlib: pip install 'wattshed[plot]'")
        return cls(draw(power, source=title, zone=zone), title)

    def save(self, path: Path) -> None:
        """Write it to a file, PNG or SVG by its ending.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        check_target(os.fspath(path))
        save(self.figure, os.fspath(path))

    def _repr_png_(self) -> bytes:
        """Show it in a notebook."""
        from matplotlib import rc_context  # noqa: PLC0415 - an extra

        out = io.BytesIO()
        with rc_context(STYLE):
            self.figure.savefig(out, format="png", dpi=_DPI)
        return out.getvalue()
