"""``fleet siting``: the same load at several places, hour by hour: energy, cost, carbon, water, transformers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError, counted
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.decide.answer import Basis, Decision, give, ready
from wattshed.agent.fleet.decide.candidate_sites import read_sites
from wattshed.agent.fleet.decide.hourly_table import read_hourly
from wattshed.agent.fleet.demand.transformer import age
from wattshed.agent.fleet.estimate.student import quantile
from wattshed.agent.printing.paragraphs import TableRows, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray

    from wattshed.agent.fleet.decide.candidate_sites import CandidateSite
    from wattshed.agent.fleet.decide.hourly_table import HourlyTable

YEAR_H = 8766.0
LEAST_YEARS = 3
_MOST_OF_A_YEAR = 8000  # hours, with which a year counts for the interval
TOTALS = {"energy_kwh": "energy", "cost": "cost", "carbon_kg": "carbon", "water_l": "water"}


@dataclass(frozen=True, slots=True)
class SiteYear:
    """What the load takes at a site in a year, from the hours that all sites and the load have.

    Attributes
    ----------
    name : str
    holes : int
        Hours of the load that this site lacks.
    totals : mapping of name -> float or None
        Of `TOTALS`, a year; None where its file does not say.
    intervals : mapping of name -> (low, high) or None
        95 %, over the years; None with fewer than three.
    pue : float
        Mean over the hours, by energy.
    clean_share : float or None
    ageing : float or None
        Of the transformer, 1 is normal.
    by_hour : float64[24], kg/h or kWh/h
        Mean carbon (or energy) by hour of the day in UTC, for the picture.
    """

    name: str
    holes: int
    totals: dict[str, float | None]
    intervals: dict[str, tuple[float, float] | None]
    pue: float
    clean_share: float | None
    ageing: float | None
    by_hour: NDArray[np.float64]


def siting(args: argparse.Namespace) -> int:
    """``fleet siting``."""
    ready(args)
    load = read_hourly(args.load, {"time": "time", "load_w": "load_w"})
    found, hours = compare(read_sites(args.sites), load, args.load)
    return give(_decision(found, hours), args)


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
    joined = [site.table.at(hours) for site in sites]
    pues = [site.pue_at(it_w, columns) for site, columns in zip(sites, joined, strict=True)]
    whole = [
        ~np.isnan(pue) & ~np.any([np.isnan(c) for c in columns.values()], axis=0)
        for pue, columns in zip(pues, joined, strict=True)
    ]
    counts = np.logical_and.reduce(whole)
    if not counts.any():
        raise InputError("no hour of the load is in the tables of all sites; times without a zone are UTC", path)
    chosen = hours[counts]
    return [
        _year(site, {n: c[counts] for n, c in columns.items()}, it_w[counts], pue[counts], chosen, int((~ok).sum()))
        for site, columns, pue, ok in zip(sites, joined, pues, whole, strict=True)
    ], chosen


def _year(  # noqa: PLR0917 - columns
    site: CandidateSite,
    columns: dict[str, NDArray[np.float64]],
    it_w: NDArray[np.float64],
    pue: NDArray[np.float64],
    hours: NDArray[np.int64],
    holes: int,
) -> SiteYear:
    facility_w = it_w * pue
    kwh = facility_w / 1e3
    wue = columns.get("wue") if site.wue is None else np.full(it_w.size, site.wue.value)
    carbon = columns.get("carbon_g_per_kwh")
    each: dict[str, NDArray[np.float64] | None] = {
        "energy_kwh": kwh,
        "cost": kwh * columns["price"] if "price" in columns else None,
        "carbon_kg": None if carbon is None else kwh * carbon / 1e3,
        "water_l": None if wue is None else it_w / 1e3 * wue,
    }
    clean = columns.get("clean_w")
    ageing = None
    if site.transformer is not None:
        outdoor = columns.get("outdoor_c")
        unit = site.transformer if outdoor is None else replace(site.transformer, hourly_c=outdoor)
        ageing = float(age(facility_w, 3600.0, unit).equivalent_ageing)
    shown_by = each["carbon_kg"] if each["carbon_kg"] is not None else kwh
    of_day = hours % 24
    return SiteYear(
        site.name,
        holes,
        {name: None if e is None else float(e.mean()) * YEAR_H for name, e in each.items()},
        {name: None if e is None else _over_years(e, hours) for name, e in each.items()},
        float(facility_w.sum() / it_w.sum()) if it_w.any() else math.nan,
        None
        if clean is None or not facility_w.any()
        else float(np.minimum(facility_w, clean).sum() / facility_w.sum()),
        ageing,
        np.bincount(of_day, shown_by, minlength=24) / np.maximum(np.bincount(of_day, minlength=24), 1),
    )


def _over_years(each: NDArray[np.float64], hours: NDArray[np.int64]) -> tuple[float, float] | None:
    """95 % interval of a year's total, from those of at least three years."""
    years = 1970 + (hours * 3600).astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64)
    totals = [each[years == y].mean() * YEAR_H for y in np.unique(years) if (years == y).sum() >= _MOST_OF_A_YEAR]
    n = len(totals)
    if n < LEAST_YEARS:
        return None
    half = quantile(0.95, n - 1) * float(np.std(totals, ddof=1)) / math.sqrt(n)
    return float(np.mean(totals)) - half, float(np.mean(totals)) + half


