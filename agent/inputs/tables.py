"""Tables that people write by hand or in spreadsheets, each cell of which counts: no row is left out.

Delimiters and encodings are those of traces (`agent.inputs.delimited`, `agent.inputs.text`); each complaint names the
file, the line and the column.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.dialect import PACKED, sniff
from wattshed.agent.inputs.quantities import decimal_of
from wattshed.agent.inputs.text import HEAD_BYTES, decoded
from wattshed.agent.inputs.toml import meant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from wattshed.agent.wire.http import Address

_GZIP = b"\x1f\x8b"
FETCH_S, MOST_FETCHED = 10.0, 16 * 2**20


def read_bytes(path: str | Path) -> bytes:
    """Whole content of a file or http(s) URL, gunzipped where it is gzip.

    Raises
    ------
    InputError
        If there is no such file, or it cannot be read.
    """
    try:
        content = _fetched(str(path)) if _is_url(path) else Path(path).read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP) else content
    except FileNotFoundError:
        raise InputError("no such file; check the path", str(path)) from None
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read ({reason})", name_of(path)) from None


def name_of(path: str | Path) -> str:
    """Name of a file or URL for messages: without the password of a URL."""
    return _address(str(path)).url if _is_url(path) else str(path)


def _is_url(path: str | Path) -> bool:
    return str(path).startswith(("http://", "https://"))


def _address(url: str) -> Address:
    from wattshed.agent.wire.http import Address  # noqa: PLC0415 - a file on the disk needs no TLS

    return Address.parse(url, "a table", "https://prices.example/hours.csv")


def _fetched(url: str) -> bytes:
    """Content of an http(s) URL, within FETCH_S and MOST_FETCHED."""
    from wattshed.agent.wire.http import Client, NoAnswerError  # noqa: PLC0415

    address = _address(url)
    try:
        with closing(Client(address, timeout_s=FETCH_S)) as client:
            answer = client.get(most_bytes=MOST_FETCHED + 1)
    except NoAnswerError as error:
        raise OSError(str(error)) from None
    if not answer.taken:
        raise OSError(str(answer))
    if len(answer.content) > MOST_FETCHED:
        raise OSError(f"more than {MOST_FETCHED >> 20} MiB")
    return answer.content


_LARGEST = 1e60
"""Sums of its cubes, weighted, are still numbers."""

_MOST = 2**53
"""The last whole number that a float holds exactly."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: its cells by column name, and where it stands."""

    path: str
    line: int
    cells: dict[str, str]
    columns: dict[str, int]  # name -> 1-based position
    decimal_comma: bool = False  # a comma within a number is a point, for it does not separate cells

    def error(self, column: str, message: str) -> InputError:
        """Make the complaint about one cell, to be raised by the caller."""
        return InputError(f"{column}: {message}", self.path, self.line, self.columns.get(column, 0))

    def text(self, column: str) -> str:
        """Cell without surrounding blanks; empty where the table lacks the column."""
        return self.cells.get(column, "")

    def name(self, column: str) -> str:
        """Cell that must not be empty.

        Raises
        ------
        InputError
            If it is.
        """
        if not (value := self.text(column)):
            raise self.error(column, "is empty; give a name")
        return value

    def number(self, column: str, *, least: float = -math.inf) -> float:
        """Cell as a finite number not below ``least``.

        Raises
        ------
        InputError
            If it is anything else.
        """
        value = float(self.decimal(column))
        if not math.isfinite(value):
            raise self._no_number(column)
        if abs(value) > _LARGEST:
            raise self.error(column, f"{self.text(column)} is too large; nothing measured is above {_LARGEST:g}")
        if value < least:
            raise self.error(column, f"{self.text(column)} is below {least:g}")
        return value

    def decimal(self, column: str) -> Decimal:
        """Cell as it is written, to the last digit.

        Raises
        ------
        InputError
            If it is not a number.
        """
        text = self.text(column)
        found = decimal_of(text) if self.decimal_comma or "," not in text else None
        if found is None or found[1]:
            raise self._no_number(column)
        return found[0]

    def _no_number(self, column: str) -> InputError:
        text = self.text(column)
        return self.error(column, f"{text!r} is not a number; give a finite number, or leave the row out")

    def optional_number(self, column: str, *, least: float = -math.inf) -> float:
        """Cell as a number, NaN where it is empty or the column is absent."""
        return self.number(column, least=least) if self.text(column) else math.nan

    def count(self, column: str, *, least: int = 0) -> int:
        """Cell as a whole number (``120`` or ``120.0``) not below ``least``.

        Raises
        ------
        InputError
            If it is anything else.
        """
        value = self.number(column, least=least)
        if value != int(value):
            raise self.error(column, f"{self.text(column)} is not a whole number")
        if value > _MOST:
            raise self.error(column, f"{self.text(column)} is too large")
        return int(value)


