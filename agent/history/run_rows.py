"""Keeps the table of runs in step with the rows of single hosts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.history.numbers import batched, rows_with
from wattshed.agent.history.runs import MERGED, HostRow, Run, runs
from wattshed.agent.history.schema import GROUPS
from wattshed.agent.wire.parts import REQUEUED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from wattshed.agent.history.sql import SqlDatabase

RUNNING_US = 2**62
"""In place of the end of a job that runs, where jobs are put in order."""
_COLUMNS = (
    "id", "key", "run_us", "host", "start_us", "end_us", "uid", "labels", "run", *(f'"{name}"' for name in GROUPS),
)  # fmt: skip


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
        places = set(changed)
        merged = sorted({key for key, _ in places if self._merges(key)})
        apart = [place for place in places if not self._merges(place[0])]
        found = list(rows_with(self._database, "job", ("key", "run_us"), apart, _COLUMNS))
        for keys in batched(merged):
            marks = ", ".join("?" * len(keys))
            found += self._database.rows(f"SELECT {', '.join(_COLUMNS)} FROM job WHERE key IN ({marks})", keys)
        rows, before = [], {}
        for number, key, run_us, host, start_us, end_us, uid, labels, run, *groups in found:
            rows.append(HostRow(number, key, host, run_us, start_us, end_us, uid, json.loads(labels)))
            before[number] = _Before(run, groups)
        self._write(runs(rows) if self._merged else [Run((row,)) for row in rows], before)

    def _merges(self, key: str) -> bool:
        return self._merged and key.startswith(MERGED)

    def _write(self, together: Sequence[Run], before: Mapping[int, _Before]) -> None:
        numbers = self._numbers(together, before)
        free = {one.run for one in before.values()} - {0} - set(numbers)
        self._database.each_do("DELETE FROM run WHERE id = ?", [(number,) for number in sorted(free)])
        rows, moved = [], []
        for run, number in zip(together, numbers, strict=True):
            groups = _groups(run)
            for row in run.rows:
                was = before[row.number]
                if was != (number, groups):
                    rows.append((number, *groups, row.number))
                if was.run and was.groups != groups:
                    moved.append((row, was.groups, groups))
        changes = ", ".join(f'"{name}" = ?' for name in GROUPS)
        self._database.each_do(f"UPDATE job SET run = ?, {changes} WHERE id = ?", rows)
        for row, was_of, is_of in moved:
            self._moved(row.number, row.host, was_of, is_of)

    def _numbers(self, together: Sequence[Run], before: Mapping[int, _Before]) -> list[int]:
        """Write runs; a run keeps a number that one of its rows had, where no other run has taken it."""
        free = {one.run for one in before.values()} - {0}
        numbers: list[int] = []
        known: list[tuple[Any, ...]] = []
        new: list[tuple[Any, ...]] = []
        for run in together:
            own = min({before[row.number].run for row in run.rows} & free, default=0)
            free.discard(own)
            numbers.append(own)
            (known if own else new).append((*_facts(run).values(), *([own] if own else [])))
        if not together:
            return []
        names = list(_facts(together[0]))
        changes = ", ".join(f"{name} = ?" for name in names)
        self._database.each_do(f"UPDATE run SET {changes} WHERE id = ?", known)
        self._database.each_do(f"INSERT INTO run({', '.join(names)}) VALUES({', '.join('?' * len(names))})", new)
        if new:
            made = self._made(sorted({run.first.key for run, own in zip(together, numbers, strict=True) if not own}))
            numbers = [own or made[_identity(run)] for run, own in zip(together, numbers, strict=True)]
        return numbers

    def _made(self, keys: Sequence[str]) -> dict[tuple[object, ...], int]:
        """Return the numbers of runs by what tells them apart, the newest where that is the same."""
        found = {}
        for some in batched(keys):
            marks = ", ".join("?" * len(some))
            for number, *identity in self._database.rows(
                f'SELECT id, key, run_us, host, "cluster" FROM run WHERE key IN ({marks}) ORDER BY id', some
            ):
                found[tuple(identity)] = int(number)
        return found


class _Before(NamedTuple):
    """What a row was part of: its run, 0 for none, and the run's groups."""

    run: int
    groups: list[str]


def _groups(run: Run) -> list[str]:
    labels = run.labels
    return [labels.get(name, "") for name in GROUPS]


def _identity(run: Run) -> tuple[object, ...]:
    return run.first.key, run.first.run_us, run.first.host, run.labels.get("cluster", "")


def _facts(run: Run) -> dict[str, Any]:
    """Return the columns of a run."""
    first, labels, end_us = run.first, run.labels, run.end_us
    return {
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
