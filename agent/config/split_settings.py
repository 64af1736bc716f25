"""Keys of how the energy of a shared GPU is split."""

from __future__ import annotations

from dataclasses import dataclass

from wattshed.agent.accounts.split_rule import (
    COMMON,
    LEARNED,
    LEAST_BOUND,
    LEAST_SPREAD,
    MOST_BOUND,
    MOST_SPREAD,
    remembered_s,
)
from wattshed.agent.inputs.keys import key


def _wrong_time(text: str) -> str:
    try:
        remembered_s(text)
    except ValueError as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """How the dynamic energy of a GPU that several jobs share is split by their activity."""

    watts: str = key(
        COMMON,
        "common: all jobs draw the same watts per activity; learned: each draws what was learned of it.",
        choices=(COMMON, LEARNED),
    )
    bound: float = key(
        2.0,
        "A job's weight per activity is from 1/bound to bound of the common line's: no neighbour can make its bill "
        "more than bound x bound of the common one.",
        "1",
        low=LEAST_BOUND,
        high=MOST_BOUND,
    )
    spread: float = key(
        0.6,
        "One sigma of watts per activity between jobs of whom nothing is known, relative to the common line.",
        "1",
        low=LEAST_SPREAD,
        high=MOST_SPREAD,
    )
    remember: str = key(
        "30m",
        "Of a job that is not seen, what was learned falls to 1/e in this time: 1m to 24h.",
        check=_wrong_time,
    )
