"""The verdict on a claim, by a rule that is the same for all of them.

A claim is a number and a relation. ``about`` means within the tolerance (10 % unless the file says otherwise). The
claim is supported where the whole 95 % interval of the computed number agrees with it, contradicted where none of it
does, and undetermined where a part does. A claim of which the computed number covers only a part can be supported for
that part. A number of another year or another boundary is not comparable; a claim without a number is not computable.

The ends of an interval are known to two or three digits. An interval that misses a claim by less than 1 % therefore
does not contradict it, and a verdict that a change of 1 % in an end would reverse is marked ``at_the_edge``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.fleet.boundary.units import between, shown

if TYPE_CHECKING:
    from wattshed.agent.fleet.boundary.ranges import Range

RELATIONS = ("about", "at least", "at most")
EDGE = 0.01  # of a limit: to what the ends of an interval are known


class Verdict(StrEnum):
    """The six outcomes."""

    SUPPORTED = "supported"
    PARTLY = "supported for part of it"
    CONTRADICTED = "contradicted"
    UNDETERMINED = "undetermined"
    NOT_COMPARABLE = "not comparable"
    NOT_COMPUTABLE = "not computable"


class Judgement(NamedTuple):
    """A verdict, its reason as one sentence without its full stop, and whether 1 % would change it."""

    verdict: Verdict
    reason: str
    at_the_edge: bool = False


def judge(
    claimed: float,
    relation: str,
    tolerance: float,
    computed: Range,
    unit: str,
    *,
    part: str = "",
    mismatch: str = "",
) -> Judgement:
    """Judge a claim.

    Parameters
    ----------
    claimed : float
    relation : {"about", "at least", "at most"}
    tolerance : float
        Fraction of ``claimed`` that "about" allows on either side.
    computed : Range
        In the same unit.
    unit : str
    part : str
        What of the claim the computed number covers, where that is not all of it.
    mismatch : str
        Why the two numbers are not of the same thing, where they are not.

    Returns
    -------
    Judgement
    """
    number = f"computed {shown(computed.value, unit)}"
    if not computed.is_exact:
        number += f" ({between(computed.low, computed.high, unit)})"
    kind = {"about": "", "at least": "minimum of ", "at most": "maximum of "}[relation]
    wanted = f"the claimed {kind}{shown(claimed, unit)}"
    if mismatch:
        return Judgement(Verdict.NOT_COMPARABLE, f"{number} is not to be compared with {wanted}: {mismatch}")
    slack = abs(claimed) * tolerance if relation == "about" else 0.0
    floor = claimed - slack if relation != "at most" else float("-inf")
    ceiling = claimed + slack if relation != "at least" else float("inf")
    # A small tolerance, so that a number computed to be the claimed one is not lost to rounding.
    hair = 1e-9 * max(abs(claimed), abs(computed.value))
    if computed.low >= floor - hair and computed.high <= ceiling + hair:
        edge = _at_the_edge(computed, floor, ceiling)
        told = f" for {part}" if part else ""
        return Judgement(Verdict.PARTLY if part else Verdict.SUPPORTED, f"{number} agrees with {wanted}{told}", edge)
    for side, missed in (("below", floor - computed.high), ("above", computed.low - ceiling)):
        limit = floor if side == "below" else ceiling
        if missed > hair and (computed.is_exact or missed >= EDGE * abs(limit)):
            return Judgement(Verdict.CONTRADICTED, f"{number} lies {side} {wanted}", _near(missed, limit, computed))
    edge = _at_the_edge(computed, floor, ceiling)
    told = ", and its interval ends within 1 % of the limit" if edge else ""
    return Judgement(Verdict.UNDETERMINED, f"{number} neither rules out nor confirms {wanted}{told}", edge)


def _near(distance: float, limit: float, computed: Range) -> bool:
    return not computed.is_exact and abs(distance) <= EDGE * abs(limit)


def _at_the_edge(computed: Range, floor: float, ceiling: float) -> bool:
    limits = [limit for limit in (floor, ceiling) if abs(limit) != float("inf")]
    return any(_near(end - limit, limit, computed) for limit in limits for end in (computed.low, computed.high))
