"""FOCUS, the FinOps cost and usage specification: one row for each job and day, for the tools of those who pay.

Versions 1.2 and 1.4, the columns that apply (https://focus.finops.org/focus-specification/).
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

from wattshed.agent.reports.amounts import IDLE, OTHER, UNATTRIBUTED, kwh, plain, priced
from wattshed.agent.reports.listing import guarded
from wattshed.agent.wire.parts import hnj_of, joules

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wattshed.agent.reports.amounts import Tariffs

DAY_S = 86_400
COLUMNS_1_2 = (
    "AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd",
    "ChargePeriodStart", "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName",
    "CommitmentDiscountStatus", "CommitmentDiscountType", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId",
    "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "SkuId", "SkuPriceId", "SubAccountId",
    "SubAccountName", "Tags", "x_EnergyJoules", "x_SigmaJoules", "x_Boundary", "x_GramsCO2e", "x_SpreadJoules",
    "x_UnpricedJoules",
)  # fmt: skip
_SINCE_1_3 = {"ProviderName": "ServiceProviderName", "PublisherName": "HostProviderName"}
_OWN = tuple(name for name in COLUMNS_1_2 if name.startswith("x_"))
COLUMNS_1_4 = (*sorted(_SINCE_1_3.get(name, name) for name in COLUMNS_1_2 if name not in _OWN), *_OWN)
COLUMNS = {"1.2": COLUMNS_1_2, "1.4": COLUMNS_1_4}
"""Columns of each version that is written, in their order."""
_KINDS = {IDLE: "GPU idle", UNATTRIBUTED: "GPU unattributed", OTHER: "GPU jobs"}
_OF_A_HOST = ("unit:", "user:", "container:")
_TAGS = ("user", "partition", "qos", "cluster")


@dataclass(frozen=True, slots=True)
class FocusNames:
    """Who provides the GPUs and bills for them.

    Attributes
    ----------
    provider, publisher, issuer : str
        Empty: publisher and issuer are the provider.
    account, region : str
        The billing account, and where the GPUs are; empty: the provider, and unknown.
    """

    provider: str = "site"
    publisher: str = ""
    issuer: str = ""
    account: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class FocusRows:
    """Rows by column, and the energy that is in none of them since no time of its day has a price, hnj."""

    rows: tuple[Mapping[str, str], ...]
    unpriced_hnj: int


def focus_rows(
    document: Mapping[str, Any], tariffs: Tariffs, names: FocusNames, *, version: str = "1.2", spread: bool = False
) -> FocusRows:
    """Lay out a report by job as rows of FOCUS.

    Parameters
    ----------
    document : mapping
        ``wattshed.report/1`` by job, with steps of a day or less.
    tariffs : Tariffs
        With a price, and its currency.
    names : FocusNames
    version : str
        A key of `COLUMNS`.
    spread : bool
        Whether what nobody used on a day is shared among the jobs of that day.
    """
    days = _days(document)
    if not spread and days:
        days = [{**days[0], "rows": [row for day in days for row in day["rows"]], **_joined(days)}]
    rows: list[dict[str, str]] = []
    unpriced_hnj = 0
    for day in days:
        for row in priced(day, tariffs, spread=spread)["rows"]:
            if row["cost"] is None or not Decimal(row["priced_kwh"]):
                unpriced_hnj += hnj_of(row["energy_j"])
                continue
            rows.append(_renamed(_row(row, tariffs, names), version))
    rows.sort(key=lambda row: (row["ChargePeriodStart"], row["ResourceId"].startswith("_"), row["ResourceId"]))
    return FocusRows(tuple(rows), unpriced_hnj)


def write_focus(rows: Iterable[Mapping[str, str]], version: str, out: TextIO) -> None:
    """Write rows as CSV; what is null is empty."""
    writer = csv.DictWriter(out, COLUMNS[version], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _days(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Take a report apart: one for each day, whose rows are the jobs of that day, on whatever hosts they ran."""
    payers: dict[tuple[str, ...], dict[str, Any]] = {}
    owners = [_payer(row) for row in document["rows"]]
    for row, payer in zip(document["rows"], owners, strict=True):
        known = payers.setdefault(payer, {**row, "hosts": []})
        known["hosts"] = sorted({*known["hosts"], *row.get("hosts", ())})
    places: dict[int, dict[tuple[str, ...], list[tuple[int, int, float]]]] = {}
    for place, from_s, energy, sigma_j in document["steps"]:
        if hnj := hnj_of(energy):
            one = int(from_s), hnj, float(sigma_j)
            places.setdefault(int(from_s) // DAY_S, {}).setdefault(owners[place], []).append(one)
    return [_day(day, jobs, payers, document["step_s"]) for day, jobs in sorted(places.items())]


def _payer(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which rows of a report are one row of a day: a job's on all its hosts, but a service's on its host alone."""
    key = str(row["job"])
    host = " ".join(row.get("hosts", ())) if key.startswith(_OF_A_HOST) else ""
    return key, host, *(str(row.get(name, "")) for name in ("cluster", "account", "namespace", "user"))


def _day(
    day: int,
    jobs: Mapping[tuple[str, ...], Sequence[tuple[int, int, float]]],
    payers: Mapping[tuple[str, ...], Mapping[str, Any]],
    step_s: int,
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    steps: list[list[Any]] = []
    for payer, found in sorted(jobs.items()):
        steps += [[len(rows), from_s, joules(hnj), sigma_j] for from_s, hnj, sigma_j in found]
        energy, sigma_j = joules(sum(hnj for _, hnj, _ in found)), sum(sigma_j for _, _, sigma_j in found)
        rows.append({**payers[payer], "energy_j": energy, "sigma_j": sigma_j, "day": day})
    return {
        "rows": rows,
        "total": {"sigma_j": math.hypot(*(r["sigma_j"] for r in rows))},
        "step_s": step_s,
        "steps": steps,
    }


def _joined(days: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the steps of all days, by the number of a row among the rows of all of them."""
    steps: list[list[Any]] = []
    first = 0
    for day in days:
        steps += [[first + place, *more] for place, *more in day["steps"]]
        first += len(day["rows"])
    return {"steps": steps}


def _row(row: Mapping[str, Any], tariffs: Tariffs, names: FocusNames) -> dict[str, str]:
    key = guarded(row["job"])
    begin = datetime.fromtimestamp(row["day"] * DAY_S, UTC)
    month = begin.replace(day=1)
    after = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
    cost, unit_price = row["cost"], plain(round(Decimal(row["cost"]) / Decimal(row["priced_kwh"]), 10))
    account = guarded(row.get("account") or row.get("namespace") or "")
    costs = dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost)
    return {
        **costs,
        "BillingAccountId": names.account or names.provider,
        "BillingAccountName": names.account or names.provider,
        "BillingCurrency": tariffs.currency,
        "BillingPeriodStart": _utc(month),
        "BillingPeriodEnd": _utc(after),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"GPU energy of {key}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _utc(begin),
        "ChargePeriodEnd": _utc(datetime.fromtimestamp((row["day"] + 1) * DAY_S, UTC)),
        "ConsumedQuantity": plain(round(kwh(row["energy_j"]), 12)),
        "ConsumedUnit": "kWh",
        "ContractedUnitPrice": unit_price,
        "ListUnitPrice": unit_price,
        "PricingCategory": "Standard",
        "PricingQuantity": row["priced_kwh"],
        "PricingUnit": "kWh",
        "ProviderName": names.provider,
        "PublisherName": names.publisher or names.provider,
        "InvoiceIssuerName": names.issuer or names.provider,
        "RegionId": names.region,
        "RegionName": names.region,
        "ResourceId": key,
        "ResourceName": guarded(row.get("job_name", "")),
        "ResourceType": _KINDS.get(key, "GPU job"),
        "ServiceCategory": "Compute",
        "ServiceName": "GPU energy",
        "SkuId": "gpu-energy",
        "SkuPriceId": f"gpu-energy-{begin.year}",
        "SubAccountId": account,
        "SubAccountName": account,
        "Tags": _tags(row),
        "x_EnergyJoules": row["energy_j"],
        "x_SigmaJoules": plain(round(Decimal(repr(float(row["sigma_j"]))), 6)),
        "x_Boundary": "gpu-board",
        "x_GramsCO2e": row.get("co2e_g") or "",
        "x_SpreadJoules": row.get("spread_j", "0"),
        "x_UnpricedJoules": row["unpriced_j"],
    }


def _tags(row: Mapping[str, Any]) -> str:
    tags = {name: row[name] for name in _TAGS if row.get(name)}
    if row.get("hosts"):
        tags["hosts"] = " ".join(row["hosts"])
    return json.dumps(tags, ensure_ascii=False, separators=(",", ":")) if tags else ""


def _renamed(row: dict[str, str], version: str) -> dict[str, str]:
    return row if version == "1.2" else {_SINCE_1_3.get(name, name): value for name, value in row.items()}


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
