"""Which rows of single hosts are one run of a job.

A job of a cluster's scheduler runs on many hosts, and each host knows its own share. They are one run if they are of
one cluster and overlap, or follow each other closely. What is one run depends on what is known of the job and not on
the order in which it came to be known; everything that is not a scheduler's job stays apart by host.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MERGED = ("slurm:", "oar:")
"""What keys of jobs begin with whose number means the same job on every host of a cluster."""
GAP_US = 900_000_000
"""A number that no host had for so long is another job's, or another run."""


@dataclass(frozen=True, slots=True)
class HostRow:
    """A job on one host.

    Attributes
    ----------
    number : int
        Of its row.
    key, host : str
    run_us, start_us, end_us : int, us
        The end is -1 while it runs.
    uid : int
        -1 if it is not known.
    labels : mapping of str to str
    """

    number: int
    key: str
    host: str
    run_us: int
    start_us: int
    end_us: int = -1
    uid: int = -1
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """A job on all of its hosts.

    Attributes
    ----------
    rows : tuple of HostRow
        The earliest first.
    requeued : bool
    """

    rows: tuple[HostRow, ...]
    requeued: bool = False

    @property
    def first(self) -> HostRow:
        """The row that names it."""
        return self.rows[0]

    @property
    def end_us(self) -> int:
        """When the last host had it, us; -1 while one has it."""
        return -1 if any(row.end_us < 0 for row in self.rows) else max(row.end_us for row in self.rows)

    @property
    def uid(self) -> int:
        """Whose it is; -1 if no host knows, or if they do not agree: then only administrators may see it."""
        known = {row.uid for row in self.rows} - {-1}
        return known.pop() if len(known) == 1 else -1

    @property
    def labels(self) -> dict[str, str]:
        """What any host knows of it; where they do not agree, what the earliest says."""
        found: dict[str, str] = {}
        for row in reversed(self.rows):
            found |= {name: value for name, value in row.labels.items() if value}
        return found

    @property
    def expected(self) -> int | None:
        """On how many hosts the scheduler said that it runs."""
        told = [int(text) for row in self.rows if (text := row.labels.get("nodes", "")).isascii() and text.isdecimal()]
        return max(told, default=None)


@dataclass(slots=True)
class _Open:
    """A run that is being put together."""

    rows: list[HostRow]
    restart: str
    until_us: float
    requeued: bool = False

    def take(self, row: HostRow) -> None:
        self.requeued |= row.start_us > self.until_us
        self.rows.append(row)
        self.restart = self.restart or _restart(row)
        self.until_us = max(self.until_us, _until(row))


def runs(rows: Iterable[HostRow]) -> list[Run]:
    """Put rows together, the same whatever their order."""
    apart: dict[tuple[object, ...], list[HostRow]] = {}
    for row in sorted(rows, key=_order):
        merged = row.key.startswith(MERGED)
        cluster = row.labels.get("cluster", "")
        place = (row.key, cluster) if merged else (row.key, cluster, row.host, row.run_us)
        apart.setdefault(place, []).append(row)
    found = []
    for group in apart.values():
        found += _by_time(group) if group[0].key.startswith(MERGED) else [Run(tuple(group))]
    return found


def _by_time(rows: Iterable[HostRow]) -> list[Run]:
    """Take rows apart where none had the job for long, or where the scheduler counts another restart."""
    begun: list[_Open] = []
    for row in rows:
        restart = _restart(row)
        for one in reversed(begun):
            if row.start_us - one.until_us <= GAP_US and (not restart or not one.restart or restart == one.restart):
                one.take(row)
                break
        else:
            begun.append(_Open([row], restart, _until(row)))
    return [Run(tuple(one.rows), one.requeued) for one in begun]


def _order(row: HostRow) -> tuple[object, ...]:
    return row.key, row.start_us, row.run_us, row.host, _restart(row), _until(row), row.uid, sorted(row.labels.items())


def _until(row: HostRow) -> float:
    return row.end_us if row.end_us >= 0 else float("inf")


def _restart(row: HostRow) -> str:
    """Return which restart of a job the scheduler counted: none is the first, where it said anything; else unknown."""
    return row.labels.get("restart", "") or ("0" if "nodes" in row.labels else "")
