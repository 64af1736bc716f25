"""What callers that are in no job used: of their user's energy the part of the processes that they started.

A user's programs outside of jobs share one owner where they have one name: all that are called ``python`` are
``user:1000/python``. So such a caller is not told what its owner used, but what it used itself, and the processes that
it started, as far as they are billed to its own user. How that is found changes no bill: it divides what was booked.

What an owner's processes on a GPU used together is divided as the GPU is among owners (`kernels.billing.split`): up to
idle power by the time that each was there, above by activity. The parts sum to the owner's energy exactly.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from wattshed.agent.accounts.uncertainty import idle_sigma_mw, split_spread
from wattshed.agent.window import MISSING, Owner, uid_of
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.ledger import GpuKey, Line
    from wattshed.agent.jobs.ancestry import Lineage
    from wattshed.agent.jobs.processes import Process
    from wattshed.agent.jobs.uses import ProcessUse
    from wattshed.agent.window import JobKey, Window

MOST_FOLLOWED, MOST_OF_A_USER = 1024, 128
"""Callers outside of jobs whose part is kept, as long as they live."""
KEPT_WINDOWS = 128
LOOKED = 16
"""Of so many callers it is looked in each window whether they live."""
MOST_STARTED = 10_000
"""Processes on GPUs of which it is remembered who started them."""
WHOLE = 1_000_000

CallerKey: TypeAlias = tuple[str, int, int]


class Parents(Protocol):
    """Who knows who started a process: `agent.jobs.ancestry.Ancestry`."""

    def of(self, process: Process) -> tuple[Lineage, ...]:
        """Return a process and those who started it."""

    def lives(self, one: Lineage) -> bool:
        """Return whether this process is there."""


class OwnPart(NamedTuple):
    """What a caller's processes used of a GPU so far, and one sigma of how it was divided (J), which adds up."""

    energy_hnj: int = 0
    doubt_j: float = 0.0


@dataclass(slots=True)
class _Followed:
    lineage: Lineage
    uid: int
    since_us: int
    parts: dict[GpuKey, OwnPart] = field(default_factory=dict)


class _Booked(NamedTuple):
    """What an owner used of a GPU by a time, and one sigma of how that was found, hnj."""

    known_us: int
    static_hnj: int
    dynamic_hnj: int
    doubt_hnj: int

    @classmethod
    def of(cls, line: Line, known_us: int) -> _Booked:
        doubt_hnj = line.split_hnj + abs(line.idle_hnj) + line.untold_hnj
        return cls(known_us, line.static_hnj, line.dynamic_hnj, doubt_hnj)


class _Weight(NamedTuple):
    live_us: int = 0
    sm_us: int = 0


class _WindowUses(NamedTuple):
    start_us: int
    end_us: int
    weights: Mapping[tuple[str, JobKey], Mapping[CallerKey, _Weight]]
    owners: Mapping[JobKey, Owner]


