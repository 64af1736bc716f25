"""What the sampler keeps of each GPU from tick to tick, how often it reads, and what it asks of a meter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from wattshed.agent.meters.costs import Percentile
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wattshed.agent.meters.asking import Asking
    from wattshed.agent.meters.costs import CallCosts
    from wattshed.agent.meters.events import News
    from wattshed.agent.meters.gauges import Gauges
    from wattshed.agent.meters.handle import GpuHandle, Reading
    from wattshed.agent.meters.processes import ProcessWatch
    from wattshed.agent.meters.profiling import InstanceUse
    from wattshed.agent.window import Device, ProcessObservation

SECOND_US = 1_000_000
BLIND_US = 5 * SECOND_US
"""Nothing was read for longer than this: what is listed now does not tell who was there then. Process lists are read
every five seconds, so up to that it does."""


def moment_us(begun_us: int, ended_us: int) -> int | None:
    """Return of which moment a call's answer is: its middle, or None after a call so long that nobody knows."""
    return (begun_us + ended_us) // 2 if ended_us - begun_us <= BLIND_US else None


@dataclass(frozen=True, slots=True)
class Rates:
    """How often things are read, in microseconds.

    Attributes
    ----------
    window_us : length of a window.
    sample_us : counter, average power and throttle times.
    instant_us : instant power.
    burst_us : instant power while it changes fast; 0 turns bursts off.
    usage_us : utilisation and memory.
    processes_us : process lists, at the latest.
    gauges_us : limits, temperatures, clocks.
    profile_us : GPM (once a window under MIG, where it carries the split).
    learn_us : at the start, for learning publication periods: the GPUs are read as often as their driver allows.
    stale_us, restart_us : a call under way for so long is reported, and ends the process.
    """

    window_us: int = SECOND_US
    sample_us: int = SECOND_US
    instant_us: int = SECOND_US // 2
    burst_us: int = SECOND_US // 10
    usage_us: int = SECOND_US
    processes_us: int = 5 * SECOND_US
    gauges_us: int = 5 * SECOND_US
    profile_us: int = 5 * SECOND_US
    learn_us: int = SECOND_US
    stale_us: int = 5 * SECOND_US
    restart_us: int = 60 * SECOND_US


class Meter(Protocol):
    """Where readings come from."""

    kind: str
    gpu_handles: list[GpuHandle]
    watches: list[ProcessWatch]
    present: list[bool]
    unseen: int
    asked: list[Asking]
    let_alone: frozenset[str]

    @property
    def busy(self) -> bool:
        """Whether a question to a single GPU is under way."""

    @property
    def library(self) -> str:
        """File that was loaded."""

    @property
    def costs(self) -> CallCosts:
        """Seconds by call."""

    @property
    def devices(self) -> tuple[Device, ...]:
        """All GPUs ever found, in their places."""

    @property
    def hears(self) -> bool:
        """Whether it reports XID errors."""

    def open(self) -> None:
        """Start a driver session and find the GPUs."""

    def reopen(self, alive: Iterable[int]) -> None:
        """End the session and start a new one, without a moment in which nobody holds the GPUs that are alive."""

    def arrived(self) -> bool:
        """Whether a GPU came since the last open."""

    def unloaded(self) -> bool:
        """Whether the kernel's driver is gone since the last open."""

    def ask_again(self, index: int) -> None:
        """Ask the GPU of an index in this session alone for its identity and capabilities."""

    def answered(self) -> list[Asking]:
        """Return the questions that came to an end; a GPU that answered is in its place."""

    def place(self, index: int) -> int:
        """Return where the GPU of an index in this session is, or -1."""

    def wait_event(self, timeout_ms: int) -> News | None:
        """Wait for an event."""

    def listen(self, gpus: Iterable[int]) -> None:
        """Hear of these GPUs, and of no others any more."""

    def let_go(self) -> list[str]:
        """End the session and all that holds the driver; returns the device nodes that are open still."""

    def still_open(self) -> list[str]:
        """Return the device nodes that are open of GPUs to be let alone."""

    def close(self) -> None:
        """End the session."""


@dataclass(slots=True, eq=False)
class GpuSchedule:
    """What the poller keeps of one GPU from tick to tick."""

    gauges: Gauges
    up: bool = True
    sick: bool = False  # down because its calls take too long
    released: bool = False  # somebody else needs it: down until it is taken back
    stale: bool = False  # down only because a call did not return
    samples: list[Reading] = field(default_factory=list)  # of the window that is open
    observations: list[ProcessObservation] = field(default_factory=list)  # of processes that went away
    factor: int = 1  # times less often than planned the counter is read
    quick_factor: int = 1  # the same of instant power
    calls: Percentile = field(default_factory=Percentile)
    full_cost_us: float = 0.0
    quick_cost_us: float = 0.0
    step: int = 0  # readings are so many steps later than planned, away from the counter's publication
    aside_us: int = 0  # how far the next reading is moved
    failing_since_us: int = MISSING
    failing_code: int = 0
    backoff_us: int = 0
    quiet_until_us: int = 0
    looked_us: int = 0
    full_due_us: int = 0
    usage_due_us: int = 0
    list_due_us: int = 0
    glanced_us: int = 0  # when the lists were glanced at last
    gauges_due_us: int = 0
    profile_due_us: int = 0
    in_vain: int = 0  # process lists read in a row for a utilisation that nobody in them explains
    rows_due: bool = False  # a reading of the utilisation of its processes is on the schedule
    rows_cost_us: float = 0.0
    rows_count: int = 0
    burst_until_us: int = 0
    burst_again_us: int = 0
    last_mw: int = MISSING
    busy: dict[int, InstanceUse] = field(default_factory=dict)
    utils: list[float] = field(default_factory=list)
