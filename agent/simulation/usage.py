"""What a simulated board says of those who use it: utilisation, processes, accounting and profiling metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wattshed.agent.simulation.proc import pid_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wattshed.agent.simulation.faults import FaultPlan
    from wattshed.agent.simulation.proc import ProcessTree, Running
    from wattshed.agent.simulation.sensors import Architecture
    from wattshed.agent.simulation.workload import Job, Timeline

OK, UNSUPPORTED, NOT_FOUND = 0, 3, 6
NO_INSTANCE = 0xFFFFFFFF
MIB = 1 << 20
UTILISATION_US, UTILISATION_RING = 200_000, 71  # sampling period, and how many samples the driver keeps
JITTER_US = 1_500  # by so much a sample comes late
GPM_TENSOR, GPM_DRAM = 5, 10  # metric ids of nvml.h
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: products with it spread evenly


class Percents(NamedTuple):
    """For how much of the time SMs and memory were busy, percent."""

    sm: float
    memory: float


class BoardHost(Protocol):
    """What of the simulated host a board's users depend on: the time, its faults and its processes."""

    plan: FaultPlan
    tree: ProcessTree
    now_us: Callable[[], int]

    def dwell(self, gpu: int, published_us: int) -> None:
        """Let a reading of a GPU's counter, which was published then, take its time."""


