"""What is learned of all jobs' watts, host by host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.accounts.watts import HostLearning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wattshed.agent.accounts.ledger import GpuKey, JobAccount
    from wattshed.agent.accounts.split_rule import SplitRule
    from wattshed.agent.accounts.watts_places import JobWatts
    from wattshed.agent.window import JobKey


class LearnedWatts:
    """What is learned on any number of hosts.

    Parameters
    ----------
    rule : SplitRule, optional
        Without one nothing is learned.
    keys_of : callable
        Names the GPUs of a host.
    """

    def __init__(self, rule: SplitRule | None, keys_of: Callable[[str], Sequence[GpuKey]]) -> None:
        self._rule, self._keys_of = rule, keys_of
        self._hosts: dict[str, HostLearning] = {}
        self._finished: dict[tuple[JobKey, GpuKey], JobWatts] = {}

    @property
    def bills(self) -> bool:
        """Whether energy is split by what is learned."""
        return self._rule is not None and self._rule.learned

    def open(self, host: str) -> HostLearning | None:
        """Begin with a host; None if nothing is learned."""
        if self._rule is not None:
            self._hosts[host] = HostLearning(self._rule)
        return self.of(host)

    def of(self, host: str) -> HostLearning | None:
        """Return what is learned on a host; None where nothing is."""
        return self._hosts.get(host)

    def jobs(self) -> dict[tuple[JobKey, GpuKey], JobWatts]:
        """Return what each job is believed to draw on each of its GPUs."""
        found = dict(self._finished)
        for host, watts in self._hosts.items():
            keys = self._keys_of(host)
            found.update(((one.job, keys[one.gpu]), one) for one in watts.jobs())
        return found

    def milliwatts(self, job: JobKey, gpu: GpuKey) -> tuple[int, int] | None:
        """Return what a job is believed to draw on a GPU at full activity above idle, and one sigma of that, mW.

        None where nothing was learned of it.
        """
        watts, keys = self._hosts.get(gpu.host), self._keys_of(gpu.host)
        one = watts.of_job(job, keys.index(gpu)) if watts is not None and gpu in keys else None
        if one is None or not one.alone_us + one.shared_us:
            return None
        return round(one.watts * 1e3), round(one.sigma_w * 1e3)

    def retire(self, jobs: Sequence[JobAccount]) -> None:
        """Forget jobs whose accounts are closed, and that are not seen any more."""
        for watts in self._hosts.values() if jobs else ():
            watts.retire([job.key for job in jobs])

    def merge(self, other: LearnedWatts) -> None:
        """Add what was learned in another part."""
        self._finished.update(other.jobs())
