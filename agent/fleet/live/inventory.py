"""FLEET.toml: what the fleet consists of, so that a few measured hosts can represent all.

Sites (supply limit, PUE, other IT, grid losses, prices) and strata (GPU model and kind of duty; hosts, GPUs, node
model). docs/fleet.md shows a whole file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.fleet.boundary.hourly import Hours, read_hours
from wattshed.agent.fleet.boundary.pue import ConstantPue, HourlyPue, LoadPue, Pue, WeatherPue
from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.boundary.written import range_in
from wattshed.agent.fleet.estimate.node_model import NodeModel, assumed, read_node
from wattshed.agent.fleet.estimate.sample import Population
from wattshed.agent.fleet.live.state_sources import StateSources, sources_of
from wattshed.agent.fleet.live.states import host_names
from wattshed.agent.inputs.toml import Document, meant

if TYPE_CHECKING:
    from wattshed.agent.inputs.toml import Table

METER_GAIN_SIGMA = 0.04
"""One sigma of the gain that a fleet's meters share, unless the file says better (NVML specifies some 5 %)."""

UNKNOWN_PUE = Range(1.4, 1.1, 2.0)
UNKNOWN_LOSS = Range(0.02, 0.0, 0.05)
UNKNOWN_OTHER = Range(0.05, 0.0, 0.15)
"""What is assumed where a site says nothing: wide, and reported as a warning."""


LIVE = "live"
"""As a stratum's ``node``: it is fitted live."""

StratumFinder = Callable[[str, str], str | None]
"""Label of a host and its name -> its stratum, or None."""


@dataclass(frozen=True, slots=True)
class Site:
    """A site: what lies between its nodes and the grid."""

    name: str
    pue: Pue
    other_it: Range  # network, storage, CPU nodes: share of the GPU nodes' power
    other_it_w: float  # and what of it is fixed
    grid_loss: Range  # share of the power bought that is lost in lines and transformers
    supply_limit_w: float | None = None
    price_per_kwh: float | None = None
    carbon_g_per_kwh: float | None = None
    hours: Hours | None = None
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stratum:
    """Hosts of one kind: GPU model and kind of duty."""

    name: str
    site: str
    hosts: int
    gpus_per_host: int
    model: str
    node: NodeModel
    match: str = ""
    gpu_idle_w: Range | None = None  # of one GPU; None: by its data sheet
    live: bool = False  # the node model is fitted to the fleet's own meters, where they allow it


@dataclass(frozen=True, slots=True)
class Inventory:
    """The fleet as its owner knows it."""

    name: str
    sites: tuple[Site, ...]
    strata: tuple[Stratum, ...]
    meter_gain_sigma: float = METER_GAIN_SIGMA
    states: StateSources | None = None

    @property
    def population(self) -> Population:
        """Hosts by stratum, as the estimators want them."""
        return Population(
            tuple(s.name for s in self.strata),
            np.array([s.hosts for s in self.strata], np.int64),
            np.full(len(self.strata), np.nan),
        )

    def finder(self) -> StratumFinder:
        """Return what finds the stratum of a host: by its label, or else by the strata's ``match`` expressions."""
        names = frozenset(s.name for s in self.strata)
        patterns = [(s.name, re.compile(s.match)) for s in self.strata if s.match]

        def find(label: str, host: str) -> str | None:
            if label in names:
                return label
            written = host_names(host) if patterns else ()
            return next((name for name, pattern in patterns if any(map(pattern.fullmatch, written))), None)

        return find


