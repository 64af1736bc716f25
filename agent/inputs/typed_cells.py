"""Columns of plain tables as numbers, straight from their bytes: the easy part of the grammar of cells, at its speed.

Each block of lines is looked at by itself: its first row shows how a column is written, and a kernel reads on as long
as all cells are written so. A column of which one cell is not is given as text, as it stands there, to the readers of
text (`quantities`, `timestamps`). So what a cell means is said in one place, and here is only what is certain.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.inputs.arrow import pa
from wattshed.agent.inputs.quantities import Scaled, decimal_of
from wattshed.agent.inputs.timestamps import UNITS, Stamps, parse_text, unit_of
from wattshed.kernels import cells

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from fractions import Fraction

    from numpy.typing import NDArray

    from wattshed.agent.inputs.line_blocks import LineBlock

_NEWLINE = 10
_MOST_UNIT = 8  # bytes
_LATEST_NS = 2.5e20  # some decades before the year 10000, with which stamps end
_STAMP = re.compile(rb"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,](\d{1,9}))?(?:Z|[+-]\d\d:?\d\d)?")
_PLAIN = re.compile(rb"\d+(?:\.\d+)?")
_AROUND = b" \t\r"


@dataclass(frozen=True, slots=True)
class Names:
    """A column of names.

    Attributes
    ----------
    code : int32[n]
        Which of the names stands in each row.
    texts : list of str
        Different ones, as they first appear.
    """

    code: NDArray[np.int32]
    texts: list[str]

    def __len__(self) -> int:
        return self.code.size

    def __getitem__(self, rows: slice) -> Names:
        return Names(self.code[rows], self.texts)

    def filter(self, mask: Any) -> Names:
        """Select rows by a pyarrow array of truths, as a column of pyarrow does."""
        return Names(self.code[np.asarray(mask.to_numpy(zero_copy_only=False), bool)], self.texts)

    def to_pylist(self) -> list[str]:
        """Return the name in each row, as a column of pyarrow does."""
        return [self.texts[code] for code in self.code.tolist()]


@dataclass(frozen=True, slots=True)
class NameCells:
    """A column of texts that distinguish something."""


@dataclass(frozen=True, slots=True)
class StampCells:
    """A column of stamps; the unit of numbers, as `inputs.timestamps.TimestampParser` takes it."""

    unit: str = ""


@dataclass(frozen=True, slots=True)
class QuantityCells:
    """A column of a quantity: the unit of its bare numbers, and those that may stand in the cells."""

    unit: str
    units: Mapping[str, Fraction]


Kind = NameCells | StampCells | QuantityCells


@dataclass(frozen=True, slots=True)
class TypedRows:
    """What a block of lines holds.

    Attributes
    ----------
    columns : dict of name -> array
        `Scaled` amounts, `Stamps` or float64 of pyarrow, `Names`; else text.
    rows, lines : int
    places : int32[rows]
        The line of each row, from 0.
    others : list of (int, str)
        Lines of another number of cells, which may be blank: which, and what stands there.
    """

    columns: dict[str, Any]
    rows: int
    lines: int
    places: NDArray[np.int32]
    others: list[tuple[int, str]]


class IndexRoom(threading.local):
    """Memory for the index of a block's cells, which each thread uses again: it is four times as large as the block."""

    def __init__(self) -> None:
        self._places: NDArray[np.uint32] = np.empty(0, np.uint32)

    def places(self, size: int) -> NDArray[np.uint32]:
        """Return room for so many cells; what was in it is lost."""
        if self._places.size < size:
            self._places = np.empty(size, np.uint32)
        return self._places[:size]


class PlainTable:
    """Reads blocks of a table whose cells stand in no quotes. It keeps nothing of them, so blocks may be read at once.

    Parameters
    ----------
    delimiter : str
        One character of ASCII.
    names : sequence of str
        All columns.
    kinds : mapping of name -> Kind or None
        The columns wanted; None: as text.
    room : IndexRoom, optional
        Of a whole file.
    """

    def __init__(
        self, delimiter: str, names: Sequence[str], kinds: Mapping[str, Kind | None], room: IndexRoom | None = None
    ) -> None:
        self._delimiter, self._columns, self._room = ord(delimiter), len(names), room or IndexRoom()
        self._wanted = [(name, names.index(name), kind) for name, kind in kinds.items()]

    def read(self, block: LineBlock) -> TypedRows | None:
        """Read a block; None where its lines end in more than one way."""
        data, size = block.data, block.size
        if data[size - 1] != _NEWLINE:
            data = data.copy()
            data[size] = _NEWLINE
            size += 1
        following = self._room.places(size + 1)
        count = cells.index(data, size, self._delimiter, following)
        if count < 0:
            return None
        lines = np.count_nonzero(following[1:count] >= cells.LINE_END)
        first, places, others = np.empty(lines, np.uint32), np.empty(lines, np.int32), np.empty((lines, 3), np.int64)
        rows = cells.lay_out(following, count, self._columns, first, places, others)
        cut = [
            (line, data[begin:end].tobytes().rstrip(b"\r\n").decode("utf-8", "replace"))
            for begin, end, line in others[: lines - rows].tolist()
        ]
        table = _Table(data, following, first, rows)
        return TypedRows(self._typed(table) if rows else {}, rows, int(lines), places[:rows], cut)

    def _typed(self, table: _Table) -> dict[str, Any]:
        """Read the columns, stamps first: a row without one is left out later, and its names do not count."""
        found: dict[str, Any] = {}
        timed = True
        for name, at, kind in sorted(self._wanted, key=lambda wanted: not isinstance(wanted[2], StampCells)):
            if isinstance(kind, StampCells):
                found[name] = _times(table, at, kind)
                timed = found[name] is not None
            elif isinstance(kind, QuantityCells):
                found[name] = _amounts(table, at, kind)
            else:
                found[name] = _names(table, at) if timed and kind is not None else None
        return {name: _text(table, at) if found[name] is None else found[name] for name, at, _ in self._wanted}


