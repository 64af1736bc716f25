"""What the energies of a report cost, emit and draw at the wall: a report's document with amounts put onto it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.history.costs import HNJ_PER_KWH, Amount, Energies, amounts, rounded
from wattshed.agent.inputs.tariffs.steps import Tariff
from wattshed.agent.wire.parts import hnj_of, joules, split_hnj
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.inputs.opencost import Allocation

STEPS_S = (86_400, 3600, 1800, 900)
"""Lengths of the steps by which a report can be asked for, s."""
IDLE, UNATTRIBUTED, OTHER = "_idle", "_unattributed", "_other"
SPREAD = (IDLE, UNATTRIBUTED)
"""What `priced` shares among the other rows if it is told to."""
NO_JOBS = (IDLE, UNATTRIBUTED, OTHER)
"""Rows that are nobody's, or of jobs that are not told apart; the last ones."""
PLACES = {"wall_kwh": 9, "priced_kwh": 9, "cost": 6, "co2e_g": 3, "marginal_co2_g": 3}
"""Digits behind the point in documents."""
SIGMA_KEYS = {"wall_kwh": "wall_sigma_kwh", "cost": "cost_sigma", "co2e_g": "co2e_sigma_g"}
SIGMA_KEYS["marginal_co2_g"] = "marginal_co2_sigma_g"
LACK_KEYS = {
    "wall_kwh": "no_pue_j",
    "priced_kwh": "unpriced_j",
    "cost": "unpriced_j",
    "co2e_g": "no_carbon_j",
    "marginal_co2_g": "no_carbon_j",
}


@dataclass(frozen=True, slots=True)
class Tariffs:
    """What energies are multiplied by; None for what was not asked for.

    Attributes
    ----------
    price, carbon, pue : Tariff or None
    currency : str
        Of the prices and of what a GPU hour costs; empty if nobody said it.
    """

    price: Tariff | None = None
    carbon: Tariff | None = None
    pue: Tariff | None = None
    currency: str = ""

    def by_amount(self) -> dict[str, Tariff]:
        """Return what each amount is the product of, by its key in documents; prices are of energy at the wall."""
        found = {} if self.pue is None else {"wall_kwh": self.pue}
        if self.price is not None:
            found["priced_kwh"] = replace(self.price, values=(Decimal(1),) * len(self.price.values))
            found["cost"] = self.price
        if self.carbon is not None:
            found["marginal_co2_g" if self.carbon.marginal else "co2e_g"] = self.carbon
        if self.pue is None:
            return found
        return {key: one if one is self.pue else one.times(self.pue) for key, one in found.items()}

    def step_s(self) -> int | None:
        """Return the longest step, s, at whose edges all values change; None where none changes.

        Where values change more often than each quarter of an hour, energy is taken as even within one.
        """
        given = [tariff for tariff in (self.price, self.carbon, self.pue) if tariff is not None]
        edges = [e for t in given for e in (t.from_us, t.to_us) if len(t.values) > 1 or _bounded(t)]
        if not edges:
            return None
        every = np.concatenate(edges)
        return next((s for s in STEPS_S if not (every % (s * 1_000_000)).any()), STEPS_S[-1])


@dataclass(slots=True)
class _Row:
    """A row while its amounts are being found: energies in hnj, sigma in J, amounts by their key."""

    hnj: int
    sigma_j: float
    found: dict[str, Amount]
    sigmas: dict[str, float]
    shared_hnj: int = 0
    document: dict[str, Any] = field(default_factory=dict)


