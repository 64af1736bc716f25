"""Textbook formulas of the fleet, written out sum by sum in plain Python: the oracles of the tests."""

from itertools import pairwise
from math import cos, exp, pi, sqrt

from scipy import stats


def variance(values):
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / (len(values) - 1)


def stratified(strata):
    """[(N, [y, ...]), ...] -> total, variance, Satterthwaite's degrees of freedom."""
    total = sum(size * sum(values) / len(values) for size, values in strata)
    parts = [
        (size**2 * (1 - len(values) / size) * variance(values) / len(values), len(values) - 1)
        for size, values in strata
        if len(values) < size
    ]
    var = sum(v for v, _ in parts)
    below = sum(v**2 / n for v, n in parts)
    return total, var, var**2 / below if below > 0 else sum(n for _, n in parts)


def ratio(strata, known):
    """[(N, [y, ...], [x, ...]), ...] and the known total of x -> total, variance given the sizes drawn (combined)."""
    above = sum(size / len(y) * v for size, y, _ in strata for v in y)
    below = sum(size / len(x) * v for size, _, x in strata for v in x)
    r = above / below
    var = 0.0
    for size, y, x in strata:
        d = [a - r * b for a, b in zip(y, x, strict=True)]
        var += size**2 * (1 - len(d) / size) * variance(d) / len(d)
    return r * known, var * (known / below) ** 2


def two_stage(size, hosts):
    """N and [(M, [y, ...]), ...] -> total, variance."""
    n = len(hosts)
    totals = [m * sum(y) / len(y) for m, y in hosts]
    var = size**2 * (1 - n / size) * variance(totals) / n
    for m, y in hosts:
        if len(y) < m:
            var += size / n * m**2 * (1 - len(y) / m) * variance(y) / len(y)
    return size / n * sum(totals), var


def peak(power, k):
    return max(sum(power[i : i + k]) / k for i in range(len(power) - k + 1))


def peak_of_parts(power, k, part):
    """Largest mean over k steps and a part of the one behind them, or before."""
    spans = [power[i : i + k + 1] for i in range(len(power) - k)]
    return max((sum(s) - (1 - part) * min(s[0], s[-1])) / (k + part) for s in spans)


def largest_change(power, k):
    """Largest rise and fall between two values at most k apart."""
    pairs = [(power[j] - power[i]) for i in range(len(power)) for j in range(i, min(i + k, len(power) - 1) + 1)]
    return max(pairs), max(-p for p in pairs)


def held(times, powers, half, hole):
    """[(begin, end, power), ...]: each reading for what is nearest to it, ``half`` at the ends, ``hole`` at most."""
    found = []
    for i, t in enumerate(times):
        before = min((t - times[i - 1]) / 2, hole) if i else half
        after = min((times[i + 1] - t) / 2, hole) if i + 1 < len(times) else half
        found.append((t - before, t + after, powers[i]))
    return found


def sums_between(series, begin, end, jobs):
    """Energy of all series while all are known, and for how long that is; a job that is not there has none."""
    bounds = sorted({begin, end, *(b for one in series for part in one for b in part[:2] if begin < b < end)})
    energy = known = 0.0
    for low, high in pairwise(bounds):
        powers = []
        for one in series:
            mine = [p for b, e, p in one if b <= low and high <= e]
            if not mine and jobs and (high <= one[0][0] or low >= one[-1][1]):
                mine = [0.0]
            powers += mine
        if len(powers) == len(series):
            energy += sum(powers) * (high - low)
            known += high - low
    return energy, known


def ar1_band(sigma, phi, step_s, low_hz, high_hz, points=20000):
    """Mean square of an AR(1) process with innovations of ``sigma`` between two frequencies, by the midpoint rule."""
    width = (high_hz - low_hz) / points
    total = 0.0
    for i in range(points):
        f = low_hz + (i + 0.5) * width
        w = 2 * pi * f * step_s
        total += 2 * step_s * sigma**2 / (1 + phi**2 - 2 * phi * cos(w)) * width
    return total


def approach(end, start, seconds, tau):
    return end + (start - end) * exp(-seconds / tau)


def student(confidence, df):
    """Half-width of Student's central interval, by scipy."""
    return stats.t.ppf(0.5 + confidence / 2, df)


def root_sum(*parts):
    return sqrt(sum(p * p for p in parts))
