"""Lines of a file one by one, without those that are certain to say nothing wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from wattshed.agent.inputs.line_blocks import text_lines, whole_lines
from wattshed.agent.inputs.text import CleanStream
from wattshed.kernels import load
from wattshed.kernels.kept_lines import DEEPEST, element_lines, report_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.inputs.report import SourceReport

    Choice = tuple[Sequence[int], Sequence[int]]

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
        return begins[:kept].tolist(), numbers[:kept].tolist()

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
        return begins[:kept].tolist(), numbers[:kept].tolist()

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


def chosen_lines(path: Path, chooser: Chooser, report: SourceReport) -> Iterator[tuple[int, str]]:
    """Read the lines of a file that say something, with their numbers; without compiled kernels, all of them.

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
                for begin, line in zip(*chooser.choose(block.data, ended, lines), strict=True):
                    kept = text[begin : text.find(b"\n", begin) + 1].decode("utf-8", "replace")
                    yield number + line, kept.replace("\r", "") if has_returns else kept
                number, text = number + lines, text[ended:]
            else:
                chooser.forget()
            for other in text_lines(text):
                yield number, other
                number += 1
