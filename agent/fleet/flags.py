"""The fleet's command line: what numbers may be, and no option that a command would not use."""

from __future__ import annotations

import argparse
import math
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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


def share(text: str) -> float:
    """Read a number from 0 to 1, both included."""
    return 0.0 if _ratio(text) == 0.0 else fraction_or_whole(text)


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


def seed(text: str) -> int:
    """Read a random seed: a whole number, 0 or above it."""
    if not (text.isascii() and text.isdecimal()):
        raise ArgumentTypeError(f"{text} is not a whole number, 0 or above it")
    return int(text)


class _Noted(argparse.Action):
    """Stores a value, and that it was given: a default cannot be told from the same value otherwise."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        del parser, option_string
        setattr(namespace, self.dest, values)
        namespace.given = {*getattr(namespace, "given", ()), max(self.option_strings, key=len, default=self.dest)}


def note_given(parser: argparse.ArgumentParser) -> None:
    """Make the parser note in ``given`` which of the arguments that are added from now on were on the command line."""
    parser.register("action", None, _Noted)


def is_given(args: argparse.Namespace, option: str) -> bool:
    """Whether an option such as ``--confidence`` was on the command line."""
    return option in getattr(args, "given", ())


def runs(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], int],
    *,
    needs: Mapping[str, Sequence[str]] | None = None,
    **defaults: Any,
) -> None:
    """Say what a parser's command does, and which options it uses only together with others.

    Parameters
    ----------
    parser : ArgumentParser
        One that was given to `note_given`.
    command : callable
    needs : mapping of option -> options
        An option such as ``--resample``, and others of which one must be given, or else the first would be ignored: an
        error (exit code 2).
    """

    def run(args: argparse.Namespace) -> int:
        refuse_unused(args, needs or {})
        return command(args)

    parser.set_defaults(run=run, **defaults)


def refuse_unused(args: argparse.Namespace, needs: Mapping[str, Sequence[str]]) -> None:
    """Refuse options that were given and would have no effect.

    Raises
    ------
    InputError
        Naming the first of them, and what it needs.
    """
    for option, others in needs.items():
        if is_given(args, option) and not any(is_given(args, other) for other in others):
            wanted = " or ".join(others)
            raise InputError(f"{option} needs {wanted}, and would be ignored; leave it out, or give {wanted}")


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
