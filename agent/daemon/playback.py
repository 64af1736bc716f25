"""A recorded trace, played back to the live daemon at the speed at which it was recorded."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.cutting import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wattshed.agent.window import ProcessObservation, Window
    from wattshed.exporters.snapshot import Histogram


class PlaybackEnded(StopIteration):
    """The trace is over, or the playback was closed."""


class Playback:
    """Windows of a trace, each handed out when its time has come.

    Parameters
    ----------
    windows : iterator of Window
        In order of time, of one host.
    length_us : int, us
        Longer windows (a foreign log is read in large blocks) are cut to this length.
    """

    late_s = 0.0  # nothing is read, so nothing can be late
    duty = 0.0

    def __init__(self, windows: Iterator[Window], length_us: int) -> None:
        self._windows = (short for window in windows for short in _short(window, length_us))
        self._stop = threading.Event()
        self._offset_s: float | None = None

    def next(self) -> tuple[Window, list[ProcessObservation]]:
        """Wait for the next window's end; observations are always empty, for the trace names the owners itself.

        Raises
        ------
        PlaybackEnded
        """
        window = next(self._windows, None)
        if window is None:
            raise PlaybackEnded
        # A foreign log may know an index only; a series needs a name.
        named = tuple(d if d.uuid else replace(d, uuid=f"gpu{d.index}") for d in window.devices)
        window = replace(window, devices=named)
        if self._offset_s is None:
            self._offset_s = time.monotonic() - window.start_us / 1e6
        if self._stop.wait(max(window.end_us / 1e6 + self._offset_s - time.monotonic(), 0)):
            raise PlaybackEnded
        return window, []

    def calls(self) -> Mapping[str, Histogram]:
        """Nothing is called."""
        return {}

    def close(self) -> None:
        """End the playback; a waiting `next` returns at once."""
        self._stop.set()


def _short(window: Window, length_us: int) -> Iterator[Window]:
    """Cut a window into ones of at most ``length_us``; one that is hardly longer, as live ones are, stays whole."""
    if window.end_us - window.start_us <= 2 * length_us:
        return iter((window,))
    return cut(window, range(window.start_us + length_us, window.end_us, length_us))
