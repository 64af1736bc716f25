"""Column monitors: ``nvidia-smi dmon``, ``nvidia-smi pmon`` and ``dcgmi dmon``, from blocks of lines to rows.

`monitor_lines` reads line by line, and knows all ways to write one. With compiled kernels, rows that are written as
the row that it read last are read from their bytes (`inputs.word_rows`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.inputs.dialect import split
from wattshed.agent.inputs.line_blocks import text_lines, whole_lines
from wattshed.agent.inputs.line_stamps import Stamped, prefix_of_file
from wattshed.agent.inputs.stamp_forms import form_of
from wattshed.agent.inputs.text import CleanStream
from wattshed.agent.inputs.word_rows import WordColumns, WordRows
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.monitor_lines import OF_WORDS, MonitorReader, NumberedRows
from wattshed.kernels import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wattshed.agent.inputs.line_blocks import LineBlock
    from wattshed.agent.inputs.line_stamps import Prefix
    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.word_rows import WordTable
    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.rows import Rows

BLOCK_BYTES = 1 << 20
"""Of a file that are read at once."""
_WORTH_IT = 16  # lines; to begin a pass costs as much as to read some of them one by one
_MOST_PATIENCE = 1 << 12  # lines that are read one by one before another pass is tried


class MonitorLog:
    """Reads the blocks of one log.

    Parameters
    ----------
    reader : MonitorReader
    prefix : Prefix or None
        What stands before its lines.
    report : SourceReport
    by_bytes : bool
        Whether there are compiled kernels; without them every line goes to the reader.
    """

    def __init__(self, reader: MonitorReader, prefix: Prefix | None, report: SourceReport, *, by_bytes: bool) -> None:
        self._reader, self._prefix, self._report, self._by_bytes = reader, prefix, report, by_bytes
        self._written = WordRows()
        self._columns: WordColumns | None = None
        self._names: list[str] = []
        self._number = 1  # of the line that comes next
        self._host = ""
        self._patience = self._left = 0

    def block(self, block: LineBlock) -> Iterator[Rows]:
        """Read whole lines; the last of a file may have no end."""
        text = block.text()
        at, ended = 0, text.rfind(b"\n") + 1
        while at < len(text):
            if self._left == 0 and at < ended and self._is_ready():
                at = self._pass(block, text, at, ended)
                yield from self._reader.samples.full()
            end = (text.find(b"\n", at) + 1 or len(text)) if self._by_bytes else len(text)
            for line in text_lines(text[at:end]):
                self._line(line)
                yield from self._reader.samples.full()
            self._left = max(self._left - 1, 0)
            at = end

    def _is_ready(self) -> bool:
        """Return whether it is known how rows are written, and something to name if none of them can be used."""
        written = self._written
        return (
            self._columns is not None
            and self._report.first is not None
            and (self._prefix is None or written.before is not None)
            and ("time" not in self._names or written.within is not None)
        )

    def _pass(self, block: LineBlock, text: bytes, at: int, ended: int) -> int:
        """Read rows from their bytes; returns where the line begins that is to be read by itself."""
        if self._columns is None:
            return at
        table = self._written.read(block.data, at, ended, self._columns)
        if table.ticks_us.size:
            self._book(table)
        if table.lines and self._prefix is not None:  # which remembers the last line
            self._prefix.split(0, text[table.last : text.find(b"\n", table.last)].decode("utf-8", "replace"))
        self._number += table.lines
        is_worth_it = table.lines >= _WORTH_IT or table.position == ended
        self._patience = 0 if is_worth_it else min(2 * self._patience + 1, _MOST_PATIENCE)
        self._left = self._patience
        return table.position

    def _book(self, table: WordTable) -> None:
        written, stamps = self._written, None
        form = written.within if "time" in self._names else written.before
        if form is not None:
            stamps = form.base_us + table.ticks_us, form.naive
        names = _wanted(self._names)
        numbers = dict(zip(names, table.numbers, strict=True))
        self._reader.rows(self._host, stamps, NumberedRows(self._number + table.places.astype(np.int64), numbers))

    def _line(self, line: str) -> None:
        """Give a line to the reader, and learn from it how lines are written."""
        stamped = self._prefix.split(self._number, line) if self._prefix else Stamped(self._number, line)
        self._reader.line(stamped)
        self._number += 1
        text = stamped.text.strip()
        if not text or not self._by_bytes:
            return
        if self._reader.columns != self._names:
            self._names = self._reader.columns
            self._columns, self._written = None, WordRows(before=self._written.before)
        if self._reader.says_nothing_new(text):
            self._written.learn_known(text)
        if self._reader.stamp is not None:
            self._learn_row(line, stamped, text)

    def _learn_row(self, line: str, stamped: Stamped, text: str) -> None:
        names = self._names
        self._columns = _columns_of(names, "," if "," in text else " ")
        if self._columns is not None and self._prefix is not None and stamped.stamp is not None:
            ahead = line[: len(line) - len(stamped.text)].rstrip()
            row = f"{self._columns.ahead} 0 0".strip()
            # Whatever row stands behind it, it is cut off in the same place.
            is_cut_so = all(self._prefix.bare(ahead + blanks + row).strip() == row for blanks in (" ", "  ", "     "))
            form = form_of(ahead, stamped.stamp, is_number=self._prefix.is_number) if is_cut_so else None
            self._written.before, self._host = form, stamped.host
        if self._columns is not None and self._reader.stamp is not None and "time" in names:
            first, last = names.index("date" if "date" in names else "time"), names.index("time")
            words = list(re.finditer(r"[^,]+" if "," in text else r"\S+", text))
            stamp = text[words[first].start() : words[last].end()].strip()
            self._written.within = form_of(stamp, self._reader.stamp, is_number=False, column=first)


def _wanted(names: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return what is read of a row: which column it is, and what it is multiplied by."""
    if "pid" in names:
        wanted = {"gpu": (("gpu", "entity"), 0), "pid": (("pid",), 0), "util": (("sm",), 10_000)}
    else:
        wanted = {"gpu": (("gpu", "entity"), 0), "power": (("pwr", "power"), 1000), "energy": (("totec",), 1)}
        wanted["util"] = ("sm", "gputl"), 10_000
    return {
        what: (next(name for name in among if name in names), factor)
        for what, (among, factor) in wanted.items()
        if not set(among).isdisjoint(names)
    }


