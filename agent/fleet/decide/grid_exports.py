"""Hourly exports of grids, each known by its header: prices, carbon intensity and carbon-free share, units and clocks.

Electricity Maps (data portal, since 2021), the transparency platform of ENTSO-E (both exports of day-ahead prices),
Ember, Energy-Charts, SMARD, EIA-930 (balance files) and WattTime.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.decide.hourly_table import HOUR_S, HourlyTable
from wattshed.agent.inputs.tariffs.steps import CARBON, PRICE
from wattshed.agent.inputs.tariffs.tables import BRUSSELS, CARBON_OF_BASIS
from wattshed.agent.inputs.tariffs.units import unit_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.fleet.decide.hourly_rows import HourlyRows

_ABSENT = ("-", "n/e", "N/A", "n/a")
_PER_MWH = 1e-3
LB_G = 453.59237


@dataclass(frozen=True, slots=True)
class HourlyChoice:
    """What a user says of a site's files.

    Attributes
    ----------
    basis : {"lifecycle", "direct"}
        Of carbon.
    area : str
        Zone, country or balancing authority, where a file has several.
    sequence : str
        Auction of day-ahead prices, where a file has several.
    zone : tzinfo
        Of times without one, in a table of one's own.
    """

    basis: str = "lifecycle"
    area: str = ""
    sequence: str = ""
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class HourlyForm:
    """A form of files: its name, what its header has (beginnings of names, in small letters), and its reader."""

    name: str
    marks: tuple[str, ...]
    read: Callable[[HourlyRows, HourlyChoice], HourlyTable]

    def knows(self, header: Sequence[str]) -> bool:
        """Whether a header is of this form."""
        names = [name.casefold() for name in header]
        return all(any(name.startswith(mark) for name in names) for mark in self.marks)


def _electricity_maps(rows: HourlyRows, choice: HourlyChoice) -> HourlyTable:
    rows = rows.only(rows.starting("zone id"), choice.area, "area")
    column = next((name for name in rows.header if CARBON_OF_BASIS[choice.basis].search(name)), None)
    if column is None:
        raise InputError(f"has no carbon intensity of basis {choice.basis!r}", rows.path, rows.line)
    columns = {"carbon_g_per_kwh": rows.numbers(column)}
    if (clean := rows.starting("carbon-free energy percentage", "low carbon percentage")) is not None:
        columns["clean_share"] = rows.numbers(clean) / 100.0
    what = "life cycle" if choice.basis == "lifecycle" else "direct"
    return HourlyTable.of_rows(
        rows.seconds("Datetime (UTC)"), columns, said=(f"carbon by Electricity Maps is {what} emissions",)
    )


def _entsoe(rows: HourlyRows, choice: HourlyChoice) -> HourlyTable:
    rows = rows.only(rows.starting("area"), choice.area, "area")
    rows = rows.only(rows.starting("sequence"), choice.sequence, "sequence")
    span, price = rows.starting("mtu ("), rows.starting("day-ahead price")
    return _priced(rows, rows.seconds(span or "", UTC if "UTC" in (span or "") else BRUSSELS), price or "")


def _ember(rows: HourlyRows, choice: HourlyChoice) -> HourlyTable:
    rows = rows.only(rows.starting("country"), choice.area, "area")
    price = rows.numbers(rows.starting("price (eur/mwh") or "") * _PER_MWH
    return HourlyTable.of_rows(rows.seconds("Datetime (UTC)"), {"price": price}, currency="EUR")


def _energy_charts(rows: HourlyRows, choice: HourlyChoice) -> HourlyTable:
    """Read a chart's export; its second line has the units."""
    clock = rows.starting("date (gmt") or ""
    column = _one(rows, [n for n in rows.header if n.casefold().startswith("day ahead auction")], choice.area)
    if rows.body and not rows.body[0][1][rows.place(clock)].strip():
        units = rows.body[0][1][rows.place(column)]
        rows = replace(rows, body=rows.body[1:])
        if "EUR/MWh" not in units:
            raise InputError(f"{column!r} is in {units!r}, not EUR/MWh", rows.path, rows.line + 1)
    shift = re.fullmatch(r"date \(gmt([+-](?:\d|1[0-4]))?\)", clock.casefold())
    zone = timezone(timedelta(hours=int(shift[1] or 0))) if shift else choice.zone
    price = rows.numbers(column, absent=_ABSENT) * _PER_MWH
    return HourlyTable.of_rows(rows.seconds(clock, zone), {"price": price}, currency="EUR")


def _smard(rows: HourlyRows, choice: HourlyChoice) -> HourlyTable:
    """Read a download of wholesale prices; the German one has commas for points."""
    column = _one(rows, [name for name in rows.header if "[€/MWh]" in name], choice.area)
    clock = rows.header[0]
    german = clock.startswith("Datum")
    if clock == "Datum":  # with the hours in a column of their own, before October 2022
        day, begin = rows.place(clock), rows.place("Anfang")
        body = [(line, [f"{c[day].strip()} {c[begin].strip()}", *c[1:]]) for line, c in rows.body]
        rows = replace(rows, body=tuple(body))

    def clean(cell: str) -> str:
        return cell.replace(".", "").replace(",", ".") if german else cell.replace(",", "")

    price = rows.numbers(column, absent=_ABSENT, clean=clean) * _PER_MWH
    return HourlyTable.of_rows(rows.seconds(clock, BRUSSELS), {"price": price}, currency="EUR")


@dataclass(frozen=True, slots=True)
class _Source:
    """A source of power in EIA-930: beginning of its name, and g of CO2e a kWh."""

    name: str
    lifecycle: float
    direct: float
    clean: bool = False


