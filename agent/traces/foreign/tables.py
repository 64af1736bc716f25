"""Tables of any tool, in text or Parquet, and those of ``nvidia-smi --query-gpu``: from a file to its columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from wattshed.agent.errors import InputError
from wattshed.agent.inputs import columns as column_names
from wattshed.agent.inputs import delimited
from wattshed.agent.inputs.delimited import Block
from wattshed.agent.inputs.text import head_of
from wattshed.agent.traces.foreign import smi_csv, wandb
from wattshed.agent.traces.foreign.columns import layout_of_spec
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.table import TableReader
from wattshed.agent.traces.prefetch import ahead

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wattshed.agent.inputs.delimited import Dialect
    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.rows import Rows
    from wattshed.agent.traces.foreign.table import TableLayout

_PARQUET_ROWS = 1 << 18


def _read_parquet(log: LogFile) -> Iterator[Rows]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - a tenth of the start of a replay that needs none

    path = log.source.path
    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            layout, unit = _layout(log, names)
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
    dialect = delimited.sniff(head_of(log.source.path))
    layout, unit = _layout(log, dialect.names)
    yield from _read_text(log, dialect, layout, unit)


def _layout(log: LogFile, names: Sequence[str]) -> tuple[TableLayout, str]:
    options = log.options
    if options.columns is None and wandb.is_table(names):
        return wandb.layout_of(names, log.report), ""
    return layout_of_spec(options.columns or {}, names, str(log.source.path), utilisation=options.utilisation)


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
    yield from _read_text(log, dialect, layout, "")


def _read_text(log: LogFile, dialect: Dialect, layout: TableLayout, unit: str) -> Iterator[Rows]:
    reader = TableReader(layout, dialect.names, log.clock(unit), log.gpus, log.report)
    blocks = delimited.read_csv(log.source.path, dialect, layout.names(), log.report, layout.kinds(unit))
    yield from reader.rows(blocks)


def _is_smi(head: Head) -> bool:
    if head.told or not head.lines:
        return False
    return smi_csv.is_header(head.dialect.names) or smi_csv.is_headless(head.lines[0])


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
