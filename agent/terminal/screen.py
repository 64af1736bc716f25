"""The screen of ``wattshed top``, with textual (extra ``top``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import App
from textual.widgets import DataTable, Footer, Label

from wattshed.agent.terminal.view import GPU_COLUMNS, JOB_COLUMNS, View
from wattshed.agent.wire.agents import NoDocumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult


class Screen(App[None]):  # type: ignore[misc] # textual is an extra, mypy does not follow it
    """Two tables that follow a running agent.

    Parameters
    ----------
    read : callable
        Returns the current View; runs in a thread, may raise NoDocumentError.
    interval_s : float, s
    """

    CSS = """
    Label { padding: 0 1; width: 100%; }
    .simulated { background: $warning; color: $text; }
    #gpus { height: auto; max-height: 50%; }
    """
    BINDINGS: ClassVar[list[Any]] = [("q", "quit", "Quit"), ("s", "sort", "Sort jobs")]

    def __init__(self, read: Callable[[], View], interval_s: float) -> None:
        super().__init__()
        self.title = "wattshed"
        self._read, self._interval_s = read, interval_s
        self._by_power = True

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield Label("", id="title")
        yield DataTable(id="gpus", cursor_type="none")
        yield DataTable(id="jobs", cursor_type="row")
        yield Footer()

    def on_mount(self) -> None:
        """Fill the tables, and again at each interval."""
        self.query_one("#gpus", DataTable).add_columns(*GPU_COLUMNS)
        self.query_one("#jobs", DataTable).add_columns(*JOB_COLUMNS)
        self.refresh_view()
        self.set_interval(self._interval_s, self.refresh_view)

    def action_sort(self) -> None:
        """Sort jobs by power, or by name."""
        self._by_power = not self._by_power
        self.refresh_view()

    def refresh_view(self) -> None:
        """Read in a thread, so that a slow agent does not freeze the keys."""
        self.run_worker(self._load, thread=True, exclusive=True)

    def _load(self) -> None:
        try:
            shown: View | str = self._read()
        except NoDocumentError as error:
            shown = str(error)
        self.call_from_thread(self._fill, shown)

    def _fill(self, shown: View | str) -> None:
        label = self.query_one("#title", Label)
        if isinstance(shown, str):
            label.update(Text(shown))  # Text: names are data, never markup
            return
        label.update(Text(shown.title))
        label.set_class("SIMULATED" in shown.title, "simulated")
        jobs = shown.jobs if self._by_power else sorted(shown.jobs)
        for name, rows in (("#gpus", shown.gpus), ("#jobs", jobs)):
            table = self.query_one(name, DataTable)
            cursor = table.cursor_coordinate
            table.clear()
            for row in rows:
                table.add_row(*(Text(cell) for cell in row))
            table.cursor_coordinate = cursor


def show(read: Callable[[], View], interval_s: float) -> None:
    """Run the screen until the user quits."""
    Screen(read, interval_s).run()
