"""From the traces a user names to windows: which files there are, whose they are, and in what order they are read.

Files of one host form a *chain*, read in the order of their time; chains have nothing to do with each other, so they
may be read anywhere, in any order. A native chain is a host's segments; a foreign one is assembled from the rows of
all of its files together, so power in one file and energy in another meet.

The host of a file is, in this order: ``@HOST`` behind its name, a folder ``host=HOST`` on its way, what its content
says, else nothing. Where several files say nothing and tell of the same GPUs at the same time, they must be of several
hosts, and are called by what differs in their names.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.prefetch import ahead
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.inputs.text import head_of
from wattshed.agent.traces.chunk import each_window
from wattshed.agent.traces.foreign import detect
from wattshed.agent.traces.foreign.assembler import Assembler
from wattshed.agent.traces.foreign.energies import known
from wattshed.agent.traces.foreign.format import Head
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.hosts import each_once, name_hosts
from wattshed.agent.traces.foreign.lanes import in_lanes
from wattshed.agent.traces.foreign.registry import holds_runs, recognise, rows_of, runs_of
from wattshed.agent.traces.options import Options, TraceFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from wattshed.agent.traces.chunk import Chunk
    from wattshed.agent.traces.foreign.rows import Rows
    from wattshed.agent.traces.foreign.runs import TabledRun
    from wattshed.agent.window import Device, Window, WindowBatch

_NATIVE_SUFFIXES = (".arrows", ".open", ".parquet")
_FOREIGN_SUFFIXES = (".csv", ".txt", ".log", ".prom", ".om", ".json", ".xml", ".parquet", ".tsv", ".arrow", ".feather")
_HOST_PART = re.compile(r"host=([^/]+)")
_DATED_US = 10**9 * 10**6
"""Times after this, in 2001, were read: those that are made up or count from a start begin in 1970."""
UNUSED_PERIOD = "it has times of its own: --period is not used"


@dataclass(slots=True)
class Chain:
    """Files that are read one after the other, into one set of accounts.

    Attributes
    ----------
    name : str
        The host, empty if the content says.
    sources : list of TraceFile
    reports : list of SourceReport
        One a source, after reading.
    passed_over : list of str
        What else lay in the folder, and why it is not a trace.
    day : Path or None
        The folder of what was handed out last, a day of a recording; None for rows, which have no days.
    """

    name: str
    sources: list[TraceFile]
    reports: list[SourceReport] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    day: Path | None = None
    _last_of: dict[Path, SourceReport] = field(default_factory=dict, repr=False)

    def report_of(self, day: Path | None) -> SourceReport:
        """Return the report of the last source of a day."""
        return self.reports[-1] if day is None else self._last_of[day]

    @property
    def native(self) -> bool:
        """Return whether it is recorded windows, not rows."""
        return self.sources[0].format in {detect.NATIVE, detect.NATIVE_PARQUET}

    @property
    def holds_runs(self) -> bool:
        """Return whether it is tables of runs, which have no windows."""
        return holds_runs(self.sources[0].format)

    def runs(self, options: Options) -> list[TabledRun]:
        """Read the runs of all files, each joule once; ``reports`` gets one entry a source.

        Raises
        ------
        InputError
            If a file cannot be used.
        """
        from wattshed.agent.traces.foreign.settled_runs import settled  # noqa: PLC0415 - power over time needs none

        self.reports = [SourceReport(str(source.path), source.format) for source in self.sources]
        self.reports[0].notes += self.passed_over
        pairs = zip(self.sources, self.reports, strict=True)
        runs, notes = settled([runs_of(source, report, options) for source, report in pairs])
        self.reports[-1].notes += notes
        return runs

    def windows(self, options: Options, stop: Callable[[], bool] = lambda: False) -> Iterator[Window]:
        """Read all of it, or until ``stop`` says so; ``reports`` gets one entry a source, complete at the end."""
        yield from each_window(self._items(options, stop, batched=False))

    def batches(self, options: Options, stop: Callable[[], bool] = lambda: False) -> Iterator[Window | WindowBatch]:
        """Read it for the accounts: like `windows`, but windows of mere power readings come together, as they lie."""
        yield from self._items(replace(options, billing=True), stop, batched=True)

    def _items(self, options: Options, stop: Callable[[], bool], *, batched: bool) -> Iterator[Window | WindowBatch]:
        self.reports = [SourceReport(str(source.path), source.format) for source in self.sources]
        self.reports[0].notes += self.passed_over
        folders = (source.path.parent for source in self.sources)
        self._last_of = dict(zip(folders, self.reports, strict=True))
        if not self.native:
            yield from self._foreign(options, stop)
            return
        if options.period_us:
            self.reports[0].note(UNUSED_PERIOD)
        for source, report, chunk in itertools.chain.from_iterable(ahead(self._chunks())):
            day = source.path.parent
            for item in chunk(batched=batched):
                if stop():
                    return
                self.day = day
                report.gpus = max(report.gpus, len(item.devices))
                yield item

    def _chunks(self) -> Iterator[list[tuple[TraceFile, SourceReport, Chunk]]]:
        """Read the stretches of all sources, one after the other; those of short segments many at once."""
        from wattshed.agent.traces.native.parquet import parquet_chunks  # noqa: PLC0415 - other tools' logs need none
        from wattshed.agent.traces.native.reader import STRETCH, segment_chunks  # noqa: PLC0415

        held: list[tuple[TraceFile, SourceReport, Chunk]] = []
        size = 0
        for source, report in zip(self.sources, self.reports, strict=True):
            mapped = source.format == detect.NATIVE
            length = source.path.stat().st_size if mapped else STRETCH  # Parquet is decoded, to several times its size
            for chunk in (segment_chunks if mapped else parquet_chunks)(source.path, report):
                held.append((source, report, chunk))
                size += min(length, STRETCH)
                if size >= STRETCH // 2:
                    yield held
                    held, size = [], 0
        if held:
            yield held

    def samples(self, options: Options) -> Iterator[tuple[Sequence[Device], Rows]]:
        """Read a chain of rows as they lie in its files, in their order, with the GPUs they are numbered by."""
        gpus, options = Gpus("", options.max_power_mw, options.max_gap_us), replace(options, utilisation=True)
        reports = [SourceReport(str(source.path), source.format) for source in self.sources]
        for rows in known(self._rows(reports, gpus, options), gpus, reports[-1]):
            yield gpus.devices, rows

    def _rows(self, reports: Sequence[SourceReport], gpus: Gpus, options: Options) -> Iterator[Rows]:
        blocks = (
            rows
            for source, report in zip(self.sources, reports, strict=True)
            for rows in _noting_period(rows_of(source, report, gpus, options), report, options)
        )
        yield from in_lanes(blocks, gpus)

    def _foreign(self, options: Options, stop: Callable[[], bool]) -> Iterator[Window | WindowBatch]:
        gpus = Gpus("", options.max_power_mw, options.max_gap_us, most_load_mw=options.most_load_mw)
        blocks = self._rows(self.reports, gpus, options)
        yield from Assembler(gpus, self.reports[-1]).batches(itertools.takewhile(lambda _: not stop(), blocks))
        for report in self.reports:
            if not report.rows and not stop():
                raise InputError("it contains no reading of power or energy", report.path)


def find(arguments: Sequence[str], options: Options) -> list[Chain]:
    """Sort the files that the user named (folders: what lies in them) into chains.

    Raises
    ------
    InputError
        If there is no such file, or one that is not a trace.
    """
    sources: list[TraceFile] = []
    refused: list[InputError] = []
    for argument in arguments:
        path, host = _split_host(argument)
        for file in _in_folder(path) if path.is_dir() else [path]:
            part = _HOST_PART.search(str(file))
            try:
                sources.append(_source(file, host or (part[1] if part else ""), options))
            except InputError as error:
                if not path.is_dir():  # named by the user; what merely lies in a folder may be something else
                    raise
                refused.append(error)
    if refused and not sources:
        raise refused[0]
    chains: dict[str, Chain] = {}
    tables = [source for source in sources if holds_runs(source.format)]
    if tables and len(tables) < len(sources):
        raise InputError(
            "it is a table of runs, whose GPUs the other files may show as well: replay it by itself",
            str(tables[0].path),
        )
    native = {detect.NATIVE, detect.NATIVE_PARQUET}
    foreign_sources = [source for source in sources if source.format not in native and source not in tables]
    for source in tables:
        chains.setdefault("runs", Chain("", [])).sources.append(source)
    for source in sources:
        if source.format not in native:
            continue
        name = f"native {source.host}" if source.host else f"native {source.path.parent}"
        chains.setdefault(name, Chain(source.host, [])).sources.append(source)
    for chain in chains.values():
        chain.sources.sort(key=lambda source: (source.path.parent.name, source.path.name))
    foreign_sources, doubled = each_once(foreign_sources)
    for source in name_hosts(foreign_sources, options):
        chains.setdefault(f"rows {source.host}", Chain(source.host, [])).sources.append(source)
    for chain in list(chains.values())[:1]:
        chain.passed_over = [*doubled, *(f"skipped {error}" for error in refused)]
    return list(chains.values())


def _noting_period(blocks: Iterable[Rows], report: SourceReport, options: Options) -> Iterator[Rows]:
    """Pass on the rows of a file, and say so if they have times although ``--period`` was given."""
    for rows in blocks:
        if options.period_us and len(rows) and int(rows.time_us.min()) > _DATED_US:
            report.note(UNUSED_PERIOD)
        yield rows


def _split_host(argument: str) -> tuple[Path, str]:
    """Split ``PATH@HOST``, unless there is a file of that whole name."""
    path, at, host = argument.rpartition("@")
    whole = Path(argument)
    if at and path and host and "/" not in host and not whole.exists():
        return Path(path), host
    return whole, ""


def _in_folder(folder: Path) -> list[Path]:
    """List the segments of a recording, else the traces of a folder by their endings."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    segments = [path for path in files if path.suffix in {".arrows", ".open"}]
    finished = {path.with_suffix("") for path in segments}
    native = [
        path
        for path in files
        if path.suffix in _NATIVE_SUFFIXES
        # A crash between the two steps of compaction leaves both forms of a segment.
        and not (path.suffix == ".parquet" and path.with_suffix("") in finished)
        and (path.suffix != ".parquet" or segments or detect.format_of_bytes(path) == detect.PARQUET)
    ]
    others = [path for path in files if path.name.removesuffix(".gz").endswith(_FOREIGN_SUFFIXES)]
    if not native and not others:
        raise InputError("this folder contains no trace (segments, CSV, Parquet, JSON, XML or text)", str(folder))
    return sorted({*native, *(path for path in others if not segments and path not in native)})


