"""What a simulated host and its boards would say: sensors and schedule, bent by the scripted faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.meters.faults import COUNTER, POWER, FaultPlan
from agent.meters.simulated_proc import pid_of

if TYPE_CHECKING:
    from agent.meters.clock import Clock
    from agent.meters.sensors import Architecture, Sensor
    from agent.meters.simulated_proc import ProcessTree, Running
    from agent.meters.workload import Timeline

OK, UNINITIALIZED, UNSUPPORTED, NOT_FOUND, NO_DRIVER, LOST, MISMATCH, NO_DATA, NOT_READY, UNKNOWN = (
    0, 1, 3, 6, 9, 15, 18, 21, 27, 999,
)  # fmt: skip
UINT, ULONGLONG = 1, 3
LIMITS = {187: "min", 188: "max", 189: "default", 190: "enforced", 192: "requested"}
NO_INSTANCE = 0xFFFFFFFF
GARBAGE_MW = 0xFFFFFFFF
MIB = 1 << 20
UTILISATION_US, UTILISATION_RING = 200_000, 50  # sampling period, and how many samples the driver keeps
RING = 120  # samples that the driver keeps

Answer = tuple[int, int]


class SimulatedHost:
    """The driver's own state: its session, its boards, and what is wrong at the moment.

    Parameters
    ----------
    clock : Clock
    plan : FaultPlan
    tree : ProcessTree
    """

    def __init__(self, clock: Clock, plan: FaultPlan, tree: ProcessTree) -> None:
        self._clock, self.plan, self.tree = clock, plan, tree
        self.cards: list[Card] = []  # on the host now
        self.session: tuple[Card, ...] = ()  # those that the open session knows: it does not see a GPU that comes later
        self._opened = 0
        self._session_us: int | None = None
        self._whole = plan.has(
            {"driver-reload", "version-mismatch", "cut-off", "latency", "wedged", "error", "gpu-lost"}
        )
        self._xids = plan.began("xid", 1 << 62)
        self.now_us = clock.now_us

    def init(self) -> int:
        """Open a session, or count one more client of the open one, as NVML does."""
        if not self._opened:
            self._session_us, self.session = self.now_us(), tuple(self.cards)
        self._opened += 1
        return OK

    def shutdown(self) -> int:
        """Count one client less; the last one closes the session."""
        if not self._opened:
            return UNINITIALIZED
        self._opened -= 1
        if not self._opened:
            self._session_us = None
        return OK

    def show(self) -> None:
        """List the boards where the kernel's driver does."""
        self.tree.list_gpus([card.pci_bus_id for card in self.cards])

    def enter(self, name: str, place: int) -> int:
        """Say what stands against a call on the GPU at a place in the session: what it answers instead, or 0."""
        self.show()
        if name == "nvmlShutdown":
            return OK  # gives back what the library holds, whatever became of the driver
        card = self.session[place] if 0 <= place < len(self.session) else None
        if card is not None and card not in self.cards:
            return LOST  # it was taken from the host
        gpu = card.index if card is not None else -1
        if self._whole and (code := self._bent(name, gpu)):
            return code
        opening = name.startswith("nvmlInit")
        return OK if opening or self._session_us is not None else UNINITIALIZED

    def _bent(self, name: str, gpu: int) -> int:
        if name == "nvmlEventSetWait_v2":
            return OK
        plan, now_us = self.plan, self.now_us()
        if late := plan.active("latency", now_us, gpu):
            self._clock.sleep_until(now_us + int(late.value))
        hung = plan.active("wedged", now_us, gpu)
        if hung and not hung.done and gpu in {-1, hung.gpu} | ({gpu} if hung.gpu == -1 else set()):
            hung.done = True
            self._clock.sleep_until(hung.end_us)
        if plan.active("version-mismatch", now_us):
            return MISMATCH
        if plan.active("cut-off", now_us):
            return UNKNOWN
        if plan.active("driver-reload", now_us):
            self._session_us = None
            return NO_DRIVER
        for fault in plan.began("driver-reload", now_us):
            if not fault.done:
                fault.done = True
                self._session_us = None
                for card in self.cards:
                    card.sensor.reset(fault.end_us)
        scripted = plan.active("error", now_us, gpu)
        if scripted and scripted.call in {"", name} and scripted.gpu in {-1, gpu}:
            return int(scripted.value)
        for fault in plan.began("gpu-lost", now_us, gpu) if gpu >= 0 else ():
            # Until the fault is over, and then until somebody opens a new session.
            if now_us < fault.end_us or (self._session_us or 0) < fault.end_us:
                return LOST
        return OK

    def next_xid(self, timeout_ms: int) -> tuple[int, int] | None:
        """Wait for an XID error; without one, for as long as asked."""
        for fault in self._xids:
            if not fault.done and fault.start_us <= self.now_us():
                fault.done = True
                return max(0, fault.gpu), int(fault.value)
        if timeout_ms and not self._clock.virtual:
            self._clock.sleep_until(self.now_us() + timeout_ms * 1000)
        return None


