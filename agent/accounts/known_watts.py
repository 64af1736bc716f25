"""What was known of a job's watts while it was there: what is learned fades once it is not seen any more.

A job's account is closed minutes after its end, and its last part is cut then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wattshed.agent.accounts.ledger import GpuKey, JobAccount
    from wattshed.agent.window import JobKey

Milliwatts = tuple[int, int]
"""What a job is believed to draw on a GPU at full activity, above idle, and one sigma of that, mW."""


@dataclass(slots=True)
class KnownWatts:
    """Remembers what was known of each job in the first window that does not show it any more.

    Attributes
    ----------
    ask : callable
        Tells what is known now, as `agent.accounts.learned.LearnedWatts.milliwatts`.
    kept : dict of job to dict of GPU to Milliwatts
        Of the jobs that are not seen any more; a row is replaced and never changed.
    """

    ask: Callable[[JobKey, GpuKey], Milliwatts | None] = field(default=lambda *_: None, compare=False)
    kept: dict[str, dict[str, Milliwatts]] = field(default_factory=dict)

    def follow(self, jobs: Mapping[JobKey, JobAccount], before_us: int) -> None:
        """Remember the watts of those who were not seen since the end of the last window (us)."""
        for key, job in jobs.items():
            if job.end_us > before_us:
                self.kept.pop(key, None)
            elif key not in self.kept:
                known = ((gpu.gpu, self.ask(key, gpu)) for gpu in job.lines)
                self.kept[key] = {gpu: watts for gpu, watts in known if watts is not None}

    def of(self, job: JobKey, gpu: GpuKey) -> Milliwatts | None:
        """Return what is known of a job, or was when it left, whichever is more certain; None if nothing is."""
        now, then = self.ask(job, gpu), self.kept.get(job, {}).get(gpu.gpu)
        return min((one for one in (now, then) if one is not None), key=lambda one: one[1], default=None)

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take over what ``kept`` was saved as.

        Raises
        ------
        ValueError, TypeError, AttributeError
            It is something else.
        """
        for job, of_gpus in values.items():
            self.kept[str(job)] = {str(gpu): (int(watts), int(sigma)) for gpu, (watts, sigma) in of_gpus.items()}
