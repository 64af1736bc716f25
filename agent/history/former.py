"""What an agent finds of its own past in a history, that its state does not know of."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.history.part_rows import PART_COLUMNS, RECORD_COLUMNS, part_of, record_of
from wattshed.agent.history.store import Store
from wattshed.agent.history.sums import NOT_A_JOB
from wattshed.agent.wire.parts import END, END_UNKNOWN, JobPart

if TYPE_CHECKING:
    from wattshed.agent.history.sql import SqlDatabase
    from wattshed.agent.wire.parts import JobRecord


def end_former(database: SqlDatabase, store_id: str, host: str) -> int:
    """End the jobs that earlier stores of a host left open: who numbered their parts is gone, and tells no end.

    Each gets a last part, of nothing, that says so, where it was seen last: whoever collects the parts learns of it.

    Returns
    -------
    int
        How many jobs.
    """
    found: dict[str, list[tuple[JobPart, JobRecord, str]]] = defaultdict(list)
    rows = database.rows(
        f"SELECT store.store_id, store.next_seq, job.id, {RECORD_COLUMNS} FROM job JOIN store ON store.id = job.store "
        "WHERE store.host = ? AND store.store_id <> ? AND job.end_us < 0 AND substr(job.key, 1, 1) <> ? "
        "ORDER BY job.id",
        (host, store_id, NOT_A_JOB),
    )
    for former, next_seq, job, *columns in rows:
        last = database.rows(
            "SELECT gpu.uuid, gpu.model, part.to_us FROM part JOIN gpu ON gpu.id = part.gpu WHERE part.job = ? "
            "ORDER BY part.to_us DESC, part.seq DESC LIMIT 1",
            (job,),
        )
        for uuid, model, end_us in last:
            record = replace(record_of(columns), end_us=end_us)
            seq = next_seq + len(found[former])
            end = JobPart(seq, record.key, record.run_us, uuid, end_us, end_us, 0, 0, flags=END | END_UNKNOWN)
            found[former].append((end, record, model))
    for former, ends in found.items():
        records = {(record.key, record.run_us): record for _, record, _ in ends}
        models = {part.gpu: model for part, _, model in ends}
        Store(database, former, host).add([part for part, _, _ in ends], records, models)
    return sum(map(len, found.values()))


def parts_beyond(database: SqlDatabase, store_id: str, next_seq: int) -> list[JobPart]:
    """Return the parts of a store that an agent does not know of, whose state says that ``next_seq`` comes next."""
    rows = database.rows(
        f"SELECT {PART_COLUMNS} FROM part JOIN job ON job.id = part.job JOIN gpu ON gpu.id = part.gpu "
        "JOIN store ON store.id = part.store WHERE store.store_id = ? AND part.seq >= ? ORDER BY part.seq",
        (store_id, next_seq),
    )
    return [part_of(row) for row in rows]
