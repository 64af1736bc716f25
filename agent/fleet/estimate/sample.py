"""What was measured, and of what: a sample of hosts, and the population that it represents."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.tables import read_table
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.inputs.tables import Row


SAMPLE_COLUMNS = ("stratum", "host", "unit", "value", "size", "units", "job", "cluster")
MEASURES = frozenset(("mw", "w", "kw", "gw", "j", "kj", "mj", "gj", "wh", "kwh", "mwh", "gwh"))
"""Units of measurement, case folded, that a column ``unit`` may hold instead of the name of a GPU."""


def sums(group: NDArray[np.int64], value: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """Sum of the values of each group: float64[groups]."""
    return np.bincount(group, value, groups).astype(np.float64, copy=False)


@dataclass(frozen=True, slots=True)
class Population:
    """The strata of a finite population.

    Attributes
    ----------
    strata : tuple of str
    hosts : int64[H]
        Primary units (hosts; jobs or racks for cluster sampling) in each stratum of the population.
    sizes : float64[H]
        Known total size of each stratum (nameplate watts, GPU-hours, ...); NaN unknown.
    """

    strata: tuple[str, ...]
    hosts: NDArray[np.int64]
    sizes: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """Measured units, grouped into primary units (hosts), which lie in strata.

    Attributes
    ----------
    population : Population
    names : tuple of str
        Primary units, n of them.
    stratum : int64[n]
        Index into the population's strata.
    units : int64[n]
        Units (GPUs) that the primary unit really has, measured or not; -1 unknown.
    unit_host : int64[u]
        Primary unit of each measured unit.
    value, size : float64[u]
        Measured value of each unit, and its size (NaN unknown).
    warnings : tuple of str
        What is odd about the files, though usable.
    """

    population: Population
    names: tuple[str, ...]
    stratum: NDArray[np.int64]
    units: NDArray[np.int64]
    unit_host: NDArray[np.int64]
    value: NDArray[np.float64]
    size: NDArray[np.float64]
    warnings: tuple[str, ...] = ()

    @property
    def measured(self) -> NDArray[np.int64]:
        """Measured units of each primary unit: int64[n]."""
        return np.bincount(self.unit_host, minlength=len(self.names))

    @property
    def totals(self) -> NDArray[np.float64]:
        """Sum of the measured values of each primary unit: float64[n]."""
        return sums(self.unit_host, self.value, len(self.names))

    @property
    def host_sizes(self) -> NDArray[np.float64]:
        """Sum of the sizes of each primary unit: float64[n], NaN unknown."""
        return sums(self.unit_host, self.size, len(self.names))

    @property
    def sampled(self) -> NDArray[np.int64]:
        """Primary units measured in each stratum: int64[H]."""
        return np.bincount(self.stratum, minlength=len(self.population.strata))


def read_population(path: str | Path) -> Population:
    """Read ``stratum,hosts[,size]``.

    Raises
    ------
    InputError
        For a stratum that appears twice, a count that is not a whole number, a negative size.
    """
    strata: dict[str, tuple[int, float]] = {}
    for row in read_table(path, ("stratum", "hosts"), used=("stratum", "hosts", "size")):
        name = row.name("stratum")
        if name in strata:
            raise row.error("stratum", f"{name!r} appears twice; give each stratum one row")
        strata[name] = row.count("hosts"), row.optional_number("size", least=0.0)
    if not strata:
        raise InputError("lists no stratum; add a row per stratum", str(path), 2)
    return Population(
        tuple(strata),
        np.array([hosts for hosts, _ in strata.values()], np.int64),
        np.array([size for _, size in strata.values()], np.float64),
    )


def read_sample(path: str | Path, population: Population, *, cluster: bool = False) -> Sample:
    """Read ``stratum,host[,unit],value[,size][,units]``: a row per measured unit (GPU), or per host.

    Parameters
    ----------
    path : path
    population : Population
    cluster : bool
        Whether a column ``cluster`` or ``job``, where there is one, names the primary unit instead of the host.

    Raises
    ------
    InputError
        For a stratum that the population lacks, more hosts than it has, a unit measured twice, a value that is no
        number, a negative size, more measured units than the host has.
    """
    gathered = _Gathered(population)
    for row in read_table(path, ("stratum", "host", "value"), used=SAMPLE_COLUMNS):
        gathered.take(row, next((c for c in ("cluster", "job") if cluster and row.text(c)), "host"))
    if not gathered.value:
        raise InputError("contains no measurement; add a row per measured host or GPU", str(path), 2)
    return gathered.sample()


class _Gathered:
    """The rows of a sample read so far; each is held against those before it, and against the population."""

    def __init__(self, population: Population) -> None:
        self._population = population
        self._index = {name: i for i, name in enumerate(population.strata)}
        self._hosts: dict[tuple[int, str], int] = {}
        self._seen: set[tuple[int, str, str]] = set()
        self._measure = ""
        self._in_stratum: Counter[int] = Counter()
        self._in_host: Counter[int] = Counter()
        self._units: list[int] = []
        self._unit_host: list[int] = []
        self.value: list[float] = []
        self._size: list[float] = []

    def take(self, row: Row, primary: str) -> None:
        """Take in one row; the column ``primary`` names its primary unit."""
        stratum = self._index.get(name := row.name("stratum"), MISSING)
        if stratum == MISSING:
            raise row.error("stratum", f"{name!r} is not in the population; add it there, or correct the name")
        self._take_unit(row, stratum)
        host = self._take_host(row, stratum, row.name(primary))
        self._unit_host.append(host)
        self.value.append(row.number("value"))
        self._size.append(row.optional_number("size", least=0.0))

    def _take_unit(self, row: Row, stratum: int) -> None:
        unit = row.text("unit")
        if unit.casefold() in MEASURES:
            # Some files say here what the value is measured in; that names no GPU, but must be one and the same.
            if self._measure and unit != self._measure:
                raise row.error("unit", f"{unit} here and {self._measure} above; give all values in one unit")
            self._measure = unit
        elif unit:
            if (stratum, row.text("host"), unit) in self._seen:
                raise row.error("unit", f"unit {unit!r} of host {row.text('host')!r} appears twice; keep one row")
            self._seen.add((stratum, row.text("host"), unit))

    def _take_host(self, row: Row, stratum: int, name: str) -> int:
        whole = row.count("units", least=1) if row.text("units") else MISSING
        host = self._hosts.setdefault((stratum, name), len(self._hosts))
        if host == len(self._units):
            self._units.append(whole)
            self._in_stratum[stratum] += 1
            if self._in_stratum[stratum] > (known := int(self._population.hosts[stratum])):
                raise row.error(
                    "host",
                    f"stratum {self._population.strata[stratum]!r} has {known} hosts in the population, and more are "
                    "measured; correct either file",
                )
        self._in_host[host] += 1
        if self._units[host] != whole:
            raise row.error(
                "units", f"differs from an earlier row of {name!r}; it is the number of units of the whole host"
            )
        if whole != MISSING and self._in_host[host] > whole:
            raise row.error("units", f"{name!r} has {whole} units, and more are measured")
        return host

    def sample(self) -> Sample:
        """Return all of it in columns."""
        return Sample(
            self._population,
            tuple(name for _, name in self._hosts),
            np.array([stratum for stratum, _ in self._hosts], np.int64),
            np.array(self._units, np.int64),
            np.array(self._unit_host, np.int64),
            np.array(self.value, np.float64),
            np.array(self._size, np.float64),
            _namesakes(self._hosts, self._population),
        )


def _namesakes(hosts: Mapping[tuple[int, str], int], population: Population) -> tuple[str, ...]:
    """Warn of hosts of one name in two strata, which are taken to be two hosts."""
    strata: dict[str, list[str]] = {}
    for stratum, name in hosts:
        strata.setdefault(name, []).append(population.strata[stratum])
    double = [name for name, where in strata.items() if len(where) > 1]
    if not double:
        return ()
    shown = f"{double[0]!r} in {' and '.join(strata[double[0]])}"
    more = f" and {len(double) - 1} more" if len(double) > 1 else ""
    return (f"hosts of one name in several strata ({shown}{more}) are taken to be different hosts",)


def from_hosts(population: Population, powers: Mapping[str, Mapping[str, float]]) -> Sample:
    """Make a sample of one value per host: stratum -> host -> value; strata that the population lacks are left out."""
    index = {name: i for i, name in enumerate(population.strata)}
    rows = [(index[s], h, v) for s, hosts in powers.items() if s in index for h, v in hosts.items() if math.isfinite(v)]
    n = len(rows)
    return Sample(
        population,
        tuple(h for _, h, _ in rows),
        np.array([s for s, _, _ in rows], np.int64),
        np.full(n, MISSING, np.int64),
        np.arange(n),
        np.array([v for _, _, v in rows], np.float64),
        np.full(n, math.nan),
    )
