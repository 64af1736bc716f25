r"""How a table of text is written: what separates its cells, where it begins, and what its columns are called.

Loggers write lines before the table (``nohup: ignoring input``, banners, ``sep=,``, the command itself), put the header
into a comment, or write none. The table is found by its shape: lines of one number of cells, and what is a number in
most of them.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from wattshed.agent.inputs.line_stamps import stamp_alone, stamp_before
from wattshed.agent.inputs.quantities import decimal_of, reason_of
from wattshed.agent.inputs.stamp_cells import ABOVE, BEFORE, NONE, StampJoiner
from wattshed.agent.inputs.written_times import is_stamp

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKED = "\x1f"
"""Stands for comma and blank, where a comma alone does not separate."""

_LINES = 100  # of the head that are looked at
_ALIKE = 6  # lines from the first of the table on, of which half must have as many cells
_JUDGED = 10  # of its rows, for what is a number in them
_MARKS = 4
_TOLD_BY = re.compile(r"time|date|stamp|power|energy|watt", re.IGNORECASE)
_TOLD = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_UNIT = re.compile(r"[\[(]?([mun]?s|[mk]?W|[mk]?J|k?Wh|%|(?:deg)? ?.?C|[MG]Hz|[MG]i?B|m?[VA]|-|)[\])]?")
_STAMP_AND_CELL = re.compile(r"(?:\d{9,19}(?:\.\d+)?|.*:\d{2}),\d{1,2}")


@dataclass(frozen=True, slots=True)
class Dialect:
    r"""How a table is written.

    Attributes
    ----------
    delimiter : str
        One character; ``\x1f`` stands for nvidia-smi's comma and blank.
    names : tuple of str
        The header's cells, or made-up names ``1``, ``2``, ... without one.
    header_lines : int
        Lines before the first row, the header included.
    quoted : bool
        Cells may stand in double quotes.
    headed : bool
        There is a header.
    stamps : str
        Where stamps stand that are no cells (see `stamp_cells`); they become the first column.
    first_stamp : str
        The one that stands alone above the first row.
    header : str
        Its text, to know it again.
    """

    delimiter: str
    names: tuple[str, ...]
    header_lines: int
    quoted: bool
    headed: bool = True
    stamps: str = NONE
    first_stamp: str = ""
    header: str = ""

    @property
    def marks(self) -> list[str]:
        """Names to know another header of this file by: those of time, power and energy, else the first."""
        if not self.headed:
            return []
        return [name for name in self.names if _TOLD_BY.search(name)][:_MARKS] or list(self.names[:1])

    def renewed(self, line: str) -> Dialect | None:
        """Return how a table goes on below a line; None if it is no header, or the same as before."""
        names = split(line.lstrip("# "), self.delimiter)
        if not set(self.marks) & set(names) or any(map(is_stamp, names)):
            return None
        names = distinct(["time" if self._is_index and not names[0] else names[0], *names[1:]])
        if tuple(names) == self.names or sum(map(is_value, names)) * 2 > len(names):
            return None
        return replace(self, names=tuple(names), header=line.strip(), quoted=self.quoted or '"' in line)

    @property
    def _is_index(self) -> bool:
        """The first column, of times, has no name in the header (pandas writes its index so)."""
        return self.names[:1] == ("time",) and not split(self.header.lstrip("# "), self.delimiter)[0]

    def cells(self, head: str) -> list[list[str]]:
        """Cells of the first rows of a file that begins so; rows of another number of cells are left out."""
        joiner = self.joiner()
        lines = lines_of(head)[self.header_lines : self.header_lines + _LINES]
        lines = joiner.joined("\n".join(lines).encode()).decode().split("\n") if joiner else lines
        rows = [split(line, self.delimiter) for line in lines if line.strip()]
        return [row for row in rows if len(row) == len(self.names)]

    def joiner(self) -> StampJoiner | None:
        """Return what makes stamps cells; None where they are."""
        return StampJoiner(self.stamps, self.delimiter, self.header, self.first_stamp) if self.stamps else None


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the head: its number from 0, and its text."""

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class _Cut:
    """What a delimiter makes of the head: the header (None without one), the rows, and their number of cells."""

    delimiter: str
    header: _Line | None = None
    rows: Sequence[_Line] = ()
    width: int = 1
    units: _Line | None = None

    def names(self) -> list[str]:
        """Cells of the header, with the units of a line below it; or made-up names."""
        if self.header is None:
            return [str(i + 1) for i in range(self.width)]
        names = split(self.header.text.lstrip("# "), self.delimiter)
        if not names[0] and "time" not in names and self._begin_with_stamps():
            names[0] = "time"
        if len(names) == self.width - 1 and all(not split(row.text, self.delimiter)[-1] for row in self.rows):
            names.append("")  # rows end with a delimiter
        if self.units is None:
            return names
        units = (cell.strip("[]()- ") for cell in split(self.units.text, self.delimiter))
        return [f"{name} [{unit}]" if unit else name for name, unit in zip(names, units, strict=False)]

    def _begin_with_stamps(self) -> bool:
        first = [split(row.text, self.delimiter)[0] for row in self.rows[:_JUDGED]]
        return bool(first) and all(map(is_stamp, first))

    @property
    def begin(self) -> int:
        """Lines before the first row."""
        ahead = self.units or self.header
        return ahead.at + 1 if ahead else self.rows[0].at if self.rows else 0


