"""Flags that the commands about jobs share: whom to ask, and about which jobs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    import argparse

GROUPS = ("user", "account", "partition", "namespace", "qos", "cluster", "host", "model", "job")
"""What jobs are chosen by, as flags and as parameters."""


def add_source_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say whom to ask: see `sources.open_source`."""
    from wattshed.agent.wire import credentials  # noqa: PLC0415

    credentials.add_flags(parser, "--store, else your own agent, or the collector or agent of this host")
    parser.add_argument(
        "--store", metavar="FILE", help="a history itself: STATE_DIR/history.db, or a postgresql:// URL"
    )


def add_filter_flags(parser: argparse.ArgumentParser, *, running: bool = True) -> None:
    """Add the flags that choose jobs and a time; ``running`` says whether ``--running`` is one of them."""
    group = parser.add_argument_group("which jobs, and when")
    for name in GROUPS:
        group.add_argument(f"--{name}", metavar=name[0].upper(), help=f"only of this {name}")
    when = "Unix seconds, a date, a date and time, or an age such as 7d or 12h"
    group.add_argument("--since", metavar="T", help=f"what was used from then on: {when}")
    group.add_argument("--until", metavar="T", help="what was used before")
    if running:
        group.add_argument("--running", action="store_true", help="only jobs that run")


def params_of(args: argparse.Namespace) -> dict[str, str]:
    """Turn the flags into parameters of a question; those that were not given are left out.

    Raises
    ------
    InputError
        If a time cannot be read.
    """
    params = {name: value for name in GROUPS if (value := getattr(args, name)) is not None}
    for name in ("since", "until"):
        if (text := getattr(args, name)) is not None:
            params[name] = _unix_s(text, name)
    return params | ({"running": "1"} if getattr(args, "running", False) else {})


def _unix_s(text: str, name: str) -> str:
    """Read a time of this machine's zone; whom is asked may be in another one."""
    from wattshed.agent.history.asking import time_us  # noqa: PLC0415

    try:
        found_us = time_us(text, time.time(), None)
    except ValueError as error:
        raise InputError(f"--{name}: {error}") from None
    return f"{found_us // 1_000_000}.{found_us % 1_000_000:06}"
