"""``wattshed dashboards DIR``: write the Grafana dashboards, and on request the Prometheus rules, to a folder.

A README beside them tells how to import them.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    import argparse
    from importlib.resources.abc import Traversable


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "dashboards",
        help="write the Grafana dashboards to a folder",
        description="Write the Grafana dashboards (host, job, owners, fleet) to a folder, with a provisioning "
        "file and a README that tells how to import them.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="created if it does not exist")
    parser.add_argument(
        "--rules", action="store_true", help="also write the Prometheus rules, alerts and a scrape configuration"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Copy the generated files; prints the path of each.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    sources = _shipped("grafana", ".json", ".yml", ".md") + (_shipped("prometheus", ".yml") if args.rules else [])
    try:
        args.folder.mkdir(parents=True, exist_ok=True)
        for source in sources:
            target = args.folder / ("README.md" if source.name.endswith(".md") else source.name)
            target.write_bytes(source.read_bytes())
            sys.stdout.write(f"{target}\n")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", str(error.filename or args.folder)) from error
    return 0


def _shipped(folder: str, *endings: str) -> list[Traversable]:
    """List the files that the package brings, by name."""
    found = [file for file in files(f"wattshed.deploy.{folder}").iterdir() if file.name.endswith(endings)]
    return sorted(found, key=lambda file: file.name)
