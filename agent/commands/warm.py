"""``wattshed warm``: compile the kernels now, so that nothing has to wait for them later."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from wattshed.agent.printing.progress import ProgressLine

COMPILING = 0.75
"""How much of the time compiling takes; the rest is optimising and linking."""


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], *, configure: Callable[[Path | None], object]
) -> None:
    """Add ``wattshed warm`` to the command line; ``configure`` reads from a file where the kernels are to be."""
    parser = subparsers.add_parser(
        "warm",
        help="compile the kernels in advance",
        description="Compile the kernels to a library for this processor, in the cache ($NUMBA_CACHE_DIR, "
        "$WATTSHED_CACHE_DIR or cache_dir of the configuration, else $XDG_CACHE_HOME/wattshed or ~/.cache/wattshed), "
        "unless the package brings one. Without it kernels are plain Python, or compiled when they are first used. "
        "Prints where it is.",
    )
    parser.add_argument(
        "--config", metavar="F", type=Path, help="configuration file of `run` (default /etc/wattshed/config.toml)"
    )
    parser.set_defaults(run=run, configure=configure)


def run(arguments: argparse.Namespace) -> int:
    """Compile everything; returns 1 if that cannot be done, or there is nowhere to keep it."""
    arguments.configure(arguments.config)
    from wattshed.agent.printing.progress import in_sight  # noqa: PLC0415 - a command imports its parts when it runs
    from wattshed.kernels.cache import passed_over  # noqa: PLC0415 - after what says where
    from wattshed.kernels.warm import WarmError, warm_up  # noqa: PLC0415 - numpy is heavy

    for told in passed_over():
        say_progress(told)
    try:
        with in_sight("compiling the kernels", 1.0) as line:
            made = warm_up(partial(show_progress, line) if line.shown else say_progress)
    except WarmError as error:
        sys.stderr.write(f"wattshed: the kernels are not compiled: {error}\n")
        return 1
    if made is None:
        sys.stderr.write("wattshed: WATTSHED_JIT=off: the kernels run as plain Python, nothing is compiled\n")
        return 0
    sys.stdout.write(f"{made}\n")
    return 0


def show_progress(line: ProgressLine, told: str) -> None:
    """Show what is being done, and how far it is."""
    if compiled := re.match(r"compiled (\d+) of (\d+)", told):
        line.at(COMPILING * int(compiled[1]) / int(compiled[2]), told)
    else:
        line.say(told)


def say_progress(line: str) -> None:
    """Say on standard error what is being done."""
    sys.stderr.write(f"wattshed: {line}\n")
