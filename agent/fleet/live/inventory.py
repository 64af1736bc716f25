"""FLEET.toml: what the fleet consists of, so that a few measured hosts can stand for all.

Sites (supply limit, PUE, other IT, grid losses, prices) and strata (GPU model and kind of duty; hosts, GPUs, node
model). docs/fleet.md shows a whole file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.pue import ConstantPue, HourlyPue, LoadPue, Pue, WeatherPue
from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.estimate.node_model import NodeModel, assumed
from wattshed.agent.fleet.estimate.sample import Population
from wattshed.agent.fleet.live.hourly import Hours, read_hours
from wattshed.agent.inputs.tables import read_text
from wattshed.agent.inputs.toml import line_of, read_toml

METER_GAIN_SIGMA = 0.04
"""One sigma of the gain that a fleet's meters share, unless the file says better (NVML specifies some 5 %)."""

UNKNOWN_PUE = Range(1.4, 1.1, 2.0)
UNKNOWN_LOSS = Range(0.02, 0.0, 0.05)
UNKNOWN_OTHER = Range(0.05, 0.0, 0.15)
"""What stands in where a site says nothing: wide, and told as a warning."""


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


@dataclass(frozen=True, slots=True)
class Inventory:
    """The fleet as its owner knows it."""

    name: str
    sites: tuple[Site, ...]
    strata: tuple[Stratum, ...]
    meter_gain_sigma: float = METER_GAIN_SIGMA

    @property
    def population(self) -> Population:
        """Hosts by stratum, as the estimators want them."""
        return Population(
            tuple(s.name for s in self.strata),
            np.array([s.hosts for s in self.strata], np.int64),
            np.full(len(self.strata), np.nan),
        )

    def stratum_of(self, label: str, host: str) -> str | None:
        """Stratum of a host, by its label or else by the strata's ``match`` expressions; None if it is in none."""
        if any(s.name == label for s in self.strata):
            return label
        return next((s.name for s in self.strata if s.match and re.fullmatch(s.match, host)), None)


def read_inventory(path: str | Path) -> Inventory:
    """Read and check a FLEET.toml.

    Raises
    ------
    InputError
        Naming the line, if it cannot be used.
    """
    return _Reader(Path(path)).inventory()


_SITE_KEYS = frozenset(
    "name pue other_it other_it_w grid_loss supply_limit_w price_per_kwh carbon_g_per_kwh hourly".split()  # noqa: SIM905  (reads better)
)
_STRATUM_KEYS = frozenset("name site hosts gpus_per_host model node match".split())  # noqa: SIM905  (reads better)
_LOAD_KEYS = frozenset(LoadPue.__slots__)


