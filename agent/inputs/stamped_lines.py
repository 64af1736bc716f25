"""Stamps that stand before the cells of a table: ``date`` on the same line, or on a line of its own above the rows.

``while true; do echo "$(date +%s) $(nvidia-smi --query-gpu=power.draw --format=csv,noheader)"; sleep 1; done`` writes
the one, ``date`` and ``nvidia-smi`` one after the other write the other. Either way a stamp becomes the first cell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wattshed.agent.inputs.written_times import parse_text

_CLOCK = r"\d{1,2}:\d{2}:\d{2}(?:[.,]\d{1,9})?"
_STAMP = (
    rf"(?>\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}[T ,_]+{_CLOCK}(?:Z|\s?[+-]\d{{2}}:?\d{{2}}|\s[A-Z]{{3,4}}\b)?"
    rf"|[A-Z][a-z]{{2}},? (?:[A-Z][a-z]{{2}} +\d{{1,2}}|\d{{1,2}} [A-Z][a-z]{{2}}) (?:\d{{4}} )?{_CLOCK}(?: [AP]M)?"
    r"(?: [A-Z]{3,5}\b| [+-]\d{2,4})?(?: \d{4}\b)?"  # Sun Mar  1 12:00:00 UTC 2026
    rf"|[A-Z][a-z]{{2}} [ \d]\d {_CLOCK}"  # Mar 01 12:00:00
    r"|1\d{9}(?:\.\d{1,9})?|1\d{12}|1\d{15}|1\d{18})"  # 1700000000
)
_BEFORE = re.compile(rf"\s*[\[(]?({_STAMP})[\])]?(?:[:>]| [-:>])?(?:(?<=[\])])| +)(?=[^\s,;|])")
_ALONE = re.compile(rf"[\s\[(#=-]*({_STAMP})[\s\])=:-]*")

NONE, BEFORE, ABOVE = "", "before", "above"
"""Where stamps stand: nowhere but in cells, before the cells of each line, or on lines of their own above them."""


def stamp_before(line: str) -> tuple[str, str]:
    """Split the stamp that a line begins with from the rest; ("", line) if blanks set none apart."""
    match = _BEFORE.match(line)
    return ("", line) if match is None or stamp_alone(line) else (match[1], line[match.end() :])


def stamp_alone(line: str) -> str:
    """Return the stamp that is all of a line; empty if it is anything else."""
    match = _ALONE.fullmatch(line)
    if match is None or "," in match[1][-10:]:  # a comma within the seconds separates cells
        return ""
    return match[1] if (match[1].replace(".", "").isdecimal() or parse_text(match[1])) else ""


@dataclass(slots=True)
class Joiner:
    """Makes the stamp of each line its first cell; lines keep their places.

    Attributes
    ----------
    where : str
        `BEFORE` or `ABOVE`.
    delimiter : str
    header : str
        What repeated headers say; they are left out.
    stamp : str
        The last one that stood on a line of its own.
    """

    where: str
    delimiter: str
    header: str
    stamp: str

    def joined(self, chunk: bytes) -> bytes:
        """Rewrite a block of whole lines."""
        return "\n".join(map(self._line, chunk.decode("utf-8", "replace").split("\n"))).encode()

    def _line(self, line: str) -> str:
        stamp, rest = self.stamp, line
        if self.where == BEFORE:
            stamp, rest = stamp_before(line)
        elif found := stamp_alone(line):
            self.stamp = found
            return ""
        rest = rest.strip()
        if not rest or rest == self.header:
            return ""
        return f"{stamp.replace(',', '.')}{self.delimiter}{rest}" if stamp else line
