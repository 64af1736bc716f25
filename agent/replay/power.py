"""Power over time by owner, as a replay books it: in few steps however long the trace is."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from wattshed.agent.replay.points import at_steps
from wattshed.agent.window import IDLE, UNATTRIBUTED
from wattshed.exporters.web.power_steps import PowerStep, energies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.ledger import GpuKey
    from wattshed.agent.window import Window

MOST_STEPS = 1500
MOST_STEPS_OF_PAGE = 720  # as many as its plot has pixels
_LENGTHS_S = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21_600, 43_200)
"""Of a step; each is a multiple of the one before. Beyond them each is twice the one before."""


def gpu_key(host: str, gpu: str) -> str:
    """Call a GPU of any host by one text."""
    return f"{host}/{gpu}" if host else gpu


class PowerOverTime:
    """Energy of each owner in steps of time, and the time that it covers; where nothing was read there is no step.

    Steps are a second long at first. Where there are too many of them, some become one.

    Parameters
    ----------
    most : int
        How many steps there are, at most, from the first of any host to the last.
    """

    def __init__(self, most: int = MOST_STEPS) -> None:
        self.step_us = 1_000_000
        self._most = most
        self._steps: dict[int, PowerStep] = {}

    def follow(self, accounts: Accounts) -> Follower:
        """Return what follows the accounts of one chain."""
        return Follower(self, accounts)

    def widen(self, span_us: int) -> None:
        """Make steps so long that a window of this length is not more of them than there may be."""
        while span_us > self._most * self.step_us:
            self._merge()

    def add(self, step: PowerStep) -> None:
        """Add what was booked of a time that begins in one step."""
        self._put(step)
        while max(self._steps) - min(self._steps) >= self._most:
            self._merge()

    def _put(self, step: PowerStep) -> None:
        place = step.from_us // self.step_us
        known = self._steps.get(place)
        self._steps[place] = step if known is None else known.joined(step)

    def _merge(self) -> None:
        """Make one step of some."""
        self.step_us = next((1_000_000 * s for s in _LENGTHS_S if 1_000_000 * s > self.step_us), 2 * self.step_us)
        shorter, self._steps = self._steps, {}
        for step in shorter.values():
            self._put(step)

    def steps(self) -> dict[int, dict[str, float]]:
        """Return the watts of each owner by step, in order of time; a step of which nothing is known is absent."""
        return {place: self._steps[place].owner_w() for place in sorted(self._steps)}

    def gpu_steps(self) -> dict[int, dict[str, float]]:
        """Return the watts of each GPU (see `gpu_key`) by step, as `steps` those of owners."""
        return {place: self._steps[place].gpu_w() for place in sorted(self._steps)}

    def energies_j(self) -> dict[str, float]:
        """Return the joules of each owner: those of the replay's answer."""
        return energies(list(self._steps.values()))["jobs"]

    def gpu_energies_j(self) -> dict[str, float]:
        """Return the joules of each GPU."""
        return energies(list(self._steps.values()))["gpus"]


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
        self._host, self._start_us, self._end_us = "", -1, -1
        self._energy: dict[tuple[str, GpuKey], int] = {}
        self._time: dict[GpuKey, int] = {}

    def cut(self, window: Window) -> Iterator[Window]:
        """Yield a window in pieces that lie in one step each; whoever takes them books each before the next."""
        self._over.widen(window.end_us - window.start_us)
        for piece in at_steps(window, self._over.step_us):
            if piece.host != self._host or piece.start_us // self._over.step_us != self._start_us // self._over.step_us:
                self.take()
                self._host, self._start_us = piece.host, piece.start_us
            self._end_us = piece.end_us
            yield piece

    def take(self) -> None:
        """Add what was booked since the last time to the step that it was in."""
        if self._start_us >= 0 and (found := self._booked()) is not None:
            for step in spread(found, self._over.step_us):
                self._over.add(step)

    def _booked(self) -> PowerStep | None:
        """Return what was booked since the last time; None: nothing is known of it."""
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
        shares = {
            (owner, gpu_key(gpu.host, gpu.gpu)): more
            for (owner, gpu), hnj in energy.items()
            if (more := hnj - self._energy.get((owner, gpu), 0))
        }
        self._energy |= energy
        used = {
            gpu: sum(hnj for (_, uuid), hnj in shares.items() if uuid == gpu_key(gpu.host, gpu.gpu)) for gpu in time_us
        }
        # Energy without any time of its own was used in this piece.
        span_us = max(1, self._end_us - self._start_us)
        gpus = {
            gpu_key(gpu.host, gpu.gpu): (used[gpu], us if us > 0 else span_us)
            for gpu, us in time_us.items()
            if us > 0 or used[gpu]
        }
        return PowerStep(self._start_us, self._end_us, gpus, shares) if gpus else None


def spread(found: PowerStep, step_us: int) -> Iterator[PowerStep]:
    """Yield what was booked in one step by the steps in which it was used: readings may be further apart than these.

    Parameters
    ----------
    found : PowerStep
        The time that a GPU's energy covers ends with it.
    step_us : int, us
    """
    if all(us <= step_us for _, us in found.gpus.values()):
        yield found
        return
    for uuid, (hnj, us) in found.gpus.items():
        owners = {owner: energy for (owner, gpu), energy in found.shares.items() if gpu == uuid}
        if us <= step_us:
            own = {(owner, uuid): energy for owner, energy in owners.items()}
            yield PowerStep(found.from_us, found.to_us, {uuid: (hnj, us)}, own)
            continue
        begin_us = found.to_us - us
        inner = range((begin_us // step_us + 1) * step_us, found.to_us, step_us)
        for from_us, to_us in pairwise((begin_us, *inner, found.to_us)):
            before, after = from_us - begin_us, to_us - begin_us
            shares = {(owner, uuid): own * after // us - own * before // us for owner, own in owners.items()}
            yield PowerStep(from_us, to_us, {uuid: (sum(shares.values()), to_us - from_us)}, shares)
