"""Scenarios: a public claim about AI's power, recomputed from sourced numbers and judged.

A scenario is a TOML file (docs/fleet.md describes it): ``[given.NAME]`` numbers, each with its unit and source;
``[formula.NAME]`` arithmetic over them; ``[[boundary]]`` the powers, each at a named boundary; ``[[claim]]`` what is
judged, or why it cannot be. Intervals are 95 % and follow from the intervals of the given numbers
(`agent.fleet.boundary.ranges`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.ranges import Range, combine
from wattshed.agent.fleet.claims.formula import Formula, FormulaError, evaluator, scalar
from wattshed.agent.fleet.claims.stated import NOTHING_STATED, AsOf, Stated, mismatch
from wattshed.agent.fleet.claims.verdict import RELATIONS, Verdict, judge
from wattshed.agent.inputs.toml import Document, meant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from wattshed.agent.inputs.toml import Table

BOUNDARIES = ("gpu", "node", "it", "facility", "grid")
HOURS_A_YEAR = 8760.0  # of 365 days, as the claims count
_STATED = ("as_of", "boundary")
_SAID = ("text", "source", "article", *_STATED)
_JUDGED = ("part", "relation", "claimed", "tolerance", "unit", "computed", "because")


@dataclass(frozen=True, slots=True)
class Given:
    """A number (or an hourly list of numbers) that is taken from somewhere."""

    name: str
    value: float | tuple[float, ...]
    range: Range  # of the number; of a common factor (1 +- spread) for a list
    unit: str
    source: str
    stated: Stated = NOTHING_STATED

    @property
    def label(self) -> str:
        """Whom the number is from: its source up to the first colon."""
        return self.source.partition(": ")[0]


@dataclass(frozen=True, slots=True)
class Figure:
    """A computed number with its interval."""

    name: str
    range: Range
    unit: str
    about: str
    formula: str
    stated: Stated = NOTHING_STATED


@dataclass(frozen=True, slots=True)
class BoundaryPower:
    """Mean power at a named boundary, W."""

    boundary: str
    basis: str
    range: Range


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim and its verdict.

    Attributes
    ----------
    text, source, article : str
        What is claimed, by whom, and in which text or talk.
    stated : Stated
        Of when, and at which boundary, the claim is.
    verdict : Verdict
    reason : str
        A sentence with both numbers.
    because : str
        What is said besides them; it ends the reason.
    at_the_edge : bool
        Whether a change of 1 % in an end of the interval would change the verdict.
    relation, unit : str
        Empty where it is not computable.
    claimed, computed : float, Range
        None where it is not computable.
    tolerance : float
    computed_by : str
        Name of the figure, or of the given number, that is compared.
    formulas : tuple of str
        Names of the formulas by which it is computed, in the order of the file.
    rests_on : tuple of Given
        The given numbers from which it follows.
    """

    text: str
    source: str
    article: str
    stated: Stated
    verdict: Verdict
    reason: str
    because: str = ""
    at_the_edge: bool = False
    relation: str = ""
    claimed: float | None = None
    tolerance: float = 0.0
    unit: str = ""
    computed: Range | None = None
    computed_by: str = ""
    formulas: tuple[str, ...] = ()
    rests_on: tuple[Given, ...] = ()


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
        For a name that does not exist, or a file that cannot be used; it names the line.
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
    return _Reader(Document(path).root).scenario(path.stem)


