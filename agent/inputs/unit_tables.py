"""Units of power, energy and share, as exact factors; without numpy, for a command line that only names them."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

POWER_MW: Mapping[str, Fraction] = {
    "uW": Fraction(1, 1000),
    "mW": Fraction(1),
    "W": Fraction(1000),
    "kW": Fraction(10**6),
    "MW": Fraction(10**9),
    "GW": Fraction(10**12),
}
ENERGY_MJ: Mapping[str, Fraction] = {
    "uJ": Fraction(1, 1000),
    "mJ": Fraction(1),
    "J": Fraction(1000),
    "kJ": Fraction(10**6),
    "MJ": Fraction(10**9),
    "mWh": Fraction(3600),
    "Wh": Fraction(3600 * 1000),
    "kWh": Fraction(3600 * 10**6),
}
ENERGY_UJ: Mapping[str, Fraction] = {unit: 1000 * factor for unit, factor in ENERGY_MJ.items()}
SHARE_PPM: Mapping[str, Fraction] = {
    "%": Fraction(10_000),
    "ratio": Fraction(10**6),
    "milli": Fraction(1000),
    "ppm": Fraction(1),
}
COUNT: Mapping[str, Fraction] = {"": Fraction(1)}
