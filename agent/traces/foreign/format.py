"""What a format of foreign logs is: how it is told from others, how it is read, and what its numbers stand for.

Each reader's module ends with the `Format` that it reads; `registry` has them all, in the order in which they are
tried. The table of formats in docs/replay.md is made from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from wattshed.agent.inputs.dialect import sniff, split
from wattshed.agent.inputs.line_stamps import prefix_of
from wattshed.agent.inputs.report import BOARD
from wattshed.agent.inputs.text import open_lines
from wattshed.agent.inputs.timestamps import TimestampParser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from wattshed.agent.inputs.dialect import Dialect
    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.traces.foreign.gpus import Gpus
    from wattshed.agent.traces.foreign.rows import Rows
    from wattshed.agent.traces.foreign.runs import RunTable
    from wattshed.agent.traces.options import Options, TraceFile

    ReadLines = Callable[[Iterable[tuple[int, str]], TimestampParser, Gpus, SourceReport], Iterator[Rows]]

_LINES = 400


class Head:
    """The beginning of a file, to tell its format by.

    Parameters
    ----------
    text : str
        At most 256 KiB, decoded.
    path : str
        For messages.
    told : bool
        The user named columns (``--columns``), so a table is meant.
    spec : mapping or None
        What the user named them (`agent.inputs.columns.parse_spec`).
    chosen : bool
        The user said which rows count (``--where``).
    loads : bool
        Tables of loads are read, too, see `agent.traces.foreign.loads`.
    """

    def __init__(
        self,
        text: str,
        path: str = "",
        *,
        told: bool = False,
        spec: Mapping[str, tuple[str, str]] | None = None,
        chosen: bool = False,
        loads: bool = False,
    ) -> None:
        self.text, self.path = text.lstrip("\ufeff \t\r\n"), path
        self.chosen, self.loads = chosen, loads
        self.told, self.spec = told or spec is not None, spec

    @cached_property
    def lines(self) -> list[str]:
        """The first lines that are not blank."""
        return [line for line in self.text.splitlines() if line.strip()][:_LINES]

    @cached_property
    def data(self) -> list[str]:
        """Those of them that are not comments (``#``)."""
        return [line for line in self.lines if not line.startswith("#")]

    @cached_property
    def bare(self) -> Head:
        """The same without what stands before every line, see `inputs.line_stamps`; itself if nothing does."""
        prefix = prefix_of(self.lines)
        return Head("\n".join(map(prefix.bare, self.lines)), self.path, told=self.told) if prefix else self

    @cached_property
    def dialect(self) -> Dialect:
        """How it is written if it is a table."""
        return sniff(self.text)

    @property
    def has_row(self) -> bool:
        """Whether a line below the header of a table has as many cells."""
        dialect = self.dialect
        return any(len(split(line, dialect.delimiter)) == len(dialect.names) for line in self.lines[1:])

    def mostly(self, fits: Callable[[str], object]) -> bool:
        """Return whether more than half of the lines of data fit."""
        return sum(bool(fits(line)) for line in self.data) * 2 > len(self.data) > 0


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file to be read, and where what is read of it is kept.

    Attributes
    ----------
    source : TraceFile
    report : SourceReport
    gpus : Gpus
    options : Options
    """

    source: TraceFile
    report: SourceReport
    gpus: Gpus
    options: Options

    def clock(self, unit: str = "") -> TimestampParser:
        """Return a reader of its stamps; ``unit`` as for `TimestampParser`."""
        return TimestampParser(self.options.local, unit, self.options.period_us)


@dataclass(frozen=True, slots=True)
class Format:
    """A format that is read.

    Attributes
    ----------
    name : str
        As answers call it (``sources[].format``).
    title : str
        As people call it; Markdown.
    told_by : str
        What it is recognised by.
    reads : str
        What is read of it.
    traps : str
        What is easily misread in it, and what is done; empty if nothing is known.
    tells : callable
        Whether a file that begins so is of this format.
    rows : callable
        Reads a file; raises InputError if it cannot be used.
    boundary : str
        What the power or energy in it is of.
    runs : callable or None
        Reads a file that has energies of runs and no power over time; ``rows`` refuses it.
    by_series : bool
        One series may stand behind the other, so that the last rows of a file are as early as its first.
    """

    name: str
    title: str
    told_by: str
    reads: str
    traps: str
    tells: Callable[[Head], bool]
    rows: Callable[[LogFile], Iterator[Rows]]
    boundary: str = BOARD
    runs: Callable[[LogFile], RunTable] | None = None
    by_series: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A format that is known and not read.

    Attributes
    ----------
    title : str
    tells : callable
    way_out : str
        What the user can do: a sentence that follows "it is TITLE; ".
    """

    title: str
    tells: Callable[[Head], bool]
    way_out: str


def by_line(read: ReadLines) -> Callable[[LogFile], Iterator[Rows]]:
    """Make a reader of files from a reader of numbered lines."""

    def rows(log: LogFile) -> Iterator[Rows]:
        with open_lines(log.source.path) as file:
            yield from read(enumerate(file, 1), log.clock(), log.gpus, log.report)

    return rows
