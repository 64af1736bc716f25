"""What a simulated host and its boards would say: sensors and schedule, bent by the scripted faults."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.simulation.binding import Binding
from wattshed.agent.simulation.device_nodes import CONTROL, is_free, is_open_here, node_of
from wattshed.agent.simulation.faults import COUNTER, POWER, FaultPlan
from wattshed.agent.simulation.usage import BoardUsage

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.clock import Clock
    from wattshed.agent.simulation.device_nodes import DeviceNodes
    from wattshed.agent.simulation.proc import ProcessTree
    from wattshed.agent.simulation.sensors import Sensor

OK, UNINITIALIZED, INVALID, UNSUPPORTED, NO_DRIVER, LOST, MISMATCH, IN_USE, NOT_READY, UNKNOWN = (
    0, 1, 2, 3, 9, 15, 18, 19, 27, 999,
)  # fmt: skip
UINT, ULONGLONG = 1, 3
LIMITS = {187: "min", 188: "max", 189: "default", 190: "enforced", 192: "requested"}
GARBAGE_MW = 0xFFFFFFFF
RING = 119  # power samples that the driver keeps
LONG_US, LONG = 10_000, 5  # within so much of its publication, reading a slow counter takes so many times as long
SMOOTHING = 251  # NVML_FI_PWR_SMOOTHING_ENABLED
THROTTLE = frozenset({74, 76, 269, 270, 271})  # NVML_FI_DEV_CLOCKS_EVENT_REASON_...
RECOVERY = 230  # NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
XID, MIG_CHANGED, RECOVERY_CHANGED = 0x8, 0x100, 0x8000  # nvmlEventType of nvml.h
NO_ATTACH = 2  # nvmlInitWithFlags: a GPU is opened only when its handle is asked for
BEFORE_A_SESSION = ("nvmlInit", "nvmlSystemEvent", "nvmlSystemRegister")
KEPT = frozenset({
    "nvmlDeviceGetName", "nvmlDeviceGetUUID", "nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetMinorNumber",
    "nvmlDeviceGetArchitecture", "nvmlDeviceGetNumGpuCores", "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetHandleByUUID", "",
})  # fmt: skip
"""Calls that the library answers from what it keeps, without a word to the GPU; "" is the giving of a handle."""

Answer = tuple[int, int]


class SimulatedEvent(NamedTuple):
    """What the driver reports to those who asked: when, the index of the GPU, nvmlEventType, and its datum."""

    time_us: int
    gpu: int
    kind: int
    data: int


class SimulatedHost:
    """The driver's own state: its session, its boards, and what is wrong at the moment.

    Parameters
    ----------
    clock : Clock
    plan : FaultPlan
    tree : ProcessTree
    nodes : DeviceNodes
    """

    def __init__(self, clock: Clock, plan: FaultPlan, tree: ProcessTree, nodes: DeviceNodes) -> None:
        self._clock, self.plan, self.tree, self.nodes = clock, plan, tree, nodes
        self.cards: list[Card] = []  # on the host now
        self.session: tuple[Card, ...] = ()  # those that the open session knows: it does not see a GPU that comes later
        self.heard: dict[int, int] = {}  # event types that somebody registered for, by the GPU's index
        self.obey: Callable[[], None] = lambda: None  # carries out what other programs ask for
        self.binding = Binding(self)
        self._shown: tuple[list[Card], list[int]] = [], []
        self._opened = 0
        self._session_us: int | None = None
        self._whole = plan.has(
            {"driver-reload", "version-mismatch", "cut-off", "latency", "slow-gpu", "wedged", "error", "gpu-lost"}
        )
        self._events = [SimulatedEvent(f.start_us, max(0, f.gpu), XID, int(f.value)) for f in plan.of("xid")]
        self._events += [SimulatedEvent(f.start_us, max(0, f.gpu), int(f.value), 0) for f in plan.of("event")]
        self._changes: list[tuple[int, Callable[[], None]]] = []
        self._lock = threading.RLock()
        self.now_us = clock.now_us

    def plan_change(self, time_us: int, change: Callable[[], None]) -> None:
        """Have something about the boards changed at a moment."""
        self._changes.append((time_us, change))
        self._changes.sort(key=lambda one: one[0])

    @property
    def changes_us(self) -> tuple[int, ...]:
        """When the boards will change."""
        return tuple(time_us for time_us, _ in self._changes)

    def add(self, card: Card) -> None:
        """Put a board into its slot."""
        self.cards.append(card)
        self.cards.sort(key=lambda one: one.slot)

    def partition(self, card: Card, instances: list[tuple[int, int, int]]) -> None:
        """Switch MIG on with these instances, or off without any; those who registered for it are notified."""
        card.instances = instances
        self._events.append(SimulatedEvent(self.now_us(), card.index, MIG_CHANGED, 0))

    def advise(self, card: Card, action: int) -> None:
        """Change the driver's advice on how to recover a board; those who registered for it are notified."""
        card.recovery = action
        self._events.append(SimulatedEvent(self.now_us(), card.index, RECOVERY_CHANGED, 0))

    def init(self, flags: int = 0) -> int:
        """Open a session, or count one more client of the open one, as NVML does; with it all GPUs, unless told not."""
        self.obey()
        self.show()
        if not self._opened:
            self._session_us, self.session = self.now_us(), tuple(self.cards)
            self.nodes.hold(CONTROL)
        self._opened += 1
        for place in range(0 if flags & NO_ATTACH else len(self.session)):
            self.attach(place)
        return OK

    def attach(self, place: int) -> int:
        """Open the GPU at a place in the session, as the library does for its handle."""
        card = self.session[place]
        if not self.nodes.hold(node_of(card.minor)):
            return IN_USE
        card.met()
        return OK

    def shutdown(self) -> int:
        """Count one client less; the last one closes the session, and the nodes, if the library does not keep some."""
        if not self._opened:
            return UNINITIALIZED
        self._opened -= 1
        if not self._opened:
            self._session_us = None
            now_us, plan = self.now_us(), self.plan
            self.nodes.let_go([node_of(c.minor) for c in self.session if plan.active("held", now_us, c.index)])
            for card in self.session:
                if is_free(path := self.nodes.folder / node_of(card.minor)) and not is_open_here(path):
                    card.left_us = now_us
            self.binding.let_leave()
        return OK

    def show(self) -> None:
        """Let happen what is due on the host, and list the boards where the kernel's driver does."""
        with self._lock:
            while self._changes and self._changes[0][0] <= self.now_us():
                self._changes.pop(0)[1]()
        shown = self.cards[:], [card.slot for card in self.cards]
        if shown != self._shown:  # it seldom is, and all calls come by here
            self._shown = shown
            self.nodes.show([card.minor for card in self.cards])
            self.tree.list_gpus({card.index: card.pci_bus_id for card in self.cards}, self.now_us())

    def enter(self, name: str, place: int) -> int:
        """Say what prevents a call on the GPU at a place in the session: what it answers instead, or 0."""
        self.show()
        if name == "nvmlShutdown":
            return OK  # gives back what the library holds, whatever became of the driver
        card = self.session[place] if 0 <= place < len(self.session) else None
        if card is not None and card not in self.cards:
            return LOST  # it was taken from the host
        gpu = card.index if card is not None else -1
        if self._whole and (code := self._bent(name, gpu)):
            return code
        if self._session_us is None:
            return OK if name.startswith(BEFORE_A_SESSION) else UNINITIALIZED
        return OK if place < len(self.session) else INVALID  # a handle of an earlier session

    def _bent(self, name: str, gpu: int) -> int:
        if name == "nvmlEventSetWait_v2":
            return OK
        if code := self._delayed(name, gpu):
            return code
        plan, now_us = self.plan, self.now_us()
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
        for fault in plan.active("error", now_us, gpu):
            if fault.call in {"", name}:
                return int(fault.value)
        return LOST if gpu >= 0 and self._is_lost(gpu) else OK

    def _is_lost(self, gpu: int) -> bool:
        """Whether a GPU is lost: until the fault is over, and then until somebody opens a new session."""
        now_us, since_us = self.now_us(), self._session_us or 0
        return any(now_us < f.end_us or since_us < f.end_us for f in self.plan.began("gpu-lost", now_us, gpu))

    def _delayed(self, name: str, gpu: int) -> int:
        """Let a call take its time; all that slows it down adds up. Returns what a slow GPU answers then."""
        plan, now_us = self.plan, self.now_us()
        slow = plan.active("slow-gpu", now_us, gpu) if gpu >= 0 and name not in KEPT else []
        late = [f for f in plan.active("latency", now_us, gpu) if f.call in {"", name}]
        late_us = sum(int(f.value) for f in (*late, *slow))
        if late_us:
            self._sleep_until(now_us + late_us)
        for fault in plan.active("wedged", now_us, gpu):
            if not fault.done:
                fault.done = True
                self._sleep_until(fault.end_us)
        return next((f.code for f in slow if f.code), OK)

    def dwell(self, gpu: int, published_us: int) -> None:
        """Let a reading of a GPU's counter take its time, the value being that of its beginning.

        As an H200 did it with driver 580: 2.4 to 3.5 ms, and 11 to 18 ms within 10 ms after the counter was published.
        """
        now_us = self.now_us()
        for fault in self.plan.active("slow-counter", now_us, gpu):
            self._sleep_until(self.now_us() + int(fault.value) * (LONG if now_us - published_us < LONG_US else 1))

    def _sleep_until(self, time_us: int) -> None:
        self._clock.sleep_until(time_us)
        self.show()

    def next_event(self, timeout_ms: int) -> SimulatedEvent | None:
        """Wait for an event that somebody registered for; without one, for as long as asked.

        Not at all while one of the GPUs is lost: `deaf` says so.
        """
        self.obey()
        for event in [e for e in self._events if e.time_us <= self.now_us()]:
            self._events.remove(event)
            if self.heard.get(event.gpu, 0) & event.kind:
                return event
        if not self.deaf:
            self.nothing(timeout_ms)
        return None

    @property
    def deaf(self) -> bool:
        """Whether a GPU that somebody listens to is lost: then no wait for events succeeds."""
        return any(self._is_lost(gpu) for gpu in self.heard)

    def nothing(self, timeout_ms: int) -> None:
        """Wait for as long as asked, in vain."""
        if timeout_ms and not self._clock.virtual:
            self._clock.sleep_until(self.now_us() + timeout_ms * 1000)


