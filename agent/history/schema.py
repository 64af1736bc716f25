"""The tables of the history, and how older ones are brought up to date.

Energies stand in two columns, whole joules (``_j``) and the rest in half-nanojoules (``_r``): see
`agent.wire.parts.split_hnj`. A job's sums are kept beside its parts and a day's beside its jobs', in the transaction
that adds a part, so that a question reads what it is about and not every part there ever was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.history.database import DatabaseError

if TYPE_CHECKING:
    from wattshed.agent.history.database import Database

VERSION = 1

COUNTS = ("static_j", "static_r", "dynamic_j", "dynamic_r", "active_us", "held_us")
DOUBTS = ("gain_j", "split_j", "idle_j", "unread_j", "squares_j2")
SUMS = (*COUNTS, *DOUBTS)
"""What adds up, in parts, jobs and days: whole numbers, and what sigma is made of."""

GROUPS = ("user", "account", "partition", "namespace", "qos", "cluster")
"""Labels of a job that reports and filters go by; each is a column."""

_SUM_COLUMNS = ", ".join(
    [f"{name} INTEGER NOT NULL DEFAULT 0" for name in COUNTS] + [f"{name} REAL NOT NULL DEFAULT 0" for name in DOUBTS]
)
_GROUP_COLUMNS = ", ".join(f"\"{name}\" TEXT NOT NULL DEFAULT ''" for name in GROUPS)

_TABLES = f"""
CREATE TABLE store(
    id INTEGER PRIMARY KEY, store_id TEXT NOT NULL UNIQUE, host TEXT NOT NULL, first_seq INTEGER NOT NULL DEFAULT 1,
    next_seq INTEGER NOT NULL DEFAULT 1);
CREATE TABLE gpu(
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL, host TEXT NOT NULL, model TEXT NOT NULL DEFAULT '',
    UNIQUE(uuid, host, model));
CREATE TABLE job(
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, run_us INTEGER NOT NULL, host TEXT NOT NULL, start_us INTEGER NOT NULL,
    end_us INTEGER NOT NULL DEFAULT -1, sort_us INTEGER NOT NULL, uid INTEGER NOT NULL DEFAULT -1, labels TEXT NOT NULL,
    flags INTEGER NOT NULL DEFAULT 0, method INTEGER NOT NULL DEFAULT 0, peak_mw INTEGER NOT NULL DEFAULT 0,
    edges INTEGER NOT NULL DEFAULT 0, {_GROUP_COLUMNS}, {_SUM_COLUMNS}, UNIQUE(key, run_us, host));
CREATE INDEX job_by_end ON job(sort_us, id);
CREATE INDEX job_by_user ON job("user", sort_us, id);
CREATE INDEX job_by_uid ON job(uid, sort_us, id);
CREATE TABLE part(
    store INTEGER NOT NULL, seq INTEGER NOT NULL, job INTEGER NOT NULL, gpu INTEGER NOT NULL, from_us INTEGER NOT NULL,
    to_us INTEGER NOT NULL, peak_mw INTEGER NOT NULL, edges INTEGER NOT NULL, method INTEGER NOT NULL,
    flags INTEGER NOT NULL, {_SUM_COLUMNS}, PRIMARY KEY(store, seq)) WITHOUT ROWID;
CREATE INDEX part_by_job ON part(job, to_us);
CREATE INDEX part_by_time ON part(to_us);
CREATE TABLE day(
    day INTEGER NOT NULL, payer INTEGER NOT NULL, {_SUM_COLUMNS}, PRIMARY KEY(day, payer)) WITHOUT ROWID;
CREATE TABLE payer(
    id INTEGER PRIMARY KEY, owner TEXT NOT NULL, host TEXT NOT NULL, model TEXT NOT NULL, {_GROUP_COLUMNS},
    UNIQUE(owner, host, model, {", ".join(f'"{name}"' for name in GROUPS)}));
"""


def prepare(database: Database) -> None:
    """Make the tables, or bring those of an older version up to date.

    Raises
    ------
    DatabaseError
        If the file is not a history, or of a newer version than this program.
    """
    version = version_of(database)
    if version == VERSION:
        return
    if version > VERSION:
        raise DatabaseError(
            f"{database.path}: is of version {version}, written by a newer wattshed; this one knows up to {VERSION}"
        )
    if database.read_only:
        raise DatabaseError(f"{database.path}: holds no history yet")
    if database.rows("SELECT count(*) FROM sqlite_master")[0][0]:
        raise DatabaseError(f"{database.path}: is another program's database")
    with database.transaction():
        for statement in _TABLES.split(";"):
            if statement.strip():
                database.do(statement)
        database.do(f"PRAGMA user_version={VERSION}")


def version_of(database: Database) -> int:
    """Return the version of the tables; 0 of an empty file."""
    return int(database.rows("PRAGMA user_version")[0][0])
