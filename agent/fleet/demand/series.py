"""Power over time: a series for each GPU of a trace, or for each job, host or feeder of a table.

What ``wattshed replay`` reads, it reads too, by the same readers. A table may also hold what is not a GPU: the power of
jobs, nodes and sites, of any size; its cells, times and units are read as those of a trace.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wattshed.agent.errors import InputError, UnclearGpusError
from wattshed.agent.inputs import delimited
from wattshed.agent.inputs.columns import KEYS as TABLE_KEYS
from wattshed.agent.inputs.columns import RUN_KEYS, find, guess, split_unit, unit_in_name, unit_of_time
from wattshed.agent.inputs.dialect import Dialect, sniff
from wattshed.agent.inputs.line_stamps import stamp_before
from wattshed.agent.inputs.quantities import POWER_MW, REASONS, scaled_column
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.inputs.run_layouts import TOLD, layout_of_runs
from wattshed.agent.inputs.text import head_of
from wattshed.agent.inputs.timestamps import NO_TIME, TimestampParser, parse_text
from wattshed.agent.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.inputs.delimited import Block

Spec = Mapping[str, tuple[str, str]]
"""What the user said of columns: key -> (name or pattern, unit or ""), see `agent.inputs.columns.parse_spec`."""

ReadTrace = Callable[[Path, Spec, list[SourceReport]], Iterator[Window]]
"""Reads any trace; gives a report for each of its files."""

KEYS = (*TABLE_KEYS, *RUN_KEYS)
_OWN_KEYS = {"time", "date", "power", "job", "host", "gpu"}  # all that says something of a load
_LOADS = ("load", "value", "p")
_JOB = re.compile(r"job(_?id)?", re.IGNORECASE)
_HOST = re.compile(r"instance", re.IGNORECASE)  # as Prometheus calls it; other names are those of traces
_LARGE = ("kW", "MW", "GW")  # no GPU is metered in these

Trace = tuple["NDArray[np.int64]", "NDArray[np.float64]"]
"""time_us int64[n] ascending, power_w float64[n]."""
Kept = tuple["NDArray[np.int64]", "NDArray[Any]"]
"""The same with power as it is kept: float64 watts, or milliwatts of int32 in half of the memory."""


class GpuSeries(Mapping[str, Trace]):
    """Series kept in milliwatts; each is scaled when it is asked for."""

    def __init__(self, kept: Mapping[str, Kept]) -> None:
        self._kept = kept

    def __getitem__(self, name: str) -> Trace:
        """Return time_us and power_w of one."""
        time, power_mw = self._kept[name]
        return time, power_mw / 1e3

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._kept)

    def __len__(self) -> int:
        """Count the series."""
        return len(self._kept)


@dataclass(frozen=True, slots=True)
class LoadRecording:
    """What a file holds: a series per job, or per GPU, or one; and how many rows had no usable number, by reason.

    Attributes
    ----------
    series : mapping of name to (time_us, power)
    kind : {"job", "gpu", "total"}
        What one series is.
    rows : int
    rejected : mapping of reason to rows
    """

    series: Mapping[str, Trace]
    kind: str
    rows: int
    rejected: Mapping[str, int]


def open_recording(path: Path, spec: Spec, read_trace: ReadTrace) -> LoadRecording:
    """Read power over time from any file or folder.

    A table of jobs or of a load as a whole is read here, and what has GPUs by the readers of traces.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    load = read_recording(path, spec) if _is_load(path, spec) else None
    if load and (load.kind == "job" or not _in_bursts(load)):
        return load
    reports: list[SourceReport] = []
    try:
        found = from_windows(read_trace(path, spec, reports), reports, str(path))
    except UnclearGpusError:
        raise
    except InputError:
        if load is None:
            raise
        return load
    return found


def _in_bursts(load: LoadRecording) -> bool:
    """Return whether stamps come twice or close together: GPUs may stand one after the other without a name."""
    if 3 * load.rejected.get("same_time", 0) > load.rows:
        return True
    steps = [np.diff(time_us) for time_us, _ in load.series.values()]
    return any(step.size > 1 and (4 * step < np.quantile(step, 0.98)).mean() > 0.3 for step in steps)