def read_table(
    path: str | Path, required: Sequence[str], *, used: Sequence[str] | None = None, lower: bool = True
) -> Iterator[Row]:
    """Rows of a CSV file with a header line.

    Parameters
    ----------
    path : path
        A file, or an http(s) URL; cells are separated by comma, semicolon, tab or bar.
    required : sequence of str
        Columns that must be there.
    used : sequence of str, optional
        All columns that the caller uses: any other is refused, for what it says would be ignored. By default any may
        be there.
    lower : bool
        Whether column names are folded to lower case.

    Raises
    ------
    InputError
        Naming the file, line and column, if a column is missing, doubled or not used, or a row has another number of
        cells.
    """
    where = name_of(path)
    text = decoded(read_bytes(path), where)
    dialect = sniff(text[:HEAD_BYTES])
    if dialect.delimiter == PACKED:
        text = text.replace(", ", PACKED)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=dialect.delimiter, skipinitialspace=True, strict=True)
    return read_rows(reader, where, required, used=used, lower=lower, decimal_comma=dialect.delimiter != ",")


class RowsOfCells(Protocol):
    """Rows of cells, as `csv.reader` has them: ``line_num`` is the line of the last one."""

    @property
    def line_num(self) -> int:
        """1-based."""

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the header, then the rows."""


def read_rows(
    reader: RowsOfCells,
    where: str,
    required: Sequence[str],
    *,
    used: Sequence[str] | None = None,
    lower: bool = True,
    decimal_comma: bool = False,
) -> Iterator[Row]:
    """Rows of a table that is cells already, see `read_table`.

    Parameters
    ----------
    reader : RowsOfCells
    where : str
        What it is, for messages.
    required, used : sequence of str
    lower : bool
    decimal_comma : bool
        Whether a comma within a number is a point.
    """
    columns: dict[str, int] = {}
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells) or (not columns and cells[0].startswith("#")):
                continue
            if not columns:
                columns = _header(
                    where, reader.line_num, [c.strip().lower() if lower else c.strip() for c in cells], required, used
                )
                continue
            if len(cells) != len(columns):
                raise InputError(
                    f"has {len(cells)} cells where the header has {len(columns)}",
                    where,
                    reader.line_num,
                    min(len(cells), len(columns)) + 1,
                )
            named = dict(zip(columns, (c.strip() for c in cells), strict=True))
            yield Row(where, reader.line_num, named, columns, decimal_comma=decimal_comma)
    except csv.Error as error:
        raise InputError(f"is not CSV ({error})", where, reader.line_num) from None
    if not columns:
        raise InputError(f"is empty; expected a header with {', '.join(required)}", where, 1)


def _header(
    path: str, line: int, names: list[str], required: Sequence[str], used: Sequence[str] | None
) -> dict[str, int]:
    columns: dict[str, int] = {}
    for position, written in enumerate(names, 1):
        # Spreadsheets leave empty columns at the end of every line.
        name = written or f"column {position}"
        if name in columns:
            raise InputError(f"column {name!r} appears twice", path, line, position)
        columns[name] = position
    for name in required:
        if name not in columns:
            raise InputError(f"has no column {name!r} (it has {', '.join(columns)})", path, line)
    if used is not None:
        for name, position in columns.items():
            if names[position - 1] and name not in used:
                use = f"leave it out (used: {', '.join(dict.fromkeys(used))})"
                raise InputError(f"column {name!r} is not used here{meant(name, used)}; {use}", path, line, position)
    return columns
