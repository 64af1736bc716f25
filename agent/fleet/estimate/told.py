"""What an estimate says: JSON for programs, tables for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from wattshed.agent.fleet.boundary.units import between, percent, shown
from wattshed.agent.printing.paragraphs import TableRows, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wattshed.agent.fleet.estimate.change import Change
    from wattshed.agent.fleet.estimate.estimators import DomainEstimate, Estimate

FLEET_SCHEMA = "wattshed.fleet/1"

_ENDING = "no {unit} has more than about ten times the mean"
"""What an interval that is extended for skewness assumes: of a tail without an end no sample tells enough."""

_KINDS = {
    "t": "Student's t",
    "johnson": f"Student's t, extended for skewness; it assumes that {_ENDING}",
    "hall": "Hall's transform of Student's t",
    "bounded": "bounds of each host (betting)",
    "none": "none",
}


def estimate_json(found: Estimate, unit: str = "", *, boundary: str = "", span: str = "") -> dict[str, Any]:
    """Lay an estimate out as ``wattshed.fleet/1``; what nobody stated of ``boundary`` and ``span`` is null."""
    return {
        "schema": FLEET_SCHEMA,
        "total": found.total,
        "se": found.se,
        "df": found.df,
        "lower": found.lower,
        "upper": found.upper,
        "confidence": found.confidence,
        "method": found.method,
        "unit": unit,
        "boundary": boundary or None,
        "span": span or None,
        "sampling_unit": found.sampling_unit,
        "interval": found.interval,
        "skewness": found.skewness,
        "assumes": [_ENDING.format(unit=found.sampling_unit)] if found.interval == "johnson" else [],
        "strata": [asdict(s) for s in found.strata],
        "domains": [asdict(d) for d in found.domains],
        "deff": found.deff,
        "sampling_se": found.sampling_se,
        "meter_se": found.meter_se,
        "measured_total": found.measured_total,
        "warnings": list(found.warnings),
        **({} if found.change is None else {"change": asdict(found.change)}),
    }


def estimate_parts(found: Estimate, unit: str = "", *, boundary: str = "", span: str = "") -> list[str | TableRows]:
    """Lay an estimate, and the change to it, out for a terminal."""
    level = percent(found.confidence)
    if found.total is None:
        head = f"total unknown; the measured strata add up to {shown(found.measured_total, unit)}"
    elif found.lower is None or found.upper is None:
        head = f"total {shown(found.total, unit)}, no {level} interval"
    else:
        head = (
            f"total {shown(found.total, unit)}, {level} interval {between(found.lower, found.upper, unit)} "
            f"({found.method}, standard error {_number(found.se, unit)}, {degrees(found.df)})"
        )
    rows = [
        (
            s.stratum,
            f"{s.sampled} of {s.hosts}{' (all)' if s.take_all else ''}",
            _number(s.mean, unit),
            _number(s.sd, unit),
            _number(s.total, unit),
            _number(s.se, unit),
        )
        for s in found.strata
    ]
    made = (
        f"Boundary: {boundary or 'not stated'}. Span: {span or 'not stated'}. Sampling unit: {found.sampling_unit}. "
        f"Interval: {_KINDS[found.interval].format(unit=found.sampling_unit)}."
    )
    said = ["", "Columns: sd, standard deviation between hosts; se, standard error of the total."]
    if found.deff is not None:
        simple = "the variance of this total over that of a simple random sample of its size"
        said.append(f"Design effect {found.deff:.3g}: {simple}.")
    columns = table(("stratum", "hosts", "mean", "sd", "total", "se"), rows)
    return [
        head,
        *([] if found.change is None else [change_line(found.change, level, unit)]),
        made,
        "",
        columns,
        *_domain_parts(found.domains, level, unit),
        *said,
        *warned(found.warnings),
        *warned(_of_parts(found.domains)),
        *([] if found.change is None else warned(f"change: {text}" for text in found.change.warnings)),
    ]


def change_line(moved: Change, level: str, unit: str) -> str:
    """Say in a line how a total has changed."""
    if moved.total is None or moved.before is None:
        return "change unknown: a stratum was not measured both times"
    share = f" ({moved.total / moved.before:+.1%})" if moved.before else ""
    head = f"change {shown(moved.total, unit)}{share} from {shown(moved.before, unit)}"
    unit_said = "" if moved.sampling_unit == "host" else f" {moved.sampling_unit}{'' if moved.matched == 1 else 's'}"
    matched = (
        f"{moved.matched}{unit_said} measured both times, {moved.only_before} only before, {moved.only_now} only now"
    )
    if moved.lower is None or moved.upper is None:
        return f"{head}, no {level} interval; {matched}"
    return (
        f"{head}, {level} interval {between(moved.lower, moved.upper, unit)} ({moved.interval}, standard error "
        f"{_number(moved.se, unit)}, {_number(moved.unpaired_se, unit)} if unpaired, "
        f"{degrees(moved.df)}; {matched})"
    )


def _domain_parts(domains: Iterable[DomainEstimate], level: str, unit: str) -> list[str | TableRows]:
    rows = [
        (
            d.domain or "(empty)",
            f"{d.sampled}",
            _number(d.mean, unit),
            _number(d.total, unit),
            _number(d.se, unit),
            "none" if d.lower is None or d.upper is None else between(d.lower, d.upper, unit),
        )
        for d in domains
    ]
    return ["", table(("part", "measured", "mean", "total", "se", f"{level} interval"), rows)] if rows else []


def _of_parts(domains: Iterable[DomainEstimate]) -> Iterator[str]:
    """Say what parts do not support, once for all parts of which it is said."""
    names: dict[str, list[str]] = {}
    for domain in domains:
        for text in domain.warnings:
            names.setdefault(text, []).append(domain.domain or "(empty)")
    for text, parts in names.items():
        yield f"{'part' if len(parts) == 1 else 'parts'} {', '.join(parts)}: {text}"


def degrees(df: float) -> str:
    """Degrees of freedom, to a tenth where they are no whole number."""
    shown_df = f"{df:.1f}".removesuffix(".0")
    return f"{shown_df} degree{'' if shown_df == '1' else 's'} of freedom"


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else shown(value, unit)


def warned(warnings: Iterable[str]) -> list[str]:
    """Lay warnings out, a line each."""
    return [f"warning: {w}" for w in warnings]
