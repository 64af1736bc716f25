"""Figures as people read them: energies with what they may be off by, times of a run, and text of strangers."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_EVEN, ROUND_UP, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

JOULES_PER_KWH = 3_600_000
SIGMAS = 2
"""How many sigma stand after a plus-minus: 95 of 100 such figures are that close."""
BOUNDARY = "Energy is what GPU boards drew, ± two sigma; processors, memory, network and cooling are not in it."
SIMULATED = "SIMULATED DATA, all of it or a part: no GPU drew it."
"""What must be said wherever energies are."""
UNKNOWN = "-"
_UNITS = (("GWh", 10**12), ("MWh", 10**9), ("kWh", 10**6), ("Wh", 10**3), ("mWh", 1))  # each in 3.6 mJ
_BARS = "▁▂▃▄▅▆▇█"


def printable(text: str) -> str:
    """Show what would steer a terminal instead of obeying it: users name their jobs and accounts what they like."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def figures(value: Decimal, doubt: Decimal, places: int = 3) -> tuple[str, str]:
    """Write a figure and what it may be off by: the doubt with two digits, rounded up, the figure to the last of them.

    Parameters
    ----------
    value, doubt : Decimal
        In one unit.
    places : int
        How many decimals there are at most.

    Returns
    -------
    (str, str)
        Such as ``12.34`` and ``0.12``. Where nothing is in doubt the figure has four digits or more.
    """
    digit = doubt.adjusted() - 1 if doubt else min(value.adjusted() - 3, 0) if value else 0
    if doubt and doubt.quantize(Decimal(1).scaleb(digit), ROUND_UP).adjusted() > doubt.adjusted():
        digit += 1  # 9.96 is rounded up to 10
    step = Decimal(1).scaleb(max(digit, -places))
    return f"{value.quantize(step, ROUND_HALF_EVEN):z,f}", f"{doubt.quantize(step, ROUND_UP):,f}"


def with_doubt(value: Decimal, doubt: Decimal, unit: str, places: int = 3) -> str:
    """Write a figure with what it may be off by, such as ``12.34 ± 0.12 kWh``, see `figures`."""
    return f"{' ± '.join(figures(value, doubt, places))} {unit}"


def energy(joules: str, sigma_j: float | None) -> str:
    """Write an energy in the unit that suits it, ± two sigma.

    Parameters
    ----------
    joules : str
        Decimal digits, as documents have them.
    sigma_j : float or None, J
        None: nothing is said about its doubt.
    """
    value = Decimal(joules) * 1000 / 3600  # in mWh
    unit, size = next((one for one in _UNITS if abs(value) >= one[1]), _UNITS[-1])
    if sigma_j is None:
        return f"{figures(value / size, Decimal(0))[0]} {unit}"
    return with_doubt(value / size, Decimal(repr(sigma_j)) * SIGMAS * 1000 / 3600 / size, unit)


def watts(value: float | None) -> str:
    """Write a power, W; tenths where there are few."""
    if value is None:
        return UNKNOWN
    return f"{value:,.1f}" if abs(value) < 10 else f"{value:,.0f}"


def elapsed(seconds: float) -> str:
    """Write a length of time as Slurm does: ``1-02:03:04`` is a day, two hours, three minutes and four seconds."""
    whole = max(int(seconds), 0)
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    return (f"{days}-" if days else "") + f"{hours:02}:{minutes:02}:{whole % 60:02}"


def age(seconds: float) -> str:
    """Write an age in the one unit that says enough: ``14 s``, ``3 h``."""
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def moment(seconds: float | None, zone: tzinfo | None, *, year: int = 0) -> str:
    """Write a time in a zone (None: that of this machine).

    In a given year it is short: within it the year is left out, in others the time of the day.
    """
    if seconds is None:
        return UNKNOWN
    when = datetime.fromtimestamp(seconds, zone)
    if not year:
        return when.strftime("%Y-%m-%d %H:%M")
    return when.strftime("%m-%d %H:%M" if when.year == year else "%Y-%m-%d")


def part_of(value: float, top: float) -> float:
    """Return which part of the largest a value is, from 0 to 1; sums of absurd readings may be infinite."""
    part = value / top if top > 0 else 0.0
    return max(part, 0.0) if part < 1.0 else 1.0


def sparkline(values: Sequence[float | None], top: float | None = None) -> str:
    """Draw values from 0 to ``top`` or the largest as bars; a gap where one is unknown."""
    most = top or max((value for value in values if value is not None), default=0.0)
    return "".join(
        " " if value is None else _BARS[min(int(part_of(value, most) * len(_BARS)), len(_BARS) - 1)] for value in values
    )
