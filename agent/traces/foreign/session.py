"""A captured session: the output of several nvidia-smi commands in one file, each under its command line.

The queries in CSV are read, for they alone carry a time; tables, help texts and monitors are skipped. A capture
of one moment after another is not a continuous trace, so the parts are samples with gaps between them.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.arrow import pa
from wattshed.agent.inputs.delimited import Block
from wattshed.agent.inputs.dialect import split
from wattshed.agent.inputs.text import open_lines
from wattshed.agent.traces.foreign.first_rows import HEAD_ROWS, named
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.smi_csv import is_header, layout_of_header
from wattshed.agent.traces.foreign.table import TableReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.traces.foreign.format import LogFile
    from wattshed.agent.traces.foreign.rows import Rows

_CAPTURE = re.compile(r"^(# )?\$ nvidia-smi\b", re.MULTILINE)
_COMMAND = re.compile(r"^#? ?\$ nvidia-smi (.*)$")


def _read_session(log: LogFile) -> Iterator[Rows]:
    """Read the ``--query-gpu`` parts of a session.

    Raises
    ------
    InputError
        If no part has power.
    """
    clock, found = log.clock(), False
    with open_lines(log.source.path) as file:
        for names, rows in _queries(enumerate(file, 1), log.report):
            if (layout := layout_of_header(names)) is None:
                continue
            reader: TableReader | None = None
            while some := list(itertools.islice(rows, HEAD_ROWS)):
                lines = np.array([line for line, _ in some], np.int64)
                cells = zip(*(row for _, row in some), strict=True)
                columns = {name: pa.array(column, pa.string()) for name, column in zip(names, cells, strict=True)}
                if reader is None:
                    layout = named(log, layout, "", columns)
                    reader = TableReader(layout, names, clock, log.gpus, log.report)
                found = True
                yield from reader.block(Block(int(lines[0]), columns, lines - lines[0]))
    if not found:
        raise InputError("no part of the session is a query with power (--query-gpu)", log.report.path)


def _queries(
    lines: Iterable[tuple[int, str]], report: SourceReport
) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """Give the names of each query's columns, and its rows, which must be read before the next query is asked for."""
    reading, names, part = False, list[str](), 0

    def rows() -> Iterator[tuple[int, int, list[str], list[str]]]:
        nonlocal reading, names, part
        for number, line in lines:
            if command := _COMMAND.match(line.strip()):
                reading, names = "--query-gpu" in command[1], []
            elif reading and line.strip() and not line.startswith("#"):
                cells = split(line, "\x1f")
                if not names and is_header(cells):
                    names, part = cells, part + 1
                elif names and len(cells) == len(names):
                    yield part, number, names, cells
                elif names:
                    report.rows += 1
                    report.reject("wrong_number_of_columns", line=number, text=line)

    for _, group in itertools.groupby(rows(), key=lambda row: row[0]):
        first = next(group)
        yield first[2], ((number, cells) for _, number, _, cells in itertools.chain([first], group))


FORMAT = Format(
    name="nvidia-smi-session",
    title="captured sessions",
    told_by="command lines of nvidia-smi, each above what it printed",
    reads="the queries in CSV",
    traps="moments, not a continuous trace: what lies between them is a gap",
    tells=lambda head: bool(_CAPTURE.search(head.text)) and "nvidia_gpu_exporter GPU capture" in head.text,
    rows=_read_session,
)
