"""The one way to cut a window: into touching shorter ones that hold, together, just what it held."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.window import MISSING, NO_CPU_TIMES, Readings, Usage
from wattshed.agent.window.host_meters import HostReadings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from wattshed.agent.window import Window

_FAR_US = 1 << 62
"""No reading, row or event is so far away."""


def cut(window: Window, edges_us: Iterable[int]) -> Iterator[Window]:
    """Cut a window at some times; usage is cut with it, activity and busy time in proportion.

    Parameters
    ----------
    window : Window
    edges_us : iterable of int, us
        Ascending, inside the window; none yields the window itself.

    Yields
    ------
    Window
        In the order of time. What reaches out of the window goes with the first one or the last: above all the row of
        an owner that was noticed late, which begins before the window, for energy that is not booked yet.
    """
    bounds = [window.start_us, *edges_us, window.end_us]
    if len(bounds) == 2:
        yield window
        return
    reach = [-_FAR_US, *bounds[1:-1], _FAR_US]
    for (start_us, end_us), (since_us, until_us) in zip(pairwise(bounds), pairwise(reach), strict=True):
        time_us = window.readings.time_us
        yield replace(
            window,
            start_us=start_us,
            end_us=end_us,
            readings=_readings(window.readings, (time_us >= since_us) & (time_us < until_us)),
            busy_us=_part(window.busy_us, end_us - start_us, window.end_us - window.start_us),
            usage=_usage(window.usage, since_us, until_us),
            events=tuple(event for event in window.events if since_us <= event.time_us < until_us),
            work=tuple(row for row in window.work if since_us < row.end_us <= until_us),
            beside=_beside(window.beside, since_us, until_us, last=end_us == window.end_us),
            cpu=window.cpu if since_us <= window.cpu.time_us < until_us else NO_CPU_TIMES,
        )


def _readings(readings: Readings, rows: NDArray[np.bool_]) -> Readings:
    kept = np.concatenate([[0], np.cumsum(rows)])
    return Readings(
        kept[readings.offsets],
        readings.time_us[rows],
        readings.power_mw[rows],
        readings.counter_mj[rows],
        readings.instant_mw[rows] if len(readings.instant_mw) else readings.instant_mw,
    )


def _beside(beside: HostReadings, since_us: int, until_us: int, *, last: bool) -> HostReadings:
    """Return what meters of the host said; when readings were rejected is not known, so the last part counts them."""
    rows = (beside.time_us >= since_us) & (beside.time_us < until_us)
    kept = np.concatenate([[0], np.cumsum(rows)])
    rejected = beside.rejected if last else ()
    return HostReadings(beside.meters, kept[beside.offsets], beside.time_us[rows], beside.value[rows], rejected)


def _usage(usage: Usage, since_us: int, until_us: int) -> Usage:
    begin, end = usage.start_us, usage.end_us
    first, last = np.maximum(begin, since_us), np.minimum(end, until_us)
    rows = first < last
    return Usage(
        usage.gpu[rows],
        usage.owner[rows],
        first[rows],
        last[rows],
        _part(usage.activity_us[rows], (last - first)[rows], (end - begin)[rows]),
        usage.share_ppm[rows],
        usage.live[rows],
        *(
            _part(column[rows], (last - first)[rows], (end - begin)[rows]) if len(column) else column
            for column in (usage.tensor_us, usage.dram_us)
        ),
    )


def _part(
    amount: NDArray[np.int64], part_us: NDArray[np.int64] | int, length_us: NDArray[np.int64] | int
) -> NDArray[np.int64]:
    """Return what of an amount that is spread evenly over a length lies in a part of it; -1 stays unknown."""
    return np.where(amount >= 0, amount * part_us // np.maximum(length_us, 1), MISSING)
