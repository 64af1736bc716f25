"""What must be known to read a report, in sentences: what was asked for, where values come from, what is missing."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from wattshed.agent.printing.figures import BOUNDARY, SIMULATED, moment, printable
from wattshed.agent.reports.amounts import IDLE, NO_JOBS, OTHER, SPREAD, UNATTRIBUTED, kwh

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

EXPLAINED = {
    IDLE: "what GPUs drew at rest while no job held them",
    UNATTRIBUTED: "used by processes whose job is unknown",
    OTHER: "jobs beyond the number that is told apart",
}
INCOMPLETE = "*"
"""Stands behind an amount in which some of the energy is not."""
_MOST_PLACES = 6
_MARGINAL = (
    "Marginal emissions are what one kWh more emits, and must not be added to average emissions, or compared with them."
)
_TIMES = {"day", "month"}
_LENGTHS = {900: "quarter of an hour", 1800: "half hour", 3600: "hour", 86_400: "day"}


def places_for(value: Decimal, least: int = 0) -> int:
    """Return how many digits behind the point suit a column with this total.

    Five digits in all, but for money, of which ``least`` stand behind the point; six behind the point at most.
    """
    return min(max(least, (least or 4) - value.adjusted()), _MOST_PLACES) if value else least


def money(document: Mapping[str, Any]) -> str:
    """Name the currency of a report's amounts."""
    return document["currency"] or "cost"


def notes_of(document: Mapping[str, Any]) -> list[str]:
    """Say in sentences what was asked for, where values come from, and what is missing."""
    tariffs, total = document["tariffs"], document["total"]
    notes = [f"{_time(document)}. {document.get('energy_is_of', BOUNDARY)}"]
    if document.get("simulated"):
        notes.append(SIMULATED)
    if document.get("scope") == "own":
        notes.append("Only your own jobs are in it.")
    if "pue" in tariffs:
        notes.append(f"wall kWh: board energy times PUE ({_value(tariffs['pue'])}); the PUE is taken as exact.")
        notes += _missing(total, "no_pue_j", "PUE", "wall kWh")
    boards = document.get("energy_is_of", BOUNDARY) == BOUNDARY
    of = "energy at the wall" if "pue" in tariffs else "the boards' energy" if boards else "that energy"
    if "price" in tariffs:
        price = {"no_unit": "a kWh, without a currency (give --currency)", **tariffs["price"]}
        notes.append(f"{money(document)}: {_value(price)}, of {of}.")
        notes += _missing(total, "unpriced_j", "price", "cost")
    if "carbon" in tariffs:
        notes += _carbon(tariffs["carbon"], total, of)
    if document["step_s"] and len(tariffs):
        notes.append(f"Energy is taken as used evenly within each {_LENGTHS[document['step_s']]} (UTC).")
    if "gpu_hours_cost" in total:
        notes.append("What GPU hours cost by model stands beside energy, not in it.")
        if total["gpu_hours_unrated"]:
            notes.append(f"{total['gpu_hours_unrated']:,.1f} of the GPU hours are of models without a rate.")
    if "opencost_gpu_cost" in total:
        notes.append(
            "OpenCost GPU: what OpenCost says that GPUs cost, in its currency; it stands beside energy, not in it."
        )
        if total["opencost_elsewhere"] != "0":
            notes.append(f"{total['opencost_elsewhere']} of OpenCost's GPU cost is of namespaces without energy here.")
    return notes + _work(document) + _nobody(document)


def _work(document: Mapping[str, Any]) -> list[str]:
    """Say what joules per unit are of, and that jobs are left out whose work in the report's time is not known."""
    notes = []
    if any(row.get("work") for row in document["rows"]):
        notes.append("J per unit: energy of the jobs that did such work, by all that they did of it.")
    if document["total"].get("waiting_share") is not None:
        notes.append("Waiting: share of the energy of jobs with inference servers that was used without a request.")
    if left_out := document.get("work_left_out", 0):
        jobs = "1 job that is" if left_out == 1 else f"{left_out:,} jobs that are"
        several = ", or in several rows," if document["by"] in _TIMES else ""
        notes.append(f"Work of {jobs} partly outside this time{several} is left out: it is known of whole jobs.")
    return notes


def _nobody(document: Mapping[str, Any]) -> list[str]:
    names = [row["name"] for row in document["rows"] if row["name"] in NO_JOBS]
    notes = [f"{name}: {EXPLAINED[name]}." for name in names]
    if document["idle"] == "spread" and "spread_j" in document["total"]:
        shared = kwh(document["total"]["spread_j"])
        if shared:
            share = f"{shared:,.{places_for(shared)}f} kWh"
            notes.append(f"{share} of {' and '.join(SPREAD)} are shared among the rows in proportion to their energy.")
    if document["by"] in {*_TIMES, "host", "model"}:
        notes.append("Each row holds all that its GPUs drew, with a job and without.")
    return notes


def _carbon(told: Mapping[str, Any], total: Mapping[str, Any], of: str) -> list[str]:
    if told["marginal"]:
        notes = [f"kg CO2 marg.: {_value(told)}, of {of}. {_MARGINAL}"]
        notes += _missing(total, "no_carbon_j", "carbon intensity", "kg CO2 marg.")
    else:
        notes = [f"kg CO2e: {_value(told)}, of {of}."]
        notes += _missing(total, "no_carbon_j", "carbon intensity", "kg CO2e")
    estimated = total.get("co2e_estimated_j") or total.get("marginal_estimated_j")
    if estimated:
        notes.append(f"The source estimated the carbon intensities of {_share(estimated, total)} of the energy.")
    return notes


def _missing(total: Mapping[str, Any], key: str, what: str, where: str) -> list[str]:
    if total[key] == "0":
        return []
    lost = kwh(total[key])
    energy = f"{lost:,.{places_for(lost)}f} kWh ({_share(total[key], total)})"
    return [f"{INCOMPLETE} {energy} were used when the {what} is unknown, and are not in the {where}."]


def _share(part: str, total: Mapping[str, Any]) -> str:
    whole = kwh(total["energy_j"])
    share = float(kwh(part) / whole) if whole else 0.0
    if not 0.005 <= share < 0.995 and share != 1.0:
        return "less than 1 %" if share < 0.5 else "more than 99 %"
    return f"{share * 100:.0f} %"


def _value(told: Mapping[str, Any]) -> str:
    if told["value"] is not None:
        return f"{told['value']} {told['unit'] or told.get('no_unit', '')}".strip()
    span = f"{moment(told['from_s'], UTC)} to {moment(told['to_s'], UTC)} UTC"
    return ", ".join(part for part in (printable(told["source"]), told["unit"], span) if part)


def _time(document: Mapping[str, Any]) -> str:
    since, until = document["since_s"], document["until_s"]
    begin = f"from {moment(since, UTC)}" if since is not None else "all that is kept"
    end = min(until, document["now_s"]) if until is not None else document["now_s"]
    host = printable(document["host"])
    span = f"{begin} to {moment(end, UTC)} UTC"
    return f"{host}, {span}" if host else span[0].upper() + span[1:]
