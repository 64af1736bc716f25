"""Hourly exports of weather, each known by its header: the outdoor temperature in degrees Celsius; clocks are theirs.

Open-Meteo, PVGIS (typical year and hourly series), NSRDB, NOAA's Integrated Surface Database (global hourly) and NASA
POWER.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.decide.grid_exports import HourlyChoice, HourlyForm
from wattshed.agent.fleet.decide.hourly_table import HOUR_S, HourlyTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wattshed.agent.fleet.decide.hourly_rows import HourlyRows

_DOUBTED = ("2", "3", "6", "7")
"""Quality codes of the Integrated Surface Database: suspect or erroneous."""
_MOST_OF_TYPICAL = 8784
_PARTS = ((1900, 2200), (1, 12), (1, 31), (0, 24), (0, 59))
"""What year, month, day, hour and minute can be."""


def _open_meteo(rows: HourlyRows, choice: HourlyChoice) -> HourlyTable:
    """Read a download: its clock has one offset for all rows, that of the day of the download."""
    offset_s = rows.note("utc_offset_seconds", 86_399.0)
    local = choice.zone if offset_s is None else timezone(timedelta(seconds=offset_s))
    column = rows.starting("temperature_2m (") or ""
    degrees = rows.numbers(column)
    first = rows.cells("time")[0] if rows.body else ""
    seconds = rows.numbers("time") if first.isdecimal() else rows.seconds("time", local)  # timeformat=unixtime
    return HourlyTable.of_rows(seconds, {"outdoor_c": (degrees - 32.0) / 1.8 if "°F" in column else degrees})


def _pvgis(rows: HourlyRows, choice: HourlyChoice) -> HourlyTable:
    """Read a typical year (each month from a year of its own), or a series; ``20240101:0010`` in UTC."""
    del choice
    column = rows.starting("time(utc)", "time") or ""
    seconds = np.empty(len(rows.body))
    for i, cell in enumerate(rows.cells(column)):
        try:
            seconds[i] = datetime.strptime(cell, "%Y%m%d:%H%M").replace(tzinfo=UTC).timestamp()
        except ValueError:
            rows.refuse(i, column, f"{cell!r} is not a time such as 20240101:0010")
    return _by_year(seconds, rows.numbers("T2m"), typical=any("month" in cells for cells in rows.above))


def _nsrdb(rows: HourlyRows, choice: HourlyChoice) -> HourlyTable:
    """Read a station's year, or a typical one; the second line says the zone of the clock."""
    del choice
    zone_h = rows.note("Time Zone", 14.0)
    if zone_h is None:
        raise InputError("does not say its Time Zone above the header", rows.path, rows.line)
    seconds = _of_parts(rows, ("Year", "Month", "Day", "Hour", "Minute")) - zone_h * HOUR_S
    return _by_year(seconds, rows.numbers("Temperature"))


def _noaa(rows: HourlyRows, choice: HourlyChoice) -> HourlyTable:
    """Read reports of a station: tenths of a degree and a quality code, ``+0053,1``; 9999 is missing; UTC."""
    del choice

    def clean(cell: str) -> str:
        value, _, quality = cell.partition(",")
        return "" if quality in _DOUBTED or value == "+9999" else value

    return HourlyTable.of_rows(rows.seconds("DATE"), {"outdoor_c": rows.numbers("TMP", clean=clean) / 10.0})


def _nasa_power(rows: HourlyRows, choice: HourlyChoice) -> HourlyTable:
    """Read a point's series: in UTC, or in local solar time, which follows the longitude by whole hours."""
    del choice
    notes = " ".join(",".join(cells) for cells in rows.above)
    shift_h = 0.0
    if re.search(r"\bin LST\b", notes):
        longitude = re.search(r"longitude\s+(-?\d+(?:\.\d+)?)", notes, re.IGNORECASE)
        if longitude is None:
            raise InputError("is in local solar time, and does not say its longitude; download it in UTC", rows.path)
        shift_h = round(float(longitude[1]) / 15.0)
    degrees = rows.numbers("T2M")
    degrees[degrees == -999.0] = np.nan
    return _by_year(_of_parts(rows, ("YEAR", "MO", "DY", "HR")) - shift_h * HOUR_S, degrees)


def _of_parts(rows: HourlyRows, names: Sequence[str]) -> NDArray[np.float64]:
    """Seconds since 1970 of year, month, day, hour and minute in columns of their own."""
    parts = [rows.numbers(name) for name in names]
    for name, part, (least, most) in zip(names, parts, _PARTS, strict=False):
        wrong = np.flatnonzero(~((part >= least) & (part <= most) & (part == np.round(part))))
        if wrong.size:
            rows.refuse(int(wrong[0]), name, f"{rows.cells(name)[wrong[0]]!r} is not from {least} to {most}")
    year, month, day, *clock = parts
    months = (year.astype(np.int64) - 1970) * 12 + month.astype(np.int64) - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1.0
    seconds: NDArray[np.float64] = days * 86_400.0
    for part, length_s in zip(clock, (3600.0, 60.0), strict=False):
        seconds = seconds + part * length_s
    return seconds


def _by_year(
    seconds: NDArray[np.float64], outdoor_c: NDArray[np.float64], *, typical: bool | None = None
) -> HourlyTable:
    """Tell a typical year, whose months are of several years, from a series."""
    if typical is None:
        years = (seconds // HOUR_S).astype("datetime64[h]").astype("datetime64[Y]")
        typical = seconds.size <= _MOST_OF_TYPICAL and np.unique(years).size > 2
    said = ("the weather is that of a typical year, the same in each",) if typical else ()
    return HourlyTable.of_rows(seconds, {"outdoor_c": outdoor_c}, typical=typical, said=said)


WEATHER_FORMS = (
    HourlyForm("Open-Meteo", ("time", "temperature_2m ("), _open_meteo),
    HourlyForm("PVGIS", ("time(utc)", "t2m"), _pvgis),
    HourlyForm("PVGIS", ("time", "h_sun", "t2m"), _pvgis),
    HourlyForm("NSRDB", ("year", "month", "day", "hour", "minute", "temperature"), _nsrdb),
    HourlyForm("NOAA global hourly", ("station", "date", "tmp"), _noaa),
    HourlyForm("NASA POWER", ("year", "mo", "dy", "hr", "t2m"), _nasa_power),
)