def read_recording(path: Path, spec: Spec | None = None) -> LoadRecording:
    """Read a table of power over time.

    Parameters
    ----------
    path : Path
    spec : mapping, optional
        A pattern such as ``GPU*`` for power takes every column that matches for a series.

    Raises
    ------
    InputError
        If there is no time or power column, or no row has both.
    """
    dialect = sniff(head_of(path))
    report = SourceReport(str(path))
    rows = _Rows(_layout(dialect, path, spec or {}), dialect.names, report)
    for below, pieces in delimited.stretches(path, dialect, report):
        layout = _layout(below, path, spec or {})
        rows.go_on(layout, below.names)
        for block in delimited.blocks(pieces, layout.columns(), report):
            rows.add(block)
    return rows.recording()


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which column is what.

    Attributes
    ----------
    time, time_unit : str
    powers : mapping of name -> unit
    groups : mapping of job, host or gpu -> name
        What distinguishes the series.
    date : str
        The column of dates of times of day; empty if there is none.
    """

    time: str
    time_unit: str
    powers: Mapping[str, str]
    groups: Mapping[str, str]
    date: str = ""

    def columns(self) -> list[str]:
        named = (self.time, self.date, *self.powers, *self.groups.values())
        return list(dict.fromkeys(name for name in named if name))

    @property
    def kind(self) -> str:
        if "job" in self.groups:
            return "job"
        return "gpu" if self.groups or len(self.powers) > 1 else "total"


def _is_load(path: Path, spec: Spec) -> bool:
    """Return whether a file is a table of what is not a GPU: jobs, hosts, or a load without a name."""
    if TOLD & spec.keys():
        return False  # a table of runs
    if "job" in spec:
        return True
    if path.is_dir() or set(spec) - _OWN_KEYS:
        return False
    try:
        dialect = sniff(head_of(path))
        layout = _layout(dialect, path, spec)
        if not spec and layout_of_runs(dialect.names, None, str(path)) is not None:
            return False  # energy by run: its power is a mean of each, and nothing is known between them
    except InputError:
        return False
    if any(parse_text(name) or stamp_before(name)[0] for name in dialect.names):
        return False  # no header has a date in it: names and values follow each other
    if "job" in layout.groups or any(unit in _LARGE for unit in layout.powers.values()):
        return True
    # nvidia-smi writes dots into the names of its columns.
    return "gpu" not in layout.groups and len(layout.powers) == 1 and not any("power." in p for p in layout.powers)


def _layout(dialect: Dialect, path: Path, spec: Spec) -> _Layout:
    names, where = dialect.names, str(path)
    known = guess(names)
    for key, pattern in (("job", _JOB), ("host", _HOST)):
        known.setdefault(key, next((name for name in names if pattern.fullmatch(name.strip())), ""))
    name, unit = spec.get("time", (known.get("time", ""), ""))
    if not name:
        raise InputError("it is not clear which column is the time; say --columns time=...", where, 1)
    time = find("time", name, names, where)
    groups = {
        key: find(key, spec[key][0], names, where) if key in spec else known.get(key, "")
        for key in ("job", "host", "gpu")
    }
    groups = {key: column for key, column in groups.items() if column}
    if "job" in groups:
        groups = {"job": groups["job"]}
    date = find("date", spec["date"][0], names, where) if "date" in spec else known.get("date", "")
    return _Layout(time, unit or unit_of_time(time), _powers(names, spec, known, where), groups, date)


def _powers(names: Sequence[str], spec: Spec, known: Mapping[str, str], where: str) -> dict[str, str]:
    """Power columns: one, or in a wide table all that match a pattern."""
    wanted, unit = spec.get("power", ("", ""))
    if wanted and set("*?[") & set(wanted) and wanted not in names:
        found = [name for name in names if fnmatchcase(name, wanted)]
        if not found:
            raise InputError(f"no column fits {wanted!r} for power; it has: {', '.join(names[:12])}", where, 1)
    elif wanted:
        found = [find("power", wanted, names, where)]
    elif "power" in known:
        found = [known["power"]]
    else:
        split = {name: split_unit("power", name) for name in names}
        found = [name for name, (bare, _) in split.items() if bare.lower() in _LOADS]
        # node_power_w, sys_power_w, total power [kW]: the one column that says power and has a unit.
        found = found or [name for name, (bare, its_unit) in split.items() if its_unit and "power" in bare.lower()]
        if len(found) != 1:
            raise InputError("it is not clear which column is power; say --columns power=...", where, 1)
    return {name: unit or unit_in_name("power", name) for name in found}


class _Rows:
    """Collects the rows of a table, block by block."""

    def __init__(self, layout: _Layout, names: Sequence[str], report: SourceReport) -> None:
        self._layout, self._names, self._report = layout, names, report
        self._clock = TimestampParser(unit=layout.time_unit)
        self._parts: dict[str, list[Kept]] = {}

    def go_on(self, layout: _Layout, names: Sequence[str]) -> None:
        """Read what follows with the columns of another header."""
        self._layout, self._names = layout, names

    def add(self, block: Block) -> None:
        """Take the usable rows; the others are counted."""
        layout, keep = self._layout, block.rows(self._layout.time)
        line = block.lines()[keep]
        columns = {name: column.filter(pa.array(keep)) for name, column in block.columns.items()}
        dated = "date" in layout.time.lower()
        time_us = self._clock.read(columns[layout.time], columns.get(layout.date), dated=dated)
        self._report.rows += time_us.size * len(layout.powers)
        timed = time_us != NO_TIME
        self._reject("no_time", ~timed, columns, layout.time, line)
        keys, names = _keys(columns, layout)
        for power, unit in layout.powers.items():
            scaled = scaled_column(columns[power], POWER_MW[unit], POWER_MW)
            for code in np.unique(scaled.reason[timed]):
                if code:
                    self._reject(REASONS[code], timed & (scaled.reason == code), columns, power, line)
            usable = timed & (scaled.reason == 0)
            if layout.kind != "job":
                self._reject("zero", usable & (scaled.value == 0), columns, power, line)
                usable &= scaled.value > 0
            for key, mine in _split(keys, np.flatnonzero(usable)):
                name = power if len(layout.powers) > 1 else names[key]
                self._parts.setdefault(name, []).append((time_us[mine], scaled.value[mine] / 1e3))

    def _reject(
        self, reason: str, bad: NDArray[np.bool_], columns: dict[str, Any], name: str, line: NDArray[np.int64]
    ) -> None:
        if bad.any():
            first, column = int(np.flatnonzero(bad)[0]), self._names.index(name) + 1
            text = str(columns[name][first].as_py())
            self._report.reject(reason, int(bad.sum()), line=int(line[first]), column=column, text=text)

    def recording(self) -> LoadRecording:
        """Put the series together.

        Raises
        ------
        InputError
            If there is none.
        """
        report, layout = self._report, self._layout
        if not self._parts:
            raise report.nothing_usable(self._names) or InputError(
                "contains no usable power reading; check the power column",
                report.path, report.bad[0].line, report.bad[0].column,
            )  # fmt: skip
        series, doubled = _joined(self._parts)
        report.reject("same_time", doubled)
        return LoadRecording(series, layout.kind, report.rows, dict(report.rejected))


def _keys(columns: Mapping[str, Any], layout: _Layout) -> tuple[NDArray[np.int64], list[str]]:
    """Give each row the number of its series, int64[n]; and the names that the numbers stand for."""
    cells = [pc.utf8_trim_whitespace(columns[name]) for name in layout.groups.values()]
    if not cells:
        return np.zeros(len(columns[layout.time]), np.int64), ["total"]
    joined = pc.dictionary_encode(cells[0] if len(cells) == 1 else pc.binary_join_element_wise(*cells, "/"))
    names = [name or "total" for name in joined.dictionary.to_pylist()]
    return joined.indices.to_numpy(zero_copy_only=False).astype(np.int64), names


def _split(keys: NDArray[np.int64], rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Part rows by their key, in the order of the file, without a search for each key."""
    if not rows.size:
        return
    order = rows[np.argsort(keys[rows], kind="stable")]
    for mine in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        yield int(keys[mine[0]]), mine


