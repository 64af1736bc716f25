"""Stamps that stand before the lines of a log, perhaps with a host and a program, or on lines of their own.

``ts``, ``journalctl``, syslog, ``docker logs -t`` and loops around ``date`` write the time at which they saw a line in
front of it. What they saw is read as if they had not, and the time is taken from them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.inputs.text import head_of, open_lines
from wattshed.agent.inputs.timestamps import parse_number, parse_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_CLOCK = r"\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?"
_NUMBER, _ISO, _AMERICAN, _NO_YEAR, _NO_DAY = "number", "iso", "american", "no year", "no day"
_STAMPS = {
    _NUMBER: r"1\d{9}(?:[.,]\d{1,9})?|1\d{12}|1\d{15}|1\d{18}",
    _ISO: rf"(?:[A-Z][a-z]{{2}} )?\d{{4}}[-/.]\d\d?[-/.]\d\d?[T _]{_CLOCK}(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?",
    _AMERICAN: rf"\d\d[-/]\d\d[-/]\d{{4}} {_CLOCK}",
    "date": rf"[A-Z][a-z]{{2}},? [A-Z][a-z]{{2}} [ \d]?\d {_CLOCK}(?: [AP]M)?(?: [A-Z]{{2,5}}| [+-]\d\d)? \d{{4}}"
    rf"|[A-Z][a-z]{{2}},? \d\d? [A-Z][a-z]{{2}} \d{{4}} {_CLOCK}(?: [AP]M)?(?: [A-Z]{{2,5}}| [+-]\d\d)?",
    _NO_YEAR: rf"[A-Z][a-z]{{2}} [ \d]?\d {_CLOCK}",
    _NO_DAY: rf"{_CLOCK}",
}
_BEHIND = (
    r"[\])]?"
    r"(?: (?P<host>[\w.-]+) [\w./()@:-]+(?:\[\d+\])?:(?: |$)"  # syslog, journalctl
    r"| std(?:out|err) [FP](?: |$)"  # a container's log in Kubernetes
    r"|\s?[-:,;|>]?(?:[ \t]|$))"
)
_LOOKED_AT = 80
_HALF_A_YEAR_US = 183 * 86_400_000_000
_DAY_US = 86_400_000_000
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905 - as they are written
_WORDED = re.compile(
    r"(?:(?P<m1>[A-Z][a-z]{2}) +(?P<d1>\d{1,2})|(?P<d2>\d{1,2}) (?P<m2>[A-Z][a-z]{2}))"
    rf"(?: (?P<y1>\d{{4}}))? (?P<clock>{_CLOCK})(?: (?P<half>[AP]M))?(?: (?P<zone>[A-Z]{{3,5}}|[+-]\d\d))?"
    r"(?: (?P<y2>\d{4}))?$"
)

NO_YEAR = "its times have no year: that is taken in which the file was last written"
NO_DAY = "its times have no day: 1970-01-01 is taken"


def date_of(text: str, year: int = 0) -> tuple[int, bool] | None:
    """Read a date as ``date``, nvidia-smi and syslog write it.

    Parameters
    ----------
    text : str
        All of it is the date.
    year : int
        Of a date that has none.

    Returns
    -------
    (int, bool) or None
        Microseconds, and whether they are local; None if it is not a date.
    """
    text = " ".join(text.split())
    match = _WORDED.search(text)
    if match is None or (match.start() and not re.fullmatch(r"[A-Z][a-z]{2},? ", text[: match.start()])):
        return None
    month, day = (match["m1"] or match["m2"]).lower(), match["d1"] or match["d2"]
    if month not in _MONTHS or not (match["y1"] or match["y2"] or year):
        return None
    hour, _, rest = match["clock"].replace(",", ".").partition(":")
    if match["half"]:
        hour = str(int(hour) % 12 + 12 * (match["half"] == "PM"))
    written = f"{int(match['y1'] or match['y2'] or year):04}-{_MONTHS.index(month) + 1:02}-{int(day):02} {hour}:{rest}"
    zone = match["zone"] or ""
    return parse_text(written + (zone if zone in {"UTC", "GMT"} or zone[:1] in {"+", "-"} else ""))


class Stamped(NamedTuple):
    """A line without what stood before it.

    Attributes
    ----------
    number : int
        1-based line.
    text : str
    stamp : (int, bool) or None
        Microseconds, and whether they are local; None if there is none, or it cannot be read.
    host : str
        Empty if it is not said.
    """

    number: int
    text: str
    stamp: tuple[int, bool] | None = None
    host: str = ""


@dataclass(slots=True)
class Prefix:
    """What all lines of one log begin with; it remembers the last stamp, for those that lack the year or the day.

    Attributes
    ----------
    kind : str
    year : int
        Of the first line, where stamps have none.
    """

    kind: str
    year: int = 1970
    _pattern: re.Pattern[str] = field(init=False, repr=False)
    _last: tuple[str, tuple[int, bool] | None] = field(default=("", None), init=False, repr=False)
    _last_us: int = field(default=-1, init=False, repr=False)
    _days: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self._pattern = _PATTERNS[self.kind]

    @property
    def note(self) -> str:
        """What had to be assumed of its stamps; empty if nothing."""
        return {_NO_YEAR: NO_YEAR, _NO_DAY: NO_DAY}.get(self.kind, "")

    @property
    def is_number(self) -> bool:
        """Whether its stamps count from 1970."""
        return self.kind == _NUMBER

    def bare(self, line: str) -> str:
        """Return a line without it."""
        match = self._pattern.match(line)
        return line[match.end() :] if match else line

    def split(self, number: int, line: str) -> Stamped:
        """Take it off a line."""
        match = self._pattern.match(line)
        if match is None:
            return Stamped(number, line)
        text = match["stamp"]
        if text != self._last[0]:
            self._last = text, self._read(text)
        return Stamped(number, line[match.end() :], self._last[1], match["host"] or "")

    def _read(self, text: str) -> tuple[int, bool] | None:
        if self.kind == _NUMBER:
            number = parse_number(text.replace(",", "."))
            return None if number is None else (number, False)
        if self.kind == _ISO:
            return parse_text(re.sub(r"^[A-Z][a-z]{2} ", "", text).replace("_", " "))
        if self.kind == _AMERICAN:
            return parse_text(text, month_first=True)
        if self.kind == _NO_DAY:
            found = parse_text(f"1970-01-01 {text}")
            if found is None:
                return None
            self._days += found[0] + self._days * _DAY_US < self._last_us - _DAY_US // 2
            self._last_us = found[0] + self._days * _DAY_US
            return self._last_us, True
        found = date_of(text, self.year)
        if found is not None and self.kind == _NO_YEAR:
            if found[0] < self._last_us - _HALF_A_YEAR_US:  # past New Year's Eve
                self.year += 1
                found = date_of(text, self.year) or found
            self._last_us = found[0]
        return found


_SEPARATORS = set(",;|\t")
_ALONE = re.compile(rf"[\s\[(#=-]*({'|'.join(stamp for kind, stamp in _STAMPS.items() if kind != _NO_DAY)})[\s\])=:-]*")
_PATTERNS = {kind: re.compile(rf"[\[(]?(?P<stamp>{stamp}){_BEHIND}") for kind, stamp in _STAMPS.items()}


def stamp_before(line: str) -> tuple[str, str]:
    """Split the stamp that a row of a table begins with from its cells; ("", line) if blanks set none apart."""
    text = line.lstrip()
    for kind, pattern in _PATTERNS.items():
        match = pattern.match(text) if kind != _NO_DAY else None
        if match is None:
            continue
        rest = text[match.end() :].lstrip(" ")
        is_cell = set(text[match.end("stamp") : match.end()]) & _SEPARATORS or not rest or rest[0] in _SEPARATORS
        return ("", line) if is_cell or stamp_alone(line) else (_plain(match["stamp"]), rest)
    return "", line


def stamp_alone(line: str) -> str:
    """Return the stamp that is all of a line; empty if it is anything else."""
    match = _ALONE.fullmatch(line)
    if match is None or "," in match[1][-10:]:  # a comma within the seconds separates cells
        return ""
    stamp = _plain(match[1])
    return stamp if (stamp.replace(".", "").isdecimal() or parse_text(stamp)) else ""


def _plain(stamp: str) -> str:
    """Write a stamp as columns of stamps have it: a date without the day of the week."""
    return re.sub(r"^[A-Z][a-z]{2} (?=\d{4})", "", stamp).replace("_", " ").replace(",", ".") if stamp[:1] else stamp


def prefix_of(lines: Sequence[str], written: datetime | None = None) -> Prefix | None:
    """Find what nearly all lines of a log begin with; None if they do not.

    Parameters
    ----------
    lines : sequence of str
        The first ones.
    written : datetime, optional
        When the file was last written.
    """
    lines = [line for line in lines[: _LOOKED_AT + 1] if line.strip()]
    lines = lines[:-1] or lines  # the last may be cut off
    for kind, pattern in _PATTERNS.items():
        found = [match for match in map(pattern.match, lines) if match]
        others = [line for line in lines if not pattern.match(line)]
        if len(found) * 10 < len(lines) * 9 or not found or any(line.startswith("#") for line in others):
            continue  # behind a header without one, they are a column
        prefix = Prefix(kind)
        if kind == _NO_YEAR and written is not None:
            first = date_of(found[0]["stamp"], written.year)
            latest = (written.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6
            prefix.year = written.year - bool(first and first[0] > latest + _DAY_US)
        if kind == _NO_DAY and found[-1]["stamp"] < found[0]["stamp"]:
            continue  # the time since the line before: `ts -i`
        return prefix
    return None


def prefix_of_file(path: Path) -> Prefix | None:
    """Find what nearly all lines of a file begin with; None if they do not."""
    return prefix_of(head_of(path).splitlines(), written_at(path))


def written_at(path: Path) -> datetime:
    """Return when a file was last written."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def stamped_lines(path: Path) -> Iterator[Stamped]:
    """Read the lines of a file, without what stands before each of them."""
    prefix = prefix_of_file(path)
    with open_lines(path) as file:
        for number, line in enumerate(file, 1):
            yield prefix.split(number, line) if prefix else Stamped(number, line)
