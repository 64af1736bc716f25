"""Tables that fit the terminal: columns give way in an order, text is cut or folded, numbers never are.

The width is what ``COLUMNS`` in the environment says, else that of the terminal; in a pipe or a file there is no end,
and nothing is left out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

EXTRA = 10
_GAP = 1  # spaces between columns, at least
_COMFORTABLE = 14  # characters of a name that is cut so that there is room for an extra column
_NARROWEST = 4  # to what a text is folded where even so a line does not fit
_NO_END = 1_000_000
_PLAIN, _STYLES = "\x1b[0m", {"": "", "bold": "\x1b[1m", "dim": "\x1b[2m"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
        Its heading, and the key of its cells.
    right : bool
        Whether its cells are numbers: they stand to the right and are never cut.
    least : int
        To how many characters its cells may be cut or folded; 0: only where no other column can go.
    leaves : int
        Where there is no room, columns with the highest number go first; those with 0 stay. Columns from `EXTRA` on are
        shown only where names need not be cut much for them.
    middle : bool
        Whether it is the middle that is cut out: of names that differ at their end.
    folds : bool
        Whether it is folded into lines instead of being cut: what is of no use in part.
    """

    name: str
    right: bool = False
    least: int = 0
    leaves: int = 0
    middle: bool = False
    folds: bool = False


@dataclass(frozen=True, slots=True)
class Printer:
    """Where a command prints for people.

    Attributes
    ----------
    out : TextIO
    width : int
        Columns that a line may have.
    styled : bool
        Whether headings are bold and notes dim.
    """

    out: TextIO
    width: int = _NO_END
    styled: bool = False

    def line(self, *parts: str | tuple[str, str]) -> None:
        """Print one line; a part is a text, or a text and its style: ``bold`` or ``dim``."""
        pairs = [(part, "") if isinstance(part, str) else part for part in parts]
        self.out.write("".join(self._styled(text, style) for text, style in pairs) + "\n")

    def folded(self, text: str, style: str = "") -> None:
        """Print a text, folded at its spaces where it does not fit; what it begins with of these, each line has."""
        bare = text.lstrip(" ")
        indent = " " * (len(text) - len(bare))
        for line in fold(bare, max(self.width - len(indent), _NARROWEST)):
            self.line((f"{indent}{line}" if line else "", style))

    def _styled(self, text: str, style: str) -> str:
        return f"{_STYLES[style]}{text}{_PLAIN}" if text and style and self.styled else text


def printer_for(out: TextIO, environ: Mapping[str, str] = os.environ) -> Printer:
    """Return what prints for people: as wide as the terminal, or as ``COLUMNS`` says; without an end elsewhere."""
    terminal = out.isatty()
    styled = terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return Printer(out, _width(out, environ.get("COLUMNS", ""), terminal=terminal), styled)


def _width(out: TextIO, told: str, *, terminal: bool) -> int:
    if told.isdecimal() and int(told) > 0:
        return int(told)
    if not terminal:
        return _NO_END
    try:
        return os.get_terminal_size(out.fileno()).columns or 80  # a terminal of a size that nobody set has 0
    except (OSError, ValueError):
        return 80


def print_rows(
    printer: Printer, columns: Iterable[Column], rows: Sequence[Mapping[str, str]], *, gap: int = 1
) -> list[str]:
    """Print rows under their headings; columns that are empty in all of them are left out.

    Parameters
    ----------
    printer : Printer
    columns : iterable of Column
    rows : sequence of mapping of str to str
        Cells by the names of the columns.
    gap : int
        Spaces between columns where there is room for them; else it is one.

    Returns
    -------
    list of str
        Headings of the columns that there was no room for.
    """
    from rich.cells import cell_len  # noqa: PLC0415 - documents need no tables

    used = [column for column in columns if any(row[column.name] for row in rows)]
    natural = {one.name: max(cell_len(text) for text in (one.name, *(row[one.name] for row in rows))) for one in used}
    kept, gone = list(used), []
    wanted = sum(min(natural[one.name], one.least) if one.folds and one.least else natural[one.name] for one in used)
    if wanted + gap * (len(used) - 1) > printer.width:
        gap = _GAP
    while leaving := _leaving(kept, natural, printer.width):
        kept.remove(leaving)
        gone.append(leaving.name)
    room = printer.width - gap * (len(kept) - 1)
    widths = _narrowed({column.name: natural[column.name] for column in kept}, kept, room, _longest_words(kept, rows))

    def show(cells: Mapping[str, str], style: str = "") -> None:
        blocks = [_block(cells[column.name], column, widths[column.name]) for column in kept]
        for number in range(max(map(len, blocks), default=0)):
            shown = []
            for column, block in zip(kept, blocks, strict=True):
                text = block[number] if number < len(block) else ""
                room = " " * (widths[column.name] - cell_len(text))
                shown.append(room + text if column.right else text + room)
            printer.line(((" " * gap).join(shown).rstrip(), style))

    show({column.name: column.name for column in kept}, "bold")
    for row in rows:
        show(row)
    return gone


