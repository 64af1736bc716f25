"""The published facts, frozen. One writer makes a snapshot after each window; any number of readers never lock.

Energies are exact integers in half-nanojoules (``_hnj``; 1 J = 2,000,000,000 hnj): a trapezoid of whole milliwatts over
whole microseconds is a whole number of these, so nothing is rounded before it is shown (docs/decisions/0002).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.exporters.split_facts import SplitFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.exporters.work_facts import WorkFacts


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """One GPU as it is now, and what it has used since the agent first started (restored over restarts)."""

    uuid: str
    index: int
    model: str
    pci_bus_id: str
    driver: str
    architecture: str
    simulated: bool
    up: bool
    energy_source: str  # "counter" | "power" | "none": it never had a reading, and its energy is unknown, not 0
    energy_hnj: int
    sigma_j: float
    released: bool = False  # let go of for somebody else who needs it: not up until it is taken back
    power_w: Mapping[str, float] = field(default_factory=dict)  # reading ("instant", "average") -> W
    limits_w: Mapping[str, float] = field(default_factory=dict)  # "enforced", "default", "min", "max", ... -> W
    counter_resets: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)  # reason -> samples
    gap_us: int = 0
    covered_us: int = 0  # the time that energy_hnj was used in: between two snapshots, energy by it is the mean power
    ended_hnj: int = 0  # what jobs used whose own series are gone: with the shares it sums to energy_hnj
    disagreement: float | None = None  # (power integral - counter) / counter
    flags: tuple[str, ...] = ()
    peak_w: Mapping[str, float] = field(default_factory=dict)  # window ("1s", "10s", "1m") -> W
    ramp_w_per_s: Mapping[tuple[str, str], float] = field(default_factory=dict)  # (window, "up" | "down") -> W/s
    gauges: Mapping[str, float] = field(default_factory=dict)  # temperature_c, sm_clock_mhz, fb_used_mib, gpu_util ...
    mig: bool = False
    boundary: str = "board"  # or "module": a superchip whose GPU does not tell its own energy, CPU included
    last_xid: int | None = None  # number of the last XID error; None: none was seen
    xids: Mapping[int, int] = field(default_factory=dict)  # number of an XID error -> how often it was reported
    status: str = "ok"  # "ok" | "stale" | "sick" | "lost" | "released" | "asleep" | "unmeterable"
    why: str = ""  # the reason, if it is not "ok"
    recovery_action: str | None = None  # what the driver advises to do; None: it does not say

    @property
    def answers(self) -> bool:
        """Whether it is read: what it can report is current."""
        return self.up and self.status in {"ok", "unmeterable"}


@dataclass(frozen=True, slots=True)
class EnergyShare:
    """What one owner used of one GPU. ``job`` may be ``_idle``, ``_unattributed`` or ``_other`` (see `JobFacts`)."""

    job: str
    gpu_uuid: str
    static_hnj: int
    dynamic_hnj: int


@dataclass(frozen=True, slots=True)
class WorkStatus:
    """What reading the work of jobs says of itself."""

    resets: int = 0  # times that a server's counters began anew
    rejected: Mapping[str, int] = field(default_factory=dict)  # reason -> pages, or messages of jobs
    servers: tuple[tuple[str, str, bool], ...] = ()  # (job, kind, whether its page was read)


@dataclass(frozen=True, slots=True)
class JobFacts:
    """One job: its labels, and the GPU time that it held."""

    job: str
    labels: Mapping[str, str]
    active_us: int
    held_us: int
    sigma_j: float | None  # None: none of its GPUs reports its energy
    started_us: int
    ended_us: int | None = None
    method: str = ""  # how its dynamic energy was split: "alone", "utilisation", "share", "equal", ...
    work: tuple[WorkFacts, ...] = ()
    waiting_hnj: int | None = None  # used while none of its servers had a request; None: they do not tell


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """One process on a GPU. No more than its number: what it runs is for its own host to show, by that host's rules."""

    job: str  # or _unattributed
    pid: int
    gpu_uuid: str
    instance: str = ""  # "gpu-instance/compute-instance" under MIG
    memory_bytes: int | None = None
    started_us: int | None = None


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """One MIG instance, and how many of its GPU's SMs it has."""

    uuid: str
    gpu_uuid: str
    instance: str
    share: float  # 0 to 1