def split(line: str, delimiter: str) -> list[str]:
    """Split one line; cells come without blanks around them and without quotes."""
    if delimiter == PACKED:
        line = line.replace(", ", PACKED)
    line = line.replace("\r", " ")  # of a line that ends twice; csv takes it for a fault
    cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    return [cell.strip() for cell in cells]


def is_value(cell: str) -> bool:
    """Return whether a cell may stand in a row: a number, a stamp, or a word for "no reading"."""
    return decimal_of(cell) is not None or bool(cell and reason_of(cell)) or is_stamp(cell)


def distinct(names: Sequence[str]) -> list[str]:
    """Make names differ: a second ``power`` becomes ``power.2``."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return out


def lines_of(head: str) -> list[str]:
    """Split the beginning of a file into lines as its reader does; the last is left out if it may be cut off."""
    lines = head.replace("\r\n", "\n").split("\n") if "\n" in head else head.split("\r")
    return lines[:-1] if len(lines) > 1 and (len(head) >= 1 << 16 or not lines[-1]) else lines


@lru_cache(maxsize=2)
def sniff(head: str) -> Dialect:
    """Find the dialect from the first lines of a file.

    The delimiter is the one that cuts the first lines into most columns, all alike, below a header if there is one.
    Where a comma does not (a decimal comma stands in the cells) but comma and blank does, that is it.
    """
    full = (_Line(at, text) for at, text in enumerate(lines_of(head)) if text.strip())
    lines = list(itertools.islice(full, _LINES))
    told = _TOLD.fullmatch(lines[0].text) if lines else None
    stamps, bare = _without_stamps(lines[1:] if told else lines)
    cut = _cut(bare, told[1]) if told else _best(bare)
    names = cut.names()
    if stamps:
        names = ["time", *names] if cut.header else [str(i + 1) for i in range(cut.width + 1)]
    alone = [stamp for line in lines if line.at < cut.begin and (stamp := stamp_alone(line.text))]
    return Dialect(
        delimiter=cut.delimiter,
        names=tuple(distinct(names)),
        header_lines=cut.begin,
        quoted='"' in head,
        headed=cut.header is not None,
        stamps=stamps,
        first_stamp=alone[-1] if alone else "",
        header=cut.header.text.strip() if cut.header else "",
    )


def _without_stamps(lines: list[_Line]) -> tuple[str, list[_Line]]:
    """Take away the stamps that are no cells; says where they stood."""
    apart = [stamp_before(line.text) for line in lines]
    if sum(bool(stamp) and is_value(_first_cell(rest)) for stamp, rest in apart) * 2 > len(lines):
        return BEFORE, [_Line(line.at, rest) for line, (_, rest) in zip(lines, apart, strict=True)]
    rows = [line for line in lines if not stamp_alone(line.text)]
    if 2 <= len(lines) - len(rows) <= len(rows) + 1 and not any(_has_stamp(line.text) for line in rows[:_JUDGED]):
        return ABOVE, rows
    return NONE, lines


def _first_cell(text: str) -> str:
    return re.split(r"[,;|\t]", text.strip(), maxsplit=1)[0]


def _has_stamp(text: str) -> bool:
    return any(is_stamp(cell) or re.fullmatch(r"1\d{9}(\.\d+)?|1\d{12}", cell) for cell in split(text, ","))


def _best(lines: list[_Line]) -> _Cut:
    best = _Cut(",")
    for delimiter in ("\t", ";", "|", ","):
        cut = _cut(lines, delimiter)
        if cut.width > 1 and (cut.header is not None, cut.width) > (best.header is not None, best.width):
            best = cut
    if best.delimiter == "," and (packed := _packed(lines, best)):
        return packed
    return best if best.width > 1 else _cut(lines, best.delimiter)


def _packed(lines: list[_Line], comma: _Cut) -> _Cut | None:
    """Cut by comma and blank, where a comma does not separate, or a quote stands behind the blank."""
    whole = [comma.header, *comma.rows] if comma.header else []
    if (
        len(whole) > 1
        and all(len(split(line.text, ",")) == comma.width for line in whole)
        and not any(', "' in line.text for line in whole)
    ):
        return None  # header and rows alike: a comma and a blank stand within quotes, if anywhere
    cut = _cut(lines, PACKED)
    table = [line.text for line in ([cut.header] if cut.header else []) + list(cut.rows)]
    if cut.width < 2 or len({len(split(text, PACKED)) for text in table}) != 1:
        return None
    if {len(split(text, ",")) for text in table} == {cut.width} and not any(', "' in text for text in table):
        return None
    cells = [cell for row in cut.rows for cell in split(row.text, PACKED) if "," in cell]
    if cut.header is None and any(_STAMP_AND_CELL.fullmatch(cell) or not is_value(cell) for cell in cells):
        return None  # "1700000000,0, 72.60": the first comma separates, too
    return cut if cut.header is not None or comma.header is None else None


def _cut(lines: list[_Line], delimiter: str) -> _Cut:
    """Find header and rows: most lines are rows, the header is the line above them without numbers where they have."""
    data = [(line, split(line.text, delimiter)) for line in lines if not line.text.startswith("#")]
    width = _width([cells for _, cells in data])
    if width < 2:
        return _single(data, delimiter)
    table = [(line, cells) for line, cells in data if len(cells) == width]
    begin = [line for line, _ in data if line.at >= table[0][0].at][:_ALIKE]
    if 2 * len({line.at for line in begin} & {line.at for line, _ in table}) < len(begin):
        return _Cut(delimiter)
    judged = [cells for _, cells in table[:_JUDGED]]
    numeric = [i for i in range(width) if sum(is_value(cells[i]) for cells in judged) * 2 >= len(judged)]
    first = next((n for n, (_, cells) in enumerate(table) if _is_row(cells, numeric)), None)
    if first is None or not numeric:
        return _Cut(delimiter, table[0][0], [line for line, _ in table[1:]], width)
    rows = [line for line, cells in table[first:] if _is_row(cells, numeric)]
    if first > 1 and all(map(_UNIT.fullmatch, table[first - 1][1])) and table[first - 2][1] != table[first - 1][1]:
        return _Cut(delimiter, table[first - 2][0], rows, width, table[first - 1][0])
    header = table[first - 1][0] if first else _elsewhere(lines, rows, delimiter, width)
    return _Cut(delimiter, header, rows, width)


def _width(data: Sequence[Sequence[str]]) -> int:
    """Return how many cells the first row has that follows a line of as many; below it a log may go on with others."""
    for above, cells in itertools.pairwise(data):
        if len(above) == len(cells) > 1 and any(map(is_value, cells)):
            return len(cells)
    counts = Counter(len(cells) for cells in data if len(cells) > 1)
    return max(counts.items(), key=lambda item: (item[1], item[0]))[0] if counts else 1


def _single(data: list[tuple[_Line, list[str]]], delimiter: str) -> _Cut:
    """Cut into one column."""
    rows = [line for line, cells in data if cells and is_value(cells[0])]
    above = [line for line, _ in data if not rows or line.at < rows[0].at]
    return _Cut(delimiter, above[-1] if above else None, rows, 1)


def _is_row(cells: Sequence[str], numeric: Sequence[int]) -> bool:
    """Return whether a line is a row: a header has words where rows have numbers, and no stamp."""
    return any(map(is_stamp, cells)) or all(is_value(cells[i]) or not cells[i] for i in numeric)


def _elsewhere(lines: list[_Line], rows: list[_Line], delimiter: str, width: int) -> _Line | None:
    """Find a header that is a comment, or has another number of cells than the rows."""
    above = [line for line in lines if line.at < rows[0].at]
    for line in reversed(above):
        cells = split(line.text.lstrip("# "), delimiter)
        words = bool(cells) and not any(cell and is_value(cell) for cell in cells)
        if words and (len(cells) == width or (len(cells) > 1 and not line.text.startswith("#"))):
            return line
    return None
