"""The tables of the history, and how older ones are brought up to date.

Energies stand in two columns, whole joules (``_j``) and the rest in half-nanojoules (``_r``): see
`agent.wire.parts.split_hnj`. A job's sums are kept beside its parts and a day's beside its jobs', in the transaction
that adds a part, so that a question reads what it is about and not every part there ever was.

A ``job`` is what one host knows of a job, a ``run`` the same of all hosts (`agent.history.runs`): it is what is listed.
The columns named as `GROUPS` are of the run in both; ``labels`` are what each of them knows by itself.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from wattshed.agent.history.sql import DatabaseError

if TYPE_CHECKING:
    from wattshed.agent.history.sql import SqlDatabase, Words

VERSION = 4
"""Version 1 did not say what time the energy of a part covers, up to 2 not what a job did, up to 3 not its watts."""

COUNTS = ("static_j", "static_r", "dynamic_j", "dynamic_r", "active_us", "held_us")
DOUBTS = ("gain_j", "split_j", "idle_j", "unread_j", "squares_j2")
SUMS = (*COUNTS, *DOUBTS)
"""What adds up, in parts, jobs and days: whole numbers, and what sigma is made of."""

GROUPS = ("user", "account", "partition", "namespace", "qos", "cluster")
"""Labels of a job that reports and filters go by; each is a column."""

FILTERED = ("user", "account", "partition", "namespace", "qos")
"""What lists of jobs are often of one value of, among very many; ``uid`` is another."""

ORDER = "sort_us, key, host, run_us"
"""Jobs are listed backwards by it: it depends on nothing but themselves, wherever they are kept."""

_WITH_WORK = "CREATE INDEX job_with_work ON job(run) WHERE work <> ''"
"""Most jobs tell of none."""

_SUM_COLUMNS = ", ".join(
    [f"{name} BIGINT NOT NULL DEFAULT 0" for name in COUNTS]
    + [f"{name} DOUBLE PRECISION NOT NULL DEFAULT 0" for name in DOUBTS]
)
_GROUPS = ", ".join(f'"{name}"' for name in GROUPS)


def tables(words: Words) -> list[str]:
    """Return the statements that make all tables, in the words of a kind of database."""
    text, number, by_key = words.text, words.number, words.by_key
    groups = ", ".join(f"\"{name}\" {text} NOT NULL DEFAULT ''" for name in GROUPS)
    return [
        f"""CREATE TABLE store(
            id {number}, store_id {text} NOT NULL, epoch BIGINT NOT NULL DEFAULT 0, host {text} NOT NULL,
            cluster {text} NOT NULL DEFAULT '', first_seq BIGINT NOT NULL DEFAULT 1,
            next_seq BIGINT NOT NULL DEFAULT 1, address {text} NOT NULL DEFAULT '',
            collected_us BIGINT NOT NULL DEFAULT 0, skew_us BIGINT NOT NULL DEFAULT 0, gaps BIGINT NOT NULL DEFAULT 0,
            lost BIGINT NOT NULL DEFAULT 0, refused {text} NOT NULL DEFAULT '', forgotten BIGINT NOT NULL DEFAULT 0,
            UNIQUE(store_id, epoch))""",
        f"""CREATE TABLE gpu(
            id {number}, uuid {text} NOT NULL, host {text} NOT NULL, model {text} NOT NULL DEFAULT '',
            UNIQUE(uuid, host, model))""",
        f"""CREATE TABLE run(
            id {number}, key {text} NOT NULL, run_us BIGINT NOT NULL, host {text} NOT NULL, start_us BIGINT NOT NULL,
            end_us BIGINT NOT NULL, sort_us BIGINT NOT NULL, uid BIGINT NOT NULL, labels {text} NOT NULL,
            flags BIGINT NOT NULL, expected BIGINT NOT NULL, {groups})""",
        "CREATE INDEX run_by_key ON run(key, id)",
        # With their begin, so that runs which are of another time need not be looked up; of clusters there are few.
        f"CREATE INDEX run_by_end ON run({ORDER}, start_us, cluster)",
        f"CREATE INDEX run_by_uid ON run(uid, {ORDER}, start_us)",
        # Nobody asks for jobs without one, and most schedulers leave some of these empty in every job.
        *(
            f'CREATE INDEX run_by_{name} ON run("{name}", {ORDER}, start_us) WHERE "{name}" <> \'\''
            for name in FILTERED
        ),
        f"""CREATE TABLE job(
            id {number}, store BIGINT NOT NULL, key {text} NOT NULL, run_us BIGINT NOT NULL, host {text} NOT NULL,
            run BIGINT NOT NULL DEFAULT 0, start_us BIGINT NOT NULL, end_us BIGINT NOT NULL, uid BIGINT NOT NULL,
            labels {text} NOT NULL, power {text} NOT NULL DEFAULT '',
            work {text} NOT NULL DEFAULT '', flags BIGINT NOT NULL DEFAULT 0,
            method BIGINT NOT NULL DEFAULT 0, peak_mw BIGINT NOT NULL DEFAULT 0, edges BIGINT NOT NULL DEFAULT 0,
            {groups}, {_SUM_COLUMNS}, UNIQUE(key, run_us, store))""",
        "CREATE INDEX job_by_run ON job(run, host)",
        _WITH_WORK,
        f"""CREATE TABLE part(
            store BIGINT NOT NULL, seq BIGINT NOT NULL, job BIGINT NOT NULL, gpu BIGINT NOT NULL,
            from_us BIGINT NOT NULL, to_us BIGINT NOT NULL, peak_mw BIGINT NOT NULL, edges BIGINT NOT NULL,
            method BIGINT NOT NULL, flags BIGINT NOT NULL, {_SUM_COLUMNS}, covered_us BIGINT, watts_mw BIGINT,
            watts_sigma_mw BIGINT, PRIMARY KEY(store, seq)) {by_key}""",
        "CREATE INDEX part_by_job ON part(job, to_us)",
        "CREATE INDEX part_by_time ON part(to_us, from_us)",
        f"""CREATE TABLE day(
            day BIGINT NOT NULL, payer BIGINT NOT NULL, {_SUM_COLUMNS}, PRIMARY KEY(day, payer)) {by_key}""",
        f"""CREATE TABLE payer(
            id {number}, owner {text} NOT NULL, host {text} NOT NULL, model {text} NOT NULL, {groups},
            UNIQUE(owner, host, model, {_GROUPS}))""",
        f"""CREATE TABLE written(
            run BIGINT NOT NULL, key {text} NOT NULL, run_us BIGINT NOT NULL, outcome {text} NOT NULL,
            PRIMARY KEY(run, key, run_us)) {by_key}""",
    ]


def prepare(database: SqlDatabase) -> None:
    """Make the tables, or bring those of an older version up to date; who only reads leaves them as they are.

    Raises
    ------
    DatabaseError
        If the file is not a history, or of a newer version than this program, or of an older one that cannot be read
        as it is.
    """
    version = database.version()
    if version == VERSION:
        return
    if version > VERSION:
        raise DatabaseError(
            f"{database.name}: is of version {version}, written by a newer wattshed, and stays as it is; "
            f"this one knows up to {VERSION}: run the newer one, or move the file away"
        )
    if database.read_only:
        _read_older(database, version)
        return
    if version == 0 and not database.is_empty():
        raise DatabaseError(f"{database.name}: is another program's database; move it away")
    with database.transaction():
        for statement in chain(*_UPGRADES[version - 1 :]) if version else tables(database.words):
            database.do(statement)
        database.set_version(VERSION)


def _read_older(database: SqlDatabase, version: int) -> None:
    if version == 0:
        raise DatabaseError(f"{database.name}: holds no history yet")
    if not database.words.hidden:
        raise DatabaseError(
            f"{database.name}: is of version {version}; start this version's `wattshed collect` on it once, "
            "which brings it up to date"
        )
    for statement in database.words.hidden[version - 1]:
        database.do(statement)


_UPGRADES = (
    ("ALTER TABLE part ADD COLUMN covered_us BIGINT",),
    ("ALTER TABLE job ADD COLUMN work TEXT NOT NULL DEFAULT ''", _WITH_WORK),
    ("ALTER TABLE part ADD COLUMN watts_mw BIGINT", "ALTER TABLE part ADD COLUMN watts_sigma_mw BIGINT"),
)
"""From version 1 on, each to the next: of what is there already it is not known, NULL or empty."""
