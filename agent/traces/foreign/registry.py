"""All formats of foreign logs, in the order in which they are tried, and the way from a file to its reader.

A reader is imported when it is its format's turn: most logs are told by the first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.dialect import split
from wattshed.agent.traces.foreign.format import Head, LogFile
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.spilling import in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.traces.foreign.format import Format, Refusal
    from wattshed.agent.traces.foreign.rows import Rows
    from wattshed.agent.traces.foreign.runs import RunTable
    from wattshed.agent.traces.options import Options, TraceFile

_QUERY = "nvidia-smi-csv"
_HOMES: Mapping[str, tuple[str, str]] = {
    "nvidia-smi-xml": ("smi_query", "XML"),
    "prometheus-json": ("prometheus_json", "FORMAT"),
    "promtool-query": ("promtool", "FORMAT"),
    "json": ("json_log", "FORMAT"),
    "nvidia-smi-session": ("session", "FORMAT"),
    "nvidia-smi-pmon": ("monitors", "PMON"),
    "nvidia-smi-dmon": ("monitors", "DMON"),
    "dcgmi-dmon": ("monitors", "DCGMI"),
    "nvidia-smi-q": ("smi_query", "TEXT"),
    "nvidia-smi-table": ("smi_table", "FORMAT"),
    "nvidia-smi-stats": ("smi_stats", "FORMAT"),
    "tegrastats": ("tegra", "TEGRASTATS"),
    "jtop": ("tegra", "JTOP"),
    "ptdaemon": ("ptdaemon", "FORMAT"),
    "line-protocol": ("line_protocol", "FORMAT"),
    "dcgm-exporter": ("exposition", "SCRAPE"),
    "openmetrics": ("exposition", "SAMPLES"),
    "logfmt": ("key_values", "FORMAT"),
    "nvidia-smi-csv": ("smi_queries", "FORMAT"),
    "long-form": ("long_form", "FORMAT"),
    "parquet": ("tables", "PARQUET"),
    "arrow": ("tables", "ARROW"),
    "codecarbon": ("runs", "CODECARBON"),
    "zeus": ("runs", "ZEUS"),
    "runs": ("runs", "RUNS"),
    "csv": ("tables", "TABLE"),
}
"""Of each format the module that ends with it, and what it is called there. The first that fits counts; tables of any
tool come last.
"""


def format_of(name: str) -> Format:
    """Return the format of a name, as answers call it."""
    module, attribute = _HOMES[name]
    found: Format = getattr(import_module(f"wattshed.agent.traces.foreign.{module}"), attribute)
    return found


def formats() -> Iterator[Format]:
    """Yield all formats that are read, in the order in which they are tried."""
    return map(format_of, _HOMES)


def refusals() -> tuple[Refusal, ...]:
    """Return what is known and not read."""
    from wattshed.agent.traces.foreign.refusals import FIRST, LAST  # noqa: PLC0415 - most files are read

    return *FIRST, *LAST


def recognise(head: Head) -> Format:
    """Return the format of a text.

    Raises
    ------
    InputError
        If it is of no format that is read; the message says what the user can do.
    """
    from wattshed.agent.traces.foreign.smi_queries import is_plain  # noqa: PLC0415 - files of bytes need none

    if is_plain(head):
        return format_of(_QUERY)
    from wattshed.agent.traces.foreign.refusals import FIRST, LAST  # noqa: PLC0415

    _refuse(FIRST, head)
    for one in formats():
        if one.tells(head):
            return one
    _refuse(LAST, head)
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
    found = format_of(source.format)
    report.boundary = found.boundary
    rows = found.rows(LogFile(source, report, gpus, options))
    yield from in_order(rows) if found.by_series else rows


def holds_runs(name: str) -> bool:
    """Return whether a format has energies of runs, and no power over time."""
    return name in _HOMES and format_of(name).runs is not None


def runs_of(source: TraceFile, report: SourceReport, options: Options) -> RunTable:
    """Read the runs of one file.

    Raises
    ------
    InputError
        If it cannot be used, or is none of runs.
    """
    found = format_of(source.format)
    if found.runs is None:
        raise InputError("it is no table of runs", str(source.path))
    report.boundary = found.boundary
    return found.runs(LogFile(source, report, Gpus(source.host, options.max_power_mw, options.max_gap_us), options))
