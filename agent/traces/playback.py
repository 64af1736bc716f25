"""A recorded trace, played back to the live daemon at the speed at which it was recorded."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.window import MISSING, Readings, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.window import ProcessSighting, Window
    from exporters.snapshot import Histogram


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
        self._windows = (short for window in windows for short in cut(window, length_us))
        self._stop = threading.Event()
        self._offset_s: float | None = None

    def next(self) -> tuple[Window, list[ProcessSighting]]:
        """Wait for the next window's end; sightings are always empty, for the trace names the owners itself.

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


def cut(window: Window, length_us: int) -> Iterator[Window]:
    """Cut a window into touching ones of at most ``length_us``; usage rows are cut with it, activity in proportion."""
    if window.end_us - window.start_us <= 2 * length_us:
        yield window
        return
    for start in range(window.start_us, window.end_us, length_us):
        end = min(start + length_us, window.end_us)
        last = end == window.end_us
        yield replace(
            window,
            start_us=start,
            end_us=end,
            readings=_rows_between(window.readings, start, end, last=last),
            busy_us=np.where(
                window.busy_us >= 0, window.busy_us * (end - start) // (window.end_us - window.start_us), MISSING
            ),
            usage=_usage_between(window.usage, start, end),
            events=tuple(e for e in window.events if start <= e.time_us < end or (last and e.time_us >= end)),
        )


def _rows_between(readings: Readings, start_us: int, end_us: int, *, last: bool) -> Readings:
    rows = (readings.time_us >= start_us) & ((readings.time_us < end_us) | last)
    kept = np.concatenate([[0], np.cumsum(rows)])
    return Readings(
        kept[readings.offsets],
        readings.time_us[rows],
        readings.power_mw[rows],
        readings.counter_mj[rows],
        readings.instant_mw[rows] if len(readings.instant_mw) else readings.instant_mw,
    )


def _usage_between(usage: Usage, start_us: int, end_us: int) -> Usage:
    rows = (usage.start_us < end_us) & (usage.end_us > start_us)
    begin, finish = usage.start_us[rows], usage.end_us[rows]
    cut_begin, cut_finish = np.maximum(begin, start_us), np.minimum(finish, end_us)
    activity = usage.activity_us[rows]
    part = activity * (cut_finish - cut_begin) // np.maximum(finish - begin, 1)
    return Usage(
        usage.gpu[rows],
        usage.owner[rows],
        cut_begin,
        cut_finish,
        np.where(activity >= 0, part, MISSING),
        usage.share_ppm[rows],
        usage.live[rows],
    )
