"""A stretch of a recording: read, checked, and not yet taken apart, so that one can be read while another is booked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.window import Run, Window


class Stretch(Protocol):
    """What readers of recordings give."""

    def __call__(self, *, runs: bool) -> Iterator[Window | Run]:
        """Take it apart: into windows, or with ``runs`` into runs of windows where they hold power readings alone."""
