"""Nodes with two faults, drawn at random: what is drawn, how whole agents live on them, and what they billed."""

from collections import defaultdict
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from tests.laws.published import Laws
from tests.virtual import agent, simulated
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.meters.errors import MeterError, NoMeter, RestartNeeded
from wattshed.agent.simulation.faults import KINDS, ScriptedFault
from wattshed.agent.simulation.scenario import Gpu, NodeScenario
from wattshed.agent.simulation.workload import Job, Step
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find
from wattshed.agent.window import MISSING

SECOND = 1_000_000
SUPERVISOR_US = 10 * SECOND  # how long a supervisor waits before it starts the next process
ALIVE = 10**12
BLIND = {"scrambled-pids", "error", "garbage-utilisation", "success-error", "latched-utilisation"}
"""Faults that hide who is there, or how busy; then an owner may be billed less than what it drew."""
RATIOS = st.sampled_from((2.0, 4.0, 5.0, 8.0))
"""Watts per percent of a job's activity; the spread of it between jobs that wattshed states is 0.6 of its mean."""


@dataclass(frozen=True)
class End:
    """An agent ends at a moment, killed or told to, and another one begins some time later."""

    at_us: int
    away_us: int
    killed: bool


@dataclass(frozen=True)
class Drawn:
    """One example: a node with its faults, how long it is metered, and the ends of agents in that time."""

    scenario: NodeScenario
    length_us: int
    ends: tuple[End, ...] = ()


def seconds(low, high):
    """Draw a time in tenths of seconds; us."""
    return st.integers(round(low * 10), round(high * 10)).map(lambda tenths: tenths * 100_000)


@st.composite
def gpus(draw):
    architecture = draw(st.sampled_from(("hopper", "ga100", "ada", "ampere", "turing", "volta", "pascal")))
    return Gpu(
        architecture=architecture,
        gain=draw(st.sampled_from((0.0, 0.04, -0.04, 0.08, -0.08))),
        counter=draw(st.sampled_from((True, True, True, False))),
        accounting=draw(st.booleans()),
        rows=draw(st.sampled_from(("interval", "active", "latest"))),
        late_us=draw(st.sampled_from((0, 0, 0, 0, 37 * SECOND))),
    )


@st.composite
def jobs(draw, number, count, length_us):
    manager = draw(st.sampled_from(("slurm", "slurm", "docker", "kubernetes", "systemd", "user")))
    name = {
        "slurm": f"{number}00",
        "docker": f"{number:012x}",
        "kubernetes": f"8a6f1c52-53a1-4a0c-9d0e-{number:012x}",
        "systemd": f"work{number}.service",
        "user": f"shell{number}",
    }[manager]
    mine = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=count, unique=True))
    ratio = draw(RATIOS)
    load = [
        Step(duration_us, round(ratio * sm * 1000), sm)
        for duration_us, sm in draw(st.lists(st.tuples(seconds(0.5, 9), st.integers(5, 60)), min_size=1, max_size=3))
    ]
    if manager == "slurm" and draw(st.integers(0, 5)) == 5:
        load = []  # held, never used
    start_us, end_us, forever = 0, length_us * 2, draw(st.booleans())
    if not forever:
        start_us = draw(seconds(0, length_us / SECOND - 20))
        end_us = start_us + draw(seconds(5, length_us / SECOND))
    return Job(
        name, manager, tuple(sorted(mine)), start_us, min(end_us, length_us * 2), tuple(load), uid=1000 + number,
        forever=forever,
    )  # fmt: skip


@st.composite
def faults(draw, count, length_us):
    """Draw a fault, or an end of the agent."""
    at_us = draw(seconds(0, length_us / SECOND - 15))
    kind = draw(st.sampled_from(("end", *KINDS)))
    lasts_us = draw(st.sampled_from((1, 4, 13, 29, 47, 75))) * SECOND - 300_000
    if kind == "end":
        return End(at_us, draw(st.sampled_from((1, 5, 31, 70))) * SECOND, draw(st.booleans()))
    value, call, code = 0.0, "", 0
    if kind == "counter-dip":
        value = draw(st.sampled_from((5.0, 400.0, 60_000.0)))
    elif kind == "counter-jump":
        value = draw(st.sampled_from((1e6, 4e9)))  # more than any board can draw meanwhile: less could be true
    elif kind == "error":
        value = draw(st.sampled_from((10.0, 999.0, 15.0, 27.0, 21.0, 4.0)))
        call = draw(
            st.sampled_from(
                ("", "nvmlDeviceGetFieldValues", "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage",
                 "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetProcessUtilization",
                 "nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetAccountingPids", "nvmlDeviceGetTemperature")
            )
        )  # fmt: skip
    elif kind == "latency":
        value = draw(st.sampled_from((3_000.0, 40_000.0, 400_000.0)))
    elif kind == "slow-counter":
        value = draw(st.sampled_from((3_000.0, 40_000.0)))
    elif kind == "slow-gpu":
        value, code = draw(st.sampled_from((20_000.0, 1_500_000.0, 6_000_000.0))), draw(st.sampled_from((0, 10)))
    elif kind == "xid":
        value = draw(st.sampled_from((31.0, 43.0, 79.0, 119.0, 154.0)))
    gpu = draw(st.integers(-1, count - 1))
    return ScriptedFault(kind, at_us, at_us + lasts_us, gpu, value, call, code)


