"""``fleet siting``: the same load at several places, hour by hour: energy, cost, carbon, water, transformers."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import counted
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.decide.answer import Basis, Decision, give, ready
from wattshed.agent.fleet.decide.candidate_sites import read_sites
from wattshed.agent.fleet.decide.hourly_sources import read_hourly
from wattshed.agent.fleet.decide.site_year import LEAST_YEARS, TOTALS, YEAR_H, compare
from wattshed.agent.printing.paragraphs import TableRows, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray

    from wattshed.agent.fleet.decide.site_year import SiteYear


def siting(args: argparse.Namespace) -> int:
    """``fleet siting``."""
    ready(args)
    sites = read_sites(args.sites)
    load = read_hourly(args.load, {"time": "time", "load_w": "load_w"})
    found, hours = compare(sites, load, args.load)
    return give(_decision(found, hours, tuple(text for site in sites for text in site.tables.said)), args)


def _decision(found: list[SiteYear], hours: NDArray[np.int64], said: tuple[str, ...]) -> Decision:
    if len(found) == 1:
        takes = [
            _shown(found[0], n) + ("" if n == "cost" and found[0].currency else f" of {noun}")
            for n, noun in TOTALS.items()
            if found[0].totals[n]
        ]
        sentence = f"{found[0].name} takes {', '.join(takes[:-1])}{' and ' if takes[1:] else ''}{takes[-1]} a year."
    else:
        told = [t for name in ("carbon_kg", "cost", "water_l", "energy_kwh") if (t := _least(found, name))]
        sentence = "; ".join(told[:3]) + "."
    first, last = (datetime.fromtimestamp(int(h) * 3600, UTC).isoformat(" ", "hours") for h in (hours[0], hours[-1]))
    figures = {
        "hours": int(hours.size), "first": first, "last": last,
        "sites": [
            {
                "site": s.name, "hours_missing": s.holes, **{n: t and t.value for n, t in s.totals.items()},
                "intervals": {n: t and t.interval and [*t.interval] for n, t in s.totals.items()},
                "pue": s.pue, "clean_share": s.clean_share, "transformer_ageing": s.ageing,
                "currency": s.currency or None, "carbon_is_marginal": s.marginal,
            }
            for s in found
        ],
    }  # fmt: skip
    warnings = [f"{s.name}: {counted(s.holes, 'hour')} of the load missing, left out for all" for s in found if s.holes]
    if hours.size < YEAR_H - 24:
        warnings.append(f"{counted(int(hours.size), 'hour')} stand for a year: seasons may be missing")
    warnings += [
        f"{TOTALS[name]} is not compared: {' and '.join(kinds)}"
        for name, kinds in (
            ("cost", sorted({s.currency for s in found if s.totals["cost"] and s.currency})),
            ("carbon_kg", sorted({"marginal" if s.marginal else "mean" for s in found if s.totals["carbon_kg"]})),
        )
        if len(kinds) > 1
    ]
    totals = [t for s in found for t in s.totals.values() if t is not None]
    years, given = any(t.yearly is not None for t in totals), any(not t.given.is_exact for t in totals)
    over = [f"Student's t over {LEAST_YEARS} or more whole years"] if years else []
    method = " and ".join(over + ["PUE and water as given for the site"] * given)
    return Decision(
        "siting", sentence, (_table(found),), figures,
        Basis(
            "facility", "year" if years else "none: the hours as they were",
            method or "none: fewer than three whole years, and no interval of PUE or water", None, hours.size * 3600.0,
        ),
        _drawing(found),
        ("the load does not depend on the site", "hours to come are like those of the tables", *dict.fromkeys(said)),
        tuple(warnings),
    )  # fmt: skip


def _least(found: list[SiteYear], name: str) -> str:
    """Say which site takes least of something, and how much less than the next; nothing if they cannot be compared."""
    known = sorted(((t.value, s.name, t, s) for s in found if (t := s.totals[name])), key=lambda row: row[:2])
    if len(known) < 2 or len({kind for *_, s in known if (kind := s.kind(name)) or name == "carbon_kg"}) > 1:
        return ""
    (least, best, mine, site), (other, second, theirs, _) = known[:2]
    if math.isclose(other, least, rel_tol=5e-4):
        return f"{best} and {second} have the least {TOTALS[name]} ({_shown(site, name)} a year each)"
    by = f"{_amount(site, name, other - least)} less than {second}"
    between_them = mine.less_than(theirs)
    if least > 0.0:
        by = f"{(1.0 - least / other) * 100.0:.3g} % less than {second}"
    if between_them is not None and between_them[0] <= 0.0:
        by += ", a difference within the 95 % interval"
    elif between_them is not None and least > 0.0:
        by += f", 95 % {between(between_them[0] / other, between_them[1] / other, '%')}"
    return f"{best} has the least {TOTALS[name]} ({_shown(site, name)} a year, {by})"


def _shown(site: SiteYear, name: str) -> str:
    total = site.totals[name]
    return "unknown" if total is None else _amount(site, name, total.value)


def _amount(site: SiteYear, name: str, value: float) -> str:
    if name == "energy_kwh":
        return shown(value * 1e3, "Wh")
    if name == "cost":
        return shown(value, site.currency)
    return shown(value / 1e3, "t" if name == "carbon_kg" else "m³")


def _table(found: list[SiteYear]) -> TableRows:
    rows = []
    for s in found:
        carbon = s.totals["carbon_kg"]
        span = None if carbon is None else carbon.interval
        rows.append(
            (
                s.name, *(_shown(s, name) for name in TOTALS),
                "none" if span is None else between(span[0] / 1e3, span[1] / 1e3, "t"), f"{s.pue:.3f}",
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
    """Draw what all sites have in one unit (carbon, else cost, else energy), a year and over the hours of the day."""

    def alike(name: str) -> bool:
        return all(s.totals[name] for s in found) and len({s.kind(name) for s in found}) == 1

    def draw(above: Any, below: Any) -> None:
        from wattshed.agent.printing.pictures import COLOURS, INK  # noqa: PLC0415

        name = next(n for n in ("carbon_kg", "cost", "energy_kwh") if n == "energy_kwh" or alike(n))
        units = {"carbon_kg": ("t of CO2e", "kg of CO2e"), "energy_kwh": ("MWh", "kWh")}
        money = found[0].currency or "cost"
        large, small = units.get(name, (f"1,000 {money}" if found[0].currency else "1,000 units of money", money))
        totals = [t for s in found if (t := s.totals[name])]
        values = np.array([t.value for t in totals]) / 1e3
        ends = np.array([t.interval or (t.value, t.value) for t in totals]) / 1e3
        above.barh([s.name for s in found], values, color=COLOURS[1])
        if (ends[:, 1] > ends[:, 0]).any():
            sides = np.maximum(np.array([values - ends[:, 0], ends[:, 1] - values]), 0.0)
            above.errorbar(values, range(len(found)), xerr=sides, fmt="none", ecolor=INK, capsize=3, label="95 %")
            above.legend()
        above.invert_yaxis()
        above.set(xlabel=f"{large} a year", title="The same load at each site")
        for i, s in enumerate(found[: len(COLOURS)]):
            below.plot(np.arange(24), s.by_hour[name], color=COLOURS[i], label=s.name)
        below.set(xlabel="hour of the day, UTC", ylabel=f"{small} an hour", xticks=range(0, 24, 3))
        if min(float(s.by_hour[name].min()) for s in found) >= 0.0:
            below.set_ylim(0, None)
        below.legend()

    return draw
