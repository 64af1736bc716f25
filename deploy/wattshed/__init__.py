"""The installed package: a launcher for the three rooms that it holds.

In a checkout the rooms are top-level folders (``agent``, ``kernels``, ``exporters``); in a wheel they lie inside
this package, because such plain names would collide with other distributions. ``main`` puts the folder that holds
them first on ``sys.path``, so that the same absolute imports work in both.
"""

import sys
from pathlib import Path


def main() -> int:
    """Run the command line; returns its exit code."""
    here = Path(__file__).resolve().parent
    home = here if (here / "agent").is_dir() else here.parent.parent
    sys.path.insert(0, str(home))
    from agent.__main__ import main as command  # noqa: PLC0415  (the path is only right from here on)

    return command()
