"""A stretch of a recording: read, checked, and not yet taken apart, so that one can be read while another is booked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from wattshed.agent.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wattshed.agent.window import Run


class Stretch(Protocol):
    """What readers of recordings give."""

    def __call__(self, *, runs: bool) -> Iterator[Window | Run]:
        """Take it apart: into windows, or with ``runs`` into runs of windows where they hold power readings alone."""


def windows_of(stretches: Iterable[Stretch]) -> Iterator[Window]:
    """Take stretches apart into windows alone, with all that they hold."""
    for stretch in stretches:
        yield from each_window(stretch(runs=False))


def each_window(items: Iterable[Window | Run]) -> Iterator[Window]:
    """Take runs apart; windows pass."""
    for item in items:
        yield from [item] if isinstance(item, Window) else item.windows()
