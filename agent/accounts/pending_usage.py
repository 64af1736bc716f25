"""Who was on a GPU when: usage rows, waiting until the energy of their time is booked."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.window import MISSING, JobKey, Owner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.window import Window

PPM = 1_000_000
SHARE_WINDOWS = 30


class ActivityShare:
    """How much of each GPU's busy time the known activities explain, over the last half minute or so.

    The driver averages utilisation over one stretch and the activity of processes over another, so that within
    one second they may differ by half although nothing is missing; over many seconds they agree.
    """

    def __init__(self) -> None:
        self._past: dict[int, _Past] = {}

    def busy_us(self, window: Window) -> NDArray[np.int64]:
        """Return each GPU's busy time in this window as its activities and the share so far imply it.

        Returns
        -------
        int64[g], us
            -1 where the activities of those present, or the GPU's own, are not known.
        """
        usage = window.usage
        busy = np.full(len(window.devices), -1, np.int64)
        active: dict[int, int] = {}
        rows = zip(usage.gpu.tolist(), usage.live.tolist(), usage.activity_us.tolist(), strict=True)
        for gpu, live, activity in rows:
            if live:
                so_far = active.get(gpu, 0)
                active[gpu] = so_far + activity if so_far >= 0 <= activity else MISSING
        for gpu, used in enumerate(window.busy_us.tolist()):
            activity = active.get(gpu, MISSING)
            if used < 0 or activity < 0:
                self._past.pop(gpu, None)
                continue
            past = self._past.setdefault(gpu, _Past())
            past.add(activity, used)
            busy[gpu] = activity * past.whole // past.known if past.known else 0
        return busy

    def moved(self, place: Mapping[int, int]) -> None:
        """Renumber the GPUs by ``place`` (old to new)."""
        self._past = {place[gpu]: past for gpu, past in self._past.items()}


class _Past:
    """The last windows of one GPU: activities that were known, and how busy it was, with their sums."""

    def __init__(self) -> None:
        self._windows: deque[tuple[int, int]] = deque()
        self.known = self.whole = 0

    def add(self, known: int, whole: int) -> None:
        """Add a window; the oldest is forgotten."""
        self._windows.append((known, whole))
        self.known, self.whole = self.known + known, self.whole + whole
        if len(self._windows) > SHARE_WINDOWS:
            known, whole = self._windows.popleft()
            self.known, self.whole = self.known - known, self.whole - whole


def _unseen(window: Window) -> NDArray[np.bool_]:
    """Find the rows of several owners who hold a whole GPU between them, and whose driver reports no processes.

    That nobody was seen on it says nothing then: one of them drew what was drawn, and sigma has to hold how much.

    Returns
    -------
    bool[m]
    """
    usage = window.usage
    unseen = np.zeros(len(usage.gpu), bool)
    for gpu, device in enumerate(window.devices):
        if not device.capabilities.get("processes"):
            continue
        mine = np.flatnonzero(usage.gpu == gpu)
        shares = dict(zip(usage.owner[mine].tolist(), usage.share_ppm[mine].tolist(), strict=True))
        whole = sum(share if share >= 0 else PPM for share in shares.values()) >= PPM
        unseen[mine] = whole and len(shares) > 1 and not usage.live[mine].any()
    return unseen


COLUMNS = (
    "gpu", "owner", "start_us", "end_us", "activity_ppm", "live", "tensor_ppm", "dram_ppm", "busy_ppm", "share_ppm",
)  # fmt: skip


class _Column:
    """Shows one column of `PendingUsage.table`."""

    def __init__(self, name: str) -> None:
        self._place = COLUMNS.index(name)

    def __get__(self, rows: PendingUsage, kind: type | None = None) -> NDArray[np.int64]:
        column: NDArray[np.int64] = rows.table[self._place]
        return column


@dataclass(frozen=True, slots=True)
class PendingUsage:
    """Usage rows of one host in the order the split wants: by GPU, then by the owner's key.

    The columns are rows of one table, so that whatever is done to all of them is done at once.

    Attributes
    ----------
    owners : tuple of Owner
    table : int64[10, m]
        The columns, in the order of `COLUMNS`:
        ``gpu`` and ``owner`` are places in the devices and in ``owners``; ``start_us`` and ``end_us``, us;
        ``activity_ppm``, millionths of the GPU, a rate, so that a row may be cut anywhere, -1 unknown; ``live``;
        ``tensor_ppm`` and ``dram_ppm``, rates of its tensor cores and memory, of rows of which both are known (under
        MIG), else -1; ``busy_ppm``, how busy the GPU was with anything, -1 unknown; ``share_ppm``.
    """

    owners: tuple[Owner, ...]
    table: NDArray[np.int64]

    gpu = _Column("gpu")
    owner = _Column("owner")
    start_us = _Column("start_us")
    end_us = _Column("end_us")
    activity_ppm = _Column("activity_ppm")
    live = _Column("live")
    tensor_ppm = _Column("tensor_ppm")
    dram_ppm = _Column("dram_ppm")
    busy_ppm = _Column("busy_ppm")
    share_ppm = _Column("share_ppm")

    @classmethod
    def of(cls, window: Window, busy_us: NDArray[np.int64]) -> PendingUsage:
        """Take a window's usage; activities become rates, so that a row may be cut anywhere.

        Parameters
        ----------
        window : Window
        busy_us : int64[g], us
            From `ActivityShare.busy_us`.
        """
        usage, unseen = window.usage, _unseen(window)
        span = np.maximum(usage.end_us - usage.start_us, 1)
        rate = np.where((usage.activity_us >= 0) & ~unseen, np.minimum(usage.activity_us, span) * PPM // span, -1)
        busy = busy_us[usage.gpu] if len(usage.gpu) else _NONE
        length = max(window.end_us - window.start_us, 1)
        tensor = _rates(usage.tensor_us, span)
        # Of processes that take turns the driver tells for how long memory was busy, which is another thing than
        # GPM's and is not learned from (docs/decisions/1098).
        dram = np.where(tensor >= 0, _rates(usage.dram_us, span), -1)
        return cls(
            window.owners,
            _table(
                usage.gpu, usage.owner, usage.start_us, usage.end_us, rate, np.where(unseen, np.int8(1), usage.live),
                tensor, dram, np.where(busy >= 0, busy * PPM // length, -1), np.clip(usage.share_ppm, -1, PPM),
            ),
        )  # fmt: skip

    @classmethod
    def made(cls, rows: Sequence[tuple[int, Owner, int, int, int, int, int]]) -> PendingUsage:
        """Make it of tuples (gpu, owner, activity_ppm, share_ppm, live, start_us, end_us)."""
        if not rows:
            return NO_PENDING_USAGE
        gpu, owners, activity, share, live, start, end = zip(*rows, strict=True)
        unknown = np.full(len(rows), -1)
        columns = (gpu, np.arange(len(rows)), start, end, activity, live, unknown, unknown, unknown, share)
        return cls(tuple(owners), np.array(columns, np.int64))

    def plain(self) -> list[dict[str, Any]]:
        """Lay the rows out as plain values, by name; labels are the ledger's."""
        names = (*_SAVED, *(name for name in _FEATURES if (getattr(self, name) >= 0).any()))
        rows = zip(self.owner.tolist(), *(getattr(self, name).tolist() for name in names), strict=True)
        return [{"key": self.owners[place].key, **dict(zip(names, values, strict=True))} for place, *values in rows]

    @classmethod
    def of_plain(cls, gpu: int, rows: Sequence[Mapping[str, Any]]) -> PendingUsage:
        """Make it of one GPU's rows, as `plain` laid them out."""
        if not rows:
            return NO_PENDING_USAGE
        owners = tuple(Owner(JobKey(str(row["key"]))) for row in rows)
        given = {"gpu": [gpu] * len(rows), "owner": range(len(rows))}
        given |= {name: [row[name] for row in rows] for name in _SAVED}
        given |= {name: [row.get(name, -1) for row in rows] for name in _FEATURES}
        return cls(owners, np.array([given[name] for name in COLUMNS], np.int64))

    def key(self, row: int) -> JobKey:
        """Return the key of a row's owner."""
        return self.owners[int(self.owner[row])].key

    def stretches(self, gpu: int, key: JobKey) -> list[tuple[int, int]]:
        """Return one owner's time on one GPU."""
        mine = [row for row in np.flatnonzero(self.gpu == gpu).tolist() if self.key(row) == key]
        return [(int(self.start_us[row]), int(self.end_us[row])) for row in mine]

    def until(self, end_us: int) -> PendingUsage:
        """Cut off what lies after a moment."""
        cut = self.but(end_us=np.minimum(self.end_us, end_us))
        return cut.keep(cut.start_us < cut.end_us)

    def keep(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> PendingUsage:
        """Return the rows at a mask, at places or in a stretch, in that order."""
        if isinstance(which, slice):
            return PendingUsage(self.owners, self.table[:, which])
        if which.dtype == np.bool_:
            return PendingUsage(self.owners, self.table.compress(which, axis=1))
        return PendingUsage(self.owners, self.table.take(which, axis=1))

    def but(self, **columns: NDArray[np.integer[Any]]) -> PendingUsage:
        """Return the rows with other columns, by their names."""
        table = self.table.copy()
        for name, column in columns.items():
            table[COLUMNS.index(name)] = column
        return PendingUsage(self.owners, table)

    def followed_by(self, later: PendingUsage) -> PendingUsage:
        """Join with later rows, in the split's order."""
        return PendingUsage.all_of([self, later])

    @classmethod
    def all_of(cls, parts: Sequence[PendingUsage]) -> PendingUsage:
        """Join rows, in the split's order."""
        some = [part for part in parts if len(part.gpu)]
        if not some:
            return parts[-1]
        both = some[0]
        if len(some) > 1:
            places = np.cumsum([0, *(len(part.owners) for part in some)]).tolist()
            table = np.concatenate([part.table for part in some], axis=1)
            owner = np.concatenate([part.owner + place for part, place in zip(some, places, strict=False)])
            both = cls(tuple(owner for part in some for owner in part.owners), table).but(owner=owner)
        if len(both.gpu) < 2:
            return both
        rank = {key: place for place, key in enumerate(sorted({owner.key for owner in both.owners}))}
        ranks = np.array([rank[owner.key] for owner in both.owners], np.int64)[both.owner]
        return both.keep(np.lexsort((both.start_us, ranks, both.gpu)))

    def whose(self) -> NDArray[np.int64]:
        """Return a number for each row's owner: rows of one key have the same (int64[m])."""
        number: dict[JobKey, int] = {}
        of_place = [number.setdefault(owner.key, len(number)) for owner in self.owners]
        return np.array(of_place, np.int64)[self.owner]

    def only_named_owners(self) -> PendingUsage:
        """Drop owners that no row names any more, so that what waits does not grow."""
        if len(set(self.owner.tolist())) == len(self.owners):
            return self
        used, owner = np.unique(self.owner, return_inverse=True)
        return replace(self.but(owner=owner), owners=tuple(self.owners[i] for i in used))

    def renamed(self, keys: Mapping[JobKey, JobKey]) -> PendingUsage:
        """Give owners their new keys (old to new)."""
        if not any(owner.key in keys for owner in self.owners):
            return self
        return replace(self, owners=tuple(replace(o, key=keys.get(o.key, o.key)) for o in self.owners))

    def moved(self, place: Mapping[int, int]) -> PendingUsage:
        """Renumber the GPUs by ``place`` (old to new); rows on GPUs that are gone are dropped."""
        if not len(self.gpu):
            return self
        kept = self.keep(np.isin(self.gpu, list(place)))
        moved = kept.but(gpu=np.array([place[gpu] for gpu in kept.gpu.tolist()], np.int64))
        return PendingUsage.all_of([moved])  # in the split's order again


_SAVED = ("start_us", "end_us", "activity_ppm", "busy_ppm", "share_ppm", "live")
_FEATURES = ("tensor_ppm", "dram_ppm")
"""Saved where any is known."""
_NONE = np.empty(0, np.int64)


def _rates(amount_us: NDArray[np.int64], span_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return amounts as millionths of their spans; -1 where they are not known, or none is."""
    if not len(amount_us):
        return np.full(len(span_us), -1, np.int64)
    return np.where(amount_us >= 0, np.minimum(amount_us, span_us) * PPM // span_us, -1)


def _table(*columns: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Put columns in a table."""
    table = np.empty((len(columns), len(columns[0])), np.int64)
    for row, column in zip(table, columns, strict=True):
        row[:] = column
    return table


NO_PENDING_USAGE = PendingUsage((), np.empty((len(COLUMNS), 0), np.int64))
