"""The short way to a trace's windows, for those who need no options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wattshed.agent.window import Window


def windows(path: Path) -> Iterator[Window]:
    """Read a file or folder of any recognised format, host after host.

    Raises
    ------
    InputError
        If it is no trace, or one whose columns have to be named.
    """
    options = Options()
    for chain in find([str(path)], options):
        yield from chain.windows(options)
