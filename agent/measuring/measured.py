"""What a window's energy is, as its user sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from wattshed.agent.measuring.points import HNJ_PER_JOULE, difference
from wattshed.agent.printing.figures import SIGMAS, watts, with_doubt

if TYPE_CHECKING:
    from collections.abc import Collection

    from wattshed.agent.measuring.session import Edge, MeteringSession


_WHOSE = {"gpu": "whole", "job": "own job", "process": "own processes"}


class NotMeasuredError(RuntimeError):
    """The joules of a window are not known, and it was told to be strict."""


class NotMeasuredWarning(UserWarning):
    """The joules of a window are not known."""


@dataclass(frozen=True, slots=True)
class MeasuredEnergy:
    """What was used in a window.

    Attributes
    ----------
    joules, sigma_j : float, J
        The energy, and one sigma of it; NaN where it is not known, and never 0 for that.
    energy_hnj : int or None, hnj
        The same in half nanojoules: those of windows that follow each other add up exactly.
    seconds : float, s
    gpus : tuple of str
        UUIDs of those that count.
    scope : str
        ``job``: what this process's job used. ``process``: what this process and those that it started used.
        ``gpu``: what the whole GPUs used.
    source : str
        ``agent``, ``nvml`` or ``simulated``; empty where nothing can be measured.
    flags : tuple of str
        What to know about it: ``short``, ``late``, ``overlap``, ``shared-gpu``, ``no-sync``, ``no-counter``,
        ``counter-reset``, ``gap``, ``new-job``, ``simulated``.
    path : str
        Names of the windows around it, and its own.
    reason : str
        Why the energy is not known; empty: it is.
    """

    joules: float
    sigma_j: float
    energy_hnj: int | None
    seconds: float
    gpus: tuple[str, ...]
    scope: str
    source: str
    flags: tuple[str, ...]
    path: str
    reason: str

    @property
    def watts(self) -> float:
        """The mean power, W; NaN where it is not known."""
        return self.joules / self.seconds if self.seconds > 0 else math.nan

    def __str__(self) -> str:
        """Write it in a line, ± two sigma."""
        name = f"{self.path}: " if self.path else ""
        if self.reason:
            return f"{name}not measured in {self.seconds:.3f} s: {self.reason}"
        count = len(self.gpus)
        whose = f"{count} GPU{'s' * (count != 1)}, {_WHOSE.get(self.scope, self.scope)}, {self.source}"
        flags = f"; {', '.join(self.flags)}" if self.flags else ""
        energy = with_doubt(Decimal(repr(self.joules)), Decimal(repr(SIGMAS * self.sigma_j)), "J")
        return f"{name}{energy} in {self.seconds:.3f} s, mean {watts(self.watts)} W ({whose}{flags})"


def measured(
    session: MeteringSession, start: Edge, end: Edge, patience_s: float, *, path: str = "", flags: Collection[str] = ()
) -> MeasuredEnergy:
    """Return what lies between two edges of a session, as far as it is known after so long."""
    seconds = (end.time_ns - start.time_ns) / 1e9
    known = end.wait(patience_s)
    begun = start.wait(0.0)
    if known is None and begun is not None and end.estimate is not None:
        known, flags = end.estimate, {*flags, "late"}
    if known is None or begun is None:
        why = f"not known yet: {session.trouble()}"
        return not_measured(why, seconds, path, session.scope, session.source)
    between = difference(begun, known, start.time_ns)
    if between.reason:
        return not_measured(between.reason, seconds, path, session.scope, session.source)
    return MeasuredEnergy(
        between.energy_hnj / HNJ_PER_JOULE,
        between.sigma_j,
        between.energy_hnj,
        seconds,
        between.gpus,
        session.scope,
        session.source,
        tuple(sorted({*flags, *between.flags})),
        path,
        "",
    )


def not_measured(reason: str, seconds: float, path: str = "", scope: str = "", source: str = "") -> MeasuredEnergy:
    """Return what is said of a window of which the energy is not known."""
    return MeasuredEnergy(math.nan, math.nan, None, seconds, (), scope, source, (), path, reason)
