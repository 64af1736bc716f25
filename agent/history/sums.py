"""Parts go into their table, and into the sums of their jobs and days."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.history.numbers import Numbers
from wattshed.agent.history.schema import COUNTS, DOUBTS, GROUPS, SUMS
from wattshed.agent.wire.parts import Doubt, JobPart, split_hnj

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wattshed.agent.history.job_rows import NumberedJob
    from wattshed.agent.history.sql import SqlDatabase

DAY_US = 86_400_000_000
NOT_A_JOB = "_"
"""Owners that are not jobs begin with it; each has a place of its own in the sums of days."""
PAYER = ("owner", "host", "model", *(f'"{name}"' for name in GROUPS))
"""Columns of what a day's sum is kept for."""
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
        self._gpus = Numbers(database, "gpu", ("uuid", "host", "model"))
        self._payers = Numbers(database, "payer", PAYER)

    def forget(self) -> None:
        """Forget numbers that were looked up: they may never have been written."""
        self._gpus.forget()
        self._payers.forget()

    def insert(self, store: int, parts: Sequence[tuple[JobPart, NumberedJob]], models: Mapping[str, str]) -> None:
        """Insert parts, each with its job, and add them to the sums."""
        gpus = [(part.gpu, self._host, models.get(part.gpu, "")) for part, _ in parts]
        payers = [payer(part, job.groups, gpu[2], self._host) for (part, job), gpu in zip(parts, gpus, strict=True)]
        number_of, paid_by = self._gpus.of(gpus), self._payers.of(payers)
        jobs: dict[int, _Added] = defaultdict(_Added)
        rows, days = [], _Days()
        for (part, job), gpu, who in zip(parts, gpus, payers, strict=True):
            sums = sums_of(part)
            rows.append(
                (
                    store, part.seq, job.number, number_of[gpu], part.from_us, part.to_us, part.peak_mw, part.edges,
                    part.method, part.flags, *sums, part.covered_us, *(part.watts_mw or (None, None)),
                )
            )  # fmt: skip
            jobs[job.number].add(part, sums)
            days.add(part, paid_by[who])
        self._database.each_do(f"INSERT INTO part VALUES({', '.join('?' * (13 + len(SUMS)))})", rows)
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
        moved = [(part, payer(part, before, model, host), payer(part, after, model, host)) for part, model in parts]
        paid_by = self._payers.of(who for _, *both in moved for who in both)
        days = _Days()
        for part, was, now in moved:
            days.add(part, paid_by[was], -1)
            days.add(part, paid_by[now])
        days.write(self._database)


def payer(part: JobPart, groups: Sequence[str], model: str, host: str) -> tuple[str, ...]:
    """Return what a day's sum is kept for, as `PAYER`: an owner that is not a job, or a combination of groups."""
    return part.job if part.job.startswith(NOT_A_JOB) else "", host, model, *groups


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
        covered_us=None if part.covered_us is None else between(part.covered_us),
        doubt=Doubt(
            doubt.gain_j * share, doubt.split_j * share, doubt.idle_j * share, doubt.unread_j * share,
            doubt.squares_j2 * share,
        ),
    )  # fmt: skip
