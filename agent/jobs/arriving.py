"""Since when a process is on the GPU on which it was seen: a list shows that it is there, but not since when."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wattshed.agent.jobs.processes import Process
    from wattshed.agent.window import ProcessObservation

LINGER_US = 7_000_000
"""A living process counts as present this long after its last report: process lists are read every five seconds."""
REACH_BACK_US = 5_000_000
"""A process that is noticed late has used the GPU from its start: its first row reaches back as far as this. The
accounts book what of that time is not booked yet."""


def arrival_us(process: Process, observation: ProcessObservation, start_us: int, since_us: int) -> int:
    """Return when a process came to a GPU, as far as this window can still account for it.

    A young process is taken to have used the GPU from its start on; one that is much older than the window came to the
    GPU at some time since the last list, so only what was reported is certain. Where nobody looked before, which is so
    after a start of the agent, every process is young: its row begins with it, and the accounts, which know who was
    there before the agent stopped, cut it (`agent.accounts.holding`).

    Parameters
    ----------
    process : Process
    observation : ProcessObservation
    start_us : int, us
        Of the window.
    since_us : int, us
        Start of the first window, if the GPU was found later than that: of what was before it nothing is known; else 0.

    Returns
    -------
    int, us
    """
    born_us = process.started_us
    if born_us is None or born_us < min(start_us - LINGER_US, max(observation.from_us, since_us)):
        return max(start_us, observation.from_us)
    # It began in a time in which nobody could look, however long that was, or just now.
    return max(min(start_us - REACH_BACK_US, observation.from_us), born_us)
