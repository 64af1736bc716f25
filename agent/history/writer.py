"""Writes parts of jobs into the history in a thread of its own: metering never waits for a database.

The daemon hands over what its state file already holds for certain; the writer adds what is new of it and says up to
which number that is on the disk. Whatever fails in between, the same parts are handed over again: a part is known by
its number, so it is there once. A file that is damaged is put aside, and the numbers start again in a new one.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.history.database import Database
from wattshed.agent.history.sql import DatabaseError
from wattshed.agent.history.privacy import Privacy
from wattshed.agent.history.store import Retention, Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
        privacy: Privacy | None = None,
    ) -> None:
        self._path, self._host, self._faults = path, host, faults
        self._retention, self._privacy = retention or Retention(), privacy or Privacy()
        self._changed = threading.Condition()
        self._waiting: Batch | None = None
        self._busy_with: Batch | None = None
        self._done: tuple[str, int] = ("", 0)
        self._damaged = ""
        self._stop = False
        self._since_tidy = 0
        self.is_new = not path.exists()
        self.parts_total, self.dropped_total, self.bytes_used, self.write_s = 0, 0, 0, 0.0
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def offer(self, batch: Batch) -> None:
        """Hand over all that waits; it replaces what was handed over before and is not being written yet."""
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
        """Return whether parts are being written, or will be: then none of those that were handed over may change."""
        with self._changed:
            return self._waiting is not None or self._busy_with is not None

    def stop(self, within_s: float = 10.0) -> None:
        """Write what was handed over, and close the file."""
        with self._changed:
            self._stop = True
            self._changed.notify()
        self._thread.join(within_s)

    def _run(self) -> None:
        opened: _Opened | None = None
        while (batch := self._next()) is not None:
            opened = self._write(batch, opened)
        if opened is not None:
            opened.database.close()

    def _next(self) -> Batch | None:
        """Wait for something to do; None at the end."""
        with self._changed:
            self._busy_with = None
            while self._waiting is None and not self._stop:
                self._changed.wait()
            self._busy_with, self._waiting = self._waiting, None
            return self._busy_with

    def _write(self, batch: Batch, opened: _Opened | None) -> _Opened | None:
        """Add a batch; return what is open for the next one, None if it has to be opened anew."""
        if batch.store_id == self._damaged:
            return opened  # its numbers start again; until the daemon knows that, it hands over the old ones
        begun_s = time.monotonic()
        try:
            if opened is not None and opened.store_id != batch.store_id:
                opened.database.close()
                opened = None
            if opened is None:
                database = Database(self._path)
                opened = _Opened(database, Store(database, batch.store_id, self._host), batch.store_id)
            added = opened.store.add(*self._privacy.applied(batch.parts, batch.jobs), batch.models)
            self._tidy(opened.store, added, batch.now_us)
            used = opened.store.bytes_used()
        except DatabaseError as error:
            if opened is not None:
                opened.database.close()
            self._failed(batch, error)
            return None
        with self._changed:
            if batch.parts:
                self._done = batch.store_id, batch.parts[-1].seq
            self.parts_total += added
            self.bytes_used, self.write_s = used, time.monotonic() - begun_s
        return opened

    def _tidy(self, store: Store, added: int, now_us: int) -> None:
        self._since_tidy += added
        if self._since_tidy >= TIDY_EVERY:
            self._since_tidy = 0
            while dropped := store.tidy(now_us, self._retention):
                self.dropped_total += dropped

    def _failed(self, batch: Batch, error: DatabaseError) -> None:
        then = "put aside, a new one is begun" if error.damaged else "what is to be kept waits"
        self._faults.note("history", error, then)
        if error.damaged:
            for end in ("", "-wal", "-shm"):
                name = self._path.with_name(self._path.name + end)
                with suppress(OSError):
                    name.replace(name.with_name(name.name + ".corrupt"))
        with self._changed:
            if error.damaged:
                self._damaged = batch.store_id
            else:
                self._changed.wait_for(lambda: self._stop, AGAIN_S)