def read_inventory(path: str | Path) -> Inventory:
    """Read and check a FLEET.toml.

    Raises
    ------
    InputError
        Naming the line, if it cannot be used.
    """
    document = Document(path)
    root = document.root.only(("fleet", "site", "stratum", "states"))
    fleet = root.table("fleet", required=False).only(("name", "meter_gain_sigma"))
    tables = {key: root.tables(key, required=True) for key in ("site", "stratum")}
    sites = tuple(_site(table, document.folder) for table in tables["site"])
    names = {site.name for site in sites}
    strata = tuple(_stratum(table, names) for table in tables["stratum"])
    for one_kind in tables.values():
        _no_name_twice(one_kind)
    return Inventory(
        fleet.text("name", Path(path).stem),
        sites,
        strata,
        fleet.number("meter_gain_sigma", METER_GAIN_SIGMA, low=0),
        sources_of(root.table("states"), document.folder) if "states" in root else None,
    )


def _no_name_twice(tables: list[Table]) -> None:
    seen: set[str] = set()
    for table in tables:
        name = table.text("name")
        if name in seen:
            table.fail(f"{name!r} appears twice", "name")
        seen.add(name)


def _site(table: Table, folder: Path) -> Site:
    table.only(
        (
            "name",
            "pue",
            "other_it",
            "other_it_w",
            "grid_loss",
            "supply_limit_w",
            "price_per_kwh",
            "carbon_g_per_kwh",
            "hourly",
        )
    )
    name = table.text("name")
    said: list[str] = []
    hours = None
    if "hourly" in table:
        source = table.text("hourly")
        hours = read_hours(source if "://" in source else folder / source)
    pue = _pue(table, hours)
    if pue is None:
        pue = ConstantPue(UNKNOWN_PUE)
        said.append(f"site {name!r} has no PUE: 1.4 within 1.1 to 2.0 is assumed")
    for key, unknown in (("other_it", UNKNOWN_OTHER), ("grid_loss", UNKNOWN_LOSS)):
        if key not in table:
            span = f"{unknown.value:g} within {unknown.low:g} to {unknown.high:g}"
            said.append(f"site {name!r} has no {key}: {span} is assumed")
    optional = {
        key: table.number(key, low=0) if key in table else None
        for key in ("supply_limit_w", "price_per_kwh", "carbon_g_per_kwh")
    }
    return Site(
        name,
        pue,
        range_in(table, "other_it", UNKNOWN_OTHER),
        table.number("other_it_w", 0.0, low=0),
        range_in(table, "grid_loss", UNKNOWN_LOSS, high=0.99),
        hours=hours,
        assumptions=tuple(said),
        **optional,
    )


def _pue(site: Table, hours: Hours | None) -> Pue | None:
    if "pue" not in site:
        return None if hours is None or hours.pue is None else HourlyPue(hours.pue)
    if isinstance(site.items["pue"], dict) and "value" not in site.items["pue"]:
        load = site.table("pue").only(LoadPue.__slots__)
        capacity_w = load.number("capacity_w", above=0)
        model = LoadPue(capacity_w, **{key: load.number(key) for key in load if key != "capacity_w"})
        return model if hours is None or hours.outdoor_c is None else WeatherPue(model, hours.outdoor_c)
    found = range_in(site, "pue", UNKNOWN_PUE)
    if found.low < 1.0:
        site.fail("cannot be below 1: the facility draws at least what its IT draws", "pue")
    return ConstantPue(found)


def _stratum(table: Table, sites: set[str]) -> Stratum:
    table.only(("name", "site", "model", "hosts", "gpus_per_host", "node", "match", "gpu_idle_w"))
    site = table.text("site")
    if site not in sites:
        table.fail(f"there is no [[site]] named {site!r}{meant(site, sites)}", "site")
    live = table.items.get("node") == LIVE
    match = table.text("match", "", empty=True)
    try:
        re.compile(match)
    except re.error as error:
        table.fail(f"is not a valid regular expression ({error})", "match")
    gpus = table.count("gpus_per_host", low=0)
    return Stratum(
        table.text("name"),
        site,
        table.count("hosts", low=0),
        gpus,
        table.text("model", "", empty=True),
        read_node(table.table("node"), gpus) if "node" in table and not live else assumed(gpus),
        match,
        range_in(table, "gpu_idle_w", Range.exact(0.0)) if "gpu_idle_w" in table else None,
        live,
    )
