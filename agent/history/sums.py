"""Parts go into their table, and into the sums of their jobs and days."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.history.job_rows import batched
from wattshed.agent.history.schema import COUNTS, DOUBTS, GROUPS, SUMS
from wattshed.agent.wire.parts import Doubt, JobPart, split_hnj

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wattshed.agent.history.sql import SqlDatabase

DAY_US = 86_400_000_000
NOT_A_JOB = "_"
"""Owners that are not jobs begin with it; each has a place of its own in the sums of days."""
_ADDED = ", ".join(f"{name} = {name} + ?" for name in SUMS)
_NOTHING = (*(0 for _ in COUNTS), *(0.0 for _ in DOUBTS))


class Sums:
    """Adds one host's parts, and keeps the sums of days by whoever pays.

    Parameters
    ----------
    database : SqlDatabase
    host : str
    """

    def __init__(self, database: SqlDatabase, host: str) -> None:
        self._database, self._host = database, host
        self._gpus: dict[tuple[str, str, str], int] = {}
        self._payers: dict[tuple[str, ...], int] = {}

    def forget(self) -> None:
        """Forget numbers that were looked up: they may never have been written."""
        self._gpus.clear()
        self._payers.clear()

    def insert(self, store: int, parts: Sequence[tuple[JobPart, int]], models: Mapping[str, str]) -> None:
        """Insert parts, each with the number of its job, and add them to the sums."""
        groups = self._groups({job for _, job in parts})
        jobs: dict[int, _Added] = defaultdict(_Added)
        rows, days = [], _Days()
        for part, job in parts:
            sums, model = sums_of(part), models.get(part.gpu, "")
            rows.append(
                (
                    store, part.seq, job, self._gpu(part.gpu, model), part.from_us, part.to_us, part.peak_mw,
                    part.edges, part.method, part.flags, *sums,
                )
            )  # fmt: skip
            jobs[job].add(part, sums)
            days.add(part, self._payer(part, groups[job], model, self._host))
        self._database.each_do(f"INSERT INTO part VALUES({', '.join('?' * (10 + len(SUMS)))})", rows)
        self._database.each_do(
            f"UPDATE job SET {_ADDED}, peak_mw = CASE WHEN peak_mw < ? THEN ? ELSE peak_mw END, edges = edges + ?, "
            "method = method | ?, flags = flags | ? WHERE id = ?",
            [(*one.sums, one.peak_mw, one.peak_mw, one.edges, one.method, one.flags, job) for job, one in jobs.items()],
        )
        days.write(self._database)

    def move(
        self, parts: Iterable[tuple[JobPart, str]], host: str, before: Sequence[str], after: Sequence[str]
    ) -> None:
        """Move parts of any host, each with the model of its GPU, from one combination of groups to another."""
        days = _Days()
        for part, model in parts:
            days.add(part, self._payer(part, before, model, host), -1)
            days.add(part, self._payer(part, after, model, host))
        days.write(self._database)

    def _groups(self, jobs: Iterable[int]) -> dict[int, Sequence[str]]:
        names = ", ".join(f'"{name}"' for name in GROUPS)
        found: dict[int, Sequence[str]] = {}
        for some in batched(sorted(jobs)):
            marks = ", ".join("?" * len(some))
            for number, *row in self._database.rows(f"SELECT id, {names} FROM job WHERE id IN ({marks})", some):
                found[int(number)] = row
        return found

    def _gpu(self, uuid: str, model: str) -> int:
        place = uuid, self._host, model
        if place not in self._gpus:
            self._database.do("INSERT INTO gpu(uuid, host, model) VALUES(?, ?, ?) ON CONFLICT DO NOTHING", place)
            rows = self._database.rows("SELECT id FROM gpu WHERE uuid = ? AND host = ? AND model = ?", place)
            self._gpus[place] = int(rows[0][0])
        return self._gpus[place]

    def _payer(self, part: JobPart, groups: Sequence[str], model: str, host: str) -> int:
        """Return the number of what a day's sum is kept for: an owner that is not a job, or a combination of groups."""
        owner = part.job if part.job.startswith(NOT_A_JOB) else ""
        place = owner, host, model, *groups
        if place not in self._payers:
            names = ["owner", "host", "model", *(f'"{name}"' for name in GROUPS)]
            self._database.do(
                f"INSERT INTO payer({', '.join(names)}) VALUES({', '.join('?' * len(names))}) ON CONFLICT DO NOTHING",
                place,
            )
            where = " AND ".join(f"{name} = ?" for name in names)
            self._payers[place] = int(self._database.rows(f"SELECT id FROM payer WHERE {where}", place)[0][0])
        return self._payers[place]