def _columns_of(names: Sequence[str], separator: str) -> WordColumns | None:
    """Return where in a row what is wanted stands; None if its place is not certain."""
    count = len(names) - (names[-1] in OF_WORDS)
    numbers = [(names.index(name), factor) for name, factor in _wanted(names).values()]
    ahead = "GPU" if "gpu" not in names else ""
    together = "time" not in names or "date" not in names or names.index("date") + 1 == names.index("time")
    certain = len(set(names)) == len(names) and together and max(column for column, _ in numbers) < count
    if not certain or ((ahead or "entity" in names) and (names[0] != "entity" or not ahead)):
        return None
    return WordColumns(separator, ahead, count, numbers)


def read_monitor(log: LogFile) -> Iterator[Rows]:
    """Read the log of a monitor.

    Raises
    ------
    InputError
        If there is neither power nor energy nor a process in it.
    """
    prefix = prefix_of_file(log.source.path)
    if prefix is not None and prefix.note:
        log.report.note(prefix.note)
    reader = MonitorReader(log.clock(), log.gpus, log.report, is_stamped=prefix is not None)
    monitor = MonitorLog(reader, prefix, log.report, by_bytes=load.form().name != "off")
    with CleanStream(log.source.path) as stream:
        for block in whole_lines(stream, 0, quoted=False, block_bytes=BLOCK_BYTES):
            log.report.position = block.position
            yield from monitor.block(block)
    yield from reader.end()


def _columns(head: Head) -> list[set[str]]:
    """Return the names of columns in its header lines, first words first."""
    return [
        set(line.lstrip("#").lower().split() if "," not in line else split(line.lstrip("# ").lower(), ","))
        for line in head.bare.lines[:40]
        if line.startswith("#") and not head.told
    ]


_TIMES = (
    "without times (`-o DT` writes them, `ts` or a journal before each line), rounds are taken for one second each, or "
    "for what `--period` says"
)
PMON = Format(
    name="nvidia-smi-pmon",
    title="`nvidia-smi pmon`",
    told_by="`# gpu` and `pid` in its header",
    reads="processes and their utilisation, beside power from another file",
    traps=_TIMES,
    tells=lambda head: any({"gpu", "pid"} <= names for names in _columns(head)),
    rows=read_monitor,
)
DMON = Format(
    name="nvidia-smi-dmon",
    title="`nvidia-smi dmon`",
    told_by="`# gpu` and `pwr` in its header",
    reads="power and utilisation",
    traps=_TIMES,
    tells=lambda head: any("gpu" in names and names & {"pwr", "sm"} for names in _columns(head)),
    rows=read_monitor,
)
DCGMI = Format(
    name="dcgmi-dmon",
    title="`dcgmi dmon`",
    told_by="`#Entity` in its header",
    reads="fields POWER and TOTEC",
    traps=_TIMES,
    tells=lambda head: any("entity" in names for names in _columns(head)),
    rows=read_monitor,
)
