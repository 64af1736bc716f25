"""Tables that fit the terminal: columns give way in an order, long names are cut, and a pipe gets everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import Console
    from rich.text import Text

EXTRA = 5
_GAP = 1
_COMFORTABLE = 14  # characters of a name that is cut so that there is room for an extra column
_NO_END = 1_000_000  # columns where it goes to a file or a pipe


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
        Its heading, and the key of its cells.
    right : bool
        Whether its cells stand to the right, as numbers do.
    least : int
        To how many characters its cells may be cut; 0: they are never cut.
    leaves : int
        Where there is no room, columns with the highest number go first; those with 0 stay. Columns from `EXTRA` on are
        shown only where names need not be cut much for them.
    middle : bool
        Whether it is the middle that is cut out: of names that differ at their end.
    """

    name: str
    right: bool = False
    least: int = 0
    leaves: int = 0
    middle: bool = False


def console_for(out: TextIO) -> Console:
    """Return what prints for people: as wide as the terminal, without an end elsewhere."""
    from rich.console import Console  # noqa: PLC0415 - documents need no tables

    return Console(file=out, width=None if out.isatty() else _NO_END, highlight=False, markup=False, emoji=False)


def print_rows(console: Console, columns: Iterable[Column], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Print rows under their headings; columns that are empty in all of them are left out.

    Returns
    -------
    list of str
        Headings of the columns that there was no room for.
    """
    from rich.cells import cell_len  # noqa: PLC0415

    used = [column for column in columns if any(row[column.name] for row in rows)]
    natural = {one.name: max(cell_len(text) for text in (one.name, *(row[one.name] for row in rows))) for one in used}
    kept, gone = list(used), []
    while leaving := _leaving(kept, natural, console.width):
        kept.remove(leaving)
        gone.append(leaving.name)
    widths = _cut({column.name: natural[column.name] for column in kept}, kept, console.width)

    def line(cells: Mapping[str, str], style: str = "") -> None:
        shown = []
        for column in kept:
            text, width = cells[column.name], widths[column.name]
            if cell_len(text) > width:
                text = _shortened(text, width, middle=column.middle)
            room = " " * (width - cell_len(text))
            shown.append(room + text if column.right else text + room)
        console.print((" " * _GAP).join(shown).rstrip(), style=style, soft_wrap=True)

    line({column.name: column.name for column in kept}, "bold")
    for row in rows:
        line(row)
    return gone


def print_facts(console: Console, facts: Mapping[str, str]) -> None:
    """Print names and what they are, one below the other; those that are empty are left out."""
    from rich.text import Text  # noqa: PLC0415

    indent = max(map(len, facts), default=0) + 2
    for name, fact in facts.items():
        for number, line in enumerate(_folded(console, fact, max(console.width - indent, indent)) if fact else ()):
            heading = ("" if number else name).ljust(indent)
            console.print(Text.assemble((heading, "dim"), line), soft_wrap=True)


def print_notes(console: Console, notes: Sequence[str]) -> None:
    """Print what must be known to read a table, below it."""
    console.print()
    for line in (line for note in notes for line in _folded(console, note, console.width)):
        console.print(line, style="dim")


def _folded(console: Console, text: str, width: int) -> Iterator[Text]:
    """Fold a text at its spaces into lines of so many cells: some letters are two cells wide."""
    from rich.text import Text  # noqa: PLC0415

    for line in Text(text).wrap(console, width):
        line.rstrip()
        yield line


def _shortened(text: str, width: int, *, middle: bool) -> str:
    """Cut a text to a width, with an ellipsis where something is missing."""
    from rich.cells import set_cell_size  # noqa: PLC0415

    if not middle:
        return set_cell_size(text, width - 1) + "…"
    end = set_cell_size(text[::-1], (width - 1) // 2)[::-1]
    return set_cell_size(text, width - 1 - (width - 1) // 2) + "…" + end


def _leaving(columns: Sequence[Column], natural: Mapping[str, int], most: int) -> Column | None:
    """Return the column that has to go for a line to fit, None if it does."""
    leaving = max(columns, key=lambda column: column.leaves)
    name = _COMFORTABLE if leaving.leaves >= EXTRA else 0
    least = {one.name: min(natural[one.name], max(one.least, name) if one.least else _NO_END) for one in columns}
    return leaving if leaving.leaves and sum(least.values()) + _GAP * (len(least) - 1) > most else None


def _cut(widths: dict[str, int], columns: Sequence[Column], most: int) -> dict[str, int]:
    """Narrow the columns that may be cut, the widest first, until a line fits."""
    least = {column.name: column.least for column in columns if column.least}
    while sum(widths.values()) + _GAP * (len(widths) - 1) > most:
        wide = [name for name, limit in least.items() if widths[name] > limit]
        if not wide:
            break
        widths[max(wide, key=widths.__getitem__)] -= 1
    return widths