class _Added:
    """What parts add to their job."""

    def __init__(self) -> None:
        self.sums: tuple[int | float, ...] = _NOTHING
        self.peak_mw, self.edges, self.method, self.flags = 0, 0, 0, 0

    def add(self, part: JobPart, sums: Sequence[int | float]) -> None:
        self.sums = tuple(a + b for a, b in zip(self.sums, sums, strict=True))
        self.peak_mw, self.edges = max(self.peak_mw, part.peak_mw), self.edges + part.edges
        self.method, self.flags = self.method | part.method, self.flags | part.flags


class _Days:
    """What parts add to the sums of days."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, int], tuple[int | float, ...]] = {}

    def add(self, part: JobPart, payer: int, sign: int = 1) -> None:
        for day, of_day in by_day(part):
            before = self._sums.get((day, payer), _NOTHING)
            self._sums[day, payer] = tuple(a + sign * b for a, b in zip(before, sums_of(of_day), strict=True))

    def write(self, database: SqlDatabase) -> None:
        places = sorted(self._sums)
        database.each_do("INSERT INTO day(day, payer) VALUES(?, ?) ON CONFLICT DO NOTHING", places)
        database.each_do(
            f"UPDATE day SET {_ADDED} WHERE day = ? AND payer = ?", [(*self._sums[place], *place) for place in places]
        )


def sums_of(part: JobPart) -> tuple[int | float, ...]:
    """Return what of a part adds up, in the order of `schema.SUMS`."""
    doubt = part.doubt
    return (
        *split_hnj(part.static_hnj), *split_hnj(part.dynamic_hnj), part.active_us, part.held_us,
        doubt.gain_j, doubt.split_j, doubt.idle_j, doubt.unread_j, doubt.squares_j2,
    )  # fmt: skip


def by_day(part: JobPart) -> Iterator[tuple[int, JobPart]]:
    """Take a part apart at UTC midnights, evenly over its time; what is whole adds up to it exactly.

    Yields
    ------
    (int, JobPart)
        The day, counted since 1970, and what of the part lies in it.
    """
    first, last = part.from_us // DAY_US, max(part.to_us - 1, part.from_us) // DAY_US
    for day in range(first, last + 1):
        yield day, within(part, day * DAY_US, (day + 1) * DAY_US)


def within(part: JobPart, from_us: int, to_us: int) -> JobPart:
    """Return what of a part was used in a stretch of time, as if it had been used evenly.

    Stretches that follow each other have parts that add up: each edge is rounded once.
    """
    begin, end, length = max(part.from_us, from_us), min(part.to_us, to_us), part.to_us - part.from_us
    if (begin, end) == (part.from_us, part.to_us):
        return part

    def between(value: int) -> int:
        return value * (end - part.from_us) // length - value * (begin - part.from_us) // length

    share, doubt = (end - begin) / length, part.doubt
    return replace(
        part,
        from_us=begin,
        to_us=end,
        static_hnj=between(part.static_hnj),
        dynamic_hnj=between(part.dynamic_hnj),
        active_us=between(part.active_us),
        held_us=between(part.held_us),
        doubt=Doubt(
            doubt.gain_j * share, doubt.split_j * share, doubt.idle_j * share, doubt.unread_j * share,
            doubt.squares_j2 * share,
        ),
    )  # fmt: skip
