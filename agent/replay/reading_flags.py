"""Flags that say how foreign traces are to be understood, and the settings that they make."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.replay import given

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wattshed.agent.replay.books import Settings
    from wattshed.agent.traces.options import Options


def _checked(check: Callable[[str], float]) -> Callable[[str], float]:
    """Let a check of a user's number complain as argparse wants it."""

    def read(text: str) -> float:
        try:
            return check(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


_OF_JOBS = ("jobs", "job_columns", "idle_watts", "work", "work_columns")
"""And ``--watts``, which the settings call `split`."""

watts, seconds = _checked(given.watts), _checked(given.seconds)


def add_reading_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how foreign traces are to be understood."""
    parser.add_argument("--columns", metavar="k=v,...", help="columns of a table: time=ts:ms,gpu=id,power=p:mW,...")
    parser.add_argument(
        "--where", metavar="k=v,...", action="append", help="rows of a table that count: metric=power,..."
    )
    parser.add_argument("--period", type=seconds, metavar="S", help="seconds between rounds of a log without times")
    parser.add_argument("--timezone", default="UTC", metavar="TZ", help="time zone of times without one (default UTC)")
    parser.add_argument("--max-gap", type=seconds, metavar="S", help="longest interval that is bridged, in seconds")
    parser.add_argument("--max-power", type=watts, metavar="W", help="readings above this are rejected (default 20000)")


def count(text: str) -> int:
    """Read how many workers there shall be."""
    return int(_checked(partial(given.quantity, what="number of workers", least=1.0))(text))


def options_of(args: argparse.Namespace) -> Options:
    """Turn the flags into how traces are read, see `agent.replay.given.options_from`.

    Raises
    ------
    InputError
        If one of them cannot be understood.
    """
    return given.options_from(**_said(args, ("columns", "where", "period", "timezone", "max_gap", "max_power")))


def settings_of(args: argparse.Namespace) -> Settings:
    """Turn the flags into settings, see `agent.replay.given.settings_from`.

    Raises
    ------
    InputError
        If one of them cannot be understood, or the jobs file cannot.
    """
    return given.settings_from(options_of(args), **_said(args, _OF_JOBS), split=getattr(args, "watts", None))


def _said(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Return those of some flags that the user gave."""
    return {name: value for name in names if (value := getattr(args, name, None)) is not None}
