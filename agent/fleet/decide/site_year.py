"""What the same load takes at each of several places in a year, hour by hour, with what is known of its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.demand.transformer import age
from wattshed.agent.fleet.estimate.student import quantile
from wattshed.agent.spans import SPANS_S, YEAR_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wattshed.agent.fleet.decide.candidate_sites import CandidateSite
    from wattshed.agent.fleet.decide.hourly_table import HourlyTable

YEAR_H = YEAR_S / SPANS_S["h"]
LEAST_YEARS = 3
_MOST_OF_A_YEAR = 8000  # hours, with which a year counts for the interval
TOTALS = {"energy_kwh": "energy", "cost": "cost", "carbon_kg": "carbon", "water_l": "water"}


@dataclass(frozen=True, slots=True)
class YearTotal:
    """What a site takes of something in a year.

    Attributes
    ----------
    value : float
    given : Range
        The same with the interval of the site's PUE and water alone.
    yearly : float64[years] or None
        Of each whole year, as a year; None with fewer than three.
    """

    value: float
    given: Range
    yearly: NDArray[np.float64] | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %: Student's t over years, and what the PUE and water have; None where neither is there."""
        return _spread(self.value, self.yearly, self.given.value - self.given.low, self.given.high - self.given.value)

    def less_than(self, other: YearTotal) -> tuple[float, float] | None:
        """95 % interval of how much more the other takes, year against year."""
        both = self.yearly is not None and other.yearly is not None
        return _spread(
            other.value - self.value,
            other.yearly - self.yearly if both else None,  # type: ignore[operator]
            math.hypot(self.given.high - self.given.value, other.given.value - other.given.low),
            math.hypot(self.given.value - self.given.low, other.given.high - other.given.value),
        )


@dataclass(frozen=True, slots=True)
class SiteYear:
    """What the load takes at a site in a year, from the hours that all sites and the load have.

    Attributes
    ----------
    name : str
    holes : int
        Hours of the load that this site lacks.
    totals : mapping of name -> YearTotal or None
        Of `TOTALS`; None where its files do not say.
    pue : float
        Mean over the hours, by energy.
    clean_share : float or None
    ageing : float or None
        Of the transformer, 1 is normal.
    by_hour : mapping of name -> float64[24]
        Means by hour of the day in UTC, of those of `TOTALS` that there are, per hour.
    currency : str
        Of the cost; empty if its files do not say.
    marginal : bool
        Carbon is that of one kWh more.
    """

    name: str
    holes: int
    totals: dict[str, YearTotal | None]
    pue: float
    clean_share: float | None
    ageing: float | None
    by_hour: dict[str, NDArray[np.float64]]
    currency: str = ""
    marginal: bool = False

    def kind(self, name: str) -> str:
        """Return what must be alike for two sites to be compared in something."""
        return {"cost": self.currency, "carbon_kg": "marginal" if self.marginal else ""}.get(name, "")


def compare(
    sites: tuple[CandidateSite, ...], load: HourlyTable, path: str = ""
) -> tuple[list[SiteYear], NDArray[np.int64]]:
    """Put a load at each site; returns what it takes, and the hours that count: those that everybody has.

    Raises
    ------
    InputError
        If there is no such hour.
    """
    known = ~np.isnan(load.values["load_w"])
    hours, it_w = load.hours[known], load.values["load_w"][known]
    joined = [site.tables.at(hours) for site in sites]
    powers = [site.facility_w(it_w, columns) for site, columns in zip(sites, joined, strict=True)]
    whole = [
        ~np.isnan(power) & ~np.any([np.isnan(c) for c in columns.values()], axis=0)
        for power, columns in zip(powers, joined, strict=True)
    ]
    counts = np.logical_and.reduce(whole)
    if not counts.any():
        raise InputError("no hour of the load is in the tables of all sites; times without a zone are UTC", path)
    chosen = hours[counts]
    return [
        _year(
            site, {n: c[counts] for n, c in columns.items()}, (it_w[counts], power[counts]), (chosen, int(hours[0])),
            int((~ok).sum()),
        )
        for site, columns, power, ok in zip(sites, joined, powers, whole, strict=True)
    ], chosen  # fmt: skip


