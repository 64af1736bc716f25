"""What the accounts keep of one host between two windows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattshed.agent.accounts import silence
from wattshed.agent.accounts.holding import Holding
from wattshed.agent.accounts.joining import joined
from wattshed.agent.accounts.late_holes import LateHoles
from wattshed.agent.accounts.limits import NO_LIMITS, DeviceLimits
from wattshed.agent.accounts.pending_usage import NO_PENDING_USAGE, ActivityShare, PendingUsage
from wattshed.agent.accounts.restart import go_on
from wattshed.kernels.billing.layout import GpuState
from wattshed.kernels.billing.reconcile import new_state
from wattshed.kernels.records import objects, of_objects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.hole import Hole
    from wattshed.agent.accounts.late_holes import LateHole
    from wattshed.agent.accounts.ledger import GpuKey
    from wattshed.agent.accounts.watts import HostLearning
    from wattshed.agent.window import Device


class GpuBooks(NamedTuple):
    """What outlives a restart of one GPU's accounts: ``waiting`` is usage whose energy is not booked.

    ``watts`` is what was learned of its jobs' watts, as `agent.accounts.watts.HostLearning.plain` lays it out; from a
    file it may be anything.
    """

    account: GpuAccount
    state: GpuState
    hole: Hole
    late: LateHole | None
    waiting: PendingUsage
    watts: tuple[Any, Any] | None = None


@dataclass(slots=True)
class HostAccounts:
    """One host's accounts: of the GPUs that are here, and after them of those that are away.

    Attributes
    ----------
    devices : tuple of Device
        That are here.
    keys : list of GpuKey
        Of all.
    limits : DeviceLimits
    state : kernels.billing.layout.GPU_STATE[g]
        Where reconciling counter and power stands.
    waiting : PendingUsage
        Usage whose energy is not booked yet.
    activity_share : ActivityShare
    holding : Holding
    late : LateHoles
        Booked, and not split yet.
    watts : HostLearning or None
        What each job draws, if that is learned.
    end_us : int, us
        Of the last window.
    """

    devices: tuple[Device, ...] = ()
    keys: list[GpuKey] = field(default_factory=list)
    limits: DeviceLimits = NO_LIMITS
    state: NDArray[np.void] = field(default_factory=lambda: new_state(0))
    waiting: PendingUsage = NO_PENDING_USAGE
    activity_share: ActivityShare = field(default_factory=ActivityShare)
    holding: Holding = field(default_factory=Holding)
    late: LateHoles = field(default_factory=LateHoles)
    watts: HostLearning | None = None
    end_us: int = 0

    @property
    def is_nobodys(self) -> bool:
        """Whether nobody is known to have used a GPU whose energy is not booked yet, nor just before."""
        return not (len(self.waiting.gpu) or self.holding.knows_anybody)

    def goes_on_at(self, start_us: int) -> bool:
        """Whether a run with owners may begin: a window follows the last one, and nothing is to be decided later."""
        waiting = self.waiting
        plain = bool((waiting.live >= 0).all() and (waiting.activity_ppm < 0).all())
        return plain and not self.late.wait and self.holding.goes_on_at(start_us)

    def books(self, accounts: Mapping[GpuKey, GpuAccount]) -> list[GpuBooks]:
        """Return all of them, GPU by GPU."""
        waiting = self.waiting
        if np.any(waiting.gpu[1:] < waiting.gpu[:-1]):
            waiting = waiting.keep(np.argsort(waiting.gpu, kind="stable"))
        bounds = np.searchsorted(waiting.gpu, np.arange(len(self.keys) + 1)).tolist()
        return [
            GpuBooks(
                accounts[key],
                state,
                self.holding.of(i),
                self.late.of(key),
                waiting.keep(slice(bounds[i], bounds[i + 1])),
                self.watts.plain(i) if self.watts is not None else None,
            )
            for i, (key, state) in enumerate(zip(self.keys, objects(self.state, GpuState), strict=True))
        ]

    def restore(self, key: GpuKey, books: GpuBooks) -> str:
        """Take over the accounts of one more GPU; return why its watts are learned anew, empty: they are not."""
        why = ""
        self.holding.restore(len(self.keys), books.hole)
        if books.late is not None:
            self.late.restore(key, books.late)
        if books.watts is not None and self.watts is not None:
            why = self.watts.restore(len(self.keys), *books.watts)
        self.keys.append(key)
        self.state = np.concatenate([self.state, of_objects([books.state], GpuState)])
        self.waiting = self.waiting.followed_by(books.waiting)
        return why

    def arrange(self, here: Sequence[GpuKey]) -> None:
        """Put those first that are here, in this order; the accounts of those that are away stay, behind them."""
        keys = [*here, *(key for key in self.keys if key not in set(here))]
        if keys == self.keys:
            return
        place = {key: i for i, key in enumerate(keys)}
        moved = {i: place[key] for i, key in enumerate(self.keys)}
        state = new_state(len(keys))
        state[list(moved.values())] = self.state
        self.waiting = self.waiting.moved(moved)
        self.holding.moved(moved)
        self.activity_share.moved(moved)
        if self.watts is not None:
            self.watts.arrange(moved, len(keys))
        self.keys, self.state = keys, state

    def wait(self, rows: PendingUsage, now_us: int) -> None:
        """Keep the usage whose energy is not booked yet; of a GPU that was never read none will be."""
        if len(rows.gpu):
            rows = rows.keep(rows.end_us > self.known_us(now_us)[rows.gpu]).only_named_owners()
            rows = joined(rows, now_us, self.holding.since_us(len(self.keys), now_us))
        self.waiting = rows

    def follow_silence(self, accounts: Sequence[GpuAccount], before: NDArray[np.bool_], end_us: int) -> None:
        """Take note of who is not read at the end of a window; ``before`` is what `silence.untold` said before it."""
        silence.follow(accounts, self.state, before, self.limits.max_gap_us, end_us)
        self.end_us = end_us

    def known_us(self, now_us: int) -> NDArray[np.int64]:
        """Return until when (us) the energy of each GPU is booked and split: until now where it was never read."""
        booked_us = self.state["booked_us"]
        return self.late.split_until(self.keys, np.where(booked_us < 0, now_us, booked_us))

    def restart(self, start_us: int, *, same_boot: bool) -> None:
        """Continue after the agent was down, with the window that begins at ``start_us``."""
        self.activity_share = ActivityShare()
        go_on(self.state, start_us, same_boot=same_boot)
        self.holding.restart(len(self.keys), start_us, same_boot=same_boot)
        self.waiting = self.waiting.until(start_us - 1) if same_boot else NO_PENDING_USAGE
