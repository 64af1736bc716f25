"""Oracles: the same answers by Python integers, one reading at a time, with nothing clever."""

import itertools
from fractions import Fraction


def valid(time_us, power_mw, a, b):
    return [(int(time_us[i]), int(power_mw[i])) for i in range(a, b) if power_mw[i] > 0]


def lines(time_us, power_mw, a, b, max_gap_us):
    """(t0, t1, p0, p1) of every bridged interval."""
    rows = valid(time_us, power_mw, a, b)
    return [(t0, t1, p0, p1) for (t0, p0), (t1, p1) in itertools.pairwise(rows) if t1 - t0 <= max_gap_us]


def pieces(time_us, power_mw, a, b, max_gap_us):
    """(t0, t1, p0 + p1) of every bridged interval."""
    rows = valid(time_us, power_mw, a, b)
    return [(t0, t1, p0 + p1) for (t0, p0), (t1, p1) in itertools.pairwise(rows) if t1 - t0 <= max_gap_us]


def integrate(time_us, power_mw, offsets, max_gap_us):
    energy, covered = [], []
    for a, b in itertools.pairwise(offsets):
        own = pieces(time_us, power_mw, int(a), int(b), max_gap_us)
        energy.append(round(Fraction(sum((t1 - t0) * s for t0, t1, s in own), 2000)))
        covered.append(sum(t1 - t0 for t0, t1, _ in own))
    return energy, covered


def windows(time_us, power_mw, offsets, window_us, max_gap_us):
    """Per GPU a list of (start, count, min, max, sum of readings, energy in hnj, covered)."""
    out = []
    for a, b in itertools.pairwise(offsets):
        rows = valid(time_us, power_mw, int(a), int(b))
        table = []
        if rows:
            for k in range(rows[0][0] // window_us, rows[-1][0] // window_us + 1):
                e0, e1 = k * window_us, (k + 1) * window_us
                inside = [p for t, p in rows if e0 <= t < e1]
                energy = covered = 0
                for t0, t1, s in pieces(time_us, power_mw, int(a), int(b), max_gap_us):
                    span = max(0, min(t1, e1) - max(t0, e0))
                    energy += s * span
                    covered += span
                low, high = (min(inside), max(inside)) if inside else (0, 0)
                table.append((e0, len(inside), low, high, sum(inside), energy, covered))
        out.append(table)
    return out


def quantiles(time_us, power_mw, offsets, max_gap_us, ppm):
    """Smallest reading whose cumulative weight reaches q; a reading weighs half of each bridged interval beside it."""
    out = []
    for a, b in itertools.pairwise(offsets):
        rows = valid(time_us, power_mw, int(a), int(b))
        weight = {}
        for (t0, p0), (t1, p1) in itertools.pairwise(rows):
            if t1 - t0 <= max_gap_us:
                weight[p0] = weight.get(p0, 0) + t1 - t0
                weight[p1] = weight.get(p1, 0) + t1 - t0
        total = sum(weight.values())
        row = []
        for q in ppm:
            below, found = 0, -1
            for p in sorted(weight):
                below += weight[p]
                if below > 0 and below * 1_000_000 >= q * total:
                    found = p
                    break
            row.append(found)
        out.append(row)
    return out
