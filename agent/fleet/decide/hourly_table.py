"""Hourly columns in UTC, and how those of several files go together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

HOUR_S = 3600
_FEBRUARY_29_H = ((np.datetime64("2000-02-29") - np.datetime64("1970-01-01")).astype(int) * 24).item()


@dataclass(frozen=True, slots=True)
class HourlyTable:
    """Columns by the hour, in UTC.

    Attributes
    ----------
    hours : int64[h]
        Hours since 1970, ascending, each once; of a typical year those of the year 2000.
    values : mapping of name -> float64[h]
        NaN where an hour has no number.
    typical : bool
        A typical year: its hours stand for the same month, day and hour of any year.
    currency : str
        Of the price; empty if unknown.
    marginal : bool
        Carbon is that of the next kWh, not of the mean one.
    said : tuple of str
        What was assumed when it was read.
    """

    hours: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]
    typical: bool = False
    currency: str = ""
    marginal: bool = False
    said: tuple[str, ...] = field(default=())

    @classmethod
    def of_rows(
        cls,
        seconds: NDArray[np.float64],
        columns: Mapping[str, NDArray[np.float64]],
        *,
        typical: bool = False,
        currency: str = "",
        marginal: bool = False,
        said: tuple[str, ...] = (),
    ) -> HourlyTable:
        """Average rows over the hours in which they begin.

        Parameters
        ----------
        seconds : float64[rows], s
            Since 1970, UTC.
        columns : mapping of name -> float64[rows]
            NaN where a row has no number.
        """
        each = np.floor(seconds / HOUR_S).astype(np.int64)
        hours, place = np.unique(in_typical_year(each) if typical else each, return_inverse=True)
        values = {}
        for name, column in columns.items():
            known = ~np.isnan(column)
            count = np.bincount(place[known], minlength=hours.size)
            total = np.bincount(place[known], column[known], minlength=hours.size)
            values[name] = np.where(count > 0, total / np.maximum(count, 1), math.nan)
        return cls(hours, values, typical, currency, marginal, said)

    def at(self, hours: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Return the columns at some hours; NaN where the table lacks one."""
        if not self.hours.size:
            return {name: np.full(hours.size, math.nan) for name in self.values}
        wanted = in_typical_year(hours) if self.typical else hours
        place, there = self._find(wanted)
        if self.typical and not there.all():  # most typical years have no 29 February; the day before stands for it
            leap = (wanted >= _FEBRUARY_29_H) & (wanted < _FEBRUARY_29_H + 24)
            place, there = self._find(np.where(leap & ~there, wanted - 24, wanted))
        return {name: np.where(there, column[place], math.nan) for name, column in self.values.items()}

    def _find(self, wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        place = np.clip(np.searchsorted(self.hours, wanted), 0, self.hours.size - 1)
        return place, self.hours[place] == wanted


@dataclass(frozen=True, slots=True)
class HourlyTables:
    """Tables of one place, from one file or several: other columns, or other years."""

    parts: tuple[HourlyTable, ...]

    @property
    def names(self) -> frozenset[str]:
        """Columns that there are."""
        return frozenset(name for part in self.parts for name in part.values)

    @property
    def currencies(self) -> frozenset[str]:
        """Currencies of the prices that say one."""
        return frozenset(part.currency for part in self.parts if part.currency)

    @property
    def marginal(self) -> bool:
        """Whether carbon is that of the next kWh."""
        return any(part.marginal for part in self.parts)

    @property
    def said(self) -> tuple[str, ...]:
        """What was assumed when they were read."""
        return tuple(dict.fromkeys(text for part in self.parts for text in part.said))

    def at(self, hours: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Return all columns at some hours; NaN where no table has one, and the first that does counts."""
        found: dict[str, NDArray[np.float64]] = {}
        for part in self.parts:
            for name, column in part.at(hours).items():
                found[name] = np.where(np.isnan(found[name]), column, found[name]) if name in found else column
        return found


def in_typical_year(hours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hours of the year 2000 with the same month, day and hour of the day as some hours since 1970."""
    days = (hours // 24).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    into = (days - months.astype("datetime64[D]")).astype(np.int64)
    of_2000 = (np.datetime64("2000-01") + months.astype(np.int64) % 12).astype("datetime64[D]")
    return np.asarray((of_2000.astype(np.int64) + into) * 24 + hours % 24, np.int64)
