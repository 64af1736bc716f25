"""Tables of any tool, in text or Parquet, and those of ``nvidia-smi --query-gpu``: from a file to its columns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from wattshed.agent.errors import InputError
from wattshed.agent.inputs import columns as column_names
from wattshed.agent.inputs import delimited
from wattshed.agent.inputs.delimited import Block
from wattshed.agent.inputs.text import head_of
from wattshed.agent.traces.foreign import naming, smi_csv, wandb
from wattshed.agent.traces.foreign.columns import layout_of_spec
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.table import TableReader
from wattshed.agent.traces.prefetch import ahead

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wattshed.agent.inputs.delimited import Dialect
    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.rows import Rows
    from wattshed.agent.traces.foreign.table import TableLayout

_PARQUET_ROWS = 1 << 18
_HEAD_ROWS = 400  # by which the columns that name the GPU are chosen


def _read_parquet(log: LogFile) -> Iterator[Rows]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - a tenth of the start of a replay that needs none

    path = log.source.path
    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            layout, unit = _layout(log, names)
            batch = next(file.iter_batches(_HEAD_ROWS, columns=layout.names()), None)
            if batch is not None:
                layout = _named(log, layout, unit, {name: batch.column(name) for name in layout.names()})
            reader = TableReader(layout, names, log.clock(unit), log.gpus, log.report)
            yield from reader.rows(ahead(_parquet_blocks(file, layout.names())))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"damaged Parquet ({str(error).splitlines()[0]})", str(path)) from error


def _parquet_blocks(file: Any, names: Sequence[str]) -> Iterator[Block]:
    line = 1
    for group in range(file.num_row_groups):
        # Row groups are decoded whole: bringing batches together across their bounds halves the speed.
        table = file.read_row_group(group, list(names), use_threads=True).combine_chunks()
        for batch in table.to_batches(max_chunksize=_PARQUET_ROWS):
            yield Block(line, {name: batch.column(name) for name in names})
            line += batch.num_rows


def _read_table(log: LogFile) -> Iterator[Rows]:
    head = head_of(log.source.path)
    dialect = delimited.sniff(head)
    layout, unit = _layout(log, dialect.names)
    yield from _read_text(log, head, dialect, layout, unit)


def _layout(log: LogFile, names: Sequence[str]) -> tuple[TableLayout, str]:
    options = log.options
    if options.columns is None and wandb.is_table(names):
        return wandb.layout_of(names, log.report), ""
    spec = options.columns or {}
    layout, unit = layout_of_spec(spec, names, str(log.source.path), utilisation=options.utilisation)
    if not layout.wide and "gpu" not in spec:
        others = {*replace(layout, gpu=()).names()}
        layout = replace(layout, gpu=tuple(name for name in naming.candidates(names) if name not in others))
        model = layout.model or naming.model_of([name for name in names if name not in others])
        layout = replace(layout, model=model, host=layout.host or naming.host_of(names))
    return layout, unit


def _named(log: LogFile, layout: TableLayout, unit: str, columns: Mapping[str, Any]) -> TableLayout:
    """Choose the columns that name the GPU by the first rows."""
    head = naming.head_rows(columns, layout, log.clock(unit))
    return naming.decided(layout, head, log.report, told="gpu" in (log.options.columns or {}))


def _head_columns(text: str, dialect: Dialect, names: Sequence[str]) -> dict[str, Any]:
    lines = text.splitlines()[dialect.header_lines : dialect.header_lines + _HEAD_ROWS + 1]
    rows = [delimited.split(line, dialect.delimiter) for line in (lines[:-1] or lines) if line.strip()]
    rows = [row for row in rows if len(row) == len(dialect.names)]
    return {name: pa.array([row[dialect.names.index(name)] for row in rows], pa.string()) for name in names}


def _read_smi(log: LogFile) -> Iterator[Rows]:
    head = head_of(log.source.path)
    dialect = delimited.sniff(head)
    if smi_csv.is_header(dialect.names):
        layout = smi_csv.layout_of_header(dialect.names)
    else:
        dialect = delimited.sniff(head, header=False)
        lines = [line for line in head.splitlines()[:200] if line.strip()]
        rows = [delimited.split(line, dialect.delimiter) for line in (lines[:-1] or lines)]
        usual = max((len(row) for row in rows), default=0)
        layout = smi_csv.layout_of_rows([row for row in rows if len(row) == usual])
    if layout is None:
        raise InputError("it has no column of time, or none of power or energy", str(log.source.path), 1)
    yield from _read_text(log, head, dialect, layout, "")


def _read_text(log: LogFile, head: str, dialect: Dialect, layout: TableLayout, unit: str) -> Iterator[Rows]:
    if not layout.wide:
        layout = _named(log, layout, unit, _head_columns(head, dialect, layout.names()))
    reader = TableReader(layout, dialect.names, log.clock(unit), log.gpus, log.report)
    blocks = delimited.read_csv(log.source.path, dialect, layout.names(), log.report, layout.kinds(unit))
    yield from reader.rows(blocks)


def _is_smi(head: Head) -> bool:
    if head.told or not head.lines:
        return False
    names = head.dialect.names
    if smi_csv.is_header(names):
        return smi_csv.layout_of_header(names) is not None or not _is_table(head)
    return smi_csv.is_headless(head.lines[0])


def _is_table(head: Head) -> bool:
    guessed = column_names.guess(head.dialect.names)
    return (
        head.told
        or wandb.is_table(head.dialect.names)
        or ("time" in guessed and bool({"power", "energy"} & guessed.keys()))
    )


SMI = Format(
    name="nvidia-smi-csv",
    title="`nvidia-smi --query-gpu=... --format=csv`",
    told_by="names of its fields in the header; without one, its stamps and watts",
    reads="`power.draw`, `power.draw.instant`, energy, `utilization.gpu`, the limit; GPU by UUID, PCI address or index",
    traps="`power.draw` is an average over a second on some boards; `[N/A]` and 0 W are no readings",
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
    rows=_read_parquet,
)
TABLE = Format(
    name="csv",
    title="CSV of any tool, any delimiter, decimal points or commas (W&B's exports too)",
    told_by="`--columns`, or names of columns that can mean one thing only",
    reads="power and energy by time, of one GPU or many; a column a GPU (wide tables)",
    traps="`energy` is a counter that rises; times without a zone are those of `--timezone`",
    tells=_is_table,
    rows=_read_table,
)
