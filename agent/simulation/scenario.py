"""What a simulated node is made of: the default one, and those that a TOML file describes (docs/metering.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from wattshed.agent.inputs.toml import Document
from wattshed.agent.simulation.faults import BESIDE, KINDS, ScriptedFault
from wattshed.agent.simulation.host_scenario import (
    MOST_PACKAGES,
    HostMeterScript,
    HostWatts,
    host_meters,
    host_watts,
    modules_of,
    plain_watts,
    usual_meters,
)
from wattshed.agent.simulation.sensors import ARCHITECTURES
from wattshed.agent.simulation.workload import Job, Step

if TYPE_CHECKING:
    from pathlib import Path

    from wattshed.agent.inputs.toml import Table

SECOND_US = 1_000_000
FOREVER_S = 1e9
ROWS = ("interval", "active", "latest", "tick")
MANAGERS = ("slurm", "kubernetes", "docker", "systemd", "user")
LAST_CODE = 999  # of nvmlReturn_t
MOST_INSTANCES = 7  # of a GPU
MOST_PROFILES = 255  # of a mask
DRIVER = "999.99.99"
DEFAULT_SOURCES = ("rapl", "ipmi")
MOMENTS = ("late_s", "mig_at_s", "mig_off_at_s", "accounting_at_s")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One simulated board.

    Attributes
    ----------
    architecture : str
        A key of ``ARCHITECTURES``.
    gain : float
        Relative error of its meter: 0.05 shows 5 % too much.
    counter, average, instant : bool
        Whether the board has the reading, where its architecture does.
    idle_w : float
        0: the architecture's.
    context_w, linger_s : float
        What it draws on top of that while a process is there, whether or not it computes, and how long after the last
        one went.
    named_after_s, forgotten_before_s : float
        How long after its start a process is in the list, and in the memory in use, and how long before its end no
        more: a context opens and closes in between.
    counter_period_s : float
    accounting, persistence : bool
        Whether these modes are on; without persistence mode a counter does not outlive the GPU's last client.
    mig : tuple of (GPU instance, compute instance, SMs)
    rows : str
        What a row of process utilisation means: the mean of its ``interval``, the mean of the ``active`` part of it,
        the ``latest`` sample, or the mean of all that the GPU did in those samples at whose ``tick`` the process was
        on it, or was the last that had been. Empty: as the architecture's driver does it.
    late_us, mig_at_us, mig_off_at_us, accounting_at_us : int, us
        When, since the simulation began, the GPU comes to the host, MIG is switched on and off, accounting on; 0: from
        the beginning, or never off.
    module : int
        Of a superchip: the module that it sits on; -1: the usual one.
    scopes : tuple of int
        Of powers that its driver reports; empty: those of its architecture.
    recovery : tuple of (int, int)
        When (us since the beginning) the driver advises which recovery action.
    power_smoothing : bool
        Whether the driver has it on, on architectures that can.
    power_profiles : tuple of int
        Workload power profiles in force, on architectures that have them.
    """

    architecture: str = "hopper"
    gain: float = 0.0
    counter: bool = True
    average: bool = True
    instant: bool = True
    idle_w: float = 0.0
    context_w: float = 0.0
    linger_s: float = 0.0
    named_after_s: float = 0.0
    forgotten_before_s: float = 0.0
    counter_period_s: float = 0.1
    accounting: bool = False
    persistence: bool = True
    mig: tuple[tuple[int, int, int], ...] = ()
    rows: str = ""
    late_us: int = 0
    mig_at_us: int = 0
    mig_off_at_us: int = 0
    accounting_at_us: int = 0
    module: int = -1
    scopes: tuple[int, ...] = ()
    recovery: tuple[tuple[int, int], ...] = ()
    power_smoothing: bool = False
    power_profiles: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeScenario:
    """A node, what runs on it, and what goes wrong.

    Attributes
    ----------
    gpus : tuple of Gpu
    jobs : tuple of Job
    cycle_us : int, us
        The schedule repeats.
    begin_us : int, us
        Where in the cycle the simulation begins.
    faults : tuple of ScriptedFault
        Times from the beginning of the simulation.
    missing : tuple of str
        Symbols that the driver library does not export.
    driver : str
        The version that it says it has; what moved between versions is where it was in that one.
    watts : HostWatts, optional
        What the host draws beside its GPUs; None: what is plain with such GPUs.
    meters : tuple of HostMeterScript
        Its meters of that.
    """

    gpus: tuple[Gpu, ...]
    jobs: tuple[Job, ...]
    cycle_us: int = 600 * SECOND_US
    begin_us: int = 0
    faults: tuple[ScriptedFault, ...] = ()
    missing: tuple[str, ...] = ()
    driver: str = DRIVER
    watts: HostWatts | None = None
    meters: tuple[HostMeterScript, ...] = ()

    @property
    def modules(self) -> tuple[int, ...]:
        """The module of each GPU; empty on a node without superchips."""
        return modules_of([(gpu.architecture, gpu.module) for gpu in self.gpus])

    @property
    def host(self) -> HostWatts:
        """What the host draws beside its GPUs."""
        return self.watts or plain_watts([gpu.architecture for gpu in self.gpus], self.modules)