class _Reader:
    """One file being read: numbers and formulas are known by name when figures are computed from them."""

    def __init__(self, root: Table) -> None:
        self._root = root.only(("name", "title", "source", "given", "formula", "boundary", "energy", "claim"))
        self._given: dict[str, Given] = {}
        self._formulas: dict[str, Formula] = {}
        self._stated: dict[str, Stated] = {}
        self._units: dict[str, str] = {}

    def scenario(self, stem: str) -> Scenario:
        root = self._root
        given = root.table("given")
        for name in given:
            self._given[name] = _read_given(name, given.table(name))
            self._stated[name], self._units[name] = self._given[name].stated, self._given[name].unit
        formula = root.table("formula")
        tables = {name: formula.table(name).only(("is", "unit", "about", "list", *_STATED)) for name in formula}
        for name, table in tables.items():
            if name in self._given:
                formula.fail("is both given and computed", name)
            self._stated[name], self._units[name] = _read_stated(table), table.text("unit")
            try:
                self._formulas[name] = Formula(table.text("is"))
            except FormulaError as error:
                table.fail(str(error), "is")
        figures = tuple(
            Figure(
                name,
                self._figure(name, table, "is"),
                table.text("unit"),
                table.text("about", "", empty=True),
                self._formulas[name].text,
                self._stated[name],
            )
            for name, table in tables.items()
            if not table.flag("list", default=False)
        )
        boundaries = tuple(self._boundary(table) for table in root.tables("boundary"))
        if not boundaries:
            root.fail("needs a [[boundary]]; name the boundary at which the power is stated")
        energy = root.table("energy").only(("of",))
        watts = self._figure(energy.text("of"), energy, "of", "W")
        year = HOURS_A_YEAR / 1000.0
        return Scenario(
            root.text("name", stem),
            root.text("title"),
            root.text("source"),
            tuple(self._given.values()),
            figures,
            boundaries,
            Range(watts.value * year, watts.low * year, watts.high * year),
            energy.text("of"),
            tuple(self._claim(table) for table in root.tables("claim")),
        )

    def _figure(self, name: str, table: Table, key: str, unit: str = "") -> Range:
        """Compute what is called ``name``, in ``unit`` if one is wanted; complaints are about the key that asked."""
        needed = self._inputs(name, table, key)
        if unit and (own := self._units[name]) != unit:
            table.fail(f"{name!r} is in {own}, and {unit} is wanted here: numbers are not converted", key)

        def compute(inputs: Mapping[str, float]) -> float:
            values: dict[str, float | NDArray[np.float64]] = {}
            for each, number in inputs.items():
                listed = self._given[each].value
                values[each] = np.array(listed) * number if isinstance(listed, tuple) else number
            return scalar(evaluator(self._formulas, values)(name), name)

        try:
            return combine(compute, {each: self._given[each].range for each in needed})
        except FormulaError as error:
            table.fail(str(error), key)

    def _inputs(self, name: str, table: Table, key: str) -> list[str]:
        """Given numbers that a figure rests on, in the order of the file."""
        found = self._beneath(name, table, key)
        return [each for each in self._given if each in found]

    def _beneath(self, name: str, table: Table, key: str) -> set[str]:
        """Whatever a figure follows from, itself as well; complaints are about the key that asked for it."""
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
                near = meant(current, [*self._given, *self._formulas])
                table.fail(
                    f"there is nothing named {current!r}{near or f'; add [given.{current}] or [formula.{current}]'}",
                    key,
                )
        return found

    def _of(self, name: str) -> list[Stated]:
        """Of when and where the numbers are on which a figure rests; what a formula says of itself goes before."""
        found: list[Stated] = []
        pending = [(name, NOTHING_STATED)]
        while pending:
            current, above = pending.pop()
            own = self._stated[current]
            said = Stated(above.as_of or own.as_of, above.boundary or own.boundary)
            deeper = self._formulas[current].names if current in self._formulas else ()
            found += [] if deeper else [said]
            pending.extend((each, said) for each in deeper)
        return found

    def _boundary(self, table: Table) -> BoundaryPower:
        table.only(("boundary", "basis", "power"))
        boundary = table.text("boundary", choices=BOUNDARIES)
        return BoundaryPower(
            boundary, table.text("basis", "", empty=True), self._figure(table.text("power"), table, "power", "W")
        )

    def _claim(self, table: Table) -> Claim:
        computable = "not_computable" not in table
        table.only((*_SAID, *(_JUDGED if computable else ()), "not_computable"))
        said = (table.text("text"), table.text("source", self._root.text("source", ""), empty=True))
        article, stated = table.text("article", "", empty=True), _read_stated(table)
        if not computable:
            why = table.text("not_computable").rstrip(".")
            return Claim(*said, article, stated, Verdict.NOT_COMPUTABLE, f"no model can judge it: {why}.", why)
        relation = table.text("relation", "about", choices=RELATIONS)
        claimed, tolerance = table.number("claimed"), table.number("tolerance", 0.1, low=0)
        unit, name = table.text("unit"), table.text("computed")
        computed = self._figure(name, table, "computed", unit)
        part = table.text("part", "", empty=True)
        beneath, differs = self._beneath(name, table, "computed"), mismatch(stated, self._of(name))
        judged = judge(claimed, relation, tolerance, computed, unit, part=part, mismatch=differs)
        because = table.text("because", "", empty=True).rstrip(".")
        return Claim(
            *said,
            article,
            stated,
            judged.verdict,
            f"{judged.reason}{('; ' if differs else ': ') + because if because else ''}.",
            "; ".join(told for told in (differs, part and f"for {part}", because) if told),
            judged.at_the_edge,
            relation,
            claimed,
            tolerance,
            unit,
            computed,
            name,
            tuple(each for each in self._formulas if each in beneath),
            tuple(given for each, given in self._given.items() if each in beneath),
        )


def _read_stated(table: Table) -> Stated:
    as_of, boundary = None, None
    if "as_of" in table:
        try:
            as_of = AsOf.parse(table.text("as_of"))
        except ValueError:
            table.fail("must be a year, a month or a day, such as 2025-06, or two with a slash between", "as_of")
    if "boundary" in table:
        boundary = table.text("boundary", choices=BOUNDARIES)
    return Stated(as_of, boundary)


def _read_given(name: str, table: Table) -> Given:
    table.only(("value", "low", "high", "spread", "unit", "source", *_STATED))
    unit, source, stated = table.text("unit"), table.text("source"), _read_stated(table)
    spread = table.number("spread", 0.0, low=0)
    if isinstance(table.items.get("value"), list):
        listed = tuple(table.each("value", float))
        if not listed:
            table.fail("must not be empty", "value")
        return Given(name, listed, Range.relative(1.0, spread), unit, source, stated)
    number = table.number("value")
    spanned = Range.relative(number, spread)
    low = table.number("low", spanned.low, high=number)
    high = table.number("high", spanned.high, low=number)
    return Given(name, number, Range(number, low, high), unit, source, stated)