@dataclass(slots=True, eq=False, kw_only=True)
class BoardUsage:
    """The users of one simulated board, as the driver sees them.

    Parameters
    ----------
    host : BoardHost
    index : int
    architecture : Architecture
    timeline : Timeline
    accounting : bool
        Whether accounting mode is on.
    rows : str
        What a row of process utilisation means: the mean of its ``interval``, the mean of the ``active`` part of it,
        the ``latest`` sample, or the mean of all that the GPU did in those samples at whose ``tick`` the process was
        on it, or was the last that had been.
    named_after_us, forgotten_before_us : int, us
        How long after its start a process is listed, with its memory, and how long before its end no more.
    instances : list of (GPU instance, compute instance, SMs)
        Empty: MIG is off.
    """

    host: BoardHost
    index: int
    architecture: Architecture
    timeline: Timeline
    accounting: bool = False
    rows: str = "interval"
    named_after_us: int = 0
    forgotten_before_us: int = 0
    instances: list[tuple[int, int, int]] = field(default_factory=list)

    def _busy(self, from_us: int, to_us: int) -> dict[int, float]:
        """Mean SM percent of the whole board, by pid."""
        return {pid: used.sm for pid, used in self._used(from_us, to_us).items()}

    def _used(self, from_us: int, to_us: int) -> dict[int, Percents]:
        """Return how busy each process kept the whole board, by pid."""
        sizes = {f"{gi}/{ci}": sms / self.architecture.sms for gi, ci, sms in self.instances}
        used = {}
        for (nth, cycle), hundredths in self.timeline.busy(from_us, to_us).items():
            job = self.timeline.jobs[nth]
            sm = hundredths / max(1, to_us - from_us) * sizes.get(job.instance, 1.0)
            used[pid_of(self.timeline, nth, cycle)] = Percents(sm, sm * job.dram)
        return used

    def utilisation(self) -> tuple[int, int] | None:
        """SM and memory utilisation over the last second, in percent; not under MIG."""
        if self.instances:
            return None
        now_us = self.host.now_us()
        plan = self.host.plan
        if plan.active("garbage-utilisation", now_us, self.index):
            return 3_405_691, 582_047
        if plan.active("latched-utilisation", now_us, self.index):
            return 100, 0
        busy = _together(self._used(now_us - 1_000_000, now_us).values())
        return round(busy.sm), round(busy.memory)

    def memory(self) -> tuple[int, int]:
        """Bytes in use, and in all."""
        used = 600 + sum(r.job.memory_mib for r in self._listed())
        return min(used, self.architecture.memory_mib) * MIB, self.architecture.memory_mib * MIB

    def _running(self) -> list[Running]:
        return [r for r in self.host.tree.running(self.host.now_us()) if r.gpu == self.index]

    def _listed(self) -> list[Running]:
        """Return whose context is open, as far as the driver knows by now."""
        line, now_us = self.timeline, self.host.now_us()
        found = []
        for one in self._running():
            cycle_us = line.origin_us + one.cycle * line.cycle_us
            begun = now_us >= cycle_us + one.job.start_us + self.named_after_us
            if begun and (one.job.forever or now_us < cycle_us + one.job.end_us - self.forgotten_before_us):
                found.append(one)
        return found

    def processes(self, instance: tuple[int, int] | None) -> list[tuple[int, int, int, int]]:
        """List processes on the board, or in one MIG instance: (pid, bytes, GPU instance, compute instance)."""
        scrambled = 1_000_003 if self.host.plan.active("scrambled-pids", self.host.now_us(), self.index) else 0
        found = []
        for one in self._listed():
            gi, ci = (int(n) for n in one.job.instance.split("/")) if one.job.instance else (NO_INSTANCE, NO_INSTANCE)
            if instance in {None, (gi, ci)}:
                found.append((one.pid + scrambled, one.job.memory_mib * MIB, gi, ci))
        return found

    def process_utilisation(self, since_us: int) -> tuple[int, list[tuple[int, int, int, int]]]:
        """Return a row for each process that is named by a sample newer than a moment.

        Returns
        -------
        code : int
        rows : list of (pid, time stamp of the last sample that names it, SM percent, memory percent)
            What the percentages are means of is what ``rows`` says.
        """
        if self.instances:
            return UNSUPPORTED, []
        now_us = self.host.now_us()
        if self.host.plan.active("success-error", now_us, self.index):
            return OK, []
        factor = 100 if self.host.plan.active("garbage-utilisation", now_us, self.index) else 1
        stamps = self._stamps(now_us, since_us)
        named: dict[int, list[tuple[int, Percents]]] = {}
        for stamp_us in stamps:
            for pid, used in self._sample(stamp_us).items():
                named.setdefault(pid, []).append((stamp_us, used))
        rows = []
        for pid, samples in sorted(named.items()):
            count = len(stamps) if self.rows in {"interval", "tick"} else len(samples)
            sm, memory = (round(sum(column) / count) * factor for column in zip(*(s for _, s in samples), strict=True))
            rows.append((pid, samples[-1][0], sm, memory))
        return (OK, rows) if rows else (NOT_FOUND, [])

    def _stamps(self, now_us: int, since_us: int) -> list[int]:
        """Return when the samples were taken that an answer is of, oldest first."""
        last = now_us // UTILISATION_US
        kept = [self._stamp_us(nth) for nth in range(last - UTILISATION_RING, last + 1)]
        new = [stamp_us for stamp_us in kept if since_us < stamp_us <= now_us][-UTILISATION_RING:]
        return new[-1:] if self.rows == "latest" else new

    def _stamp_us(self, nth: int) -> int:
        """Return when a sample was taken: the driver's timer comes late by up to a millisecond and a half."""
        late_us = _spread(nth, 1) * JITTER_US >> 32 if self.rows == "tick" else 0
        return nth * UTILISATION_US + late_us

    def _sample(self, stamp_us: int) -> dict[int, Percents]:
        """Return how busy a sample says that processes kept the board, by pid, as the driver notes it."""
        begin_us = stamp_us - UTILISATION_US
        used = self._used(begin_us, stamp_us)
        if self.rows != "tick":
            return {pid: one for pid, one in used.items() if one.sm > 0}
        whole = _together(used.values())
        named = self._on_engine(begin_us, stamp_us) if whole.sm else self._last_on_engine(stamp_us)
        return dict.fromkeys(named, whole)

    def _on_engine(self, begin_us: int, stamp_us: int) -> list[int]:
        """Name the process that was on the engine at a tick, else the last before it in the sample.

        Those who run at once are on it in turns, as often as each is busy: whose turn it is, is told by the tick.
        """
        for cycle, _, segment in reversed(self.timeline.between(begin_us, stamp_us)):
            shares = [(nth, sm) for nth, _, sm in segment.parts if sm > 0]
            place = _spread(stamp_us // UTILISATION_US, 0) * sum(sm for _, sm in shares) >> 32
            for nth, sm in shares:
                place -= sm
                if place < 0:
                    return [pid_of(self.timeline, nth, cycle)]
        return []

    def _last_on_engine(self, stamp_us: int) -> list[int]:
        """Name the process that was on the engine last before an idle sample, if it is there yet."""
        cycle, _, now = self.timeline.place(stamp_us)
        if (last := self.timeline.last_busy(now)) is None:
            return []
        there = {pid_of(self.timeline, nth, cycle) for nth, _, _ in self.timeline.segments[now].parts}
        turn, nth = last
        pid = pid_of(self.timeline, nth, cycle + turn)
        return [pid] if pid in there else []

    def accounted(self) -> dict[int, tuple[int, ...]]:
        """Accounting of the processes of the last two cycles, by pid: the fields of nvmlAccountingStats_t."""
        if not self.accounting:
            return {}
        line, now_us = self.timeline, self.host.now_us()
        found: dict[int, tuple[int, ...]] = {}
        this = line.place(now_us)[0]
        for cycle in range(max(0, this - 1), this + 1):
            for nth, job in enumerate(line.jobs):
                start_us, end_us = (line.origin_us + cycle * line.cycle_us + t for t in (job.start_us, job.end_us))
                start_us = max(start_us, line.since_us)
                if self.index not in job.gpus or not job.load or job.forever or start_us > min(now_us, end_us):
                    continue
                pid, over = pid_of(line, nth, cycle), end_us <= now_us
                busy = self._busy(start_us, min(end_us, now_us)).get(pid, 0.0)
                lasted_ms = (end_us - start_us) // 1000 if over else 0
                found[pid] = (round(busy), 0, job.memory_mib * MIB, lasted_ms, start_us, int(not over))
        return found

    def profile(self, metric: int, instance: int, from_us: int, to_us: int) -> float | None:
        """GPM metric of the board or of one GPU instance (its own SMs), in percent; None where it does not exist."""
        busy, running = self._busy(from_us, to_us), {r.pid: r.job for r in self._running()}
        whole = 1.0
        if instance >= 0:
            sms = sum(n for gi, _, n in self.instances if gi == instance)
            whole = max(1, sms) / self.architecture.sms
            busy = {pid: v for pid, v in busy.items() if _is_in(running.get(pid), instance)}
        percent = sum(busy.values()) / whole
        cut = min(100.0, percent) / percent if percent > 0 else 0.0
        if metric in {GPM_TENSOR, GPM_DRAM}:
            parts = {pid: job.tensor if metric == GPM_TENSOR else job.dram for pid, job in running.items()}
            return cut * sum(v * parts.get(pid, 0.0) for pid, v in busy.items()) / whole
        scale = {1: 1.0, 2: 0.95 if instance < 0 else 1.0, 3: 0.5}.get(metric)
        return None if scale is None else cut * percent * scale


def _together(used: Iterable[Percents]) -> Percents:
    """Return how busy all of them kept the board, which is never more than all the time."""
    return Percents(*(min(100.0, sum(column)) for column in zip((0.0, 0.0), *used, strict=True)))


def _is_in(job: Job | None, instance: int) -> bool:
    return job is not None and job.instance.startswith(f"{instance}/")


def _spread(nth: int, of: int) -> int:
    """Return one of the numbers 0 to 2^32 - 1 that are spread evenly over them, by number and kind."""
    return ((nth * (2 * of + 1) + of) * GOLDEN & (1 << 64) - 1) >> 32
