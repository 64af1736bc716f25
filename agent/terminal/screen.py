"""The screen of ``wattshed top``, with textual (extra ``top``)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App
from textual.binding import Binding
from textual.theme import Theme
from textual.widgets import Input

from wattshed.agent.terminal.arrangement import arrange
from wattshed.agent.terminal.choices import GPUS, HELP, JOBS, Choices
from wattshed.agent.terminal.colours import DARK, LIGHT, NO_COLOUR
from wattshed.agent.terminal.following import AgentWatch
from wattshed.agent.terminal.keys import KEYS, Hints, hints
from wattshed.agent.terminal.panes import Clicked, Scrolling, Standing
from wattshed.agent.wire.agents import NoDocumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from textual.app import ComposeResult

    from wattshed.agent.terminal.arrangement import Arrangement
    from wattshed.agent.terminal.colours import Palette
    from wattshed.agent.terminal.facts import ShownProcess

_URGENT = ("escape", "tab")


def _theme(name: str, palette: Palette, *, dark: bool) -> Theme:
    lines = palette.styles["title"].bgcolor
    panel = lines.get_truecolor().hex if lines is not None else None
    return Theme(
        name,
        primary=palette.styles["key"].color.get_truecolor().hex,  # type: ignore[union-attr]
        secondary=palette.styles["dim"].color.get_truecolor().hex,  # type: ignore[union-attr]
        foreground=palette.foreground,
        background=palette.background,
        surface=palette.background,
        panel=panel,
        dark=dark,
    )


class Top(App[None]):  # type: ignore[misc] # textual is an extra, mypy does not follow it
    """Follows a running agent.

    Parameters
    ----------
    read : callable
        Returns the current snapshot as a document; runs in a thread, may raise NoDocumentError.
    choices : Choices
    first : mapping, optional
        A snapshot that is shown before the first is read.
    light : bool
        Begin with the colours for a light terminal.
    command : callable
        Returns what a process runs, or nothing.
    clock : callable, s
        Unix time.
    """

    CSS = """
    Screen { layout: vertical; overflow: hidden hidden; }
    Standing { width: 100%; }
    Scrolling { width: 100%; overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1;
        scrollbar-background: $panel; scrollbar-background-hover: $panel; scrollbar-background-active: $panel;
        scrollbar-color: $secondary; scrollbar-color-hover: $primary; scrollbar-color-active: $primary; }
    #filter { height: 1; border: none; padding: 0 1; display: none; }
    """
    BINDINGS: ClassVar[list[Any]] = [
        Binding(key.keys, key.action, key.text, show=False, priority=key.keys in _URGENT) for key in KEYS
    ]
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None

    def __init__(
        self,
        read: Callable[[], Mapping[str, Any]],
        choices: Choices,
        first: Mapping[str, Any] | None = None,
        *,
        light: bool = False,
        command: Callable[[ShownProcess], str] = lambda _: "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.title = "wattshed top"
        self.following, self.choices = AgentWatch(), choices
        self._read, self._command, self._clock = read, command, clock
        self._light, self._reading = light, False
        self._hints: Hints | None = None
        self._timer: Any = None
        self._page_shown: tuple[str, str] | None = None
        self._arranged: Arrangement | None = None
        if first is not None:
            self.following.take(first, clock())

    @property
    def palette(self) -> Palette:
        """The colours in use."""
        return NO_COLOUR if self.no_color else LIGHT if self._light else DARK

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield Standing("head", self.palette)
        yield Standing("gpu-titles", self.palette)
        yield Scrolling("gpus", self.palette)
        yield Standing("job-titles", self.palette)
        yield Scrolling("jobs", self.palette)
        yield Scrolling("page", self.palette)
        yield Input(placeholder="words of id, name, user, account ...", id="filter", compact=True)
        yield Standing("keys", self.palette)

    def on_mount(self) -> None:
        """Read at each interval from now on."""
        self.register_theme(_theme("wattshed-dark", DARK, dark=True))
        self.register_theme(_theme("wattshed-light", LIGHT, dark=False))
        self._apply_theme()
        self.draw()
        self._tick()
        self._set_timer()
        self.set_interval(1.0, self._redraw_age)

    def on_resize(self) -> None:
        """Arrange for the new size."""
        self.draw()

    # Reading

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_interval(self.choices.interval_s, self._tick)

    def _tick(self) -> None:
        """Read in a thread, one at a time: a slow agent neither freezes keys nor is asked twice at once."""
        if not (self.choices.paused or self._reading):
            self._reading = True
            self.run_worker(self._load, thread=True)

    def _load(self) -> None:
        try:
            answer: Mapping[str, Any] | str = self._read()
        except NoDocumentError as error:
            answer = str(error)
        self.call_from_thread(self._take, answer)

    def _take(self, answer: Mapping[str, Any] | str) -> None:
        self._reading = False
        if isinstance(answer, str):
            self.following.failed(answer, self._clock())
        elif not self.choices.paused:
            self.following.take(answer, self._clock())
        self.draw()

    def _redraw_age(self) -> None:
        if self.following.silence is not None:
            self.draw()

    # Drawing

    def draw(self) -> None:
        """Show what is known, in the size that there is."""
        if not self.is_running or not self.query("#keys"):
            return
        width, height = self.size
        filtering = self.query_one("#filter", Input).display
        made = self._arranged = arrange(
            self.following,
            self.choices,
            max(width, 10),
            height - filtering,
            now_s=self._clock(),
            command=self._command,
        )
        old, palette = self.following.silence is not None, self.palette
        self.query_one("#head", Standing).show(made.head, palette, old=old)
        self._show_page(made, palette, old=old)
        for name, panel in (("gpu", made.gpus), ("job", made.jobs)):
            self.query_one(f"#{name}-titles", Standing).show(panel.titles, palette, old=old)
            pane = self.query_one(f"#{name}s", Scrolling)
            pane.display = bool(panel.titles)
            pane.styles.height = panel.height
            pane.show(panel.line, panel.count, palette, mark=panel.mark, old=old)
        self._hints = hints(width, made.note, page=made.page is not None)
        self.query_one("#keys", Standing).show([self._hints.line], palette)

    def _show_page(self, made: Arrangement, palette: Palette, *, old: bool) -> None:
        pane = self.query_one("#page", Scrolling)
        pane.display = made.page is not None
        pane.styles.height = "1fr"
        if made.page is not None:
            pane.show(made.page.__getitem__, len(made.page), palette, old=old and self.choices.page != (HELP, ""))
        if self._page_shown != self.choices.page:
            self._page_shown = self.choices.page
            pane.scroll_to(y=0, animate=False)

    def _apply_theme(self) -> None:
        self.theme = "ansi-dark" if self.no_color else "wattshed-light" if self._light else "wattshed-dark"

    # Keys

    def action_help(self) -> None:
        """Show the keys, or leave them."""
        self.choices.toggle_help()
        self.draw()

    def action_back(self) -> None:
        """Close the filter or the page that is open; else drop the filter."""
        entry = self.query_one("#filter", Input)
        if entry.display:
            self._close_filter(entry, keep=False)
        else:
            self.choices.go_back()
        self.draw()

    def action_filter(self) -> None:
        """Open the line for the filter."""
        self.choices.page = None
        entry = self.query_one("#filter", Input)
        entry.display, entry.value = True, self.choices.needle
        entry.focus()
        self.draw()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        if event.input.display:
            self.choices.needle = event.value.strip()
            self.draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter."""
        self._close_filter(event.input, keep=True)
        self.draw()

    def _close_filter(self, entry: Input, *, keep: bool) -> None:
        self.choices.needle = self.choices.needle if keep else ""
        entry.display = False
        self.set_focus(None)

    def action_sort(self, by: str) -> None:
        """Sort jobs by something, or the other way round."""
        self.choices.sort_by(by)
        self.draw()

    def action_next_sort(self) -> None:
        """Sort jobs by the next thing."""
        self.choices.sort_by_next()
        self.draw()

    def action_pause(self) -> None:
        """Stop reading, or go on."""
        self.choices.paused = not self.choices.paused
        self.draw()
        self._tick()

    def action_interval(self, step: int) -> None:
        """Read less often, or more often."""
        if self.choices.change_interval(step):
            self._set_timer()
        self.draw()

    def action_span(self) -> None:
        """Draw another stretch of time."""
        self.choices.next_span()
        self.draw()

    def action_compact(self) -> None:
        """Show GPUs in short, or a row each."""
        made = self._arranged
        self.choices.compact = made is None or not made.gpus.pitch
        self.draw()

    def action_theme(self) -> None:
        """Change between dark and light."""
        self._light = not self._light
        self._apply_theme()
        self.draw()

    def action_other(self) -> None:
        """Let keys move in the other list."""
        self.choices.other_list()
        self.draw()

    def action_move_page(self, pages: int) -> None:
        """Move by as many rows as are seen."""
        name = "page" if self._arranged is not None and self._arranged.page is not None else self.choices.active
        self.action_move(pages * max(1, self.query_one(f"#{name}", Scrolling).size.height - 1))

    def action_move(self, rows: int) -> None:
        """Choose another row, or scroll a page that is open."""
        made = self._arranged
        if made is None:
            return
        if made.page is not None:
            pane = self.query_one("#page", Scrolling)
            pane.scroll_to(y=pane.scroll_offset.y + rows, animate=False)
            return
        self.choices.move(made.panel(self.choices.active).keys, rows)
        self.draw()
        if self._arranged is not None and (mark := self._arranged.panel(self.choices.active).mark) is not None:
            self.query_one(f"#{self.choices.active}", Scrolling).reveal(mark.line)

    def action_open(self) -> None:
        """Open the page of what is chosen."""
        made = self._arranged
        if made is not None and made.page is None:
            self.choices.open(made.panel(self.choices.active).keys)
            self.draw()

    # The mouse

    async def on_clicked(self, event: Clicked) -> None:
        """Choose a row, open it, sort by a title, or do what a hint says."""
        made = self._arranged
        if made is None:
            return
        if event.where == "keys" and self._hints is not None and (action := self._hints.action_at(event.x)):
            await self.run_action(action)
        elif event.where == "job-titles" and (by := made.jobs.sort_at(event.x)):
            self.action_sort(by)
        elif event.where in {GPUS, JOBS} and (key := made.panel(event.where).key_at(event.x, event.y)):
            self.choices.active, self.choices.chosen[event.where] = event.where, key
            self.draw()
            if event.double:
                self.action_open()