@dataclass(slots=True, eq=False)
class Card:
    """One simulated board."""

    host: SimulatedHost
    index: int
    uuid: str
    architecture: Architecture
    sensor: Sensor
    timeline: Timeline
    minor: int
    accounting: bool = False
    instances: list[tuple[int, int, int]] = field(default_factory=list)  # GPU instance, compute instance, SMs

    @property
    def pci_bus_id(self) -> str:
        """Domain, bus, device and function."""
        return f"00000000:{0x17 + self.index:02X}:00.0"

    @property
    def cores(self) -> int:
        """FP32 lanes of all SMs."""
        return self.architecture.sms * self.architecture.lanes

    @property
    def can_mig(self) -> bool:
        """Whether the board can be partitioned."""
        return self.architecture.mig

    def field(self, number: int, scope: int, now_us: int) -> tuple[int, int, int]:
        """Answer a field query: (code, value type, value)."""
        about = self.architecture
        if number == 83 and scope == 0 and about.energy:
            code, value = self._counter(now_us)
            return code, ULONGLONG, value
        if number in {185, 186}:
            return self._power(number, scope, now_us)
        if number in LIMITS and scope == 0:
            code, value = self.limit(LIMITS[number])
            return code, UINT, value
        if number == 82 and scope == 0 and about.number >= 7:
            return OK, UINT, self.celsius() + 6
        if number in {74, 269, 270, 271} and about.number >= 7:
            return OK, ULONGLONG, 0
        return UNSUPPORTED, UINT, 0

    def _counter(self, now_us: int) -> Answer:
        plan, sensor = self.host.plan, self.sensor
        if not plan.has(COUNTER):
            return OK, sensor.energy_mj(now_us)
        if plan.active("not-ready", now_us, self.index):
            return NOT_READY, 0
        for fault in plan.began("counter-reset", now_us, self.index):
            if not fault.done:
                fault.done = True
                sensor.reset(fault.start_us)
        stuck = plan.active("counter-stuck", now_us, self.index)
        value = sensor.energy_mj(stuck.start_us if stuck else now_us)
        value += sum(int(f.value * 1000) for f in plan.began("counter-jump", now_us, self.index))
        dip = plan.active("counter-dip", now_us, self.index)
        return OK, max(0, value - int(dip.value * 1000)) if dip else value

    def _power(self, number: int, scope: int, now_us: int) -> tuple[int, int, int]:
        about, plan = self.architecture, self.host.plan
        if not (about.average if number == 185 else about.instant):
            return UNSUPPORTED, UINT, 0
        if scope:
            extra = {1: about.module_mw, 2: about.memory_mw}.get(scope, 0)
            if not extra:
                return UNSUPPORTED, UINT, 0
            own = self.sensor.instant_mw(now_us) if scope == 1 else 0
            return OK, UINT, own + extra + (about.memory_mw if scope == 1 else 0)
        at_us = now_us
        if plan.has(POWER):
            for kind, value in (("zero-power", 0), ("garbage", GARBAGE_MW)):
                if plan.active(kind, now_us, self.index):
                    return OK, UINT, value
            frozen = plan.active("frozen-power", now_us, self.index)
            at_us = frozen.start_us if frozen else now_us
        return OK, UINT, self.sensor.average_mw(at_us) if number == 185 else self.sensor.instant_mw(at_us)

    def usage(self) -> Answer:
        """Power as nvmlDeviceGetPowerUsage tells it: average where that exists."""
        code, _, value = self._power(185 if self.architecture.average else 186, 0, self.host.now_us())
        return code, value

    def limit(self, which: str) -> Answer:
        """Power limits."""
        if not self.architecture.limits:
            return UNSUPPORTED, 0
        return OK, self.architecture.limit_mw * 2 // 7 if which == "min" else self.architecture.limit_mw

    def _busy(self, from_us: int, to_us: int) -> dict[int, float]:
        """Mean SM percent of the whole board, by pid."""
        sizes = {f"{gi}/{ci}": sms / self.architecture.sms for gi, ci, sms in self.instances}
        busy = {}
        for (nth, cycle), hundredths in self.timeline.busy(from_us, to_us).items():
            job = self.timeline.jobs[nth]
            pid = pid_of(self.timeline, nth, cycle)
            busy[pid] = hundredths / max(1, to_us - from_us) * sizes.get(job.instance, 1.0)
        return busy

    def utilisation(self) -> tuple[int, int] | None:
        """SM and memory utilisation over the last second, in percent; not under MIG."""
        if self.instances:
            return None
        now_us = self.host.now_us()
        if self.host.plan.active("garbage-utilisation", now_us, self.index):
            return 3_405_691, 582_047
        busy = min(100.0, sum(self._busy(now_us - 1_000_000, now_us).values()))
        return round(busy), round(busy / 2)

    def memory(self) -> tuple[int, int]:
        """Bytes in use, and in all."""
        used = 600 + sum(r.job.memory_mib for r in self._running())
        return min(used, self.architecture.memory_mib) * MIB, self.architecture.memory_mib * MIB

    def _running(self) -> list[Running]:
        return [r for r in self.host.tree.running(self.host.now_us()) if r.gpu == self.index]

    def processes(self, instance: tuple[int, int] | None) -> list[tuple[int, int, int, int]]:
        """List processes on the board, or in one MIG instance: (pid, bytes, GPU instance, compute instance)."""
        scrambled = 1_000_003 if self.host.plan.active("scrambled-pids", self.host.now_us(), self.index) else 0
        found = []
        for one in self._running():
            gi, ci = (int(n) for n in one.job.instance.split("/")) if one.job.instance else (NO_INSTANCE, NO_INSTANCE)
            if instance in {None, (gi, ci)}:
                found.append((one.pid + scrambled, one.job.memory_mib * MIB, gi, ci))
        return found

    def process_utilisation(self, since_us: int) -> tuple[int, list[tuple[int, int, int]]]:
        """Return samples of each process newer than a moment: (code, [(pid, time stamp, SM percent)]), 200 ms apart."""
        if self.instances:
            return UNSUPPORTED, []
        now_us = self.host.now_us()
        if self.host.plan.active("success-error", now_us, self.index):
            return OK, []
        factor = 100 if self.host.plan.active("garbage-utilisation", now_us, self.index) else 1
        newest_us = now_us - now_us % UTILISATION_US
        oldest_us = max(since_us - since_us % UTILISATION_US, newest_us - UTILISATION_RING * UTILISATION_US)
        samples = [
            (pid, stamp_us, round(sm) * factor)
            for stamp_us in range(oldest_us + UTILISATION_US, newest_us + 1, UTILISATION_US)
            for pid, sm in sorted(self._busy(stamp_us - UTILISATION_US, stamp_us).items())
            if sm > 0
        ]
        return (OK, samples) if samples else (NOT_FOUND, [])

    def power_samples(self, since_us: int) -> list[tuple[int, int]]:
        """Return the driver's ring of published instant power: (time stamp, mW), oldest first."""
        period_us, now_us = self.architecture.period_us, self.host.now_us()
        newest_us = now_us - (now_us - self.sensor.phase_us) % period_us
        stamps = range(newest_us - (RING - 1) * period_us, newest_us + 1, period_us)
        return [(t, self.sensor.instant_mw(t)) for t in stamps if t > since_us]

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
                if self.index not in job.gpus or not job.load or job.forever or start_us > now_us:
                    continue
                pid, over = pid_of(line, nth, cycle), end_us <= now_us
                busy = self._busy(start_us, min(end_us, now_us)).get(pid, 0.0)
                lasted_ms = (end_us - start_us) // 1000 if over else 0
                found[pid] = (round(busy), 0, job.memory_mib * MIB, lasted_ms, start_us, int(not over))
        return found

    def profile(self, metric: int, instance: int, from_us: int, to_us: int) -> float | None:
        """GPM metric of the board or of one GPU instance (its own SMs), in percent; None where it does not exist."""
        busy = self._busy(from_us, to_us)
        if instance >= 0:
            mine = {r.pid for r in self._running() if r.job.instance.startswith(f"{instance}/")}
            sms = sum(n for gi, _, n in self.instances if gi == instance)
            percent = sum(v for pid, v in busy.items() if pid in mine) * self.architecture.sms / max(1, sms)
        else:
            percent = sum(busy.values())
        scale = {1: 1.0, 2: 0.95 if instance < 0 else 1.0, 3: 0.5, 5: 0.4, 10: 0.3}.get(metric)
        return None if scale is None else min(100.0, percent) * scale

    def celsius(self) -> int:
        """Temperature: 30 degrees, and one for every ten watts."""
        return 30 + self.timeline.segment(self.host.now_us()).power_mw // 10_000

    def clock_mhz(self, which: int) -> int:
        """SM or memory clock: idle boards run slowly."""
        running = bool(self.timeline.segment(self.host.now_us()).parts)
        return 2619 if which == 2 else 1980 if running else 345
