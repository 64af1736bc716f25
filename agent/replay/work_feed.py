"""Work from a table, given to the windows of its time: from there on it is what an agent's own windows hold."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.cutting import cut
from wattshed.agent.errors import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wattshed.agent.accounts.ledger import Ledger
    from wattshed.agent.window import JobKey, Window, WorkRow

_NAMED = 5


class WorkFeed:
    """Gives each row of work to one window that its job is in.

    Parameters
    ----------
    rows : sequence of WorkRow
        In the order of their ends. An owner may lack what stands before the colon of a job's key.
    """

    def __init__(self, rows: Sequence[WorkRow]) -> None:
        self._rows = rows
        self._ends = [row.end_us for row in rows]
        self._placed = bytearray(len(rows))
        self._hosts: dict[JobKey, str] = {}  # whose windows have a job's work: a job may be on several hosts
        self._own: set[tuple[JobKey, str, str]] = set()  # what a recording has itself
        self._doubled = 0

    def into(self, window: Window, *, native: bool) -> Iterator[Window]:
        """Yield a window with the work of its time; one of another tool cut where work ends, so that its energy does.

        Parameters
        ----------
        window : Window
            With its jobs.
        native : bool
            It is an agent's own: its jobs are there as long as it names them.
        """
        self._own.update((row.owner, row.unit, row.source) for row in window.work)
        rows = list(self._of(window, native=native))
        if rows:
            window = replace(window, work=(*window.work, *rows))
        if native:
            yield window
        else:
            inside = {row.end_us for row in rows if window.start_us < row.end_us < window.end_us}
            yield from cut(window, sorted(inside))

    def _of(self, window: Window, *, native: bool) -> Iterator[WorkRow]:
        first, last = bisect_left(self._ends, window.start_us), bisect_right(self._ends, window.end_us)
        if first == last:
            return
        names = _names(window)
        for at in range(first, last):
            row = self._rows[at]
            place = names.get(row.owner)
            if self._placed[at] or place is None:
                continue
            key = window.owners[place].key
            if not (native or _is_there(window, place, row.end_us)) or self._hosts.get(key, window.host) != window.host:
                continue
            self._hosts[key] = window.host
            self._placed[at] = True
            if (key, row.unit, row.source) in self._own:
                self._doubled += 1
                continue
            yield replace(row, owner=key)

    def enter(self, ledger: Ledger) -> None:
        """Enter work of runs that a table has whole, without windows: beside all that they used."""
        from wattshed.agent.accounts.work import JobWork  # noqa: PLC0415 - few replays are of such tables

        for at, row in enumerate(self._rows):
            job = ledger.jobs.get(row.owner)
            if job is None or self._placed[at] or not job.start_us <= row.end_us <= job.end_us:
                continue
            self._placed[at] = True
            if row.count:
                job.work = job.work or JobWork()
                job.work.enter(row, job.energy_hnj)

    def notes(self, ledger: Ledger) -> list[str]:
        """Say which rows are no job's, and which were not counted."""
        lost = [row for row, placed in zip(self._rows, self._placed, strict=True) if row.count and not placed]
        found = []
        if lost:
            names = list(dict.fromkeys(row.owner for row in lost))
            shown = ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
            them = f"{counted(len(lost), 'row')} of work {'lies' if len(lost) == 1 else 'lie'}"
            found.append(f"{them} outside the time of its job in the traces: {shown}")
        if self._doubled:
            found.append(f"{counted(self._doubled, 'row')} of work left out: the recording has this work itself")
        if many := ledger.work.rejected.get("units_of_a_job", 0):
            found.append(f"{counted(many, 'row')} of work left out: a job has at most eight units")
        return found


def _names(window: Window) -> Mapping[str, int]:
    """Return the places of a window's owners by their keys, and by what stands behind the colon of these."""
    short = {owner.key.partition(":")[2]: place for place, owner in enumerate(window.owners)}
    return short | {owner.key: place for place, owner in enumerate(window.owners)}


def _is_there(window: Window, owner: int, time_us: int) -> bool:
    usage = window.usage
    return bool(((usage.owner == owner) & (usage.start_us <= time_us) & (usage.end_us >= time_us)).any())
