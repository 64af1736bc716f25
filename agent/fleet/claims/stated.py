"""Of when, and at which boundary, a number is; and whether two numbers are of the same thing.

Published energies of one request to a language model fell tenfold between 2023 and 2025, and Google's two boundaries
alone differ 2.4 times (arXiv:2508.15734). A number of another year, or at another boundary, neither supports nor
contradicts a claim.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_A_YEAR = 365  # days
_DECEMBER = 12


@dataclass(frozen=True, slots=True)
class AsOf:
    """A year, a month, a day, or a span of them, as it was written.

    Attributes
    ----------
    text : str
    begin : date
        Its first day.
    end : date
        The day after its last.
    """

    text: str
    begin: date
    end: date

    @classmethod
    def parse(cls, text: str) -> AsOf:
        """Read ``2025``, ``2025-06``, ``2025-06-10``, or two of them with a slash between.

        Raises
        ------
        ValueError
            If it is none of these.
        """
        first, _, last = text.partition("/")
        begin, end = _days(first)[0], _days(last or first)[1]
        if end <= begin:
            raise ValueError(text)
        return cls(text, begin, end)

    def is_a_year_from(self, other: AsOf) -> bool:
        """Whether at least a year lies between the two."""
        return max((self.begin - other.end).days, (other.begin - self.end).days) >= _A_YEAR


def _days(text: str) -> tuple[date, date]:
    """Return the first day of a year, a month or a day, and the day after its last."""
    if not re.fullmatch(r"\d{4}(-\d\d){0,2}", text):
        raise ValueError(text)
    year, *rest = map(int, text.split("-"))
    match rest:
        case []:
            return date(year, 1, 1), date(year + 1, 1, 1)
        case [month]:
            following = date(year + 1, 1, 1) if month == _DECEMBER else date(year, month + 1, 1)
            return date(year, month, 1), following
    day = date(year, *rest)
    return day, day + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Stated:
    """What a number says of itself; None where it does not."""

    as_of: AsOf | None = None
    boundary: str | None = None


NOTHING_STATED = Stated()


def mismatch(claim: Stated, figure: Iterable[Stated]) -> str:
    """Say why a figure is not of what a claim is about; an empty text if nothing speaks against it.

    Parameters
    ----------
    claim : Stated
    figure : iterable of Stated
        Of each number on which the figure rests.
    """
    for number in figure:
        if claim.as_of and number.as_of and claim.as_of.is_a_year_from(number.as_of):
            return f"it is of {number.as_of.text}, the claim of {claim.as_of.text}"
        if claim.boundary and number.boundary and claim.boundary != number.boundary:
            return f"it is at the boundary {number.boundary}, the claim at {claim.boundary}"
    return ""
