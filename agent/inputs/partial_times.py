"""Stamps in parts: dates and times of day in two columns, times of day or of an hour alone, days of spreadsheets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.inputs.arrow import pa, pc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

NO_TIME = np.iinfo(np.int64).min
"""Stands for a stamp that cannot be read."""

EXCEL_DAYS: Mapping[str, int] = {"excel": 25_569, "excel1904": 24_107}
"""Units of spreadsheets' days: the number that 1 January 1970 has."""

_DAY_US = 86_400_000_000
_DAYS = (30_000.0, 80_000.0)  # 1982 to 2119
_LONGEST_STEP_DAYS = 1.05e-3  # a minute and a half; as seconds it is a pace at which nobody logs
_OF_DAY = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})(?:[.,:](\d{1,9}))?\s*([AaPp][Mm])?|(\d{1,2}):(\d{2})\s*([AaPp][Mm])?")
_HOUR_US = 3_600_000_000
_OF_HOUR = re.compile(r"(\d{1,3}):([0-5]\d)[.,](\d{1,6})")
_MIDNIGHT = r"[ T]0?0:00(:00([.,]0+)?)?$"


def of_day(text: str) -> int | None:
    """Read a time of day (``12:00:00.5``, ``1:05 PM``) into microseconds since midnight; None if it is none."""
    match = _OF_DAY.fullmatch(text.strip())
    if match is None:
        return None
    hour, minute = int(match[1] or match[6]), int(match[2] or match[7])
    if half := match[5] or match[8]:
        hour = hour % 12 + 12 * (half.lower() == "pm")
    if hour > 24 or minute > 59 or int(match[3] or 0) > 60:
        return None
    seconds = (hour * 60 + minute) * 60 + int(match[3] or 0)
    return seconds * 1_000_000 + int((match[4] or "0").ljust(9, "0")) // 1000


def of_hour(text: str) -> int | None:
    """Read minutes and seconds (``59:47.0``, as Excel shows a stamp) into microseconds; None if it is none."""
    match = _OF_HOUR.fullmatch(text.strip())
    return (int(match[1]) * 60 + int(match[2])) * 1_000_000 + int(match[3].ljust(6, "0")) if match else None


def first_text(column: Any) -> str:
    """Return the first cell that is not empty, as text."""
    for chunk in range(0, len(column), 1024):
        for cell in column[chunk : chunk + 1024].to_pylist():
            if cell is not None and str(cell).strip():
                return str(cell).strip()
    return ""


def with_date(date: Any, time: Any) -> Any:
    """Join a column of dates with one of times of day; whichever is a stamp by itself is returned alone.

    Parameters
    ----------
    date, time : pyarrow.Array
        Text, dates or times.
    """
    if pa.types.is_time(time.type):
        time = pc.cast(time, pa.string())
    if of_day(first_text(time)) is None:
        return time
    if pa.types.is_timestamp(date.type):
        date = pc.cast(date, pa.date32(), safe=False)
    days = pc.utf8_trim_whitespace(pc.cast(date, pa.string()))
    days = pc.replace_substring_regex(days, pattern=_MIDNIGHT, replacement="")
    if ":" in first_text(days):
        return date
    return pc.binary_join_element_wise(days, pc.utf8_trim_whitespace(pc.cast(time, pa.string())), " ")


class TurnsOfClocks:
    """Goes on counting where a clock starts again: times of day past midnight, minutes past the full hour.

    Parameters
    ----------
    read : callable
        Reads a cell into microseconds of one turn, counted from 1970-01-01; None if it cannot be read.
    turn_us : int, us
        After so long the clock starts again.
    """

    def __init__(self, read: Callable[[str], int | None], turn_us: int) -> None:
        self._read, self._turn_us = read, turn_us
        self._last_us, self._turns = NO_TIME, 0

    @classmethod
    def of_days(cls) -> TurnsOfClocks:
        """Make one for times of day."""
        return cls(of_day, _DAY_US)

    @classmethod
    def of_hours(cls) -> TurnsOfClocks:
        """Make one for minutes and seconds."""
        return cls(of_hour, _HOUR_US)

    def read(self, column: Any) -> NDArray[np.int64]:
        """Read a column of text, in the order of the file: int64[n], us; `NO_TIME` where a cell cannot be read."""
        encoded = pc.dictionary_encode(pc.fill_null(column, ""))
        found = [self._read(text) for text in encoded.dictionary.to_pylist()]
        values = np.array([NO_TIME if us is None else us for us in found], np.int64)
        times: NDArray[np.int64] = values[encoded.indices.to_numpy(zero_copy_only=False)]
        good = times != NO_TIME
        clock = times[good]
        if clock.size:
            last = clock[0] if self._last_us == NO_TIME else self._last_us
            steps = np.diff(clock, prepend=last)
            # A row that is late across midnight belongs to the day before.
            passed = (steps < -self._turn_us // 2).astype(np.int64) - (steps > self._turn_us - self._turn_us // 24)
            turns = self._turns + np.cumsum(passed)
            self._last_us, self._turns = int(clock[-1]), int(turns[-1])
            times[good] = clock + turns * self._turn_us
        return times


def are_excel_days(values: NDArray[np.float64], *, dated: bool) -> bool:
    """Tell days since 1900 (``45123.5000116``), as spreadsheets count them, by their size and their steps.

    Parameters
    ----------
    values : float64[n]
    dated : bool
        The column is called a date.
    """
    found = np.unique(values)
    if found.size < 2 or found[0] < _DAYS[0] or found[-1] > _DAYS[1] or not (found % 1 != 0).any():
        return False
    return dated or float(np.median(np.diff(found))) <= _LONGEST_STEP_DAYS


def of_excel(days: NDArray[np.float64], unit: str) -> NDArray[np.float64]:
    """Turn days of a spreadsheet into microseconds, to the millisecond: they are not exact below it."""
    milliseconds: NDArray[np.float64] = np.rint((days - EXCEL_DAYS[unit]) * (_DAY_US // 1000))
    return milliseconds * 1000.0
