"""SITES.toml: places for the same load, each with hourly data of its grid and weather."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.fleet.boundary.pue import LoadPue
from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.boundary.written import range_in
from wattshed.agent.fleet.decide.hourly_table import HourlyTable, read_hourly
from wattshed.agent.fleet.demand.transformer import Transformer, read_transformer
from wattshed.agent.inputs.toml import Document

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.inputs.toml import Table

HOURLY = ("price", "carbon_g_per_kwh", "clean_w", "outdoor_c", "pue", "wue")


@dataclass(frozen=True, slots=True)
class CandidateSite:
    """A place.

    Attributes
    ----------
    name : str
    table : HourlyTable
        Of `HOURLY`, what its file has.
    pue : Range or LoadPue or None
        None: a column.
    wue : Range or None, l/kWh
        Water for each kWh of IT; None: a column, or unknown.
    transformer : Transformer or None
    """

    name: str
    table: HourlyTable
    pue: Range | LoadPue | None
    wue: Range | None
    transformer: Transformer | None

    def pue_at(self, it_w: NDArray[np.float64], columns: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """PUE of each hour: float64[h]; NaN where the load or the weather is unknown."""
        if self.pue is None:
            return columns["pue"]
        if isinstance(self.pue, Range):
            return np.full(it_w.size, self.pue.value)
        outdoor = columns.get("outdoor_c", np.full(it_w.size, self.pue.outdoor_c))
        known = (it_w > 0.0) & ~np.isnan(outdoor)
        result = np.full(it_w.size, np.nan)
        model = self.pue
        result[known] = [model.at(w, t) for w, t in zip(it_w[known].tolist(), outdoor[known].tolist(), strict=True)]
        return result


def read_sites(path: str | Path) -> tuple[CandidateSite, ...]:
    """Read and check a SITES.toml, and the tables that it names.

    Raises
    ------
    InputError
        Naming the line, if it or one of the tables cannot be used.
    """
    document = Document(path)
    tables = document.root.only(("site",)).tables("site", required=True)
    sites = tuple(_site(table, document.folder) for table in tables)
    names = [site.name for site in sites]
    for i, table in enumerate(tables):
        if sites[i].name in names[:i]:
            table.fail(f"{sites[i].name!r} appears twice", "name")
    return sites


def _site(table: Table, folder: Path) -> CandidateSite:
    table.only(("name", "hourly", "columns", "pue", "wue", "transformer"))
    written = table.table("columns", required=False).only(("time", *HOURLY))
    columns = {"time": written.text("time", "time"), **{key: written.text(key) for key in written if key != "time"}}
    if len(columns) == 1:
        table.fail(f"needs columns, a table with some of {', '.join(HOURLY)}, each the name in the file")
    for key in ("pue", "wue"):
        if key in columns and key in table:
            table.fail("is a column as well; leave one of them out", key)
    pue = _pue(table)
    if pue is None and "pue" not in columns:
        table.fail("needs pue, a number, or among the columns")
    wue = range_in(table, "wue") if "wue" in table else None
    transformer = read_transformer(folder / table.text("transformer")) if "transformer" in table else None
    hourly = read_hourly(str(folder / table.text("hourly")), columns)
    return CandidateSite(table.text("name"), hourly, pue, wue, transformer)


def _pue(table: Table) -> Range | LoadPue | None:
    if "pue" not in table:
        return None
    if isinstance(table.items["pue"], dict) and "value" not in table.items["pue"]:
        load = table.table("pue").only(LoadPue.__slots__)
        capacity_w = load.number("capacity_w", above=0)
        return LoadPue(capacity_w, **{key: load.number(key) for key in load if key != "capacity_w"})
    return range_in(table, "pue", least=1.0)
