"""Tables of prices and carbon intensities: Electricity Maps, ENTSO-E, and one's own."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.tables import read_table
from wattshed.agent.inputs.tariffs.steps import CARBON, CARBON_UNIT, PRICE, PUE, Tariff, TariffStep, regular, tariff_of
from wattshed.agent.inputs.tariffs.units import unit_in
from wattshed.agent.inputs.timestamps import NO_TIME, TimestampParser, parse_number, parse_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from wattshed.agent.inputs.tables import Row

BASES = ("lifecycle", "direct")
OWN = {"price": PRICE, "carbon_g_per_kwh": CARBON, "pue": PUE}
BRUSSELS = ZoneInfo("Europe/Brussels")  # the time of the exports that say CET/CEST
CLOCK_MARK = re.compile(r"\s*\((CES?T)\)\s*$")
"""What ENTSO-E writes behind a time of the hour that the clock repeats."""
OFFSET_US = {"CEST": 7_200_000_000, "CET": 3_600_000_000}
_OFFSETS_US = tuple(OFFSET_US.values())
CARBON_OF_BASIS = {
    "lifecycle": re.compile(r"carbon intensity gco.*/kwh \((life.cycle|lca)\)", re.IGNORECASE),
    "direct": re.compile(r"carbon intensity gco.*/kwh \(direct\)", re.IGNORECASE),
}
"""Names that Electricity Maps has given to its columns, by what they count."""


class Asked(NamedTuple):
    """What the user says of a file of prices or carbon intensities.

    Attributes
    ----------
    quantity : str
        ``"price"``, ``"carbon"`` or ``"pue"``.
    basis : str
        Of carbon: ``"lifecycle"`` (building the plants included) or ``"direct"``.
    sequence, area : str
        Of prices: which auction and which bidding zone; empty if the file holds one.
    currency : str
        Empty if the file says it.
    columns : mapping of str to str
        ``time``, ``end`` and the quantity by the names that they have in a table of another tool.
    local : tzinfo
        Zone of times without one.
    """

    quantity: str
    basis: str = "lifecycle"
    sequence: str = ""
    area: str = ""
    currency: str = ""
    columns: Mapping[str, str] = {}
    local: tzinfo = UTC


def read_steps(path: str | Path, asked: Asked) -> Tariff:
    """Read a table whose header says what it is.

    Raises
    ------
    InputError
        If it is none that is known, or a cell cannot be read.
    """
    rows = list(read_table(path, (), lower=False))
    where = str(path)
    if not rows:
        raise InputError("holds no row below its header", where, 1)
    names = list(rows[0].columns)
    if asked.columns:
        return _named(rows, where, asked)
    if "Datetime (UTC)" in names and any("arbon intensity" in name or "Carbon Intensity" in name for name in names):
        return _electricity_maps(rows, where, asked)
    if any(name.startswith("MTU (") for name in names):
        return _entsoe(rows, where, asked)
    folded = {name.lower(): name for name in names}
    if {"start", "end"} <= set(folded) and (own := [name for name in OWN if name in folded]):
        return _own(rows, where, asked, folded, own)
    raise InputError(
        f"is not a table of {asked.quantity} that is known (its columns are {', '.join(names)}); name them with "
        f"--columns time=...,{asked.quantity}=..., or give start,end,{_own_name(asked.quantity)}",
        where,
        1,
    )


def _own_name(quantity: str) -> str:
    return next(name for name, what in OWN.items() if what == quantity)


def _must_be(asked: Asked, quantity: str, where: str) -> None:
    if asked.quantity != quantity:
        raise InputError(f"holds {quantity}, not {asked.quantity}; hand it to --{quantity}", where, 1)


def _electricity_maps(rows: Sequence[Row], where: str, asked: Asked) -> Tariff:
    """Hourly (or 5-minute, daily, ...) carbon intensity of one zone; only starts are given."""
    _must_be(asked, CARBON, where)
    names = list(rows[0].columns)
    column = next((name for name in names if CARBON_OF_BASIS[asked.basis].search(name)), None)
    if column is None:
        raise InputError(f"has no carbon intensity of basis {asked.basis!r} (it has {', '.join(names)})", where, 1)
    estimated = next((name for name in names if name.lower() == "data estimated"), "")
    zone = next((name for name in names if name.lower() == "zone id"), "")
    if len(zones := {row.text(zone) for row in rows if zone}) > 1:
        raise InputError(f"holds several zones ({', '.join(sorted(zones))}); keep one", where, 2, rows[0].columns[zone])
    starts = [_moment(row, "Datetime (UTC)", UTC) for row in rows]
    length_us = regular(starts, where)
    steps = [
        TariffStep(
            start, start + length_us, tariff_value(row, column), row.line, row.columns[column],
            row.text(estimated).lower() == "true",
        )
        for row, start in zip(rows, starts, strict=True)
    ]  # fmt: skip
    what = "life cycle" if asked.basis == "lifecycle" else "direct"
    return tariff_of(steps, where, CARBON, CARBON_UNIT, f"Electricity Maps, {what} emissions")


def _entsoe(rows: Sequence[Row], where: str, asked: Asked) -> Tariff:
    """Day-ahead prices of one bidding zone and one auction, as the transparency platform exports them."""
    _must_be(asked, PRICE, where)
    names = list(rows[0].columns)
    span = next(name for name in names if name.startswith("MTU ("))
    column = next((name for name in names if name.startswith("Day-ahead Price (")), None)
    unit = unit_in(column.partition("(")[2], PRICE) if column else None
    if column is None or unit is None:
        raise InputError(f"has no day-ahead price with a unit (it has {', '.join(names)})", where, 1)
    rows = _only(rows, "Area", asked.area, "--area", where)
    rows = _only(rows, "Sequence", asked.sequence and f"Sequence {asked.sequence}", "--sequence", where)
    times = _spans(rows, span, local="CET" in span)
    steps = [
        TariffStep(begin, end, tariff_value(row, column, unit[0]), row.line, row.columns[column])
        for row, (begin, end) in zip(rows, times, strict=True)
    ]
    named = "/".join(sorted({row.text("Area") for row in rows}))
    return tariff_of(steps, where, PRICE, unit[1], f"day-ahead price, {named}")


def _only(rows: Sequence[Row], column: str, wanted: str, option: str, where: str) -> Sequence[Row]:
    """Keep the rows of one auction, or zone; several are never mixed."""
    if column not in rows[0].columns:
        return rows
    found = sorted({row.text(column) for row in rows})
    if wanted:
        kept = [row for row in rows if row.text(column) == wanted]
        if not kept:
            raise InputError(f"{option}: the file has no {wanted!r} (it has {', '.join(found)})", where, 1)
        return kept
    if len(found) > 1:
        choices = ", ".join(name.removeprefix("Sequence ") for name in found)
        raise InputError(f"holds several at once ({', '.join(found)}); choose with {option} ({choices})", where, 1)
    return rows


def _spans(rows: Sequence[Row], column: str, *, local: bool) -> list[tuple[int, int]]:
    """Read ``25/10/2026 02:00:00 (CEST) - 25/10/2026 03:00:00 (CEST)`` of each row, us UTC."""
    second, before = False, NO_TIME
    spans = []
    for row in rows:
        begin, dash, end = row.text(column).partition(" - ")
        if not dash:
            raise row.error(column, f"{row.text(column)!r} is not a stretch of time; expected START - END")
        at = _naive(row, column, begin)
        # Of the hour that the clock repeats, rows without a mark are told apart by their order.
        first, *later = [at - offset for offset in _OFFSETS_US if _offset_us(at - offset) == offset] or [at]
        second = bool(later) and (second or at <= before)
        before = at
        start = _marked(begin, at, (later[0] if second else first) if local else at)
        until = _naive(row, column, end)
        if not local or CLOCK_MARK.search(end):
            spans.append((start, _marked(end, until, until)))
            continue
        # A step is as long as it looks, but for the night in which the clock is changed.
        ends = [until - offset for offset in _OFFSETS_US if _offset_us(until - offset) == offset]
        spans.append((start, min((us for us in (*ends, start + until - at) if us > start), default=start)))
    return spans


def _offset_us(utc_us: int) -> int:
    moment = datetime.fromtimestamp(utc_us // 1_000_000, BRUSSELS)
    return (moment.utcoffset() or timedelta()) // timedelta(microseconds=1)


def _marked(text: str, naive_us: int, otherwise_us: int) -> int:
    mark = CLOCK_MARK.search(text)
    return naive_us - OFFSET_US[mark[1]] if mark else otherwise_us


def _naive(row: Row, column: str, text: str) -> int:
    found = parse_text(CLOCK_MARK.sub("", text))
    if found is None:
        raise row.error(column, f"{text!r} is not a time")
    return found[0]


def _own(rows: Sequence[Row], where: str, asked: Asked, folded: Mapping[str, str], own: Sequence[str]) -> Tariff:
    """``start,end,price|carbon_g_per_kwh|pue``, with times in UTC unless they say otherwise."""
    name = _own_name(asked.quantity)
    if name not in own:
        _must_be(asked, OWN[own[0]], where)
    column, start, end = folded[name], folded["start"], folded["end"]
    unit = {PRICE: f"{asked.currency}/kWh" if asked.currency else "", CARBON: CARBON_UNIT, PUE: ""}[asked.quantity]
    return tariff_of(
        (
            TariffStep(
                _moment(row, start, asked.local), _moment(row, end, asked.local),
                tariff_value(row, column, name=name), row.line, row.columns[column],
            )
            for row in rows
        ),
        where, asked.quantity, unit, "a table of one's own",
    )  # fmt: skip


def _named(rows: Sequence[Row], where: str, asked: Asked) -> Tariff:
    """Read a table of another tool, whose columns the user names; the unit stands in the column's name."""
    columns = asked.columns
    for key in ("time", asked.quantity):
        if key not in columns:
            raise InputError(f"--columns: {key}=... is missing; name the column of the {key}")
    for key, name in columns.items():
        if key not in {"time", "end", asked.quantity}:
            raise InputError(f"--columns: {key!r} is not known; use time, end and {asked.quantity}")
        if name not in rows[0].columns:
            raise InputError(f"has no column {name!r} (it has {', '.join(rows[0].columns)})", where, 1)
    column = columns[asked.quantity]
    unit = (Decimal(1), "") if asked.quantity == PUE else unit_in(column, asked.quantity)
    if unit is None:
        example = "EUR/MWh" if asked.quantity == PRICE else "gCO2eq/kWh"
        message = f"column {column!r} does not say its unit; rename it, such as to '{column} ({example})'"
        raise InputError(message, where, 1, rows[0].columns[column])
    starts = [_moment(row, columns["time"], asked.local) for row in rows]
    if "end" in columns:
        ends = [_moment(row, columns["end"], asked.local) for row in rows]
    else:
        length_us = regular(starts, where)
        ends = [start + length_us for start in starts]
    return tariff_of(
        (
            TariffStep(start, end, tariff_value(row, column, unit[0], asked.quantity), row.line, row.columns[column])
            for row, start, end in zip(rows, starts, ends, strict=True)
        ),
        where, asked.quantity, unit[1], f"column {column!r}",
    )  # fmt: skip


