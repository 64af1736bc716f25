"""A chunk of a recording: read, checked, and not yet taken apart, so that the next can be read meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from wattshed.agent.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wattshed.agent.window import WindowBatch


class Chunk(Protocol):
    """What readers of recordings give."""

    def __call__(self, *, batched: bool) -> Iterator[Window | WindowBatch]:
        """Take it apart: into windows; with ``batched``, into batches of those that hold power readings alone."""


def windows_of(chunks: Iterable[Chunk]) -> Iterator[Window]:
    """Take chunks apart into windows alone, with all that they hold."""
    for chunk in chunks:
        yield from each_window(chunk(batched=False))


def each_window(items: Iterable[Window | WindowBatch]) -> Iterator[Window]:
    """Take batches apart; windows pass."""
    for item in items:
        yield from [item] if isinstance(item, Window) else item.windows()
