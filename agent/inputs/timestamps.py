"""Time stamps of any tool to whole microseconds since 1970, UTC.

Naive local times are turned by the zone that the user names; in the hour that the clock repeats in autumn the order of
the file decides which of the two it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.arrow import pa, pc
from wattshed.agent.inputs.partial_times import (
    EXCEL_DAYS,
    NO_TIME,
    TurnsOfClocks,
    are_excel_days,
    first_text,
    of_day,
    of_excel,
    of_hour,
    with_date,
)
from wattshed.agent.inputs.quantities import cast_or_none
from wattshed.agent.inputs.written_times import DATE_ORDERS, DIGITS, is_month_first, is_stamp, order_of, parse_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["NO_TIME", "UNITS", "Stamps", "TimestampParser", "is_stamp", "parse_number", "parse_text", "unit_of", "zone"]

UNITS: Mapping[str, int] = {
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
}
"""Nanoseconds in each unit of numeric stamps."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEP_US = 900_000_000  # zones change by whole quarters of an hour, at whole quarters
_STEPS_A_DAY = 96
_LATEST_US = 253_402_300_800_000_000  # year 10000
_WRITTEN = {"iso", *DATE_ORDERS}
_COMMA = re.compile(r"\d+,\d+")
_FIXED = re.compile(rb"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?Z?")


def zone(name: str) -> tzinfo:
    """Look a time zone up by its IANA name.

    Raises
    ------
    InputError
        If there is no such zone.
    """
    if name == "UTC":
        return UTC  # the very object: whoever need not turn times tells it by that
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 - it looks for its data through sysconfig

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(
            f"--timezone: no time zone is named {name!r}; use an IANA name such as Europe/Berlin"
        ) from error


def parse_number(text: str, unit: str = "") -> int | None:
    """Read a numeric stamp in ``unit`` (see `UNITS`; empty: by its size) into microseconds."""
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        return None
    if not value.is_finite() or value.adjusted() > 18:  # its power of ten: to compare such numbers may overflow
        return None
    if unit in EXCEL_DAYS:
        stamp = int(((value - EXCEL_DAYS[unit]) * 86_400_000).to_integral_value()) * 1000
    else:
        stamp = int((value * UNITS[unit or unit_of(float(value))] / 1000).to_integral_value())
    return stamp if abs(stamp) < _LATEST_US else None


def unit_of(value: float) -> str:
    """Guess the unit of an epoch stamp: present-day stamps have 10, 13, 16 or 19 digits."""
    for unit, limit in (("s", 1e11), ("ms", 1e14), ("us", 1e17)):
        if abs(value) < limit:
            return unit
    return "ns"


@dataclass(frozen=True, slots=True)
class Stamps:
    """A column of written stamps that are read already.

    Attributes
    ----------
    time_us : int64[n], us
    naive : bool
        They name no zone.
    tick_us : int, us
        What their last digit stands for, at least 1.
    """

    time_us: NDArray[np.int64]
    naive: bool
    tick_us: int

    def __len__(self) -> int:
        return self.time_us.size

    def __getitem__(self, rows: slice) -> Stamps:
        return replace(self, time_us=self.time_us[rows])

    def filter(self, mask: Any) -> Stamps:
        """Select rows by a pyarrow array of truths, as a column of pyarrow does."""
        return replace(self, time_us=self.time_us[np.asarray(mask.to_numpy(zero_copy_only=False), bool)])


