"""Tables that fit a width: whole columns are left out by their rank, text is shortened, and no number is ever cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells

from wattshed.agent.terminal.drawing import TextLine, TextPiece, pad, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable

Graph = Callable[[int], "Sequence[TextPiece]"]
"""Draws something of any width."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a row has in a column: text, or a graph that is drawn when it is seen."""

    content: str | Graph
    role: str = ""


@dataclass(frozen=True, slots=True)
class TopColumn:
    """A column.

    Attributes
    ----------
    title : str
    rank : int
        Columns of the smallest ranks stay where there is little room.
    kind : str
        "number": as wide as its widest cell, never cut; "text": shortened at its end; "id": in its middle; "graph":
        drawn at any width from ``least`` to ``most``.
    least, most : int
        Cells. A number takes ``least`` even where it is shorter, so that its column does not move.
    key : str
        What sorts by it; empty: nothing does.
    """

    title: str
    rank: int
    kind: str = "number"
    least: int = 0
    most: int = 40
    key: str = ""
    left: bool = False


@dataclass(frozen=True, slots=True)
class PlacedColumn:
    """A column with its place in the line."""

    number: int
    column: TopColumn
    start: int
    width: int


class FittedTable:
    """Rows of cells laid out in a width.

    Parameters
    ----------
    columns : sequence of TopColumn
    rows : sequence of sequence of Cell
    width : int or None
        Cells; None: as wide as it takes, with all columns whole, and no graphs.
    gap : int
        Cells between two columns.
    """

    def __init__(
        self, columns: Sequence[TopColumn], rows: Sequence[Sequence[Cell]], width: int | None, gap: int = 2
    ) -> None:
        self._columns, self.rows, self._gap = columns, rows, gap
        self._wide = [_widest(column, (row[i] for row in rows)) for i, column in enumerate(columns)]
        self.placed = tuple(self._place(width))

    def _place(self, width: int | None) -> Iterable[PlacedColumn]:
        if width is None:
            chosen = [i for i, column in enumerate(self._columns) if column.kind != "graph" and self._wide[i]]
            widths = {i: self._wide[i] for i in chosen}
        else:
            chosen = self._chosen(width)
            widths = self._spread(chosen, width)
        start = 0
        for i in chosen:
            yield PlacedColumn(i, self._columns[i], start, widths[i])
            start += widths[i] + self._gap

    def _narrowest(self, i: int) -> int:
        column = self._columns[i]
        if column.kind == "number":
            return self._wide[i]
        return min(column.least, self._wide[i]) if column.kind in {"text", "id"} else column.least

    def _chosen(self, width: int) -> list[int]:
        """Take columns by rank as long as there is room; one that does not fit leaves it to those after it."""
        chosen: list[int] = []
        left = width + self._gap
        for i in sorted(range(len(self._columns)), key=lambda i: self._columns[i].rank):
            narrowest = self._narrowest(i)
            if not self._wide[i]:
                continue  # nothing in it at all
            if not chosen and self._columns[i].kind != "number":
                narrowest = min(narrowest, width)  # the first column names the row
            if narrowest + self._gap <= left:
                chosen.append(i)
                left -= narrowest + self._gap
        return sorted(chosen)

    def _spread(self, chosen: Sequence[int], width: int) -> dict[int, int]:
        """Give what is left over to text first, by rank, then to graphs alike."""
        widths = {i: self._narrowest(i) for i in chosen}
        if len(chosen) == 1:
            widths = {i: min(cells, width) for i, cells in widths.items()}
        left = width - sum(widths.values()) - self._gap * (len(chosen) - 1)
        for i in sorted(chosen, key=lambda i: self._columns[i].rank):
            if self._columns[i].kind in {"text", "id"}:
                more = min(left, min(self._wide[i], self._columns[i].most) - widths[i])
                widths[i] += max(0, more)
                left -= max(0, more)
        graphs = [i for i in chosen if self._columns[i].kind == "graph"]
        while left > 0 and (growing := [i for i in graphs if widths[i] < self._columns[i].most]):
            for i in growing[:left]:
                widths[i] += 1
            left -= min(left, len(growing))
        return widths

    def titles(self, sort: str = "", arrow: str = "") -> TextLine:
        """Write the line above the rows; the column that sorts has an arrow, where there is room for it."""
        pieces = []
        for one in self.placed:
            title = one.column.title
            if arrow and one.column.key == sort and cell_len(title + arrow) <= one.width + self._gap - 1:
                right = one.column.kind == "number" and not one.column.left
                text = arrow + title if right and cell_len(arrow + title) <= one.width else title + arrow
                pieces.append((one, text))
            else:
                pieces.append((one, shorten(title, one.width)))
        return self._line([(one, (TextPiece(text),)) for one, text in pieces], "head")

    def line(self, row: int) -> TextLine:
        """Write one row."""
        found = []
        for one in self.placed:
            cell = self.rows[row][one.number]
            if not isinstance(cell.content, str):
                found.append((one, tuple(cell.content(one.width))))
                continue
            text = cell.content
            if one.column.kind != "number":
                text = shorten(text, one.width, middle=one.column.kind == "id")
            found.append((one, (TextPiece(text, cell.role),)))
        return self._line(found, "")

    def _line(self, found: Sequence[tuple[PlacedColumn, Sequence[TextPiece]]], role: str) -> TextLine:
        pieces: list[TextPiece] = []
        at = 0
        for one, drawn in found:
            length = sum(cell_len(piece.text) for piece in drawn)
            right = one.column.kind == "number" and not one.column.left
            before = one.start - at + (max(0, one.width - length) if right else 0)
            pieces += [TextPiece(" " * before), *drawn]
            at += before + length
        return TextLine(tuple(piece for piece in pieces if piece.text), role)

    def key_at(self, x: int) -> str:
        """Return what sorts by the column at a place of the line of titles."""
        return next((one.column.key for one in reversed(self.placed) if x >= one.start - 1), "")


def _widest(column: TopColumn, cells: Iterable[Cell]) -> int:
    widest = 0
    for cell in cells:
        if not isinstance(cell.content, str):
            return max(column.least, 1)
        widest = max(widest, cell_len(cell.content))
    if not widest:
        return 0
    return max(widest, cell_len(column.title), column.least if column.kind == "number" else 0)


def strip(parts: Sequence[tuple[TopColumn, Cell]], width: int, role: str = "") -> TextLine:
    """Lay single things out beside each other, the least important left out where there is no room."""
    table = FittedTable([part[0] for part in parts], [[part[1] for part in parts]], width)
    line = table.line(0)
    return TextLine(line.pieces, role)


def wrapped(text: str, width: int, role: str = "") -> list[TextLine]:
    """Break text into lines between words; a word that is longer than a line is broken."""
    lines, current = [], ""
    for word in text.split(" "):
        for part in chop_cells(word, width) or [""]:
            joined = f"{current} {part}" if current else part
            if current and cell_len(joined) > width:
                lines.append(current)
                joined = part
            current = joined
    lines.append(current)
    return [TextLine((TextPiece(pad(line, width) if role else line),), role) for line in lines]
