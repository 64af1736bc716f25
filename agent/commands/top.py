"""``wattshed top``: a live view of a running agent in the terminal."""

from __future__ import annotations

import math
import shutil
import sys
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.wire.credentials import add_flags, credentials_of, url_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

LEAST_S, MOST_S = 0.2, 3600.0
_EXAMPLES = """examples:
  wattshed top                         this host, until q
  wattshed top --url http://n1:9961    another host
  wattshed top --once                  one view as text, for a script
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "top",
        help="live view of a running agent in the terminal",
        description="Show the power, energy and jobs of a node as they change: every GPU, every job, and each job's "
        "processes. Keys: ? shows them all, q quits.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "--once", action="store_true", help="print one view and exit: whole where it is piped, else as wide as here"
    )
    parser.add_argument(
        "--interval", type=float, default=2.0, metavar="SECONDS", help="time between refreshes (default 2)"
    )
    add_flags(parser, "your own agent, else that of this host")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the view until q; returns 1 if the agent does not answer to begin with.

    Raises
    ------
    InputError
        If a flag cannot be used.
    """
    from wattshed.agent.terminal.following import SnapshotReader  # noqa: PLC0415 - only this command asks
    from wattshed.agent.wire.agents import NoDocumentError, find_agent  # noqa: PLC0415 - as above

    if not (math.isfinite(args.interval) and args.interval > 0):
        raise InputError("--interval takes a number of seconds, such as 2")
    agent, missed = find_agent(url_of(args), credentials_of(args))
    read = SnapshotReader(agent)
    try:
        first = read()
    except NoDocumentError as error:
        looked = f"; no agent found at {missed} either" if missed else ""
        hint = f"{looked}; start one with `wattshed run`, or give --url" if error.nobody else ""
        sys.stderr.write(f"wattshed: {error}{hint}\n")
        return 1
    if args.once:
        return _once(first)
    return _follow(read, first, min(max(args.interval, LEAST_S), MOST_S))


def _once(document: dict[str, Any]) -> int:
    from wattshed.agent.terminal.once import lines_once  # noqa: PLC0415 - only this command needs it

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    sys.stdout.writelines(f"{line.text.rstrip()}\n" for line in lines_once(document, width))
    return 0


def _follow(read: Callable[[], dict[str, Any]], first: dict[str, Any], interval_s: float) -> int:
    try:
        from wattshed.agent.terminal.screen import Top  # noqa: PLC0415 - textual is an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "textual":
            raise
        sys.stderr.write(
            "wattshed: the live view needs textual: pip install 'wattshed[top]'; `wattshed top --once` works without\n"
        )
        return 1
    from wattshed.agent.terminal.choices import Choices  # noqa: PLC0415 - only this command needs it
    from wattshed.agent.terminal.colours import is_light  # noqa: PLC0415 - as above
    from wattshed.agent.terminal.programs import Programs  # noqa: PLC0415 - as above

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.stderr.write("wattshed: the live view needs a terminal; use --once for one view as text\n")
        return 1
    Top(read, Choices(interval_s=interval_s), first, light=is_light(), command=Programs().command).run()
    return 0
