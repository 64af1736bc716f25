"""How often each GPU is read: more often while its power changes, less often where the driver's calls cost too much."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from wattshed.agent.meters.schedule import SECOND_US, GpuSchedule, Meter, Rates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wattshed.agent.clock import Clock

LOG = logging.getLogger(__name__)

SLOW_CALL_US = 20_000
"""A fifth of the time between two values of a counter. What a driver's calls cost is the share of the time that they
take; a single one that is longer than this keeps others waiting, and makes it doubtful of what moment its answer is."""
ALONE = (
    4  # times what instant power costs: then it is the counter that is dear, and instant power is read as often as ever
)
MOST_DUTY = 0.02  # of the time, for all calls on all GPUs together
ROWS_DUTY = MOST_DUTY / 2
"""What rows of process utilisation may have of that. What they cost is no reason to read a counter less often, and what
readings cost none to ask for fewer rows: energy comes before its split, and a bad split before none."""
LONG_CALL_US = 8_000
STEP_US, STEPS = 25_000, 4  # a quarter of the 100 ms between two values of a counter
LARGEST_FACTOR = 4  # no more than 4 s between readings of the counter: sampled power further apart is a gap


class Pace:
    """The time from one reading of a GPU to the next.

    Parameters
    ----------
    meter : Meter
    clock : Clock
    rates : Rates
    schedules : sequence of GpuSchedule
        Shared with the poller.
    rows_busy_ns : callable
        Time spent inside the driver for rows of process utilisation so far, which have a part of their own.
    behind : callable
        Whether this process is busy, and a call that takes long says nothing about the driver.

    Attributes
    ----------
    duty : float
        Share of the last ten seconds that was spent inside the driver.
    """

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        meter: Meter,
        clock: Clock,
        rates: Rates,
        schedules: Sequence[GpuSchedule],
        rows_busy_ns: Callable[[], int],
        behind: Callable[[], bool],
    ) -> None:
        self._rows_busy_ns = rows_busy_ns
        self._meter, self._clock, self._rates, self._schedules, self._behind = meter, clock, rates, schedules, behind
        self.duty = 0.0
        self.start_over()

    def period_us(self, gpu: int, schedule: GpuSchedule, now_us: int) -> int:
        """Return the time to the GPU's next reading."""
        rates = self._rates
        if now_us < schedule.burst_until_us and schedule.quick_factor == 1 and rates.burst_us:
            published_us = self._meter.gpu_handles[gpu].device.publication_us.get("instant", 0)
            return max(rates.burst_us, published_us // 2)
        return min(rates.instant_us, rates.sample_us) * schedule.quick_factor

    @staticmethod
    def aside_us(schedule: GpuSchedule, took_us: int) -> int:
        """Return how far to move a GPU's readings, after a full one that took so long, us; 0 if it was as ever.

        A call for the counter that begins just after its publication may take several times as long (on an H200 11 to
        18 ms instead of 2.4, for 10 ms of every 100), and readings once a second keep that phase for minutes.
        """
        if took_us < LONG_CALL_US or took_us < 3 * schedule.full_cost_us:
            return 0
        before, schedule.step = schedule.step, (schedule.step + 1) % STEPS
        return (schedule.step - before) * STEP_US

    @staticmethod
    def note(schedule: GpuSchedule, took_us: int, *, full: bool) -> None:
        """Note what a reading took: a full one, or one of instant power alone."""
        schedule.calls.add(took_us)
        if full:
            schedule.full_cost_us += (took_us - schedule.full_cost_us) / 8
        else:
            schedule.quick_cost_us += (took_us - schedule.quick_cost_us) / 8

    def burst(self, until_us: int, gpu: int | None = None) -> None:
        """Read instant power as fast as allowed until then, of one GPU or of all."""
        for schedule in self._schedules if gpu is None else [self._schedules[gpu]]:
            schedule.burst_until_us = max(schedule.burst_until_us, until_us)

    def follow(self, schedule: GpuSchedule, at_us: int, instant_mw: int) -> None:
        """Look closer for three seconds after a step of a quarter of the limit, at most every half minute."""
        if self._rates.burst_us and instant_mw > 0 and schedule.last_mw > 0:
            limit_mw = (schedule.gauges.value("limit_enforced_w", at_us) or 0.0) * 1e3
            if limit_mw and abs(instant_mw - schedule.last_mw) > limit_mw / 4 and at_us >= schedule.burst_again_us:
                schedule.burst_until_us = max(schedule.burst_until_us, at_us + 3 * SECOND_US)
                schedule.burst_again_us = at_us + 30 * SECOND_US
        schedule.last_mw = instant_mw

    def start_over(self) -> None:
        """Judge by what comes from now on alone."""
        self._judged_us, self._judged_busy_ns = self._clock.now_us(), self._meter.costs.busy_ns
        self._judged_rows_ns = self._rows_busy_ns()
        for schedule in self._schedules:
            schedule.calls.clear()

    def judge(self) -> None:
        """Every ten seconds: read less often where calls cost too much, and again more often where they do not.

        Where the counter alone is dear, it alone is read less often: instant power shows the shape of what it counts.
        """
        now_us, busy_ns, rows_ns = self._clock.now_us(), self._meter.costs.busy_ns, self._rows_busy_ns()
        if self._behind():
            self.start_over()
        if now_us - self._judged_us < 10 * SECOND_US:
            return
        judged_us, rows_us = now_us - self._judged_us, (rows_ns - self._judged_rows_ns) / 1e3
        self.duty = (busy_ns - self._judged_busy_ns) / 1e3 / judged_us
        duty, most = self.duty - rows_us / judged_us, MOST_DUTY - ROWS_DUTY
        self._judged_us, self._judged_busy_ns, self._judged_rows_ns = now_us, busy_ns, rows_ns
        too_much = f"driver calls took {duty:.1%} of the last {judged_us / 1e6:.0f} s, more than {most:.1%}"
        slower: dict[tuple[str, int], list[int]] = {}
        faster: dict[str, list[int]] = {}
        slowest_us = 0
        for gpu, schedule in enumerate(self._schedules):
            p95_us, known = schedule.calls.p95_us(), len(schedule.calls)
            alone = schedule.quick_cost_us * ALONE < schedule.full_cost_us
            # A busy host delays a call now and then, so it takes forty to judge, and three slow ones among them.
            what = "counter" if alone else "sampling"
            dear = duty > most or (p95_us > SLOW_CALL_US and known >= 40)
            if dear and schedule.factor < LARGEST_FACTOR:
                schedule.factor *= 2
                slower.setdefault((what, schedule.factor), []).append(gpu)
                slowest_us = max(slowest_us, p95_us)
            elif schedule.factor > 1 and known >= 8 and p95_us < SLOW_CALL_US // 2 and duty * 2 < most:
                schedule.factor //= 2
                if schedule.factor == 1:
                    faster.setdefault(what, []).append(gpu)
            elif known < 60:
                continue  # too few to judge, and nothing to change
            schedule.quick_factor = 1 if alone else schedule.factor
            schedule.calls.clear()
        slow = f"driver calls are slow (p95 {slowest_us / 1e3:.1f} ms, more than {SLOW_CALL_US / 1e3:.0f} ms)"
        for (what, factor), gpus in slower.items():
            why = too_much if duty > most else slow
            LOG.info("%s: %s: %s rate halved, to 1/%d of the configured one", self._named(gpus), why, what, factor)
        for what, gpus in faster.items():
            LOG.info("%s: driver calls are fast again: %s rate back to the configured one", self._named(gpus), what)

    def _named(self, gpus: Sequence[int]) -> str:
        """Name GPUs in one line: all of a node are slow, or none, as a rule."""
        if len(gpus) == len(self._schedules) > 1:
            return f"all {len(gpus)} GPUs"
        return f"GPU{'s' * (len(gpus) > 1)} {', '.join(map(str, gpus))}"