_SOURCES = (
    _Source("coal", 820.0, 2.31 * LB_G),
    _Source("natural gas", 490.0, 0.96 * LB_G),
    _Source("all petroleum", 840.0, 18e3 / 16.233),
    _Source("nuclear", 12.0, 0.0, clean=True),
    _Source("hydropower", 24.0, 0.0, clean=True),
    _Source("solar", 48.0, 0.0, clean=True),
    _Source("wind", 11.0, 0.0, clean=True),
    _Source("geothermal", 38.0, 0.0, clean=True),
)
"""Life cycle: medians of IPCC, AR5 WG III (2014), table A.III.2; petroleum of SRREN (2011), table A.II.4. Direct: the
United States in 2023 (EIA, "How much carbon dioxide is produced per kilowatthour"); petroleum 18 Mt over 16.233 TWh."""
_FROM = re.compile(r"net generation \(mw\) from (.+?)( \(adjusted\)| \(imputed\))?", re.IGNORECASE)


def _eia_930(rows: HourlyRows, choice: HourlyChoice) -> HourlyTable:
    """Read a balance file: the carbon and the carbon-free share of what an authority generates.

    Other and unknown sources, and storage, count like the mean of the rest.
    """
    rows = rows.only("Balancing Authority", choice.area, "area")
    found: dict[str, dict[str, str]] = {}
    for name in rows.header:
        if m := _FROM.fullmatch(name):
            found.setdefault(m[1].casefold(), {})[(m[2] or "").strip(" ()").casefold()] = name
    total = np.zeros(len(rows.body))
    carbon, clean, known = total.copy(), total.copy(), np.zeros(len(rows.body), bool)
    for source in _SOURCES:
        for fuel in (f for f in found if f.startswith(source.name)):
            column = found[fuel].get("adjusted") or found[fuel].get("")
            if column is None:
                continue
            mw = rows.numbers(column, clean=_without_commas)
            known |= ~np.isnan(mw)
            mw = np.maximum(np.nan_to_num(mw), 0.0)  # solar draws a little at night
            total += mw
            carbon += mw * (source.lifecycle if choice.basis == "lifecycle" else source.direct)
            clean += mw * source.clean
    there = known & (total > 0.0)
    return HourlyTable.of_rows(
        rows.seconds("UTC Time at End of Hour") - HOUR_S,
        {"carbon_g_per_kwh": _over(carbon, total, there), "clean_share": _over(clean, total, there)},
        said=("carbon by EIA-930 is that of the area's own generation by fuel, without imports",),
    )


def _watttime(rows: HourlyRows, choice: HourlyChoice) -> HourlyTable:
    """Read MOER: in pounds per MWh, and where a column names its version (SGIP) in kg per kWh."""
    del choice
    version = rows.starting("moer version ")
    scale = 1e3 if version is not None else LB_G * _PER_MWH
    return HourlyTable.of_rows(
        rows.seconds("timestamp"), {"carbon_g_per_kwh": rows.numbers(version or "MOER") * scale}, marginal=True,
        said=("carbon by WattTime is marginal: of one kWh more",),
    )  # fmt: skip


def _priced(rows: HourlyRows, seconds: NDArray[np.float64], column: str) -> HourlyTable:
    unit = unit_in(column, PRICE)
    if unit is None:
        raise InputError(f"{column!r} does not say its unit, such as EUR/MWh", rows.path, rows.line)
    price = rows.numbers(column, absent=_ABSENT) * float(unit[0])
    return HourlyTable.of_rows(seconds, {"price": price}, currency=unit[1].partition("/")[0])


def _one(rows: HourlyRows, columns: list[str], area: str) -> str:
    """Return the one column of several areas that is wanted."""
    found = [name for name in columns if area in name]
    if len(found) == 1:
        return found[0]
    if not columns:
        raise InputError(f"has no day-ahead price (it has {', '.join(rows.header)})", rows.path, rows.line)
    raise InputError(f"holds several at once ({', '.join(columns)}); choose one with area", rows.path, rows.line)


def _without_commas(cell: str) -> str:
    return cell.replace(",", "")


def _over(part: NDArray[np.float64], whole: NDArray[np.float64], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(there, part / np.where(there, whole, 1.0), np.nan)


def unit_of(name: str, header: str) -> tuple[float, str]:
    """Factor of a column of one's own by the unit in its name, and the currency of a price; 1 and empty without one."""
    if name == "outdoor_c":
        return 1.0, ""
    quantity = {"price": PRICE, "carbon_g_per_kwh": CARBON}.get(name)
    unit = None if quantity is None else unit_in(header, quantity)
    if unit is not None:
        return float(unit[0]), unit[1].partition("/")[0] if quantity == PRICE else ""
    return (0.01, "") if name == "clean_share" and "%" in header else (1.0, "")


GRID_FORMS = (
    HourlyForm("Electricity Maps", ("datetime (utc)", "carbon intensity gco"), _electricity_maps),
    HourlyForm("ENTSO-E", ("mtu (", "day-ahead price"), _entsoe),
    HourlyForm("Ember", ("datetime (utc)", "price (eur/mwh"), _ember),
    HourlyForm("Energy-Charts", ("date (gmt", "day ahead auction"), _energy_charts),
    HourlyForm("SMARD", ("datum von", "deutschland/luxemburg [€/mwh]"), _smard),
    HourlyForm("SMARD", ("datum", "anfang", "deutschland/luxemburg [€/mwh]"), _smard),
    HourlyForm("SMARD", ("start date", "germany/luxembourg [€/mwh]"), _smard),
    HourlyForm("EIA-930", ("balancing authority", "utc time at end of hour", "net generation (mw) from"), _eia_930),
    HourlyForm("WattTime", ("timestamp", "moer"), _watttime),
)
