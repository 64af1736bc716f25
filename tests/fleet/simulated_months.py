"""Months whose hours hang together, and ways to draw some of them."""

import numpy as np

from wattshed.agent.fleet.estimate.period import energy, period_of

OCTOBER = period_of("2026-10")


def month(random, hours=744):
    """Watts of each hour: an hour is like the one before, and nights are quieter."""
    noise = np.empty(hours)
    noise[0] = random.normal()
    for h in range(1, hours):
        noise[h] = 0.97 * noise[h - 1] + np.sqrt(1 - 0.97**2) * random.normal()
    return 1e6 * np.maximum(1.0 + 0.25 * noise + 0.15 * np.sin(2 * np.pi * np.arange(hours) / 24), 0.05)


def rows(load, hours):
    """The hours of a period as they are read: hour since 1970 -> W."""
    return {OCTOBER.start_h + int(h): float(load[h]) for h in hours}


def some_days(load, random, n=4):
    """Whole days drawn at random."""
    return {"": rows(load, [24 * d + h for d in random.choice(31, n, replace=False) for h in range(24)])}


def some_passes(load, random, n=6, step=45):
    """Passes of every 45th hour from starts drawn at random."""
    starts = random.choice(step, n, replace=False)
    return {str(start): rows(load, range(start, 744, step)) for start in starts}


def coverage(draw, times, seed=5):
    """Share of intervals that cover the month's energy, and their mean half-width over it."""
    random = np.random.default_rng(seed)
    hits, widths = 0, []
    for _ in range(times):
        load = month(random)
        found = energy(draw(load, random), OCTOBER).estimate
        if found.lower is None:
            continue  # four days in a row, once in a thousand
        hits += found.lower <= load.sum() <= found.upper
        widths.append((found.upper - found.lower) / 2 / load.sum())
    return hits / len(widths), float(np.mean(widths))
