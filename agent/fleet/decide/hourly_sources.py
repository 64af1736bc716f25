"""The files of a site: exports that are known by their header, and tables whose columns the user names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.hourly import LEAST
from wattshed.agent.fleet.decide.grid_exports import GRID_FORMS, HourlyChoice, unit_of
from wattshed.agent.fleet.decide.hourly_rows import read_rows_of
from wattshed.agent.fleet.decide.hourly_table import HOUR_S, HourlyTable, HourlyTables
from wattshed.agent.fleet.decide.weather_exports import WEATHER_FORMS
from wattshed.agent.inputs.tables import read_bytes
from wattshed.agent.inputs.tariffs.reading import read_tariff
from wattshed.agent.inputs.tariffs.steps import CARBON, PRICE
from wattshed.agent.inputs.tariffs.tables import Asked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.fleet.decide.hourly_rows import HourlyRows
    from wattshed.agent.inputs.tariffs.steps import Tariff

FORMS = (*GRID_FORMS, *WEATHER_FORMS)
NAMES = ", ".join(dict.fromkeys(form.name for form in FORMS))
"""Forms that are known, for whoever has another."""
_HIGHEST = {"clean_share": 1.0}


def read_hourly(path: str, columns: Mapping[str, str], choice: HourlyChoice | None = None) -> HourlyTable:
    """Read a table whose columns are named, a row an hour or several; units in the names count.

    Parameters
    ----------
    path : str
    columns : mapping of name -> header
        ``time`` among the names; times without a zone are of the choice's, by default UTC.

    Raises
    ------
    InputError
        If a column is missing, or a cell is neither empty nor what it should be; it names the place.
    """
    return _own(read_rows_of(path, set(columns.values()).issubset), columns, choice or HourlyChoice())


def read_sources(paths: Sequence[str], columns: Mapping[str, str], choice: HourlyChoice) -> HourlyTables:
    """Read the files of a site; ``columns`` are those of files of no form that is known, or other ones of a known form.

    Raises
    ------
    InputError
        If a file is of no form that is known and has none of the columns, or none has one of them, or two files
        contradict each other.
    """
    left, parts = {name: header for name, header in columns.items() if name != "time"}, []
    for path in paths:
        found, named = _of_file(path, columns, choice)
        parts.append(found)
        left = {name: header for name, header in left.items() if name not in named}
    if left:
        headers = ", ".join(repr(header) for header in left.values())
        raise InputError(f"has no column {headers}" if len(paths) == 1 else f"none has a column {headers}", paths[0], 1)
    tables = HourlyTables(tuple(sorted(parts, key=lambda part: part.typical)))
    _agree(tables, paths)
    return tables


def _of_file(path: str, columns: Mapping[str, str], choice: HourlyChoice) -> tuple[HourlyTable, set[str]]:
    """Read one file; returns it, and the columns that were named in it: where there are some, they count alone."""
    if _is_document(path):
        return _document(path, choice), set()
    names = set(columns.values())
    rows = read_rows_of(path, lambda header: any(form.knows(header) for form in FORMS) or len(names & {*header}) > 1)
    named = {name: header for name, header in columns.items() if header in rows.header}
    if len(named) > 1 and "time" in named:
        return _own(rows, named, choice), set(named)
    if (form := next((form for form in FORMS if form.knows(rows.header)), None)) is not None:
        return _checked(form.read(rows, choice), path), set()
    raise InputError(
        f"is of no form that is known ({NAMES}), and has no two columns that site.columns names "
        f"(it has {', '.join(rows.header)})", path, rows.line,
    )  # fmt: skip


def _own(rows: HourlyRows, columns: Mapping[str, str], choice: HourlyChoice) -> HourlyTable:
    values, currency = {}, ""
    for name, header in columns.items():
        if name != "time":
            scale, money = unit_of(name, header)
            values[name] = rows.numbers(header) * scale
            currency = currency or money
    seconds = rows.seconds(columns["time"], choice.zone)
    for name, column in values.items():
        _bounded(rows, name, columns[name], column)
    return HourlyTable.of_rows(seconds, values, currency=currency)


def _bounded(rows: HourlyRows, name: str, header: str, column: NDArray[np.float64]) -> None:
    """Refuse what a quantity cannot be, at its place."""
    least, most = LEAST.get(name, -np.inf), _HIGHEST.get(name, np.inf)
    wrong = np.flatnonzero((column < least) | (column > most))
    if wrong.size:
        row = int(wrong[0])
        bound = f"below {least:g}" if column[row] < least else f"above {most:g}"
        rows.refuse(row, header, f"{rows.cells(header)[row]} is {bound}; a {name} cannot be")


def _checked(table: HourlyTable, path: str) -> HourlyTable:
    """Refuse an export with a value that cannot be."""
    for name, column in table.values.items():
        least, most = LEAST.get(name, -np.inf), _HIGHEST.get(name, np.inf)
        if (column < least).any() or (column > most).any():
            raise InputError(f"has a {name} of {np.nanmin(column):g} to {np.nanmax(column):g}, which cannot be", path)
    return table


def _is_document(path: str) -> bool:
    return read_bytes(path)[:512].lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"{"))


def _document(path: str, choice: HourlyChoice) -> HourlyTable:
    """Read an A44 document of ENTSO-E (XML) or an answer of WattTime (JSON), as ``--price`` and ``--carbon`` do."""
    price = read_bytes(path).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    asked = Asked(PRICE if price else CARBON, choice.basis, choice.sequence, choice.area)
    return _of_tariff(read_tariff(path, asked), "price" if price else "carbon_g_per_kwh")


def _of_tariff(tariff: Tariff, name: str) -> HourlyTable:
    """Lay the steps of a tariff out by hours: each counts in those that it is in."""
    seconds, values = [], []
    for begin, end, value in zip(tariff.from_us.tolist(), tariff.to_us.tolist(), tariff.values, strict=True):
        first, last = begin // 1_000_000 // HOUR_S * HOUR_S, -(-end // 1_000_000)
        for at in range(first, last, HOUR_S):
            seconds.append(float(at))
            values.append(float(value))
    said = (f"carbon of {tariff.source} is marginal: of one kWh more",) if tariff.marginal else ()
    return HourlyTable.of_rows(
        np.array(seconds), {name: np.array(values)}, currency=tariff.currency, marginal=tariff.marginal, said=said
    )


def _agree(tables: HourlyTables, paths: Sequence[str]) -> None:
    """Refuse two files that say different things of the same hour; a typical year gives way to real ones."""
    for name in tables.names:
        seen: list[HourlyTable] = []
        for part in tables.parts:
            if name not in part.values or part.typical:
                continue
            for before in seen:
                other = before.at(part.hours)[name]
                if (np.abs(other - part.values[name]) > 1e-9 * np.abs(other)).any():
                    raise InputError(f"two of its files say different things of the {name} of an hour", paths[0])
            seen.append(part)
