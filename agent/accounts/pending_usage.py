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


@dataclass(frozen=True, slots=True)
class PendingUsage:
    """Usage rows of one host in the order the split wants: by GPU, then by the owner's key.

    Attributes
    ----------
    owners : tuple of Owner
    gpu, owner : int64[m]
        Places in the devices and in ``owners``.
    start_us, end_us : int64[m], us
    activity_ppm, busy_ppm : int64[m], millionths of the GPU
        Rates, so that a row may be cut anywhere; -1 unknown.
    share_ppm : int64[m], millionths of the GPU
    live : int8[m]
    tensor_ppm, dram_ppm : int64[m], millionths of the GPU
        Rates of its tensor cores and memory, of rows of which both are known (under MIG); -1 unknown.
    """

    owners: tuple[Owner, ...]
    gpu: NDArray[np.int64]
    owner: NDArray[np.int64]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    activity_ppm: NDArray[np.int64]
    busy_ppm: NDArray[np.int64]
    share_ppm: NDArray[np.int64]
    live: NDArray[np.int8]
    tensor_ppm: NDArray[np.int64]
    dram_ppm: NDArray[np.int64]

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
        gpu = usage.gpu.astype(np.int64)
        busy = busy_us[gpu] if len(gpu) else np.empty(0, np.int64)
        length = max(window.end_us - window.start_us, 1)
        tensor = _rates(usage.tensor_us, span)
        return cls(
            window.owners,
            gpu,
            usage.owner.astype(np.int64),
            usage.start_us,
            usage.end_us,
            rate.astype(np.int64),
            np.where(busy >= 0, busy * PPM // length, -1).astype(np.int64),
            np.clip(usage.share_ppm, -1, PPM).astype(np.int64),
            np.where(unseen, np.int8(1), usage.live),
            tensor,
            # Of processes that take turns the driver tells for how long memory was busy, which is another thing than
            # GPM's and is not learned from (docs/decisions/1098).
            np.where(tensor >= 0, _rates(usage.dram_us, span), -1),
        )

    @classmethod
    def made(cls, rows: Sequence[tuple[int, Owner, int, int, int, int, int]]) -> PendingUsage:
        """Make it of tuples (gpu, owner, activity_ppm, share_ppm, live, start_us, end_us)."""
        if not rows:
            return NO_PENDING_USAGE
        gpu, owners, activity, share, live, start, end = zip(*rows, strict=True)
        column = [np.array(values, np.int64) for values in (gpu, start, end, activity, share)]
        return cls(
            tuple(owners), column[0], np.arange(len(rows)), column[1], column[2], column[3],
            np.full(len(rows), -1, np.int64), column[4], np.array(live, np.int8),
            *(np.full(len(rows), -1, np.int64) for _ in _FEATURES),
        )  # fmt: skip

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
        start, end, activity, busy, share, live = (np.array([row[name] for row in rows], np.int64) for name in _SAVED)
        owners = tuple(Owner(JobKey(str(row["key"]))) for row in rows)
        places = np.arange(len(rows))
        features = (np.array([row.get(name, -1) for row in rows], np.int64) for name in _FEATURES)
        return cls(
            owners, np.full(len(rows), gpu), places, start, end, activity, busy, share, live.astype(np.int8), *features
        )

    def key(self, row: int) -> JobKey:
        """Return the key of a row's owner."""
        return self.owners[int(self.owner[row])].key

    def stretches(self, gpu: int, key: JobKey) -> list[tuple[int, int]]:
        """Return one owner's time on one GPU."""
        mine = [row for row in np.flatnonzero(self.gpu == gpu).tolist() if self.key(row) == key]
        return [(int(self.start_us[row]), int(self.end_us[row])) for row in mine]

    def until(self, end_us: int) -> PendingUsage:
        """Cut off what lies after a moment."""
        cut = replace(self, end_us=np.minimum(self.end_us, end_us))
        return cut.keep(cut.start_us < cut.end_us)

    def keep(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> PendingUsage:
        """Return the rows at a mask, at places or in a stretch, in that order."""
        return PendingUsage(
            self.owners, self.gpu[which], self.owner[which], self.start_us[which], self.end_us[which],
            self.activity_ppm[which], self.busy_ppm[which], self.share_ppm[which], self.live[which],
            self.tensor_ppm[which], self.dram_ppm[which],
        )  # fmt: skip

    def features(self) -> NDArray[np.int64]:
        """Return the rates of tensor cores and memory, one above the other (int64[2, m])."""
        return np.array([self.tensor_ppm, self.dram_ppm])

    def at(self, start_us: NDArray[np.int64], end_us: NDArray[np.int64]) -> PendingUsage:
        """Return the rows with other times."""
        return replace(self, start_us=start_us, end_us=end_us)

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
            owners = [part.owner + place for part, place in zip(some, places, strict=False)]
            columns = [np.concatenate([getattr(part, name) for part in some]) for name in (*_SAVED, *_FEATURES)]
            gpu = np.concatenate([part.gpu for part in some])
            both = cls(tuple(owner for part in some for owner in part.owners), gpu, np.concatenate(owners), *columns)
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
        return replace(self, owners=tuple(self.owners[i] for i in used), owner=owner.astype(np.int64))

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
        return replace(kept, gpu=np.array([place[int(gpu)] for gpu in kept.gpu], np.int64))


_SAVED = ("start_us", "end_us", "activity_ppm", "busy_ppm", "share_ppm", "live")
_FEATURES = ("tensor_ppm", "dram_ppm")
"""Saved where any is known."""
_NONE = np.empty(0, np.int64)


def _rates(amount_us: NDArray[np.int64], span_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return amounts as millionths of their spans; -1 where they are not known, or none is."""
    if not len(amount_us):
        return np.full(len(span_us), -1, np.int64)
    return np.where(amount_us >= 0, np.minimum(amount_us, span_us) * PPM // span_us, -1)


NO_PENDING_USAGE = PendingUsage((), _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, np.empty(0, np.int8), _NONE, _NONE)
