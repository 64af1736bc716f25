"""What is reported about a GPU besides its account."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extremes:
    """What is reported about a GPU besides its account: mW, us; -1 unknown."""

    min_mw: int
    max_mw: int
    longest_run_us: int
    first_us: int
    last_us: int


def joined(a: Extremes, b: Extremes) -> Extremes:
    """Bring those of two parts of a trace together."""

    def least(x: int, y: int) -> int:
        return max(x, y) if min(x, y) < 0 else min(x, y)

    return Extremes(
        least(a.min_mw, b.min_mw),
        max(a.max_mw, b.max_mw),
        max(a.longest_run_us, b.longest_run_us),
        least(a.first_us, b.first_us),
        max(a.last_us, b.last_us),
    )
