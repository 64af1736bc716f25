"""Lines of text with roles in place of colours, and what can be drawn with characters: bars and charts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len, set_cell_size

from wattshed.agent.printing.figures import part_of

if TYPE_CHECKING:
    from collections.abc import Sequence

EIGHTHS = " ▏▎▍▌▋▊▉█"
ELLIPSIS = "…"


class TextPiece(NamedTuple):
    """Text of one role: "" (plain), "dim", "bold", "good", "warn", "hot", "power", "job", "key", "bar" or "track"."""

    text: str
    role: str = ""


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line: pieces, and the role of the whole line: "" or "head", "title", "alert", "simulated"."""

    pieces: tuple[TextPiece, ...] = ()
    role: str = ""

    @property
    def text(self) -> str:
        """What is read of it."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def width(self) -> int:
        """Cells that it takes."""
        return cell_len(self.text)


class MarkedCells(NamedTuple):
    """A line of which the cells from ``start`` to before ``end`` are marked; None: all of them."""

    line: int
    start: int = 0
    end: int | None = None


def shorten(text: str, width: int, *, middle: bool = False) -> str:
    """Fit text into ``width`` cells, with an ellipsis at its end or in its middle."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return ELLIPSIS[:width]
    if not middle:
        return set_cell_size(text, width - 1).rstrip() + ELLIPSIS
    tail = (width - 1) // 2
    end = text[len(text) - tail :] if tail else ""
    while cell_len(end) > tail:
        end = end[1:]
    return set_cell_size(text, width - 1 - cell_len(end)).rstrip() + ELLIPSIS + end


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill text up to ``width`` cells."""
    space = " " * max(0, width - cell_len(text))
    return space + text if right else text + space


def bar(share: float | None, width: int, role: str = "bar") -> tuple[TextPiece, ...]:
    """Draw a share of 1; of one that is not known, an empty line of dots."""
    if share is None:
        return (TextPiece("·" * width, "dim"),)
    eighths = round(8 * width * min(max(share, 0.0), 1.0))
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + (EIGHTHS[rest] if rest else "")
    return (TextPiece(drawn, role or "bar"), TextPiece(" " * (width - len(drawn)), "track"))


def chart(cells: Sequence[float | None], height: int, top: float) -> list[str]:
    """Draw values as columns of blocks, ``height`` lines high; the first line is the upper one."""
    steps = [None if value is None else max(1, round(8 * height * part_of(value, top))) for value in cells]
    lines = []
    for row in range(height - 1, -1, -1):
        filled = (" " if step is None else " ▁▂▃▄▅▆▇█"[min(max(step - 8 * row, 0), 8)] for step in steps)
        lines.append("".join(filled))
    return lines