def _load(*steps: tuple[float, float, int]) -> tuple[Step, ...]:
    return tuple(Step(round(s * SECOND_US), round(w * 1000), sm) for s, w, sm in steps)


def _span(start_s: float, end_s: float) -> tuple[int, int]:
    return round(start_s * SECOND_US), round(end_s * SECOND_US)


def default_scenario() -> NodeScenario:
    """Eight H100-like GPUs: training on four, inference, two jobs that share one, one held but idle, one free."""
    iteration = [(1.6, 560.0, 98), (0.4, 330.0, 60)]
    training = _load((3.0, 120.0, 10), (1.5, 380.0, 55), *iteration * 40, (8.0, 85.0, 6))
    inference = _load(
        (7.0, 210.0, 45), (3.0, 40.0, 8), (11.0, 320.0, 70), (2.0, 430.0, 88), (6.0, 150.0, 30), (4.0, 0.0, 0)
    )
    # The two that share a GPU draw 5 W per percent of its multiprocessors: then activity is proportional to power.
    left = _load((2.5, 250.0, 50), (1.0, 60.0, 12), (0.5, 0.0, 0))
    right = _load((1.5, 150.0, 30), (0.7, 20.0, 4))
    short = _load((2.0, 300.0, 65), (0.3, 40.0, 5))
    cycle = _span(0, 600)
    jobs = (
        Job("4001", "slurm", (0, 1, 2, 3), *_span(20, 470), training, memory_mib=71_000, uid=1001),
        Job("4002", "slurm", (5,), *_span(10, 330), left, memory_mib=24_000, uid=1002),
        Job("4003", "slurm", (5,), *_span(95, 540), right, memory_mib=18_000, uid=1003),
        Job("4004", "slurm", (6,), *_span(5, 560), uid=1004),
        Job("4005", "slurm", (0, 1), *_span(490, 575), short, memory_mib=9_000, uid=1005, command="python3"),
        Job(
            "8a6f1c52-53a1-4a0c-9d0e-5f3b7f4f2b10", "kubernetes", (4,), *cycle, inference,
            memory_mib=66_000, command="vllm", container="server", uid=0, forever=True,
        ),
    )  # fmt: skip
    meters = usual_meters(DEFAULT_SOURCES, HostWatts().packages, 8)
    return NodeScenario((Gpu(),) * 8, jobs, begin_us=75 * SECOND_US, meters=meters)


