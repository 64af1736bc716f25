"""Which runs of a collector's database are complete and not yet in Slurm's accounting, and which are settled."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wattshed.agent.collect.write_back import GIVE_UP_US, FinishedRun
from wattshed.agent.history.query import Filter, runs_of
from wattshed.agent.history.sums import DAY_US

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.history.query import FoundJob
    from wattshed.agent.history.sql import SqlDatabase

_OF_SLURM = "run.key >= 'slurm:0' AND run.key < 'slurm:a'"
"""Jobs whose number is known."""
_COMPLETE = "run.expected > 0 AND run.expected <= (SELECT count(DISTINCT job.host) FROM job WHERE job.run = run.id)"
_SETTLED = (
    "EXISTS(SELECT 1 FROM written WHERE written.run = run.id AND written.key = run.key AND written.run_us = run.run_us)"
)


class WrittenRuns:
    """Runs of jobs that ended in the last week, as a database has them.

    Parameters
    ----------
    database : SqlDatabase
        A connection of its own: used by one thread at a time.
    clock : callable
        Unix seconds.
    """

    def __init__(self, database: SqlDatabase, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock
        gone = "NOT EXISTS(SELECT 1 FROM run WHERE run.id = written.run AND run.key = written.key)"
        database.do(f"DELETE FROM written WHERE {gone}")

    def unwritten(self, after: int, most: int) -> list[FinishedRun]:
        """Return complete runs that are not settled, those that follow a number, in the order of their numbers.

        Raises
        ------
        DatabaseError
        """
        since_us = round(self._clock() * 1e6) - GIVE_UP_US - DAY_US
        rows = self._database.rows(
            f"SELECT run.id, run.key FROM run WHERE run.id > ? AND run.end_us > ? AND {_OF_SLURM} AND {_COMPLETE} "
            f"AND NOT {_SETTLED} ORDER BY run.id LIMIT ?",
            (after or self._first(since_us) - 1, since_us, most),
        )
        every = Filter()
        found = (one for number, key in rows for one in runs_of(self._database, key, every) if one.number == number)
        return [self._finished(one) for one in found]

    def settle(self, number: int, outcome: str) -> None:
        """Note what became of a run; one that was joined with another meanwhile is looked at again.

        Raises
        ------
        DatabaseError
        """
        self._database.do(
            "INSERT INTO written(run, key, run_us, outcome) SELECT id, key, run_us, ? FROM run WHERE id = ? "
            "ON CONFLICT DO NOTHING",
            (outcome, number),
        )

    def _first(self, since_us: int) -> int:
        """Return the first number of a run that ended since then: those before it need not be read."""
        ((first,),) = self._database.rows("SELECT min(id) FROM run WHERE sort_us > ?", (since_us,))
        return int(first or 1)

    def _finished(self, found: FoundJob) -> FinishedRun:
        marks = ", ".join("?" * len(found.jobs))
        ((gpus,),) = self._database.rows(f"SELECT count(DISTINCT gpu) FROM part WHERE job IN ({marks})", found.jobs)
        return FinishedRun(
            found.number, found.key.partition(":")[2], found.labels.get("cluster", ""), found.start_us, found.end_us,
            found.used.energy_hnj, found.used.doubt.sigma_j, int(gpus), len(found.hosts),
        )  # fmt: skip