class _Reader:
    """One file being read."""

    def __init__(self, path: Path) -> None:
        self._path, self._text = path, read_text(path)
        self._tables = read_toml(path, self._text)

    def inventory(self) -> Inventory:
        fleet = self._tables.get("fleet", {})
        if not isinstance(fleet, dict):
            raise self._error("fleet must be a table", "fleet")
        self._known(self._tables, frozenset(("fleet", "site", "stratum")), "", 0)
        self._known(fleet, frozenset(("name", "meter_gain_sigma")), "fleet", 0)
        sites = tuple(self._site(table, i) for i, table in enumerate(self._list("site")))
        self._unique([s.name for s in sites], "site")
        names = {s.name for s in sites}
        strata = tuple(self._stratum(table, i, names) for i, table in enumerate(self._list("stratum")))
        self._unique([s.name for s in strata], "stratum")
        sigma = self._number(
            fleet.get("meter_gain_sigma", METER_GAIN_SIGMA), "fleet.meter_gain_sigma", "fleet", 0, least=0.0
        )
        return Inventory(str(fleet.get("name", self._path.stem)), sites, strata, sigma)

    def _site(self, table: dict[str, Any], i: int) -> Site:
        self._known(table, _SITE_KEYS, "site", i)
        name = self._string(table, "name", "site", i)
        said: list[str] = []
        hours = None
        if "hourly" in table:
            source = self._string(table, "hourly", "site", i)
            hours = read_hours(source if "://" in source else self._path.parent / source)
        pue = self._pue(table.get("pue"), hours, i)
        if pue is None:
            pue = ConstantPue(UNKNOWN_PUE)
            said.append(f"site {name!r} has no PUE: 1.4 within 1.1 to 2.0 is assumed")
        for key in ("other_it", "grid_loss"):
            if key not in table:
                unknown = UNKNOWN_OTHER if key == "other_it" else UNKNOWN_LOSS
                span = f"{unknown.value:g} within {unknown.low:g} to {unknown.high:g}"
                said.append(f"site {name!r} has no {key}: {span} is assumed")
        return Site(
            name,
            pue,
            self._range(table.get("other_it"), UNKNOWN_OTHER, "site.other_it", i),
            self._number(table.get("other_it_w", 0.0), "site.other_it_w", "site", i, least=0.0),
            self._range(table.get("grid_loss"), UNKNOWN_LOSS, "site.grid_loss", i, most=0.99),
            supply_limit_w=self._optional(table, "supply_limit_w", i),
            price_per_kwh=self._optional(table, "price_per_kwh", i),
            carbon_g_per_kwh=self._optional(table, "carbon_g_per_kwh", i),
            hours=hours,
            assumptions=tuple(said),
        )

    def _optional(self, table: dict[str, Any], key: str, i: int) -> float | None:
        return self._number(table[key], f"site.{key}", "site", i, least=0.0) if key in table else None

    def _pue(self, value: Any, hours: Hours | None, i: int) -> Pue | None:
        if value is None:
            return None if hours is None or hours.pue is None else HourlyPue(hours.pue)
        if isinstance(value, dict) and "capacity_w" in value:
            self._known(value, _LOAD_KEYS, "site.pue", i)
            numbers = {k: self._number(v, f"site.pue.{k}", "site", i) for k, v in value.items()}
            if not numbers["capacity_w"] > 0.0:
                raise self._error("site.pue.capacity_w must be above 0", "site", i)
            model = LoadPue(**numbers)
            return model if hours is None or hours.outdoor_c is None else WeatherPue(model, hours.outdoor_c)
        found = self._range(value, UNKNOWN_PUE, "site.pue", i)
        if found.low < 1.0:
            raise self._error("site.pue cannot be below 1: the facility draws at least what its IT draws", "site", i)
        return ConstantPue(found)

    def _stratum(self, table: dict[str, Any], i: int, sites: set[str]) -> Stratum:
        self._known(table, _STRATUM_KEYS, "stratum", i)
        name = self._string(table, "name", "stratum", i)
        site = self._string(table, "site", "stratum", i)
        if site not in sites:
            raise self._error(f"stratum {name!r} is at site {site!r}, which has no [[site]]", "stratum", i)
        counts = []
        for key in ("hosts", "gpus_per_host"):
            count = table.get(key)
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise self._error(f"stratum {name!r} needs {key} as a whole number, not {count!r}", "stratum", i)
            counts.append(count)
        match = str(table.get("match", ""))
        try:
            re.compile(match)
        except re.error as error:
            raise self._error(f"stratum {name!r}: match is no regular expression ({error})", "stratum", i) from None
        node = self._node(table.get("node"), counts[1], i)
        return Stratum(name, site, counts[0], counts[1], str(table.get("model", "")), node, match)

    def _node(self, table: Any, gpus: int, i: int) -> NodeModel:
        if table is None:
            return assumed(gpus)
        if not isinstance(table, dict):
            raise self._error("stratum.node must be a table with level_w and slope", "stratum", i)
        self._known(table, frozenset(("level_w", "slope", "pivot_w", "fitted")), "stratum.node", i)
        guess = assumed(gpus)
        return NodeModel(
            self._range(table.get("level_w"), guess.level_w, "stratum.node.level_w", i),
            self._range(table.get("slope"), guess.slope, "stratum.node.slope", i),
            self._number(table.get("pivot_w", 0.0), "stratum.node.pivot_w", "stratum", i, least=0.0),
            fitted=bool(table.get("fitted", "level_w" in table and "slope" in table)),
        )

    def _range(self, value: Any, unknown: Range, what: str, i: int, *, most: float = np.inf) -> Range:
        """``1.2``, or ``{ value = 1.2, low = 1.1, high = 1.4 }``."""
        where = what.split(".", maxsplit=1)[0]
        if value is None:
            return unknown
        table = value if isinstance(value, dict) else {"value": value}
        self._known(table, frozenset(("value", "low", "high")), what, i)
        middle = self._number(table.get("value"), what, where, i, least=0.0)
        low = self._number(table.get("low", middle), f"{what}.low", where, i, least=0.0)
        high = self._number(table.get("high", middle), f"{what}.high", where, i, least=0.0)
        if not low <= middle <= high <= most:
            raise self._error(
                f"{what}: {middle:g} does not lie between {low:g} and {high:g}, or is too large", where, i
            )
        return Range(middle, low, high)

    def _number(self, value: Any, what: str, where: str, i: int, *, least: float = -np.inf) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value) or value < least:
            raise self._error(
                f"{what} must be a number{'' if least < 0 else f' not below {least:g}'}, not {value!r}", where, i
            )
        return float(value)

    def _string(self, table: dict[str, Any], key: str, where: str, i: int) -> str:
        if not isinstance(table.get(key), str) or not table[key]:
            raise self._error(f'{where} needs {key} = "..."', where, i)
        return str(table[key])

    def _list(self, key: str) -> list[dict[str, Any]]:
        found = self._tables.get(key)
        if not isinstance(found, list) or not found or not all(isinstance(t, dict) for t in found):
            raise self._error(f"has no [[{key}]]", key)
        return found

    def _known(self, table: dict[str, Any], keys: frozenset[str], where: str, i: int) -> None:
        for key in table:
            if key not in keys:
                raise self._error(
                    f"{where or 'file'}: unknown key {key!r}; known are {', '.join(sorted(keys))}",
                    where or key,
                    i,
                )

    def _unique(self, names: list[str], where: str) -> None:
        for i, name in enumerate(names):
            if name in names[:i]:
                raise self._error(f"{where} {name!r} appears twice", where, i)

    def _error(self, message: str, where: str, occurrence: int = 0) -> InputError:
        return InputError(message, str(self._path), line_of(self._text, where.split(".", maxsplit=1)[0], occurrence))
