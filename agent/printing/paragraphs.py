"""An answer of paragraphs and tables, laid out before it is known how wide the terminal is."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.printing.tables import Column, Printer, not_shown, print_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_LEAST = 16  # characters to which a text is folded before a column of numbers goes


@dataclass(frozen=True, slots=True)
class TableRows:
    """A table as it will be printed.

    Attributes
    ----------
    columns : tuple of Column
    cells : tuple of mapping of str to str
    """

    columns: tuple[Column, ...]
    cells: tuple[Mapping[str, str], ...]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[int] = (0,)) -> TableRows:
    """Lay out a table: columns of ``left`` hold text, the others numbers; the last go first, the first two stay."""
    columns = tuple(
        Column(name, i not in left, _LEAST if i in left else 0, max(i - 1, 0), folds=True)
        for i, name in enumerate(head)
    )
    return TableRows(columns, tuple(dict(zip(head, row, strict=True)) for row in rows))


def print_parts(printer: Printer, parts: Iterable[str | TableRows], complete: str = "--json has all") -> None:
    """Print paragraphs, folded to the terminal, and tables; below them what there was no room for."""
    gone: list[str] = []
    for part in parts:
        if isinstance(part, TableRows):
            gone += print_rows(printer, part.columns, part.cells, gap=2)
        else:
            for line in part.split("\n"):
                printer.folded(line)
    for line in not_shown(printer, gone, complete):
        printer.folded(line, "dim")


def text_of(parts: Iterable[str | TableRows]) -> str:
    """Return what a pipe gets."""
    out = io.StringIO()
    print_parts(Printer(out), parts)
    return out.getvalue()
