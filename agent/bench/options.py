"""What the words of ``wattshed bench`` share: how numbers are given."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """Read a positive whole number, with _ or an exponent (1e9).

    Raises
    ------
    argparse.ArgumentTypeError
        It is not one.
    """
    try:
        value = int(float(text)) if "e" in text.lower() else int(text)
    except (ValueError, OverflowError):
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return value


def some_seconds(text: str) -> float:
    """Read a time of more than 0 and no more than a day, in seconds.

    Raises
    ------
    argparse.ArgumentTypeError
        It is not one.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value
