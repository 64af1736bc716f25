"""Power over time: from a CSV or from windows of a trace, onto an even grid.

A CSV has a time column and a power column, each with its unit in its name (``time_s``, ``timestamp_ms``, ``power_w``,
``power_kw``, ``power_MW``) or given apart; optional ``job``, ``host`` and ``gpu`` columns make it several series. In
column names ``mw`` is milliwatts, as NVML's tools write it, and ``MW`` is megawatts.
"""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.tables import delimiter_of, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.window import Window

POWER_UNITS = {
    "mw": 1e-3,
    "mW": 1e-3,
    "w": 1.0,
    "W": 1.0,
    "kw": 1e3,
    "kW": 1e3,
    "KW": 1e3,
    "MW": 1e6,
    "GW": 1e9,
    "gw": 1e9,
}
TIME_UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3, "min": 6e7, "h": 3.6e9}
_TIME_NAMES = ("time", "timestamp", "ts", "t", "date", "datetime", "seconds")
_POWER_NAMES = ("power", "watts", "watt", "load", "power.draw", "power_draw", "value", "p")
_GROUP_NAMES = {
    "job": ("job", "job_id", "jobid"),
    "host": ("host", "hostname", "node", "instance"),
    "gpu": ("gpu", "gpu_uuid", "uuid", "gpu_index", "index", "gpu_id", "device"),
}
_NOT_A_NUMBER = frozenset(("", "[n/a]", "n/a", "na", "nan", "none", "null", "[unknown error]", "[not supported]"))
_CELL = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([a-zA-Z]*)\s*$")

Trace = tuple["NDArray[np.int64]", "NDArray[np.float64]"]
"""time_us int64[n] ascending, power_w float64[n]."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a file holds: a series per job, or per GPU, or one; and how many rows had no usable number, by reason."""

    series: Mapping[str, Trace]
    kind: str  # "job", "gpu" or "total": what one series is
    rows: int
    rejected: Mapping[str, int]


def read_recording(path: str | Path, columns: Mapping[str, str] | None = None) -> Recording:
    """Read a CSV of power over time.

    Parameters
    ----------
    path : path
    columns : mapping, optional
        ``{"time": "ts:s", "power": "site:MW", "job": "run"}`` names columns, and their units after a colon; a power
        such as ``GPU*`` takes every column that matches for a GPU.

    Raises
    ------
    InputError
        If there is no time or power column, a time cannot be read, or no row has a usable power.
    """
    where = str(path)
    text = read_text(path)
    header = text.lstrip("\r\n").split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(header), skipinitialspace=True)
    names: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for cells in reader:
            if not any(c.strip() for c in cells):
                continue
            if not names:
                names = [c.strip() for c in cells]
            elif len(cells) != len(names):
                raise InputError(f"has {len(cells)} cells where the header has {len(names)}", where, reader.line_num)
            else:
                rows.append(cells)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"is not CSV ({error})", where, reader.line_num) from None
    layout = _Layout(where, names, columns or {})
    times = _times(layout, rows, lines)
    rejected: dict[str, int] = {}
    series: dict[str, Trace] = {}
    keys, kind = _keys(layout, rows)
    for column in layout.powers:
        watts = _watts(layout, column, rows, lines, rejected)
        usable = np.flatnonzero(~np.isnan(watts))
        # Rows of one key, in the order of the file, without a search for each key.
        order = usable[np.argsort(keys[usable], kind="stable")]
        cuts = np.flatnonzero(np.diff(keys[order])) + 1
        for mine in np.split(order, cuts) if order.size else ():
            time, first = np.unique(times[mine], return_index=True)
            if doubled := mine.size - time.size:
                rejected["same time"] = rejected.get("same time", 0) + doubled
            name = names[column] if len(layout.powers) > 1 else _key(layout, rows[int(mine[0])])
            series[name] = time, watts[mine][first]
    if not series:
        raise InputError("holds no usable power; check the power column", where, 2, layout.powers[0] + 1)
    return Recording(series, kind, len(rows), rejected)


