"""Scenarios: a public claim about AI's power, recomputed from sourced numbers and judged.

A scenario is a TOML file (docs/fleet.md describes it): ``[given.NAME]`` numbers, each with its unit and source;
``[formula.NAME]`` arithmetic over them; ``[[boundary]]`` the powers, each at a named boundary; ``[[claim]]`` what is
judged. Intervals are 95 % and follow from the intervals of the given numbers (`agent.fleet.boundary.ranges`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.ranges import Range, combine
from wattshed.agent.fleet.claims.formula import Formula, FormulaError, evaluator, scalar
from wattshed.agent.fleet.claims.verdict import RELATIONS, Verdict, judge
from wattshed.agent.inputs.tables import read_text
from wattshed.agent.inputs.toml import line_of, read_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

BOUNDARIES = ("gpu", "node", "it", "facility", "grid")
HOURS_A_YEAR = 8760.0


@dataclass(frozen=True, slots=True)
class Given:
    """A number (or an hourly list of numbers) that is taken from somewhere."""

    name: str
    value: float | tuple[float, ...]
    range: Range  # of the number; of a common factor (1 +- spread) for a list
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A computed number with its interval."""

    name: str
    range: Range
    unit: str
    about: str
    formula: str


@dataclass(frozen=True, slots=True)
class BoundaryPower:
    """Mean power at a named boundary, W."""

    boundary: str
    basis: str
    range: Range


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim and what became of it."""

    text: str
    source: str
    relation: str
    claimed: float
    tolerance: float
    unit: str
    computed: Range
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario, evaluated."""

    name: str
    title: str
    source: str
    given: tuple[Given, ...]
    figures: tuple[Figure, ...]
    boundaries: tuple[BoundaryPower, ...]
    energy_kwh_per_year: Range
    energy_of: str
    claims: tuple[Claim, ...]


def shipped() -> dict[str, Path]:
    """Names of the scenarios that come with the package, and their files."""
    folder = Path(str(files("wattshed.agent.fleet.claims"))) / "scenarios"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load(name_or_path: str) -> Scenario:
    """Read and evaluate a shipped scenario, or the user's own file.

    Raises
    ------
    InputError
        For a name that is none, or a file that cannot be used; it names the line.
    """
    known = shipped()
    if name_or_path in known:
        return read(known[name_or_path])
    if name_or_path.endswith(".toml") or Path(name_or_path).exists():
        return read(Path(name_or_path))
    raise InputError(f"no scenario {name_or_path!r}; choose one of {', '.join(known)}, or give a .toml file")


def read(path: Path) -> Scenario:
    """Read and evaluate a scenario file.

    Raises
    ------
    InputError
        If it cannot be used; it names the line.
    """
    text = read_text(path)
    return _Reader(str(path), text, read_toml(path, text)).scenario(path.stem)


