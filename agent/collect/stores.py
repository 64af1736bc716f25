"""What an administrator does to one agent's history at the collector: begin it anew, or stop waiting for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.history import schema
from wattshed.agent.history.store import Store
from wattshed.agent.wire.parts import END_UNKNOWN

if TYPE_CHECKING:
    from wattshed.agent.history.sql import SqlDatabase


def find(database: SqlDatabase, name: str) -> tuple[str, str]:
    """Return the id and the host of a store, that is named by its id or the begin of it, its host, or its address.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    schema.prepare(database)
    rows = database.rows("SELECT store_id, host, address FROM store ORDER BY epoch")
    stores = {store_id: host for store_id, host, _ in rows}
    found = {
        store_id for store_id, host, address in rows if name in {store_id, host, address} or store_id.startswith(name)
    }
    if name in stores:
        found = {name}
    if not found:
        raise InputError(f"there is no store {name!r} in {database.name}; give its id, host or address")
    if len(found) > 1:
        raise InputError(f"{name!r} is more than one store: {', '.join(sorted(found))}; give one of these")
    (store_id,) = found
    return store_id, stores[store_id]


def reset(database: SqlDatabase, store_id: str) -> None:
    """Let the store's numbers begin anew: what the agent has and is not here yet will be taken, and nothing twice.

    For an agent whose disk was restored, so that its numbers come again for other parts, and for one that was renamed.
    """
    with database.transaction():
        database.do(
            "INSERT INTO store(store_id, epoch, host, cluster, address) "
            "SELECT store_id, epoch + 1, host, cluster, address FROM store "
            "WHERE store_id = ? ORDER BY epoch DESC LIMIT 1",
            (store_id,),
        )


def forget(database: SqlDatabase, store_id: str) -> int:
    """Stop waiting for a store: what it said stays, and its jobs end where it was heard of last; returns how many."""
    closed, store = [], Store(database, store_id, "", merged=True)
    with database.transaction():
        database.do("UPDATE store SET forgotten = 1, refused = '' WHERE store_id = ?", (store_id,))
        rows = database.rows(
            "SELECT job.id, job.key, job.run_us, job.start_us, "
            "(SELECT max(part.to_us) FROM part WHERE part.job = job.id) FROM job JOIN store ON store.id = job.store "
            "WHERE store.store_id = ? AND job.end_us < 0 AND job.run > 0",
            (store_id,),
        )
        for number, key, run_us, start_us, last_us in rows:
            database.do(
                "UPDATE job SET end_us = ?, flags = flags | ? WHERE id = ?",
                (max(start_us, last_us or 0), END_UNKNOWN, number),
            )
            closed.append((key, run_us))
        store.follow(closed)
    return len(closed)
