"""What a collector and its users do with a site's history: take pages in, and answer questions."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from wattshed.agent.bench.made_site import BEGIN_US, HOUR_US, YEAR_US, made_hosts
from wattshed.agent.collect.merge import Merger, read_page
from wattshed.agent.errors import Faults, InputError
from wattshed.agent.history.opening import open_database, where_of
from wattshed.agent.history.writer import Batch, HistoryWriter
from wattshed.agent.reports.sources import StoreSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from wattshed.agent.printing.progress import Far

LATER_S = (BEGIN_US + 2 * YEAR_US) / 1e6
"""Unix seconds at which the questions are asked: all jobs ended."""

_BATCH = 100


class Taken(NamedTuple):
    """What was taken in: parts, the collector's own seconds for them, and bytes of the database."""

    parts: int
    seconds: float
    bytes_used: int


def fill(place: str, jobs: int, hosts: int, far: Far = lambda _done, _what: None) -> Taken:
    """Take the pages of all hosts into a new database, as the collector does when they come over the network.

    Parameters
    ----------
    place : str
        A path, or the URL of a PostgreSQL database.
    jobs, hosts : int
    far : callable
        Told how many jobs are taken in, and that in words.

    Returns
    -------
    Taken
        Its seconds are those of reading JSON, checking and writing; making up the pages is left out.
    """
    database, seconds, last_s = open_database(place, only=True), 0.0, 0.0
    try:
        merger = Merger(database)
        for host in made_hosts(jobs, hosts):
            for document in host.pages():
                text = json.dumps(document)
                begun_s = time.perf_counter()
                page = read_page(json.loads(text))
                merger.take(page, page.parts[0].seq - 1, f"http://{host.name}:9961")
                seconds += time.perf_counter() - begun_s
                if seconds > last_s + 0.5:
                    last_s = seconds
                    far(merger.parts_total, f"taking in {merger.parts_total:,} of {jobs:,} jobs")
        return Taken(merger.parts_total, seconds, database.bytes_used())
    finally:
        database.close()


def grow_site(path: Path, jobs: int, hosts: int, before: tuple[int, int] = (0, 0)) -> None:
    """Make a site's history as `fill` does, or let one of so many jobs and hosts before grow; nothing is measured.

    Nothing is forced onto the disk, and what only questions need of indexes is made at the end.
    """
    database = open_database(path, only=True)
    try:
        merger = Merger(database)
        database.rows("PRAGMA synchronous=OFF")
        later = database.rows(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND name <> 'run_by_key'"
        )
        for name, _ in later:
            database.do(f"DROP INDEX {name}")
        for host in made_hosts(jobs - before[0], hosts - before[1], after_jobs=before[0], after_hosts=before[1]):
            for document in host.pages():
                page = read_page(document)
                merger.take(page, page.parts[0].seq - 1, f"http://{host.name}:9961")
        for _, statement in later:
            database.do(statement)
    finally:
        database.close()


def write_own(folder: Path, jobs: int, far: Far = lambda _done, _what: None) -> dict[str, float]:
    """Write one host's jobs as its agent does, in batches; returns how many, and the seconds until they were on disk.

    Raises
    ------
    RuntimeError
        If the writer failed.
    """
    (host,) = made_hosts(jobs, 1)
    faults = Faults()
    writer = HistoryWriter(folder / "history.db", host.name, faults)
    begun_s = time.perf_counter()
    try:
        for first in range(0, jobs, _BATCH):
            far(first, f"writing {first:,} of {jobs:,} jobs of an agent")
            parts = host.parts[first : first + _BATCH]
            records = {(part.job, part.run_us): host.jobs[part.job, part.run_us] for part in parts}
            writer.offer(Batch(host.store_id, parts, records, host.models, parts[-1].to_us))
            while writer.done(host.store_id) < parts[-1].seq:
                if faults.counts:
                    raise RuntimeError(f"the history could not be written: {faults.counts}")
                time.sleep(0.0005)
        return {"jobs": jobs, "seconds": time.perf_counter() - begun_s}
    finally:
        writer.stop()


@contextmanager
def passing_schema(url: str | None) -> Iterator[str]:
    """Make a schema in a PostgreSQL database, give the URL that leads into it, and drop it; without a URL give "".

    Raises
    ------
    InputError
        It is no URL of PostgreSQL, or has options of its own.
    DatabaseError
        The server refuses.
    """
    if not url:
        yield ""
        return
    if where_of(url) is not None or "options=" in url:
        raise InputError("--database: give a URL postgresql://... without options; SQLite is measured anyway")
    name = f"wattshed_bench_{os.getpid()}"
    database = open_database(url)
    try:
        database.do(f"CREATE SCHEMA {name}")
        try:
            yield f"{url}{'&' if '?' in url else '?'}options={quote(f'-c search_path={name}')}"
        finally:
            database.do(f"DROP SCHEMA {name} CASCADE")
    finally:
        database.close()


def questions(jobs: int) -> dict[str, tuple[str, dict[str, str]]]:
    """Return what is asked of a history of so many jobs: path and parameters, by what people call it."""
    middle_s = BEGIN_US / 1e6 + YEAR_US / 2e6
    week = {"since": f"{middle_s:.0f}", "until": f"{middle_s + 168 * HOUR_US / 1e6:.0f}"}
    return {
        "the newest 100 jobs": ("jobs", {"limit": "100"}),
        "100 jobs of a user": ("jobs", {"user": "user0007", "limit": "100"}),
        "100 jobs of an account": ("jobs", {"account": "account07", "limit": "100"}),
        "100 jobs of a host in a week": ("jobs", {"host": "node00000", "limit": "100", **week}),
        "1,000 jobs of a week": ("jobs", {"limit": "1000", **week}),
        "one job": (f"jobs/slurm:{1_000_000 + max(jobs // 2, 1)}", {}),
        "report by user": ("report", {"by": "user"}),
        "report by user of a week": ("report", {"by": "user", **week}),
        "report by host": ("report", {"by": "host"}),
        "report by month": ("report", {"by": "month"}),
    }


def ask_all(place: str, jobs: int, rounds: int, far: Far) -> list[dict[str, Any]]:
    """Ask everything, so many times; returns the median and the longest seconds of each, and a digest of its answer."""
    source = StoreSource(place, clock=lambda: LATER_S)
    found = []
    for number, (name, (path, params)) in enumerate(questions(jobs).items()):
        far(number, name)
        times, document = [], {}
        for _ in range(rounds):
            begun_s = time.perf_counter()
            document = source.ask(path, params)
            times.append(time.perf_counter() - begun_s)
        rows = next((len(document[key]) for key in ("jobs", "rows") if key in document), 1)
        found.append(
            {
                "question": name,
                "seconds": statistics.median(times),
                "longest_s": max(times),
                "rows": rows,
                "answer": hashlib.sha256(json.dumps(_exact(document), sort_keys=True).encode()).hexdigest()[:16],
            }
        )
    return found


def same_answers(asked: Sequence[Sequence[dict[str, Any]]]) -> bool:
    """Return whether all databases gave the same answers."""
    return len({tuple(one["answer"] for one in each) for each in asked}) == 1


def _exact(document: Any) -> Any:
    """Take the floats out of an answer: sigmas, whose sums depend on the order in which a database adds."""
    if isinstance(document, dict):
        return {name: _exact(value) for name, value in document.items() if not isinstance(value, float)}
    return [_exact(one) for one in document] if isinstance(document, list) else document
