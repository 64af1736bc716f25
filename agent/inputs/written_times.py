"""Dates and times as people and programs write them, one by one, into microseconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from wattshed.agent.inputs.partial_times import of_day, of_hour

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZONE = r"\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?"
_ISO = re.compile(
    r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?" + _ZONE,
    re.IGNORECASE,
)
_COMPACT = re.compile(
    r"(\d{4})[-_]?(\d{2})[-_]?(\d{2})[T _-]?(\d{2})[-_:]?(\d{2})[-_:]?(\d{2})(?:[.,](\d{1,9}))?" + _ZONE,
    re.IGNORECASE,
)
_DAY_FIRST = re.compile(
    r"(\d{1,2})([./-])(\d{1,2})[./-](\d{4}|(?<=\.)\d{2})[T ,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,:](\d{1,9}))?)?"
    r"\s*([AaPp][Mm])?"
)
_SHORT = re.compile(
    r"(\d{1,2})/(\d{1,2})/(\d{1,2})[T ,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,:](\d{1,9}))?)?\s*([AaPp][Mm])?"
)
DATE_ORDERS = ("ymd", "mdy", "dmy")
"""In which order year, month and day stand in a date of numbers."""
_YEARS = range(2010, 2050)  # those of a year of two digits; no GPU told its power before
_NAMED = re.compile(
    r"(?:[A-Za-z]{3,9},?\s+)?"
    r"(?:(?P<d>\d{1,2})[ /-](?P<m>[A-Za-z]{3})[a-z]*|(?P<m2>[A-Za-z]{3})[a-z]*\s+(?P<d2>\d{1,2}))"
    r"(?:,?[ /-](?P<y>\d{4})|[/-](?P<yy>\d{2}))?[ :T,@]+(?P<hour>\d{1,2}):(?P<minute>\d{2}):(?P<second>\d{2})"
    r"(?:[.,](?P<fraction>\d{1,9}))?(?:\s*(?P<half>[AaPp][Mm]))?(?:\s*(?P<zone>Z|[A-Z]{3,5}|[+-]\d{2}:?\d{2}))?"
    r"(?:\s+(?P<y2>\d{4}))?"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NO_YEAR = 1972  # has a 29 February
DIGITS = re.compile(r"20\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])[0-2]\d[0-5]\d[0-5]\d")
"""A date and time without any mark; as a number of milliseconds it would be of the year 2600."""


def _stamp(fields: tuple[int, int, int, int, int, int], fraction: str) -> int:
    moment = datetime(*fields[:5], 0, tzinfo=UTC) + timedelta(seconds=fields[5])
    return (moment - _EPOCH) // timedelta(microseconds=1) + int((fraction or "0").ljust(9, "0")) // 1000


def parse_text(text: str, *, month_first: bool = False, order: str = "") -> tuple[int, bool] | None:
    """Read one written date and time.

    Parameters
    ----------
    text : str
    month_first : bool
        Of 03/04/2026 and the like.
    order : str
        Of 26/03/04 and the like, one of `DATE_ORDERS`; empty: only what can be read one way.

    Returns
    -------
    (int, bool) or None
        Microseconds, and whether they are local (naive); None if it is not a date.
    """
    text = text.strip().strip('"')
    try:
        if match := _ISO.fullmatch(text) or _COMPACT.fullmatch(text):
            year, month, day, hour, minute, second, fraction, offset = match.groups()
            stamp = _stamp(
                (int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0)), fraction
            )
            return stamp - _offset_us(offset or ""), offset is None
        if match := _DAY_FIRST.fullmatch(text):
            first, mark, second_, year, hour, minute, second, fraction, half = match.groups()
            american = month_first or half is not None or int(second_) > 12
            day, month = (second_, first) if american and mark != "." and int(first) <= 12 else (first, second_)
            fields = (int(year) % 100 + 2000, int(month), int(day), _hours(hour, half), int(minute), int(second or 0))
            return _stamp(fields, fraction), True
        if match := _SHORT.fullmatch(text):
            dates = {one: date for one in DATE_ORDERS if (date := _date(match, one)) and order in {one, ""}}
            if len(set(dates.values())) != 1:
                return None
            year, month, day = next(iter(dates.values()))
            hour, minute, second, fraction, half = match.groups()[3:]
            return _stamp((year, month, day, _hours(hour, half), int(minute), int(second or 0)), fraction), True
        if match := _NAMED.fullmatch(text):
            return _named(match)
    except (ValueError, OverflowError):
        return None
    return None


def _date(match: re.Match[str], order: str) -> tuple[int, int, int] | None:
    """Return year, month and day of three numbers in an order; None if they are no date."""
    by = dict(zip(order, map(int, match.groups()[:3]), strict=True))
    year = by["y"] + 2000
    try:
        datetime(year, by["m"], by["d"], tzinfo=UTC)
    except ValueError:
        return None
    return (year, by["m"], by["d"]) if year in _YEARS else None


def order_of(texts: Sequence[str]) -> tuple[str, str]:
    """Tell in which order 26/03/04 stands: all must be dates, and of several orders the days go on one by one.

    Returns
    -------
    (str, str)
        One of `DATE_ORDERS`, empty if no text is such a date or it cannot be told; and then why, with what to say.
    """
    found = [match for text in texts if (match := _SHORT.fullmatch(text.strip()))]
    if not found:
        return "", ""
    dates = {order: {_date(match, order) for match in found} for order in DATE_ORDERS}
    dates = {order: days for order, days in dates.items() if None not in days}
    spans = {order: _span(days) for order, days in dates.items()}
    close = [order for order, span in spans.items() if span == min(spans.values())]
    alike = len({frozenset(dates[order]) for order in close}) == 1
    if not dates or len(close) == 1 or alike:
        return (close or [""])[0], ""
    first = found[0]
    said = " or ".join(
        f"{y}-{m:02}-{d:02} ({order})" for order in close if (date := _date(first, order)) for y, m, d in [date]
    )
    text = "/".join(first.groups()[:3])
    return "", f"{text} can be {said}; say --columns time=COLUMN:{close[0]}, or :{' or :'.join(close[1:])}"


def _span(days: set[tuple[int, int, int] | None]) -> int:
    """From the first to the last day."""
    numbers = [datetime(*day, tzinfo=UTC).toordinal() for day in days if day]
    return max(numbers) - min(numbers)


def is_stamp(text: str) -> bool:
    """Return whether a text is a written date and time, or a time of day or of an hour."""
    if ":" not in text:
        return False
    partial = of_day(text) is not None or of_hour(text) is not None
    return partial or parse_text(text) is not None or bool(order_of([text])[1])


def _hours(hour: str, half: str | None) -> int:
    return int(hour) % 12 + 12 * (half.lower() == "pm") if half else int(hour)


def _offset_us(zone: str) -> int:
    """Return how far a zone that is written as a number is ahead of UTC."""
    if zone[:1] not in {"+", "-"}:
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return (minutes if zone[0] == "+" else -minutes) * 60_000_000


def _named(match: re.Match[str]) -> tuple[int, bool]:
    """Read a date with the name of its month, as C, RFC 2822 and people write it; without a year it is of 1972.

    Of the names of zones only those of UTC mean the same everywhere.
    """
    year = int(match["y"] or match["y2"] or (f"20{match['yy']}" if match["yy"] else _NO_YEAR))
    month = _MONTHS.index((match["m"] or match["m2"]).lower()) + 1
    hour = _hours(match["hour"], match["half"])
    fields = (year, month, int(match["d"] or match["d2"]), hour, int(match["minute"]), int(match["second"]))
    zone = match["zone"] or ""
    absolute = zone in {"Z", "UTC", "GMT"} or zone[:1] in {"+", "-"}
    return _stamp(fields, match["fraction"] or "") - _offset_us(zone), not absolute


def is_month_first(texts: list[str]) -> bool | None:
    """Distinguish 12/31 from 31/12 by a day above 12, else by which of the two changes more often: days do.

    American writing also has AM and PM. None if no text is such a date.
    """
    found = [match for text in texts if (match := _DAY_FIRST.fullmatch(text))]
    if not found:
        return None
    if any(int(match[1]) > 12 for match in found):
        return False
    if any(int(match[3]) > 12 or match[9] for match in found):
        return True
    return len({match[3] for match in found}) > len({match[1] for match in found})
