"""``wattshed bench accuracy``: wattshed and the meters of others on one simulated driver, whose joules are known."""

# Imported where they are used: the command line must start without numpy, numba and rich.
# ruff: noqa: PLC0415

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.printing.progress import in_sight
from wattshed.exporters.numbers import plain

if TYPE_CHECKING:
    from wattshed.agent.bench.accuracy.scenarios import KnownLoad
    from wattshed.agent.bench.accuracy.tools import ToolName

LONGEST_S = 600.0


def add_parser(subparsers: Any) -> None:
    """Add ``bench accuracy`` to the words of ``bench``."""
    parser = subparsers.add_parser(
        "accuracy",
        help="wattshed, Zeus, CodeCarbon, nvitop and carbontracker on jobs whose joules are known",
        description="Lets wattshed and every peer that is installed measure the same jobs on one SIMULATED driver, "
        "in virtual time, each in a process of its own, and compares what they say with the joules that really flowed; "
        "then what each costs, in real time. Needs the extra 'peers'; a peer that is not installed is left out.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--only", metavar="WORD", default="", help="only the scenarios whose name contains this")
    parser.add_argument("--no-peers", action="store_true", help="wattshed, and what --tool names, alone")
    parser.add_argument(
        "--tool",
        metavar="FILE.py",
        action="append",
        default=[],
        help="one more tool: a class with begin(), end() and joules(); the file is run",
    )
    parser.add_argument(
        "--scenario",
        metavar="FILE.toml",
        action="append",
        default=[],
        help="this simulated node instead of the usual scenarios",
    )
    parser.add_argument(
        "--real-time",
        type=_seconds,
        default=10.0,
        metavar="S",
        help="seconds for which each tool's cost is measured; 0: not at all (default 10)",
    )
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to {LONGEST_S:g}")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark; 1 if a tool could not even be made ready."""
    from wattshed.agent.bench.accuracy import running, table

    tools, absent = _tools(arguments)
    scenarios = _scenarios(arguments)
    try:
        with in_sight("measuring", 1.0) as line:
            document = running.document(tools, scenarios, absent, arguments.real_time, line.at)
    except running.ToolProcessError as error:
        print(f"wattshed: {error}", file=sys.stderr)  # noqa: T201 - why there is no answer
        return 1
    if arguments.json:
        print(json.dumps(plain(document), indent=1, ensure_ascii=False))  # noqa: T201 - the answer
    else:
        table.show(document)
    return 0


def _tools(arguments: argparse.Namespace) -> tuple[list[ToolName], list[str]]:
    from wattshed.agent.bench.accuracy import tools

    found, absent = tools.installed()
    if arguments.no_peers:
        found, absent = found[:1], []
    for file in arguments.tool:
        found += tools.of_file(Path(file))
    if name := tools.doubled(found):
        raise InputError(f"two tools are called {name}; give one another `name`")
    return found, absent


def _scenarios(arguments: argparse.Namespace) -> list[KnownLoad]:
    from wattshed.agent.bench.accuracy.scenarios import SCENARIOS, of_file

    if arguments.scenario:
        return [of_file(Path(file)) for file in arguments.scenario]
    found = [one for one in SCENARIOS if arguments.only in one.name]
    if not found:
        raise InputError(
            f"--only {arguments.only}: no scenario's name contains it; {', '.join(s.name for s in SCENARIOS)}"
        )
    return found
