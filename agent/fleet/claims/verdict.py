"""The verdict on a claim, by a rule that is the same for all of them.

A claim is a number and a relation. ``about`` means within the tolerance (10 % unless the file says otherwise). The
claim is supported where the whole 95 % interval of the computed number agrees with it, contradicted where none of it
does, and undetermined where a part does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from wattshed.agent.fleet.boundary.units import between, shown

if TYPE_CHECKING:
    from wattshed.agent.fleet.boundary.ranges import Range

RELATIONS = ("about", "at least", "at most")


class Verdict(StrEnum):
    """The three outcomes."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNDETERMINED = "undetermined"


def judge(claimed: float, relation: str, tolerance: float, computed: Range, unit: str) -> tuple[Verdict, str]:
    """Verdict, and the reason as one sentence without its full stop.

    Parameters
    ----------
    claimed : float
    relation : {"about", "at least", "at most"}
    tolerance : float
        Fraction of ``claimed`` that "about" allows on either side.
    computed : Range
        In the same unit.
    unit : str
    """
    slack = abs(claimed) * tolerance if relation == "about" else 0.0
    floor = claimed - slack if relation != "at most" else float("-inf")
    ceiling = claimed + slack if relation != "at least" else float("inf")
    # A small tolerance, so that a number computed to be the claimed one is not lost to rounding.
    hair = 1e-9 * max(abs(claimed), abs(computed.value))
    inside = computed.low >= floor - hair and computed.high <= ceiling + hair
    outside = computed.high < floor - hair or computed.low > ceiling + hair
    number = f"computed {shown(computed.value, unit)}"
    if not computed.is_exact:
        number += f" ({between(computed.low, computed.high, unit)})"
    kind = {"about": "", "at least": "minimum of ", "at most": "maximum of "}[relation]
    wanted = f"the claimed {kind}{shown(claimed, unit)}"
    if inside:
        return Verdict.SUPPORTED, f"{number} agrees with {wanted}"
    if outside:
        side = "below" if computed.high < floor - hair else "above"
        return Verdict.CONTRADICTED, f"{number} lies {side} {wanted}"
    return Verdict.UNDETERMINED, f"{number} neither rules out nor confirms {wanted}"
