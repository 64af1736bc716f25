"""Logs of ``nvidia-smi --query-gpu=... --format=csv``, with a header or without one: how they are told, and read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs import columns as column_names
from wattshed.agent.inputs.dialect import sniff, split
from wattshed.agent.inputs.text import head_of
from wattshed.agent.traces.foreign import smi_csv
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.headless import layout_of_rows
from wattshed.agent.traces.foreign.text_tables import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wattshed.agent.inputs.dialect import Dialect
    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.rows import Rows
    from wattshed.agent.traces.foreign.table_layout import TableLayout


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


def is_plain(head: Head) -> bool:
    """Return whether a text begins with the header of a query with times and power, and its first lines are rows.

    Then it is of this format: no other begins so, and none needs to be asked.
    """
    names, lines = head.dialect.names, head.lines
    if head.told or len(lines) < 2 or head.dialect.delimiter != "," or smi_csv.layout_of_header(names) is None:
        return False
    cells = len(names) - 1
    return tuple(split(lines[0], ",")) == tuple(names) and all(line.count(",") == cells for line in lines)


def _tells(head: Head) -> bool:
    if head.told or not head.lines:
        return False
    if head.dialect.headed:
        return smi_csv.is_header(head.dialect.names) and (
            _layout_of_query(head.dialect.names) is not None or not _is_other_table(head)
        )
    layout = layout_of_rows(head.dialect.cells(head.text))
    return layout is not None and (bool(layout.time) or any(" W" in line for line in head.lines[:5]))


def _is_other_table(head: Head) -> bool:
    from wattshed.agent.traces.foreign.layouts import is_table  # noqa: PLC0415 - a query with power is read without

    return is_table(head)


FORMAT = Format(
    name="nvidia-smi-csv",
    title="`nvidia-smi --query-gpu=... --format=csv`",
    told_by="names of its fields in the header; without one, stamps (its own, or `date` before each line) and watts",
    reads="`power.draw`, `power.draw.instant`, energy, `utilization.gpu`, the limit; GPU by UUID, PCI address, "
    "serial number or index",
    traps="`power.draw` is an average over a second on some boards; `[N/A]` and 0 W are no readings; without a column "
    "for the GPU, rows are told by their rounds",
    tells=_tells,
    rows=_read_smi,
)
