"""Numbers on the fleet's command line: what they may be, and what was probably meant by one that is not."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError

MOST_CV = 5.0
"""No fleet is known whose hosts vary more: above it, percent were meant."""


def fraction(text: str) -> float:
    """Read a number between 0 and 1, both left out: ``0.02`` or ``2%``."""
    value = _ratio(text)
    if not 0.0 < value < 1.0:
        raise ArgumentTypeError(f"{text} is not between 0 and 1{_percent(text)}")
    return value


def fraction_or_zero(text: str) -> float:
    """Read a number from 0 to below 1."""
    return 0.0 if _ratio(text) == 0.0 else fraction(text)


def fraction_or_whole(text: str) -> float:
    """Read a number above 0, up to 1."""
    return 1.0 if _ratio(text) == 1.0 else fraction(text)


def variation(text: str) -> float:
    """Read a standard deviation over a mean: ``0.4`` or ``40%``."""
    value = _ratio(text)
    if not 0.0 <= value < math.inf:
        raise ArgumentTypeError(f"{text} is not 0 or a number above it")
    if value > MOST_CV:
        raise ArgumentTypeError(f"{text} is a standard deviation of {value:g} times the mean{_percent(text)}")
    return value


def positive(text: str) -> float:
    """Read a finite number above 0."""
    value = _number(text)
    if not 0.0 < value < math.inf:
        raise ArgumentTypeError(f"{text} is not a number above 0")
    return value


def whole(text: str) -> int:
    """Read a whole number above 0."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None


def _ratio(text: str) -> float:
    """Read a number, or one of a hundred."""
    return _number(text[:-1]) / 100.0 if text.endswith("%") else _number(text)


def _percent(text: str) -> str:
    """Suggest percent where a number looks like them."""
    if text.endswith("%") or not 1.0 < (value := _number(text)) <= 100.0:
        return ""
    return f"; write {value / 100.0:g} or {value:g}%"
