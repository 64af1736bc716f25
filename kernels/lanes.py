"""Lanes: what a kernel of many tasks does one after the other, with one room to work in."""

from __future__ import annotations

from wattshed.kernels.threads import threads

_A_THREAD = 4
"""So many for each, so that nobody waits long for the last."""


def lanes(tasks: int) -> int:
    """Return in how many lanes so many tasks go: none where there is nothing to do.

    A lane takes every so-manieth task. What a kernel needs as room to work in is then bounded by the number of threads,
    however long the recording is.
    """
    return min(tasks, _A_THREAD * threads())
