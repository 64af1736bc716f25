"""How often the utilisation of processes is read where several share a GPU, and what a window gets of it."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from wattshed.agent.meters.pace import ROWS_DUTY
from wattshed.agent.meters.schedule import SECOND_US, GpuSchedule, Meter, Rates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wattshed.agent.clock import Clock
    from wattshed.agent.meters.processes import ProcessWatch
    from wattshed.agent.meters.recovery import Recovery

TURN_US = 60 * SECOND_US
PART = 0.9  # of the time between two samples: then there is never more than one new sample
OFTEN_US = SECOND_US // 4  # samples that seem further apart may be those in which somebody was active


class Sharing:
    """Reads the utilisation of processes, for each of the driver's samples if that is needed.

    Parameters
    ----------
    meter : Meter
    clock : Clock
    rates : Rates
    schedules : sequence of GpuSchedule
        Shared with the poller.
    recovery : Recovery
    put : callable
        Puts the next reading of a GPU's rows on the schedule: its number, and when (us).

    Attributes
    ----------
    busy_ns : int, ns
        Time spent inside the driver for rows: no part of what the pace of other readings is judged by.
    """

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        meter: Meter,
        clock: Clock,
        rates: Rates,
        schedules: Sequence[GpuSchedule],
        recovery: Recovery,
        put: Callable[[int, int], None],
    ) -> None:
        self._meter, self._clock, self._rates, self._schedules = meter, clock, rates, schedules
        self._recovery, self._put = recovery, put
        self.busy_ns = 0

    def follow(self, gpu: int, schedule: GpuSchedule, watch: ProcessWatch, now_us: int) -> None:
        """Begin to read where there are several processes now, and end where there are not."""
        unread = now_us - watch.shares.asked_us > 2 * self._rates.window_us
        if unread or not watch.shared:
            watch.shares.rest()  # the driver's older samples belong to windows that are closed
        if unread and watch.shared and not schedule.rows_due:
            self._put_rows(gpu, schedule, now_us)

    def tick(self, gpu: int, due_us: int) -> None:
        """Read, and again as soon as the driver has a new sample, if each is needed."""
        schedule, watch = self._schedules[gpu], self._meter.watches[gpu]
        schedule.rows_due = False
        if not watch.shared:
            return
        if self._recovery.may_read(gpu):
            self._recovery.guard(gpu, partial(self.poll, schedule, watch))
        if (next_us := self.next_us(gpu, watch, due_us)) is not None:
            self._put_rows(gpu, schedule, next_us)

    def _put_rows(self, gpu: int, schedule: GpuSchedule, due_us: int) -> None:
        self._put(gpu, due_us)
        schedule.rows_due = True

    def poll(self, schedule: GpuSchedule, watch: ProcessWatch) -> None:
        """Read what is new.

        Raises
        ------
        MeterError
            The driver would not say.
        """
        begun_us = self._clock.now_us()
        with self._counted():
            watch.poll(begun_us, begun_us, running=bool(schedule.utils and schedule.utils[-1]))
        schedule.rows_cost_us += (self._clock.now_us() - begun_us - schedule.rows_cost_us) / 8

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count what is spent inside the driver meanwhile."""
        before_ns = self._meter.costs.busy_ns
        try:
            yield
        finally:
            self.busy_ns += self._meter.costs.busy_ns - before_ns

    def next_us(self, gpu: int, watch: ProcessWatch, due_us: int) -> int | None:
        """Return when to read again after a reading that was due at ``due_us``; None: at the end of the window only.

        That is for each sample, or as often as the calls of all GPUs may cost, but once a window at least. Where they
        cost too much, one GPU after the other has a minute in which its calls alone count: that is enough to find out
        what rows mean, which then holds for the others too.
        """
        if not watch.shares.each_sample:
            return None
        schedule = self._schedules[gpu]
        asked = [i for i, one in enumerate(self._schedules) if one.rows_due or i == gpu]
        crowd = 1 if asked[due_us // TURN_US % len(asked)] == gpu else len(asked)
        dear_us = min(self._rates.window_us, schedule.rows_cost_us * crowd / ROWS_DUTY)
        each_us = min(watch.shares.sample_us, OFTEN_US) * PART
        schedule.rows_count += 1
        if dear_us > each_us:
            # Not in step with what repeats on the GPU: once in each such time, anywhere in it if a moment is all that
            # is told, and else in its middle half.
            moved = _place(schedule.rows_count) - _place(schedule.rows_count - 1)
            dear_us *= 1 + (moved if watch.shares.spotty else moved / 4)
        return due_us + int(max(each_us, dear_us, self._clock.now_us() - due_us))

    def activity(self, schedule: GpuSchedule, watch: ProcessWatch) -> dict[int, float] | None:
        """Return the mean activity (0-1) of each process since the last window; None unknown.

        Raises
        ------
        MeterError
            The driver would not say.
        """
        if not watch.shares.sparse:
            self.poll(schedule, watch)
        with self._counted():
            watch.inquire()
        did = sum(schedule.utils) / len(schedule.utils) / 100 if schedule.utils else None
        shares = watch.shares.take(did) or None
        if shares is None and schedule.utils and max(schedule.utils) == 0:
            return {}  # no samples and nothing ran: idle, which is known
        if shares and watch.shares.sparse and did is not None:
            # Of rough activities only the proportions are worth something: what they leave over is nobody else's.
            shares = {pid: ratio for pid, ratio in shares.items() if pid in watch.listed}
            rough = did / max(sum(shares.values()), 1e-9)
            return {pid: min(1.0, ratio * rough) for pid, ratio in shares.items()}
        return shares


def _place(nth: int) -> float:
    """Return the fractional part of the golden ratio x nth^2: it, and steps of it, are spread evenly over 0-1."""
    return nth * nth * 0.6180339887 % 1
