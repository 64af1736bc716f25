"""What is asked of a history: lists of jobs, one job, and sums by whatever a report goes by."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wattshed.agent.history.cursors import cursor_of, read_cursor
from wattshed.agent.history.run_rows import RUNNING_US
from wattshed.agent.history.schema import COUNTS, FILTERED, GROUPS, ORDER, SUMS
from wattshed.agent.wire.parts import Doubt, join_hnj

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.history.sql import SqlDatabase

FOREVER_US = 2**61
MOST = 1000
_RUN = ", ".join(f"run.{name}" for name in ("id", "key", "run_us", "host", "start_us", "end_us", "labels", "flags",
                                            "expected"))  # fmt: skip
_SHARE = ", ".join(f"job.{name}" for name in ("run", "id", "host", "run_us", "work", "flags", "method", "peak_mw",
                                              "edges", *SUMS))  # fmt: skip
_AT_ONCE = 500
_BACKWARDS = ", ".join(f"{name} DESC" for name in ORDER.split(", "))


class TooMuchError(ValueError):
    """The answer would be too long to be of use; the message says what to ask instead."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs, and when.

    Attributes
    ----------
    uid : int or None
        Only this user's jobs; None: everybody's, and what is nobody's.
    groups : mapping of str to str
        ``user``, ``account``, ``partition``, ``namespace``, ``qos`` or ``cluster`` to the one that is wanted.
    job, host, model : str
        Empty: any.
    since_us, until_us : int, us
        What was used in this time; a job is listed if it was there then.
    running : bool or None
        Only jobs that run, or only those that ended.
    """

    uid: int | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    job: str = ""
    host: str = ""
    model: str = ""
    since_us: int = 0
    until_us: int = FOREVER_US
    running: bool | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """An energy with what is known of it. Energies in hnj, times in us; sigma in ``doubt``."""

    static_hnj: int = 0
    dynamic_hnj: int = 0
    active_us: int = 0
    held_us: int = 0
    doubt: Doubt = field(default_factory=Doubt)

    @classmethod
    def of_sums(cls, sums: Sequence[Any]) -> Used:
        """Read it from columns in the order of `schema.SUMS`; those of nothing are NULL."""
        whole = [int(value or 0) for value in sums[: len(COUNTS)]]
        doubt = Doubt(*(float(value or 0) for value in sums[len(COUNTS) :]))
        return cls(join_hnj(whole[0], whole[1]), join_hnj(whole[2], whole[3]), whole[4], whole[5], doubt)

    def plus(self, other: Used) -> Used:
        """Return the sum."""
        return Used(
            self.static_hnj + other.static_hnj,
            self.dynamic_hnj + other.dynamic_hnj,
            self.active_us + other.active_us,
            self.held_us + other.held_us,
            self.doubt.plus(other.doubt),
        )

    def less(self, other: Used) -> Used:
        """Return the difference."""
        return Used(
            self.static_hnj - other.static_hnj,
            self.dynamic_hnj - other.dynamic_hnj,
            self.active_us - other.active_us,
            self.held_us - other.held_us,
            self.doubt.less(other.doubt),
        )

    @property
    def energy_hnj(self) -> int:
        """All of it, hnj."""
        return self.static_hnj + self.dynamic_hnj


@dataclass(frozen=True, slots=True)
class OnHost:
    """What a job used on a host, and what it did there, as `agent.wire.work_text` writes it; empty: nothing tells."""

    host: str
    run_us: int
    used: Used
    work: str


@dataclass(frozen=True, slots=True)
class FoundJob:
    """One run of a job, on all hosts that are known of it, as it is known now.

    Attributes
    ----------
    number : int
        Of the run.
    jobs : tuple of int
        Numbers of its rows in the table ``job``, one for each host, or more.
    key : str
    run_us : int, us
        Its begin on the first host; tells runs of one key apart.
    host : str
        The first.
    hosts : tuple of str
    expected : int or None
        On how many hosts the scheduler said that it runs.
    start_us, end_us : int, us
        The end is -1 while a host has it.
    labels : mapping of str to str
    flags, method : int
        Bits of `agent.wire.parts`, and `runs.REQUEUED`.
    peak_mw, edges : int
    used : Used
    on_hosts : tuple of OnHost
        The oldest rows first; empty where nothing tells what the job did.
    """

    number: int
    jobs: tuple[int, ...]
    key: str
    run_us: int
    host: str
    hosts: tuple[str, ...]
    expected: int | None
    start_us: int
    end_us: int
    labels: Mapping[str, str]
    flags: int
    method: int
    peak_mw: int
    edges: int
    used: Used
    on_hosts: tuple[OnHost, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, the newest first, and where the next page begins (empty: nowhere)."""

    jobs: tuple[FoundJob, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class Group:
    """One row of a report: whose or what, how many jobs, and what they used."""

    name: str
    jobs: int | None
    used: Used


def jobs(database: SqlDatabase, asked: Filter, *, most: int = MOST, cursor: str = "") -> Page:
    """List jobs, those that run first, then from the newest end to the oldest.

    Raises
    ------
    CursorError
        If the cursor is not one that an earlier page gave.
    """
    if not is_there(database, asked):
        return Page((), "")
    where, values = where_jobs(asked)
    if cursor:
        where += f" AND ({ORDER}) < (?, ?, ?, ?)"
        values += read_cursor(cursor)
    rows = database.rows(f"SELECT {_RUN} FROM run WHERE {where} ORDER BY {_BACKWARDS} LIMIT ?", (*values, most + 1))
    found = _found(database, rows[:most])
    return Page(tuple(found), cursor_of(found[-1]) if len(rows) > most else "")


def is_there(database: SqlDatabase, asked: Filter) -> bool:
    """Return whether there is such a host, and such a model, at all: else no list need be read to its end."""
    host, model = (asked.host,), (asked.model,)
    return (not asked.host or bool(database.rows("SELECT 1 FROM store WHERE host = ? LIMIT 1", host))) and (
        not asked.model or bool(database.rows("SELECT 1 FROM gpu WHERE model = ? LIMIT 1", model))
    )


def jobs_since(
    database: SqlDatabase, asked: Filter, after_us: int, before: tuple[str, str, int] | None, most: int
) -> list[FoundJob]:
    """List jobs that ran at some moment after one, or run now, in an order that their ends do not change.

    Parameters
    ----------
    database : SqlDatabase
    asked : Filter
    after_us : int, us
    before : (str, str, int) or None
        The list goes on after this key, host and run.
    most : int
    """
    where, values = where_jobs(asked)
    where, values = f"{where} AND run.sort_us > ?", [*values, after_us]
    key = "run.key || ''"  # few run: they are sorted, and not found one by one in an index of all keys
    if before is not None:
        where, values = f"{where} AND ({key}, run.host, run.run_us) < (?, ?, ?)", [*values, *before]
    rows = database.rows(
        f"SELECT {_RUN} FROM run WHERE {where} ORDER BY {key} DESC, run.host DESC, run.run_us DESC LIMIT ?",
        (*values, most),
    )
    return _found(database, rows)


def runs_of(database: SqlDatabase, key: str, asked: Filter, *, most: int = MOST) -> list[FoundJob]:
    """Return the runs of one job, the newest first."""
    where, values = where_jobs(asked)
    rows = database.rows(
        f"SELECT {_RUN} FROM run WHERE key = ? AND {where} ORDER BY run_us DESC, host LIMIT ?", (key, *values, most)
    )
    return _found(database, rows)


def runs_with_work(database: SqlDatabase, asked: Filter) -> list[FoundJob]:
    """Return all runs of which something tells what they did."""
    where, values = where_jobs(asked)
    did = "run.id IN (SELECT job.run FROM job WHERE job.work <> '')"
    return _found(database, database.rows(f"SELECT {_RUN} FROM run WHERE {did} AND {where} ORDER BY run.id", values))


def collected_us(database: SqlDatabase) -> int | None:
    """Return up to when all hosts of a collector's database have told what they know; None of a host's own."""
    rows = database.rows("SELECT max(collected_us) FROM store WHERE forgotten = 0 GROUP BY cluster, host")
    told = [int(until_us) for (until_us,) in rows]
    return min(told) if any(told) else None


def _found(database: SqlDatabase, rows: Sequence[Sequence[Any]]) -> list[FoundJob]:
    """Add to runs what their hosts know of them."""
    shares: dict[int, list[Sequence[Any]]] = {run[0]: [] for run in rows}
    numbers = list(shares)
    for begin in range(0, len(numbers), _AT_ONCE):
        some = numbers[begin : begin + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        for share in database.rows(f"SELECT {_SHARE} FROM job WHERE run IN ({marks}) ORDER BY id", some):
            shares[share[0]].append(share[1:])
    return [_job(run, shares[run[0]]) for run in rows]


def stored_runs(database: SqlDatabase, host: str, keys: Sequence[str]) -> list[tuple[FoundJob, int]]:
    """Return all runs of many jobs on one host, each with the user that it is of."""
    found = []
    for begin in range(0, len(keys), _AT_ONCE):
        some = keys[begin : begin + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        rows = database.rows(f"SELECT {_RUN}, uid FROM run WHERE key IN ({marks}) AND host = ?", (*some, host))
        jobs_found = _found(database, [row[:-1] for row in rows])
        found += [(job, row[-1]) for job, row in zip(jobs_found, rows, strict=True)]
    return found


def where_jobs(asked: Filter) -> tuple[str, list[Any]]:
    """Say which runs are wanted."""
    where, values = where_labels(asked, "run")
    if asked.uid is not None:
        where, values = f"{where} AND run.uid = ?", [*values, asked.uid]
    if asked.job:
        where, values = f"{where} AND run.key = ?", [*values, asked.job]
    if asked.since_us > 0:
        where, values = f"{where} AND run.sort_us > ?", [*values, asked.since_us]
    if asked.until_us < FOREVER_US:
        where, values = f"{where} AND run.start_us < ?", [*values, asked.until_us]
    if asked.running is not None:
        where, values = f"{where} AND run.sort_us {'=' if asked.running else '<'} ?", [*values, RUNNING_US]
    if asked.host:
        where += " AND EXISTS(SELECT 1 FROM job AS one WHERE one.run = run.id AND one.host = ?)"
        values = [*values, asked.host]
    if asked.model:
        where += (
            " AND EXISTS(SELECT 1 FROM job AS one JOIN part ON part.job = one.id JOIN gpu ON gpu.id = part.gpu "
            "WHERE one.run = run.id AND gpu.model = ?)"
        )
        values = [*values, asked.model]
    return where, values


def where_parts(asked: Filter) -> tuple[str, list[Any]]:
    """Say which parts are wanted, at whatever time, of ``part`` joined with its ``job`` and ``gpu``."""
    where, values = where_labels(asked, "job")
    if asked.uid is not None:
        where, values = f"{where} AND job.run IN (SELECT id FROM run WHERE uid = ?)", [*values, asked.uid]
    if asked.job:
        where, values = f"{where} AND job.key = ?", [*values, asked.job]
    if asked.model:
        where, values = f"{where} AND gpu.model = ?", [*values, asked.model]
    return where, values


def where_labels(asked: Filter, table: str) -> tuple[str, list[Any]]:
    """Say which labels and hosts are wanted, of jobs or of what sums of days are kept for."""
    where, values = ["1=1"], []
    for name, value in asked.groups.items():
        if name not in GROUPS:
            raise ValueError(f"{name!r} is not one of {', '.join(GROUPS)}")
        where.append(f'{table}."{name}" = ?')
        values.append(value)
        if value and name in FILTERED:
            where.append(
                f"{table}.\"{name}\" <> ''"
            )  # or the index is not used: a database plans before it has the value
    if asked.host and table != "run":
        where.append(f"{table}.host = ?")
        values.append(asked.host)
    if asked.model and table == "payer":
        where.append("payer.model = ?")
        values.append(asked.model)
    return " AND ".join(where), values


def _job(run: Sequence[Any], shares: Sequence[Sequence[Any]]) -> FoundJob:
    number, key, run_us, host, start_us, end_us, labels, flags, expected = run
    method, peak_mw, edges, used = 0, 0, 0, Used()
    on_hosts = []
    for _, own_host, own_run_us, work, own_flags, own_method, own_peak_mw, own_edges, *sums in shares:
        own = Used.of_sums(sums)
        flags, method = flags | own_flags, method | own_method
        peak_mw, edges, used = max(peak_mw, own_peak_mw), edges + own_edges, used.plus(own)
        on_hosts.append(OnHost(own_host, own_run_us, own, work))
    return FoundJob(
        number, tuple(share[0] for share in shares), key, run_us, host, tuple(sorted({share[1] for share in shares})),
        expected or None, start_us, end_us, json.loads(labels), flags, method, peak_mw, edges, used,
        tuple(on_hosts) if any(one.work for one in on_hosts) else (),
    )  # fmt: skip