def read_scenario(path: Path) -> NodeScenario:
    """Read a scenario from TOML; without jobs, the default node's.

    Raises
    ------
    InputError
        The file cannot be read, is not TOML, or says something that no simulation can do; the message names line and
        column.
    """
    root = Document(path).root.only(
        ("gpus", "cycle_s", "begin_s", "missing", "driver", "gpu", "job", "fault", "host", "host_meter")
    )
    default = default_scenario()
    own_jobs = "job" in root
    count = root.count("gpus", 1 if own_jobs else 8, low=1, high=64)
    gpus = [Gpu()] * count
    for table in root.tables("gpu"):
        gpu = _gpu(table)
        for index in _indices(table, count):
            gpus[index] = gpu
    cycle_s = root.number("cycle_s", default.cycle_us / SECOND_US, low=1, high=86_400)
    jobs = tuple(_job(table, count, cycle_s) for table in root.tables("job"))
    if not own_jobs:
        jobs = tuple(j for j in default.jobs if max(j.gpus) < count and j.end_us <= cycle_s * SECOND_US)
    begin_s = root.number("begin_s", 0.0 if own_jobs else default.begin_us / SECOND_US)
    plain, kinds = NodeScenario(tuple(gpus), ()), [gpu.architecture for gpu in gpus]
    watts = host_watts(root.table("host"), plain.host, grace=bool(plain.modules)) if "host" in root else None
    meters = host_meters(root.tables("host_meter"), watts or plain.host, kinds)
    if not own_jobs and "host_meter" not in root:
        meters = usual_meters(DEFAULT_SOURCES, (watts or plain.host).packages, count)
    return NodeScenario(
        tuple(gpus),
        jobs,
        round(cycle_s * SECOND_US),
        round(begin_s % cycle_s * SECOND_US),
        tuple(_fault(table, count, [meter.name for meter in meters]) for table in root.tables("fault")),
        tuple(root.each("missing", str, [])),
        _driver(root),
        watts,
        meters,
    )


def _driver(root: Table) -> str:
    version = root.text("driver", DRIVER)
    if not re.fullmatch(r"[0-9]+\.[0-9]+(\.[0-9]+)?", version):
        root.fail(f"must be a version as {DRIVER!r}", "driver")
    return version


def _indices(table: Table, count: int) -> list[int]:
    if "index" not in table:
        return list(range(count))
    if isinstance(table.items["index"], list):
        found: list[int] = table.each("index", int, low=0, high=count - 1)
        return found
    return [table.count("index", low=0, high=count - 1)]


def _gpu(table: Table) -> Gpu:
    table.only(["index", *(f.name for f in fields(Gpu) if not f.name.endswith("_us")), *MOMENTS])
    kind = table.text("architecture", "hopper", choices=ARCHITECTURES)
    moments_us = {key: round(table.number(key, 0.0, low=0) * SECOND_US) for key in MOMENTS}
    mig = _instances(table, kind)
    if "module" in table and not ARCHITECTURES[kind].grace:
        table.fail(f"{kind} does not sit on a module with a Grace CPU", "module")
    advice = table.tuples("recovery", {"seconds": float, "action": int})
    if any(seconds < 0 or action < 0 for seconds, action in advice):
        table.fail("must be times from the beginning, and actions from 0", "recovery")
    for key in ("mig_at_s", "mig_off_at_s"):
        if key in table and not mig:
            table.fail("needs mig, the instances", key)
    if "mig_off_at_s" in table and moments_us["mig_off_at_s"] <= moments_us["mig_at_s"]:
        table.fail("must come after mig_at_s, and after the beginning", "mig_off_at_s")
    return Gpu(
        architecture=kind,
        gain=table.number("gain", 0.0, above=-1),
        counter=table.flag("counter", default=True),
        average=table.flag("average", default=True),
        instant=table.flag("instant", default=True),
        idle_w=table.number("idle_w", 0.0, low=0),
        context_w=table.number("context_w", 0.0, low=0),
        linger_s=table.number("linger_s", 0.0, low=0),
        named_after_s=table.number("named_after_s", 0.0, low=0),
        forgotten_before_s=table.number("forgotten_before_s", 0.0, low=0),
        counter_period_s=table.number("counter_period_s", 0.1, low=0.001),
        accounting=table.flag("accounting", default=False),
        persistence=table.flag("persistence", default=True),
        mig=mig,
        rows=table.text("rows", choices=ROWS) if "rows" in table else "",
        module=table.count("module", low=0, high=MOST_PACKAGES - 1) if "module" in table else -1,
        scopes=tuple(table.each("scopes", int, [], low=0, high=2)),
        power_smoothing=table.flag("power_smoothing", default=False),
        power_profiles=tuple(table.each("power_profiles", int, [], low=0, high=MOST_PROFILES - 1)),
        recovery=tuple((round(seconds * SECOND_US), action) for seconds, action in advice),
        **{f"{key.removesuffix('_s')}_us": moment for key, moment in moments_us.items()},
    )


