"""A report as a page to hand on: one file without scripts, that asks for nothing, for screens and for paper."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.printing.figures import moment, printable
from wattshed.agent.reports.amounts import NO_JOBS
from wattshed.agent.reports.notes import money, places_for
from wattshed.agent.reports.plots import HEIGHT_PX, MOST_BARS, bars_of, shortened, stacks_of
from wattshed.agent.reports.sheet import sheet_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.reports.plots import Stacks
    from wattshed.agent.reports.power_plots import PowerPlot
    from wattshed.agent.reports.sheet import Sheet

TEMPLATES = Path(__file__).parent / "templates"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may do with the page: show it."""


def page(
    document: Mapping[str, Any],
    found: Mapping[str, Any],
    power: Sequence[PowerPlot] = (),
    rejected: Sequence[str] = (),
) -> str:
    """Write a report as HTML.

    Parameters
    ----------
    document : mapping
        Of `amounts.priced`.
    found : mapping
        What it was made of, with its steps.
    power : sequence of PowerPlot
        Power over time, where it is known.
    rejected : sequence of str
        What could not be read of it, a sentence each.
    """
    from decimal import Decimal  # noqa: PLC0415

    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - the one who uses it

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kwh"] = lambda value, whole: f"{value:,.{places_for(Decimal(repr(whole)))}f}"
    environment.filters["short"] = lambda name: shortened(name, 16)
    sheet = sheet_of(document)
    stacks = stacks_of(found)
    return environment.get_template("report.html").render(
        policy=POLICY,
        by=document["by"],
        host=printable(document["host"]),
        begin=_begin(document, found),
        end=moment(_end(document), UTC),
        made=moment(document["now_s"], UTC),
        sheet=sheet,
        tiles=_tiles(document, sheet),
        nobody=[row["name"] in NO_JOBS for row in document["rows"]],
        bars=bars_of(document, [row["kWh"] for row in sheet.rows]),
        most_bars=MOST_BARS,
        stacks=stacks,
        stack_total=_largest(stacks),
        height=HEIGHT_PX,
        power=power,
        rejected=rejected,
    )


def write_page(
    path: Path,
    document: Mapping[str, Any],
    found: Mapping[str, Any],
    power: Sequence[PowerPlot] = (),
    rejected: Sequence[str] = (),
) -> None:
    """Write a report as HTML into a file, see `page`.

    Raises
    ------
    InputError
        It cannot be written.
    """
    try:
        path.write_text(page(document, found, power, rejected), encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", str(path)) from error


def _begin(document: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Say from when on: as asked for, or else the first day in which something was used."""
    if document["since_s"] is not None:
        return moment(document["since_s"], UTC)
    first = min((from_s for _, from_s, _, _ in found["steps"]), default=document["now_s"])
    return moment(first, UTC)


def _end(document: Mapping[str, Any]) -> float:
    until_s = document["until_s"]
    return float(document["now_s"] if until_s is None else min(until_s, document["now_s"]))


def _tiles(document: Mapping[str, Any], sheet: Sheet) -> list[tuple[str, str, str]]:
    """Return what to see first: a heading, a figure, and what it may be off by."""
    total = sheet.total
    named = [
        ("energy_j", "Energy of GPU boards", "kWh", "± kWh", "kWh"),
        ("wall_kwh", "Energy at the wall", "wall kWh", "± wall", "kWh"),
        ("cost", "Cost of energy", money(document), f"± {money(document)}", document["currency"]),
        ("co2e_g", "Emissions", "kg CO2e", "± CO2e", "kg CO2e"),
        ("marginal_co2_g", "Marginal emissions", "kg CO2 marg.", "± marg.", "kg CO2"),
        ("gpu_hours_cost", "Cost of GPU hours", f"GPU h {money(document)}", "", document["currency"]),
    ]
    tiles = [
        (title, f"{total[column].strip()} {unit}".strip(), f"± {total[doubt]}" if doubt else "beside energy, not in it")
        for key, title, column, doubt, unit in named
        if key in document["total"]
    ]
    if total["jobs"]:
        tiles.append(("Jobs", total["jobs"], ""))
    return [*tiles, ("GPU hours of jobs", total["GPU h"], f"{total['idle']} of it idle" if total["idle"] else "")]


def _largest(stacks: Stacks | None) -> float:
    return max((sum(stack) for stack in stacks.values), default=0.0) if stacks else 0.0
