"""The split in plain fractions: no rounding, no sweep, no cleverness."""

import itertools
from fractions import Fraction


def split(pieces, idle_mw, rows):
    """Split (t0, t1, hnj) pieces among rows of (start, end, activity_ppm, busy_ppm, share_ppm, live).

    Returns per row (static, dynamic), then idle and unattributed, all as fractions of hnj.
    """
    static = [Fraction(0)] * len(rows)
    dynamic = [Fraction(0)] * len(rows)
    idle = unattributed = Fraction(0)
    edges = sorted({edge for row in rows for edge in row[:2]})
    for t0, t1, energy in pieces:
        cuts = [t0, *(edge for edge in edges if t0 < edge < t1), t1]
        for a, b in itertools.pairwise(cuts):
            part = Fraction(energy * (b - a), t1 - t0)
            still = min(part, Fraction(2 * idle_mw * (b - a))) if idle_mw > 0 else Fraction(0)
            here = [i for i, row in enumerate(rows) if row[0] <= a and b <= row[1]]
            idle += _static(still, here, rows, static)
            unattributed += _dynamic(part - still, here, rows, dynamic)
    return static, dynamic, idle, unattributed


def _static(total, here, rows, out):
    if not here:
        return total
    reserved = {i: Fraction(rows[i][4], 10**6) for i in here if rows[i][4] >= 0}
    free = max(1 - sum(reserved.values()), Fraction(0))
    others = [i for i in here if i not in reserved]
    weights = dict(reserved)
    for i in others:
        weights[i] = free / len(others)
    rest = free if not others else Fraction(0)
    whole = sum(weights.values()) + rest
    if whole == 0:
        return total
    for i, weight in weights.items():
        out[i] += total * weight / whole
    return total * rest / whole


def _dynamic(total, here, rows, out):
    live = [i for i in here if rows[i][5]]
    if not live and len(here) == 1 and rows[here[0]][4] >= 10**6:
        live = here
    if any(rows[i][5] == 2 for i in live):  # no more than the shares
        return _static(total, here, rows, out)
    if len(live) == 1:
        out[live[0]] += total
        return Fraction(0)
    if not live:
        return total
    rest = 0
    if all(rows[i][2] >= 0 for i in live):
        weights = {i: rows[i][2] for i in live}
        busy, known = rows[live[-1]][3], sum(weights.values())
        if known > 0 and known * 10 < busy * 9:
            rest = busy - known
    elif all(rows[i][4] >= 0 for i in live) and sum(rows[i][4] for i in live) > 0:
        weights = {i: rows[i][4] for i in live}
    else:
        weights = dict.fromkeys(live, 1)
    whole = sum(weights.values()) + rest
    if sum(weights.values()) == 0:
        return total
    for i, weight in weights.items():
        out[i] += total * Fraction(weight, whole)
    return total * Fraction(rest, whole)