@dataclass(frozen=True, slots=True)
class _Table:
    """Where the cells of a block are, as kernels take it."""

    data: NDArray[np.uint8]
    following: NDArray[np.uint32]
    first: NDArray[np.uint32]
    rows: int

    def arguments(self, column: int) -> tuple[Any, ...]:
        return self.data, self.following, self.first, self.rows, column

    def cell(self, column: int) -> bytes:
        """Return the cell of the first row."""
        begin, end = (int(self.following[self.first[0] + column + k]) & cells.PLACE for k in (0, 1))
        return self.data[begin : end - 1].tobytes().strip(_AROUND)


def _text(table: _Table, at: int) -> Any:
    offsets = np.empty(table.rows + 1, np.int32)
    begins = table.following[table.first[: table.rows] + np.uint32(at)] & np.uint32(cells.PLACE)
    ends = table.following[table.first[: table.rows] + np.uint32(at + 1)] & np.uint32(cells.PLACE)
    out = np.empty(int((ends - begins).sum(dtype=np.int64)), np.uint8)
    cells.gather(*table.arguments(at), offsets, out)
    return pa.StringArray.from_buffers(table.rows, pa.py_buffer(offsets), pa.py_buffer(out))


def _names(table: _Table, at: int) -> Names | None:
    found, slots = np.empty((cells.MOST_TEXTS, 3), np.int64), np.full(cells.TEXT_SLOTS, -1, np.int32)
    out = np.empty(table.rows, np.int32)
    count = cells.texts(*table.arguments(at), found, slots, out)
    if count < 0:
        return None
    texts = [table.data[begin:end].tobytes().decode("utf-8", "replace") for begin, end, _ in found[:count].tolist()]
    return Names(out, texts)


def _times(table: _Table, at: int, kind: StampCells) -> Any:
    text = table.cell(at)
    if _PLAIN.fullmatch(text):
        return _epochs(table, at, kind.unit)
    match = _STAMP.fullmatch(text) if len(text) <= 8 * cells.WORDS_OF_A_STAMP else None
    known = parse_text(text.decode("ascii")) if match else None
    if match is None or known is None:
        return None
    fraction = len(match[1] or b"")
    upto = 20 + fraction if fraction else 19  # what stands behind is not digits, but the same everywhere
    is_digit = [i < upto and byte in b"0123456789" for i, byte in enumerate(text)]
    shape = np.zeros((2, 8 * cells.WORDS_OF_A_STAMP), np.uint8)
    shape[0, : len(text)] = [ord("0") if digit else byte for byte, digit in zip(text, is_digit, strict=True)]
    shape[1, : len(text)] = np.where(is_digit, 255, 0)
    out = np.empty(table.rows, np.int64)
    read = cells.stamps(*table.arguments(at), shape.view("<u8").astype(np.uint64), len(text), fraction, out)
    if read != table.rows:
        return None
    stamp_us, naive = known
    if not naive:
        out += stamp_us - out[0]  # what the clock stood before UTC, in all cells alike
    return Stamps(out, naive, 10 ** max(6 - fraction, 0))


def _epochs(table: _Table, at: int, unit: str) -> Any:
    """Read numeric stamps that all are stamps; which unit they have is told later, by the first of the file."""
    numbers = np.empty(table.rows)
    if unit in {"iso", "ns"} or cells.decimals(*table.arguments(at), numbers) != table.rows:
        return None
    low, high = float(numbers.min()), float(numbers.max())
    if high * UNITS[unit or unit_of(high)] >= _LATEST_NS or (not unit and unit_of(low) != unit_of(high)):
        return None
    return pa.Array.from_buffers(pa.float64(), table.rows, [None, pa.py_buffer(numbers)])


def _amounts(table: _Table, at: int, kind: QuantityCells) -> Scaled | None:
    text = table.cell(at)
    number, _, unit = text.partition(b" ")
    found = decimal_of(text.decode("utf-8", "replace")) if _PLAIN.fullmatch(number) else None
    if found is None or found[1].encode() != unit or len(unit) > _MOST_UNIT or found[1] not in {"", *kind.units}:
        return None
    factor = kind.units[found[1] or kind.unit]
    out = np.empty(table.rows, np.int64)
    word = int.from_bytes(unit, "little")
    scale = (float(factor.numerator), float(factor.denominator))
    read = cells.quantities(*table.arguments(at), word, len(unit), *scale, out)
    return Scaled(out, np.zeros(table.rows, np.uint8), united=bool(unit)) if read == table.rows else None