class OwnParts:
    """Keeps the parts of callers. Only the loop calls it.

    Parameters
    ----------
    parents : Parents
    """

    def __init__(self, parents: Parents) -> None:
        self._parents = parents
        self._followed: dict[CallerKey, _Followed] = {}
        self._started: dict[CallerKey, frozenset[Lineage]] = {}  # who started the processes on GPUs
        self._windows: deque[_WindowUses] = deque(maxlen=KEPT_WINDOWS)
        self._booked: dict[tuple[JobKey, GpuKey], _Booked] | None = None  # what was booked before this agent began
        self._known_us: Mapping[GpuKey, int] = {}

    def __bool__(self) -> bool:
        return bool(self._followed)

    def follow(self, process: Process, owner: Owner, asked_us: int) -> bool:
        """Keep the part of a caller from when it asked first, as long as it lives; False if there are too many."""
        if process.key in self._followed:
            return True
        uid = uid_of(owner.labels.get("uid", ""))
        of_user = sum(one.uid == uid for one in self._followed.values())
        if uid == MISSING or of_user >= MOST_OF_A_USER or len(self._followed) >= MOST_FOLLOWED:
            return False
        self._followed[process.key] = _Followed(self._parents.of(process)[0], uid, asked_us)
        return True

    def see(self, window: Window, uses: Iterable[ProcessUse]) -> None:
        """Note what processes did in a window, and who started them; forget callers that have ended."""
        for caller in list(islice(self._followed, LOOKED)):
            one = self._followed.pop(caller)
            if self._parents.lives(one.lineage):
                self._followed[caller] = one  # behind all others
        weights: dict[tuple[str, JobKey], dict[CallerKey, _Weight]] = {}
        owners = {}
        for use in uses:
            key = use.process.key
            if key not in self._started:
                self._started[key] = frozenset(self._parents.of(use.process))
                if len(self._started) > MOST_STARTED:
                    del self._started[next(iter(self._started))]
            owners[use.owner.key] = use.owner
            of_owner = weights.setdefault((use.gpu, use.owner.key), {})
            live_us, sm_us = of_owner.get(key, _Weight())
            of_owner[key] = _Weight(live_us + use.live_us, sm_us + max(use.sm_us, 0))
        self._windows.append(_WindowUses(window.start_us, window.end_us, weights, owners))

    def owner_of(self, key: CallerKey) -> Owner | None:
        """Return whose the processes are that a caller started, in the last window; None if not one's alone."""
        one, last = self._followed.get(key), self._windows[-1] if self._windows else None
        if one is None or last is None:
            return None
        found = {
            owner
            for (_, owner), weights in last.weights.items()
            if _uid(last.owners[owner]) == one.uid and any(self._is_of(one, process) for process in weights)
        }
        return last.owners[found.pop()] if len(found) == 1 else None

    def book(self, accounts: Accounts, now_us: int) -> Mapping[CallerKey, tuple[int, Mapping[GpuKey, OwnPart]]]:
        """Divide what owners used since the last time; returns since when each caller is followed, and its parts."""
        known_us, last = accounts.known_us(now_us), self._booked
        booked: dict[tuple[JobKey, GpuKey], _Booked] = {}
        for job in accounts.ledger.jobs.values():
            for gpu, line in job.lines.items():
                before = None if last is None else last.get((job.key, gpu))
                now = _Booked.of(line, known_us.get(gpu, 0))
                if before is not None and now.known_us <= before.known_us:
                    now = before
                elif self._followed and last is not None:
                    since = before or _Booked(self._known_us.get(gpu, now.known_us), 0, 0, 0)
                    self._divide(job.key, gpu, accounts.gpus[gpu], since, now)
                booked[job.key, gpu] = now
        self._booked, self._known_us = booked, known_us
        if not self._followed:
            self._windows.clear()
        return {key: (one.since_us, one.parts) for key, one in self._followed.items()}

    def _divide(self, owner: JobKey, gpu: GpuKey, account: GpuAccount, before: _Booked, now: _Booked) -> None:
        """Give callers their parts of what an owner used of a GPU between two times."""
        uid, weights = self._weights(owner, gpu.gpu, before.known_us, now.known_us)
        callers = [one for one in self._followed.values() if one.uid == uid]
        if not callers or not weights:
            return
        static_hnj, dynamic_hnj = now.static_hnj - before.static_hnj, now.dynamic_hnj - before.dynamic_hnj
        active = any(weight.sm_us for weight in weights.values())
        static = _portions(static_hnj, {key: weight.live_us for key, weight in weights.items()})
        dynamic = _portions(
            dynamic_hnj, {key: weight.sm_us if active else weight.live_us for key, weight in weights.items()}
        )
        resting = _portions(WHOLE, {key: weight.live_us for key, weight in weights.items()})
        moved_j = (now.known_us - before.known_us) * idle_sigma_mw(account.device) / 1e9
        for one in callers:
            mine = [key for key in weights if self._is_of(one, key)]
            if not mine:
                continue
            hnj = sum(static[key] + dynamic[key] for key in mine)
            used = sum(dynamic[key] for key in mine)
            others = [part for key, part in dynamic.items() if key not in mine]
            doubt_hnj = _doubt(used, others, split_spread(account.device) if active else None)
            if static_hnj + dynamic_hnj > 0:
                doubt_hnj += (now.doubt_hnj - before.doubt_hnj) * hnj / (static_hnj + dynamic_hnj)
            live = sum(resting[key] for key in mine) / WHOLE
            # What idle power is too low by was divided by activity, and not by time.
            idle_j = moved_j * abs(live - used / dynamic_hnj) if dynamic_hnj > 0 else 0.0
            so_far = one.parts.get(gpu, OwnPart())
            one.parts[gpu] = OwnPart(
                so_far.energy_hnj + hnj, so_far.doubt_j + max(0.0, doubt_hnj) / HNJ_PER_JOULE + idle_j
            )

    def _weights(self, owner: JobKey, gpu: str, start_us: int, end_us: int) -> tuple[int, dict[CallerKey, _Weight]]:
        """Return the user of an owner, and what its processes on a GPU did in a time, or when they were seen last."""
        windows = [window for window in self._windows if (gpu, owner) in window.weights]
        then = [window for window in windows if window.start_us < end_us and window.end_us > start_us]
        total: dict[CallerKey, _Weight] = {}
        for window in then or windows[-1:]:
            length_us = window.end_us - window.start_us
            over_us = min(end_us, window.end_us) - max(start_us, window.start_us) if then else length_us
            for key, weight in window.weights[gpu, owner].items():
                live_us, sm_us = (amount * over_us // max(1, length_us) for amount in weight)
                before = total.get(key, _Weight())
                total[key] = _Weight(before.live_us + live_us, before.sm_us + sm_us)
        return (_uid(windows[-1].owners[owner]) if windows else MISSING), dict(sorted(total.items()))

    def _is_of(self, one: _Followed, process: CallerKey) -> bool:
        return one.lineage in self._started.get(process, ())


def _uid(owner: Owner) -> int:
    return uid_of(owner.labels.get("uid", ""))


def _portions(amount: int, weights: Mapping[CallerKey, int]) -> dict[CallerKey, int]:
    """Divide a whole number in proportion; the parts sum to it. Without any weight all are alike."""
    total = sum(weights.values())
    weights = weights if total else dict.fromkeys(weights, 1)
    total = total or len(weights)
    parts, so_far, given = {}, 0, 0
    for key, weight in weights.items():
        so_far += weight
        parts[key], given = amount * so_far // total - given, amount * so_far // total
    return parts


def _doubt(mine: int, others: Sequence[int], spread: float | None) -> float:
    """Return one sigma (hnj) of a part of dynamic energy, as `kernels.billing.doubt` has it for owners.

    Parameters
    ----------
    mine : int, hnj
    others : sequence of int, hnj
    spread : float or None
        Relative standard deviation of watts per activity; None: it was not divided by activity.
    """
    total = mine + sum(others)
    if total <= 0:
        return 0.0
    share = mine / total
    if spread is None:
        return total * math.sqrt(max(0.0, share * (1 - share)) / 3)
    return spread * mine * math.sqrt((1 - share) ** 2 + sum((part / total) ** 2 for part in others))
