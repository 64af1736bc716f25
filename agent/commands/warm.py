"""``wattshed warm``: compile the kernels now, so that nothing has to wait for them later."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``wattshed warm`` to the command line."""
    parser = subparsers.add_parser(
        "warm",
        help="compile the kernels in advance",
        description="Compile the kernels to a library for this processor, in the cache ($NUMBA_CACHE_DIR or "
        "$WATTSHED_CACHE_DIR, else $XDG_CACHE_HOME/wattshed or ~/.cache/wattshed), unless the package brings one. "
        "Without it kernels are plain Python, or compiled when they are first used. Prints where it is.",
    )
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Compile everything; returns 1 if that cannot be done, or there is nowhere to keep it."""
    from wattshed.kernels.warm import WarmError, warm_up  # noqa: PLC0415 - numpy is heavy

    try:
        made = warm_up(say_progress)
    except WarmError as error:
        sys.stderr.write(f"wattshed: the kernels are not compiled: {error}\n")
        return 1
    if made is None:
        sys.stderr.write("wattshed: WATTSHED_JIT=off: the kernels run as plain Python, nothing is compiled\n")
        return 0
    sys.stdout.write(f"{made}\n")
    return 0


def say_progress(name: str, number: int, of: int, seconds: float) -> None:
    """Say on standard error that one kernel is compiled."""
    sys.stderr.write(f"wattshed: compiled {number} of {of}: {name} ({seconds:.1f} s)\n")
