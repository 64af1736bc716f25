"""A rig: a simulated node, the real binding over it, and the sampler, under a virtual clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from wattshed.agent.clock import VirtualClock
from wattshed.agent.jobs.procfs import exists
from wattshed.agent.meters.meter import NvmlMeter
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.meters.sampler import Sampler
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.simulation.node import SimulatedNode

ONE_GPU = """
gpus = {gpus}
cycle_s = 600
[[job]]
name = "7"
gpus = {all}
load = [[1.0, 400.0, 80], [0.5, 100.0, 20]]
"""


@dataclass
class Rig:
    clock: object
    node: SimulatedNode
    meter: NvmlMeter
    sampler: Sampler
    windows: list = field(default_factory=list)
    observations: list = field(default_factory=list)

    def run(self, seconds):
        """Collect windows for so many seconds; returns the new ones."""
        end_us, before = self.sampler.start_us + int(seconds * 1e6), len(self.windows)
        while self.sampler.start_us < end_us:
            window, seen = self.sampler.next()
            self.windows.append(window)
            self.observations.append(seen)
        return self.windows[before:]

    def column(self, name, gpu=0, windows=None):
        """All values of a readings column of one GPU, in order."""
        values = []
        for window in self.windows if windows is None else windows:
            low, high = window.readings.offsets[gpu : gpu + 2]
            values += getattr(window.readings, name)[low:high].tolist()
        return values

    def events(self, kind=None):
        return [e for w in self.windows for e in w.events if kind in {None, e.kind}]


class Rigs:
    """Builds rigs below a folder, and closes them all."""

    def __init__(self, folder):
        self._folder, self._made = folder, []

    def __call__(
        self, text="", *, gpus=1, plain=True, rates=None, clock=None, wake=True, sys_root=Path("/sys"), desk=None
    ):
        """Build a rig from TOML text; without text, the default node."""
        number, script = len(self._made), ""
        if text or plain:
            script = str(self._folder / f"scenario{number}.toml")
            head = ONE_GPU.format(gpus=gpus, all=list(range(gpus))) if plain else ""
            Path(script).write_text(head + text)
        root = self._folder / f"node{number}"
        root.mkdir()
        clock = clock or VirtualClock()
        node = SimulatedNode(clock, root, script)
        meter = NvmlMeter(
            Nvml(clock, node.library),
            clock,
            "host",
            simulated=True,
            proc_root=node.proc_root,
            dev_root=node.dev_root,
        )
        meter.open()
        sampler = Sampler(
            meter,
            clock,
            "host",
            rates or Rates(learn_us=0),
            alive=partial(exists, node.proc_root),
            sys_root=sys_root,
            wake=wake,
            desk=desk,
        )
        self._made.append(Rig(clock, node, meter, sampler))
        return self._made[-1]

    def close(self):
        for one in self._made:
            one.sampler.close()
