"""Dates and times as people and programs write them, one by one, into microseconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from wattshed.agent.inputs.partial_times import of_day

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
_NAMED = re.compile(
    r"(?:[A-Za-z]{3,9},?\s+)?"
    r"(?:(?P<d>\d{1,2})[ /-](?P<m>[A-Za-z]{3})[a-z]*|(?P<m2>[A-Za-z]{3})[a-z]*\s+(?P<d2>\d{1,2}))"
    r"(?:,?[ /-](?P<y>\d{4})|[/-](?P<yy>\d{2}))?[ :T,]+(?P<hour>\d{1,2}):(?P<minute>\d{2}):(?P<second>\d{2})"
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


def parse_text(text: str, *, month_first: bool = False) -> tuple[int, bool] | None:
    """Read one written date and time.

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
        if match := _NAMED.fullmatch(text):
            return _named(match)
    except (ValueError, OverflowError):
        return None
    return None


def is_stamp(text: str) -> bool:
    """Return whether a text is a written date and time, or a time of day."""
    return ":" in text and (parse_text(text) is not None or of_day(text) is not None)


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
