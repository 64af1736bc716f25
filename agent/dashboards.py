"""``wattshed dashboards DIR``: write the Grafana dashboards, and on request the Prometheus rules, to a folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent.window import InputError

if TYPE_CHECKING:
    import argparse

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
"""The same place beside ``agent/`` in a checkout and in an installed wheel."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "dashboards",
        help="write the Grafana dashboards to a folder",
        description="Write the Grafana dashboards (host, job, fleet) to a folder, ready to import or to provision.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="made if it does not exist")
    parser.add_argument("--rules", action="store_true", help="also write the Prometheus rules and a scrape example")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Copy the generated files; prints the path of each.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    sources = sorted((DEPLOY / "grafana").glob("*.json"))
    if args.rules:
        sources += sorted((DEPLOY / "prometheus").glob("*.yml"))
    if not sources:
        sys.stderr.write(f"wattshed: {DEPLOY} holds no dashboards; this installation is not whole\n")
        return 1
    try:
        args.folder.mkdir(parents=True, exist_ok=True)
        for source in sources:
            sys.stdout.write(f"{shutil.copyfile(source, args.folder / source.name)}\n")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", str(error.filename or args.folder)) from error
    return 0
