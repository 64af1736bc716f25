"""Tables of any tool, in text or Parquet, and those of ``nvidia-smi --query-gpu``: from a file to its columns."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs import columns as column_names
from wattshed.agent.inputs import delimited
from wattshed.agent.inputs.columnar import blocks_of, head_of_columns, open_columns
from wattshed.agent.inputs.dialect import sniff
from wattshed.agent.inputs.prefetch import ahead
from wattshed.agent.inputs.text import head_of
from wattshed.agent.inputs.where import Where
from wattshed.agent.traces.foreign import loads, long_form, smi_csv, wandb
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.headless import layout_of_rows
from wattshed.agent.traces.foreign.layouts import HEAD_ROWS, has_power, layout_of, named, pace_of
from wattshed.agent.traces.foreign.table import TableReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wattshed.agent.inputs.dialect import Dialect
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.rows import Rows
    from wattshed.agent.traces.foreign.table_layout import TableLayout


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


def _read_smi(log: LogFile) -> Iterator[Rows]:
    head = head_of(log.source.path)
    dialect = sniff(head)
    fixed = None if dialect.headed else layout_of_rows(dialect.cells(head))

    def layout_below(below: Dialect) -> tuple[TableLayout, str]:
        layout = fixed or _layout_of_query(below.names)
        path = str(log.source.path)
        if layout is None:
            raise InputError("it has no column of power or energy; log with power.draw", path, below.header_lines)
        if not layout.time and not log.options.period_us:
            wanted = "log with `timestamp`, or say --period SECONDS if rows are that far apart"
            raise InputError(f"it has no column of time; {wanted}", path, max(below.header_lines, 1))
        return replace(layout, util=None) if log.options.billing and not layout.pid else layout, ""

    yield from read_text(log, dialect, layout_below)


def _layout_of_query(names: Sequence[str]) -> TableLayout | None:
    """Find the columns of a query; the time may be one that its user wrote beside it, or missing."""
    layout = smi_csv.layout_of_header(names)
    if layout is None and (layout := smi_csv.layout_of_header(["timestamp", *names])) is not None:
        plain = column_names.guess(names)
        layout = replace(layout, time=plain.get("time", ""), date=plain.get("date", ""))
    return layout


def read_text(
    log: LogFile, dialect: Dialect, layout_below: Callable[[Dialect], tuple[TableLayout, str]]
) -> Iterator[Rows]:
    """Read a table of text, below each of its headers with the columns that it names.

    Parameters
    ----------
    log : LogFile
    dialect : Dialect
        Of its beginning.
    layout_below : callable
        Finds the columns below a header, and the unit of their time; raises InputError where it cannot.

    Raises
    ------
    InputError
        If that is so from the first header on, or no row can be used.
    """
    path, report, pace = log.source.path, log.report, pace_of(log)
    layout_below(dialect)
    clocks: dict[str, TimestampParser] = {}
    chosen: tuple[str, ...] = ()  # columns that name the GPU: what the first rows told holds below other headers
    usable = 0
    for below, pieces in delimited.stretches(path, dialect, report):
        try:
            layout, unit = layout_below(below)
        except InputError as error:
            report.note(f"left out below a header with {', '.join(below.names[:6])}: {error.message}")
            delimited.leave_out(pieces, report)
            continue
        clock = clocks.setdefault(unit, log.clock(unit))
        where = Where(log.options.where, below.names, str(path))
        wanted = list(dict.fromkeys([*layout.names(), *where.columns()]))
        plain = layout.time and not layout.date and not log.options.where  # no row is left out by what a cell says
        blocks = delimited.blocks(pieces, wanted, report, layout.kinds(unit) if plain else None)
        if log.options.where:
            blocks = where.kept(blocks)
        if (first := next(blocks, None)) is None:
            continue
        if chosen and set(chosen) <= set(layout.gpu):
            layout = replace(layout, gpu=chosen)
        else:
            layout = named(log, layout, unit, {name: first.columns[name][:HEAD_ROWS] for name in layout.names()})
            chosen = layout.gpu
        reader = TableReader(layout, below.names, clock, log.gpus, report, pace=pace)
        for block in itertools.chain([first], blocks):
            yield from reader.block(block)
        usable += reader.usable
    if not usable and (wrong := report.nothing_usable(dialect.names)):
        raise wrong


def _is_smi(head: Head) -> bool:
    if head.told or not head.lines:
        return False
    if head.dialect.headed:
        names = head.dialect.names
        return smi_csv.is_header(names) and (_layout_of_query(names) is not None or not _is_table(head))
    layout = layout_of_rows(head.dialect.cells(head.text))
    return layout is not None and (bool(layout.time) or any(" W" in line for line in head.lines[:5]))


def _is_table(head: Head) -> bool:
    names = head.dialect.names
    if head.told or wandb.is_table(names) or (head.chosen and long_form.value_of(names)):
        return True
    if head.loads and loads.is_table(names):
        return True
    return has_power(names) and ("time" in column_names.guess(names) or head.dialect.headed)


SMI = Format(
    name="nvidia-smi-csv",
    title="`nvidia-smi --query-gpu=... --format=csv`",
    told_by="names of its fields in the header; without one, stamps (its own, or `date` before each line) and watts",
    reads="`power.draw`, `power.draw.instant`, energy, `utilization.gpu`, the limit; GPU by UUID, PCI address, "
    "serial number or index",
    traps="`power.draw` is an average over a second on some boards; `[N/A]` and 0 W are no readings; without a column "
    "for the GPU, rows are told by their rounds",
    tells=_is_smi,
    rows=_read_smi,
)
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
    tells=_is_table,
    rows=_read_table,
)
