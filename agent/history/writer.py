"""Writes parts of jobs into the history in a thread of its own: metering never waits for a database.

The daemon hands over what its state file already holds for certain; the writer adds what is new of it and says up to
which number that is on the disk. Whatever fails meanwhile, the same parts are tried again until they are there, after a
restart too: a part is known by its number, so it is there once. A file that is damaged is put aside, and the numbers
start again in a new one.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wattshed.agent.history.database import Database
from wattshed.agent.history.former import end_former, parts_beyond
from wattshed.agent.history.privacy import Privacy
from wattshed.agent.history.schema import prepare
from wattshed.agent.history.sql import DatabaseError
from wattshed.agent.history.store import Retention, Store
from wattshed.agent.history.sums import DAY_US

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from wattshed.agent.errors import Faults
    from wattshed.agent.wire.parts import JobPart, JobRecord

AGAIN_S = 5.0
"""Time until a database that failed is tried again."""
TIDY_EVERY = 1_000
"""Parts between two looks at what is too old or too much."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is handed over: parts in the order of their numbers, their jobs, and what kind each GPU is."""

    store_id: str
    parts: Sequence[JobPart]
    jobs: Mapping[tuple[str, int], JobRecord]
    models: Mapping[str, str]
    now_us: int


@dataclass(frozen=True, slots=True)
class _Opened:
    """The file while it is open, and whose numbers go into it."""

    database: Database
    store: Store
    store_id: str


