"""Small statistics, and arithmetic on series of rows ``(time ns, value, ...)`` in which None is "not read"."""

from __future__ import annotations

import bisect
import math
import statistics
from itertools import pairwise


def quantile(values: list[float], q: float) -> float | None:
    """The q-quantile by nearest rank; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def spread(values: list[float]) -> dict:
    """Count, mean, p10, p50, p90, p99, least and greatest."""
    if not values:
        return {"n": 0}
    cuts = {f"p{q}": quantile(values, q / 100) for q in (10, 50, 90, 99)}
    return {"n": len(values), "mean": statistics.fmean(values), **cuts, "min": min(values), "max": max(values)}


def rms(values: list[float]) -> float | None:
    """Root of the mean square; None of nothing."""
    return math.sqrt(sum(v * v for v in values) / len(values)) if values else None


def edges(rows, column: int) -> list[int]:
    """Times at which a column changed (ns)."""
    found, last = [], None
    for row in rows:
        value = row[column]
        if value is not None and last is not None and value != last:
            found.append(row[0])
        last = value if value is not None else last
    return found


def steps(rows, column: int = 1) -> list[tuple[int, float]]:
    """The counter where it moved: (time at which the new value was first seen ns, value); not the first reading."""
    found, last = [], None
    for row in rows:
        value = row[column]
        if value is not None and last is not None and value != last:
            found.append((row[0], value))
        last = value if value is not None else last
    return found


def counter_at(rows, t_ns: float, column: int = 1) -> float | None:
    """The counter at a moment, mJ, interpolated between its steps; None outside of them.

    A counter that is published every 100 ms is true at its steps only: between two of them energy is taken as even.
    """
    seen = steps(rows, column)
    place = bisect.bisect_right([t for t, _ in seen], t_ns)
    if place == 0 or place == len(seen):
        return seen[-1][1] if seen and t_ns == seen[-1][0] else None
    (t1, c1), (t2, c2) = seen[place - 1], seen[place]
    return c1 + (c2 - c1) * (t_ns - t1) / (t2 - t1)


def joules(rows, begin_ns: float, end_ns: float, column: int = 1) -> float | None:
    """The counter's joules over a stretch; None if it was not read all the way."""
    first, last = counter_at(rows, begin_ns, column), counter_at(rows, end_ns, column)
    return None if first is None or last is None else (last - first) / 1e3


def counter_watts(rows, begin_ns: float, end_ns: float, column: int = 1) -> float | None:
    """Mean power by the counter from its first to its last step within a stretch."""
    inside = [(t, c) for t, c in steps(rows, column) if begin_ns <= t <= end_ns]
    if len(inside) < 2:
        return None
    return (inside[-1][1] - inside[0][1]) / ((inside[-1][0] - inside[0][0]) / 1e6)


def mean_of_samples(samples, begin_ns: float, end_ns: float) -> float | None:
    """Time-weighted mean of samples ``(time ns, value)``, each true for the time since the one before it.

    None if the samples do not reach over the whole stretch.
    """
    if not samples or samples[0][0] > begin_ns or samples[-1][0] < end_ns or end_ns <= begin_ns:
        return None
    total = 0.0
    for (t1, _), (t2, value) in pairwise(samples):
        total += value * max(0.0, min(t2, end_ns) - max(t1, begin_ns))
    return total / (end_ns - begin_ns)


def rounded(value: float | None, digits: int = 2) -> float | None:
    """A number for a table; None stays None."""
    return None if value is None else round(value, digits)
