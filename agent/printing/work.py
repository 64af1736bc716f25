"""Work of jobs in tables: how much, and the energy of one unit with its interval."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wattshed.agent.printing.figures import SIGMAS, UNKNOWN, figures, printable
from wattshed.agent.printing.tables import Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WORK_COLUMNS = (
    Column("job"),
    Column("unit"),
    Column("count", right=True),
    Column("J per unit", right=True),
    Column("\N{PLUS-MINUS SIGN} J", right=True, leaves=1),
    Column("source", leaves=2),
)


def work_row(one: Mapping[str, Any]) -> dict[str, str]:
    """Write one unit of a job's work, as a document has it (`exporters.work_facts.WorkFacts.plain`)."""
    joules, doubt = joules_per_unit(one)
    return {
        "unit": printable(one["unit"]),
        "count": f"{one['count']:,}",
        "J per unit": joules,
        "\N{PLUS-MINUS SIGN} J": doubt,
        "source": printable(one["source"]),
    }


def main_unit(work: Iterable[Mapping[str, Any]] | None) -> Mapping[str, Any] | None:
    """Choose what a job did that one figure is to be of: output tokens, or what it tells first; None: nothing."""
    done = [one for one in work or () if one["count"]]
    return min(done, key=lambda one: one["unit"] != "output_tokens", default=None)


def each(one: Mapping[str, Any] | None) -> str:
    """Write the energy of a unit in J, its doubt and the unit; empty without one."""
    return "" if one is None else f"{' ± '.join(joules_per_unit(one))} {printable(one['unit'])}"


def waiting_share(share: float | None) -> str:
    """Write which part of an energy was used without a request; empty where that is not known."""
    return "" if share is None else f"{share:.0%}"


def joules_per_unit(one: Mapping[str, Any]) -> tuple[str, str]:
    """Write the energy of a unit, J, and two sigma of it; unknown where nothing was done."""
    if one["joules_per_unit"] is None:
        return UNKNOWN, UNKNOWN
    return figures(Decimal(repr(one["joules_per_unit"])), Decimal(repr(one["sigma_j"] or 0.0)) * SIGMAS, 9)
