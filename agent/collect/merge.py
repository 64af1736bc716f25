"""Takes pages of agents' histories into one database: every part once, whatever repeats, is cut off or comes late.

A page is one transaction: its parts beyond the cursor go in, into the sums, and the cursor moves. What is wrong with a
page is said, and nothing of it is taken.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wattshed.agent.history import schema
from wattshed.agent.history.forgetting import forget_users
from wattshed.agent.history.part_rows import PART_COLUMNS, part_of
from wattshed.agent.history.store import Store, drop_old
from wattshed.agent.wire.parts import CLOCK_SKEW, MOST_SKEW_US
from wattshed.agent.wire.parts_json import of_plain, record_of_plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.history.privacy import Privacy
    from wattshed.agent.history.sql import SqlDatabase
    from wattshed.agent.wire.parts import JobPart, JobRecord

SCHEMA = "wattshed.parts/1"
_MOST_JSON = 2**53
_LONGEST = 250


class RefusedPageError(Exception):
    """A page that is not taken; the message is one line that says why, and what to do."""


class NoHistoryError(Exception):
    """An agent that has just begun: there is no store yet, and nothing to take."""


@dataclass(frozen=True, slots=True)
class PartsPage:
    """One answer of an agent, checked.

    Attributes
    ----------
    store_id, host, cluster : str
    stores : tuple of str
        All of the agent's, the oldest first.
    now_us : int, us
        Its clock.
    first_seq, next_seq : int
        Of the oldest part that it has, and of the next new one.
    parts : tuple of JobPart
    jobs : mapping of (key, run_us) to JobRecord
    models : mapping of GPU to str
    """

    store_id: str
    host: str
    cluster: str
    stores: tuple[str, ...]
    now_us: int
    first_seq: int
    next_seq: int
    parts: tuple[JobPart, ...]
    jobs: Mapping[tuple[str, int], JobRecord]
    models: Mapping[str, str]


def read_page(document: Mapping[str, Any], cluster: str = "") -> PartsPage:
    """Check an agent's answer.

    Parameters
    ----------
    document : mapping
        As it came.
    cluster : str
        Of its jobs; empty: what their own label says.

    Raises
    ------
    RefusedPageError
    NoHistoryError
    """
    if document.get("schema") != SCHEMA:
        said = str(document.get("schema"))[:40]
        raise RefusedPageError(f"speaks {said}, and this program {SCHEMA}: run the same version at both")
    if document.get("store") == "" and document.get("parts") == []:
        raise NoHistoryError("has no history yet")
    try:
        store_id, host = _name(document, "store"), _name(document, "host")
        stores = tuple(_name({"stores": one}, "stores") for one in document.get("stores", [store_id]))
        now_us, first_seq, next_seq = (_number(document, name) for name in ("now_us", "first_seq", "next"))
        parts = tuple(of_plain(one) for one in document["parts"])
        records = [record_of_plain(one) for one in document["jobs"]]
        models = {_name({"gpu": gpu}, "gpu"): str(model)[:_LONGEST] for gpu, model in document["models"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RefusedPageError(f"gave an invalid page: {error}") from None
    numbers = [part.seq for part in parts]
    if any(b <= a for a, b in itertools.pairwise(numbers)) or (numbers and numbers[-1] >= next_seq):
        raise RefusedPageError("gave an invalid page: its parts are not in order")
    jobs = {(one.key, one.run_us): _of_cluster(one, cluster) for one in records}
    named = cluster or str(document.get("cluster", ""))[:_LONGEST]
    return PartsPage(store_id, host, named, stores, now_us, first_seq, next_seq, parts, jobs, models)


def _of_cluster(record: JobRecord, cluster: str) -> JobRecord:
    long = [name for name, value in record.labels.items() if len(value) > _LONGEST]
    if not long and not cluster:
        return record
    labels = {**record.labels, **{name: record.labels[name][:_LONGEST] for name in long}}
    return replace(record, labels={**labels, "cluster": cluster} if cluster else labels)


def _name(values: Mapping[str, Any], key: str) -> str:
    text = values[key]
    if not isinstance(text, str) or not text or len(text) > _LONGEST or not text.isprintable():
        raise ValueError(f"{key} is not a valid name")
    return text


def _number(values: Mapping[str, Any], key: str) -> int:
    value = values[key]
    if type(value) is not int or not 0 <= value < _MOST_JSON:
        raise ValueError(f"{key} is not a valid number")
    return value


class Merger:
    """Takes pages in; used by one thread at a time.

    Parameters
    ----------
    database : SqlDatabase
    privacy : Privacy, optional
        What is kept of people.

    Attributes
    ----------
    parts_total, gaps_total : int
        Taken so far by this process; and how often an agent had dropped parts before they were taken.
    """

    def __init__(self, database: SqlDatabase, privacy: Privacy | None = None) -> None:
        schema.prepare(database)
        self._database, self._privacy = database, privacy
        self._stores: dict[int, Store] = {}
        self._forgotten_day = 0
        self.parts_total, self.gaps_total = 0, 0

    def cursor(self, store_id: str) -> int:
        """Return up to which number the parts of a store are there; 0 for none."""
        row = self._row(store_id)
        return row.next_seq - 1 if row else 0

    def take(self, page: PartsPage, after: int, address: str, skew_us: int = 0) -> int:
        """Take a page; returns how many of its parts were new.

        Parameters
        ----------
        page : PartsPage
        after : int
            The number after which it was asked for.
        address : str
            Who gave it.
        skew_us : int, us
            How far the agent's clock is ahead.

        Raises
        ------
        RefusedPageError
            Nothing of it was taken.
        DatabaseError
            Nothing of it was taken; it may be tried again.
        """
        row = self._row(page.store_id)
        store = self._stores.get(row.number) if row else None
        if store is None:
            store = Store(self._database, page.store_id, page.host, merged=True)
            self._stores[store.number] = store
        try:
            with self._database.transaction():
                return self._take(page, after, address, skew_us, store)
        except BaseException:
            self._stores.clear()  # what they looked up may never have been written
            raise

    def refuse(self, store_id: str, why: str) -> None:
        """Write down why a store's pages are refused, for who asks; empty: they are not."""
        self._database.do("UPDATE store SET refused = ? WHERE store_id = ? AND refused <> ?", (why, store_id, why))

    def tidy(self, before_us: int, before_day: int) -> int:
        """Drop some parts that ended before a time, and forget users of jobs that ended before a day; returns how many.

        Raises
        ------
        DatabaseError
        """
        stores = self._database.rows("SELECT id FROM store ORDER BY id")
        count = sum(drop_old(self._database, number, before_us) for (number,) in stores)
        if before_day > self._forgotten_day:
            self._stores.clear()  # numbers of payers that they looked up may be no more
            forget_users(self._database, before_day)
            self._forgotten_day = before_day
        return count

    def _take(self, page: PartsPage, after: int, address: str, skew_us: int, store: Store) -> int:
        # It locks the row, where the database does not lock as a whole.
        self._database.do("UPDATE store SET address = ? WHERE store_id = ?", (address, page.store_id))
        row = self._row(page.store_id)
        if row is None or row.number != store.number:
            raise RefusedPageError("was reset meanwhile; it is asked again")
        self._check(page, after, row)
        self._compare(page, row)
        gap = max(0, page.first_seq - row.next_seq)
        parts = [part for part in page.parts if part.seq >= row.next_seq]
        if row.epoch:
            parts = self._not_known(page.store_id, row.number, parts)
        of_jobs = {(part.job, part.run_us) for part in parts}
        jobs: Mapping[tuple[str, int], JobRecord] = {place: job for place, job in page.jobs.items() if place in of_jobs}
        if abs(skew_us) > MOST_SKEW_US:
            parts = [replace(part, flags=part.flags | CLOCK_SKEW) for part in parts]
        if self._privacy is not None:
            hidden, jobs = self._privacy.applied(parts, jobs)
            parts = list(hidden)
        added = store.take(parts, jobs, page.models)
        cursor = max([row.next_seq - 1, page.first_seq - 1, *(part.seq for part in page.parts)])
        until_us = page.now_us if cursor >= page.next_seq - 1 else max([0, *(p.to_us for p in page.parts)])
        self._database.do(
            "UPDATE store SET host = ?, cluster = ?, next_seq = ?, skew_us = ?, gaps = gaps + ?, lost = lost + ?, "
            "refused = '', forgotten = 0, collected_us = CASE WHEN collected_us < ? THEN ? ELSE collected_us END "
            "WHERE id = ?",
            (page.host, page.cluster, cursor + 1, skew_us, int(gap > 0), gap, until_us, until_us, row.number),
        )
        self.parts_total += added
        self.gaps_total += gap > 0
        return added

    def _compare(self, page: PartsPage, row: _StoreRow) -> None:
        """Refuse a page whose parts that are here already are others than before.

        Raises
        ------
        RefusedPageError
        """
        again = [part for part in page.parts if part.seq < row.next_seq][-1:]
        for part in again:
            if any(_content(before) != _content(part) for before in self._parts("part.store = ? AND part.seq = ?",
                                                                                (row.number, part.seq))):  # fmt: skip
                raise RefusedPageError(
                    f"has another part of number {part.seq} than it had: its disk was restored; " + _again(page)
                )

    @staticmethod
    def _check(page: PartsPage, after: int, row: _StoreRow) -> None:
        """Refuse what does not continue the store.

        Raises
        ------
        RefusedPageError
        """
        if row.host != page.host and row.next_seq > 1:
            raise RefusedPageError(
                f"has the history of {row.host}: a copy of its disk, or another name of it. If it is a copy, remove "
                f"its state folder; if it was renamed, {_again(page)}"
            )
        if page.next_seq < row.next_seq:
            raise RefusedPageError(
                f"goes on from number {page.next_seq}, and {row.next_seq - 1} is here already: its disk was restored; "
                f"{_again(page)}"
            )
        if after >= row.next_seq:
            raise RefusedPageError("gave a page that begins too late; it is asked again")

    def _not_known(self, store_id: str, number: int, parts: Sequence[JobPart]) -> list[JobPart]:
        """Drop parts that were taken before a reset: the same number with the same content."""
        if not parts:
            return []
        stores = "SELECT id FROM store WHERE store_id = ? AND id <> ?"
        known = self._parts(
            f"part.store IN ({stores}) AND part.seq >= ? AND part.seq <= ?",
            (store_id, number, parts[0].seq, parts[-1].seq),
        )
        contents = {_content(part) for part in known}
        return [part for part in parts if _content(part) not in contents]

    def _parts(self, where: str, values: Sequence[Any]) -> list[JobPart]:
        tables = "part JOIN job ON job.id = part.job JOIN gpu ON gpu.id = part.gpu"
        rows = self._database.rows(f"SELECT {PART_COLUMNS} FROM {tables} WHERE {where}", values)
        return [part_of(row) for row in rows]

    def _row(self, store_id: str) -> _StoreRow | None:
        rows = self._database.rows(
            "SELECT id, epoch, host, next_seq FROM store WHERE store_id = ? ORDER BY epoch DESC LIMIT 1", (store_id,)
        )
        return _StoreRow(*rows[0]) if rows else None


@dataclass(frozen=True, slots=True)
class _StoreRow:
    """What is known of a store."""

    number: int
    epoch: int
    host: str
    next_seq: int


def _again(page: PartsPage) -> str:
    return f"`wattshed collect reset {page.store_id}` takes what it has that is not here yet"


def _content(part: JobPart) -> tuple[object, ...]:
    return part.seq, part.from_us, part.to_us, part.gpu, part.static_hnj, part.dynamic_hnj, part.active_us, part.edges
