"""Where the newest snapshot hangs, for whoever serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wattshed.exporters.snapshot import Snapshot


class Board:
    """Where the newest snapshot hangs: one writer, many readers that never wait.

    Parameters
    ----------
    first : Snapshot
        What is shown before the first window.
    """

    def __init__(self, first: Snapshot) -> None:
        self._shown = first

    def show(self, snapshot: Snapshot) -> None:
        """Replace what is shown."""
        self._shown = snapshot

    def current(self) -> Snapshot:
        """Return what is shown now."""
        return self._shown