@dataclass(slots=True, eq=False, kw_only=True)
class Card(BoardUsage):
    """One simulated board: who it is, and what its meters show."""

    uuid: str
    sensor: Sensor
    minor: int
    slot: int  # where on the bus it is: NVML counts boards in this order
    persistence: bool = True
    module: Sensor | None = None  # that of the superchip it sits on
    scopes: tuple[int, ...] = ()  # of powers: 0 GPU, 1 module, 2 memory
    throttled_ns: dict[int, int] = field(default_factory=dict)  # by field
    recovery: int = 0  # the driver's advice: nvmlDeviceGpuRecoveryAction_t
    reset_us: int = 0  # the last reset that the sensor knows of
    left_us: int = -1  # since when no session and no other program has it open; -1: one has
    power_smoothing: bool = False
    power_profiles: tuple[int, ...] = ()  # workload power profiles in force

    @property
    def bus(self) -> int:
        """Number of its PCI bus."""
        return 0x17 + self.slot

    @property
    def pci_bus_id(self) -> str:
        """Domain, bus, device and function."""
        return f"00000000:{self.bus:02X}:00.0"

    @property
    def cores(self) -> int:
        """FP32 lanes of all SMs."""
        return self.architecture.sms * self.architecture.lanes

    @property
    def can_mig(self) -> bool:
        """Whether the board can be partitioned."""
        return self.architecture.mig

    @property
    def counted(self) -> Sensor:
        """What its energy counter counts: the board, or on some superchips the module."""
        return self.module if self.module is not None and self.architecture.counts_module else self.sensor

    def restart_counter(self) -> None:
        """Let the counter begin at zero now: the board was reset, or is new to the driver."""
        self.counted.reset(self.host.now_us())

    def met(self) -> None:
        """Be opened: without persistence mode the counter began when the first one came after the last one had gone."""
        left_us, self.left_us = self.left_us, -1
        if left_us >= 0 and not self.persistence:
            since_us = self.timeline.used_since_us(left_us, self.host.now_us())
            if since_us > left_us:
                self.counted.reset(since_us)

    def field(self, number: int, scope: int, now_us: int) -> tuple[int, int, int]:
        """Answer a field query: (code, value type, value)."""
        about = self.architecture
        if number == 83 and scope == 0:
            code, value = self.counter(now_us)
            return code, ULONGLONG, value
        if number in {185, 186}:
            return self._power(number, scope, now_us)
        if number in LIMITS and scope == 0:
            code, value = self.limit(LIMITS[number])
            return code, UINT, value
        if number == 82 and scope == 0 and about.number >= 7:
            return OK, UINT, self.celsius() + 6
        if number == RECOVERY and about.number >= 8:
            return OK, UINT, self.recovery
        if number in THROTTLE and about.number >= 7:
            return OK, ULONGLONG, self.throttled_ns.get(number, 0)
        if number == SMOOTHING and about.number >= 10:
            return OK, UINT, int(self.power_smoothing)
        return UNSUPPORTED, UINT, 0

    def counter(self, now_us: int) -> Answer:
        """Energy since the counter began, in mJ."""
        if not self.architecture.energy:
            return UNSUPPORTED, 0
        plan, sensor = self.host.plan, self.counted
        if not plan.has(COUNTER):
            return OK, sensor.energy_mj(now_us)
        self.host.dwell(self.index, sensor.published_us(now_us))
        if plan.active("not-ready", now_us, self.index):
            return NOT_READY, 0
        reset_us = plan.reset_us(now_us, self.index)
        if reset_us > self.reset_us:
            self.reset_us = reset_us
            sensor.reset(reset_us)
        stuck = plan.active("counter-stuck", now_us, self.index)
        value = sensor.energy_mj(max(stuck[0].start_us, reset_us) if stuck else now_us)
        # What it jumped by before it began at zero is gone.
        jumps = [f for f in plan.began("counter-jump", now_us, self.index) if f.start_us >= reset_us]
        dips = plan.active("counter-dip", now_us, self.index)
        value += sum(int(f.value * 1000) for f in jumps) - sum(int(f.value * 1000) for f in dips)
        return OK, max(0, value)

    def _power(self, number: int, scope: int, now_us: int) -> tuple[int, int, int]:
        about, plan = self.architecture, self.host.plan
        if not (about.average if number == 185 else about.instant):
            return UNSUPPORTED, UINT, 0
        if scope not in self.scopes:
            return UNSUPPORTED, UINT, 0
        if scope == 1 and self.module is not None:
            return OK, UINT, self.module.average_mw(now_us) if number == 185 else self.module.instant_mw(now_us)
        if scope == 2:
            able = about.memory_mw and (number == 185 or about.memory_instant)
            return (OK, UINT, about.memory_mw) if able else (UNSUPPORTED, UINT, 0)
        at_us = now_us
        if plan.has(POWER):
            for kind, value in (("zero-power", 0), ("garbage", GARBAGE_MW)):
                if plan.active(kind, now_us, self.index):
                    return OK, UINT, value
            frozen = plan.active("frozen-power", now_us, self.index)
            at_us = frozen[0].start_us if frozen else now_us
        return OK, UINT, self.sensor.average_mw(at_us) if number == 185 else self.sensor.instant_mw(at_us)

    def usage(self) -> Answer:
        """Power as nvmlDeviceGetPowerUsage returns it: average where that exists."""
        code, _, value = self._power(185 if self.architecture.average else 186, 0, self.host.now_us())
        return code, value

    def limit(self, which: str) -> Answer:
        """Power limits."""
        if not self.architecture.limits:
            return UNSUPPORTED, 0
        return OK, self.architecture.limit_mw * 2 // 7 if which == "min" else self.architecture.limit_mw

    def power_samples(self, since_us: int) -> list[tuple[int, int]]:
        """Return the driver's ring of published instant power: (time stamp, mW), oldest first."""
        return [one for one in self.sensor.samples(self.host.now_us(), RING) if one[0] > since_us]

    def celsius(self) -> int:
        """Temperature: 30 degrees, and one for every ten watts."""
        return 30 + self.timeline.segment(self.host.now_us()).power_mw // 10_000

    def clock_mhz(self, which: int) -> int:
        """SM or memory clock: idle boards run slowly."""
        running = bool(self.timeline.segment(self.host.now_us()).parts)
        return 2619 if which == 2 else 1980 if running else 345
