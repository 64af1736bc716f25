"""Records, each with names of its own for its cells, as rows of one table."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.inputs.arrow import pa
from wattshed.agent.inputs.delimited import Block
from wattshed.agent.inputs.where import Where
from wattshed.agent.traces.foreign.first_rows import HEAD_ROWS, named, pace_of
from wattshed.agent.traces.foreign.layouts import layout_of
from wattshed.agent.traces.foreign.table import TableReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from wattshed.agent.traces.foreign.format import LogFile
    from wattshed.agent.traces.foreign.rows import Rows

    Record = tuple[int, Mapping[str, str]]

_FIRST = 1000  # records that settle which columns there are
_BLOCK = 1 << 15


def read_records(log: LogFile, records: Iterator[Record]) -> Iterator[Rows]:
    """Read records, each with its 1-based line; those of the beginning settle which columns there are.

    Raises
    ------
    InputError
        If it is not clear which column is what, or no record can be used.
    """
    first = list(itertools.islice(records, _FIRST))
    names = list(dict.fromkeys(name for _, row in first for name in row))
    layout, unit = layout_of(log, names)
    where = Where(log.options.where, names, str(log.source.path))
    wanted = list(dict.fromkeys([*layout.names(), *where.columns()]))
    for block in _blocks(first[:HEAD_ROWS], layout.names()):
        layout = named(log, layout, unit, block.columns)
    reader = TableReader(layout, names, log.clock(unit), log.gpus, log.report, pace=pace_of(log))
    blocks = _blocks(itertools.chain(first, records), wanted)
    yield from reader.rows(where.kept(blocks) if log.options.where else blocks)


def _blocks(records: Iterable[Record], names: list[str]) -> Iterator[Block]:
    records = iter(records)
    while some := list(itertools.islice(records, _BLOCK)):
        lines = np.array([line for line, _ in some], np.int64)
        columns = {name: pa.array([row.get(name, "") for _, row in some], pa.string()) for name in names}
        yield Block(int(lines[0]), columns, lines - lines[0])
