"""What only time shows, found out in an agent's first second: how often each GPU publishes what.

Each GPU is read every few milliseconds then, and what it says anew is a reading like any other: the second that learns
is the first second that is accounted for (docs/decisions/1020).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from wattshed.agent.meters.schedule import moment_us
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wattshed.agent.clock import Clock
    from wattshed.agent.meters.handle import GpuHandle, Reading
    from wattshed.agent.meters.recovery import Recovery
    from wattshed.agent.meters.schedule import Meter
    from wattshed.agent.meters.scope import Moment
    from wattshed.agent.window import Device

PAUSE_US = 4_000
"""From one round over the GPUs to the next: the resolution of what is learned."""
LEAST_CHANGES = 4  # an idle GPU may publish the same number again and again


@dataclass(slots=True)
class _Seen:
    """What one GPU said so far."""

    names: tuple[str, ...]  # of what is read together, and can be learned
    last: dict[str, int] = field(default_factory=dict)
    changed_us: dict[str, list[int]] = field(default_factory=dict)
    first: Moment | None = None
    latest: Moment | None = None

    def is_new(self, sample: Reading) -> bool:
        """Take in a reading; returns whether it says anything that the one before did not."""
        values = {"energy": sample.counter_mj, "average": sample.power_mw, "instant": sample.instant_mw}
        new = {name for name, value in values.items() if value not in {MISSING, self.last.get(name)}}
        for name in new & self.last.keys():
            self.changed_us.setdefault(name, []).append(sample.time_us)
        self.last |= {name: values[name] for name in new}
        return bool(new)

    def periods_us(self) -> dict[str, int]:
        """Return the median distance of changes, by what changed often enough."""
        periods = {}
        for name in self.names:
            steps = sorted(b - a for a, b in pairwise(self.changed_us.get(name, ())))
            if len(steps) >= LEAST_CHANGES - 1:
                periods[name] = steps[len(steps) // 2]
        return periods


class Learning:
    """Reads the GPUs that were there from the beginning as often as their driver allows, for a while.

    It learns their publication periods (what never changes stays unknown), and whether a superchip's energy counter is
    the GPU's or the whole module's.

    Parameters
    ----------
    meter : Meter
    clock : Clock
    recovery : Recovery
    asleep : callable
        Whether a device must not be woken.
    put : callable
        Puts the next such reading on the schedule: of which GPU, and when (us).
    keep : callable
        Takes a reading that says something new: of which GPU, and the reading.

    Attributes
    ----------
    on : bool
        Whether there is anything to learn yet.
    """

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        meter: Meter,
        clock: Clock,
        recovery: Recovery,
        asleep: Callable[[Device], bool],
        put: Callable[[int, int], None],
        keep: Callable[[int, Reading], None],
    ) -> None:
        self._meter, self._clock, self._recovery = meter, clock, recovery
        self._asleep, self._put, self._keep = asleep, put, keep
        self._seen: dict[int, _Seen] = {}
        self._until_us = MISSING

    @property
    def on(self) -> bool:
        """Whether a GPU is still learned about."""
        return bool(self._seen)

    def begin(self, now_us: int, budget_us: int) -> None:
        """Learn for ``budget_us``, of every GPU that tells several things in one call."""
        self._until_us = now_us + budget_us
        for gpu, gpu_handle in enumerate(self._meter.gpu_handles):
            if budget_us > 0 and self._meter.present[gpu] and (gpu_handle.learnable or gpu_handle.metered_twice):
                self._seen[gpu] = _Seen(gpu_handle.learnable)
                self._put(gpu, now_us)

    def tick(self, gpu: int, due_us: int) -> bool:
        """Read a GPU, and again soon; returns whether this was the last reading that learns, of all GPUs."""
        seen, gpu_handle = self._seen[gpu], self._meter.gpu_handles[gpu]
        if self._recovery.may_read(gpu) and not self._asleep(gpu_handle.device):
            self._recovery.guard(gpu, partial(self._read, gpu, gpu_handle, seen))
        late_us = self._clock.now_us() - due_us
        next_us = due_us + PAUSE_US * max(1, -(-late_us // PAUSE_US))
        if next_us < self._until_us:
            self._put(gpu, next_us)
            return False
        del self._seen[gpu]
        gpu_handle.publish(seen.periods_us())
        gpu_handle.judge_scope(seen.first, seen.latest)
        return not self._seen

    def _read(self, gpu: int, gpu_handle: GpuHandle, seen: _Seen) -> None:
        begun_us = self._clock.now_us()
        beside: dict[str, float] = {}
        sample = gpu_handle.read(beside)
        at_us = moment_us(begun_us, self._clock.now_us())
        self._recovery.worked(gpu)
        if at_us is None:
            return
        self._note(seen, gpu_handle, at_us, sample, beside)
        sample = sample._replace(time_us=at_us)
        if seen.is_new(sample):
            self._keep(gpu, sample)

    @staticmethod
    def _note(seen: _Seen, gpu_handle: GpuHandle, at_us: int, sample: Reading, beside: Mapping[str, float]) -> None:
        """Keep the first and the latest moment that show whose energy the counter counts."""
        if gpu_handle.metered_twice and (moment := gpu_handle.moment(at_us, sample, beside)) is not None:
            seen.first = seen.first or moment
            seen.latest = moment
