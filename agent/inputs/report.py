"""What was read from one source, and what of it could not be used, by reason and with the first bad lines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

BOARD = "GPU board"
_FIRST_BAD = 5


@dataclass(frozen=True, slots=True)
class BadLine:
    """One cell that could not be used: 1-based line and column (0 unknown), what stood there, and why not."""

    line: int
    column: int
    text: str
    reason: str


@dataclass(slots=True)
class SourceReport:
    """Counts of one source, filled while it is read.

    Attributes
    ----------
    path, format : str
    rows : int
        Rows (samples) seen.
    rejected : Counter of reason -> rows
        Rows that gave no usable number. What is a number but no plausible power is counted by the accounts.
    bad : list of BadLine
        The first few.
    notes : list of str
        What the reader had to assume or leave out; shown to the user once.
    gpus : int
        GPUs found.
    position : int
        Bytes of the file that have been read, for the progress bar.
    first : BadLine or None
        The first reading, to name where none can be used.
    boundary : str
        What its power or energy is of.
    """

    path: str
    format: str = ""
    rows: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    bad: list[BadLine] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    gpus: int = 0
    position: int = 0
    first: BadLine | None = None
    boundary: str = BOARD

    def reject(self, reason: str, rows: int = 1, *, line: int = 0, column: int = 0, text: str = "") -> None:
        """Count rows that cannot be used."""
        if rows > 0:
            self.rejected[reason] += rows
            if len(self.bad) < _FIRST_BAD:
                self.bad.append(BadLine(line, column, text[:80], reason))

    def note(self, text: str) -> None:
        """Remember a remark, once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def rows_rejected(self) -> int:
        """Rows that gave no usable number."""
        return sum(self.rejected.values())

    def nothing_usable(self, names: Sequence[str]) -> InputError | None:
        """Say why a table of which no row was usable cannot be read; None if it merely holds no reading.

        Parameters
        ----------
        names : sequence of str
            All columns of the table.
        """
        for bad in self.bad:
            if bad.reason in {"not_a_number", "packed", "no_time"}:
                column = names[bad.column - 1] if 0 < bad.column <= len(names) else "it"
                what = "time" if bad.reason == "no_time" else "number"
                return InputError(f"{column} holds no {what}: {bad.text!r}", self.path, bad.line, bad.column)
        if self.bad and self.rows == self.rejected["wrong_number_of_columns"]:
            return InputError("no row has as many columns as the header", self.path, self.bad[0].line)
        return None if self.rows else InputError("it has a header and no rows", self.path)

    def left_out(self) -> tuple[str, ...]:
        """Say which rows were left out, in the form of an error (file, line, what is wrong), and how many."""
        if not self.rejected:
            return ()
        first = (InputError(f"{bad.reason}; the row is left out", self.path, bad.line, bad.column) for bad in self.bad)
        return (*map(str, first), f"{self.path}: {self.rows_rejected} of {self.rows} rows are left out")
