"""The command line: the one place where a command, its configuration and its parts meet."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import PackageNotFoundError, version

from agent.window import InputError


def parser() -> argparse.ArgumentParser:
    """Build the whole command line; the rooms' modules are imported only when their command runs."""
    top = argparse.ArgumentParser(prog="wattshed", description="Measures GPU power and bills every joule to its job.")
    try:
        shown = version("wattshed")
    except PackageNotFoundError:
        shown = "0 (not installed)"
    top.add_argument("--version", action="version", version=f"wattshed {shown}")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code (0 done, 1 failed while running, 2 bad usage or input)."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except InputError as error:
        print(f"wattshed: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