class TimestampParser:
    """Turns columns of stamps into UTC microseconds; keeps its place in the repeated hour of autumn.

    Parameters
    ----------
    local : tzinfo
        The zone of naive stamps.
    unit : str
        A key of `UNITS` or `EXCEL_DAYS` for numeric stamps, ``iso`` or one of `DATE_ORDERS` for written ones, empty to
        tell by the first.
    period_us : int, us
        How far rounds are apart in a log without stamps; 0 if nobody said.
    back_us : int, us
        A stamp that goes back by more, within the hour that the clock repeats, is of its second pass; -1 for tables in
        which each row has a time of its own.

    Attributes
    ----------
    assumed : str
        What had to be assumed of the stamps read so far; empty if nothing.
    unclear : str
        Why the stamps read last can mean several times; empty if they cannot.
    """

    def __init__(
        self, local: tzinfo = UTC, unit: str = "", period_us: int = 0, *, back_us: int = 1_800_000_000
    ) -> None:
        self._local, self._unit, self.period_us, self._back_us = local, unit, period_us, back_us
        self._last_us = NO_TIME
        self._second = False
        self._order = unit if unit in DATE_ORDERS else ""
        self._month_first = {"mdy": True, "dmy": False}.get(unit)
        self._days, self._hours = TurnsOfClocks.of_days(), TurnsOfClocks.of_hours()
        self.assumed = self.unclear = ""

    @property
    def unit(self) -> str:
        """Unit of numeric stamps, as given or as found; empty if not known yet, ``iso`` never."""
        return self._unit if self._unit in UNITS else ""

    def read(self, column: Any, date: Any = None, *, dated: bool = False) -> NDArray[np.int64]:
        """Read a pyarrow column (text, numbers or timestamps), in the order of the file.

        Parameters
        ----------
        column : pyarrow.Array or Stamps
        date : pyarrow.Array, optional
            The dates of times of day; ignored where the stamps are whole by themselves.
        dated : bool
            The column is called a date.

        Returns
        -------
        int64[n], us
            `NO_TIME` where a cell cannot be read.
        """
        if isinstance(column, Stamps):
            return self.utc(column.time_us) if column.naive else column.time_us
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if date is not None:
            column = with_date(date.dictionary_decode() if pa.types.is_dictionary(date.type) else date, column)
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            naive = not getattr(column.type, "tz", None)
            stamps = pc.cast(column, pa.timestamp("us", getattr(column.type, "tz", None)), safe=False).view(pa.int64())
            if not column.null_count:
                known: NDArray[np.int64] = stamps.to_numpy(zero_copy_only=False)
                return self.utc(known) if naive else known
            missing = column.is_null().to_numpy(zero_copy_only=False)
            whole: NDArray[np.int64] = pc.fill_null(stamps, 0).to_numpy(zero_copy_only=False)
            times: NDArray[np.int64] = np.where(missing, NO_TIME, self.utc(whole) if naive else whole)
            return times
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
            return self._numbers(column, dated=dated)
        trimmed = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
        first = first_text(trimmed)
        if of_day(first) is not None:
            self.assumed = "its times have no date; the first day is taken for 1970-01-01"
            return self.utc(self._days.read(trimmed))
        if of_hour(first) is not None:
            self.assumed = "its times are minutes and seconds; past a full hour the next one is taken to begin"
            return self._hours.read(trimmed)
        if _COMMA.fullmatch(first):
            trimmed = pc.replace_substring(trimmed, ",", ".")
        if self._unit not in _WRITTEN and not DIGITS.match(first):
            numbers = cast_or_none(trimmed, pa.int64() if self._unit == "ns" else pa.float64())
            if numbers is not None:
                return self._numbers(numbers, dated=dated)
        fixed = _fixed_width(trimmed)
        if fixed is not None:
            times, naive = fixed
            return self.utc(times) if naive else times
        return self._texts(trimmed)

    def _numbers(self, column: Any, *, dated: bool) -> NDArray[np.int64]:
        if pa.types.is_integer(column.type) and self._unit not in EXCEL_DAYS:
            return self._integers(column)
        missing = column.is_null().to_numpy(zero_copy_only=False)
        values = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        missing |= ~np.isfinite(values)
        self._settle(values[~missing], dated=dated)
        values = np.where(missing, 0.0, values)
        excel = self._unit in EXCEL_DAYS
        scaled = of_excel(values, self._unit) if excel else values * (UNITS[self._unit or "s"] / 1000)
        fits = np.abs(scaled) < _LATEST_US
        times = np.rint(np.where(fits, scaled, 0.0)).astype(np.int64)
        return np.where(missing | ~fits, NO_TIME, self.utc(times) if excel else times)

    def _integers(self, column: Any) -> NDArray[np.int64]:
        whole: NDArray[np.int64] = pc.fill_null(pc.cast(column, pa.int64(), safe=False), 0).to_numpy(
            zero_copy_only=False
        )
        missing = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        self._settle((whole if missing is None else whole[~missing])[:1].astype(np.float64))
        ns = UNITS[self._unit or "s"]
        latest = _LATEST_US * 1000 // ns
        if missing is None and whole.size and -latest < int(whole.min()) and int(whole.max()) < latest:
            wrong = None
            kept = whole
        else:
            fits = (whole > -latest) & (whole < latest)
            wrong = ~fits if missing is None else missing | ~fits
            kept = np.where(fits, whole, 0)
        stamps = kept * (ns // 1000) if ns > 1000 else kept if ns == 1000 else kept // (1000 // ns)
        return stamps if wrong is None else np.where(wrong, NO_TIME, stamps)

    def _settle(self, values: NDArray[np.float64], *, dated: bool = False) -> None:
        if self._unit or not values.size:
            return
        self._unit = unit_of(float(values[0]))
        if self._unit == "s" and are_excel_days(values, dated=dated):
            self._unit = "excel"
            self.assumed = (
                "its times are read as a spreadsheet's days since 1900 (time=COLUMN:excel1904 for since 1904)"
            )

    def _texts(self, column: Any) -> NDArray[np.int64]:
        encoded = pc.dictionary_encode(pc.fill_null(column, ""))
        texts = encoded.dictionary.to_pylist()
        if self._month_first is None:
            self._month_first = is_month_first(texts)
        if not self._order:
            self._order, self.unclear = order_of(texts)
        stamps, naive = np.full(len(texts), NO_TIME), np.zeros(len(texts), bool)
        for i, text in enumerate(texts):
            found = parse_text(text, month_first=bool(self._month_first), order=self._order)
            if found is not None:
                stamps[i], naive[i] = found
            elif self._unit not in _WRITTEN and (number := parse_number(text, self._unit)) is not None:
                stamps[i] = number
        index = encoded.indices.to_numpy(zero_copy_only=False)
        times: NDArray[np.int64] = stamps[index]
        local = naive[index]
        if local.any():
            times[local] = self.utc(times[local])
        return times

    def _offsets_us(self, step: int) -> tuple[int, int]:
        """Offsets of the zone at a quarter of an hour of its clock, in both passes of an hour that it repeats."""
        within = min(step, _LATEST_US // _STEP_US - _STEPS_A_DAY)
        moment = (_EPOCH + timedelta(microseconds=within * _STEP_US)).replace(tzinfo=self._local)
        first, second = (moment.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1))
        return first // timedelta(microseconds=1), second // timedelta(microseconds=1)

    def utc(self, local_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """Turn naive local stamps (us), in the order of the file, into UTC."""
        if self._local is UTC or not local_us.size:
            return local_us
        steps, index = np.unique(local_us // _STEP_US, return_inverse=True)
        days, of_day = np.unique(steps // _STEPS_A_DAY, return_inverse=True)
        ends = {day: self._offsets_us(day * _STEPS_A_DAY) for day in {*days.tolist(), *(days + 1).tolist()}}
        both = np.array([ends[day] for day in days.tolist()], np.int64)[of_day]
        earlier, later = both[:, 0], both[:, 1]
        turned = np.array([len({*ends[day], *ends[day + 1]}) > 1 for day in days.tolist()])[of_day]
        for i in np.flatnonzero(turned).tolist():
            earlier[i], later[i] = self._offsets_us(int(steps[i]))
        doubtful = (earlier > later)[index]
        offsets = earlier[index]
        if doubtful.any():
            before = np.concatenate(([self._last_us], local_us[:-1]))
            back = doubtful & (before - local_us > self._back_us) & (before != NO_TIME)
            for i in map(int, np.flatnonzero(doubtful | np.concatenate(([False], doubtful[:-1])))):
                self._second = bool(doubtful[i] and (self._second or back[i]))
                offsets[i] = later[index[i]] if self._second and doubtful[i] else offsets[i]
        else:
            self._second = False
        self._last_us = int(local_us[-1])
        return local_us - offsets


def _fixed_width(column: Any) -> tuple[NDArray[np.int64], bool] | None:
    """Read ``2023/07/30 17:28:02.589`` where all cells have this very shape; None where they do not."""
    if not len(column) or column.null_count:
        return None
    lengths = pc.binary_length(column)
    width = lengths[0].as_py()
    if pc.min_max(lengths).as_py() != {"min": width, "max": width}:
        return None
    first = column[0].as_py().encode()
    if not _FIXED.fullmatch(first):
        return None
    table = np.frombuffer(pc.binary_join(_as_list(column), "").cast(pa.binary())[0].as_py(), np.uint8)
    if table.size != width * len(column):
        return None
    cells = table.reshape(len(column), width)
    is_digit = np.frombuffer(bytes(int(chr(c).isdecimal()) for c in first), np.uint8).astype(bool)
    digits = cells[:, is_digit] - np.uint8(48)
    if (digits > 9).any() or (cells[:, ~is_digit] != np.frombuffer(first, np.uint8)[~is_digit]).any():
        return None

    def number(start: int, stop: int) -> NDArray[np.int64]:
        value = np.zeros(len(cells), np.int64)
        for i in range(start, stop):
            value = value * 10 + digits[:, i]
        return value

    year, month, day = number(0, 4), number(4, 6), number(6, 8)
    hour, minute, second = number(8, 10), number(10, 12), number(12, 14)
    if ((month < 1) | (month > 12) | (day < 1) | (day > 31) | (hour > 23) | (minute > 59) | (second > 60)).any():
        return None
    places = digits.shape[1] - 14
    fraction = number(14, 14 + min(places, 6)) * 10 ** (6 - min(places, 6))
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    dates = months.astype("datetime64[D]") + (day - 1)
    if (dates.astype("datetime64[M]") != months).any():  # 30 February
        return None
    days = dates.astype(np.int64)
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    return seconds * 1_000_000 + fraction, not first.endswith(b"Z")


def _as_list(column: Any) -> Any:
    column = column.cast(pa.string())
    return pa.ListArray.from_arrays(pa.array([0, len(column)], pa.int32()), column)
