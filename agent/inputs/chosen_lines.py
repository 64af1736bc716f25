"""Lines of a file one by one, without those that are certain to say nothing wanted."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from wattshed.agent.inputs.line_blocks import text_lines, whole_lines
from wattshed.agent.inputs.text import CleanStream
from wattshed.kernels import load
from wattshed.kernels.kept_lines import DEEPEST, element_lines, gather_lines, report_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.inputs.report import SourceReport

    Choice = tuple[NDArray[np.int64], NDArray[np.int64]]

BLOCK_BYTES = 1 << 20
"""Of a file that are read at once."""


class Chooser(Protocol):
    """Knows which lines are wanted; lines come in the order of the file."""

    def choose(self, data: NDArray[np.uint8], size: int, lines: int) -> Choice:
        """Return where each line begins that is kept, and which it is, from 0.

        Parameters
        ----------
        data : uint8[size + PAD]
            Whole lines that end in a newline.
        size, lines : int
            Bytes, and lines, in it.
        """

    def forget(self) -> None:
        """Begin anew: lines were read that were not shown."""


class ReportChooser:
    """Lines of ``nvidia-smi -q``: those of sections and facts with wanted names, in lower case."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = _Names(names)
        self._state = np.zeros(1, np.int64)
        self.forget()

    def choose(self, data: NDArray[np.uint8], size: int, lines: int) -> Choice:
        """See `Chooser`."""
        begins, numbers = np.empty(lines + 1, np.int64), np.empty(lines + 1, np.int32)
        kept = report_lines(data, size, self._names.texts, self._names.lengths, self._state, begins, numbers)
        return begins[:kept], numbers[:kept].astype(np.int64)

    def forget(self) -> None:
        """See `Chooser`."""
        self._state[0] = 2


class ElementChooser:
    """Lines of XML: those of wanted elements, in lower case, and of what these lie in.

    Parameters
    ----------
    document : str
        The element that all others lie in.
    names : iterable of str
    """

    def __init__(self, document: str, names: Iterable[str]) -> None:
        self._names = _Names([document, *names])
        self._state = np.zeros(1, np.int64)

    def choose(self, data: NDArray[np.uint8], size: int, lines: int) -> Choice:
        """See `Chooser`."""
        begins, numbers = np.empty(lines + 1, np.int64), np.empty(lines + 1, np.int32)
        held = np.empty((DEEPEST, 4), np.int64)
        kept = element_lines(data, size, self._names.texts, self._names.lengths, self._state, held, begins, numbers)
        return begins[:kept], numbers[:kept].astype(np.int64)

    def forget(self) -> None:
        """See `Chooser`."""
        self._state[0] = 0


class _Names:
    """Names as kernels take them."""

    def __init__(self, names: Iterable[str]) -> None:
        texts = [name.encode("ascii") for name in dict.fromkeys(names)]
        self.lengths = np.array([len(text) for text in texts], np.int64)
        self.texts = np.zeros((len(texts), int(self.lengths.max())), np.uint8)
        for row, text in zip(self.texts, texts, strict=True):
            row[: len(text)] = np.frombuffer(text, np.uint8)


class Chosen(NamedTuple):
    """Lines of a block that say something, one behind the other.

    Attributes
    ----------
    text : str
        Each ends in a newline, but perhaps the last of a file.
    numbers : int64[n]
        Which lines of the file they are, from 1.
    certain : bool
        The others were left out; else nobody looked, and these are all.
    """

    text: str
    numbers: NDArray[np.int64]
    certain: bool


def chosen_blocks(path: Path, chooser: Chooser, report: SourceReport) -> Iterator[Chosen]:
    """Read the lines of a file that say something, block by block; without compiled kernels, all of them.

    Raises
    ------
    InputError
        If it is damaged, see `inputs.text.CleanStream`.
    """
    by_bytes, number = load.form().name != "off", 1
    with CleanStream(path) as stream:
        for block in whole_lines(stream, 0, quoted=False, block_bytes=BLOCK_BYTES):
            report.position, text = block.position, block.text()
            ended = text.rfind(b"\n") + 1
            has_returns = b"\r" in text
            if by_bytes and not (has_returns and text.count(b"\r") > text.count(b"\r\n")):
                lines = text.count(b"\n")
                begins, numbers = chooser.choose(block.data, ended, lines)
                kept = np.empty(ended, np.uint8)
                kept_text = kept[: gather_lines(block.data, begins, kept)].tobytes().decode("utf-8", "replace")
                yield Chosen(kept_text.replace("\r", "") if has_returns else kept_text, numbers + number, certain=True)
                number, text = number + lines, text[ended:]
            else:
                chooser.forget()
            if others := list(text_lines(text)):
                yield Chosen("".join(others), np.arange(number, number + len(others)), certain=False)
                number += len(others)


def chosen_lines(path: Path, chooser: Chooser, report: SourceReport) -> Iterator[tuple[int, str]]:
    """Read the lines of `chosen_blocks` one by one, with their numbers."""
    for block in chosen_blocks(path, chooser, report):
        yield from zip(block.numbers.tolist(), io.StringIO(block.text, newline="\n"), strict=True)