def _year(
    site: CandidateSite,
    columns: dict[str, NDArray[np.float64]],
    watts: tuple[NDArray[np.float64], NDArray[np.float64]],
    time: tuple[NDArray[np.int64], int],
    holes: int,
) -> SiteYear:
    (it_w, facility_w), (hours, begin) = watts, time
    currencies = site.tables.currencies
    if len(currencies) > 1:
        raise InputError(f"{site.name}: its prices are in {' and '.join(sorted(currencies))}; nothing is converted")
    rates: dict[str, NDArray[np.float64] | float | None] = {
        "energy_kwh": 1.0, "cost": columns.get("price"),
        "carbon_kg": None if (carbon := columns.get("carbon_g_per_kwh")) is None else carbon / 1e3,
    }  # fmt: skip
    each: dict[str, tuple[NDArray[np.float64], Range]] = {}
    low_w, high_w = site.facility_ends(it_w, facility_w)
    for name, rate in rates.items():
        if rate is not None:
            value, *ends = (float((power * rate).mean()) / 1e3 * YEAR_H for power in (facility_w, low_w, high_w))
            each[name] = facility_w / 1e3 * rate, Range(value, min(value, *ends), max(value, *ends))
    if site.wue is not None or "wue" in columns:
        wue = Range.exact(1.0) if site.wue is None else site.wue
        litres = it_w / 1e3 * columns.get("wue", np.float64(1.0))
        each["water_l"] = litres * wue.value, wue.times(float(litres.mean()) * YEAR_H)
    unit = site.unit_at(hours, begin, columns.get("outdoor_c"))
    of_day = hours % 24
    count = np.maximum(np.bincount(of_day, minlength=24), 1)
    return SiteYear(
        site.name,
        holes,
        {name: _total(*each[name], hours) if name in each else None for name in TOTALS},
        float(facility_w.sum() / it_w.sum()) if it_w.any() else math.nan,
        _clean_share(facility_w, columns),
        None if unit is None else float(age(facility_w, 3600.0, unit).equivalent_ageing),
        {name: np.bincount(of_day, of_hour, minlength=24) / count for name, (of_hour, _) in each.items()},
        next(iter(currencies), ""),
        site.tables.marginal,
    )


def _clean_share(facility_w: NDArray[np.float64], columns: dict[str, NDArray[np.float64]]) -> float | None:
    """Share of the energy that is carbon-free hour by hour: what is at hand, and of the rest the grid's share."""
    if not {"clean_w", "clean_share"} & set(columns) or not facility_w.any():
        return None
    own_w = np.minimum(facility_w, columns.get("clean_w", np.zeros(1)))
    covered_w = own_w + (facility_w - own_w) * columns.get("clean_share", np.zeros(1))
    return float(covered_w.sum() / facility_w.sum())


def _total(each: NDArray[np.float64], given: Range, hours: NDArray[np.int64]) -> YearTotal:
    years = 1970 + (hours * 3600).astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64)
    totals = [each[years == y].mean() * YEAR_H for y in np.unique(years) if (years == y).sum() >= _MOST_OF_A_YEAR]
    return YearTotal(
        float(each.mean()) * YEAR_H, given, None if len(totals) < LEAST_YEARS else np.array(totals, np.float64)
    )


def _spread(value: float, yearly: NDArray[np.float64] | None, down: float, up: float) -> tuple[float, float] | None:
    """95 % interval of a mean over years, and of inputs with intervals of their own; None where neither is there."""
    if yearly is None:
        return None if down == up == 0.0 else (value - down, value + up)
    half = quantile(0.95, yearly.size - 1) * float(yearly.std(ddof=1)) / math.sqrt(yearly.size)
    middle = float(yearly.mean())
    return middle - math.hypot(half, down), middle + math.hypot(half, up)
