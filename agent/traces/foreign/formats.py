"""One entry to all readers of foreign formats: rows of a file, and what host it is of."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from wattshed.agent.errors import InputError
from wattshed.agent.inputs import delimited
from wattshed.agent.inputs.delimited import Block
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.inputs.text import head_of, open_lines
from wattshed.agent.inputs.timestamps import TimestampParser
from wattshed.agent.traces.foreign import columns, detect, smi_csv
from wattshed.agent.traces.foreign.exposition import read_exposition
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.monitors import MonitorReader
from wattshed.agent.traces.foreign.prometheus_json import read_prometheus
from wattshed.agent.traces.foreign.session import read_session
from wattshed.agent.traces.foreign.smi_query import read_text, read_xml
from wattshed.agent.traces.foreign.table import TableReader
from wattshed.agent.traces.prefetch import ahead

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from wattshed.agent.traces.foreign.rows import Rows
    from wattshed.agent.traces.options import Options, TraceFile

_PARQUET_ROWS = 1 << 18
_TOLD_APART = re.compile(r"[^A-Za-z0-9-]+")


def rows_of(source: TraceFile, report: SourceReport, gpus: Gpus, options: Options) -> Iterator[Rows]:
    """Read one file.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    gpus.host = source.host
    path, unit = source.path, ""
    if source.format in {detect.TABLE, detect.SMI_CSV, detect.PARQUET}:
        yield from _table(source, report, gpus, options)
        return
    clock = TimestampParser(options.local, unit)
    with open_lines(path) as file:
        lines = enumerate(file, 1)
        if source.format in {detect.DMON, detect.PMON, detect.DCGMI}:
            yield from MonitorReader(clock, gpus, report).rows(lines)
        elif source.format == detect.SMI_Q:
            yield from read_text(lines, clock, gpus, report)
        elif source.format == detect.SMI_XML:
            yield from read_xml(lines, clock, gpus, report)
        elif source.format == detect.SESSION:
            yield from read_session(lines, clock, gpus, report)
        elif source.format == detect.PROMETHEUS:
            yield from read_prometheus(file, clock, gpus, report)
        else:
            yield from read_exposition(lines, clock, gpus, report)


def _table(source: TraceFile, report: SourceReport, gpus: Gpus, options: Options) -> Iterator[Rows]:
    path = source.path
    if source.format == detect.PARQUET:
        import pyarrow.parquet as pq  # noqa: PLC0415 - a tenth of the start of a replay that needs none

        try:
            with pq.ParquetFile(path) as file:
                names = list(file.schema_arrow.names)
                layout, unit = columns.layout_of_spec(
                    options.columns or {}, names, str(path), utilisation=options.utilisation
                )
                reader = TableReader(layout, names, TimestampParser(options.local, unit), gpus, report)
                yield from reader.rows(ahead(_parquet_blocks(file, layout.names())))
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"damaged Parquet ({str(error).splitlines()[0]})", str(path)) from error
        return
    head = head_of(path)
    if source.format == detect.SMI_CSV and options.columns is None:
        dialect = delimited.sniff(head)
        unit = ""
        if smi_csv.is_header(dialect.names):
            found = smi_csv.layout_of_header(dialect.names)
        else:
            dialect = delimited.sniff(head, header=False)
            lines = [line for line in head.splitlines()[:200] if line.strip()]
            rows = [delimited.split(line, dialect.delimiter) for line in (lines[:-1] or lines)]
            usual = max((len(row) for row in rows), default=0)
            found = smi_csv.layout_of_rows([row for row in rows if len(row) == usual])
        if found is None:
            raise InputError("it has no column of time, or none of power or energy", str(path), 1)
        layout = found
    else:
        dialect = delimited.sniff(head)
        layout, unit = columns.layout_of_spec(
            options.columns or {}, dialect.names, str(path), utilisation=options.utilisation
        )
    if not layout.gpu and not layout.wide:
        report.note("no column says which GPU a row is of")
    clock = TimestampParser(options.local, unit)
    blocks = delimited.read_csv(path, dialect, layout.names(), report, layout.kinds(clock))
    yield from TableReader(layout, dialect.names, clock, gpus, report).rows(blocks)


def _parquet_blocks(file: Any, names: Sequence[str]) -> Iterator[Block]:
    line = 1
    for group in range(file.num_row_groups):
        # Row groups are decoded whole: bringing batches together across their bounds halves the speed.
        table = file.read_row_group(group, list(names), use_threads=True).combine_chunks()
        for batch in table.to_batches(max_chunksize=_PARQUET_ROWS):
            yield Block(line, {name: batch.column(name) for name in names})
            line += batch.num_rows


def name_hosts(sources: Sequence[TraceFile], options: Options) -> list[TraceFile]:
    """Give hosts to files that name none but have the same GPUs at the same time; order files by their time.

    Only where several files name no host are they read for this, once more.
    """
    unnamed = [source for source in sources if not source.host]
    if len(unnamed) < 2:
        return list(sources)
    spans: dict[Path, tuple[int, int, set[str]]] = {}
    for source in unnamed:
        found = _span(source, options)
        if found is not None:
            spans[source.path] = found
    clash = any(a[0] < b[1] and b[0] < a[1] and a[2] & b[2] for a, b in itertools.combinations(spans.values(), 2))
    ordered = sorted(sources, key=lambda source: spans[source.path][0] if source.path in spans else -1)
    if not clash:
        return ordered
    names = _what_differs([source.path for source in ordered if source.path in spans])
    return [replace(s, host=names[s.path]) if s.path in names and not s.host else s for s in ordered]


def _span(source: TraceFile, options: Options) -> tuple[int, int, set[str]] | None:
    """First and last stamp, and the GPUs that no host is known of; None where the content names hosts."""
    gpus = Gpus("", options.max_power_mw, options.max_gap_us)
    first, last = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for rows in rows_of(source, SourceReport(str(source.path)), gpus, options):
        if rows.time_us.size:
            first, last = min(first, int(rows.time_us.min())), max(last, int(rows.time_us.max()))
    if any(device.host for device in gpus.devices) or last < first:
        return None
    # A UUID is one GPU wherever it stands; indices and PCI addresses are the same on every host.
    return first, last, {device.pci_bus_id or str(device.index) for device in gpus.devices if not device.uuid}


def _what_differs(paths: Iterable[Path]) -> dict[Path, str]:
    """Name files by the words of their names that not all share: ``t13_node0_log.csv`` becomes ``node0``."""
    paths = list(paths)
    words = {path: _TOLD_APART.split(path.name.removesuffix(".gz").rsplit(".", 1)[0]) for path in paths}
    shared = set.intersection(*(set(names) for names in words.values()))
    short = {path: "_".join(word for word in words[path] if word not in shared) for path in paths}
    if len(set(short.values())) == len(paths) and all(short.values()):
        return short
    stems = {path: path.name.removesuffix(".gz").rsplit(".", 1)[0] for path in paths}
    if len(set(stems.values())) == len(paths):
        return stems
    return {path: str(path) for path in paths}