def _moment(row: Row, column: str, local: tzinfo) -> int:
    """Read one time, us UTC."""
    text = row.text(column)
    found = parse_text(text)
    if found is None:
        number = parse_number(text, "")
        if number is None:
            raise row.error(column, f"{text!r} is not a time; write it such as 2026-03-01T00:00:00Z")
        return int(number)
    stamp, naive = found
    if not naive or local is UTC:
        return stamp
    (utc,) = TimestampParser(local).utc(np.array([stamp], np.int64)).tolist()
    if utc == NO_TIME:
        raise row.error(column, f"{text!r} is not a time")
    return int(utc)


def tariff_value(row: Row, column: str, factor: Decimal = Decimal(1), name: str = "") -> Decimal | None:
    """Read one value; an empty cell is unknown (None), and never 0. Prices may be below 0.

    Parameters
    ----------
    row : Row
    column : str
        Of the row.
    factor : Decimal
        What a value of the column is to be multiplied by.
    name : str
        What it is, as in `OWN`; empty if it may be any number.

    Raises
    ------
    InputError
        If it is not a number, or one that this cannot be.
    """
    if not row.text(column):
        return None
    value = row.decimal(column)
    if name == "pue" and value < 1:
        raise row.error(column, f"{value} is below 1; a PUE is all power over that of the computers")
    if "carbon" in name and value < 0:
        raise row.error(column, f"{value} is below 0")
    return value * factor