def priced(document: Mapping[str, Any], tariffs: Tariffs, *, spread: bool = False) -> dict[str, Any]:
    """Put amounts onto a report's document; rows add up to the total, to the last printed digit.

    Parameters
    ----------
    document : mapping
        ``wattshed.report/1``, asked for with `Tariffs.step_s`.
    tariffs : Tariffs
    spread : bool
        Whether what nobody used is shared among the other rows in proportion to their energy.

    Returns
    -------
    dict
        The document without its steps, but with ``cost``, ``co2e_g``, ``wall_kwh`` and the like in rows and total: see
        docs/report.md.
    """
    rows = _rows(document, tariffs.by_amount())
    # A GPU that jobs held all the time was idle for no joule: a row of it says nothing.
    rows = [row for row in rows if row.document["name"] not in NO_JOBS or hnj_of(row.document["energy_j"])]
    keys = tuple(tariffs.by_amount())
    total = dict(document["total"])
    if spread:
        rows = _spread(rows, keys)
        total["spread_j"] = joules(sum(row.shared_hnj for row in rows))
        for name in {"static_j", "dynamic_j"} & total.keys():
            total[name] = joules(sum(hnj_of(row.document[name]) for row in rows))
    for key in keys:
        _print(rows, total, key)
    return {
        **{name: value for name, value in document.items() if name != "steps"},
        "rows": [row.document for row in rows],
        "total": total,
        "currency": tariffs.currency,
        "idle": "spread" if spread else "rows",
        "tariffs": {
            name: _told(tariff)
            for name, tariff in (("price", tariffs.price), ("carbon", tariffs.carbon), ("pue", tariffs.pue))
            if tariff is not None
        },
    }


def with_gpu_hours(document: dict[str, Any], rated: Sequence[tuple[Decimal, Mapping[str, Any]]]) -> dict[str, Any]:
    """Add what the GPU hours of each row cost at a rate by model: beside its energy, never added to it.

    Parameters
    ----------
    document : dict
        Of `priced`.
    rated : sequence of (Decimal, document)
        A rate per hour, and the same report of the models that have this rate alone.
    """
    costs: dict[str, Decimal] = {}
    hours: dict[str, Decimal] = {}
    for rate, part in rated:
        for row in part["rows"]:
            held = gpu_hours(row)
            costs[row["name"]] = costs.get(row["name"], Decimal(0)) + rate * held
            hours[row["name"]] = hours.get(row["name"], Decimal(0)) + held
    rows = [dict(row) for row in document["rows"]]
    printed = rounded([costs.get(row["name"], Decimal(0)) for row in rows], PLACES["cost"])
    for row, cost in zip(rows, printed, strict=True):
        without = gpu_hours(row) - hours.get(row["name"], Decimal(0))
        row["gpu_hours_cost"] = plain(cost)
        row["gpu_hours_unrated"] = max(round(float(without), 6), 0.0)
    total = {
        **document["total"],
        "gpu_hours_cost": plain(sum(printed, Decimal(0))),
        "gpu_hours_unrated": round(sum(row["gpu_hours_unrated"] for row in rows), 6),
    }
    return {**document, "rows": rows, "total": total}


def gpu_hours(row: Mapping[str, Any]) -> Decimal:
    """Return for how many GPU hours jobs had GPUs: those in which they ran there, and those in which they held them."""
    return (Decimal(repr(row["active_s"])) + Decimal(repr(row["held_s"]))) / 3600


def with_opencost(document: dict[str, Any], allocations: Sequence[Allocation]) -> dict[str, Any]:
    """Add what OpenCost says that the GPUs of each namespace cost, beside what their energy does.

    Allocations that reach over an edge of the report's time count for what lies in it, spread evenly.

    Parameters
    ----------
    document : dict
        Of `priced`, by namespace.
    allocations : sequence of Allocation
    """
    from wattshed.agent.inputs.opencost import IDLE as OPENCOST_IDLE  # noqa: PLC0415 - readers of tables come with it

    begin_us = round((document["since_s"] or 0) * 1e6)
    end_us = round(min(document["until_s"] or document["now_s"], document["now_s"]) * 1e6)
    costs: dict[str, Decimal] = {}
    for one in allocations:
        inside = max(min(one.to_us, end_us) - max(one.from_us, begin_us), 0)
        if inside:
            name = IDLE if one.namespace == OPENCOST_IDLE else one.namespace
            costs[name] = costs.get(name, Decimal(0)) + one.gpu_cost * inside / (one.to_us - one.from_us)
    rows = [dict(row) for row in document["rows"]]
    values = [costs.pop(row["name"], None) for row in rows]
    printed = rounded([value or Decimal(0) for value in values], PLACES["cost"])
    for row, value, cost in zip(rows, values, printed, strict=True):
        row["opencost_gpu_cost"] = None if value is None else plain(cost)
    total = {
        **document["total"],
        "opencost_gpu_cost": plain(sum(printed, Decimal(0))),
        "opencost_elsewhere": plain(rounded([sum(costs.values(), Decimal(0))], PLACES["cost"])[0]),
    }
    return {**document, "rows": rows, "total": total}


