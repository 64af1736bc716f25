"""Stretches of launches, watched and unwatched, and what differs between them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import numpy as np

from .figures import quantile, rms, rounded


@dataclass(frozen=True)
class Stretch:
    """What was done in a stretch, and who watched.

    Attributes
    ----------
    doing, watched : str
    begin_ns, end_ns : int
    watts : float or None
        Mean power by the driver's own samples.
    at_ns : list of int
        Before the first launch, and after each.
    loops : int
        Work done by the kernels.
    calls : list of (int, int)
        Begin and end of each reading by the observer, ns.
    """

    doing: str
    watched: str
    begin_ns: int
    end_ns: int
    watts: float | None
    at_ns: list[int]
    loops: int
    calls: list[list[int]]

    @property
    def rate(self) -> float | None:
        """Launches a second."""
        return (len(self.at_ns) - 1) / ((self.at_ns[-1] - self.at_ns[0]) / 1e9) if len(self.at_ns) > 1 else None

    def took_ns(self) -> list[int]:
        """How long each launch took, to the begin of the next."""
        return [b - a for a, b in pairwise(self.at_ns)]

    def facts(self) -> dict:
        """A row of the table."""
        told = {"doing": self.doing, "watched": self.watched, "watts": rounded(self.watts)}
        if took := self.took_ns():
            told |= {f"p{q}_us": quantile(took, q / 100) / 1e3 for q in (50, 99)}
            told |= {"rate": rounded(self.rate), "longest_us": max(took) / 1e3, "loops": self.loops}
            told["over_twice_the_median"] = sum(t > 2e3 * told["p50_us"] for t in took)
        if self.calls:
            lengths = [b - a for a, b in self.calls]
            told |= {
                "calls": len(lengths),
                "call_p50_us": quantile(lengths, 0.5) / 1e3,
                "call_max_us": max(lengths) / 1e3,
            }
            told["share_in_calls"] = rounded(sum(lengths) / (self.end_ns - self.begin_ns), 4)
        return told


def against_neighbours(stretches: list[Stretch], quantity: str) -> dict[str, dict]:
    """Each watched condition against the unwatched stretches before and after it.

    Parameters
    ----------
    stretches : list of Stretch
        Of one kind, in their order.
    quantity : str
        ``rate`` (effects are shares of it) or ``watts`` (effects are differences).

    Returns
    -------
    dict of str to dict
        ``effect``, and ``error``: the same taken of the unwatched stretches, each against its own neighbours; None of
        fewer than three.
    """

    def effect(value: float, beside: list[float]) -> float:
        return value / fmean(beside) - 1 if quantity == "rate" else value - fmean(beside)

    rows = [(s.watched, getattr(s, quantity)) for s in stretches if getattr(s, quantity) is not None]
    plain = [(i, value) for i, (watched, value) in enumerate(rows) if watched == "nobody"]
    noise = [effect(b, [a, c]) for (_, a), (_, b), (_, c) in zip(plain, plain[1:], plain[2:], strict=False)]
    found: dict[str, list[float]] = {}
    for i, (watched, value) in enumerate(rows):
        before = [v for j, v in plain if j < i][-1:]
        after = [v for j, v in plain if j > i][:1]
        if watched != "nobody" and before + after:
            found.setdefault(watched, []).append(effect(value, before + after))
    error = rms(noise)
    return {
        watched: {"effect": round(fmean(values), 6), "error": error and round(error / len(values) ** 0.5, 6)}
        for watched, values in found.items()
    }


def overlapping(at: np.ndarray, calls: np.ndarray) -> np.ndarray:
    """Which launches overlap a call.

    Parameters
    ----------
    at : int64[n + 1], ns
        Before the first launch, and after each.
    calls : int64[k, 2], ns
        Begin and end of each call, in their order.

    Returns
    -------
    bool[n]
    """
    # The first call that ends after the launch began: it overlaps if it began before the launch was over.
    begins = np.append(calls[:, 0], np.iinfo(np.int64).max)
    return begins[np.searchsorted(calls[:, 1], at[:-1], side="right")] < at[1:]


def during_calls(stretches: list[Stretch]):
    """Launches while a reading was under way against those beside it: (doing, watched, facts) of each stretch.

    A moment meets long launches more often than short ones. So the others are not all launches, but those that the same
    calls would have met half a period later.
    """
    for s in stretches:
        if not s.calls or len(s.at_ns) < 3:
            continue
        at, calls = np.array(s.at_ns), np.array(s.calls)
        took = np.diff(at) / 1e3
        period = np.median(np.diff(calls[:, 0])) if len(calls) > 1 else s.end_ns - s.begin_ns
        inside = overlapping(at, calls)
        beside = overlapping(at, calls + int(period) // 2) & ~inside
        if not inside.any() or not beside.any():
            continue
        facts = {
            "launches": int(inside.sum()),
            "median_us": rounded(np.median(took[inside])),
            "median_us_beside": rounded(np.median(took[beside])),
            "longest_us": rounded(took[inside].max()),
            "longest_us_beside": rounded(took[beside].max()),
            "ratio": rounded(np.median(took[inside]) / np.median(took[beside]), 3),
        }
        yield s.doing, s.watched, facts
