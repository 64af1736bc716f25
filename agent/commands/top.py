"""``wattshed top``: a live view of a running agent in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from wattshed.agent.terminal.view import fetch, text, view

if TYPE_CHECKING:
    import argparse

DEFAULT_URL = "http://127.0.0.1:9961"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "top",
        help="live view of a running agent in the terminal",
        description="Show the power of every GPU and job of a running agent. Keys: q quits, s sorts jobs.",
    )
    parser.add_argument("--url", default=DEFAULT_URL, help=f"where the agent listens (default {DEFAULT_URL})")
    parser.add_argument("--once", action="store_true", help="print one view as plain text and exit")
    parser.add_argument(
        "--interval", type=float, default=2.0, metavar="SECONDS", help="time between refreshes (default 2)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the view until q; returns 1 if the agent does not answer to begin with."""
    try:
        first = view(fetch(args.url))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"wattshed: {error}; start an agent with: wattshed run\n")
        return 1
    if args.once:
        sys.stdout.write(text(first))
        return 0
    try:
        from wattshed.agent.terminal.screen import show  # noqa: PLC0415 - textual is an extra
    except ImportError:
        sys.stderr.write("wattshed: the live view needs the extra top: pip install 'wattshed[top]'; or use --once\n")
        return 1
    show(lambda: view(fetch(args.url)), max(args.interval, 0.2))
    return 0
