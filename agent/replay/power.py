"""Power over time by owner, as a replay books it: in few steps however long the trace is."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from wattshed.agent.replay.points import at_steps
from wattshed.agent.window import IDLE, UNATTRIBUTED
from wattshed.exporters.snapshot import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.ledger import GpuKey
    from wattshed.agent.window import Window

MOST_STEPS = 1500
_LENGTHS_S = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21_600, 43_200)
"""Of a step; each is a multiple of the one before. Beyond them each is twice the one before."""
_HNJ_PER_US_W = HNJ_PER_JOULE // 1_000_000


class PowerOverTime:
    """Mean power of each owner in steps of time; where nothing was read there is no step.

    Steps are a second long at first. Where there are too many of them, some become one.

    Parameters
    ----------
    most : int
        How many steps there are, at most.
    """

    def __init__(self, most: int = MOST_STEPS) -> None:
        self.step_us = 1_000_000
        self._most = most
        self._hosts: dict[str, dict[int, dict[str, float]]] = {}

    def follow(self, accounts: Accounts) -> Follower:
        """Return what follows the accounts of one chain."""
        return Follower(self, accounts)

    def widen(self, span_us: int) -> None:
        """Make steps so long that a window of this length is not more of them than there may be."""
        while span_us > self._most * self.step_us:
            self._merge()

    def add(self, host: str, step: int, watts: dict[str, float]) -> None:
        """Note the power of a host's owners in a step."""
        steps = self._hosts.setdefault(host, {})
        steps[step] = watts
        if max(steps) - min(steps) >= self._most:
            self._merge()

    def _merge(self) -> None:
        """Make one step of some: its power is the mean of those that are known."""
        longer_us = next((1_000_000 * s for s in _LENGTHS_S if 1_000_000 * s > self.step_us), 2 * self.step_us)
        factor, self.step_us = longer_us // self.step_us, longer_us
        for host, steps in self._hosts.items():
            pairs: dict[int, list[dict[str, float]]] = defaultdict(list)
            for step, watts in steps.items():
                pairs[step // factor].append(watts)
            self._hosts[host] = {
                step: {name: sum(one.get(name, 0.0) for one in both) / len(both) for one in both for name in one}
                for step, both in pairs.items()
            }

    def steps(self) -> dict[int, dict[str, float]]:
        """Return the watts of each owner by step, in order of time; a step of which nothing is known is absent."""
        whole: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for steps in self._hosts.values():
            for step, watts in steps.items():
                for name, value in watts.items():
                    whole[step][name] += value
        return {step: dict(whole[step]) for step in sorted(whole)}


class Follower:
    """Sees what is booked of one chain, step by step.

    Parameters
    ----------
    over : PowerOverTime
    accounts : Accounts
        Of the chain.
    """

    def __init__(self, over: PowerOverTime, accounts: Accounts) -> None:
        self._over, self._accounts = over, accounts
        self._host, self._start_us = "", -1
        self._energy: dict[tuple[str, GpuKey], int] = {}
        self._time: dict[GpuKey, int] = {}

    def cut(self, window: Window) -> Iterator[Window]:
        """Yield a window in pieces that lie in one step each; whoever takes them books each before the next."""
        self._over.widen(window.end_us - window.start_us)
        for piece in at_steps(window, self._over.step_us):
            if piece.host != self._host or piece.start_us // self._over.step_us != self._start_us // self._over.step_us:
                self.take()
                self._host, self._start_us = piece.host, piece.start_us
            yield piece

    def take(self) -> None:
        """Note what was booked since the last time as the power of the step that it was in."""
        if self._start_us >= 0 and (watts := self._watts()) is not None:
            self._over.add(self._host, self._start_us // self._over.step_us, watts)

    def _watts(self) -> dict[str, float] | None:
        """Return the mean power of each owner since the last time; None: nothing is known of it."""
        time_us: dict[GpuKey, int] = {}
        energy: dict[tuple[str, GpuKey], int] = {}
        for key, account in self._accounts.gpus.items():
            if key.host == self._host:
                # A counter saw its gaps too: what it counted is of all the time since the reading before.
                seen = account.totals.covered_us + (account.totals.gap_us if account.method == "counter" else 0)
                time_us[key] = seen - self._time.get(key, 0)
                self._time[key] = seen
                energy[IDLE, key] = account.idle_hnj
                energy[UNATTRIBUTED, key] = account.unattributed_hnj
        for job, gpu, static_hnj, dynamic_hnj in self._accounts.ledger.shares():
            if gpu in time_us:
                energy[job, gpu] = static_hnj + dynamic_hnj
        found: dict[str, float] = defaultdict(float)
        known = any(time > 0 for time in time_us.values())
        for (owner, gpu), hnj in energy.items():
            more = hnj - self._energy.get((owner, gpu), 0)
            if more:
                known = True
                found[owner] += more / _HNJ_PER_US_W / (time_us[gpu] if time_us[gpu] > 0 else self._over.step_us)
        self._energy |= energy
        return dict(found) if known else None
