"""Work in a report's table for machines: three columns for each unit that anybody did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIELDS = {"": "count", "_joules_per_unit": "joules_per_unit", "_unit_sigma_j": "sigma_j"}


def with_work_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report whose rows and total have work as fields of their own, if there is any.

    A unit has ``UNIT_SOURCE`` (how much), ``UNIT_SOURCE_joules_per_unit`` and ``UNIT_SOURCE_unit_sigma_j``.

    Parameters
    ----------
    document : mapping
        Of `amounts.priced`.
    """
    units = [(one["unit"], one["source"]) for one in document["total"].get("work") or ()]
    rows = [_laid_out(row, units) for row in document["rows"]]
    return {**document, "rows": rows, "total": _laid_out(document["total"], units)}


def _laid_out(row: Mapping[str, Any], units: list[tuple[str, str]]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in {"work", "waiting_j", "waiting_share"}}
    if not units and row.get("waiting_j") is None:
        return kept
    did = {(one["unit"], one["source"]): one for one in row.get("work") or ()}
    for key in units:
        one = did.get(key, {})
        kept |= {f"{'_'.join(key)}{behind}": one.get(name) for behind, name in _FIELDS.items()}
    return kept | {"waiting_j": row.get("waiting_j"), "waiting_share": row.get("waiting_share")}
