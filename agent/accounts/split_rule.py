"""By what watts per activity a shared GPU's dynamic energy is split, and how a user says it."""

from __future__ import annotations

import re
from dataclasses import dataclass

COMMON, LEARNED = "common", "learned"
LEAST_BOUND, MOST_BOUND = 1.0, 4.0
LEAST_SPREAD, MOST_SPREAD = 0.1, 2.0
LEAST_REMEMBERED_S, MOST_REMEMBERED_S = 60, 86_400
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_FORM = "common, or learned with bound=, spread= or remember= behind a comma"


@dataclass(frozen=True, slots=True)
class SplitRule:
    """By what watts per activity a shared GPU's dynamic energy is split.

    Attributes
    ----------
    learned : bool
        By those that were learned of each job; else all draw the same, and what is learned is only shown.
    bound : float
        A job's weight per activity is within 1/bound..bound of the common line's.
    spread : float
        One sigma of watts per activity between jobs of whom nothing is known, relative.
    remember_us : int, us
        Of a job that is not seen, what was learned falls to 1/e in so long.
    """

    learned: bool = False
    bound: float = 2.0
    spread: float = 0.6
    remember_us: int = 1_800_000_000

    @classmethod
    def parsed(cls, text: str) -> SplitRule:
        """Read what ``wattshed replay --watts`` is given: ``learned``, ``learned,bound=1.5,remember=1h``.

        Raises
        ------
        ValueError
            It is not that; says what is wrong.
        """
        word, *rest = text.split(",")
        if word not in {COMMON, LEARNED} or (word == COMMON and rest):
            raise ValueError(f"{text!r} is not a split; write {_FORM}")
        found = cls(learned=word == LEARNED)
        values = {"bound": found.bound, "spread": found.spread, "remember": found.remember_us / 1e6}
        for setting in rest:
            name, _, value = setting.partition("=")
            if name not in values:
                raise ValueError(f"{setting!r} is no part of a split; write {_FORM}")
            if name == "remember":
                values[name] = remembered_s(value)
            else:
                values[name] = _number(value)
        return cls.of(learned=found.learned, **values)

    @classmethod
    def of(cls, *, learned: bool, bound: float, spread: float, remember: float) -> SplitRule:
        """Make it of numbers (``remember`` in seconds).

        Raises
        ------
        ValueError
            One of them is out of its bounds; says which.
        """
        limits = {"bound": (LEAST_BOUND, MOST_BOUND), "spread": (LEAST_SPREAD, MOST_SPREAD)}
        for (name, (least, most)), value in zip(limits.items(), (bound, spread), strict=True):
            if not least <= value <= most:
                raise ValueError(f"{name} {value:g} is not from {least:g} to {most:g}")
        return cls(learned, bound, spread, round(remember * 1e6))


def remembered_s(text: str) -> float:
    """Read how long watts are remembered: ``30m``, ``90s``, ``2h``.

    Raises
    ------
    ValueError
        It is not such a time, or not from a minute to a day.
    """
    found = re.fullmatch(r"(\d{1,6})([smh])", text, re.ASCII)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not LEAST_REMEMBERED_S <= seconds <= MOST_REMEMBERED_S:
        raise ValueError(f"{text!r} is not a time from 1m to 24h; write 30m")
    return float(seconds)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
