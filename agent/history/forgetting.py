"""Takes users out of a history that is there: all of them after some days, or one on request. No sum changes.

A job keeps its account, partition and joules. Its user, user id and whatever its user called it go; so does the key of
what ran outside batch jobs, which is made of both. The sums of a day move from whoever paid to their account.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wattshed.agent.history.numbers import Numbers
from wattshed.agent.history.privacy import KEPT, Privacy
from wattshed.agent.history.schema import SUMS
from wattshed.agent.history.sums import DAY_US, PAYER
from wattshed.agent.window import MISSING, uid_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.history.sql import SqlDatabase

ERASED = "erased"
"""Whose jobs those of erased users are: all of them together."""
_BITE = 500
_USER = PAYER.index('"user"')
_OVER = (
    "(end_us >= 0 AND end_us < ? OR end_us < 0 AND start_us < ? AND NOT EXISTS("
    "SELECT 1 FROM job JOIN part ON part.job = job.id WHERE job.run = run.id AND part.to_us >= ?))"
)
"""It ended before a time, or nothing was heard of it since."""
_ADDED = ", ".join(f"{name} = {name} + ?" for name in SUMS)


def forget_users(database: SqlDatabase, before_day: int) -> int:
    """Forget the users of jobs that ended before a day, and fold them in the sums of days before it into accounts.

    Parameters
    ----------
    database : SqlDatabase
        Numbers of payers that were looked up before may be no more.
    before_day : int
        Days since 1970, UTC.

    Returns
    -------
    int
        How many jobs and sums were changed.

    Raises
    ------
    DatabaseError
    """
    before_us = before_day * DAY_US
    count = _all_runs(database, f"(\"user\" <> '' OR uid <> -1) AND {_OVER}", (before_us,) * 3, "")
    return count + _all_payers(database, "\"user\" <> ''", (), before_day, "")


def erase_user(database: SqlDatabase, user: str, privacy: Privacy | None = None) -> int:
    """Give all that is known of one user, by name or by user id, to `ERASED`; returns how much was changed.

    Nobody else may write the database meanwhile.

    Parameters
    ----------
    database : SqlDatabase
    user : str
    privacy : Privacy, optional
        What stands for users in this history: the user is meant by that too.

    Raises
    ------
    DatabaseError
    """
    hidden, uid = privacy or Privacy(), uid_of(user)
    who = {user, hidden.user(user), *([str(hidden.uid(uid))] if uid != MISSING else [])}
    return sum(_erase(database, one) for one in sorted(who - {"", ERASED, str(MISSING)}))


def _erase(database: SqlDatabase, user: str) -> int:
    count = _all_runs(database, '"user" = ?', (user,), ERASED)
    if user.isascii() and user.isdecimal() and len(user) < 18:
        names = {name for (name,) in database.rows('SELECT DISTINCT "user" FROM run WHERE uid = ?', (int(user),))}
        count += _all_runs(database, "uid = ?", (int(user),), ERASED)
        count += sum(_erase(database, name) for name in names - {"", ERASED, user})
    return count + _all_payers(database, '"user" = ?', (user,), 2**40, ERASED)


def _all_runs(database: SqlDatabase, where: str, values: Sequence[Any], to: str) -> int:
    count, last = 0, 0
    while rows := database.rows(
        f"SELECT id, key, labels FROM run WHERE id > ? AND {where} ORDER BY id LIMIT ?", (last, *values, _BITE)
    ):
        with database.transaction():
            for run, key, labels in rows:
                shares = database.rows("SELECT id, labels FROM job WHERE run = ?", (run,))
                for table, number, told in (("run", run, labels), *(("job", *share) for share in shares)):
                    facts = (_nameless(key, run), to, _nameless_labels(told, to), number)
                    database.do(f'UPDATE {table} SET key = ?, uid = -1, "user" = ?, labels = ? WHERE id = ?', facts)
        count, last = count + len(rows), rows[-1][0]
    return count


def _nameless_labels(labels: str, to: str) -> str:
    kept = {name: text for name, text in json.loads(labels).items() if name in KEPT and name != "user"}
    return json.dumps(kept | ({"user": to} if to else {}), sort_keys=True)


def _nameless(key: str, run: int) -> str:
    """Return a key without user and program; the number of its run keeps it apart from others."""
    if key.startswith("user:"):
        return f"user:-/{run}"
    if key.startswith("htcondor:") and "/" in key:
        return f"{key.rpartition('/')[0]}/-{run}"
    return key


def _all_payers(database: SqlDatabase, where: str, values: Sequence[Any], before_day: int, to: str) -> int:
    """Move the sums of days before one to payers of another user, and drop payers that nothing is left of."""
    columns, payers = ", ".join(PAYER), Numbers(database, "payer", PAYER)
    count = 0
    for payer, *texts in database.rows(f"SELECT id, {columns} FROM payer WHERE {where}", values):
        with database.transaction():
            sums = ", ".join(SUMS)
            rows = database.rows(f"SELECT day, {sums} FROM day WHERE payer = ? AND day < ?", (payer, before_day))
            if rows:
                place = (*texts[:_USER], to, *texts[_USER + 1 :])
                other = payers.of([place])[place]
                database.each_do(
                    "INSERT INTO day(day, payer) VALUES(?, ?) ON CONFLICT DO NOTHING", [(row[0], other) for row in rows]
                )
                database.each_do(
                    f"UPDATE day SET {_ADDED} WHERE day = ? AND payer = ?", [(*row[1:], row[0], other) for row in rows]
                )
                database.do("DELETE FROM day WHERE payer = ? AND day < ?", (payer, before_day))
            left = "NOT EXISTS(SELECT 1 FROM day WHERE payer = ?)"
            count += len(rows) + database.do(f"DELETE FROM payer WHERE id = ? AND {left}", (payer, payer))
    return count
