"""All formats of foreign logs, in the order in which they are tried, and the way from a file to its reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.dialect import split
from wattshed.agent.traces.foreign import (
    exposition,
    json_log,
    line_protocol,
    long_form,
    monitors,
    prometheus_json,
    promtool,
    ptdaemon,
    refusals,
    runs,
    session,
    smi_query,
    smi_stats,
    smi_table,
    tables,
    tegra,
)
from wattshed.agent.traces.foreign.format import Head, LogFile
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.spilling import in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.traces.foreign.format import Format, Refusal
    from wattshed.agent.traces.foreign.rows import Rows
    from wattshed.agent.traces.foreign.runs import RunTable
    from wattshed.agent.traces.options import Options, TraceFile

FORMATS: tuple[Format, ...] = (
    smi_query.XML,
    prometheus_json.FORMAT,
    promtool.FORMAT,
    json_log.FORMAT,
    session.FORMAT,
    monitors.PMON,
    monitors.DMON,
    monitors.DCGMI,
    smi_query.TEXT,
    smi_table.FORMAT,
    smi_stats.FORMAT,
    tegra.TEGRASTATS,
    tegra.JTOP,
    ptdaemon.FORMAT,
    line_protocol.FORMAT,
    exposition.SCRAPE,
    exposition.SAMPLES,
    tables.SMI,
    long_form.FORMAT,
    tables.PARQUET,
    tables.ARROW,
    runs.CODECARBON,
    runs.ZEUS,
    runs.RUNS,
    tables.TABLE,
)
"""The first that fits counts; tables of any tool come last."""

REFUSALS: tuple[Refusal, ...] = (*refusals.FIRST, *refusals.LAST)
"""Known, and not read."""

_BY_NAME = {one.name: one for one in FORMATS}


def recognise(head: Head) -> Format:
    """Return the format of a text.

    Raises
    ------
    InputError
        If it is of no format that is read; the message says what the user can do.
    """
    _refuse(refusals.FIRST, head)
    for one in FORMATS:
        if one.tells(head):
            return one
    _refuse(refusals.LAST, head)
    dialect = head.dialect
    alike = [len(split(line, dialect.delimiter)) == len(dialect.names) for line in head.lines[1:50]]
    if len(dialect.names) > 1 and sum(alike) * 2 > len(alike):
        raise InputError(_unclear(head), head.path, max(dialect.header_lines, 1))
    raise InputError("unrecognised trace format (docs/replay.md lists the formats)", head.path)


def _unclear(head: Head) -> str:
    """Say what to add for a table whose columns mean nothing by themselves."""
    names = head.dialect.names
    if head.dialect.headed:
        shown = ", ".join(names[:8])
        return f"it is a table whose columns are not clear; say --columns time=...,power=... (it has: {shown})"
    row = next(iter(head.dialect.cells(head.text)), [])
    cells = ", ".join(f"{place}: {cell}" for place, cell in zip(names[:8], row, strict=False))
    return f"it is a table without a header; say by position --columns time=1,power=N ({cells})"


def _refuse(known: Iterable[Refusal], head: Head) -> None:
    for refusal in known:
        if refusal.tells(head):
            raise InputError(f"it is {refusal.title}; {refusal.way_out} (docs/replay.md lists the formats)", head.path)


def rows_of(source: TraceFile, report: SourceReport, gpus: Gpus, options: Options) -> Iterator[Rows]:
    """Read one file.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    gpus.host = source.host
    report.boundary = _BY_NAME[source.format].boundary
    found = _BY_NAME[source.format]
    rows = found.rows(LogFile(source, report, gpus, options))
    yield from in_order(rows) if found.by_series else rows


def holds_runs(name: str) -> bool:
    """Return whether a format has energies of runs, and no power over time."""
    return name in _BY_NAME and _BY_NAME[name].runs is not None


def runs_of(source: TraceFile, report: SourceReport, options: Options) -> RunTable:
    """Read the runs of one file.

    Raises
    ------
    InputError
        If it cannot be used, or is none of runs.
    """
    read = _BY_NAME[source.format].runs
    if read is None:
        raise InputError("it is no table of runs", str(source.path))
    report.boundary = _BY_NAME[source.format].boundary
    return read(LogFile(source, report, Gpus(source.host, options.max_power_mw, options.max_gap_us), options))