@dataclass(frozen=True, slots=True)
class Tenancy:
    """Who is on the GPUs at the moment, and into what these are divided."""

    processes: tuple[ProcessFacts, ...] = ()
    instances: tuple[InstanceFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class HostEnergy:
    """What one meter of the host beside the GPUs' own said; meters may hold each other, so they are never added up."""

    source: str  # "rapl", "ipmi", "nvml", ...
    domain: str  # "package-0", "node"; "module-0": the superchip that GPU 0 sits on
    energy_hnj: int | None  # None: it was never read, or once: its energy is unknown and not 0
    part_of: str = ""  # domain of the same source that holds this one
    boundary: str = ""  # "ac" | "dc" | "cpu" | "memory" | "module" | "device"
    kind: str = ""  # "counter" | "gauge"
    window_us: int = -1  # over which a gauge averages; -1 unknown
    power_w: float | None = None
    sigma_j: float | None = None
    gap_us: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)  # reason -> readings
    flags: tuple[str, ...] = ()  # "frozen", "may-alias", "sigma-assumed", ...


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """The whole node, over the time that its own meter covers."""

    meter: str  # name of that meter, "ipmi/node"
    covered_us: int
    node_hnj: int  # what it said
    parts_hnj: Mapping[str, int]  # "gpu", "cpu", "memory", "rest": they sum to node_hnj and debt_hnj
    debt_hnj: int = 0
    sigma_j: Mapping[str, float] = field(default_factory=dict)  # of each part
    disagreement: Mapping[str, float] = field(default_factory=dict)  # "parts" or another node meter's source -> ratio
    flags: tuple[str, ...] = ()  # "parts-above-meter"
    estimate_hnj: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # job or _idle ... -> part; in no bill
    ended_estimate_hnj: Mapping[str, int] = field(default_factory=dict)  # part -> of jobs whose own series are gone

    def estimate_sigma_j(self, job: str) -> float:
        """Return one sigma of a job's estimate that comes from the meters: their gains are off alike, so it adds up."""
        parts = self.estimate_hnj.get(job, {})
        return sum(
            self.sigma_j.get(part, 0.0) * hnj / self.parts_hnj[part]
            for part, hnj in parts.items()
            if self.parts_hnj.get(part)
        )


@dataclass(frozen=True, slots=True)
class Histogram:
    """A classic histogram: cumulative counts per upper bound (the last is +Inf), and the sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True, slots=True)
class NodeModelFacts:
    """From the GPUs of a node to the node: what is added, and watts for each watt of the GPUs."""

    source: str  # "live": fitted to nodes' own meters | "inventory" | "assumed"
    fixed_w: float
    slope: float


@dataclass(frozen=True, slots=True)
class FleetFacts:
    """The fleet's extrapolation; bounds ("mean", "lower", "upper") are absent where there is no honest interval."""

    power_w: Mapping[tuple[str, str], float]  # (boundary, bound) -> W
    energy_j: Mapping[str, float]  # boundary -> J since start
    peak_w: Mapping[tuple[str, str], float]  # (boundary, window) -> W
    hosts_known: int
    hosts_reporting: int
    warnings: tuple[str, ...] = ()
    supply_w: Mapping[str, float] = field(default_factory=dict)  # boundary -> W that its feed can carry
    states: Mapping[str, int] = field(default_factory=dict)  # state -> hosts, where states are known
    node_models: Mapping[str, NodeModelFacts] = field(default_factory=dict)  # by stratum


@dataclass(frozen=True, slots=True)
class HistoryFacts:
    """What the history on disk says of itself."""

    bytes_used: int
    outbox_parts: int  # parts of jobs that wait to be written
    parts: int  # written since the agent started
    dropped_parts: int  # dropped for their age, or for the size of it all
    write_s: float  # how long the last write took


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """In which form the kernels that bill run."""

    form: str  # "so", "objects", "numba" or "off"
    cpu: str  # what they are compiled for; empty for plain Python


@dataclass(frozen=True, slots=True)
class EnergyPrices:
    """What energy costs, as configured; None: unknown."""

    currency: str = ""
    per_kwh: float | None = None
    carbon_g_per_kwh: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is published, as of one moment.

    ``seq`` grows with each processed window; 0 means that no window was processed yet (not ready).
    ``faults`` counts run-time faults by part ("squeue", "recorder", "nvml", ...): a fault is a metric and a log line.
    ``counters_since_us`` is when the restored counters began; None: with this start of the agent.
    ``unmetered`` says why no GPU is being metered now; empty: at least one is.
    """

    host: str
    version: str
    meter: str  # "nvml" | "simulated" | "trace"
    library: str  # the driver library that was loaded
    seq: int
    time_us: int
    started_us: int
    gpus: tuple[GpuFacts, ...] = ()
    energy: tuple[EnergyShare, ...] = ()
    jobs: tuple[JobFacts, ...] = ()
    calls: Mapping[str, Histogram] = field(default_factory=dict)  # seconds per driver call, by name
    late_s: float = 0.0
    duty: float = 0.0
    folded_jobs: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    fleet: FleetFacts | None = None
    host_energy: tuple[HostEnergy, ...] = ()
    node: NodeFacts | None = None
    counters_since_us: int | None = None
    unmetered: str = ""
    history: HistoryFacts | None = None
    kernels: KernelFacts | None = None
    tenancy: Tenancy = field(default_factory=Tenancy)
    work: WorkStatus = field(default_factory=WorkStatus)
    split: SplitFacts = field(default_factory=SplitFacts)

    @property
    def up(self) -> bool:
        """Whether energy is being accounted now: ready to be scraped, and relied upon."""
        return self.seq > 0 and not self.unmetered

    @property
    def simulated(self) -> bool:
        """Whether these joules are invented, here or where they were recorded."""
        return self.meter == "simulated" or any(gpu.simulated for gpu in self.gpus)