def _source(path: Path, host: str, options: Options) -> TraceFile:
    if path.exists() and not path.is_file():
        raise InputError("it is not a regular file (a pipe?); save it first, traces are read more than once", str(path))
    found = detect.format_of_bytes(path)
    if found in {detect.PARQUET, detect.ARROW}:
        return TraceFile(path, _format_of_columns(path, found, options), host)
    if not found:
        chosen = bool(options.where)
        head = Head(head_of(path), str(path), spec=options.columns, chosen=chosen, loads=options.loads)
        found = recognise(head).name
    return TraceFile(path, found, host)


def _format_of_columns(path: Path, found: str, options: Options) -> str:
    """Return whether a Parquet or Arrow file is a compacted native trace, a table of runs, or another one.

    Raises
    ------
    InputError
        If it is damaged.
    """
    from wattshed.agent.inputs.columnar import open_columns  # noqa: PLC0415 - text needs none
    from wattshed.agent.inputs.run_layouts import layout_of_runs  # noqa: PLC0415

    with open_columns(path) as table:
        if found == detect.PARQUET:
            from wattshed.agent.traces.native.parquet import is_native_parquet  # noqa: PLC0415

            if is_native_parquet(table.schema):
                return detect.NATIVE_PARQUET
        runs = layout_of_runs(table.schema.names, options.columns, str(path))
        return runs.kind if runs is not None else found
