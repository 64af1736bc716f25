"""A value for each stretch of time: the price of electricity, its carbon intensity, or a site's PUE."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from decimal import Decimal

    from numpy.typing import NDArray

PRICE, CARBON, PUE = "price", "carbon", "pue"
CARBON_UNIT = "gCO2e/kWh"
_EVER_US = 2**61


@dataclass(frozen=True, slots=True)
class TariffStep:
    """What a file says of one stretch of time.

    Attributes
    ----------
    from_us, to_us : int, us
        Since 1970, UTC; the end is not part of it.
    value : Decimal or None
        In the tariff's unit; None where the file has a row without a value: unknown, and never 0.
    line, column : int
        Where it stands; 0 if unknown.
    estimated : bool
        Whether the source marks it as an estimate.
    """

    from_us: int
    to_us: int
    value: Decimal | None
    line: int = 0
    column: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Tariff:
    """Values over time.

    Attributes
    ----------
    quantity : str
        ``"price"``, ``"carbon"`` or ``"pue"``.
    unit : str
        ``"EUR/kWh"`` and the like, ``"gCO2e/kWh"``, or empty (PUE, and a price whose currency is unknown).
    source : str
        What it is, for whoever reads the result.
    from_us, to_us : int64[n], us
        Ascending and disjoint; what lies between two steps has no value.
    values : tuple of n Decimal
    estimated : bool[n]
    marginal : bool
        Carbon of the next kWh instead of the mean one: must not be added to average carbon.
    """

    quantity: str
    unit: str
    source: str
    from_us: NDArray[np.int64]
    to_us: NDArray[np.int64]
    values: tuple[Decimal, ...]
    estimated: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    marginal: bool = False

    @classmethod
    def constant(cls, quantity: str, value: Decimal, unit: str = "") -> Tariff:
        """Return one value for all times."""
        ever = np.array([-_EVER_US]), np.array([_EVER_US])
        return cls(quantity, unit, "a constant", *ever, (value,), np.zeros(1, bool))

    @property
    def currency(self) -> str:
        """The currency of a price, empty if unknown or if it is not a price."""
        return self.unit.partition("/")[0] if self.quantity == PRICE else ""

    def within(self, from_us: int, to_us: int) -> Iterator[tuple[int, int, Decimal | None]]:
        """Take a stretch of time apart at the edges of the steps; None for what has no value.

        Parameters
        ----------
        from_us, to_us : int, us
            A moment (both equal) gives itself.

        Yields
        ------
        (int, int, Decimal or None)
            Begin, end and value; together they are the whole stretch, in order.
        """
        place = int(np.searchsorted(self.to_us, from_us, "right"))
        at = from_us
        while place < len(self.values) and (begin := int(self.from_us[place])) < max(to_us, from_us + 1):
            if begin > at:
                yield at, begin, None
                at = begin
            end = min(int(self.to_us[place]), to_us)
            yield at, end, self.values[place]
            at, place = end, place + 1
        if at < to_us or (at == from_us == to_us and self.steps_at(np.array([from_us]))[0] < 0):
            yield at, to_us, None

    def times(self, other: Tariff) -> Tariff:
        """Return the product, where both have a value: a price of what a PUE makes of an energy."""
        edges = np.unique(np.concatenate([self.from_us, self.to_us, other.from_us, other.to_us]))
        mine, theirs = self.steps_at(edges[:-1]), other.steps_at(edges[:-1])
        both = np.flatnonzero((mine >= 0) & (theirs >= 0))
        return replace(
            self,
            from_us=edges[both],
            to_us=edges[both + 1],
            values=tuple(self.values[mine[i]] * other.values[theirs[i]] for i in both.tolist()),
            estimated=self.estimated[mine[both]] | other.estimated[theirs[both]],
        )

    def steps_at(self, at_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the step that holds each time; -1 where none does."""
        place = np.searchsorted(self.to_us, at_us, "right")
        here = np.minimum(place, len(self.values) - 1)
        inside = (place < len(self.values)) & (self.from_us[here] <= at_us) if len(self.values) else place < 0
        return np.where(inside, here, -1).astype(np.int64)


def tariff_of(
    steps: Iterable[TariffStep], path: str, quantity: str, unit: str, source: str, *, marginal: bool = False
) -> Tariff:
    """Put the steps of a file in order.

    Rows that say the same of the same time are one (exports repeat rows). Rows without a value are left out: that time
    is not priced.

    Raises
    ------
    InputError
        Where two rows contradict each other, a row ends before it begins, or nothing has a value.
    """
    kept: list[TariffStep] = []
    for step in sorted(steps, key=lambda one: (one.from_us, one.to_us, one.line)):
        if step.to_us <= step.from_us:
            raise InputError("ends before it begins; give each row an end after its start", path, step.line)
        before = kept[-1] if kept else None
        if before is not None and step.from_us < before.to_us:
            if (step.from_us, step.to_us, step.value) == (before.from_us, before.to_us, before.value):
                continue
            raise InputError(
                f"overlaps line {before.line} with another value; keep one row for each time",
                path,
                step.line,
                step.column,
            )
        kept.append(step)
    known = [step for step in kept if step.value is not None]
    if not known:
        raise InputError(f"no row holds a {quantity}", path)
    return Tariff(
        quantity, unit, source,
        np.array([step.from_us for step in known], np.int64), np.array([step.to_us for step in known], np.int64),
        tuple(step.value for step in known if step.value is not None),
        np.array([step.estimated for step in known], bool), marginal,
    )  # fmt: skip


def regular(starts_us: list[int], path: str) -> int:
    """Return how long a step lasts, us, where only starts are given: the shortest time between two of them.

    Raises
    ------
    InputError
        If there are not two different starts to tell it from.
    """
    apart = np.diff(np.unique(np.array(starts_us, np.int64)))
    if not apart.size:
        raise InputError("holds one row: how long it applies is unknown; add the next row, or give start and end", path)
    return int(apart.min())
