"""The schedule: which GPU is read when, and where a window ends.

Deadlines are absolute and staggered over the GPUs, so neither lateness nor load adds up. Everything here runs in one
thread, since the driver serialises its callers anyway; only closing a stale window may come from the watchdog.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.meters.gauges import Gauges
from wattshed.agent.meters.learning import Learning
from wattshed.agent.meters.lists import Lists
from wattshed.agent.meters.pace import Pace
from wattshed.agent.meters.recovery import Recovery
from wattshed.agent.meters.schedule import BLIND_US, GpuSchedule, Meter, Rates, moment_us
from wattshed.agent.meters.scopes import Scopes
from wattshed.agent.meters.sharing import Sharing
from wattshed.agent.window import MISSING, ProcessObservation, Readings, Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.clock import Clock
    from wattshed.agent.meters.events import News
    from wattshed.agent.meters.handle import GpuHandle, Reading
    from wattshed.agent.meters.processes import ProcessWatch
    from wattshed.agent.meters.release import ReleaseDesk
    from wattshed.agent.window import Device

SLOTS = 2  # over which the GPUs are spread in a tick: waking up costs as much as two readings (docs/decisions/1025)
ON_TIME_US = 2_000
READ, ROWS, LEARN = range(3)
"""What is on the schedule: a reading, the utilisation of processes, or a reading that learns."""


class Poller:
    """Reads all GPUs, each in its turn.

    Parameters
    ----------
    meter : Meter
        Open already.
    clock : Clock
    host : str
    rates : Rates
    alive : callable
        Whether the kernel knows a pid; drivers 535.43 to 535.86 report pids that do not exist.
    met : callable
        Told of each pid that was not listed before.
    asleep : callable
        Whether the kernel has put a device to sleep, and it must not be woken.
    behind : callable
        Whether windows pile up unread: this process is busy (compiling its kernels, say), and while it is, a call that
        takes long says nothing about the driver.
    desk : ReleaseDesk, optional
        Where others ask for GPUs to be let go of.
    local_cpus : callable
        Says of a device which CPUs are local to it, see `Scopes`.
    """

    def __init__(
        self,
        meter: Meter,
        clock: Clock,
        host: str,
        rates: Rates,
        *,
        alive: Callable[[int], bool],
        met: Callable[[int], object],
        asleep: Callable[[Device], bool],
        behind: Callable[[], bool] = lambda: False,
        desk: ReleaseDesk | None = None,
        local_cpus: Callable[[Device], str] = lambda _: "",
    ) -> None:
        self._meter, self._clock, self._host, self._rates = meter, clock, host, rates
        self._asleep = asleep
        self._scopes = Scopes(rates.sample_us, local_cpus)
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.late_us = 0
        self._free_us = 0  # when the reading before was over: what it took is the driver's, and makes nothing late
        self.heard: deque[News] = deque()
        self._schedules: list[GpuSchedule] = []
        self._names: set[str] = set()  # of gauges: a column stays when nobody reports it any more
        self._heap: list[tuple[int, int, int]] = []  # when, which GPU, and what: READ, ROWS or LEARN
        self.recovery = Recovery(meter, clock, rates, self._schedules, self._grow, behind, desk)
        self._sharing = Sharing(meter, clock, rates, self._schedules, self.recovery, partial(self._put, what=ROWS))
        self._lists = Lists(meter, rates, self._schedules, self.recovery, self._sharing, alive, met)
        self._learning = Learning(meter, clock, self.recovery, asleep, partial(self._put, what=LEARN), self._append)
        self.seq = 0
        self.start_us = clock.now_us()
        self.pace = Pace(meter, clock, rates, self._schedules, lambda: self._sharing.busy_ns, behind)
        self._grow()
        self._learning.begin(self.start_us, rates.learn_us)
        self.recovery.begin()

    def _grow(self) -> None:
        """Put new GPUs on the schedule, spread over the tick."""
        count, now_us = len(self._meter.gpu_handles), self._clock.now_us()
        for gpu in range(len(self._schedules), count):
            slots = min(count, SLOTS)
            phase_us = gpu * slots // count * min(self._rates.instant_us, self._rates.sample_us) // slots
            gauges = Gauges(lambda gpu=gpu: self._meter.gpu_handles[gpu].device.ceiling_mw)  # type: ignore[misc]
            self._schedules.append(GpuSchedule(gauges, full_due_us=now_us + phase_us))
            self._put(gpu, now_us + phase_us, READ)

    def _put(self, gpu: int, due_us: int, what: int) -> None:
        heapq.heappush(self._heap, (due_us, gpu, what))

    def collect(self) -> tuple[Window, list[ProcessObservation]] | None:
        """Read until the window that is open ends; None once stopped.

        Raises
        ------
        RestartNeeded
            Only a new process can go on.
        """
        while not self.stop.is_set():
            self.recovery.obey()
            end_us = self.start_us + self._rates.window_us
            due_us, gpu, what = self._heap[0] if self._heap else (end_us, MISSING, READ)
            if due_us >= end_us:
                self._clock.sleep_until(end_us, self.stop)
                if self.stop.is_set():
                    break
                blind = self._clock.now_us() - end_us > BLIND_US
                end_us = self._through(end_us) if blind else end_us
                self._finish(end_us, blind=blind)
                with self.lock:
                    if self.start_us + self._rates.window_us <= end_us:
                        return self._cut(end_us, blind=blind)
                continue  # the watchdog closed it meanwhile
            self._clock.sleep_until(due_us, self.stop)
            if not self.stop.is_set():
                self._do(gpu, due_us, what)
        return None

    def _do(self, gpu: int, due_us: int, what: int) -> None:
        """Do what is first on the schedule."""
        if what == READ:
            self._tick(gpu, due_us)
            return
        heapq.heappop(self._heap)
        if what == ROWS:
            self._sharing.tick(gpu, due_us)
        elif self._learning.tick(gpu, due_us):
            self.pace.start_over()  # so many calls are no measure of what the driver takes

    def _through(self, end_us: int) -> int:
        """Return where a window ends that should have ended at ``end_us``, long ago, had this thread run.

        A call that did not return, a stopped process, a paused machine: of the time in which nothing was read one
        window is made, and not as many as would have been, each with the owners that were seen after it.
        """
        now_us = self._clock.now_us()
        read_us = min((schedule.samples[0].time_us for schedule in self._schedules if schedule.samples), default=now_us)
        return max(end_us, read_us - (read_us - end_us) % self._rates.window_us)

    def _tick(self, gpu: int, due_us: int) -> None:
        schedule, begun_us = self._schedules[gpu], self._clock.now_us()
        late_us = begun_us - max(due_us, self._free_us)
        if late_us > ON_TIME_US and not self._learning.on:
            self.late_us += late_us
        if self.recovery.may_read(gpu) and self._asleep(self._meter.gpu_handles[gpu].device):
            schedule.gauges.clear()  # it does not draw any more what it did
            schedule.gauges.renew("asleep", {"asleep": 1.0}, begun_us, 0)
        elif self.recovery.may_read(gpu):
            self.recovery.guard(gpu, partial(self._read, gpu, schedule, self._meter.gpu_handles[gpu], due_us))
        period_us = self.pace.period_us(gpu, schedule, begun_us)
        self._free_us = self._clock.now_us()
        passed_us = self._free_us - due_us
        next_us = due_us + period_us * max(1, -(-passed_us // period_us)) + schedule.aside_us
        schedule.full_due_us += schedule.aside_us
        schedule.aside_us = 0
        heapq.heapreplace(self._heap, (next_us, gpu, READ))

    def _read(self, gpu: int, schedule: GpuSchedule, gpu_handle: GpuHandle, due_us: int) -> None:
        full = due_us >= schedule.full_due_us
        begun_us = self._clock.now_us()
        schedule.gauges.forget("asleep")
        beside: dict[str, float] = {}
        with schedule.gauges.asking(*(("power", "instant") if full else ("instant",))):
            sample = gpu_handle.read(beside) if full else gpu_handle.read_instant()
        ended_us = self._clock.now_us()
        schedule.aside_us = self.pace.aside_us(schedule, ended_us - begun_us) if full else 0
        self.pace.note(schedule, ended_us - begun_us, full=full)
        self.recovery.worked(gpu)
        at_us = moment_us(begun_us, ended_us)
        if full:
            period_us = self._rates.sample_us * schedule.factor
            schedule.full_due_us += period_us * max(1, 1 + (due_us - schedule.full_due_us) // period_us)
            if gpu_handle.has_average:
                beside["power_average_w"] = sample.power_mw / 1e3
            schedule.gauges.renew("power", beside, ended_us, period_us)
        instant = {"power_instant_w": sample.instant_mw / 1e3}
        schedule.gauges.renew("instant", instant, ended_us, self._rates.instant_us * schedule.quick_factor)
        if at_us is not None:
            if full:
                gpu_handle.watch_scope(at_us, sample, beside)
                powers = {name: watts for name, watts in beside.items() if schedule.gauges.sane(name, watts)}
                alike_mw = gpu_handle.as_its_module_mw(sample)
                self._scopes.add(gpu_handle.device, at_us, powers, sample.power_mw / 1e3, alike_mw / 1e3)
            self._append(gpu, sample._replace(time_us=at_us))
        if ended_us >= schedule.usage_due_us:
            schedule.usage_due_us = ended_us - ended_us % self._rates.usage_us + self._rates.usage_us
            self._look(gpu, schedule, gpu_handle, ended_us)
        elif self._lists.others(gpu, ended_us):
            self._lists.read(gpu, ended_us, self.start_us)

    def _append(self, gpu: int, sample: Reading) -> None:
        schedule = self._schedules[gpu]
        self.pace.follow(schedule, sample.time_us, sample.instant_mw)
        with self.lock:
            newest_us = schedule.samples[-1].time_us if schedule.samples else MISSING
            if sample.time_us >= self.start_us and sample.time_us > newest_us:
                schedule.samples.append(sample)

    def _look(self, gpu: int, schedule: GpuSchedule, gpu_handle: GpuHandle, now_us: int) -> None:
        """Utilisation, memory, and whatever these or the time call for."""
        watch = self._meter.watches[gpu]
        before_us, schedule.looked_us = schedule.looked_us, now_us
        hole = now_us - before_us > max(BLIND_US, 2 * self.pace.period_us(gpu, schedule, now_us))
        if hole:
            # Who was there before it may have left at any time in it.
            schedule.utils, watch.listed = [], {}
            schedule.list_due_us = now_us
        before = schedule.gauges.value("fb_used_mib", now_us)
        with schedule.gauges.asking("utilisation", "memory"):
            used = gpu_handle.utilisation()
            schedule.gauges.renew("utilisation", used, now_us, self._rates.usage_us)
            memory = gpu_handle.memory()
            schedule.gauges.renew("memory", memory, now_us, self._rates.usage_us)
        if "gpu_util" in used:
            schedule.utils.append(used["gpu_util"])
        elif watch.able("utilisation"):
            self.recovery.hint(gpu)  # MIG was switched on, perhaps
        changed = memory.get("fb_used_mib") != before
        if self._lists.due(gpu, used.get("gpu_util", 0.0), now_us, changed=changed):
            self._lists.read(gpu, now_us, self.start_us)
            if hole:
                schedule.observations += watch.observations(gpu, before_us, max(now_us, before_us), None, {})
        if now_us >= schedule.gauges_due_us:
            schedule.gauges_due_us = now_us + self._rates.gauges_us
            with schedule.gauges.asking("others"):
                schedule.gauges.renew("others", gpu_handle.gauges(), now_us, self._rates.gauges_us)

    def refresh(self) -> None:
        """Look at the process lists at the next tick: something happened to a job."""
        for schedule in self._schedules:
            schedule.list_due_us = schedule.usage_due_us = 0

    def _finish(self, end_us: int, *, blind: bool) -> None:
        """Read what belongs to the window as a whole, before it is cut."""
        if self._meter.hears and self._clock.virtual and (news := self._meter.wait_event(0)):
            self.heard.append(news)
        while self.heard:
            self.recovery.hear(self.heard.popleft())
        for gpu, (schedule, watch) in enumerate(zip(self._schedules, self._meter.watches, strict=True)):
            # Who is on a GPU that does not answer, or was on it before what was read last, is not known.
            if not blind and schedule.failing_since_us == MISSING and self.recovery.may_read(gpu):
                self.recovery.guard(gpu, partial(self._activity, gpu, schedule, watch, end_us))
        self.recovery.turn()
        self.pace.judge()

    def _activity(self, gpu: int, schedule: GpuSchedule, watch: ProcessWatch, end_us: int) -> None:
        now_us = self._clock.now_us()
        mig = bool(watch.instances)
        if watch.able("gpm") and (mig or now_us >= schedule.profile_due_us):
            schedule.profile_due_us = now_us + self._rates.profile_us
            gauges, schedule.busy = watch.profile(now_us)
            schedule.gauges.renew("profile", gauges, now_us, self._rates.profile_us)
        shares: dict[int, float] | None = None
        if watch.shared:
            shares = self._sharing.activity(schedule, watch)
        if self._lists.others(gpu, now_us):  # who left just before the end is not taken to be there yet
            self._lists.read(gpu, now_us, self.start_us)
        schedule.observations += watch.observations(gpu, self.start_us, end_us, shares, schedule.busy)
        for pid, start_us, stop_us, ratio in watch.ended():
            sm_us = int(ratio * (stop_us - start_us)) if ratio >= 0 else MISSING
            schedule.observations.append(ProcessObservation(gpu, pid, start_us, stop_us, sm_us, exited=True))

    def close_stale(self, what: str) -> tuple[Window, list[ProcessObservation]]:
        """Cut the open window although a call has not returned; for the watchdog."""
        with self.lock:
            self.recovery.all_stale(f"{what} does not return")
            return self._cut(self.start_us + self._rates.window_us)

    def _cut(self, end_us: int, *, blind: bool = False) -> tuple[Window, list[ProcessObservation]]:
        start_us, self.start_us = self.start_us, end_us
        count = len(self._schedules)
        rows, offsets = [], [0]
        busy_us = np.full(count, MISSING, np.int64)
        shown = [schedule.gauges.at(end_us) for schedule in self._schedules]
        self._names.update(*shown)
        names = sorted(self._names)
        table = np.array([[one.get(name, np.nan) for one in shown] for name in names]).reshape(len(names), count)
        observations: list[ProcessObservation] = []
        for gpu, schedule in enumerate(self._schedules):
            ready = [sample for sample in schedule.samples if sample.time_us < end_us]
            schedule.samples = schedule.samples[len(ready) :]
            rows += ready
            offsets.append(len(rows))
            if "gpu_util" not in shown[gpu]:
                schedule.utils = []  # nobody knows what it is by now
            if not blind:
                busy_us[gpu] = self._busy_us(gpu, schedule, end_us - start_us)
            # What was seen after a time without readings is reported by the window that it was seen in.
            later = [one for one in schedule.observations if blind and one.to_us > end_us]
            observations += [one for one in schedule.observations if one not in later]
            schedule.observations, schedule.utils = later, schedule.utils if blind else schedule.utils[-1:]
        columns = np.array(rows, np.int64).reshape(-1, 4)
        self.seq += 1
        window = Window(
            host=self._host,
            seq=self.seq - 1,
            start_us=start_us,
            end_us=end_us,
            devices=self._meter.devices[:count],
            readings=Readings(
                offsets=np.array(offsets, np.int64),
                time_us=np.ascontiguousarray(columns[:, 0]),
                power_mw=columns[:, 1].astype(np.int32),
                counter_mj=np.ascontiguousarray(columns[:, 2]),
                instant_mw=columns[:, 3].astype(np.int32),
            ),
            busy_us=busy_us,
            events=self.recovery.take_events(),
            gauges=dict(zip(names, table, strict=True)),
            beside=self._scopes.take(end_us),
        )
        return window, observations

    def _busy_us(self, gpu: int, schedule: GpuSchedule, length_us: int) -> int:
        if not schedule.up:
            return MISSING
        instances = {one.gi: one.ppm for one in self._meter.watches[gpu].instances}
        if instances:
            known = [used.sm * instances[gi] / 1e6 for gi, used in schedule.busy.items() if gi in instances]
            return int(min(1.0, sum(known)) * length_us) if known else MISSING
        return int(sum(schedule.utils) / len(schedule.utils) / 100 * length_us) if schedule.utils else MISSING
