"""PLAN.toml: GPUs month by month, and the power that is there, ordered, or could be ordered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.boundary.written import range_in
from wattshed.agent.inputs.toml import Document
from wattshed.agent.spans import SPANS_S, YEAR_S

if TYPE_CHECKING:
    from pathlib import Path

    from wattshed.agent.inputs.toml import Table

WEEKS_A_MONTH = YEAR_S / 12 / SPANS_S["w"]
MOST_MONTHS = 600
_SURVEY = (
    "Wood Mackenzie, Q2 2025 (POWER, January 2026): {} on average; the interval is assumed, 210 weeks were reported"
)
LEAD_TIMES = {
    "transformer": (Range(128.0, 100.0, 210.0), _SURVEY.format("128 weeks")),
    "gsu": (Range(144.0, 115.0, 210.0), _SURVEY.format("144 weeks for generator step-up units")),
    "large transformer": (Range(160.0, 120.0, 210.0), "Wood Mackenzie, 2024: 120 to 210 weeks"),
}
"""Weeks from order to service, by kind, where a plan does not say them; each with its source."""


@dataclass(frozen=True, slots=True)
class Supply:
    """Power that a site has or will have.

    Attributes
    ----------
    name : str
    watts : float, W
    since : float or None, months
        From the plan's beginning until it is there; None where it is known by its order.
    ordered : float or None, months
        When it was ordered; None where it was not.
    lead_weeks : Range
    source : str
        Of the lead time, where it is a prior.
    """

    name: str
    watts: float
    since: float | None
    ordered: float | None
    lead_weeks: Range
    source: str = ""


@dataclass(frozen=True, slots=True)
class GrowthPlan:
    """GPUs at the end of each month, the power of each, and the supplies in their order.

    Attributes
    ----------
    name : str
    begin : tuple of int
        Year and month of the first month.
    gpus : tuple of float
    watts : Range, W
        Of one GPU, at ``boundary``.
    pue : Range
        Exact 1 at the facility.
    boundary : str
    supplies : tuple of Supply
    """

    name: str
    begin: tuple[int, int]
    gpus: tuple[float, ...]
    watts: Range
    pue: Range
    boundary: str
    supplies: tuple[Supply, ...]


def read_plan(path: str | Path) -> GrowthPlan:
    """Read and check a PLAN.toml.

    Raises
    ------
    InputError
        Naming the line, if it cannot be used.
    """
    root = Document(path).root.only(("name", "begin", "gpus", "watts", "boundary", "pue", "supply"))
    begin = _month(root, "begin")
    gpus = root.each("gpus", float, low=0)
    if not 1 <= len(gpus) <= MOST_MONTHS:
        root.fail(f"must have 1 to {MOST_MONTHS} months, not {len(gpus)}", "gpus")
    boundary = root.text("boundary", choices=("it", "facility"))
    if boundary == "facility" and "pue" in root:
        root.fail("watts are at the facility, which has the PUE in it already; leave it out", "pue")
    pue = Range.exact(1.0) if boundary == "facility" else range_in(root, "pue", least=1.0)
    supplies = tuple(_supply(table, begin) for table in root.tables("supply", required=True))
    watts = range_in(root, "watts")
    if watts.low <= 0.0:
        root.fail("must be above 0", "watts")
    return GrowthPlan(root.text("name", "the site"), begin, tuple(gpus), watts, pue, boundary, supplies)


def _month(table: Table, key: str) -> tuple[int, int]:
    text = table.text(key)
    found = re.fullmatch(r"(\d{4})-(\d\d)", text)
    if not found or not 1 <= int(found[2]) <= 12:
        table.fail(f"must be a month such as 2026-01, not {text!r}", key)
    return int(found[1]), int(found[2])


def _supply(table: Table, begin: tuple[int, int]) -> Supply:
    table.only(("name", "mw", "since", "ordered", "lead_weeks", "kind"))
    name, watts = table.text("name"), table.number("mw", above=0) * 1e6

    def months(key: str) -> float:
        year, month = _month(table, key)
        return float((year - begin[0]) * 12 + month - begin[1])

    if "since" in table:
        for key in ("ordered", "lead_weeks", "kind"):
            if key in table:
                table.fail("it is there since a month, and would not be used; leave one of them out", key)
        return Supply(name, watts, months("since"), None, Range.exact(0.0))
    ordered = months("ordered") if "ordered" in table else None
    if "lead_weeks" in table:
        if "kind" in table:
            table.fail("lead_weeks are given, and it would not be used; leave one of them out", "kind")
        return Supply(name, watts, None, ordered, range_in(table, "lead_weeks"))
    if "kind" not in table:
        table.fail(f"needs since, or lead_weeks, or kind ({', '.join(LEAD_TIMES)})")
    lead, source = LEAD_TIMES[table.text("kind", choices=tuple(LEAD_TIMES))]
    return Supply(name, watts, None, ordered, lead, source)
