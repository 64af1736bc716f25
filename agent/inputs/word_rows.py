"""Rows of words as numbers, straight from their bytes: those that are written as the rows above them.

What a row means is said by the reader of its format, line by line; from each row that it reads is learned how rows are
written. The kernel reads on as long as that holds, and gives the next line back to the reader.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from wattshed.kernels.word_rows import LAST, LINES, POSITION, word_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wattshed.agent.inputs.stamp_forms import StampForm

MOST_ROWS = 1 << 16  # at once
_MOST_KNOWN = 8
_LONGEST_KNOWN = 512  # bytes
_NO_FORM = (0, 0, 0, 0, 1, 1, -1)


@dataclass(frozen=True, slots=True)
class WordColumns:
    """Which words of a row are read.

    Attributes
    ----------
    separator : str
        A comma, or a blank for any number of blanks.
    ahead : str
        The word that stands before the first column; empty for none.
    count : int
        Columns that each row has at least.
    numbers : sequence of (int, int)
        The column of each number, and what it is multiplied by; 0: a whole number that names something. The first is
        the index of the GPU.
    """

    separator: str
    ahead: str
    count: int
    numbers: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class WordTable:
    """Rows that were read.

    Attributes
    ----------
    ticks_us : int64[rows], us
        Times since the ``base_us`` of the form of their stamps.
    numbers : int64[numbers, rows]
        Below zero where there is none: see `kernels.word_rows`.
    places : int32[rows]
        The line of each, from 0.
    position, lines : int
        Where the line begins that was not read, and how many were.
    last : int
        Where the last of them begins.
    """

    ticks_us: NDArray[np.int64]
    numbers: NDArray[np.int64]
    places: NDArray[np.int32]
    position: int
    lines: int
    last: int


@dataclass(slots=True)
class WordRows:
    """How the rows of a log are written, as far as is known.

    Attributes
    ----------
    before : StampForm or None
        The form of what stands before each line.
    within : StampForm or None
        The form of the stamp in its columns.
    known : list of bytes
        Lines that say nothing, or nothing new, without what stands before them.
    """

    before: StampForm | None = None
    within: StampForm | None = None
    known: list[bytes] = field(default_factory=list)

    def learn_known(self, line: str) -> None:
        """Remember a line that says nothing new, without blanks around it."""
        text = line.encode("utf-8", "replace")
        if 0 < len(text) <= _LONGEST_KNOWN and text not in self.known:
            self.known = [*self.known[-_MOST_KNOWN + 1 :], text]

    def read(self, data: NDArray[np.uint8], begin: int, size: int, columns: WordColumns) -> WordTable:
        """Read the rows from a line on, as long as they are written so; at most `MOST_ROWS`."""
        layout = np.full((2, columns.count), -1, np.int64)
        for number, (column, factor) in enumerate(columns.numbers, start=1):
            layout[:, column] = number, factor
        forms = [self.before, self.within]
        ahead = np.frombuffer(columns.ahead.encode("ascii"), np.uint8)
        texts = _matrix([*(form.as_bytes if form else ahead[:0] for form in forms), ahead])
        known = [np.frombuffer(text, np.uint8) for text in self.known]
        room = min(MOST_ROWS, (size - begin) // 2 + 1)
        values, places = np.empty((room, len(columns.numbers) + 1), np.int64), np.empty(room, np.int32)
        reached = np.zeros(3, np.int64)
        rows = word_rows(
            data,
            begin,
            size,
            ord(columns.separator),
            ahead.size,
            layout,
            np.array([form.numbers if form else _NO_FORM for form in forms], np.int64),
            texts,
            _matrix(known),
            np.array([text.size for text in known], np.int64),
            values,
            places,
            reached,
        )
        numbers = np.ascontiguousarray(values[:rows].T)
        position, lines, last = (int(reached[what]) for what in (POSITION, LINES, LAST))
        return WordTable(numbers[0], numbers[1:], places[:rows], position, lines, last)


def _matrix(texts: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Put texts below each other: uint8[n, longest]."""
    out = np.zeros((len(texts), max((text.size for text in texts), default=0) or 1), np.uint8)
    for row, text in zip(out, texts, strict=True):
        row[: text.size] = text
    return out
