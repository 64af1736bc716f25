"""A text in blocks of whole lines, each in an array that kernels may read a little beyond."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.kernels import lines
from wattshed.kernels.words import PAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from wattshed.agent.inputs.text import CleanStream

LONGEST_LINE = 64 << 20
_NEWLINE, _RETURN, _QUOTE = b'\n\r"'
_STEP = 1 << 16


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Whole lines.

    Attributes
    ----------
    data : uint8[size + `kernels.words.PAD` or more]
        Their text, and behind it anything.
    size : int
        Bytes of text.
    position : int
        Bytes of the file that had been read when this was made.
    """

    data: NDArray[np.uint8]
    size: int
    position: int = 0

    @classmethod
    def of(cls, text: bytes) -> LineBlock:
        """Return a copy of lines that lie elsewhere."""
        data = np.empty(len(text) + PAD, np.uint8)
        data[: len(text)] = np.frombuffer(text, np.uint8)
        return cls(data, len(text))

    def part(self, begin: int, end: int) -> LineBlock:
        """Return some of the bytes, which are whole lines; they are not copied."""
        return LineBlock(self.data[begin:], end - begin, self.position)

    def text(self) -> bytes:
        """Return the lines as they are."""
        return self.data[: self.size].tobytes()

    def is_blank(self) -> bool:
        """Return whether there is nothing but blanks."""
        return not self.size or (self.data[: min(self.size, _STEP)].tobytes().isspace() and self.text().isspace())

    def newlines(self) -> int:
        """Count the lines that end here."""
        return int(lines.newlines(self.data, self.size))

    def lines_with(self, mark: bytes, most: int) -> set[int] | None:
        """Find the lines that a text stands in: where they begin; None if that may be in more than ``most`` places."""
        found = lines.places(self.data, self.size, mark, most)
        return None if found is None else {_last_newline(self.data, at) + 1 for at in found}

    def begin_of(self, line: int) -> int:
        """Return where a line begins, counted from 0; the size if there are fewer."""
        for at in range(0, self.size, _STEP):
            ends = np.flatnonzero(self.data[at : min(at + _STEP, self.size)] == _NEWLINE)
            if line <= ends.size:
                return at + int(ends[line - 1]) + 1 if line else at
            line -= ends.size
        return self.size

    def end_of(self, begin: int) -> int:
        """Return where the line ends that begins there, behind its newline."""
        for at in range(begin, self.size, _STEP):
            if (found := self.data[at : min(at + _STEP, self.size)].tobytes().find(_NEWLINE)) >= 0:
                return at + found + 1
        return self.size


def whole_lines(stream: CleanStream, header_lines: int, *, quoted: bool, block_bytes: int) -> Iterator[LineBlock]:
    """Cut a stream into blocks of whole lines, after the header; a line break within quotes does not end a line.

    Raises
    ------
    InputError
        If a line is too long for any table.
    """
    rest = np.empty(0, np.uint8)
    head, ended = header_lines, False
    while not ended:
        data = np.empty(rest.size + block_bytes + PAD, np.uint8)
        data[: rest.size] = rest
        size = rest.size + _fill(stream, data[rest.size : rest.size + block_bytes])
        ended = size < rest.size + block_bytes
        last = _last_newline(data, size)
        if last < 0 and (data[:size] == _RETURN).any():
            data[:size][data[:size] == _RETURN] = _NEWLINE  # as old spreadsheets end lines
            last = _last_newline(data, size)
        begin = 0
        while head and begin <= last:
            begin, head = begin + data[begin:size].tobytes().index(_NEWLINE) + 1, head - 1
        cut = size if ended else last + 1
        while quoted and begin < cut < size and np.count_nonzero(data[begin:cut] == _QUOTE) % 2:
            cut = max(_last_newline(data, cut - 1) + 1, begin)
        if cut <= begin and size - begin > LONGEST_LINE:
            raise InputError("a line is longer than 64 MiB", str(stream.path))
        if cut > begin and not head:
            yield LineBlock(data[begin:], cut - begin, stream.position)
            begin = cut
        rest = data[begin:size]


def text_lines(text: bytes) -> Iterator[str]:
    """Decode whole lines, whatever ends them."""
    return iter(io.StringIO(text.decode("utf-8", "replace"), newline=None))


def _fill(stream: CleanStream, room: NDArray[np.uint8]) -> int:
    """Read until there is no more room, or no more text; returns how many bytes."""
    have = 0
    while have < room.size and (more := stream.readinto(room[have:].data)):
        have += more
    return have


def _last_newline(data: NDArray[np.uint8], size: int) -> int:
    """Find the last newline of the first ``size`` bytes; -1 if there is none."""
    for end in range(size, 0, -_STEP):
        begin = max(end - _STEP, 0)
        if (found := data[begin:end].tobytes().rfind(_NEWLINE)) >= 0:
            return begin + found
    return -1
