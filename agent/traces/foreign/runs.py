"""Tables of runs: energy by run, window or job, with its start and end. They say nothing of power over time."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs import delimited
from wattshed.agent.inputs.arrow import pa, pc
from wattshed.agent.inputs.columnar import blocks_of, open_columns
from wattshed.agent.inputs.dialect import sniff
from wattshed.agent.inputs.quantities import REASONS, reason_of, scaled_column
from wattshed.agent.inputs.run_layouts import layout_of_runs
from wattshed.agent.inputs.text import head_of
from wattshed.agent.inputs.timestamps import NO_TIME, UNITS
from wattshed.agent.inputs.unit_tables import ENERGY_MJ, ENERGY_UJ, POWER_MW
from wattshed.agent.traces.foreign.detect import ARROW, PARQUET, format_of_bytes
from wattshed.agent.traces.foreign.format import Format

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.inputs.delimited import Block
    from wattshed.agent.inputs.run_layouts import RunLayout
    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.rows import Rows

_FAR_OFF = 3  # power beside it and energy differ by more: the unit is another one
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d\d)(?::(\d\d(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True)
class TabledRun:
    """What one run used on one GPU, or on all that its row is of.

    Attributes
    ----------
    job, host, gpu, model : str
        Empty where the table does not say.
    start_us, end_us : int, us
    energy_uj : int, uJ
    labels : mapping of str to str
    part_of : str
        The run that it is a part of, if the table says so; a task of CodeCarbon's.
    """

    job: str
    host: str
    gpu: str
    model: str
    start_us: int
    end_us: int
    energy_uj: int
    labels: Mapping[str, str] = field(default_factory=dict)
    part_of: str = ""


@dataclass(slots=True)
class RunTable:
    """The runs of one file, as they stand in it, and the kind of table (see `RunLayout`)."""

    kind: str
    runs: list[TabledRun] = field(default_factory=list)
    watts: list[tuple[float, float]] = field(default_factory=list)  # by its energy, and as the table says


def read_runs(log: LogFile) -> RunTable:
    """Read a file; rows that cannot be used are counted in the report.

    Raises
    ------
    InputError
        If it lacks what it takes, or no row can be used.
    """
    path, report = log.source.path, log.report
    names, blocks = _opened(log)
    layout = layout_of_runs(names, log.options.columns, str(path))
    if layout is None:
        raise InputError("it is no table of runs", str(path), 1)
    table = RunTable(layout.kind)
    reader = _RunReader(layout, names, log, table)
    for block in blocks(layout.names()):
        reader.add(block)
    if not table.runs:
        bad = next(iter(report.bad), None)
        if bad is None:
            raise InputError("it has a header and no rows", str(path))
        of = f"{names[bad.column - 1]} is {bad.text!r}" if bad.column else bad.reason
        more = "; 0 and empty stand for GPUs that were not measured" if bad.reason in {"zero", *REASONS[1:4]} else ""
        raise InputError(f"no row of it has an energy that can be used: {of}{more}", str(path), bad.line, bad.column)
    if (off := _far_off(table)) is not None:
        energy = layout.energies[0]
        report.note(
            f"energy is {off:.3g} times power times duration: is its unit {energy.unit}? "
            f"Say --columns energy={energy.name}:UNIT with start=, end= or duration="
        )
    return table


def _opened(log: LogFile) -> tuple[Sequence[str], Any]:
    """Return the names of all columns, and what reads those that are wanted, block by block."""
    path = log.source.path
    if format_of_bytes(path) in {PARQUET, ARROW}:
        with open_columns(path) as table:
            names = list(table.schema.names)

        def of_columns(wanted: Sequence[str]) -> Iterator[Block]:
            with open_columns(path) as table:
                yield from blocks_of(table, wanted)

        return names, of_columns
    dialect = sniff(head_of(path))
    return dialect.names, lambda wanted: delimited.read_csv(path, dialect, wanted, log.report)


class _RunReader:
    """Turns blocks of a table of runs into runs."""

    def __init__(self, layout: RunLayout, names: Sequence[str], log: LogFile, table: RunTable) -> None:
        self._layout, self._names, self._table = layout, names, table
        self._report, self._host = log.report, log.source.host
        self._start, self._end = log.clock(layout.start_unit), log.clock(layout.end_unit)

    def add(self, block: Block) -> None:
        """Take the rows of a block that can be used."""
        layout, columns = self._layout, block.columns
        keep, line = block.rows(layout.end or layout.start), block.lines()
        columns = {name: column.filter(pa.array(keep)) for name, column in columns.items()}
        line = line[keep]
        self._report.rows += len(line) * len(layout.energies)
        start_us, end_us = self._spans(columns)
        timed = (start_us != NO_TIME) & (end_us != NO_TIME) & (end_us >= start_us)
        texts = {name: _texts(columns[name]) for name in self._texts_wanted()}
        watts = scaled_column(columns[layout.power], POWER_MW["W"], POWER_MW).value / 1e3 if layout.power else None
        for row in np.flatnonzero(~timed).tolist():
            stamp = layout.end or layout.start
            self._reject("no_time", int(line[row]), stamp, str(columns[stamp][row].as_py()), len(layout.energies))
        for name, unit, gpu in layout.energies:
            energy = scaled_column(columns[name], ENERGY_UJ[unit], ENERGY_UJ)
            good = timed & (energy.value > 0)
            for row in np.flatnonzero(timed & ~good).tolist():
                reason = REASONS[energy.reason[row]] or "zero"
                self._reject(reason, int(line[row]), name, str(columns[name][row].as_py()))
            for row in np.flatnonzero(good).tolist():
                cells = {name: column[row] for name, column in texts.items()}
                run = self._run(cells, gpu, int(line[row]), int(start_us[row]), int(end_us[row]))
                run = replace(run, energy_uj=int(energy.value[row]))
                self._table.runs.append(run)
                if watts is not None and watts[row] > 0 and run.end_us > run.start_us:
                    self._table.watts.append((run.energy_uj / (run.end_us - run.start_us), float(watts[row])))

    def _texts_wanted(self) -> set[str]:
        layout = self._layout
        wanted = {*layout.job, layout.run, layout.gpu, layout.host, layout.model, *layout.labels.values()}
        return wanted - {""}

    def _run(self, cells: Mapping[str, str], gpu: str, line: int, start_us: int, end_us: int) -> TabledRun:
        layout = self._layout
        job = "/".join(cells[name] for name in layout.job if cells[name]) or f"row {line}"
        labels = {label: cells[name] for label, name in layout.labels.items() if cells[name]}
        return TabledRun(
            job,
            cells.get(layout.host, "") or self._host,
            cells.get(layout.gpu, "") or gpu,
            cells.get(layout.model, ""),
            start_us,
            end_us,
            0,
            labels,
            cells.get(layout.run, ""),
        )

    def _spans(self, columns: Mapping[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        layout = self._layout
        start = self._start.read(columns[layout.start]) if layout.start else None
        end = self._end.read(columns[layout.end]) if layout.end else None
        if start is not None and end is not None:
            return start, end
        stamp = start if start is not None else end
        assert stamp is not None  # noqa: S101 - a layout has one of them
        length = _lengths_us(columns[layout.duration], layout.duration_unit)
        known = (stamp != NO_TIME) & (length >= 0)
        other = np.where(known, stamp + (length if start is not None else -length), NO_TIME)
        return (stamp, other) if start is not None else (other, stamp)

    def _reject(self, reason: str, line: int, name: str, text: str, rows: int = 1) -> None:
        self._report.reject(reason, rows, line=line, column=self._names.index(name) + 1, text=text)


def _texts(column: Any) -> list[str]:
    texts = pc.fill_null(pc.cast(column, pa.string()), "").to_pylist()
    return ["" if reason_of(text) else text.strip() for text in texts]


def _lengths_us(column: Any, unit: str) -> NDArray[np.int64]:
    """Read durations in a unit, or as ``HH:MM:SS``; -1 where there is none."""
    if pa.types.is_duration(column.type):
        return np.asarray(pc.fill_null(pc.cast(column, pa.duration("us")).cast(pa.int64()), -1))
    lengths = scaled_column(column, UNITS[unit] * ENERGY_MJ["mJ"] / 1000, {"": ENERGY_MJ["mJ"]}).value.copy()
    for row in np.flatnonzero(lengths < 0).tolist():
        match = _CLOCK.fullmatch(str(column[row].as_py()).strip())
        if match:
            days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
            lengths[row] = round(((days * 24 + hours) * 60 + minutes) * 60e6 + seconds * 1e6)
    return lengths


def _far_off(table: RunTable) -> float | None:
    """By how much energy differs from power times duration, if by more than rounding, pauses and peaks explain."""
    ratios = [by_energy / said for by_energy, said in table.watts]
    middle = float(np.median(ratios)) if ratios else 1.0
    return None if 1 / _FAR_OFF <= middle <= _FAR_OFF else middle


def _is(kind: str) -> Any:
    def tells(head: Head) -> bool:
        if head.told and kind != "runs":
            return False
        layout = layout_of_runs(head.dialect.names, head.spec, head.path)
        return layout is not None and layout.kind == kind

    return tells


def _no_series(log: LogFile) -> Iterator[Rows]:
    raise InputError(
        "it is a table of runs, with no reading of power over time; wattshed replay sums it",
        str(log.source.path),
        1,
    )


CODECARBON = Format(
    name="codecarbon",
    title="CodeCarbon's `emissions.csv`, and its files of tasks",
    told_by="`timestamp`, `duration`, `emissions`, and `run_id` or `project_name`",
    reads="`gpu_energy` (kWh) of each run, which is a job; `duration`, `gpu_model`",
    traps="a row for each run, not a time series; rows of `flush()` hold the run so far: the last one counts; stamps "
    "are local; trackers at one time on one machine measure the same GPUs",
    tells=_is("codecarbon"),
    rows=_no_series,
    boundary="GPU boards that each run tracked, together",
    runs=read_runs,
)
ZEUS = Format(
    name="zeus",
    title="`log_file` of a ZeusMonitor",
    told_by="`start_time,window_name,elapsed_time,gpu0_energy`",
    reads="joules of each GPU in each window, which is a job",
    traps="windows lie within each other: those within another one are not added to it",
    tells=_is("zeus"),
    rows=_no_series,
    runs=read_runs,
)
RUNS = Format(
    name="runs",
    title="tables of runs or jobs with their energy, of any tool",
    told_by="an energy beside start and end, or one of them and a duration; or `--columns start=...`",
    reads="the energy of each row, which is a job: its name, GPU, host, user, account",
    traps="without a unit in the column's name (`energy_kwh`) it has to be said",
    tells=_is("runs"),
    rows=_no_series,
    boundary="devices that the maker of the table measured",
    runs=read_runs,
)
