"""The widgets: lines that stand, and lines that scroll with one of them chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.segment import Segment
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wattshed.agent.terminal.colours import Palette
    from wattshed.agent.terminal.drawing import MarkedCells, TextLine


class Clicked(Message):  # type: ignore[misc] # textual is an extra, mypy does not follow it
    """A click on one of the widgets here, at a cell of what it shows."""

    def __init__(self, where: str, x: int, y: int, *, double: bool) -> None:
        super().__init__()
        self.where, self.x, self.y, self.double = where, x, y, double


def _strip(
    line: TextLine, width: int, palette: Palette, *, mark: MarkedCells | None = None, old: bool = False
) -> Strip:
    segments, at = [], 0
    for piece in line.pieces:
        chosen = mark is not None and mark.start <= at < (width if mark.end is None else mark.end)
        segments.append(Segment(piece.text, palette.of(line, piece.role, chosen=chosen, old=old)))
        at += segments[-1].cell_length
    rest = palette.of(line, "", chosen=mark is not None and mark.end is None, old=old)
    return Strip(segments).adjust_cell_length(width, rest)


class Standing(Widget, can_focus=False):  # type: ignore[misc,call-arg] # as above
    """Lines that are always seen."""

    def __init__(self, name: str, palette: Palette) -> None:
        super().__init__(id=name)
        self._lines: Sequence[TextLine] = ()
        self._palette, self._old = palette, False

    def show(self, lines: Sequence[TextLine], palette: Palette, *, old: bool = False) -> None:
        """Show these lines, and be as high as they are many."""
        self._lines, self._palette, self._old = lines, palette, old
        self.styles.height = len(lines)
        self.display = bool(lines)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        if y >= len(self._lines):
            return Strip.blank(self.size.width, self._palette.base)
        return _strip(self._lines[y], self.size.width, self._palette, old=self._old)

    def on_click(self, event: Any) -> None:
        """Pass a click on."""
        self.post_message(Clicked(self.id, event.x, event.y, double=event.chain > 1))


class Scrolling(ScrollView, can_focus=False):  # type: ignore[misc,call-arg] # as above
    """Lines of which some are seen; each is drawn when it is seen."""

    def __init__(self, name: str, palette: Palette) -> None:
        super().__init__(id=name)
        self._line: Callable[[int], TextLine] = _nothing
        self._count = 0
        self._mark: MarkedCells | None = None
        self._palette, self._old = palette, False

    def show(
        self,
        line: Callable[[int], TextLine],
        count: int,
        palette: Palette,
        *,
        mark: MarkedCells | None = None,
        old: bool = False,
    ) -> None:
        """Show ``count`` lines, with one of them marked, or a part of it."""
        self._line, self._count, self._mark = line, count, mark
        self._palette, self._old = palette, old
        self.virtual_size = Size(self.size.width, count)
        self.refresh()

    def reveal(self, row: int) -> None:
        """Scroll as far as it takes to see a row."""
        height = max(1, self.size.height)
        top = self.scroll_offset.y
        if row < top or row >= top + height:
            self.scroll_to(y=row if row < top else row - height + 1, animate=False)

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        row, width = y + self.scroll_offset.y, self.size.width
        if row >= self._count:
            return Strip.blank(width, self._palette.base)
        mark = self._mark if self._mark is not None and self._mark.line == row else None
        return _strip(self._line(row), width, self._palette, mark=mark, old=self._old)

    def on_click(self, event: Any) -> None:
        """Pass a click on, with the row that it hit."""
        self.post_message(Clicked(self.id, event.x, event.y + self.scroll_offset.y, double=event.chain > 1))


def _nothing(_: int) -> TextLine:
    raise IndexError
