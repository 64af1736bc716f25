"""Hourly tables with clock times: read fast, every complaint with its place; an hour without a value is a hole."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.dialect import sniff
from wattshed.agent.inputs.tables import read_bytes
from wattshed.agent.inputs.text import HEAD_BYTES, decoded
from wattshed.agent.inputs.written_times import parse_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class HourlyTable:
    """Columns by the hour, in UTC.

    Attributes
    ----------
    hours : int64[h]
        Hours since 1970, ascending, each once.
    values : mapping of name -> float64[h]
        Means of the rows of an hour; NaN where none has a number.
    """

    hours: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]

    def at(self, hours: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Return the columns at some hours; NaN where the table lacks one."""
        if not self.hours.size:
            return {name: np.full(hours.size, math.nan) for name in self.values}
        place = np.clip(np.searchsorted(self.hours, hours), 0, self.hours.size - 1)
        there = self.hours[place] == hours
        return {name: np.where(there, column[place], math.nan) for name, column in self.values.items()}


def read_hourly(path: str, columns: Mapping[str, str]) -> HourlyTable:
    """Read a table of a row an hour, or of several.

    Parameters
    ----------
    path : str
    columns : mapping of name -> header
        ``time`` among the names; times without a zone are UTC.

    Raises
    ------
    InputError
        If a column is missing, or a cell is neither empty nor what it should be; it names the place.
    """
    text = decoded(read_bytes(path), path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sniff(text[:HEAD_BYTES]).delimiter)
    rows = [(reader.line_num, cells) for cells in reader if cells and any(cells)]
    if not rows:
        raise InputError("is empty; expected a header", path, 1)
    (line, header), body = rows[0], rows[1:]
    header = [cell.strip() for cell in header]
    for written in columns.values():
        if written not in header:
            raise InputError(f"has no column {written!r} (it has {', '.join(header)})", path, line)
    for number, cells in body:
        if len(cells) != len(header):
            raise InputError(f"has {len(cells)} cells where the header has {len(header)}", path, number, 1)
    at = {name: header.index(written) for name, written in columns.items()}
    seconds = np.array(_column(path, body, at["time"], _second), np.float64)
    hours, place = np.unique(np.floor(seconds / _HOUR_S).astype(np.int64), return_inverse=True)
    values = {}
    for name, i in at.items():
        if name != "time":
            column = np.array(_column(path, body, i, _number), np.float64)
            known = ~np.isnan(column)
            count = np.bincount(place[known], minlength=hours.size)
            total = np.bincount(place[known], column[known], minlength=hours.size)
            values[name] = np.where(count > 0, total / np.maximum(count, 1), math.nan)
    return HourlyTable(hours, values)


def _column(path: str, body: Sequence[tuple[int, list[str]]], i: int, read: object) -> list[float]:
    """Read a column; only where it fails, cell by cell for the place."""
    if not callable(read):
        raise TypeError(read)
    try:
        return [read(cells[i]) for _, cells in body]
    except ValueError:
        for line, cells in body:
            try:
                read(cells[i])
            except ValueError:
                _refuse(path, line, i, cells[i], "time" if read is _second else "number")
        raise


def _refuse(path: str, line: int, i: int, cell: str, noun: str) -> NoReturn:
    raise InputError(f"{cell.strip()!r} is not a {noun}; leave the cell empty where there is none", path, line, i + 1)


def _number(cell: str) -> float:
    text = cell.strip()
    if not text:
        return math.nan
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _second(cell: str) -> float:
    try:
        at = datetime.fromisoformat(cell.strip())
    except ValueError:
        found = parse_text(cell.strip())
        if found is None:
            raise
        return found[0] / 1e6
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
