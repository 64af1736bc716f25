"""Student's t: the quantile that turns a standard error into an interval, without a statistics package.

The distribution function is a regularised incomplete beta function, evaluated by its continued fraction (DLMF 8.17.22)
with the modified Lentz method; the quantile is found by bisection, which cannot diverge.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, inf, lgamma, log
from statistics import NormalDist

_TINY = 1e-300


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function, for x < (a + 1) / (a + b + 2)."""
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > _TINY else _TINY)
            c = 1.0 + term / c
            c = c if abs(c) > _TINY else _TINY
            step = c * d
            value *= step
        if abs(step - 1.0) < 1e-16:
            break
    return value


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b) for a, b > 0 and x in [0, 1]."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1.0 - x))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _beta_fraction(a, b, x) / a
    return 1.0 - front * _beta_fraction(b, a, 1.0 - x) / b


@lru_cache(maxsize=256)
def quantile(confidence: float, df: float) -> float:
    """Half-width, in standard errors, of the central interval that covers ``confidence`` under Student's t.

    Parameters
    ----------
    confidence : float
        In (0, 1), e.g. 0.95.
    df : float
        Degrees of freedom, > 0; infinite (or beyond 1e7) is the normal distribution.

    Raises
    ------
    ValueError
        If ``confidence`` or ``df`` lies outside its range.
    """
    if not 0.0 < confidence < 1.0 or not df > 0.0:
        raise ValueError(f"no t quantile for confidence {confidence} and {df} degrees of freedom")
    if df == inf or df > 1e7:
        return NormalDist().inv_cdf(0.5 + confidence / 2.0)
    tail = 1.0 - confidence

    def outside(t: float) -> float:
        return incomplete_beta(df / 2.0, 0.5, df / (df + t * t))

    low, high = 0.0, 2.0
    while outside(high) > tail:
        low, high = high, high * 2.0
    while high - low > 1e-15 * high:
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if outside(middle) > tail else (low, middle)
    return 0.5 * (low + high)