@st.composite
def drawn(draw):
    """Draw a node, its jobs and two faults."""
    count = draw(st.integers(1, 3))
    length_us = draw(st.integers(10, 20)) * 12 * SECOND
    found = draw(st.tuples(faults(count, length_us), faults(count, length_us)))
    scenario = NodeScenario(
        tuple(draw(gpus()) for _ in range(count)),
        tuple(draw(jobs(number + 1, count, length_us)) for number in range(draw(st.integers(1, 4)))),
        cycle_us=length_us * 2,
        faults=tuple(f for f in found if isinstance(f, ScriptedFault)),
    )
    ends = sorted((f for f in found if isinstance(f, End)), key=lambda end: end.at_us)
    return Drawn(scenario, length_us, tuple(ends))


@dataclass
class Lived:
    """What agents left behind who lived on a drawn node.

    Attributes
    ----------
    spans : dict of GPU -> (first reading, last reading), us
        Between these its energy is known.
    last : VirtualAgent
        The last one that metered anything.
    """

    about: Drawn
    node: object
    folders: list = field(default_factory=list)
    spans: dict = field(default_factory=dict)
    last: object = None
    laws: Laws = field(default_factory=Laws)

    def see(self, windows):
        for window in windows:
            readings = window.readings
            for place, device in enumerate(window.devices):
                low, high = readings.offsets[place : place + 2]
                columns = (readings.time_us, readings.counter_mj, readings.power_mw, readings.instant_mw)
                told = [
                    time_us
                    for time_us, counter, *powers in zip(*(c[low:high].tolist() for c in columns), strict=True)
                    if counter != MISSING or any(0 < power < device.ceiling_mw for power in powers)
                ]
                if told:
                    gpu = int(device.uuid[-12:])
                    self.spans[gpu] = (self.spans.get(gpu, (told[0], 0))[0], told[-1])

    def billed(self):
        """Joules by (owner, GPU); ``None`` is the GPU itself."""
        found = defaultdict(float)
        for key, account in self.last.accounts.gpus.items():
            found[None, int(key.gpu[-12:])] = account.energy_hnj / 2e9
        for one in self.last.accounts.ledger.jobs.values():
            for key, line in one.lines.items():
                found[one.key, int(key.gpu[-12:])] += (line.static_hnj + line.dynamic_hnj) / 2e9
        return found

    def replayed(self):
        """Return the books that the recordings of all lives give."""
        again = Accounts()
        for folder in self.folders:
            for chain in find([str(folder)], Options()):
                for window in chain.windows(Options()):
                    again.add(window)
        again.finish()
        return again


def live(tmp_path, about):
    """Meter a drawn node from its beginning to its end, as a supervisor has it done."""
    node, clock = simulated(tmp_path, about.scenario)
    lived, end_us = Lived(about, node), clock.now_us() + about.length_us
    ends = [replace(end, at_us=node.begun_us + end.at_us) for end in about.ends]
    while clock.now_us() < end_us:
        ends = [end for end in ends if end.at_us > clock.now_us()]
        until_us = ends[0].at_us if ends else end_us
        killed = bool(ends) and ends[0].killed
        folder = tmp_path / f"recording{len(lived.folders)}"
        recorder = Recorder(folder, "sim", max_bytes=0, max_age_s=0)
        try:
            one = agent(node, clock, state=tmp_path / "state", recorder=recorder, keep_us=ALIVE)
        except (NoMeter, MeterError):
            recorder.close()
            clock.sleep_until(clock.now_us() + SUPERVISOR_US)
            continue
        asked_to_restart = _one_life(lived, one, max(until_us - clock.now_us(), SECOND), killed=killed)
        lived.folders.append(folder)
        recorder.close()
        # The one real thing here is the disk: how long it takes to save the books is no fault of these.
        assert not one.faults.counts.keys() - {"state"}, one.faults.counts
        lived.see(one.windows)
        if one.windows:
            lived.last = one
        if asked_to_restart:
            clock.sleep_until(clock.now_us() + SUPERVISOR_US)
        elif ends:
            clock.sleep_until(clock.now_us() + ends.pop(0).away_us)
    return lived


def _one_life(lived, one, length_us, *, killed):
    show = one.board.show

    def check(snapshot):
        lived.laws.see(snapshot)
        show(snapshot)

    one.board.show = check
    one.daemon.restore()
    try:
        one.live(length_us, killed=killed)
    except RestartNeeded:
        return True
    finally:
        one.close()
    return False
