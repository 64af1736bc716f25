"""Quantities on the command line of a planner: powers, times, ramps and bands with their units."""

from __future__ import annotations

import difflib
import math
import re
from argparse import ArgumentTypeError
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.inputs.unit_tables import POWER_MW
from wattshed.agent.spans import SPANS_S, YEAR_S

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBER = r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_POWER = {unit: float(POWER_MW[unit] / 1000) for unit in ("W", "kW", "MW", "GW")}
_TIME_S = {"ms": 1e-3, **SPANS_S, "y": YEAR_S}


@dataclass(frozen=True, slots=True)
class BandLimit:
    """The largest root mean square of the grid's power between two frequencies."""

    low_hz: float
    high_hz: float
    rms_w: float


@dataclass(frozen=True, slots=True)
class Floor:
    """What a GPU draws at least while it works, and how long and how fast it falls afterwards.

    Attributes
    ----------
    share : float
        Of the GPU's largest power (TMP).
    down_w_per_s : float, W/s
    hold_s : float, s
        It stays there so long before it falls.
    """

    share: float
    down_w_per_s: float
    hold_s: float


def power(text: str) -> float:
    """Read a power: ``10MW``, ``10 MW``, ``1e7``; W."""
    return _quantity(text, _POWER, "W", "a power, such as 10MW")


def duration(text: str) -> float:
    """Read a duration: ``1s``, ``15m``, ``3h``, ``1y``; s."""
    return _quantity(text, _TIME_S, "s", "a duration, such as 15m or 1y")


def ramp(text: str) -> float:
    """Read a ramp: ``10MW/min``; W/s."""
    watts, slash, per = text.partition("/")
    if not slash or per.strip() not in _TIME_S:
        raise ArgumentTypeError(f"{text!r} is not a ramp, such as 10MW/min")
    return power(watts) / _TIME_S[per.strip()]


def band(text: str) -> BandLimit:
    """Read a limit of a frequency band: ``0.1-20Hz:5MW``."""
    found = re.fullmatch(rf"\s*{_NUMBER}\s*-\s*{_NUMBER}\s*Hz\s*:(.*)", text)
    if not found or not 0.0 < float(found[1]) < float(found[2]) < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a limit of a band, such as 0.1-20Hz:5MW")
    return BandLimit(float(found[1]), float(found[2]), power(found[3]))


def floor(text: str) -> Floor:
    """Read a floor of NVML's power smoothing: ``65%,50W/s,2000ms``."""
    parts = text.split(",")
    found = re.fullmatch(rf"\s*{_NUMBER}\s*%\s*", parts[0])
    if len(parts) != 3 or not found or not 0.0 < float(found[1]) <= 100.0:
        raise ArgumentTypeError(f"{text!r} is not a floor, such as 65%,50W/s,2000ms (of TMP, falling, after)")
    return Floor(float(found[1]) / 100.0, ramp(parts[1]), duration(parts[2]))


def ramps(text: str) -> tuple[tuple[str, float], ...]:
    """Read ramps with a comma between them, each with how it was written."""
    return tuple((part.strip(), ramp(part)) for part in text.split(","))


def durations(text: str) -> tuple[tuple[str, float], ...]:
    """Read durations with a comma between them, each with how it was written."""
    return tuple((part.strip(), duration(part)) for part in text.split(","))


def powers(text: str) -> tuple[float, ...]:
    """Read powers with a comma between them, W."""
    return tuple(power(part) for part in text.split(","))


def _quantity(text: str, units: Mapping[str, float], plain: str, what: str) -> float:
    found = re.fullmatch(rf"\s*{_NUMBER}\s*([A-Za-z]*)\s*", text)
    if not found:
        raise ArgumentTypeError(f"{text!r} is not {what}")
    unit = found[2] or plain
    if unit not in units:
        close = difflib.get_close_matches(unit.lower(), [u.lower() for u in units], 1, 0.6)
        meant = next((u for u in units if close and u.lower() == close[0]), "")
        raise ArgumentTypeError(
            f"{text!r} has an unknown unit {unit!r}" + (f"; did you mean {meant}?" if meant else f"; give {what}")
        )
    value = float(found[1]) * units[unit]
    if not 0.0 < value < math.inf:
        raise ArgumentTypeError(f"{text} is not above 0")
    return value
