"""Keeps the table of runs in step with the rows of single hosts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wattshed.agent.history.runs import MERGED, HostRow, Run, runs
from wattshed.agent.history.schema import GROUPS
from wattshed.agent.wire.parts import REQUEUED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from wattshed.agent.history.sql import SqlDatabase

RUNNING_US = 2**62
"""In place of the end of a job that runs, where jobs are put in order."""
_ROW = "id, run, host, run_us, start_us, end_us, uid, labels"
_GROUP_COLUMNS = ", ".join(f'"{name}"' for name in GROUPS)


class RunRows:
    """Writes runs.

    Parameters
    ----------
    database : SqlDatabase
    merged : bool
        Whether rows of several hosts may be one run; else each row is one.
    moved : callable
        Told that what a row used belongs to other groups than before: its number and host, and the values of `GROUPS`
        before and after.
    """

    def __init__(
        self, database: SqlDatabase, moved: Callable[[int, str, Sequence[str], Sequence[str]], None], *, merged: bool
    ) -> None:
        self._database, self._moved, self._merged = database, moved, merged

    def follow(self, changed: Iterable[tuple[str, int]]) -> None:
        """Bring the runs of jobs up to date of which rows are new or changed; each by its key and begin."""
        places = {(key, None if self._merges(key) else run_us) for key, run_us in changed}
        for key, run_us in sorted(places, key=repr):
            found = self._rows(key, run_us)
            before = {row.number: run for row, run, _ in found}
            groups = {row.number: groups for row, _, groups in found}
            rows = [row for row, _, _ in found]
            together = runs(rows) if self._merged else [Run((row,)) for row in rows]
            self._write(together, before, groups)

    def _merges(self, key: str) -> bool:
        return self._merged and key.startswith(MERGED)

    def _rows(self, key: str, run_us: int | None) -> list[tuple[HostRow, int, Sequence[str]]]:
        """Return rows with the number of their run so far, 0 for none, and their groups so far."""
        values: list[Any] = [key]
        where = "key = ?"
        if run_us is not None:
            where, values = f"{where} AND run_us = ?", [key, run_us]
        found: list[tuple[HostRow, int, Sequence[str]]] = []
        for row in self._database.rows(f"SELECT {_ROW}, {_GROUP_COLUMNS} FROM job WHERE {where}", values):
            number, run, host, begin, start_us, end_us, uid, text, *groups = row
            one = HostRow(number, key, host, begin, start_us, end_us, uid, json.loads(text))
            found.append((one, run, groups))
        return found

    def _write(self, together: Sequence[Run], before: dict[int, int], groups: dict[int, Sequence[str]]) -> None:
        free = sorted(set(before.values()) - {0})
        for run in together:
            # A run keeps a number that one of its rows had, where no other run has taken it.
            own = sorted({before[row.number] for row in run.rows} & set(free))
            number = own[0] if own else 0
            if number:
                free.remove(number)
            number = self._put(run, number)
            labels = run.labels
            values = [labels.get(name, "") for name in GROUPS]
            for row in run.rows:
                if before[row.number] != number:
                    self._database.do("UPDATE job SET run = ? WHERE id = ?", (number, row.number))
                if list(groups[row.number]) != values:
                    changes = ", ".join(f'"{name}" = ?' for name in GROUPS)
                    self._database.do(f"UPDATE job SET {changes} WHERE id = ?", (*values, row.number))
                    self._moved(row.number, row.host, groups[row.number], values)
        for number in free:
            self._database.do("DELETE FROM run WHERE id = ?", (number,))

    def _put(self, run: Run, number: int) -> int:
        first, labels, end_us = run.first, run.labels, run.end_us
        facts = {
            "key": first.key,
            "run_us": first.run_us,
            "host": first.host,
            "start_us": first.start_us,
            "end_us": end_us,
            "sort_us": end_us if end_us >= 0 else RUNNING_US,
            "uid": run.uid,
            "labels": json.dumps(labels, sort_keys=True),
            "flags": REQUEUED if run.requeued else 0,
            "expected": run.expected or 0,
            **{f'"{name}"': labels.get(name, "") for name in GROUPS},
        }
        if number:
            changes = ", ".join(f"{name} = ?" for name in facts)
            self._database.do(f"UPDATE run SET {changes} WHERE id = ?", (*facts.values(), number))
            return number
        self._database.do(
            f"INSERT INTO run({', '.join(facts)}) VALUES({', '.join('?' * len(facts))})", tuple(facts.values())
        )
        # The newest of this key: none is made between the two.
        return int(self._database.rows("SELECT max(id) FROM run WHERE key = ?", (first.key,))[0][0])
