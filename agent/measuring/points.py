"""Values of the cumulative energy at a moment, and what lies between two of them.

A window is the difference of two values of one function: windows that follow each other add up to the whole exactly,
and one inside another never holds more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

HNJ_PER_JOULE = 2_000_000_000
SHORT_RATIO = 0.1
"""A window of which the two edges are in doubt by more than this part of its energy is too short for its sensor."""
NO_GPU = "no GPU was used that anybody saw"
OVERHEAD_HNJ = 2_000_000  # a counter counts whole millijoules


class EnergyPoint(NamedTuple):
    """The energy that one GPU had used at a moment, since some moment before.

    Attributes
    ----------
    energy_hnj : int, hnj
        Half nanojoules.
    gain_j, doubt_j : float, J
        One sigma of what its meter's gain does to it, and of all else that adds up over time.
    squares_j2 : float, J2
        Variance of what does not: each stretch of time has its own.
    edge_j : float, J
        One sigma of what is not known of this moment: where within a sensor's period the energy was used.
    """

    energy_hnj: int
    gain_j: float = 0.0
    doubt_j: float = 0.0
    edge_j: float = 0.0
    squares_j2: float = 0.0


@dataclass(frozen=True, slots=True)
class EdgeValue:
    """What is known of a moment.

    Attributes
    ----------
    points : mapping of UUID to EnergyPoint
    count : object
        Whose count this is. Values of different ones cannot be compared: an agent that was started anew, another job.
    since_ns : int, ns
        When the account began; before, nothing was used that it knows of. 0: there is none yet.
    flags : frozenset of str
    reason : str
        Why nothing is known of it; empty: it is.
    """

    points: Mapping[str, EnergyPoint] = field(default_factory=dict)
    count: object = None
    since_ns: int = 0
    flags: frozenset[str] = frozenset()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EnergyDifference:
    """What lies between two moments; ``reason`` says why it is not known, if it is not."""

    energy_hnj: int = 0
    sigma_j: float = 0.0
    gpus: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()
    reason: str = ""


def difference(start: EdgeValue, end: EdgeValue, start_ns: int) -> EnergyDifference:
    """Return what was used between two moments.

    Parameters
    ----------
    start, end : EdgeValue
    start_ns : int, ns
        When the first of them was.
    """
    if start.reason or end.reason:
        return EnergyDifference(reason=start.reason or end.reason)
    flags, before = start.flags | end.flags, dict(start.points)
    if (start.count, start.since_ns) != (end.count, end.since_ns):
        if before or (start.count != end.count and end.since_ns < start_ns):
            return EnergyDifference(reason="the agent began to count anew within the window")
        before, flags = {}, flags | {"new-job"}
    if not end.points:
        return EnergyDifference(reason=NO_GPU)
    pairs = [(before.get(gpu, EnergyPoint(0)), point) for gpu, point in end.points.items()]
    energy_hnj = sum(b.energy_hnj - a.energy_hnj for a, b in pairs)
    edges_j = math.sqrt(sum(a.edge_j**2 + b.edge_j**2 for a, b in pairs))
    gain_j = sum(abs(b.gain_j - a.gain_j) for a, b in pairs)
    doubt_j = sum(abs(b.doubt_j - a.doubt_j) for a, b in pairs)
    if edges_j * HNJ_PER_JOULE > SHORT_RATIO * energy_hnj or energy_hnj < OVERHEAD_HNJ:
        flags |= {"short"}
    squares_j2 = sum(abs(b.squares_j2 - a.squares_j2) for a, b in pairs)
    sigma_j = math.hypot(edges_j, gain_j, doubt_j, math.sqrt(squares_j2))
    return EnergyDifference(energy_hnj, sigma_j, tuple(sorted(end.points)), flags)
