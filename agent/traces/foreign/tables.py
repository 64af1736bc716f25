"""Tables of any tool, in text, Parquet or Arrow: from a file to its columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.inputs.columnar import blocks_of, head_of_columns, open_columns
from wattshed.agent.inputs.dialect import sniff
from wattshed.agent.inputs.prefetch import ahead
from wattshed.agent.inputs.text import head_of
from wattshed.agent.inputs.where import Where
from wattshed.agent.traces.foreign.first_rows import HEAD_ROWS, named, pace_of
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.layouts import is_table, layout_of
from wattshed.agent.traces.foreign.table import TableReader
from wattshed.agent.traces.foreign.text_tables import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wattshed.agent.traces.foreign.format import LogFile
    from wattshed.agent.traces.foreign.rows import Rows


def _read_columns(log: LogFile) -> Iterator[Rows]:
    path = log.source.path
    with open_columns(path) as table:
        names = list(table.schema.names)
        layout, unit = layout_of(log, names)
        where = Where(log.options.where, names, str(path))
        wanted = list(dict.fromkeys([*layout.names(), *where.columns()]))
        if (head := head_of_columns(table, layout.names(), HEAD_ROWS)) is not None:
            layout = named(log, layout, unit, head)
        blocks = ahead(blocks_of(table, wanted, layout.time))
        reader = TableReader(layout, names, log.clock(unit), log.gpus, log.report, pace=pace_of(log))
        yield from reader.rows(where.kept(blocks) if log.options.where else blocks)


def _read_table(log: LogFile) -> Iterator[Rows]:
    yield from read_text(log, sniff(head_of(log.source.path)), lambda below: layout_of(log, below.names))


PARQUET = Format(
    name="parquet",
    title="Parquet of any tool",
    told_by="its first four bytes",
    reads="as CSV",
    traps="",
    tells=lambda _: False,  # by its bytes, see `detect`
    rows=_read_columns,
)
ARROW = Format(
    name="arrow",
    title="Arrow files (Feather) of any tool",
    told_by="its first six bytes",
    reads="as CSV",
    traps="a batch is decoded whole: write some 100,000 rows in each, as pandas does",
    tells=lambda _: False,  # by its bytes, see `detect`
    rows=_read_columns,
)
TABLE = Format(
    name="csv",
    title="CSV of any tool, any delimiter, decimal points or commas (W&B's exports too)",
    told_by="`--columns`, or names of columns that can mean one thing only",
    reads="power and energy by time, of one GPU or many; a column a GPU (wide tables)",
    traps="energy per interval and counters are told apart by shape and power (`:J/interval`, `:J/total`); naive times "
    "are those of `--timezone`",
    tells=is_table,
    rows=_read_table,
)
