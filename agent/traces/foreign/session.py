"""A captured session: the output of several nvidia-smi commands in one file, each under its command line.

The queries in CSV are read, for they alone carry a time; tables, help texts and monitors are skipped. A capture
of one moment after another is not a continuous trace, so the parts are samples with gaps between them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.delimited import Block
from wattshed.agent.inputs.dialect import split
from wattshed.agent.traces.foreign.format import Format, by_line
from wattshed.agent.traces.foreign.smi_csv import is_header, layout_of_header
from wattshed.agent.traces.foreign.table import TableReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.gpus import Gpus
    from wattshed.agent.traces.foreign.rows import Rows

_CAPTURE = re.compile(r"^(# )?\$ nvidia-smi\b", re.MULTILINE)
_COMMAND = re.compile(r"^#? ?\$ nvidia-smi (.*)$")


def read_session(
    lines: Iterable[tuple[int, str]], clock: TimestampParser, gpus: Gpus, report: SourceReport
) -> Iterator[Rows]:
    """Read the ``--query-gpu`` parts of a session.

    Raises
    ------
    InputError
        If no part has power.
    """
    import pyarrow as pa  # noqa: PLC0415 - only this rare format builds its columns by hand

    reading, names, found = False, list[str](), False
    reader: TableReader | None = None
    for number, line in lines:
        command = _COMMAND.match(line.strip())
        if command:
            reading, names, reader = "--query-gpu" in command[1], [], None
        elif reading and line.strip() and not line.startswith("#"):
            cells = split(line, "\x1f")
            if not names and is_header(cells):
                names = cells
                layout = layout_of_header(names)
                reader = TableReader(layout, names, clock, gpus, report) if layout else None
            elif reader is not None and len(cells) == len(names):
                found = True
                wanted = {name: pa.array([cell]) for name, cell in zip(names, cells, strict=True)}
                yield from reader.rows([Block(number, wanted)])
            elif reader is not None:
                report.rows += 1
                report.reject("wrong_number_of_columns", line=number, text=line)
    if not found:
        raise InputError("no part of the session is a query with power (--query-gpu)", report.path)


FORMAT = Format(
    name="nvidia-smi-session",
    title="captured sessions",
    told_by="command lines of nvidia-smi, each above what it printed",
    reads="the queries in CSV",
    traps="moments, not a continuous trace: what lies between them is a gap",
    tells=lambda head: bool(_CAPTURE.search(head.text)) and "nvidia_gpu_exporter GPU capture" in head.text,
    rows=by_line(read_session),
)
