"""Every tool measures every scenario as its documentation tells a user to, alone on a fresh simulated driver.

A peer is told when a job begins and ends, as its user's program would tell it. wattshed is told nothing: the whole
agent runs beside the jobs and finds them by itself.
"""

import gc
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.peers.virtual_time import DriverClock, VirtualTime
from tests.virtual import agent
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.simulation.node import SimulatedNode

SECOND_US = 1_000_000
BEFORE_S = 5  # a tool is made ready that long before its job
SILENT = "nothing"


@dataclass(frozen=True)
class Bill:
    """Joules of one job, to a tenth; None with the reason where a tool has no answer."""

    joules: float | None
    sigma: float | None = None
    reason: str = ""


def _node(case, folder, clock):
    script = Path(folder) / "scenario.toml"
    script.write_text(case.text)
    root = Path(folder) / "node"
    root.mkdir()
    return SimulatedNode(DriverClock(clock), root, str(script))


def _jobs(node):
    """Name, beginning and end (us) of each job."""
    (line,) = node.truth.timelines
    return [(job.name, line.origin_us + job.start_us, line.origin_us + job.end_us) for job in line.jobs]


def wattshed(case):
    """Let the agent live beside the jobs; returns its bills, and the truth, by job."""
    clock = VirtualTime()
    with tempfile.TemporaryDirectory() as folder:
        node = _node(case, folder, clock)
        begun_us = clock.now_us()
        for _, *edges in _jobs(node):
            for edge_us in edges:  # what prolog and epilog do at a job's edges, at once
                clock.at(edge_us, lambda: node.tree.running(clock.now_us()))
        one = agent(node, clock, seconds=case.seconds, keep_us=10**12)
        one.daemon.run()
        sigmas = {facts.job: facts.sigma_j for facts in one.board.current().jobs}
        billed = {
            job.key: sum(line.static_hnj + line.dynamic_hnj for line in job.lines.values()) / 2e9
            for job in one.accounts.ledger.jobs.values()
        }
        one.close()
    true = node.truth.jobs_nj(begun_us, clock.now_us())
    names = [name for name, _, _ in _jobs(node)]
    bills = {}
    for name in names:
        joules, sigma = billed.get(f"slurm:{name}"), sigmas.get(f"slurm:{name}")
        bills[name] = Bill(None, None, SILENT) if joules is None else Bill(round(joules, 1), round(sigma or 0.0, 1))
    return bills, {name: round(sum(true[f"slurm:{name}", 0]) / 1e9, 1) for name in names}


def peer(case, tool):
    """Let ``tool`` measure every job of a scenario; returns its bills by job.

    ``tool(clock)`` makes a user's measurement: an object with ``begin()`` and ``end()``, of which the latter
    returns joules.
    """
    with tempfile.TemporaryDirectory() as folder:
        clock = VirtualTime()
        node = _node(case, folder, clock)
        Nvml(clock, node.library)  # puts the simulated library below NVIDIA's binding, which all peers use
        events = []
        for name, start_us, end_us in _jobs(node):
            events += [(start_us - BEFORE_S * SECOND_US, 0, name), (start_us, 1, name), (end_us, 2, name)]
        made, bills = {}, {}
        for at_us, what, name in sorted(events):
            clock.sleep_until(at_us)
            if name in bills:
                continue
            try:
                if what == 0:
                    made[name] = tool(clock)
                elif what == 1:
                    made[name].begin()
                else:
                    bills[name] = Bill(round(made.pop(name).end(), 1))
            except Exception as error:  # what a user would see instead of a number
                bills[name] = Bill(None, None, _said(error))
        made.clear()
        clock.sleep(5)  # threads that were told to stop notice it
        gc.collect()
    return bills


def _said(error):
    return f"{type(error).__name__}: {error}".splitlines()[0]
