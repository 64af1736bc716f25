"""A number with its 95 % interval, and how such numbers combine.

A formula of uncertain inputs is evaluated at the central values, then with each input alone moved to either end; the
deviations, being independent, add as the root of the sum of their squares, upward and downward apart (JCGM 100:2008,
5.1.3 note 2 and H; the finite-difference form keeps skewed inputs skewed).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Range:
    """``value`` with its 95 % interval from ``low`` to ``high``; all three alike where it is exact."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Range:
        """Make a number without uncertainty."""
        return cls(value, value, value)

    @classmethod
    def relative(cls, value: float, half: float) -> Range:
        """Make ``value`` within plus or minus the fraction ``half`` of it."""
        return cls(value, value - abs(value) * half, value + abs(value) * half)

    def stretched(self, scale: float, *, most: float = math.inf) -> Range:
        """Make the interval of another confidence: both sides times ``scale``, within 0 and ``most``."""
        if scale == 1.0 or self.is_exact:
            return self
        low, high = self.value - scale * (self.value - self.low), self.value + scale * (self.high - self.value)
        return Range(self.value, max(low, min(0.0, self.low)), min(high, max(most, self.high)))

    def times(self, factor: float) -> Range:
        """All of it times a number that is not negative."""
        return Range(self.value * factor, self.low * factor, self.high * factor)

    def at(self, place: float) -> float:
        """Point between ``low`` (-1), ``value`` (0) and ``high`` (1)."""
        return self.value + place * (self.value - self.low if place < 0.0 else self.high - self.value)

    @property
    def is_exact(self) -> bool:
        """Whether the interval has no width."""
        return self.low == self.high


def combine(formula: Callable[[Mapping[str, float]], float], inputs: Mapping[str, Range]) -> Range:
    """Evaluate ``formula`` over named uncertain inputs, which are taken to be independent.

    Parameters
    ----------
    formula : callable
        Takes name -> value, returns a float.
    inputs : mapping of name -> Range

    Returns
    -------
    Range
    """
    central = {name: r.value for name, r in inputs.items()}
    value = formula(central)
    up = down = 0.0
    for name, r in inputs.items():
        if r.is_exact:
            continue
        moved = [formula({**central, name: end}) - value for end in (r.low, r.high)]
        up += max(0.0, *moved) ** 2
        down += min(0.0, *moved) ** 2
    return Range(value, value - math.sqrt(down), value + math.sqrt(up))
