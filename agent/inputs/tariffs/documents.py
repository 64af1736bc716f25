"""Prices and carbon intensities as interfaces answer: ENTSO-E's A44 documents, WattTime's JSON."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.tariffs.steps import CARBON, CARBON_UNIT, PRICE, Tariff, TariffStep, tariff_of
from wattshed.agent.inputs.tariffs.units import unit_in
from wattshed.agent.inputs.timestamps import parse_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wattshed.agent.inputs.tariffs.tables import Asked

_RESOLUTION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?")
_MINUTE_US = 60_000_000
_A03 = "A03"  # a point that is left out repeats the one before
_GRAMS_A_POUND = Decimal("453.59237")


def read_a44(text: str, where: str, asked: Asked) -> Tariff:
    """Read day-ahead prices from a Publication_MarketDocument of type A44.

    Raises
    ------
    InputError
        If it is not one, holds several auctions and none is chosen, or contradicts itself.
    """
    if asked.quantity != PRICE:
        raise InputError(f"holds price, not {asked.quantity}; hand it to --price", where, 1)
    try:
        root = ET.fromstring(text.encode())  # noqa: S314 - see above
    except ET.ParseError as error:
        line, column = error.position
        raise InputError(f"is not XML ({error.msg.partition(':')[0]})", where, line, column + 1) from None
    series = [one for one in root.iter() if _local(one) == "TimeSeries"]
    kind = _text(root, "type")
    if _local(root) != "Publication_MarketDocument" or kind != "A44" or not series:
        raise InputError("is not a document of day-ahead prices (Publication_MarketDocument of type A44)", where, 1)
    found = {_text(one, "classificationSequence_AttributeInstanceComponent.position") or "" for one in series}
    if asked.sequence:
        series = [
            one for one in series
            if _text(one, "classificationSequence_AttributeInstanceComponent.position") == asked.sequence
        ]  # fmt: skip
        if not series:
            message = f"--sequence: the file has no {asked.sequence!r} (it has {', '.join(sorted(found))})"
            raise InputError(message, where, 1)
    elif len(found) > 1:
        raise InputError(f"holds several auctions; choose with --sequence ({', '.join(sorted(found))})", where, 1)
    units = {(_text(one, "currency_Unit.name"), _text(one, "price_Measure_Unit.name")) for one in series}
    if len(units) != 1:
        raise InputError("holds prices in several units; keep one", where, 1)
    ((currency, energy),) = units
    unit = unit_in(f"{currency}/{energy or ''}", PRICE)
    if unit is None:
        raise InputError(f"has prices in {currency}/{energy}, which is not money per energy", where, 1)
    steps = [step for one in series for step in _series_steps(one, where, unit[0])]
    return tariff_of(steps, where, PRICE, unit[1], "day-ahead price, ENTSO-E")


def _series_steps(series: ET.Element, where: str, factor: Decimal) -> Iterator[TariffStep]:
    holds = _text(series, "curveType") == _A03
    for period in (one for one in series if _local(one) == "Period"):
        span = next((one for one in period if _local(one) == "timeInterval"), None)
        begin, end = (_utc(span, name, where) for name in ("start", "end"))
        length_us = _length_us(_text(period, "resolution"), where)
        count = (end - begin) // length_us
        points: dict[int, Decimal] = {}
        for point in (one for one in period if _local(one) == "Point"):
            place, price = _text(point, "position") or "", _text(point, "price.amount") or ""
            try:
                points[int(place)] = Decimal(price)
            except (ValueError, ArithmeticError):
                message = f"position {place!r} with price {price!r} is not a point of a series"
                raise InputError(message, where) from None
        if not points or min(points) < 1 or max(points) > count or (holds and 1 not in points):
            raise InputError(
                f"a period of {count} points has points {sorted(points)[:1]} to {max(points, default=0)}", where
            )
        value: Decimal | None = None
        for position in range(1, count + 1):
            value = points.get(position, value if holds else None)
            at = begin + (position - 1) * length_us
            yield TariffStep(at, at + length_us, None if value is None else value * factor)


def _length_us(text: str | None, where: str) -> int:
    match = _RESOLUTION.fullmatch(text or "")
    days, hours, minutes = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    length_us = ((days * 24 + hours) * 60 + minutes) * _MINUTE_US
    if not length_us:
        raise InputError(f"resolution {text!r} is not a length of time such as PT15M", where)
    return length_us


def _utc(span: ET.Element | None, name: str, where: str) -> int:
    text = (_text(span, name) if span is not None else None) or ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InputError(f"{name} {text!r} of a period is not a time in UTC", where)
    return round(moment.timestamp()) * 1_000_000


def _local(element: ET.Element) -> str:
    """Name of an element without its namespace, which has the schema's version in it."""
    return element.tag.rpartition("}")[2]


def _text(element: ET.Element, name: str) -> str | None:
    return next(((one.text or "").strip() for one in element if _local(one) == name), None)


def read_watttime(text: str, where: str, asked: Asked) -> Tariff:
    """Read carbon intensities from an answer of WattTime's /v3/historical or /v3/forecast.

    ``co2_moer`` is what the next kWh emits: marginal, and not to be added to average intensities.

    Raises
    ------
    InputError
        If it is not one.
    """
    if asked.quantity != CARBON:
        raise InputError(f"holds carbon, not {asked.quantity}; hand it to --carbon", where, 1)
    try:
        answer = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON ({error.msg})", where, error.lineno, error.colno) from None
    meta = answer.get("meta") if isinstance(answer, dict) else None
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(meta, dict) or not isinstance(data, list) or not data:
        raise InputError("is not an answer of WattTime (data and meta with signal_type and units)", where, 1)
    if meta.get("units") != "lbs_co2_per_mwh":
        raise InputError(f"has units {meta.get('units')!r}; only lbs_co2_per_mwh is known", where, 1)
    period = meta.get("data_point_period_seconds")
    if not isinstance(period, Decimal) or period <= 0:
        raise InputError("meta.data_point_period_seconds is missing: how long a value applies is unknown", where, 1)
    factor = _GRAMS_A_POUND / 1000
    steps = [_point(one, i, int(period) * 1_000_000, factor, where) for i, one in enumerate(data)]
    signal = str(meta.get("signal_type"))
    source = f"WattTime {signal}, {meta.get('region', 'unknown region')}"
    return tariff_of(steps, where, CARBON, CARBON_UNIT, source, marginal=signal == "co2_moer")


def _point(point: Any, place: int, length_us: int, factor: Decimal, where: str) -> TariffStep:
    found = parse_text(str(point.get("point_time"))) if isinstance(point, dict) else None
    value = point.get("value") if isinstance(point, dict) else None
    if found is None or found[1] or not (value is None or isinstance(value, Decimal)):
        raise InputError(f"data[{place}] has no point_time with a zone and a value", where)
    return TariffStep(found[0], found[0] + length_us, None if value is None else value * factor)
