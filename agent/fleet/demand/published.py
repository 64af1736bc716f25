"""When the readings of an energy counter were published, which is before they were read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROOM = 1.05
"""Intervals by which a reading may be later than the publication that it shows: of more, some were not read."""


def published_s(read_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], float] | None:
    """Return when the values of a counter were published, if each publication was read.

    A counter that is read more often than it is published moves by one publication at a time. They come at even
    intervals, so the readings at which it had moved, counted through, tell the interval; and no reading is later than
    an interval, nor any earlier than its publication.

    Parameters
    ----------
    read_s : float64[n], s
        Readings at which it had moved, ascending.

    Returns
    -------
    (float64[n], float) or None, s
        Moments, and the constant that they may be too late by: nothing if some reading came just before the next
        publication. None if some publications were not read.
    """
    number = np.arange(read_s.size)
    every_s, _ = np.polyfit(number, read_s, 1)
    late_s = read_s - every_s * number
    spread_s = float(np.ptp(late_s))
    if spread_s > _ROOM * every_s:
        return None
    return np.asarray(every_s * number + late_s.min()), max(float(every_s) - spread_s, 0.0)