def energies_of(document: Mapping[str, Any], groups: Sequence[int] | None = None) -> Energies:
    """Read the energies of a report: by step where it has steps, else each row as if used at one moment.

    Parameters
    ----------
    document : mapping
    groups : sequence of int or None
        The group of each step; None: its row's number.
    """
    if document.get("step_s"):
        length_us = document["step_s"] * 1_000_000
        steps = [(row, round(from_s * 1e6), hnj_of(energy)) for row, from_s, energy, _ in document["steps"]]
    else:
        length_us = 1
        steps = [(place, 0, hnj_of(row["energy_j"])) for place, row in enumerate(document["rows"])]
    own = [row for row, _, _ in steps] if groups is None else list(groups)
    begins = np.array([begin for _, begin, _ in steps], np.int64)
    split = [split_hnj(hnj) for _, _, hnj in steps]
    count = len(document["rows"]) if groups is None else max(own, default=-1) + 1
    return Energies(
        np.array(own, np.int64), begins, begins + length_us,
        np.array([whole for whole, _ in split], np.int64), np.array([rest for _, rest in split], np.int64), count,
    )  # fmt: skip


def by_size(tariff: Tariff) -> Tariff:
    """Return the sizes of a tariff's values: what sigma is multiplied by, also while prices are below 0."""
    return replace(tariff, values=tuple(abs(value) for value in tariff.values))


def plain(value: Decimal) -> str:
    """Write a decimal number without exponent and without needless zeros."""
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"", "-0"} else text


def _bounded(tariff: Tariff) -> bool:
    return bool(len(tariff.values)) and tariff.from_us[0] != Tariff.constant("", Decimal(1)).from_us[0]


def _told(tariff: Tariff) -> dict[str, Any]:
    """Say what a tariff is, and the time that it covers (null: all)."""
    ever = not _bounded(tariff)
    return {
        "source": tariff.source,
        "unit": tariff.unit,
        "value": plain(tariff.values[0]) if ever else None,
        "from_s": None if ever else int(tariff.from_us[0]) // 1_000_000,
        "to_s": None if ever else int(tariff.to_us[-1]) // 1_000_000,
        "marginal": tariff.marginal,
    }


def _rows(document: Mapping[str, Any], by_amount: Mapping[str, Tariff]) -> list[_Row]:
    """Find the amounts of each row; those of jobs first."""
    energies = energies_of(document)
    rows = [
        _Row(hnj_of(row["energy_j"]), float(row["sigma_j"]), {}, {}, document=dict(row)) for row in document["rows"]
    ]
    for key, tariff in by_amount.items():
        sizes = amounts(energies, by_size(tariff)) if any(value < 0 for value in tariff.values) else None
        for place, (row, one) in enumerate(zip(rows, amounts(energies, tariff), strict=True)):
            row.found[key] = one
            size = abs(one.value if sizes is None else sizes[place].value)
            row.sigmas[key] = float(size) * row.sigma_j * HNJ_PER_JOULE / abs(row.hnj) if row.hnj else 0.0
    return sorted(rows, key=lambda row: row.document["name"] in NO_JOBS)


