"""What jobs told and what their servers' pages said, until the window of its time takes it along.

Jobs tell in the loop's thread, pages are read in another one. A page gets its time here, with the window waiting: so
what is read before a window's end is in that window, and not in the next.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wattshed.agent.window import SCRAPED, TOLD, JobKey, Owner, WorkRow
from wattshed.agent.work_units.counting import Baseline, baseline_at_birth, count, work_rows
from wattshed.exporters.snapshot import WorkStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wattshed.agent.window import Window
    from wattshed.agent.work_units.counting import Done
    from wattshed.agent.work_units.page import ServerPage

MOST_UNITS = 8
"""Units of a job that it may tell of."""
MOST_OWNERS = 10_000
KEPT_US = 86_400_000_000
"""How long the last page of a server is kept that is not read any more."""
SAID_AGAIN_US = 600_000_000
"""That a job's servers are at work is said so often: it only means that they tell whether they are."""


class WorkInbox:
    """Collects work for the loop.

    Parameters
    ----------
    now_us : callable
        The windows' time line.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._lock = threading.Lock()
        self._told: dict[tuple[JobKey, str], WorkRow] = {}
        self._owners: dict[JobKey, Owner] = {}  # of the rows that wait
        self._units: dict[JobKey, set[str]] = {}
        self._read: list[WorkRow] = []
        self._baselines: dict[str, Baseline] = {}
        self._changed: dict[str, Baseline] = {}  # since the last window
        self._since_us: dict[JobKey, int] = {}  # jobs that were seen, and since when
        self._said_us: dict[JobKey, int] = {}  # jobs whose servers tell whether they wait, and when that was said
        self._rejected: Counter[str] = Counter()
        self._resets = 0
        self._servers: dict[str, tuple[str, str, bool]] = {}

    def add(self, owner: Owner, unit: str, count: int, time_us: int) -> str:
        """Take down what a job told; returns why it is refused, or nothing. Only the loop calls it."""
        units = self._units.setdefault(owner.key, set())
        if unit not in units and len(units) >= MOST_UNITS:
            self.refuse("units_of_a_job")
            return f"{unit} is one unit too many: a job may have {MOST_UNITS}"
        units.add(unit)
        if len(self._units) > MOST_OWNERS:
            del self._units[next(iter(self._units))]
        before = self._told.get((owner.key, unit))
        row = WorkRow(owner.key, unit, count, TOLD, time_us, time_us)
        if before is not None:
            row = replace(row, count=before.count + count, start_us=before.start_us, end_us=max(before.end_us, time_us))
        self._told[owner.key, unit] = row
        with self._lock:
            self._owners[owner.key] = owner
        return ""

    def refuse(self, reason: str) -> None:
        """Count what was refused; any thread may call it."""
        with self._lock:
            self._rejected[reason] += 1

    def restore(self, baselines: Mapping[str, Mapping[str, Any]]) -> None:
        """Continue from the pages that were read before a restart."""
        for name, plain in baselines.items():
            try:
                self._baselines[name] = Baseline.of_plain(plain)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # counting begins with the next page, as for a server that was never read

    def take(self, server: str, owner: Owner, page: ServerPage) -> Done:
        """Count what a page says since the one before; returns that.

        Parameters
        ----------
        server : str
            Which one it is of: the name of its baseline.
        owner : Owner
        page : ServerPage
        """
        with self._lock:
            now_us, before = self._now_us(), self._baselines.get(server)
            if before is None or before.owner != owner.key:
                before = baseline_at_birth(owner.key, page, self._since_us.get(owner.key), now_us)
            done, now = count(page, before, owner.key, now_us)
            self._baselines[server] = self._changed[server] = now
            self._servers[server] = owner.key, page.kind, True
            self._owners[owner.key] = owner
            self._resets += bool(done.lost)
            self._read += work_rows(owner.key, done)
        return done

    def waited(self, owner: Owner, since_us: int, *, waiting: bool) -> None:
        """Say whether all servers of a job waited for requests since a time, as their pages tell."""
        with self._lock:
            now_us = self._now_us()
            said_us = self._said_us.get(owner.key)
            if waiting or said_us is None or now_us - said_us >= SAID_AGAIN_US:
                self._said_us[owner.key], self._owners[owner.key] = now_us, owner
                self._read.append(WorkRow(owner.key, "", 0, SCRAPED, min(since_us, now_us), now_us, 0, waiting))

    def failed(self, server: str, reason: str, owner: str = "") -> None:
        """Take note that a server's page was not read; ``owner`` names its job where no page did."""
        with self._lock:
            self._rejected[reason] += 1
            job, kind, _ = self._servers.get(server, (owner, "", False))
            if job:
                self._servers[server] = job, kind, False

    def gone(self, server: str) -> None:
        """Take note that a server that nobody named is no more."""
        with self._lock:
            self._servers.pop(server, None)

    def into(self, window: Window, baselines: dict[str, dict[str, Any]]) -> Window:
        """Return a window with the work of its time.

        Parameters
        ----------
        window : Window
            Its owners are resolved; it is not recorded yet.
        baselines : dict
            What is saved with the accounts, brought up to date.
        """
        told, self._told = list(self._told.values()), {}
        with self._lock:
            read = [row for row in self._read if row.end_us <= window.end_us]
            self._read = [row for row in self._read if row.end_us > window.end_us]
            ready = {name for name, one in self._changed.items() if one.time_us <= window.end_us}
            for name in ready:
                baselines[name] = self._changed.pop(name).plain()
            for name in [name for name, one in self._baselines.items() if one.time_us < window.end_us - KEPT_US]:
                del self._baselines[name]
                baselines.pop(name, None)
            owners, waiting = self._owners, {row.owner for row in self._read}
            self._owners = {key: owner for key, owner in owners.items() if key in waiting}
            here = {owner.key for owner in window.owners}
            self._since_us = {key: self._since_us.get(key, window.start_us) for key in here}
            self._said_us = {key: said_us for key, said_us in self._said_us.items() if key in here}
        rows = [_within(row, window) for row in (*told, *read)]
        if not rows:
            return window
        missing = dict.fromkeys(row.owner for row in rows if row.owner not in here)
        more = tuple(owners.get(key, Owner(key)) for key in missing)
        return replace(window, owners=(*window.owners, *more), work=(*window.work, *rows))

    def status(self, rejected: Mapping[str, int]) -> WorkStatus:
        """Return what is published of all this; ``rejected`` is what the accounts did not count."""
        with self._lock:
            servers = tuple(dict.fromkeys(sorted(self._servers.values())))
            return WorkStatus(self._resets, Counter(rejected) + self._rejected, servers)


def _within(row: WorkRow, window: Window) -> WorkRow:
    end_us = min(max(row.end_us, window.start_us), window.end_us)
    return row if end_us == row.end_us else replace(row, start_us=min(row.start_us, end_us), end_us=end_us)
