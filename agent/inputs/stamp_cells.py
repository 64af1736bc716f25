"""Stamps that stand before the cells of a table: ``date`` on the same line, or on a line of its own above the rows.

``while true; do echo "$(date +%s) $(nvidia-smi --query-gpu=power.draw --format=csv,noheader)"; sleep 1; done`` writes
the one, ``date`` and ``nvidia-smi`` one after the other write the other. Either way a stamp becomes the first cell.
"""

from __future__ import annotations

from dataclasses import dataclass

from wattshed.agent.inputs.line_stamps import stamp_alone, stamp_before

NONE, BEFORE, ABOVE = "", "before", "above"
"""Where stamps stand: nowhere but in cells, before the cells of each line, or on lines of their own above them."""


@dataclass(slots=True)
class StampJoiner:
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
        return f"{stamp}{self.delimiter}{rest}" if stamp else line
