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
        description="Compile the kernels into the cache ($NUMBA_CACHE_DIR, else ~/.cache/wattshed). "
        "Without it the first run compiles them while it is already serving.",
    )
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Compile everything; returns 1 if there is nowhere to keep it."""
    from wattshed.kernels.warm import warm_up  # noqa: PLC0415 - numba is heavy

    folder = warm_up(say_progress)
    if folder is None:
        sys.stderr.write("wattshed: nothing is cached: set NUMBA_CACHE_DIR to a folder that only you can write to\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


def say_progress(name: str, number: int, of: int, seconds: float) -> None:
    """Say on standard error that one group of kernels is ready."""
    sys.stderr.write(f"wattshed: compiled {number} of {of}: {name} ({seconds:.1f} s)\n")
