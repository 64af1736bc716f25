"""What a collector and its users do with a site's history: take pages in, and answer questions."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.bench.made_site import BEGIN_US, YEAR_US, made_hosts
from wattshed.agent.collect.merge import Merger, read_page
from wattshed.agent.history.opening import open_database

if TYPE_CHECKING:
    from collections.abc import Callable

LATER_S = (BEGIN_US + 2 * YEAR_US) / 1e6
"""Unix seconds at which the questions are asked: all jobs ended."""


class Taken(NamedTuple):
    """What was taken in: parts, the collector's own seconds for them, and bytes of the database."""

    parts: int
    seconds: float
    bytes_used: int


def fill(place: str, jobs: int, hosts: int, say: Callable[[str], None] = lambda _: None) -> Taken:
    """Take the pages of all hosts into a new database, as the collector does when they come over the network.

    Parameters
    ----------
    place : str
        A path, or the URL of a PostgreSQL database.
    jobs, hosts : int
    say : callable
        Called with what is being done.

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
                    say(f"taking in {merger.parts_total:,} of {jobs:,} jobs")
        return Taken(merger.parts_total, seconds, database.bytes_used())
    finally:
        database.close()