def _joined(parts: dict[str, list[Kept]]) -> tuple[dict[str, Kept], int]:
    """Order each series by time; of rows with one stamp the first counts, and the others are counted.

    The parts are used up: what is joined needs as much memory as they do. Series that were read at the same moments,
    as the GPUs of a host mostly are, share them.
    """
    series, doubled = dict[str, Kept](), 0
    time = np.empty(0, np.int64)
    for name in list(parts):
        pieces = parts.pop(name)
        mine, power = (np.concatenate(column) for column in zip(*pieces, strict=True))
        if not (np.diff(mine) > 0).all():
            read = mine.size
            mine, first = np.unique(mine, return_index=True)
            doubled, power = doubled + read - mine.size, power[first]
        time = time if np.array_equal(time, mine) else mine
        series[name] = time, power
    return series, doubled


def from_windows(windows: Iterator[Window], reports: list[SourceReport], path: str) -> LoadRecording:
    """Power of each GPU of a trace; what the accounts take for no reading is left out (0 W, above the ceiling)."""
    parts: dict[str, list[Kept]] = {}
    rows, rejected = 0, Counter[str]()
    for window in windows:
        readings = window.readings
        for i, device in enumerate(window.devices):
            mine = slice(int(readings.offsets[i]), int(readings.offsets[i + 1]))
            power = readings.power_mw[mine]
            usable = (power > 0) & (power <= device.ceiling_mw)
            rows += power.size
            rejected["not_available"] += int((power < 0).sum())
            rejected["zero"] += int((power == 0).sum())
            rejected["above_ceiling"] += int((power > device.ceiling_mw).sum())
            if usable.any():
                name = f"{device.host or window.host}/{device.index}"
                parts.setdefault(name, []).append((readings.time_us[mine][usable], power[usable]))
    for report in reports:
        rejected += report.rejected
        rows += report.rows_rejected
    if not parts:
        raise InputError("it contains no reading of power", path)
    series, doubled = _joined(parts)
    rejected["same_time"] += doubled
    return LoadRecording(GpuSeries(series), "gpu", rows, dict(+rejected))