def _instances(table: Table, kind: str) -> tuple[tuple[int, int, int], ...]:
    found = table.tuples("mig", {"GPU instance": int, "compute instance": int, "SMs": int})
    if found and not ARCHITECTURES[kind].mig:
        table.fail(f"{kind} does not support MIG", "mig")
    if len(found) > MOST_INSTANCES or any(min(gi, ci) < 0 or sms < 1 for gi, ci, sms in found):
        table.fail(f"must be up to {MOST_INSTANCES} instances of one SM or more, ids from 0", "mig")
    return tuple((gi, ci, sms) for gi, ci, sms in found)


def _job(table: Table, count: int, cycle_s: float) -> Job:
    table.only(
        [f.name for f in fields(Job) if not f.name.endswith("_us") and f.name not in {"forever", "earlier"}]
        + ["start_s", "end_s"]
    )
    name = table.text("name")
    manager = table.text("manager", "slurm", choices=MANAGERS)
    if manager == "slurm" and not name.isdecimal():
        table.fail(f"a Slurm job's name is its number, not {name!r}", "name")
    instance = table.text("instance", "", empty=True)
    if instance and not re.fullmatch(r"[0-9]+/[0-9]+", instance):
        table.fail("must be 'GPU instance/compute instance', as '1/0'", "instance")
    gpus = table.each("gpus", int, [0], low=0, high=count - 1)
    if not gpus:
        table.fail("must not be empty", "gpus")
    start_s = table.number("start_s", 0.0, low=0)
    end_s = table.number("end_s", cycle_s, high=cycle_s)
    if not start_s < end_s:
        table.fail(f"must be after start_s = {start_s:g}", "end_s" if "end_s" in table else "start_s")
    load = _load(*table.tuples("load", {"seconds": float, "watts": float, "SM percent": int}))
    for i, step in enumerate(load):
        if step.duration_us < 1000 or step.dynamic_mw < 0 or not 0 <= step.sm_percent <= 100:
            table.fail("a step lasts at least 1 ms, draws no negative power, and keeps 0-100 % busy", "load", i)
    return Job(
        name=name,
        manager=manager,
        gpus=tuple(gpus),
        start_us=round(start_s * SECOND_US),
        end_us=round(end_s * SECOND_US),
        load=load,
        instance=instance,
        memory_mib=table.count("memory_mib", 20_480, low=0),
        uid=table.count("uid", 1000, low=0),
        cores=table.count("cores", 0, low=0, high=4096),
        pid_file=table.text("pid_file", "", empty=True),
        tensor=table.number("tensor", 0.4, low=0, high=1),
        dram=table.number("dram", 0.3, low=0, high=1),
        forever="start_s" not in table and "end_s" not in table,
        command=table.text("command", "python", empty=True),
        container=table.text("container", "main", empty=True),
    )


def _fault(table: Table, count: int, meters: list[str]) -> ScriptedFault:
    table.only(("kind", "gpu", "meter", "at_s", "for_s", "value", "call", "code"))
    kind = table.text("kind", choices=KINDS)
    start_s = table.number("at_s", 0.0, low=0)
    end_s = start_s + table.number("for_s", FOREVER_S, low=0)
    code = table.count("code", 0, low=0, high=LAST_CODE)
    if code and kind != "slow-gpu":
        table.fail("is only for slow-gpu; an error's code is its value", "code")
    if "meter" in table and kind not in BESIDE:
        table.fail("is only for faults of host meters", "meter")
    return ScriptedFault(
        kind,
        round(start_s * SECOND_US),
        round(end_s * SECOND_US),
        table.count("gpu", -1, low=-1, high=count - 1),
        table.number("value", 0.0, low=0),
        table.text("call", "", empty=True),
        code,
        meter=table.text("meter", choices=meters) if "meter" in table else "",
    )
