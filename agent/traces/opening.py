"""The short way to a trace's windows, for packages that do not know the readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.window import Window


def windows(path: Path, columns: Mapping[str, tuple[str, str]], reports: list[SourceReport]) -> Iterator[Window]:
    """Read a file or folder of any recognised format, host after host.

    Parameters
    ----------
    path : Path
    columns : mapping
        From `agent.inputs.columns.parse_spec`; empty if none were given.
    reports : list of SourceReport
        Gets what was read of each file, and what could not be.

    Raises
    ------
    InputError
        If it is not a trace, or one whose columns have to be named.
    """
    options = Options(columns or None)
    for chain in find([str(path)], options):
        yield from chain.windows(options)
        reports += chain.reports
