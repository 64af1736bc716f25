"""Lines of keys and values, ``ts=... gpu=0 power_w=100.2`` (logfmt), perhaps behind a stamp and words of a logger.

A value ends where the next key begins, so that blanks may stand in it; one in quotes ends with them. What stands before
the first key is the stamp, if it is one and no key tells the time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.inputs.columns import guess
from wattshed.agent.inputs.dialect import lines_of
from wattshed.agent.inputs.line_stamps import stamp_before
from wattshed.agent.inputs.text import head_of, open_lines
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.layouts import has_power
from wattshed.agent.traces.foreign.record_tables import read_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.rows import Rows

_KEY = r"(?:^|(?<=\s))[A-Za-z_@][\w.@/%\[\]()-]*="
_PAIR = re.compile(rf'({_KEY})("(?:[^"\\]|\\.)*"|(?:(?!{_KEY}).)*)')
_AROUND = " \t\r\n,;|"
_LEAST = 2  # pairs of a line
_STAMP = "timestamp"


def read_pairs(log: LogFile) -> Iterator[Rows]:
    """Read a log of keys and values.

    Raises
    ------
    InputError
        If it is not clear which key is what, or no line can be used.
    """
    path = log.source.path
    names = _names([record for line in lines_of(head_of(path)) if len(record := _record(line)) >= _LEAST])
    readings = {name for name in names if log.options.columns or has_power([name])} or {*names}
    with open_lines(path) as file:
        records = ((number, _record(line)) for number, line in enumerate(file, 1))
        # What has none of these keys is another message of the program, or the last line, cut off.
        yield from read_records(log, (one for one in records if not readings.isdisjoint(one[1])))


def _names(records: Iterable[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record))


def _record(line: str) -> dict[str, str]:
    """Take a line apart; of a key that stands there twice the first value counts."""
    stamp, rest = stamp_before(line)
    found: dict[str, str] = {}
    for key, value in _PAIR.findall(rest):
        text = value.strip(_AROUND)
        found.setdefault(key[:-1], text[1:-1] if text[:1] == text[-1:] == '"' else text)
    if stamp and found and "time" not in guess([*found]):
        found[_STAMP] = stamp
    return found


def _tells(head: Head) -> bool:
    records = [record for line in head.data if len(record := _record(line)) >= _LEAST]
    if len(records) * 2 <= len(head.data) or not records:
        return False
    return head.told or has_power(_names(records))


FORMAT = Format(
    name="logfmt",
    title="lines of keys and values (logfmt), of loggers of your own",
    told_by="two or more `key=value` in a line, one of them of power or energy",
    reads="as a table of these columns; the time by its key, or the stamp that a logger puts in front",
    traps="lines that have no key of power or energy are other messages, and left out",
    tells=_tells,
    rows=read_pairs,
)