class _Reader:
    """One file being read: every complaint finds its line in the text."""

    def __init__(self, path: str, text: str, tables: dict[str, Any]) -> None:
        self._path, self._text, self._tables = path, text, tables
        self._given: dict[str, Given] = {}
        self._formulas: dict[str, Formula] = {}

    def scenario(self, stem: str) -> Scenario:
        for key in self._tables:
            if key not in ("name", "title", "source", "given", "formula", "boundary", "energy", "claim"):
                raise self._error(f"unknown key {key!r}", key)
        for name, table in self._table(self._tables, "given").items():
            self._given[name] = self._read_given(name, table)
        for name, table in self._table(self._tables, "formula").items():
            if name in self._given:
                raise self._error(f"{name!r} is both given and computed", f"formula.{name}")
            try:
                self._formulas[name] = Formula(self._string(table, "is", f"formula.{name}"))
            except FormulaError as error:
                raise self._error(str(error), f"formula.{name}") from None
        figures = tuple(
            Figure(
                name,
                self._figure(name, f"formula.{name}"),
                self._string(self._tables["formula"][name], "unit", f"formula.{name}"),
                str(self._tables["formula"][name].get("about", "")),
                formula.text,
            )
            for name, formula in self._formulas.items()
            if not self._tables["formula"][name].get("list", False)
        )
        boundaries = tuple(self._boundary(table) for table in self._list("boundary"))
        if not boundaries:
            raise InputError("has no [[boundary]]; name the boundary at which the power holds", self._path)
        of = self._string(self._table(self._tables, "energy"), "of", "energy")
        watts = self._figure(of, "energy")
        year = HOURS_A_YEAR / 1000.0
        return Scenario(
            str(self._tables.get("name", stem)),
            self._string(self._tables, "title", "title"),
            self._string(self._tables, "source", "source"),
            tuple(self._given.values()),
            figures,
            boundaries,
            Range(watts.value * year, watts.low * year, watts.high * year),
            of,
            tuple(self._claim(table) for table in self._list("claim")),
        )

    def _read_given(self, name: str, table: Any) -> Given:
        where = f"given.{name}"
        if not isinstance(table, dict):
            raise self._error(f"{where} must be a table with value, unit and source", where)
        for key in table:
            if key not in ("value", "low", "high", "spread", "unit", "source"):
                raise self._error(f"{where}: unknown key {key!r}", where)
        unit, source = self._string(table, "unit", where), self._string(table, "source", where)
        value = table.get("value")
        spread = self._number(table.get("spread", 0.0), f"{where}.spread", where)
        if isinstance(value, list):
            listed = tuple(self._number(v, f"{where}.value", where) for v in value)
            return Given(name, listed, Range.relative(1.0, spread), unit, source)
        number = self._number(value, f"{where}.value", where)
        spanned = Range.relative(number, spread)
        low = self._number(table.get("low", spanned.low), f"{where}.low", where)
        high = self._number(table.get("high", spanned.high), f"{where}.high", where)
        if not low <= number <= high:
            raise self._error(f"{where}: value {number:g} is not between low {low:g} and high {high:g}", where)
        return Given(name, number, Range(number, low, high), unit, source)

    def _figure(self, name: str, where: str) -> Range:
        needed = self._inputs(name, where)

        def compute(inputs: Mapping[str, float]) -> float:
            values: dict[str, float | NDArray[np.float64]] = {}
            for key, number in inputs.items():
                listed = self._given[key].value
                values[key] = np.array(listed) * number if isinstance(listed, tuple) else number
            return scalar(evaluator(self._formulas, values)(name), name)

        try:
            return combine(compute, {key: self._given[key].range for key in needed})
        except FormulaError as error:
            raise self._error(str(error), where) from None

    def _inputs(self, name: str, where: str) -> list[str]:
        """Given numbers that a figure rests on, in the order of the file."""
        found: set[str] = set()
        pending = [name]
        while pending:
            current = pending.pop()
            if current in found:
                continue
            found.add(current)
            if current in self._formulas:
                pending.extend(self._formulas[current].names)
            elif current not in self._given:
                raise self._error(f"nothing is called {current!r}; add [given.{current}] or [formula.{current}]", where)
        return [key for key in self._given if key in found]

    def _boundary(self, table: dict[str, Any]) -> BoundaryPower:
        boundary = self._string(table, "boundary", "boundary")
        if boundary not in BOUNDARIES:
            raise self._error(f"boundary {boundary!r} is none of {', '.join(BOUNDARIES)}", "boundary")
        power = self._string(table, "power", "boundary")
        return BoundaryPower(boundary, str(table.get("basis", "")), self._figure(power, "boundary"))

    def _claim(self, table: dict[str, Any]) -> Claim:
        text = self._string(table, "text", "claim")
        relation = str(table.get("relation", "about"))
        if relation not in RELATIONS:
            raise self._error(f"relation {relation!r} is none of {', '.join(RELATIONS)}", "claim")
        claimed = self._number(table.get("claimed"), "claimed", "claim")
        tolerance = self._number(table.get("tolerance", 0.1), "tolerance", "claim")
        unit = self._string(table, "unit", "claim")
        computed = self._figure(self._string(table, "computed", "claim"), "claim")
        verdict, reason = judge(claimed, relation, tolerance, computed, unit)
        because = str(table.get("because", "")).strip().rstrip(".")
        return Claim(
            text,
            str(table.get("source", self._tables.get("source", ""))),
            relation,
            claimed,
            tolerance,
            unit,
            computed,
            verdict,
            f"{reason}{': ' + because if because else ''}.",
        )

    def _table(self, tables: dict[str, Any], key: str) -> dict[str, Any]:
        found = tables.get(key)
        if not isinstance(found, dict):
            raise self._error(f"has no table [{key}]" if found is None else f"{key} must be a table", key)
        return found

    def _list(self, key: str) -> list[dict[str, Any]]:
        found = self._tables.get(key, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise self._error(f"{key} must be written as [[{key}]]", key)
        return found

    def _string(self, table: Any, key: str, where: str) -> str:
        if not isinstance(table, dict) or not isinstance(table.get(key), str) or not table[key].strip():
            raise self._error(f'{where} needs {key} = "..."' if where != key else f'needs {key} = "..."', where)
        return str(table[key]).strip()

    def _number(self, value: Any, what: str, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise self._error(f"{what} must be a finite number, not {value!r}", where)
        return float(value)

    def _error(self, message: str, where: str) -> InputError:
        return InputError(message, self._path, line_of(self._text, where))