class _Layout:
    """Which column is what, and in which unit."""

    def __init__(self, path: str, names: list[str], wanted: Mapping[str, str]) -> None:
        self.path, self.names = path, names
        self.time, self.time_unit = self._find("time", _TIME_NAMES, TIME_UNITS, wanted)
        self.powers, self.power_unit = self._powers(wanted)
        folded = [n.casefold() for n in names]
        self.groups: dict[str, int] = {}
        for kind, known in _GROUP_NAMES.items():
            if kind in wanted and wanted[kind] not in names:
                raise InputError(f"has no column {wanted[kind]!r}", path, 1)
            found = (wanted[kind].casefold(),) if kind in wanted else known
            if (column := next((folded.index(n) for n in found if n in folded), None)) is not None:
                self.groups[kind] = column

    def _powers(self, wanted: Mapping[str, str]) -> tuple[list[int], float | None]:
        """Power columns: one, or in a wide table all that match a pattern such as ``GPU*``."""
        pattern, _, unit = wanted.get("power", "").partition(":")
        if not {"*", "?"} & set(pattern):
            column, scale = self._find("power", _POWER_NAMES, POWER_UNITS, wanted)
            return [column], scale
        found = [i for i, name in enumerate(self.names) if fnmatchcase(name, pattern)]
        if not found:
            raise InputError(f"has no column like {pattern!r}", self.path, 1)
        if unit and unit not in POWER_UNITS:
            raise InputError(f"unknown unit {unit!r}; known are {', '.join(POWER_UNITS)}", self.path, 1)
        return found, POWER_UNITS.get(unit)

    def _find(
        self, what: str, known: tuple[str, ...], units: Mapping[str, float], wanted: Mapping[str, str]
    ) -> tuple[int, float | None]:
        if what in wanted:
            name, _, unit = wanted[what].rpartition(":") if ":" in wanted[what] else (wanted[what], "", "")
            if name not in self.names:
                raise InputError(f"has no column {name!r}", self.path, 1)
            if unit and unit not in units and unit != "iso":
                raise InputError(
                    f"unknown unit {unit!r} of column {name!r}; known are {', '.join(units)}", self.path, 1
                )
            return self.names.index(name), units.get(unit)
        for name in known:
            for i, column in enumerate(self.names):
                bare, unit = _split_unit(column, units)
                if bare.casefold() == name:
                    return i, units[unit] if unit else None
        if what == "power":
            # node_power_w, sys_power_w, total power [kW]: any one column that says power and has a unit.
            split = [(i, *_split_unit(column, units)) for i, column in enumerate(self.names)]
            some = [(i, unit) for i, bare, unit in split if unit and "power" in bare.casefold()]
            if len(some) == 1:
                return some[0][0], units[some[0][1]]
        raise InputError(
            f"has no {what} column (it has {', '.join(self.names) or 'nothing'}); name one with --columns {what}=NAME",
            self.path,
            1,
        )


def _split_unit(column: str, units: Mapping[str, float]) -> tuple[str, str]:
    """``power_kw``, ``power (kW)`` and ``power [kW]`` to name and unit."""
    match = re.fullmatch(r"(.*?)\s*[\[(]([a-zA-Z]+)[\])]", column) or re.fullmatch(r"(.+)_([a-zA-Z]+)", column)
    return (match[1], match[2]) if match and match[2] in units else (column, "")


_FAR_US = 253_402_300_800_000_000  # the year 10000


def _times(layout: _Layout, rows: list[list[str]], lines: list[int]) -> NDArray[np.int64]:
    cells = [r[layout.time].strip() for r in rows]
    try:
        number = np.array(cells, np.float64)
    except ValueError:
        return np.array([_instant(c, layout, line) for c, line in zip(cells, lines, strict=True)], np.int64)
    if not np.isfinite(number).all():
        bad = int(np.flatnonzero(~np.isfinite(number))[0])
        raise InputError(f"{cells[bad]!r} is no time", layout.path, lines[bad], layout.time + 1)
    unit = layout.time_unit or _guessed_unit(number)
    far = np.flatnonzero(np.abs(number) * unit >= _FAR_US)
    if far.size:
        raise InputError(f"{cells[far[0]]!r} is no time of our millennia", layout.path, lines[far[0]], layout.time + 1)
    # Whole seconds apart from their fraction, which alone is rounded.
    whole = np.floor(number)
    return (whole * unit).astype(np.int64) + np.rint((number - whole) * unit).astype(np.int64)


