"""Lines of the mapping directory that outlived their jobs, for instance because the node crashed before the epilog."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wattshed.agent.jobs.mapping import Hold
    from wattshed.agent.jobs.queue import QueueAnswer

MARGIN_US = 500_000
"""A question that began so long after a prolog wrote must know the job: Slurm grants GPUs before it starts prologs."""
_DENIALS = 2
_REMEMBERED = 8
_MOST_KEPT = 20_000


class StaleHolds:
    """Judges holds by what the queue says.

    The queue is trusted over a prolog only if it hides nothing, and lacked the job twice in a row, asked well after
    the line was written. Then the hold ended when it was first lacking; had no answer ever known it, there was none.
    """

    def __init__(self) -> None:
        self._heard: tuple[tuple[int, frozenset[str], bool], ...] = ()  # when asked, the jobs here, whole
        self._gone: dict[tuple[int, str, str, int], int] = {}

    def hear(self, answer: QueueAnswer) -> None:
        """Take note of an answer; may be called from another thread."""
        here = frozenset(number for number, job in answer.jobs.items() if job.here)
        self._heard = (*self._heard[1 - _REMEMBERED :], (answer.asked_us, here, answer.whole))

    def judge(self, hold: Hold, *, ours: bool) -> tuple[Hold, bool]:
        """Return how far a hold can be trusted.

        Parameters
        ----------
        hold : Hold
        ours : bool
            Whether the queue can know this job at all.

        Returns
        -------
        hold : Hold
            As it is, or ended.
        undecided : bool
            Another answer would decide.
        """
        place = (hold.index, hold.instance, hold.job, hold.start_us)
        heard = self._heard
        undecided = False
        if ours and hold.end_us is None and heard:
            denials: list[int] = []
            for asked_us, here, whole in reversed(heard):
                if not whole or hold.job in here or asked_us < hold.start_us + MARGIN_US:
                    break
                denials.append(asked_us)
            if hold.job in heard[-1][1]:
                # Requeued, it runs here again.
                self._gone.pop(place, None)
            elif len(denials) >= _DENIALS and place not in self._gone:
                confirmed = any(hold.job in here for asked_us, here, _ in heard if asked_us > hold.start_us)
                if len(self._gone) >= _MOST_KEPT:
                    del self._gone[next(iter(self._gone))]
                self._gone[place] = denials[-1] if confirmed else 0
            undecided = heard[-1][2] and hold.job not in heard[-1][1] and place not in self._gone
        gone_us = self._gone.get(place)
        if gone_us is None or (hold.end_us is not None and hold.end_us <= gone_us):
            return hold, undecided
        return replace(hold, end_us=gone_us), False
