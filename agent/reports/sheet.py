"""A report laid out for people: columns of text whose rows add up, and what must be known to read them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING, Any, TextIO

from wattshed.agent.history.costs import rounded
from wattshed.agent.printing.figures import JOULES_PER_KWH, SIGMAS, UNKNOWN, printable
from wattshed.agent.printing.tables import EXTRA, Column, not_shown, print_notes, print_rows, printer_for
from wattshed.agent.printing.work import WORK_COLUMNS, waiting_share, work_row
from wattshed.agent.reports.amounts import gpu_hours
from wattshed.agent.reports.notes import INCOMPLETE, money, notes_of, places_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TOTAL = "total"
NAMELESS = "(unknown)"
"""How a row is called whose jobs do not say what the report goes by."""

_GPU_HOURS = "GPU h: hours in which jobs had GPUs; idle: the share of it in which nothing of theirs ran there."


@dataclass(frozen=True, slots=True)
class Sheet:
    """A report as text.

    Attributes
    ----------
    columns : tuple of Column
        The first is what the report goes by.
    rows : tuple of mapping of str to str
        Cells by the columns' names.
    total : mapping of str to str
    notes : tuple of str
        Sentences.
    work_columns : tuple of Column
    work : tuple of mapping of str to str
        A row for each unit of work of each row, and of the total if there are several.
    """

    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, str], ...]
    total: Mapping[str, str]
    notes: tuple[str, ...]
    work_columns: tuple[Column, ...] = ()
    work: tuple[Mapping[str, str], ...] = ()


def sheet_of(document: Mapping[str, Any]) -> Sheet:
    """Lay out a document of `amounts.priced`."""
    by = document["by"]
    lines = [*document["rows"], document["total"]]
    columns = [Column(by, least=12), Column("jobs", right=True, leaves=7)]
    names = [*(row_name(row["name"]) for row in document["rows"]), TOTAL]
    cells: dict[str, list[str]] = {
        by: names,
        "jobs": ["" if row["jobs"] is None else f"{row['jobs']:,}" for row in lines],
    }
    for quantity in _quantities(document):
        columns.append(Column(quantity.heading, right=True, leaves=quantity.leaves))
        cells[quantity.heading], doubts = quantity.cells(lines)
        if quantity.sigma:
            columns.append(Column(f"± {quantity.short}", right=True, leaves=quantity.doubt_leaves))
            cells[f"± {quantity.short}"] = doubts
    columns += [Column("GPU h", right=True, leaves=EXTRA), Column("idle", right=True, leaves=EXTRA)]
    cells["GPU h"] = [f"{gpu_hours(row):,.1f}" for row in lines]
    cells["idle"] = [_idle(row) for row in lines]
    texts = [{name: column[place] for name, column in cells.items()} for place in range(len(lines))]
    notes = [*notes_of(document), *([_GPU_HOURS] if texts[-1]["idle"] else [])]
    work = tuple(_work(document))
    work_columns = (Column(by, least=12), *WORK_COLUMNS[1:], Column("waiting", right=True, leaves=3))
    told = tuple(column for column in work_columns if any(one[column.name] for one in work))
    return Sheet(tuple(columns), tuple(texts[:-1]), texts[-1], tuple(notes), told, work)


def print_sheet(sheet: Sheet, out: TextIO) -> None:
    """Print a report as a table and what must be known to read it."""
    printer = printer_for(out)
    if not sheet.rows:
        printer.line("No usage matches.")
        return
    gone = print_rows(printer, sheet.columns, [*sheet.rows, sheet.total])
    if sheet.work:
        printer.line()
        printer.line(("Work", "bold"))
        gone += print_rows(printer, sheet.work_columns, sheet.work)
    print_notes(printer, [*sheet.notes, *not_shown(printer, gone, "--csv and --json have all")])


def _work(document: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield a row for each unit of work of each row, and of the total where several did it; its waiting stands once."""
    working = [row for row in document["rows"] if row.get("work")]
    did = Counter((one["unit"], one["source"]) for row in working for one in row["work"])
    shared = [one for one in document["total"].get("work") or () if did[one["unit"], one["source"]] > 1]
    for row in (*working, document["total"] | {"name": TOTAL, "work": shared}):
        waiting = waiting_share(row["waiting_share"]) if row["work"] else ""
        for one in row["work"]:
            yield work_row(one) | {document["by"]: row_name(row["name"]), "waiting": waiting}
            waiting = ""


def row_name(name: str) -> str:
    """Return how a row is called."""
    return printable(name) or NAMELESS


@dataclass(frozen=True, slots=True)
class _Quantity:
    """A column of numbers: its headings, its key in documents and that of its sigma, and how its values are written."""

    heading: str
    short: str
    key: str
    sigma: str
    leaves: int
    doubt_leaves: int
    divisor: int = 1
    least_places: int = 0
    lacks: str = ""

    def cells(self, lines: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
        """Return the cells of all rows and of the total, the last; and how far each may be off."""
        found = [None if row[self.key] is None else Decimal(row[self.key]) / self.divisor for row in lines]
        places = places_for(
            found[-1] or max((value for value in found if value), default=Decimal(0)), self.least_places
        )
        whole = rounded([value or Decimal(0) for value in found[:-1]], places)
        step = Decimal(1).scaleb(-places)
        marks = [self.lacks and row.get(self.lacks, "0") != "0" for row in lines]
        texts = [
            UNKNOWN if value is None else f"{shown:,f}" + (INCOMPLETE if mark else " " if any(marks) else "")
            for value, shown, mark in zip(found, [*whole, sum(whole, Decimal(0))], marks, strict=True)
        ]
        doubts = []
        for row in lines if self.sigma else ():
            sigma = row[self.sigma]
            doubt = None if sigma is None else Decimal(f"{sigma * SIGMAS / self.divisor:.9g}")
            doubts.append(UNKNOWN if doubt is None else f"{doubt.quantize(step, ROUND_UP):,f}")
        return texts, doubts


def _idle(row: Mapping[str, Any]) -> str:
    """Return the share of its GPU time in which it only held GPUs."""
    there_s = row["active_s"] + row["held_s"]
    return f"{row['held_s'] / there_s:.0%}" if there_s > 0 else ""


def _quantities(document: Mapping[str, Any]) -> list[_Quantity]:
    total, currency = document["total"], money(document)
    every = [
        _Quantity("kWh", "kWh", "energy_j", "sigma_j", 0, 4, JOULES_PER_KWH),
        _Quantity("wall kWh", "wall", "wall_kwh", "wall_sigma_kwh", 8, 9, 1, 0, "no_pue_j"),
        _Quantity(currency, currency, "cost", "cost_sigma", 1, 9, 1, 2, "unpriced_j"),
        _Quantity("kg CO2e", "CO2e", "co2e_g", "co2e_sigma_g", 2, 9, 1000, 0, "no_carbon_j"),
        _Quantity("kg CO2 marg.", "marg.", "marginal_co2_g", "marginal_co2_sigma_g", 3, 9, 1000, 0, "no_carbon_j"),
        _Quantity(f"GPU h {currency}", "", "gpu_hours_cost", "", 4, 4, 1, 2),
        _Quantity("OpenCost GPU", "", "opencost_gpu_cost", "", 4, 4, 1, 2),
    ]
    return [quantity for quantity in every if quantity.key in total]
