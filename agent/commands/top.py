"""``wattshed top``: a live view of a running agent in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from wattshed.agent.terminal.view import fetch, text, view
from wattshed.agent.wire.credentials import add_flags, credentials_of, url_of

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
    parser.add_argument("--once", action="store_true", help="print one view as plain text and exit")
    parser.add_argument(
        "--interval", type=float, default=2.0, metavar="SECONDS", help="time between refreshes (default 2)"
    )
    add_flags(parser, DEFAULT_URL)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the view until q; returns 1 if the agent does not answer to begin with."""
    from wattshed.agent.wire.agents import DocumentServer, NoDocumentError  # noqa: PLC0415 - only this command asks

    agent = DocumentServer.of(url_of(args) or DEFAULT_URL, credentials_of(args))
    try:
        first = view(fetch(agent))
    except NoDocumentError as error:
        hint = "; start an agent with: wattshed run" if error.nobody else ""
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
