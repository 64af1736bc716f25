"""Who is on each GPU: its process lists are read when something says that they changed, or when looking is cheap.

A list may cost milliseconds of the driver, or less than the reading beside it. So its price is measured, and where that
is low each reading of a GPU is followed by a glance: whether the lists name others than before. Whoever is found is
looked up at once, for by the end of the window it may be gone, and its name with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.meters.pace import MOST_DUTY
from wattshed.agent.window import MISSING, ProcessObservation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wattshed.agent.meters.recovery import Recovery
    from wattshed.agent.meters.schedule import GpuSchedule, Meter, Rates
    from wattshed.agent.meters.sharing import Sharing

CHEAP_US = 200
"""What a glance may take (95th percentile): a tenth of a reading of a counter, for what most of the time is no news."""
GLANCES_DUTY = MOST_DUTY / 10  # what glances at all GPUs together may take of the time
MOST_IN_VAIN = 10  # lists read every second for a utilisation that nobody explains: it may be latched


class Lists:
    """Reads the process lists of all GPUs.

    Parameters
    ----------
    meter : Meter
    rates : Rates
    schedules : sequence of GpuSchedule
        Shared with the poller.
    recovery : Recovery
    sharing : Sharing
    alive : callable
        Whether the kernel knows a pid; drivers 535.43 to 535.86 report pids that do not exist.
    met : callable
        Told of each pid that was not listed before.
    """

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        meter: Meter,
        rates: Rates,
        schedules: Sequence[GpuSchedule],
        recovery: Recovery,
        sharing: Sharing,
        alive: Callable[[int], bool],
        met: Callable[[int], object],
    ) -> None:
        self._meter, self._rates, self._schedules = meter, rates, schedules
        self._recovery, self._sharing, self._alive, self._met = recovery, sharing, alive, met

    def due(self, gpu: int, gpu_util: float, now_us: int, *, changed: bool) -> bool:
        """Whether the lists of a GPU are to be read now.

        Parameters
        ----------
        gpu : int
        gpu_util : float, percent
            What the GPU did lately; 0 unknown too.
        now_us : int, us
        changed : bool
            Its used memory did, so that somebody came or went.
        """
        schedule, watch = self._schedules[gpu], self._meter.watches[gpu]
        if watch.listed or not gpu_util:
            schedule.in_vain = 0
        unexplained = gpu_util > 0 and not watch.listed and schedule.in_vain < MOST_IN_VAIN
        schedule.in_vain += unexplained
        vanished = any(not self._alive(pid) for pid in watch.listed)
        if now_us >= schedule.list_due_us or changed or unexplained or vanished:
            return True
        return self.others(gpu, now_us)

    def others(self, gpu: int, now_us: int) -> bool:
        """Whether a glance, if it is cheap enough now, shows that others are on a GPU than before.

        Raises
        ------
        MeterError
            The GPU or the driver is gone.
        """
        schedule, watch = self._schedules[gpu], self._meter.watches[gpu]
        price_us = watch.glance_us
        apart_us = price_us * len(self._schedules) / GLANCES_DUTY
        if price_us > CHEAP_US or now_us - schedule.glanced_us < apart_us or watch.ghosts.doubt:
            return False
        schedule.glanced_us = now_us
        return watch.glance()

    def read(self, gpu: int, now_us: int, window_us: int) -> None:
        """Read the lists of a GPU.

        Parameters
        ----------
        gpu : int
        now_us : int, us
        window_us : int, us
            When the window that is open began.

        Raises
        ------
        MeterError
            The GPU or the driver is gone.
        """
        schedule, watch = self._schedules[gpu], self._meter.watches[gpu]
        schedule.list_due_us = now_us + self._rates.processes_us
        before = dict(watch.listed)
        with schedule.gauges.asking("processes"):
            listed, ghosts, error = watch.relist(self._alive)
        if error is not None:
            schedule.gauges.forget("processes")
            self._recovery.note(error.call, f"GPU {gpu}: {error.reason}")
        elif watch.able("processes") and (watch.instances or not watch.able("mig")):
            # What the driver counts, whether or not we may know who they are: 0 shows that nobody is there.
            # Under MIG they are seen instance by instance, and who may see no instance sees nobody.
            schedule.gauges.renew("processes", {"processes": listed}, now_us, self._rates.processes_us)
        for pid in ghosts:
            self._recovery.note("scrambled_pid", f"GPU {gpu}: the driver reports pid {pid}, which does not exist")
        for pid in watch.listed.keys() - before.keys():
            self._met(pid)
        for pid, seen in before.items():
            if pid not in watch.listed:
                until_us, used = max(now_us, window_us), seen.memory_bytes
                schedule.observations.append(
                    ProcessObservation(
                        gpu, pid, window_us, until_us, MISSING, used, seen.instance, seen.ppm, exited=True
                    )
                )
        if watch.ghosts.doubt:
            schedule.list_due_us = now_us  # the driver's other lists name a newcomer only while it is active
        self._sharing.follow(gpu, schedule, watch, now_us)
