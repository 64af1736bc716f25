"""The files of a sample and of its population: each row is held against those before it, and against the population."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.sample import Population, Sample
from wattshed.agent.inputs.tables import read_table
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from wattshed.agent.inputs.tables import Row


SAMPLE_COLUMNS = ("stratum", "host", "unit", "value", "size", "units", "job", "cluster")
"""Columns that every sample may have; any other must be asked for."""

MEASURES = frozenset(("mw", "w", "kw", "gw", "j", "kj", "mj", "gj", "wh", "kwh", "mwh", "gwh"))
"""Units of measurement, case folded, that a column ``unit`` may hold instead of the name of a GPU."""


DESIGN_COLUMNS = ("pi", "weight")
"""What says how a host was drawn: an estimate that does not use it is wrong without a word."""


def read_population(path: str | Path) -> Population:
    """Read ``stratum,hosts[,size][,limit]``.

    Raises
    ------
    InputError
        For a stratum that appears twice, a count that is not a whole number, a negative size or limit.
    """
    strata: dict[str, tuple[int, float, float]] = {}
    for row in read_table(path, ("stratum", "hosts"), used=("stratum", "hosts", "size", "limit")):
        name = row.name("stratum")
        if name in strata:
            raise row.error("stratum", f"{name!r} appears twice; give each stratum one row")
        strata[name] = (
            row.count("hosts"),
            row.optional_number("size", least=0.0),
            row.optional_number("limit", least=0.0),
        )
    if not strata:
        raise InputError("lists no stratum; add a row per stratum", str(path), 2)
    return Population(
        tuple(strata),
        np.array([hosts for hosts, _, _ in strata.values()], np.int64),
        np.array([size for _, size, _ in strata.values()], np.float64),
        np.array([limit for _, _, limit in strata.values()], np.float64),
    )


def read_header(path: str | Path) -> tuple[str, ...]:
    """Columns of a table; empty where it has no row."""
    return next((tuple(row.columns) for row in read_table(path, ())), ())


def read_sample(
    path: str | Path,
    population: Population,
    *,
    cluster: bool = False,
    one_by_one: bool | None = None,
    design: str = "",
    wanted: Sequence[str] = (),
    also: Sequence[str] = (),
    numbers: Sequence[str] = (),
) -> Sample:
    """Read ``stratum,host[,unit],value[,size][,units]``: a row per measured unit (GPU), or per host.

    Parameters
    ----------
    path : path
    population : Population
    cluster : bool
        Whether a column ``job`` names the primary unit instead of the host, where there is one; a column ``cluster``
        always does.
    one_by_one : bool or None
        Whether each row is a unit; else rows of one host are one. None: as ``cluster`` says.
    design : {"", "pi", "weight"}
        Column that says how the primary units were drawn; the other must not be there.
    wanted, also : sequence of str
        Further columns to keep; those of ``also`` may be absent.
    numbers : sequence of str
        Further columns to keep, of numbers.

    Raises
    ------
    InputError
        For a stratum that the population lacks, more hosts than it has, a unit measured twice, a value that is no
        number, a negative size, more measured units than the host has, a column that is wanted and absent, or that
        says how hosts were drawn and is not used.
    """
    gathered: _Gathered | None = None
    needed = dict.fromkeys((*wanted, *numbers, *([design] if design else [])))
    positive = {design} - {""}
    used = tuple(dict.fromkeys((*SAMPLE_COLUMNS, *DESIGN_COLUMNS, *needed, *also)))
    for row in read_table(path, ("stratum", "host", "value", *needed), used=used):
        if gathered is None:
            refuse_unused_design(row, design)
            names = (*(("cluster",) if "cluster" in row.columns else ()), *(("job",) if cluster else ()))
            primary = next((name for name in names if name in row.columns), "host")
            kept = needed | dict.fromkeys(name for name in also if name in row.columns)
            gathered = _Gathered(
                population, primary, one_by_one=cluster if one_by_one is None else one_by_one, wanted=kept
            )
        for name in positive:
            if not row.number(name) > 0.0:
                raise row.error(name, f"{row.text(name)} is not above 0; leave out what could not be drawn")
        gathered.take(row, {name: repr(row.number(name)) for name in (*positive, *numbers)})
    if gathered is None:
        raise InputError("contains no measurement; add a row per measured host or GPU", str(path), 2)
    return gathered.sample()


def refuse_unused_design(row: Row, design: str) -> None:
    """Refuse a table that says how hosts were drawn, if that would be left out.

    Raises
    ------
    InputError
    """
    for name in DESIGN_COLUMNS:
        if name in row.columns and name != design:
            raise InputError(
                f"column {name!r} is not used by this method, and says how hosts were drawn; give --method pi, or "
                "leave it out",
                row.path,
                1,
                row.columns[name],
            )


class _Gathered:
    """The rows of a sample read so far; each is held against those before it, and against the population."""

    def __init__(self, population: Population, primary: str, *, one_by_one: bool, wanted: Mapping[str, None]) -> None:
        self._population, self._primary, self._one_by_one = population, primary, one_by_one
        self._index = {name: i for i, name in enumerate(population.strata)}
        self._hosts: dict[tuple[int, str], int] = {}
        self._elements: dict[tuple[int, str, int], int] = {}
        self._seen: set[tuple[int, str, str]] = set()
        self._measure = ""
        self._in_stratum: Counter[int] = Counter()
        self._in_host: Counter[int] = Counter()
        self._units: list[int] = []
        self._unit_host: list[int] = []
        self._value: list[float] = []
        self._size: list[float] = []
        self._columns: dict[str, list[str]] = {name: [] for name in wanted}

    def take(self, row: Row, numbers: Mapping[str, str]) -> None:
        """Take in one row; ``numbers`` are the texts of its further columns that are numbers."""
        stratum = self._index.get(name := row.name("stratum"), MISSING)
        if stratum == MISSING:
            raise row.error("stratum", f"{name!r} is not in the population; add it there, or correct the name")
        self._take_unit(row, stratum)
        host = self._take_host(row, stratum, row.text(self._primary) or row.name("host"))
        value, size = row.number("value"), row.optional_number("size", least=0.0)
        key = host, row.name("host"), len(self._value) if self._one_by_one else MISSING
        element = self._elements.setdefault(key, len(self._value))
        if element == len(self._value):
            self._unit_host.append(host)
            self._value.append(value)
            self._size.append(size)
            for column, texts in self._columns.items():
                texts.append(numbers.get(column, row.text(column)))
            return
        self._value[element] += value
        self._size[element] += size
        for column, texts in self._columns.items():
            if texts[element] != numbers.get(column, row.text(column)):
                raise row.error(column, f"differs from an earlier row of {key[1]!r}; it belongs to the whole host")

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
            np.array(self._value, np.float64),
            np.array(self._size, np.float64),
            _namesakes(self._hosts, self._population),
            self._primary,
            columns={name: tuple(texts) for name, texts in self._columns.items()},
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
