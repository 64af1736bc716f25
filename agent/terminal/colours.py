"""Colours by role, on dark and on light, or none; and which of them the terminal wants."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import time
import tty
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.style import Style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.terminal.drawing import TextLine

PATIENCE_S = 0.3
"""A terminal that answers does so at once; over a slow line it may be taken for a dark one."""


@dataclass(frozen=True, slots=True)
class Palette:
    """Styles by role of pieces and of whole lines; every pair that is drawn has a contrast of 4.5 (WCAG 2) at least.

    Attributes
    ----------
    background, foreground : str
        Empty: the terminal's own.
    styles : mapping of str to Style
    chosen : Style
        Laid over the row that is chosen.
    """

    background: str
    foreground: str
    styles: Mapping[str, Style]
    chosen: Style

    @property
    def base(self) -> Style:
        """Style of plain text."""
        return Style(color=self.foreground or None, bgcolor=self.background or None)

    def of(self, line: TextLine, role: str, *, chosen: bool = False, old: bool = False) -> Style:
        """Return the style of a piece in a line; what is old is dim throughout."""
        style = self.base + self.styles.get(line.role, Style.null())
        if old and line.role not in {"alert", "title"}:
            style += self.styles["old"]
        elif role:
            style += self.styles.get(role, Style.null())
        return style + self.chosen if chosen else style


def _palette(background: str, foreground: str, chosen: str, **colours: str) -> Palette:
    parsed = {role: Style.parse(text) for role, text in colours.items()}
    return Palette(background, foreground, {**parsed, "bold": Style(bold=True)}, Style.parse(chosen))


DARK = _palette(
    "#11161d", "#d8dee6", "on #2c3a4d", dim="#97a5b4", old="#97a5b4", head="bold #cfe3ff on #22364f",
    title="#d8dee6 on #1a212b", alert="bold #ffffff on #a4262c", simulated="bold #1a1300 on #e3b341", good="#5fd38d",
    warn="#e3b341", hot="bold #ff8a80", power="#58c7d8", bar="#4fbf82 on #26303c",
    track="on #26303c", total="bold #ffffff", job="#8fbcff",
    key="#c9b1ff",
)  # fmt: skip
LIGHT = _palette(
    "#ffffff", "#1f2429", "on #d3e3f7", dim="#5b6570", old="#5b6570", head="bold #10325c on #dbe7f5",
    title="#1f2429 on #eef1f4", alert="bold #ffffff on #b3261e", simulated="bold #2b1d00 on #f0c14b", good="#15703a",
    warn="#8a5a00", hot="bold #b3261e", power="#0b6b7d", bar="#15703a on #e4e8ec",
    track="on #e4e8ec", total="bold #000000", job="#0b4fa3",
    key="#6236b0",
)  # fmt: skip
NO_COLOUR = _palette(
    "", "", "reverse", dim="dim", old="dim", head="bold reverse", title="", alert="bold reverse",
    simulated="bold reverse", warn="bold", hot="bold", total="bold", good="", power="", bar="",
    track="dim underline", job="", key="",
)  # fmt: skip


def is_light(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the terminal's background is light: as it says when asked, else as ``COLORFGBG`` says."""
    answer = _asked() if sys.stdin.isatty() and sys.stdout.isatty() else ""
    found = re.search(
        r"\x1b\]11;rgb:([0-9a-fA-F]{2})[0-9a-fA-F]*/([0-9a-fA-F]{2})[0-9a-fA-F]*/([0-9a-fA-F]{2})", answer
    )
    if found:
        red, green, blue = (int(part, 16) for part in found.groups())
        return 0.299 * red + 0.587 * green + 0.114 * blue > 127
    return environ.get("COLORFGBG", "").rpartition(";")[2] in {"7", "15"}


def _asked() -> str:
    """Ask the terminal for its background (OSC 11), and then who it is, which every terminal answers."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    answer = ""
    try:
        tty.setcbreak(descriptor)
        sys.stdout.write("\x1b]11;?\x1b\\\x1b[c")
        sys.stdout.flush()
        until = time.monotonic() + PATIENCE_S
        while not re.search(r"\x1b\[\?[\d;]*c", answer):
            if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
                break
            answer += os.read(descriptor, 1024).decode(errors="replace")
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
    return answer
