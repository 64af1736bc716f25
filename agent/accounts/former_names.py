"""A Slurm job that is known by its SLUID before it is known by its number has one account, not two."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.window import former_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wattshed.agent.accounts.ledger import JobAccount
    from wattshed.agent.window import JobKey, Window

MOST = 50_000
"""Names that are kept: the ones of jobs that were seen last."""


class FormerNames:
    """What jobs were called before their number was known, as the labels of owners say it."""

    def __init__(self) -> None:
        self._now: dict[JobKey, JobKey] = {}

    def learn(self, window: Window, jobs: Iterable[JobAccount]) -> dict[JobKey, JobKey]:
        """Take note of a window's owners; after a restart, of the jobs in the accounts as well.

        Returns
        -------
        dict of JobKey to JobKey
            Former name -> key, of the jobs in this window.
        """
        if any(event.kind == "restart" for event in window.events):
            self._now = {name: job.key for job in jobs if (name := former_key(job.key, job.labels)) is not None}
        found = {name: owner.key for owner in window.owners if (name := owner.formerly) is not None}
        # By the windows alone, for a replay must forget the same ones: it still has jobs that the daemon has not.
        for name in found:
            self._now.pop(name, None)
        self._now.update(found)
        while len(self._now) > MOST:
            del self._now[next(iter(self._now))]
        return found

    @property
    def knows_any(self) -> bool:
        """Whether anybody is known to have had another name."""
        return bool(self._now)

    def now(self, key: JobKey) -> JobKey:
        """Return the key of whoever had this name, or the same key."""
        return self._now.get(key, key)

    def applied(self, window: Window) -> Window:
        """Return the window with the keys of today."""
        keys = itertools.chain((owner.key for owner in window.owners), (one.owner for one in window.cpu.counters))
        if not any(key in self._now for key in keys):
            return window
        return replace(
            window,
            cpu=window.cpu.renamed(self.now),
            owners=tuple(replace(owner, key=self.now(owner.key)) for owner in window.owners),
            work=tuple(replace(row, owner=self.now(row.owner)) for row in window.work),
        )
