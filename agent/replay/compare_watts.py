"""Each job's bill by the common line and by learned watts, side by side: ``wattshed replay --compare-watts``."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wattshed.agent.printing.figures import SIGMAS, UNKNOWN, figures, printable
from wattshed.agent.printing.tables import EXTRA, Column, print_rows
from wattshed.agent.replay.report import watts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.printing.tables import Printer

COLUMNS = (
    Column("job"),
    Column("common J", right=True),
    Column("± J", right=True, leaves=3),
    Column("learned J", right=True),
    Column("± J ", right=True, leaves=3),
    Column("change", right=True, leaves=1),
    Column("W@100", right=True, leaves=4),
    Column("± W", right=True, leaves=5),
    Column("alone s", right=True, leaves=EXTRA + 1),
    Column("shared s", right=True, leaves=EXTRA + 1),
)


def comparison(common: Mapping[str, Any], learned: Mapping[str, Any], accounts: Accounts) -> list[dict[str, Any]]:
    """Put the jobs of two documents of ``wattshed.replay/1`` side by side.

    Parameters
    ----------
    common, learned : mapping
        The same traces by either watts.
    accounts : Accounts
        Of the second.

    Returns
    -------
    list of dict
        job, common_j, common_sigma_j, learned_j, learned_sigma_j, watts, watts_sigma (W above idle at full activity,
        mean of its GPUs), alone_s, shared_s; None where nothing was learned.
    """
    watts, before = watts_of(accounts), {job["job"]: job for job in common["jobs"]}
    nothing = {"watts": None, "watts_sigma": None, "alone_s": None, "shared_s": None}
    return [
        {
            "job": job["job"],
            "common_j": before[job["job"]]["energy_j"],
            "common_sigma_j": before[job["job"]]["sigma_j"],
            "learned_j": job["energy_j"],
            "learned_sigma_j": job["sigma_j"],
            **watts.get(job["job"], nothing),
        }
        for job in learned["jobs"]
        if job["job"] in before
    ]


def print_comparison(printer: Printer, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Print it as a table; returns the columns that are left out."""
    printer.line()
    printer.line(("By watts", "bold"))
    return print_rows(printer, COLUMNS, [_row(one) for one in rows], gap=2)


def _row(one: Mapping[str, Any]) -> dict[str, str]:
    common, learned = one["common_j"].uj / 1e6, one["learned_j"].uj / 1e6
    return {
        "job": printable(one["job"]),
        "common J": f"{common:,.1f}",
        "± J": _doubt(one["common_sigma_j"]),
        "learned J": f"{learned:,.1f}",
        "± J ": _doubt(one["learned_sigma_j"]),
        "change": f"{learned / common - 1:+.1%}" if common > 0 else UNKNOWN,
        "W@100": _or_unknown(one["watts"]),
        "± W": _or_unknown(one["watts_sigma"]),
        "alone s": _or_unknown(one["alone_s"]),
        "shared s": _or_unknown(one["shared_s"]),
    }


def _doubt(sigma_j: float) -> str:
    return figures(Decimal(0), Decimal(repr(sigma_j)) * SIGMAS)[1]


def _or_unknown(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f}"
