"""Windows in virtual time on a simulated node, beside the joules that really flowed."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from wattshed.agent.clock import VirtualClock
from wattshed.agent.measuring.own_meter import OwnMeter
from wattshed.agent.measuring.points import EnergyDifference, difference
from wattshed.agent.measuring.session import MeteringSession
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.simulation.faults import ScriptedFault
from wattshed.agent.simulation.node import SimulatedNode
from wattshed.agent.simulation.scenario import Gpu, NodeScenario
from wattshed.agent.simulation.workload import Job, Step

BUSY_MW = 500_000


@dataclass(frozen=True)
class Compared:
    """A window beside the truth, J."""

    told: EnergyDifference
    truth_j: float

    @property
    def joules(self):
        return self.told.energy_hnj / 2e9

    @property
    def error(self):
        return self.joules / self.truth_j - 1

    @property
    def sigmas(self):
        return abs(self.joules - self.truth_j) / self.told.sigma_j


def loads(stretches, power_mw=BUSY_MW, gpu=0):
    """A job for each stretch of seconds: idle before and after."""
    return tuple(
        Job(str(100 + i), "slurm", (gpu,), round(a * 1e6), round(b * 1e6), (Step(round((b - a) * 1e6), power_mw, 90),))
        for i, (a, b) in enumerate(stretches)
    )


def scene(stretches, *, period_s=0.1, faults=(), **kind):
    return NodeScenario(
        (Gpu("hopper", counter_period_s=period_s, **kind),), loads(stretches), cycle_us=10**12, faults=tuple(faults)
    )


def fault(kind, start_s, end_s, value=0):
    return ScriptedFault(kind, round(start_s * 1e6), round(end_s * 1e6), 0, value)


def measured(scenario, windows, *, phase_us=0, gain=0.0, wait_s=1.0):
    """Measure windows (seconds from the beginning) of a simulated node, and compare them with the truth."""
    clock = VirtualClock(1_767_225_600_000_000 + phase_us)
    with ExitStack() as opened:
        node = SimulatedNode(clock, Path(opened.enter_context(tempfile.TemporaryDirectory())), scenario)
        opened.callback(node.close)

        def now_ns():
            return clock.now_us() * 1000

        meter = OwnMeter(Nvml(clock, node.library), now_ns, None, {}, gain=gain)
        session = MeteringSession(meter, "", now_ns, threaded=False)
        opened.callback(session.close)
        edges = _edges(clock, session, windows, node.begun_us, wait_s)
        found = []
        for i in range(len(windows)):
            start, end = edges[i, 0], edges[i, 1]
            assert all(edge.value is not None for edge in (start, end)), "not known yet"
            stretch = start.time_ns // 1000, end.time_ns // 1000
            truth_nj = sum(node.truth.gpu_nj(card.index, *stretch) for card in node.cards)
            found.append(Compared(difference(start.value, end.value, start.time_ns), truth_nj / 1e9))
        return found


def _edges(clock, session, windows, begun_us, wait_s):
    """Let time pass as the thread of a session does: it is woken by each edge."""
    times = sorted((begun_us + round(t * 1e6), i, k) for i, window in enumerate(windows) for k, t in enumerate(window))
    edges, due_us, end_us = {}, clock.now_us(), times[-1][0] + round(wait_s * 1e6)
    while clock.now_us() < end_us:
        while times and times[0][0] <= due_us:
            time_us, i, k = times.pop(0)
            clock.sleep_until(time_us)
            edges[i, k] = session.edge(opens=k == 0, closes=k == 1)
            due_us = clock.now_us()
        clock.sleep_until(due_us)
        due_us = clock.now_us() + session.step() // 1000
    return edges