class HistoryWriter:
    """Keeps one host's history on disk.

    Parameters
    ----------
    path : Path
        Of the database; made when the first parts come.
    host : str
    faults : Faults
    retention : Retention
    privacy : Privacy
        What goes into the history of people.
    user_days : float, d
        So long after its end a job loses its user.

    Attributes
    ----------
    is_new : bool
        Whether there was no history before.
    parts_total, dropped_total : int
        Written so far by this process, and dropped for their age or for the size of it all.
    bytes_used : int
        Of the disk.
    write_s : float
        Seconds that the last write took.
    """

    def __init__(
        self,
        path: Path,
        host: str,
        faults: Faults,
        retention: Retention | None = None,
        *,
        privacy: Privacy | None = None,
        user_days: float = math.inf,
    ) -> None:
        self._path, self._host, self._faults = path, host, faults
        self._retention, self.privacy = retention or Retention(), privacy or Privacy()
        self._changed = threading.Condition()
        self._waiting: Batch | None = None
        self._at_work = False
        self._done: tuple[str, int] = ("", 0)
        self._damaged = ""
        self._stop = False
        self._since_tidy = 0
        self._user_us, self._forgotten_day = user_days * DAY_US, 0
        self.is_new = not os.path.exists(path)  # noqa: PTH110 - of a folder that cannot be read it says no, and raises nothing
        self.parts_total, self.dropped_total, self.bytes_used, self.write_s = 0, 0, 0, 0.0
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def beyond(self, store_id: str, next_seq: int, jobs: Iterable[str]) -> list[JobPart]:
        """Return what the history holds beyond what a state knows, which is then older than it.

        Parameters
        ----------
        store_id : str
        next_seq : int
            What the state says comes next.
        jobs : iterable of str
            Keys of the jobs that are open, for what is kept of people.
        """
        if self.is_new:
            return []
        try:
            with closing(Database(self._path, read_only=True)) as database:
                prepare(database)
                found = parts_beyond(database, store_id, next_seq)
        except DatabaseError:
            return []  # whoever writes to it will say why
        keys = {self.privacy.key(job): job for job in jobs}
        return [replace(part, job=keys.get(part.job, part.job)) for part in found]

    def offer(self, batch: Batch) -> None:
        """Hand over all that waits, while the writer is not busy."""
        with self._changed:
            self._waiting = batch
            self._changed.notify()

    def done(self, store_id: str) -> int:
        """Return up to which number the parts of a store are on the disk, as far as this process knows; 0 for none."""
        with self._changed:
            return self._done[1] if self._done[0] == store_id else 0

    def damaged(self, store_id: str) -> bool:
        """Return whether the history of that store was damaged and put aside: its numbers must start again."""
        with self._changed:
            return self._damaged == store_id

    def busy(self) -> bool:
        """Return whether parts are being written, or are to be tried again."""
        with self._changed:
            return self._waiting is not None or self._at_work

    def lose(self, jobs: int) -> None:
        """Note that so many jobs ended while nothing could be written, and there was no room for them any more."""
        self._faults.note(
            "history", f"{jobs} jobs that wait to be written lost their names", "their joules are _other's"
        )

    def stop(self, within_s: float = 10.0) -> None:
        """Write what was handed over, and close the file."""
        with self._changed:
            self._stop = True
            self._changed.notify()
        self._thread.join(within_s)

    def _run(self) -> None:
        opened: _Opened | None = None
        while (batch := self._next()) is not None:
            opened, done = self._write(batch, opened)
            with self._changed:
                self._at_work = not done
                if not done and not self._changed.wait_for(lambda: self._stop, AGAIN_S):
                    self._waiting = batch  # as it is, until it is there: of some of it that may be true already
        if opened is not None:
            opened.database.close()

    def _next(self) -> Batch | None:
        """Wait for something to do; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._stop)
            batch, self._waiting = self._waiting, None
            self._at_work = batch is not None
            return batch

    def _write(self, batch: Batch, opened: _Opened | None) -> tuple[_Opened | None, bool]:
        """Add a batch; return what is open for the next one, and whether it need not be tried again."""
        if batch.store_id == self._damaged:
            return opened, True  # its numbers start again; until the daemon knows that, it hands over the old ones
        begun_s = time.monotonic()
        try:
            if opened is not None and opened.store_id != batch.store_id:
                opened.database.close()
                opened = None
            if opened is None:
                opened = self._open(batch.store_id)
            added = opened.store.add(*self.privacy.applied(batch.parts, batch.jobs), batch.models)
            self._tidy(opened.store, added, batch.now_us)
            self._forget_users(opened.store, batch.now_us)
            used = opened.store.bytes_used()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must neither end this thread nor be silent
            if opened is not None:
                opened.database.close()
            return None, self._failed(batch, error)
        with self._changed:
            if batch.parts:
                self._done = batch.store_id, batch.parts[-1].seq
            self.parts_total += added
            self.bytes_used, self.write_s = used, time.monotonic() - begun_s
        return opened, True

    def _open(self, store_id: str) -> _Opened:
        database = Database(self._path)
        try:
            store = Store(database, store_id, self._host)
            end_former(database, store_id, self._host)
            return _Opened(database, store, store_id)
        except BaseException:
            database.close()
            raise

    def _tidy(self, store: Store, added: int, now_us: int) -> None:
        self._since_tidy += added
        if self._since_tidy >= TIDY_EVERY:
            self._since_tidy = 0
            while dropped := store.tidy(now_us, self._retention):
                self.dropped_total += dropped

    def _forget_users(self, store: Store, now_us: int) -> None:
        """Once a day: whole days are forgotten."""
        day = math.floor(max(now_us - self._user_us, 0) / DAY_US)
        if day > self._forgotten_day:
            store.forget_users(day)
            self._forgotten_day = day

    def _failed(self, batch: Batch, error: Exception) -> bool:
        """Note why nothing was written, and put a damaged file aside; returns whether that was done."""
        damaged = isinstance(error, DatabaseError) and error.damaged
        why = str(error) if isinstance(error, DatabaseError) else f"{type(error).__name__}: {error}"
        put_aside = damaged and self._put_aside()
        self._faults.note("history", why, "moved aside, starting a new one" if put_aside else "writes are queued")
        if put_aside:
            with self._changed:
                self._damaged = batch.store_id
        return put_aside

    def _put_aside(self) -> bool:
        """Rename the file, with what SQLite keeps beside it; returns whether that worked."""
        aside = next(name for name in _asides(self._path) if not name.exists())
        try:
            self._path.replace(aside)
        except OSError:
            return False
        for end in ("-wal", "-shm"):
            with suppress(OSError):
                self._path.with_name(self._path.name + end).replace(aside.with_name(aside.name + end))
        return True


def _asides(path: Path) -> Iterator[Path]:
    """Yield names for a damaged file: what was put aside before may be what somebody wants to repair."""
    yield path.with_name(path.name + ".corrupt")
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}.corrupt-{number}")
