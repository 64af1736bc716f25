"""LIMITS.toml: what a grid operator asks of a large load; every number is the user's, with its source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.fleet.boundary.units import percent
from wattshed.agent.inputs.toml import Document

if TYPE_CHECKING:
    from pathlib import Path

    from wattshed.agent.inputs.toml import Table


@dataclass(frozen=True, slots=True)
class RampLimit:
    """Largest rise and fall within a time, W; None where there is no limit."""

    window_s: float
    up_w: float | None
    down_w: float | None
    source: str


@dataclass(frozen=True, slots=True)
class SwingLimit:
    """Largest root mean square between two frequencies, in W or as a share of the peak."""

    low_hz: float
    high_hz: float
    rms_w: float | None
    share_of_peak: float | None
    source: str


@dataclass(frozen=True, slots=True)
class StepLimit:
    """Largest loss of load at once, W within ``seconds``."""

    seconds: float
    watts: float
    of: str
    source: str


@dataclass(frozen=True, slots=True)
class Declared:
    """What no recording of power can show, in words: it is to be declared."""

    what: str
    limit: str
    source: str


@dataclass(frozen=True, slots=True)
class OperatorLimits:
    """All limits of a file.

    Attributes
    ----------
    name : str
    site_w_at_least : float, W
        They apply to sites of this power; 0: to all.
    ramps, swings, steps, declared : tuple
    applies_source : str
    """

    name: str
    site_w_at_least: float
    ramps: tuple[RampLimit, ...]
    swings: tuple[SwingLimit, ...]
    steps: tuple[StepLimit, ...]
    declared: tuple[Declared, ...]
    applies_source: str = ""


def read_limits(path: str | Path) -> OperatorLimits:
    """Read and check a LIMITS.toml.

    Raises
    ------
    InputError
        Naming the line, if it cannot be used.
    """
    root = Document(path).root.only(("name", "applies", "ramp", "band", "step", "voltage", "frequency"))
    declared: list[Declared] = []
    at_least, source = 0.0, ""
    if "applies" in root:
        applies = root.table("applies").only(("site_w_at_least", "electronic_share_at_least", "source"))
        at_least, source = applies.number("site_w_at_least", 0.0, low=0), applies.text("source")
        if "electronic_share_at_least" in applies:
            share = applies.number("electronic_share_at_least", low=0, high=1)
            declared.append(Declared("electronic share of the load", f"at least {percent(share)}", source))
    ramps = tuple(map(_ramp, root.tables("ramp")))
    swings = tuple(map(_swing, root.tables("band")))
    steps = tuple(map(_step, root.tables("step")))
    declared += map(_voltage, root.tables("voltage"))
    declared += map(_frequency, root.tables("frequency"))
    if not (ramps or swings or steps or declared):
        root.fail("has no limit; add a [[ramp]], [[band]], [[step]], [[voltage]] or [[frequency]]")
    return OperatorLimits(root.text("name", "limits"), at_least, ramps, swings, steps, tuple(declared), source)


def _ramp(table: Table) -> RampLimit:
    table.only(("window_s", "up_w", "down_w", "source"))
    if "up_w" not in table and "down_w" not in table:
        table.fail("needs up_w or down_w, a number")
    up, down = (table.number(key, above=0) if key in table else None for key in ("up_w", "down_w"))
    return RampLimit(table.number("window_s", above=0), up, down, table.text("source"))


def _swing(table: Table) -> SwingLimit:
    table.only(("low_hz", "high_hz", "rms_w", "share_of_peak_rms", "source"))
    low = table.number("low_hz", low=0)
    high = table.number("high_hz", above=low)
    if ("rms_w" in table) == ("share_of_peak_rms" in table):
        table.fail("needs rms_w or share_of_peak_rms, one of them")
    rms, share = (table.number(key, above=0) if key in table else None for key in ("rms_w", "share_of_peak_rms"))
    return SwingLimit(low, high, rms, share, table.text("source"))


def _step(table: Table) -> StepLimit:
    table.only(("seconds", "watts", "of", "source"))
    return StepLimit(
        table.number("seconds", above=0), table.number("watts", above=0), table.text("of", "largest job lost"),
        table.text("source"),
    )  # fmt: skip


def _voltage(table: Table) -> Declared:
    table.only(("points", "source"))
    points = table.items.get("points")
    if not isinstance(points, list) or not points:
        table.fail("needs points, a list of [per unit, seconds]", *(("points",) if "points" in table else ()))
    told = []
    for i, point in enumerate(points):
        per_unit, seconds = point if isinstance(point, list) and len(point) == 2 else (None, None)
        if not _at_least_0(per_unit) or not (_at_least_0(seconds) or seconds == "always"):
            table.fail('must be a list of [per unit, seconds], both 0 or more, or [per unit, "always"]', "points", i)
        told.append(f"{per_unit:g} pu " + (str(seconds) if seconds == "always" else f"{seconds:g} s"))
    return Declared("voltage ride-through", ", ".join(told), table.text("source"))


def _at_least_0(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value < math.inf


def _frequency(table: Table) -> Declared:
    table.only(("rocof_hz_per_s", "over_s", "recover_to", "source"))
    told = [f"{table.number('rocof_hz_per_s', above=0):g} Hz/s over {table.number('over_s', above=0):g} s"]
    if "recover_to" in table:
        told.append(f"back to {percent(table.number('recover_to', above=0, high=1))}")
    return Declared("frequency ride-through", ", ".join(told), table.text("source"))
