"""Hourly tables as text: the header below lines of notes, numbers, times of a zone; every complaint with its place."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.dialect import sniff
from wattshed.agent.inputs.tables import read_bytes
from wattshed.agent.inputs.tariffs.tables import CLOCK_MARK, OFFSET_US
from wattshed.agent.inputs.text import HEAD_BYTES, decoded
from wattshed.agent.inputs.timestamps import TimestampParser, parse_text
from wattshed.agent.inputs.written_times import is_month_first

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray

_ABOVE = 60
"""Lines in which a header is looked for: typical years of weather have some twenty lines of notes above it."""
_DAY_US = 86_400_000_000
_DAY_AND_CLOCK = re.compile(r"(.+?)[ ,T]+(\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:\s*[AaPp][Mm])?)")


@dataclass(frozen=True, slots=True)
class HourlyRows:
    """Rows of a file below its header.

    Attributes
    ----------
    path : str
    above : tuple of list of str
        Rows of notes above the header.
    line : int
        Of the header.
    header : tuple of str
    body : tuple of (int, list of str)
        Line and cells of each row.
    """

    path: str
    above: tuple[list[str], ...]
    line: int
    header: tuple[str, ...]
    body: tuple[tuple[int, list[str]], ...]

    def place(self, name: str) -> int:
        """Column of a name.

        Raises
        ------
        InputError
            If there is none.
        """
        if name not in self.header:
            raise InputError(f"has no column {name!r} (it has {', '.join(self.header)})", self.path, self.line)
        return self.header.index(name)

    def starting(self, *beginnings: str) -> str | None:
        """First column whose name begins so, whatever its case."""
        return next((name for name in self.header if name.casefold().startswith(beginnings)), None)

    def cells(self, name: str) -> list[str]:
        """Return the cells of a column."""
        place = self.place(name)
        return [cells[place].strip() for _, cells in self.body]

    def only(self, name: str | None, wanted: str, key: str) -> HourlyRows:
        """Keep the rows of one zone or auction; several are never mixed.

        Raises
        ------
        InputError
            If the one that is wanted is not there, or none is and there are several.
        """
        if name is None:
            return self
        cells = self.cells(name)
        found = sorted(set(cells))
        if wanted:
            alike = {cell for cell in found if wanted in (cell, cell.rpartition("|")[2], cell.rpartition(" ")[2])}
            if not alike:
                raise InputError(f"{key}: the file has no {wanted!r} (it has {_listed(found)})", self.path, self.line)
            return replace(self, body=tuple(r for r, cell in zip(self.body, cells, strict=True) if cell in alike))
        if len(found) > 1:
            raise InputError(f"holds several at once ({_listed(found)}); choose one with {key}", self.path, self.line)
        return self

    def note(self, name: str, most: float) -> float | None:
        """Return a number of the notes above the header, two lines of names and values; None if there is none.

        Raises
        ------
        InputError
            If it is no number, or beyond plus or minus ``most``.
        """
        notes = dict(zip(self.above[-2], self.above[-1], strict=False)) if len(self.above) > 1 else {}
        if name not in notes:
            return None
        try:
            value = float(notes[name])
        except ValueError:
            value = math.nan
        if not abs(value) <= most:
            raise InputError(f"has a {name} of {notes[name]!r} above its header, which cannot be", self.path, self.line)
        return value

    def numbers(
        self, name: str, *, absent: Collection[str] = (), clean: Callable[[str], str] | None = None
    ) -> NDArray[np.float64]:
        """Read a column of numbers: float64[rows], NaN for an empty cell, or one that says that there is none.

        Raises
        ------
        InputError
            If a cell is something else.
        """
        cells = self.cells(name)

        def number(cell: str) -> float:
            text = cell if clean is None else clean(cell)
            if not text or text in absent:
                return math.nan
            value = float(text)
            if not math.isfinite(value):
                raise ValueError(text)
            return value

        try:
            return np.array([number(cell) for cell in cells], np.float64)
        except ValueError:
            for i, cell in enumerate(cells):
                try:
                    number(cell)
                except ValueError:
                    self.refuse(i, name, f"{cell!r} is not a number; leave the cell empty where there is none")
            raise

    def seconds(self, name: str, zone: tzinfo = UTC) -> NDArray[np.float64]:
        """Read a column of times: float64[rows], s since 1970, UTC; of a stretch its beginning.

        A time without a zone is of ``zone``. Of the hour that a clock repeats, rows without a mark are told apart by
        their order.

        Raises
        ------
        InputError
            If a cell is not a time.
        """
        cells = [cell.partition(" - ")[0] for cell in self.cells(name)]
        month_first = bool(is_month_first(list({cell[:10]: cell for cell in cells}.values())))
        read = _iso if cells and _iso(cells[0], month_first) else _written
        stamps = np.empty(len(cells), np.int64)
        naive = np.zeros(len(cells), bool)
        for i, cell in enumerate(cells):
            found = read(cell, month_first) or _written(cell, month_first)
            if found is None:
                self.refuse(i, name, f"{cell!r} is not a time; leave the cell empty where there is none")
            stamps[i], naive[i] = found
        if zone is not UTC and naive.any():
            stamps[naive] = TimestampParser(zone, back_us=-1).utc(stamps[naive])
        return stamps / 1e6

    def refuse(self, row: int, name: str, message: str) -> NoReturn:
        """Complain about a cell."""
        raise InputError(message, self.path, self.body[row][0], self.place(name) + 1)


def _listed(found: Sequence[str]) -> str:
    return ", ".join(found[:12]) + (", ..." if len(found) > 12 else "")


def read_rows_of(path: str, known: Callable[[Sequence[str]], bool]) -> HourlyRows:
    """Read a table of text.

    Parameters
    ----------
    path : str
    known : callable
        Whether a row is the header of a form that is known; where none is, the first row is the header.

    Raises
    ------
    InputError
        If it has no row, or one with another number of cells than the header.
    """
    text = decoded(read_bytes(path), path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sniff(text[:HEAD_BYTES]).delimiter)
    rows = [(reader.line_num, cells) for cells in reader if cells and any(cells)]
    if not rows:
        raise InputError("is empty; expected a header", path, 1)
    at = next((i for i, (_, cells) in enumerate(rows[:_ABOVE]) if known([c.strip() for c in cells])), None)
    first = at or 0
    (line, header), body = rows[first], rows[first + 1 :]
    for i, (number, cells) in enumerate(body):
        if len(cells) != len(header):
            if first and at is not None and len(cells) <= 2:  # notes below the table, where there are some above it
                body = body[:i]
                break
            raise InputError(f"has {len(cells)} cells where the header has {len(header)}", path, number, 1)
    return HourlyRows(
        path, tuple(cells for _, cells in rows[:first]), line, tuple(cell.strip() for cell in header), tuple(body)
    )


def _iso(cell: str, month_first: bool) -> tuple[int, bool] | None:
    """Read one ISO time: us since 1970, and whether it names no zone; None if it is not one."""
    del month_first
    try:
        at = datetime.fromisoformat(cell)
    except ValueError:
        return None
    naive = at.tzinfo is None
    return round((at.replace(tzinfo=UTC) if naive else at).timestamp() * 1e6), naive


def _written(cell: str, month_first: bool) -> tuple[int, bool] | None:
    """Read ``25/10/2026 02:00:00 (CEST)``, ``Oct 27, 2024 2:00 AM`` and the like."""
    mark = CLOCK_MARK.search(cell) if cell.endswith(")") else None
    text = cell[: mark.start()] if mark else cell
    date, _, time = text.partition(" ")
    if " " in time or ":" not in time:
        if (match := _DAY_AND_CLOCK.fullmatch(text)) is None:
            return parse_text(text, month_first=month_first)
        date, time = match.groups()
    day, clock = _day_us(date, month_first), _clock_us(time)
    if day is None or clock is None:
        return None
    return (day + clock, True) if mark is None else (day + clock - OFFSET_US[mark[1]], False)


@lru_cache(maxsize=4096)
def _day_us(text: str, month_first: bool) -> int | None:
    """Midnight of a written date; a file has each of them many times."""
    found = parse_text(f"{text} 00:00:00", month_first=month_first)
    return None if found is None else found[0]


@lru_cache(maxsize=4096)
def _clock_us(text: str) -> int | None:
    """Microseconds into the day of a written time of day."""
    found = parse_text(f"01.01.2000 {text}")
    return None if found is None else found[0] % _DAY_US
