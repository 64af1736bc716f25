"""What one job cost and emitted, and drew at the wall."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wattshed.agent.printing.figures import SIGMAS, SIMULATED, energy, with_doubt
from wattshed.agent.reports.amounts import LACK_KEYS, PLACES, SIGMA_KEYS, kwh, plain, priced
from wattshed.agent.reports.notes import notes_of
from wattshed.agent.wire.parts import hnj_of, joules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.reports.amounts import Tariffs
    from wattshed.agent.reports.sources import JobSource

_UNITS = {"wall_kwh": "kWh", "co2e_g": "kg CO2e", "marginal_co2_g": "kg CO2"}
_NAMES = {"wall_kwh": "at the wall", "cost": "cost", "co2e_g": "carbon", "marginal_co2_g": "marginal carbon"}


def amounts_of(source: JobSource, job: Mapping[str, Any], tariffs: Tariffs) -> dict[str, Any]:
    """Ask when a job used its energy, and put amounts onto it.

    Parameters
    ----------
    source : JobSource
    job : mapping
        As documents describe it.
    tariffs : Tariffs

    Returns
    -------
    dict
        A report's document as `amounts.priced` makes it, of this run of the job alone.

    Raises
    ------
    UnansweredError
        If there is no answer.
    """
    step_s = tariffs.step_s()
    params = {"by": "job", "job": job["job"], **({"step_s": str(step_s)} if step_s else {})}
    return priced(_of_one_run(source.ask("report", params), job), tariffs)


def _of_one_run(document: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """Leave other runs of the job out of a report."""
    places = [
        place
        for place, row in enumerate(document["rows"])
        if (row["name"], row.get("run", job["run"])) == (job["job"], job["run"])
    ]
    rows = [document["rows"][place] for place in places]
    total = {
        "jobs": 1,
        **{name: joules(sum(hnj_of(row[name]) for row in rows)) for name in ("energy_j", "static_j", "dynamic_j")},
        "sigma_j": job["sigma_j"] if rows else 0.0,
        **{name: math.fsum(row[name] for row in rows) for name in ("active_s", "held_s")},
    }
    steps = [[places.index(place), *step] for place, *step in document["steps"] if place in places]
    return {**document, "rows": rows, "total": total, "steps": steps}


def facts_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Write amounts for people, by name, each ± two sigma."""
    total = document["total"]
    facts = {}
    for key, name in _NAMES.items():
        if key not in total:
            continue
        unit = document["currency"] or "in the currency of --price" if key == "cost" else _UNITS[key]
        facts[name] = _amount(key, total, unit) + _without(total, key)
    return facts


def notes_on(document: Mapping[str, Any]) -> list[str]:
    """Say in sentences where the values come from, and what is missing."""
    # The first says what a report is of; that energies are simulated is said of the job already.
    return [note for note in notes_of(document)[1:] if note != SIMULATED]


def document_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return amounts for programs: exact, with their sigmas, the currency, and where values come from."""
    total = document["total"]
    keys = [name for key in _NAMES if key in total for name in (key, SIGMA_KEYS[key], LACK_KEYS[key])]
    return {**{key: total.get(key) for key in keys}, "currency": document["currency"], "tariffs": document["tariffs"]}


def _amount(key: str, total: Mapping[str, Any], unit: str) -> str:
    if total[key] is None:
        return "unknown"
    value, sigma = Decimal(total[key]), Decimal(repr(total.get(SIGMA_KEYS[key]) or 0.0))
    if key == "wall_kwh":
        return energy(plain(value * 3_600_000), float(sigma) * 3_600_000)
    if key != "cost":
        if value < 1000:
            return with_doubt(value, sigma * SIGMAS, unit.removeprefix("k"))
        value, sigma = value / 1000, sigma / 1000
    return with_doubt(value, sigma * SIGMAS, unit, PLACES["cost"]).rstrip()


def _without(total: Mapping[str, Any], key: str) -> str:
    lacks = kwh(total[LACK_KEYS[key]])
    return "" if not lacks else f", without {lacks:,.3f} kWh whose value is unknown"
