"""What the user of `wattshed top` chose, and how keys change it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.agent.terminal.jobs import SORTS

if TYPE_CHECKING:
    from collections.abc import Sequence

SPANS_S = (300.0, 900.0, 3600.0)
INTERVALS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
JOBS, GPUS, HELP = "jobs", "gpus", "help"


@dataclass(slots=True)
class Choices:
    """What the user chose.

    Attributes
    ----------
    sort, reverse, needle
        Order and filter of jobs.
    interval_s, span_s : float, s
    paused : bool
    compact : bool or None
        GPUs in short; None: where they would not fit otherwise.
    active : str
        What keys move in: `JOBS` or `GPUS`.
    chosen : dict of str to str
        Key of the job and UUID of the GPU that is marked.
    page : tuple of (str, str), or None
        `HELP`, or a job or GPU whose page is open.
    """

    sort: str = "power"
    reverse: bool = False
    needle: str = ""
    interval_s: float = 2.0
    span_s: float = SPANS_S[1]
    paused: bool = False
    compact: bool | None = None
    active: str = JOBS
    chosen: dict[str, str] = field(default_factory=dict)
    page: tuple[str, str] | None = None

    def sort_by(self, name: str) -> None:
        """Sort jobs by something, or by the same the other way round."""
        self.sort, self.reverse = name, self.sort == name and not self.reverse

    def sort_by_next(self) -> None:
        """Sort jobs by the next thing."""
        names = list(SORTS)
        self.sort_by(names[(names.index(self.sort) + 1) % len(names)])

    def change_interval(self, step: int) -> bool:
        """Read less often (1), or more often (-1); tells whether that was possible."""
        others = [s for s in INTERVALS_S if (s > self.interval_s if step > 0 else s < self.interval_s)]
        if others:
            self.interval_s = min(others) if step > 0 else max(others)
        return bool(others)

    def next_span(self) -> None:
        """Draw another stretch of time."""
        self.span_s = SPANS_S[(SPANS_S.index(self.span_s) + 1) % len(SPANS_S)]

    def toggle_help(self) -> None:
        """Show the keys, or leave them."""
        self.page = None if self.page == (HELP, "") else (HELP, "")

    def go_back(self) -> None:
        """Close the page that is open; else drop the filter."""
        if self.page is not None:
            self.page = None
        else:
            self.needle = ""

    def other_list(self) -> None:
        """Let keys move in the other list."""
        self.active = GPUS if self.active == JOBS else JOBS

    def place(self, keys: Sequence[str]) -> int:
        """Return which row of the active list is chosen; the first, unless another one is."""
        chosen = self.chosen.get(self.active)
        return keys.index(chosen) if chosen in keys else 0

    def move(self, keys: Sequence[str], rows: int) -> None:
        """Choose another row of the active list."""
        if keys:
            self.chosen[self.active] = keys[min(max(self.place(keys) + rows, 0), len(keys) - 1)]

    def open(self, keys: Sequence[str]) -> None:
        """Open the page of the row that is chosen."""
        if keys:
            self.page = self.active, keys[self.place(keys)]