def _spread(rows: list[_Row], keys: Sequence[str]) -> list[_Row]:
    """Share what nobody used among the other rows, to the last unit."""
    kept = [row for row in rows if row.document["name"] not in SPREAD]
    shared = [row for row in rows if row.document["name"] in SPREAD]
    weights = [max(row.hnj, 0) for row in kept]
    if not shared or not sum(weights):
        for row in rows:
            row.document["spread_j"] = "0"
        return rows
    whole = sum(weights)
    for key in keys:
        value = sum((row.found[key].value for row in shared), Decimal(0))
        values = [value * weight / whole for weight in weights]
        values[-1] = value - sum(values[:-1], Decimal(0))
        estimated = shares(sum(row.found[key].estimated_hnj for row in shared), weights)
        unpriced = shares(sum(row.found[key].unpriced_hnj for row in shared), weights)
        for row, more in zip(kept, map(Amount, values, estimated, unpriced), strict=True):
            row.found[key] = _plus(row.found[key], more)
            sigma = sum(other.sigmas[key] for other in shared) * max(row.hnj, 0) / whole
            row.sigmas[key] = math.hypot(row.sigmas[key], sigma)
    sigma_j = sum(row.sigma_j for row in shared)
    for row, hnj in zip(kept, shares(sum(row.hnj for row in shared), weights), strict=True):
        row.sigma_j = math.hypot(row.sigma_j, sigma_j * max(row.hnj, 0) / whole)
        row.shared_hnj, row.hnj = hnj, row.hnj + hnj
        row.document |= {"energy_j": joules(row.hnj), "sigma_j": row.sigma_j, "spread_j": joules(hnj)}
    return kept


def _plus(one: Amount, more: Amount) -> Amount:
    return Amount(one.value + more.value, one.estimated_hnj + more.estimated_hnj, one.unpriced_hnj + more.unpriced_hnj)


def shares(whole: int, weights: Sequence[int]) -> list[int]:
    """Divide a whole number in proportion to weights; the shares add up to it."""
    edges, so_far, all_of = [0], 0, sum(weights)
    for weight in weights:
        so_far += weight
        edges.append(whole * so_far // all_of)
    return [after - before for before, after in pairwise(edges)]


def _print(rows: list[_Row], total: dict[str, Any], key: str) -> None:
    """Round one amount of all rows, so that they add up to the total; null where nothing of a row has a value."""
    values = rounded([row.found[key].value for row in rows], PLACES[key])
    unknown = [bool(row.hnj) and row.found[key].unpriced_hnj == row.hnj for row in rows]
    lacks = sum(row.found[key].unpriced_hnj for row in rows)
    for row, value, nothing in zip(rows, values, unknown, strict=True):
        row.document[key] = None if nothing else plain(value)
        if key in SIGMA_KEYS:
            row.document[SIGMA_KEYS[key]] = None if nothing else row.sigmas[key]
        row.document[LACK_KEYS[key]] = joules(row.found[key].unpriced_hnj)
    none = bool(rows) and all(nothing or not row.hnj for row, nothing in zip(rows, unknown, strict=True)) and lacks > 0
    total[key] = None if none else plain(sum(values, Decimal(0)))
    if key in SIGMA_KEYS:
        total[SIGMA_KEYS[key]] = None if none else _total_sigma(rows, total, key)
    total[LACK_KEYS[key]] = joules(lacks)
    if key not in {"wall_kwh", "priced_kwh"}:
        estimated = [row.found[key].estimated_hnj for row in rows]
        if any(estimated):
            name = f"{key.partition('_')[0]}_estimated_j"
            for row, hnj in zip(rows, estimated, strict=True):
                row.document[name] = joules(hnj)
            total[name] = joules(sum(estimated))


def _total_sigma(rows: Sequence[_Row], total: Mapping[str, Any], key: str) -> float:
    """Sigma of the total amount: the total's sigma at the mean size of the values that its rows have."""
    linear_j = sum(row.sigma_j for row in rows)
    return sum(row.sigmas[key] for row in rows) * (float(total["sigma_j"]) / linear_j) if linear_j else 0.0


def kwh(energy: str) -> Decimal:
    """Turn joules of a document into kWh, exactly."""
    return Decimal(hnj_of(energy)) / HNJ_PER_KWH
