"""One SQLite database, opened so that it outlives whatever happens to the process or the machine."""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from wattshed.agent.history.sql import DatabaseError, Words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

BUSY_S = 5.0
"""How long a command waits while another one writes."""

COLLECTORS = (("cache_size", -65_536), ("wal_autocheckpoint", 16_384))
"""Sizes for who takes in what many hosts write, KiB (below 0) and pages: 64 MiB each. A page of jobs changes each index
in a thousand places, which are read again and written again for every page where there is room for 2 and 4 MiB."""
APPLICATION = 0x77737468  # "wsth"
"""What a file of ours has as ``application_id``, so that it is told from another program's, which is never changed."""
_NO_WATTS = "NULL AS watts_mw, NULL AS watts_sigma_mw FROM main.part"
_NO_WORK = "CREATE TEMP VIEW job AS SELECT *, '' AS work FROM main.job"
WORDS = Words(
    number="INTEGER PRIMARY KEY",
    text="TEXT",
    by_key="WITHOUT ROWID",
    hidden=(
        (f"CREATE TEMP VIEW part AS SELECT *, NULL AS covered_us, {_NO_WATTS}", _NO_WORK),
        (f"CREATE TEMP VIEW part AS SELECT *, {_NO_WATTS}", _NO_WORK),
        (f"CREATE TEMP VIEW part AS SELECT *, {_NO_WATTS}",),
    ),
)


class Database:
    """A connection, used by one thread at a time.

    Parameters
    ----------
    path : Path
    read_only : bool
        Nothing is ever written, not even a journal: for commands beside a running daemon.
    only : bool
        No second one with this may be open: for the one collector that writes, and may take more memory for it.

    Raises
    ------
    DatabaseError
        If there is none, or it cannot be opened.
    """

    words = WORDS

    def __init__(self, path: Path, *, read_only: bool = False, only: bool = False) -> None:
        self.path, self.name, self.read_only = path, str(path), read_only
        self._lock: IO[str] | None = None
        try:
            if read_only:
                if not path.exists():
                    raise DatabaseError(f"{path}: there is no such history")
                self._connection = sqlite3.connect(
                    f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S, check_same_thread=False
                )
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                if only:
                    self._keep_others_out()
                self._connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
            self._connection.isolation_level = None  # transactions are begun here, and nowhere else
            self._refuse_foreign()
            if not read_only:
                self._connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # before the first table, or never
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=FULL")  # what is acknowledged is on the disk
                if only:
                    for size, value in COLLECTORS:
                        self._connection.execute(f"PRAGMA {size}={value}")
        except (sqlite3.Error, OSError) as error:
            raise DatabaseError(f"{path}: cannot be opened ({error})", damaged=_is_damage(error)) from error

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a question."""
        with self._named():
            return self._connection.execute(sql, values).fetchall()

    def each(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield rows as they are found, for answers that are too long to hold."""
        with self._named():
            yield from self._connection.execute(sql, values)

    def do(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Change something; returns how many rows were."""
        with self._named():
            return self._connection.execute(sql, values).rowcount

    def each_do(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        """Change the same thing for many rows."""
        with self._named():
            self._connection.executemany(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is done inside, or nothing of it."""
        self.do("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # a full disk has ended it already
                self._connection.execute("ROLLBACK")
            raise
        self.do("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All that is asked inside is answered from one state, whoever writes meanwhile."""
        self.do("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def version(self) -> int:
        """Return the version of the tables; 0 of an empty file."""
        return int(self.rows("PRAGMA user_version")[0][0])

    def set_version(self, version: int) -> None:
        """Write which version the tables are of, and that they are ours."""
        self.do(f"PRAGMA application_id={APPLICATION}")
        self.do(f"PRAGMA user_version={version}")

    def is_empty(self) -> bool:
        """Return whether there is no table at all."""
        return not self.rows("SELECT count(*) FROM sqlite_master")[0][0]

    def bytes_used(self) -> int:
        """Return how much of the file holds something, bytes."""
        ((pages,),) = self.rows("PRAGMA page_count")
        ((free,),) = self.rows("PRAGMA freelist_count")
        ((size,),) = self.rows("PRAGMA page_size")
        return int((pages - free) * size)

    def shrink(self) -> None:
        """Give back some of the room of what was deleted."""
        self.rows("PRAGMA incremental_vacuum(1000)")

    def interrupt(self) -> None:
        """End the question that another thread waits for; it gets a `DatabaseError`."""
        self._connection.interrupt()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    def _refuse_foreign(self) -> None:
        """Look before anything is written; at the tables first, for both may be made by another one meanwhile."""
        ((tables,),) = self._connection.execute("SELECT count(*) FROM sqlite_master")
        ((application,),) = self._connection.execute("PRAGMA application_id")
        if tables and application != APPLICATION:
            self._connection.close()
            raise DatabaseError(f"{self.path}: is another program's database; move it away")

    def _keep_others_out(self) -> None:
        """Lock a file beside it, until this process closes the database or ends."""
        self._lock = self.path.with_name(self.path.name + ".lock").open("w", encoding="ascii")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise DatabaseError(
                f"{self.path}: another collector has it; one database has one collector, and it must be stopped first"
            ) from None

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise DatabaseError(f"{self.path}: {error}", damaged=_is_damage(error)) from error


def _is_damage(error: Exception) -> bool:
    """Tell a file that is damaged, or is no database, from one that is locked, or on a full disk."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
