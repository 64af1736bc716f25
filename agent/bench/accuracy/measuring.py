"""Every tool measures every scenario as its documentation tells a user to, alone on a fresh simulated driver.

A peer is told when a job begins and ends, as its user's program would tell it. wattshed is told nothing: the whole
agent runs beside the jobs and finds them by itself.
"""

from __future__ import annotations

import gc
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.bench.accuracy import tools
from wattshed.agent.bench.accuracy.scenarios import BEFORE_S
from wattshed.agent.bench.accuracy.virtual_time import DriverClock, VirtualTime, modules
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.simulation.driver import SimulatedLibrary
from wattshed.agent.simulation.node import SimulatedNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wattshed.agent.bench.accuracy.scenarios import KnownLoad
    from wattshed.agent.bench.accuracy.tools import Tool

SECOND_US = 1_000_000
SILENT = "nothing"
KILLED = "killed with its job"


@dataclass(slots=True)
class DriverCalls:
    """Calls that reached the simulated driver, by symbol, and the processor time that it took for them."""

    counts: Counter[str] = field(default_factory=Counter)
    inside_ns: int = 0


@dataclass(slots=True)
class ToolAnswer:
    """What a tool says of one scenario's jobs.

    Attributes
    ----------
    joules : dict of float or str
        By job, in J to a tenth; the reason where a tool has no answer.
    sigma_j : dict of float
        One standard deviation, where it says one.
    calls : int
        That it made to the driver.
    """

    joules: dict[str, float | str] = field(default_factory=dict)
    sigma_j: dict[str, float] = field(default_factory=dict)
    calls: int = 0


class _Edges(NamedTuple):
    """When a job begins and ends."""

    name: str
    gpus: tuple[int, ...]
    start_us: int
    end_us: int
    key: str


@contextmanager
def counted() -> Iterator[DriverCalls]:
    """Count what reaches simulated drivers that are made meanwhile."""
    calls, plain, lock = DriverCalls(), SimulatedLibrary.answering, threading.Lock()

    def answering(library: SimulatedLibrary, name: str, function: Callable[..., int]) -> Callable[..., int]:
        inside = plain(library, name, function)

        def call(*args: int) -> int:
            begun_ns = time.thread_time_ns()
            try:
                return inside(*args)
            finally:
                took_ns = time.thread_time_ns() - begun_ns
                with lock:
                    calls.counts[name] += 1
                    calls.inside_ns += took_ns

        return call

    setattr(SimulatedLibrary, "answering", answering)  # noqa: B010 - for as long as this measurement takes
    try:
        yield calls
    finally:
        setattr(SimulatedLibrary, "answering", plain)  # noqa: B010


def _node(scenario: KnownLoad, folder: str, clock: Any) -> SimulatedNode:
    script = Path(folder) / "scenario.toml"
    script.write_text(scenario.text, encoding="utf-8")
    root = Path(folder) / "node"
    root.mkdir()
    return SimulatedNode(clock, root, str(script))


@contextmanager
def some_driver(root: Path) -> Iterator[None]:
    """Put a simulated driver below NVIDIA's binding, and let it be initialised."""
    clock = DriverClock(VirtualTime())
    driver = Nvml(clock, SimulatedNode(clock, root).library)
    driver.open()
    yield
    driver.close()


def _jobs(node: SimulatedNode) -> list[_Edges]:
    line = node.truth.timelines[0]
    return [
        _Edges(job.name, job.gpus, line.origin_us + job.start_us, line.origin_us + job.end_us, job.key(0))
        for job in line.jobs
    ]


def truth(scenario: KnownLoad) -> dict[str, float]:
    """Return the joules that really flowed, by job, to a tenth."""
    clock = VirtualTime()
    with tempfile.TemporaryDirectory() as folder:
        node = _node(scenario, folder, DriverClock(clock))
    flowed = node.truth.jobs_nj(clock.now_us(), clock.now_us() + scenario.seconds * SECOND_US)
    return {job.name: round(sum(sum(flowed[job.key, gpu]) for gpu in job.gpus) / 1e9, 1) for job in _jobs(node)}


def wattshed(scenario: KnownLoad) -> ToolAnswer:
    """Let the agent live beside the jobs."""
    from wattshed.agent.bench.accuracy import own  # noqa: PLC0415 - its memory is not to be the peers'

    clock = VirtualTime()
    with tempfile.TemporaryDirectory() as folder, counted() as calls:
        node = _node(scenario, folder, DriverClock(clock))
        jobs = _jobs(node)
        for job in jobs:
            for edge_us in (job.start_us, job.end_us):  # what prolog and epilog do at a job's edges, at once
                clock.at(edge_us, lambda: node.tree.running(clock.now_us()))
        billed = own.live(node, clock, scenario.seconds)
    found = ToolAnswer(calls=calls.counts.total())
    for job in jobs:
        joules, sigma = billed.get(job.key, (SILENT, 0.0))
        found.joules[job.name] = joules if isinstance(joules, str) else round(joules, 1)
        if not isinstance(joules, str):
            found.sigma_j[job.name] = round(sigma, 1)
    return found


def peer(scenario: KnownLoad, kind: type[Tool]) -> ToolAnswer:
    """Let a tool measure every job of a scenario."""
    clock, found = VirtualTime(), ToolAnswer()
    tools.put_in_virtual_time(kind, modules(clock))
    with tempfile.TemporaryDirectory() as folder, counted() as calls:
        node = _node(scenario, folder, DriverClock(clock))
        Nvml(clock, node.library)  # puts the simulated library below NVIDIA's binding, which all peers use
        made: dict[str, Tool] = {}
        for at_us, what, job in _events(node):
            clock.sleep_until(at_us)
            if job.name in found.joules:
                continue
            try:
                if what == "make":
                    made[job.name] = kind(job.gpus)
                elif what == "begin":
                    made[job.name].begin()
                elif scenario.killed:
                    found.joules[job.name] = KILLED
                else:
                    _end(made.pop(job.name), job.name, found)
            except Exception as error:  # noqa: BLE001 - what a user would see instead of a number
                found.joules[job.name] = _said(error)
        made.clear()
        clock.sleep(5)  # threads that were told to stop notice it
        gc.collect()
    found.calls = calls.counts.total()
    return found


def _events(node: SimulatedNode) -> list[tuple[int, str, _Edges]]:
    order = ("make", "begin", "end")
    events = []
    for job in _jobs(node):
        moments = (job.start_us - BEFORE_S * SECOND_US, job.start_us, job.end_us)
        events += [(at_us, what, job) for at_us, what in zip(moments, order, strict=True)]
    return sorted(events, key=lambda event: (event[0], order.index(event[1]), event[2].name))


def _end(tool: Tool, name: str, found: ToolAnswer) -> None:
    tool.end()
    found.joules[name] = round(float(tool.joules()), 1)
    sigma = getattr(tool, "sigma", None)
    if sigma is not None:
        found.sigma_j[name] = round(float(sigma()), 1)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
