"""Quantiles of chi-square, for the intervals of a spectrum's bands."""

from __future__ import annotations

from functools import lru_cache
from math import exp, lgamma, log, sqrt
from statistics import NormalDist

_NORMAL = 1e4  # degrees of freedom from which on Wilson and Hilferty's cube is right to 1e-9


def incomplete_gamma(a: float, x: float) -> float:
    """Share of a gamma distribution of shape ``a`` that lies below ``x``: by series, or by Lentz's continued fraction.

    Milton Abramowitz and Irene A. Stegun, Handbook of Mathematical Functions (1964), 6.5.29 and 6.5.31.
    """
    if x <= 0.0:
        return 0.0
    front = exp(a * log(x) - x - lgamma(a))
    if x < a + 1.0:
        term = total = 1.0 / a
        n = a
        while abs(term) > abs(total) * 1e-16:
            n += 1.0
            term *= x / n
            total += term
        return front * total
    b, tiny = x + 1.0 - a, 1e-300
    c, d = 1.0 / tiny, 1.0 / b
    fraction, step, i = d, 0.0, 0
    while abs(step - 1.0) > 1e-15:
        i += 1
        b += 2.0
        d = 1.0 / (-i * (i - a) * d + b or tiny)
        c = b - i * (i - a) / c or tiny
        step = c * d
        fraction *= step
    return 1.0 - front * fraction


@lru_cache(maxsize=1024)
def chi_square(share: float, freedom: float) -> float:
    """Value below which chi-square with ``freedom`` degrees of freedom lies with probability ``share``.

    Raises
    ------
    ValueError
        If ``share`` is not between 0 and 1, or ``freedom`` not above 0.
    """
    if not 0.0 < share < 1.0 or not freedom > 0.0:
        raise ValueError(f"no quantile of chi-square for {share} and {freedom} degrees of freedom")
    z = NormalDist().inv_cdf(share)
    start = freedom * max(1.0 - 2.0 / (9.0 * freedom) + z * sqrt(2.0 / (9.0 * freedom)), 1e-3) ** 3
    if freedom > _NORMAL:
        return start
    low, high = 0.0, start
    while incomplete_gamma(freedom / 2.0, high / 2.0) < share:
        low, high = high, high * 2.0
    while high - low > 1e-13 * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if incomplete_gamma(freedom / 2.0, middle / 2.0) < share else (low, middle)
    return high
