"""The short way to a trace's windows, for packages that do not know the readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.traces.sources import find

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.traces.options import Options
    from wattshed.agent.window import Window


class OpenedTrace:
    """Files and folders of any recognised format, read host after host.

    Parameters
    ----------
    paths : sequence of str
    options : Options

    Raises
    ------
    InputError
        If one of them is not a trace, or one whose columns have to be named.
    """

    def __init__(self, paths: Sequence[str], options: Options) -> None:
        self._options, self._chains = options, find(paths, options)
        self.size = sum(source.path.stat().st_size for chain in self._chains for source in chain.sources)

    @property
    def reports(self) -> list[SourceReport]:
        """What was read of each file, and what could not be."""
        return [report for chain in self._chains for report in chain.reports]

    @property
    def position(self) -> int:
        """Bytes that are read."""
        return sum(report.position for report in self.reports)

    def windows(self) -> Iterator[Window]:
        """Read them.

        Raises
        ------
        InputError
            If a file cannot be used, or holds no power over time.
        """
        for chain in self._chains:
            yield from chain.windows(self._options)
