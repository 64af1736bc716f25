"""SITES.toml: places for the same load, each with hourly data of its grid and weather."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.pue import LoadPue
from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.boundary.written import range_in
from wattshed.agent.fleet.decide.grid_exports import HourlyChoice
from wattshed.agent.fleet.decide.hourly_sources import read_sources
from wattshed.agent.fleet.demand.transformer import Transformer, read_transformer
from wattshed.agent.inputs.tariffs.tables import BASES
from wattshed.agent.inputs.timestamps import zone
from wattshed.agent.inputs.toml import Document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from wattshed.agent.fleet.decide.hourly_table import HourlyTables
    from wattshed.agent.inputs.toml import Table

HOURLY = ("price", "carbon_g_per_kwh", "clean_w", "clean_share", "outdoor_c", "pue", "wue")


@dataclass(frozen=True, slots=True)
class CandidateSite:
    """A place.

    Attributes
    ----------
    name : str
    tables : HourlyTables
        Of `HOURLY`, what its files have.
    pue : Range or LoadPue or None
        None: a column.
    wue : Range or None, l/kWh
        Water for each kWh of IT; None: a column, or unknown.
    transformer : Transformer or None
    """

    name: str
    tables: HourlyTables
    pue: Range | LoadPue | None
    wue: Range | None
    transformer: Transformer | None

    def facility_w(self, it_w: NDArray[np.float64], columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Power of the site at each hour: float64[h], W; NaN where the PUE or the weather is unknown."""
        if self.pue is None:
            return it_w * columns["pue"]
        if isinstance(self.pue, Range):
            return it_w * self.pue.value
        return self.pue.facility_w(it_w, columns.get("outdoor_c"))

    def facility_ends(
        self, it_w: NDArray[np.float64], facility_w: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Power of the site at both ends of its PUE's 95 % interval: float64[h] each, W; alike if by the hour."""
        if self.pue is None:
            return facility_w, facility_w
        if isinstance(self.pue, Range):
            return it_w * self.pue.low, it_w * self.pue.high
        unknown_w = (facility_w - it_w) * self.pue.spread
        return facility_w - unknown_w, facility_w + unknown_w

    def unit_at(
        self, hours: NDArray[np.int64], begin: int, outdoor_c: NDArray[np.float64] | None
    ) -> Transformer | None:
        """Return the transformer with the ambient temperature of some hours: the site's, or its own table's.

        Its own table is repeated; hour 0 is midnight UTC of the day on which the load begins.
        """
        unit = self.transformer
        if unit is None:
            return None
        if outdoor_c is not None:
            return replace(unit, hourly_c=outdoor_c)
        if unit.hourly_c is None:
            return unit
        return replace(unit, hourly_c=unit.hourly_c[(hours - begin // 24 * 24) % unit.hourly_c.size])


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
    keys = ("name", "hourly", "columns", "basis", "area", "sequence", "timezone", "pue", "wue", "transformer")
    table.only(keys)
    written = table.table("columns", required=False).only(("time", *HOURLY))
    columns = {"time": written.text("time", "time"), **{key: written.text(key) for key in written if key != "time"}}
    if "hourly" not in table:
        table.fail("needs hourly, a file or a list of files")
    files = table.each("hourly", str) if isinstance(table.items.get("hourly"), list) else [table.text("hourly")]
    if not files:
        table.fail("needs at least one file", "hourly")
    tables = read_sources([str(folder / file) for file in files], columns, _choice(table))
    for key in ("pue", "wue"):
        if key in tables.names and key in table:
            table.fail("is a column as well; leave one of them out", key)
    pue = _pue(table)
    if pue is None and "pue" not in tables.names:
        table.fail("needs pue, a number, or among the columns")
    wue = range_in(table, "wue") if "wue" in table else None
    transformer = read_transformer(folder / table.text("transformer")) if "transformer" in table else None
    if transformer is not None and transformer.hourly_c is not None and "outdoor_c" in tables.names:
        table.fail(
            "has hourly temperatures of its own beside the site's outdoor_c, and one would be ignored; leave one out",
            "transformer",
        )
    return CandidateSite(table.text("name"), tables, pue, wue, transformer)


def _choice(table: Table) -> HourlyChoice:
    local = table.text("timezone", "UTC")
    try:
        of_times = zone(local)
    except InputError:
        table.fail(f"no time zone is named {local!r}; use an IANA name such as Europe/Berlin", "timezone")
    return HourlyChoice(
        table.text("basis", "lifecycle", choices=BASES), table.text("area", ""), table.text("sequence", ""), of_times
    )


def _pue(table: Table) -> Range | LoadPue | None:
    if "pue" not in table:
        return None
    if isinstance(table.items["pue"], dict) and "value" not in table.items["pue"]:
        load = table.table("pue").only(LoadPue.__slots__)
        capacity_w = load.number("capacity_w", above=0)
        return LoadPue(capacity_w, **{key: load.number(key) for key in load if key != "capacity_w"})
    return range_in(table, "pue", least=1.0)