def _guessed_unit(number: NDArray[np.float64]) -> float:
    """Guess the unit of Unix times by their size: s until 1e11, ms until 1e14, us until 1e17, then ns."""
    size = float(np.abs(number).max()) if number.size else 0.0
    return next((unit for most, unit in ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0)) if size < most), 1e-3)


def _instant(cell: str, layout: _Layout, line: int) -> int:
    try:
        moment = datetime.fromisoformat(cell.replace("/", "-"))
    except ValueError:
        raise InputError(
            f"{cell!r} is no time; give Unix seconds or ISO 8601", layout.path, line, layout.time + 1
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def _watts(
    layout: _Layout, column: int, rows: list[list[str]], lines: list[int], rejected: dict[str, int]
) -> NDArray[np.float64]:
    """Power of one column in watts, NaN where there is no usable number; counts those in ``rejected``."""
    scale = layout.power_unit or 1.0
    cells = [row[column] for row in rows]
    try:
        watts = np.array(cells, np.float64) * scale
        watts[np.isinf(watts)] = math.nan
    except ValueError:
        watts = np.array([_power(cell, layout, line, column, scale) for cell, line in zip(cells, lines, strict=True)])
    for reason, bad in (("no number", np.isnan(watts)), ("negative", watts < 0.0)):
        if count := int(bad.sum()):
            rejected[reason] = rejected.get(reason, 0) + count
    watts[watts < 0.0] = math.nan
    return watts


def _power(cell: str, layout: _Layout, line: int, column: int, scale: float) -> float:
    """Watts of a cell that may carry its unit; NaN for what tools write where they have no reading."""
    match = _CELL.match(cell)
    if match is not None and (not match[2] or match[2] in POWER_UNITS):
        return float(match[1]) * (POWER_UNITS[match[2]] if match[2] else scale)
    if cell.strip().casefold() not in _NOT_A_NUMBER:
        raise InputError(f"{cell!r} is no power", layout.path, line, column + 1)
    return math.nan


def _keys(layout: _Layout, rows: list[list[str]]) -> tuple[NDArray[np.int64], str]:
    """Give each row the number of its series, in the order of the file; and what one series is."""
    kind = "gpu" if len(layout.powers) > 1 else "total"
    if not layout.groups:
        return np.zeros(len(rows), np.int64), kind
    kind = "job" if "job" in layout.groups else "gpu"
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(_key(layout, row), len(numbers)) for row in rows], np.int64), kind


def _key(layout: _Layout, row: list[str]) -> str:
    """Name of a row's series: its job, or its host and GPU."""
    names = ("job",) if "job" in layout.groups else ("host", "gpu")
    return "/".join(row[layout.groups[k]].strip() for k in names if k in layout.groups) or "total"


def from_windows(windows: Iterable[Window]) -> Recording:
    """Power of each GPU of a trace, from its windows; rows without a reading are left out."""
    parts: dict[str, list[Trace]] = {}
    rows = missing = 0
    for window in windows:
        readings = window.readings
        for i, device in enumerate(window.devices):
            mine = slice(int(readings.offsets[i]), int(readings.offsets[i + 1]))
            power = readings.power_mw[mine]
            usable = power > 0
            rows += power.size
            missing += power.size - int(usable.sum())
            if usable.any():
                name = f"{device.host or window.host}/{device.index}"
                parts.setdefault(name, []).append((readings.time_us[mine][usable], power[usable] / 1e3))
    series = {}
    for name, pieces in parts.items():
        time, first = np.unique(np.concatenate([t for t, _ in pieces]), return_index=True)
        series[name] = time, np.concatenate([p for _, p in pieces])[first]
    if not series:
        raise InputError("the trace holds no power reading")
    return Recording(series, "gpu", rows, {"no number": missing} if missing else {})
