"""Energy of a month (or day, or year) from some of its hours, by the days or systematic passes that were drawn.

The load of an hour is like that of the hour before, so that 96 hours in a row say little more than one of them. What
was drawn is the sampling unit: whole days, or passes, each every k-th hour from a start drawn at random (Cochran,
*Sampling Techniques*, 3rd ed., chapter 8). The total is the ratio of energy to hours, times the hours of the period;
its variance is that between units.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.units import between, percent, shown
from wattshed.agent.fleet.estimate.estimators import Estimate, estimate
from wattshed.agent.fleet.estimate.sample import Population, Sample
from wattshed.agent.fleet.estimate.told import warned
from wattshed.agent.inputs.tables import read_table
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from wattshed.agent.inputs.tables import Row

HOUR_S = 3600
FEWEST = 3
"""Units below which an interval is too wide to be of use, and a warning says so."""


@dataclass(frozen=True, slots=True)
class Period:
    """A year, month or day: its hours begin at ``start_h`` hours since 1970, UTC; ``zone`` says where days begin."""

    name: str
    start_h: int
    hours: int
    zone: tzinfo

    def day_of(self, hour: int) -> str:
        """Day of an hour since 1970, by the local calendar.

        By its end: an hour of a zone that is off by half an hour is kept by the full hour before.
        """
        return datetime.fromtimestamp((hour + 1) * HOUR_S - 1, self.zone).date().isoformat()

    @property
    def days(self) -> tuple[str, ...]:
        """All its days."""
        return tuple(dict.fromkeys(self.day_of(self.start_h + h) for h in range(self.hours)))


@dataclass(frozen=True, slots=True)
class PeriodEnergy:
    """Energy of a period: ``estimate`` is in watt-hours (or what the values have, times hours)."""

    period: Period
    unit: str  # "day" or "pass"
    units: int
    of: int
    hours: int
    estimate: Estimate


def period_of(text: str, zone: str = "UTC") -> Period:
    """Read ``2026``, ``2026-10`` or ``2026-10-05``.

    Raises
    ------
    InputError
        If it is none of them, or the time zone is unknown.
    """
    try:
        place = UTC if zone == "UTC" else ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(f"--timezone: {zone!r} is no time zone; give one such as Europe/Berlin") from None
    found = re.fullmatch(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", text)
    try:
        year, month, day = (int(part) if part else None for part in (found.groups() if found else (None,) * 3))
        start = datetime(year or 0, month or 1, day or 1, tzinfo=place)
        if day is not None:
            end = start + timedelta(days=1)
        elif month is not None and month < 12:
            end = start.replace(month=month + 1)
        else:
            end = start.replace(year=start.year + 1, month=1)
    except ValueError:
        raise InputError(f"--period: {text!r} is no period; give a year, month or day such as 2026-10") from None
    first, last = (int(moment.timestamp()) // HOUR_S for moment in (start, end))
    return Period(text, first, last - first, place)


def read_times(path: str | Path, period: Period) -> dict[str, dict[int, float]]:
    """Read ``time,value[,pass]``: pass (or empty) -> hour since 1970 -> mean of that hour.

    Raises
    ------
    InputError
        For a time that is not one, or outside the period, or there twice.
    """
    passes: dict[str, dict[int, float]] = {}
    for row in read_table(path, ("time", "value"), used=("time", "value", "pass")):
        hour = _hour(row, period)
        name = row.name("pass") if "pass" in row.columns else ""
        hours = passes.setdefault(name, {})
        if hour in hours:
            raise row.error("time", f"{row.text('time')} appears twice; give each hour one row")
        hours[hour] = row.number("value")
    if not passes:
        raise InputError("contains no hour; add a row per measured hour", str(path), 2)
    return passes


def _hour(row: Row, period: Period) -> int:
    text = row.name("time")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise row.error("time", f"{text!r} is no time; write it as 2026-10-05T14:00 (or with an offset, Z)") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=period.zone)
    hour = math.floor(moment.timestamp() / HOUR_S)
    if not 0 <= hour - period.start_h < period.hours:
        raise row.error("time", f"{text} is not in {period.name}")
    return hour


def energy(
    passes: dict[str, dict[int, float]], period: Period, *, confidence: float = 0.95, meter_gain_sigma: float = 0.0
) -> PeriodEnergy:
    """Estimate the energy of a period from the hours that were measured.

    Parameters
    ----------
    passes : mapping of pass -> hour -> value
        As `read_times` gives them; one without a name: days.
    period : Period
    confidence, meter_gain_sigma : float
        As for `estimate`.

    Raises
    ------
    InputError
        If passes are not systematic, or have different steps.
    """
    step = _step(passes, period) if "" not in passes else 0
    units = passes if step else _by_day(passes[""], period)
    of = step or len(period.days)
    rows = [(i, value) for i, hours in enumerate(units.values()) for value in hours.values()]
    sample = Sample(
        Population((period.name,), np.array([of], np.int64), np.array([float(period.hours)])),
        tuple(units),
        np.zeros(len(units), np.int64),
        np.full(len(units), MISSING, np.int64),
        np.array([i for i, _ in rows], np.int64),
        np.array([value for _, value in rows], np.float64),
        np.ones(len(rows), np.float64),
        primary="pass" if step else "day",
    )
    found = estimate(sample, "ratio", confidence=confidence, meter_gain_sigma=meter_gain_sigma, kind="t")
    in_a_row = not step and _in_a_row(units, period)
    said = tuple(_remarks(units, of, period, step=step, in_a_row=in_a_row))
    if in_a_row:
        found = replace(found, se=None, sampling_se=None, lower=None, upper=None)
    return PeriodEnergy(period, sample.primary, len(units), of, len(rows), replace(found, warnings=said))


def _in_a_row(days: Mapping[str, object], period: Period) -> bool:
    """Whether days follow one another, as days drawn at random seldom do: they are then one piece of the period."""
    every = period.days
    places = [i for i, day in enumerate(every) if day in days]
    return 1 < len(places) < len(every) and places[-1] - places[0] == len(places) - 1


def _remarks(
    units: Mapping[str, Mapping[int, float]], of: int, period: Period, *, step: int, in_a_row: bool
) -> Iterator[str]:
    """Say what keeps the interval from being one, and what it takes for granted."""
    unit, units_said = ("pass", "passes") if step else ("day", "days")
    more = "passes from other random starts" if step else "days drawn at random"
    if in_a_row:
        yield f"{len(units)} days in a row are one piece of the period: no interval can be given; measure {more}"
    elif len(units) == 1 < of:
        yield f"one {unit} gives no interval; measure {more}"
    elif len(units) < of:
        yield f"the interval takes the {units_said} to be drawn at random from the {of} of the period"
        if len(units) < FEWEST:
            yield f"two {units_said} give a very wide interval; measure {more}"
    if not step:
        whole = Counter(period.day_of(period.start_h + h) for h in range(period.hours))
        missing = sum(whole[day] - len(hours) for day, hours in units.items())
        if missing:
            yield f"{missing} hours of the measured days are missing: the others stand for them"


def _step(passes: dict[str, dict[int, float]], period: Period) -> int:
    """Hours between those of a pass, which all passes share; each is whole, and none is there twice."""
    steps: Counter[int] = Counter()
    for name, hours in passes.items():
        own = {int(gap) for gap in np.diff(sorted(hours))}
        if len(own) > 1:
            raise InputError(f"pass {name!r} is not systematic: its hours are {', '.join(map(str, sorted(own)))} apart")
        steps.update(own)
    if len(steps) != 1:
        raise InputError("passes need one step that all of them share, such as every 45th hour")
    step = next(iter(steps))
    starts: dict[int, str] = {}
    for name, hours in passes.items():
        start = (min(hours) - period.start_h) % step
        whole = len(range(start, period.hours, step))
        if len(hours) < whole:
            raise InputError(
                f"pass {name!r} has {len(hours)} of its {whole} hours: a pass goes through the whole of {period.name}; "
                "leave out the column pass if whole days were measured"
            )
        if (other := starts.setdefault(start, name)) != name:
            raise InputError(f"passes {other!r} and {name!r} are the same hours; give each once")
    return step


def _by_day(hours: dict[int, float], period: Period) -> dict[str, dict[int, float]]:
    days: dict[str, dict[int, float]] = {}
    for hour in sorted(hours):
        days.setdefault(period.day_of(hour), {})[hour] = hours[hour]
    return days


def period_json(found: PeriodEnergy, unit: str) -> dict[str, Any]:
    """Lay the energy of a period out as ``wattshed.period/1``."""
    total = found.estimate
    return {
        "schema": "wattshed.period/1",
        "period": found.period.name,
        "hours": found.period.hours,
        "hours_measured": found.hours,
        "total": total.total,
        "unit": f"{unit}h",
        "se": total.se,
        "df": total.df,
        "lower": total.lower,
        "upper": total.upper,
        "confidence": total.confidence,
        "mean": None if total.total is None else total.total / found.period.hours,
        "method": "ratio",
        "interval": "none" if total.lower is None else "t",
        "sampling_unit": found.unit,
        "units": found.units,
        "of": found.of,
        "meter_se": total.meter_se,
        "warnings": list(total.warnings),
    }


def period_parts(found: PeriodEnergy, unit: str) -> list[str]:
    """Lay the energy of a period out for a terminal."""
    total, energy_unit = found.estimate, f"{unit}h"
    head = f"{found.period.name}: {shown(total.total or 0.0, energy_unit)}"
    if total.lower is not None and total.upper is not None:
        half = between(total.lower, total.upper, energy_unit)
        head += f", {percent(total.confidence)} interval {half} ({total.df:.4g} degrees of freedom)"
    else:
        head += f", no {percent(total.confidence)} interval"
    hours = f"{found.hours} of {found.period.hours} hours measured"
    return [head, f"Sampling unit: {found.unit}, {found.units} of {found.of}; {hours}.", *warned(total.warnings)]
