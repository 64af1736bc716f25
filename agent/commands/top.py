"""``wattshed top``: a live view of a running agent in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from wattshed.agent.terminal.view import fetch, text, view
from wattshed.agent.wire.credentials import add_flags, credentials_of, url_of

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "top",
        help="live view of a running agent in the terminal",
        description="Show the power of every GPU and job of a running agent. Keys: q quits, s sorts jobs.",
    )
    parser.add_argument("--once", action="store_true", help="print one view as plain text and exit")
    parser.add_argument(
        "--interval", type=float, default=2.0, metavar="SECONDS", help="time between refreshes (default 2)"
    )
    add_flags(parser, "your own agent, else that of this host")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the view until q; returns 1 if the agent does not answer to begin with."""
    from wattshed.agent.wire.agents import NoDocumentError, find_agent  # noqa: PLC0415 - only this command asks

    agent, missed = find_agent(url_of(args), credentials_of(args))
    try:
        first = view(fetch(agent))
    except NoDocumentError as error:
        looked = f"; no agent found at {missed} either" if missed else ""
        hint = f"{looked}; start one with `wattshed run`, or give --url" if error.nobody else ""
        sys.stderr.write(f"wattshed: {error}{hint}\n")
        return 1
    if args.once:
        sys.stdout.write(text(first))
        return 0
    try:
        from wattshed.agent.terminal.screen import show  # noqa: PLC0415 - textual is an extra
    except ImportError:
        sys.stderr.write("wattshed: the live view needs the extra top: pip install 'wattshed[top]'; or use --once\n")
        return 1
    show(lambda: view(fetch(agent)), max(args.interval, 0.2))
    return 0
