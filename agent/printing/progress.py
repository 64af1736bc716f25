"""How far long work is, and how long it takes yet: on a terminal; elsewhere nothing."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, TaskID

    Far = Callable[[float, str], object]


class ProgressLine:
    """One line on standard error that is wiped when the work is over.

    Parameters
    ----------
    what : str
        What is done.
    bar : Progress, optional
        Of rich; None shows nothing.
    task : int
        The line of it.
    """

    def __init__(self, what: str, bar: Progress | None = None, task: TaskID | None = None) -> None:
        self._what, self._bar, self._task = what, bar, task

    @property
    def shown(self) -> bool:
        """Whether anybody sees it; where nobody does, nothing has to be counted for it."""
        return self._bar is not None

    def at(self, done: float, what: str = "") -> None:
        """Show how much is done, in the unit of the total; ``what`` replaces what is being done."""
        self._what = what or self._what
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, description=self._what)

    def say(self, what: str) -> None:
        """Show what is being done; how far it is stays as it is."""
        self._what = what
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=what)


@contextmanager
def in_sight(what: str, total: float | None = None) -> Iterator[ProgressLine]:
    """Show on a terminal what is being done, and for how long; with a total also how far it is, and the time left.

    Parameters
    ----------
    what : str
    total : float, optional
        In any unit: bytes, windows, points.
    """
    if not sys.stderr.isatty():
        yield ProgressLine(what)
        return
    from rich.console import Console  # noqa: PLC0415 - a pipe needs none of it
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )  # fmt: skip

    # What is done may hold names from a file: not markup.
    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), BarColumn(bar_width=24)]
    if total is None:
        columns.append(TimeElapsedColumn())
    else:
        columns += [TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn(), TextColumn("left")]
    bar = Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4, redirect_stdout=False)
    with bar:
        yield ProgressLine(what, bar, bar.add_task(what, total=total))
