"""From IT to the facility: a power usage effectiveness that is constant, by load and temperature, or by the hour.

The model by load adds up what stands between IT and the meter of the site, per watt of IT at load fraction x:
UPS and distribution (no-load loss u0, proportional u1, ohmic u2), the chillers' work 1 / COP(T), and what is always on:

    PUE = 1 + u0 / x + u1 + u2 x + 1 / COP(T) + fixed / IT

(loss terms of a UPS: S. Pelley et al., Understanding and abstracting total data center power, WEED 2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.ranges import Range

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ConstantPue:
    """One number, with its interval."""

    pue: Range

    def at(self, it_w: float) -> float:
        """PUE at an IT power of ``it_w`` watts."""
        del it_w
        return self.pue.value

    def by_hour(self, it_w: float) -> None:
        """Say that it does not change by the hour."""


@dataclass(frozen=True, slots=True)
class LoadPue:
    """By load and outdoor temperature.

    Attributes
    ----------
    capacity_w : float, W
        IT power at load fraction 1.
    u0, u1, u2 : float
        No-load, proportional and ohmic losses, as fractions.
    cop_at_20c : float
        Watts of heat removed per watt of cooling at 20 C outdoors.
    cop_per_c : float
        Its loss per degree above 20 C.
    cop_most : float
        What free cooling reaches at best.
    fixed_w : float, W
        Lights, offices, ventilation.
    outdoor_c : float, C
    spread : float
        95 % half-width of the PUE's overhead (all above 1), as a fraction of it.
    """

    capacity_w: float
    u0: float = 0.02
    u1: float = 0.03
    u2: float = 0.03
    cop_at_20c: float = 6.0
    cop_per_c: float = 0.15
    cop_most: float = 15.0
    fixed_w: float = 0.0
    outdoor_c: float = 20.0
    spread: float = 0.1

    def cop(self, outdoor_c: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Coefficient of performance at outdoor temperatures, never below 1."""
        return np.clip(self.cop_at_20c - self.cop_per_c * (np.asarray(outdoor_c) - 20.0), 1.0, self.cop_most)

    def facility_w(
        self, it_w: NDArray[np.float64] | float, outdoor_c: NDArray[np.float64] | float | None = None
    ) -> NDArray[np.float64]:
        """Power at the meter of the site, W; with no IT power, what is drawn all the same.

        Parameters
        ----------
        it_w : float64[n] or float, W
        outdoor_c : float64[n] or float, C, optional
            Temperatures of their own.
        """
        it = np.asarray(it_w, np.float64)
        losses = self.u0 * self.capacity_w + self.u1 * it + self.u2 * it * (it / self.capacity_w)
        return it + losses + it / self.cop(self.outdoor_c if outdoor_c is None else outdoor_c) + self.fixed_w

    def by_hour(self, it_w: float) -> None:
        """Say that it does not change by the hour, since there are no hourly temperatures."""

    def at(self, it_w: float, outdoor_c: float | None = None) -> float:
        """PUE at an IT power of ``it_w`` watts, and a temperature of its own.

        Raises
        ------
        InputError
            If there is no IT power, since then there is no PUE.
        """
        if not it_w > 0.0:
            raise InputError("a PUE needs IT power above 0")
        return float(self.facility_w(it_w, outdoor_c)) / it_w


@dataclass(frozen=True, slots=True)
class HourlyPue:
    """From a table, one value an hour; its mean stands for all hours where IT does not change over the day."""

    hours: NDArray[np.float64]
    spread: float = 0.05

    def at(self, it_w: float) -> float:
        """Mean PUE, for IT power that is flat over the hours."""
        del it_w
        return float(np.mean(self.hours))

    def by_hour(self, it_w: float) -> NDArray[np.float64]:
        """PUE of each hour: float64[h]."""
        del it_w
        return self.hours


@dataclass(frozen=True, slots=True)
class WeatherPue:
    """By load, and by the outdoor temperature of each hour: float64[h], C."""

    model: LoadPue
    outdoor_c: NDArray[np.float64]

    @property
    def spread(self) -> float:
        """95 % half-width of the overhead, as a fraction of it."""
        return self.model.spread

    def at(self, it_w: float) -> float:
        """Mean PUE over the hours, for IT power that is flat over them."""
        return float(np.mean(self.by_hour(it_w)))

    def by_hour(self, it_w: float) -> NDArray[np.float64]:
        """PUE of each hour: float64[h]."""
        by_hour: NDArray[np.float64] = self.model.facility_w(it_w, self.outdoor_c) / it_w
        return by_hour


Pue = ConstantPue | LoadPue | HourlyPue | WeatherPue


def overhead(model: Pue) -> Range:
    """Uncertain factor on a PUE's overhead: facility = IT + (PUE - 1) IT factor."""
    if isinstance(model, ConstantPue):
        above = model.pue.value - 1.0
        if above <= 0.0:
            return Range.exact(1.0)
        return Range(1.0, (model.pue.low - 1.0) / above, (model.pue.high - 1.0) / above)
    return Range.relative(1.0, model.spread)