def not_shown(printer: Printer, gone: Iterable[str], complete: str) -> list[str]:
    """Name the columns that there was no room for, and what has all of them; nothing if there are none."""
    names = ", ".join(sorted(set(gone)))
    return [f"Not shown in {printer.width} columns: {names} ({complete})."] if names else []


def print_facts(printer: Printer, facts: Mapping[str, str]) -> None:
    """Print names and what they are, one below the other; those that are empty are left out."""
    indent = max(map(len, facts), default=0) + 2
    for name, fact in facts.items():
        for number, line in enumerate(fold(fact, max(printer.width - indent, indent)) if fact else ()):
            printer.line((("" if number else name).ljust(indent), "dim"), line)


def print_notes(printer: Printer, notes: Sequence[str]) -> None:
    """Print what must be known to read a table, below it."""
    printer.line()
    for note in notes:
        printer.folded(note, "dim")


def fold(text: str, width: int) -> Iterator[str]:
    """Fold a text at its spaces into lines of so many cells: some letters are two cells wide.

    A word that is longer than a line is divided; a path is not, for then it could not be copied.
    """
    from rich.cells import cell_len, chop_cells  # noqa: PLC0415

    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if cell_len(longer) <= width:
            line = longer
            continue
        if line:
            yield line
        *whole, line = [word] if "/" in word or cell_len(word) <= width else chop_cells(word, width)
        yield from whole
    yield line


def _block(text: str, column: Column, width: int) -> list[str]:
    """Return the lines of a cell."""
    from rich.cells import cell_len, chop_cells, set_cell_size  # noqa: PLC0415

    if cell_len(text) <= width:
        return [text]
    if column.folds or width < column.least or not column.least:
        return [part for line in fold(text, width) for part in chop_cells(line, width) or [""]]
    if not column.middle:
        return [set_cell_size(text, width - 1) + "…"]
    end = set_cell_size(text[::-1], (width - 1) // 2)[::-1]
    return [set_cell_size(text, width - 1 - (width - 1) // 2) + "…" + end]


def _leaving(columns: Sequence[Column], natural: Mapping[str, int], most: int) -> Column | None:
    """Return the column that has to go for a line to fit, None if it does."""
    leaving = max(columns, key=lambda column: column.leaves)
    name = _COMFORTABLE if leaving.leaves >= EXTRA else 0
    least = {one.name: min(natural[one.name], max(one.least, name) if one.least else _NO_END) for one in columns}
    return leaving if leaving.leaves and sum(least.values()) + _GAP * (len(least) - 1) > most else None


def _longest_words(columns: Iterable[Column], rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """Return the cells of the longest word of each column that is folded: a path or a number is of no use in two."""
    from rich.cells import cell_len  # noqa: PLC0415

    return {
        column.name: max(cell_len(word) for row in rows for word in row[column.name].split(" "))
        for column in columns
        if column.folds
    }


def _narrowed(widths: dict[str, int], columns: Sequence[Column], most: int, words: Mapping[str, int]) -> dict[str, int]:
    """Narrow texts until all fit, the widest first: to their words, to what they may be cut to, and then more."""
    usual = {column.name: column.least for column in columns if column.least}
    whole_words = {name: max(least, words.get(name, 0)) for name, least in usual.items()}
    at_worst = {column.name: _NARROWEST for column in columns if not column.right}
    for least in (whole_words, usual, at_worst):
        while (over := sum(widths.values()) - most) > 0:
            wide = [name for name, limit in least.items() if widths[name] > limit]
            if not wide:
                break
            widest = max(wide, key=widths.__getitem__)
            others = [widths[name] for name in wide if name != widest]
            step = max(1, min(over, widths[widest] - max([least[widest], *others])))
            widths[widest] -= step
    return widths
