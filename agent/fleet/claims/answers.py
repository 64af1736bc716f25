"""A scenario, and the list of all claims, laid out: JSON for programs, tables for people, Markdown for the pages."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import counted
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.claims.verdict import Verdict
from wattshed.agent.printing.paragraphs import TableRows, table
from wattshed.agent.printing.tables import Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wattshed.agent.fleet.boundary.ranges import Range
    from wattshed.agent.fleet.claims.scenario import BoundaryPower, Claim, Figure, Given, Scenario
    from wattshed.agent.fleet.claims.stated import Stated

SCENARIO_SCHEMA = "wattshed.scenario/1"
CLAIMS_SCHEMA = "wattshed.claims/1"
_OWN = "the claim"  # the source of a number that is the claim's own
_COLUMNS = (  # of the list of claims: all stay, however narrow the terminal
    Column("verdict", least=12, folds=True),
    Column("claim", least=18, folds=True),
    Column("computed (95 %)", least=15, folds=True),
    Column("claimed", least=9, folds=True),
    Column("numbers from", least=12, folds=True),
)


def scenario_json(found: Scenario) -> dict[str, Any]:
    """Lay a scenario out as ``wattshed.scenario/1``."""
    return {
        "schema": SCENARIO_SCHEMA,
        "name": found.name,
        "title": found.title,
        "source": found.source,
        "boundaries": [_boundary_json(b) for b in found.boundaries],
        "energy_kwh_per_year": found.energy_kwh_per_year.value,
        "energy_kwh_per_year_lower": found.energy_kwh_per_year.low,
        "energy_kwh_per_year_upper": found.energy_kwh_per_year.high,
        "energy_of": found.energy_of,
        "claims": [_claim_json(c) for c in found.claims],
        "figures": [_figure_json(f) for f in found.figures],
        "given": [_given_json(g) for g in found.given],
    }


def claims_json(scenarios: Iterable[Scenario]) -> dict[str, Any]:
    """Lay all claims of scenarios out as ``wattshed.claims/1``."""
    rows = [(s.name, c) for s in scenarios for c in s.claims]
    tally = Counter(c.verdict for _, c in rows)
    return {
        "schema": CLAIMS_SCHEMA,
        "claims": [{"scenario": name, **_claim_json(c)} for name, c in rows],
        "verdicts": {str(verdict): tally[verdict] for verdict in Verdict},
    }


def _boundary_json(b: BoundaryPower) -> dict[str, Any]:
    return {
        "boundary": b.boundary,
        "basis": b.basis,
        "mean_w": b.range.value,
        "lower_w": b.range.low,
        "upper_w": b.range.high,
    }


def _claim_json(c: Claim) -> dict[str, Any]:
    """Give null for each number that a claim without one does not have."""
    return {
        "text": c.text,
        "article": c.article or None,
        **_stated_json(c.stated),
        "claimed": c.claimed,
        "relation": c.relation or None,
        "tolerance": c.tolerance if c.relation == "about" else None,
        "computed": c.computed.value if c.computed else None,
        "lower": c.computed.low if c.computed else None,
        "upper": c.computed.high if c.computed else None,
        "unit": c.unit or None,
        "verdict": str(c.verdict),
        "at_the_edge": c.at_the_edge,
        "reason": c.reason,
        "source": c.source,
        "numbers_from": [{"name": g.name, "source": g.source} for g in c.rests_on],
    }


def _stated_json(stated: Stated) -> dict[str, Any]:
    return {"as_of": stated.as_of.text if stated.as_of else None, "boundary": stated.boundary}


def _figure_json(f: Figure) -> dict[str, Any]:
    return {
        "name": f.name,
        "value": f.range.value,
        "lower": f.range.low,
        "upper": f.range.high,
        "unit": f.unit,
        "about": f.about,
        "formula": f.formula,
        **_stated_json(f.stated),
    }


def _given_json(g: Given) -> dict[str, Any]:
    """Of a table of values there is one spread, and no interval for each."""
    values = isinstance(g.value, tuple)
    return {
        "name": g.name,
        "value": list(g.value) if isinstance(g.value, tuple) else g.value,
        "low": None if values else g.range.low,
        "high": None if values else g.range.high,
        "spread": g.range.high - 1.0 if values else None,
        "unit": g.unit,
        "source": g.source,
        **_stated_json(g.stated),
    }


def scenario_parts(found: Scenario, *, explain: bool = False) -> list[str | TableRows]:
    """Lay a scenario out for a terminal; ``explain`` adds every number with its source, and every formula."""
    lines: list[str | TableRows] = [f"{found.name}: {found.title}", f"source: {found.source}", ""]
    rows = [(b.boundary, shown(b.range.value, "W"), _interval(b.range, "W"), b.basis) for b in found.boundaries]
    lines.append(table(("boundary", "power", "95 % interval", "basis"), rows, left=(0, 3)))
    year = found.energy_kwh_per_year
    interval = "" if year.is_exact else f" ({between(year.low * 1e3, year.high * 1e3, 'Wh')})"
    lines += ["", f"energy: {shown(year.value * 1e3, 'Wh')} a year{interval}, of {found.energy_of}", ""]
    if explain:
        lines += [*(line for f in found.figures for line in _figure_lines(f))]
        lines += [*(line for g in found.given for line in _given_lines(g)), ""]
    for c in found.claims:
        lines += [f"{c.verdict.upper()}: {c.text}", f"    {c.reason}"]
    return lines


def claims_parts(scenarios: Iterable[Scenario], *, explain: bool = False) -> list[str | TableRows]:
    """Lay all claims out for a terminal, a row each; ``explain`` gives each with its formulas, numbers and sources."""
    rows = [(s, c) for s in scenarios for c in s.claims]
    tally = Counter(c.verdict for _, c in rows)
    counts = ", ".join(f"{tally[verdict]} {verdict}" for verdict in Verdict if tally[verdict])
    total = f"{counted(len(rows), 'claim')}: {counts}"
    if explain:
        return [*(line for s, c in rows for line in (*_explained(s, c), "")), total]
    cells = (
        (str(c.verdict), f"{s.name}: {c.text}", _value(c.computed, c.unit), _claimed(c), "; ".join(_labels(c)))
        for s, c in rows
    )
    names = tuple(column.name for column in _COLUMNS)
    return [TableRows(_COLUMNS, tuple(dict(zip(names, row, strict=True)) for row in cells)), "", total]


def _explained(s: Scenario, c: Claim) -> Iterator[str]:
    """Tell everything about a claim: who says it, the verdict, each figure and number that it rests on."""
    yield f"{s.name}: {c.text}"
    yield f"    {c.verdict.upper()}: {c.reason}"
    yield f"    claimed by: {c.source}"
    of = {"article": c.article, "as of": c.stated.as_of and c.stated.as_of.text, "boundary": c.stated.boundary}
    if any(of.values()):
        yield f"    {'; '.join(f'{name}: {told}' for name, told in of.items() if told)}"
    for f in s.figures:
        if f.name in c.formulas:
            yield from (f"    {line}" for line in _figure_lines(f))
    for g in c.rests_on:
        yield from (f"    {line}" for line in _given_lines(g))


def _figure_lines(f: Figure) -> Iterator[str]:
    span = "" if f.range.is_exact else f" ({between(f.range.low, f.range.high, f.unit)})"
    yield f"{f.name} = {shown(f.range.value, f.unit)}{span}: {f.about}"
    yield f"    = {f.formula}"


def _given_lines(g: Given) -> Iterator[str]:
    value = f"{len(g.value)} values" if isinstance(g.value, tuple) else shown(g.value, g.unit)
    plain = g.range.is_exact or isinstance(g.value, tuple)
    yield f"{g.name} = {value}{'' if plain else f' ({between(g.range.low, g.range.high, g.unit)})'}"
    yield f"    {g.source}"


def _interval(span: Range, unit: str) -> str:
    return "exact" if span.is_exact else between(span.low, span.high, unit)


def _value(span: Range | None, unit: str) -> str:
    """Give a number with its interval, and the unit once where that is possible: ``1.82 (1.64 to 2.03) times``."""
    if span is None:
        return ""
    number, interval = shown(span.value, unit), between(span.low, span.high, unit)
    if span.is_exact:
        return number
    head, _, tail = number.partition(" ")
    ends, _, last = interval.rpartition(" " + tail)
    return f"{head} ({ends}) {tail}" if tail and ends and not last and tail not in ends else f"{number} ({interval})"


def _claimed(c: Claim) -> str:
    return "" if c.claimed is None else f"{c.relation} {shown(c.claimed, c.unit)}"


def _labels(c: Claim) -> list[str]:
    """Name whom the numbers of a claim are from; of one without numbers, who says it."""
    labels = list(dict.fromkeys(g.label for g in c.rests_on)) or [c.source.partition(": ")[0]]
    return [label for label in labels if label != _OWN] or labels


def claims_markdown(scenarios: Iterable[Scenario]) -> str:
    """Write the table of claims and verdicts, for the documentation."""
    lines = [
        "| claim | verdict | computed (95 %) and claimed number; why; whom the numbers are from |",
        "|---|---|---|",
    ]
    for s in scenarios:
        for c in s.claims:
            numbers = f"{_value(c.computed, c.unit)}, claimed {_claimed(c)}" if c.computed else ""
            why = ": ".join(filter(None, (numbers, c.because)))
            told = f"{why[0].upper()}{why[1:]}. *From: {'; '.join(_labels(c))}.*"
            lines.append(f"| {s.name}: {c.text} | **{c.verdict}** | {told} |")
    return "\n".join(lines) + "\n"


def powers_markdown(scenarios: Iterable[Scenario]) -> str:
    """Write the table of powers at their boundaries, for the documentation."""
    lines = ["| scenario | boundary | basis | power | 95 % interval |", "|---|---|---|---:|---:|"]
    lines += [
        f"| {s.name} | {b.boundary} | {b.basis} | {shown(b.range.value, 'W')} | {_interval(b.range, 'W')} |"
        for s in scenarios
        for b in s.boundaries
    ]
    return "\n".join(lines) + "\n"