def _decision(found: list[SiteYear], hours: NDArray[np.int64]) -> Decision:
    told = [t for name in ("carbon_kg", "cost", "water_l", "energy_kwh") if (t := _least(found, name))]
    sentence = "; ".join(told[:3]) + "."
    has_years = any(s.intervals["energy_kwh"] for s in found)
    first, last = (datetime.fromtimestamp(int(h) * 3600, UTC).isoformat(" ", "hours") for h in (hours[0], hours[-1]))
    figures = {
        "hours": int(hours.size), "first": first, "last": last,
        "sites": [
            {
                "site": s.name, "hours_missing": s.holes, **s.totals,
                "intervals": {n: None if i is None else list(i) for n, i in s.intervals.items()},
                "pue": s.pue, "clean_share": s.clean_share, "transformer_ageing": s.ageing,
            }
            for s in found
        ],
    }  # fmt: skip
    warnings = [f"{s.name}: {counted(s.holes, 'hour')} of the load missing, left out for all" for s in found if s.holes]
    if hours.size < YEAR_H - 24:
        warnings.append(f"{counted(int(hours.size), 'hour')} stand for a year: seasons may be missing")
    method = f"Student's t over years, {LEAST_YEARS} or more" if has_years else "none: fewer than three whole years"
    return Decision(
        "siting", sentence, (_table(found),), figures,
        Basis("facility", "year" if has_years else "none: the hours as they were", method, None, hours.size * 3600.0),
        _drawing(found), ("the load does not depend on the site", "hours to come are like those of the tables"),
        tuple(warnings),
    )  # fmt: skip


def _least(found: list[SiteYear], name: str) -> str:
    """Say which site takes least of something, and how much less than the next."""
    known = sorted((s.totals[name] or 0.0, s.name) for s in found if s.totals[name] is not None)
    if len(known) < 2:
        return ""
    (least, best), (other, second) = known[:2]
    share = 0.0 if other <= 0.0 else (1.0 - least / other) * 100.0
    less = "as much as" if share < 0.05 else f"{share:.3g} % less than"
    return f"{best} has the least {TOTALS[name]} ({_shown(name, least)} a year, {less} {second})"


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "unknown"
    if name == "energy_kwh":
        return shown(value * 1e3, "Wh")
    if name == "cost":
        return shown(value, "")
    return shown(value / 1e3, "t" if name == "carbon_kg" else "m³")


def _table(found: list[SiteYear]) -> TableRows:
    rows = []
    for s in found:
        cells = [_shown(name, s.totals[name]) for name in TOTALS]
        span = s.intervals["carbon_kg"]
        rows.append(
            (
                s.name, *cells, "none" if span is None else between(span[0] / 1e3, span[1] / 1e3, "t"), f"{s.pue:.3f}",
                "" if s.clean_share is None else shown(s.clean_share, "%"),
                "" if s.ageing is None else f"{s.ageing:.3g}", f"{s.holes:,}",
            )
        )  # fmt: skip
    head = (
        "site",
        "energy a year",
        "cost",
        "carbon",
        "water",
        "carbon, 95 %",
        "PUE",
        "clean",
        "ageing",
        "hours missing",
    )
    return table(head, rows, left=(0,))


def _drawing(found: list[SiteYear]) -> Callable[[Any, Any], None]:
    """Draw carbon (or energy) a year, and over the hours of the day."""

    def draw(above: Any, below: Any) -> None:
        from wattshed.agent.printing.pictures import COLOURS  # noqa: PLC0415

        by_carbon = all(s.totals["carbon_kg"] is not None for s in found)
        name, unit, per = ("carbon_kg", "t of CO2e", 1e3) if by_carbon else ("energy_kwh", "MWh", 1e3)
        above.barh([s.name for s in found], [(s.totals[name] or 0.0) / per for s in found], color=COLOURS[0])
        above.invert_yaxis()
        above.set(xlabel=f"{unit} a year", title="The same load at each site")
        for i, s in enumerate(found[: len(COLOURS)]):
            below.plot(np.arange(24), s.by_hour, color=COLOURS[i], label=s.name)
        below.set(xlabel="hour of the day, UTC", ylabel="kg an hour" if by_carbon else "kWh an hour", ylim=(0, None))
        below.legend()

    return draw
