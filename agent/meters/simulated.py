"""A simulated node: boards, jobs, processes and a driver library, ready to be put below the real binding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.meters.faults import FaultPlan
from agent.meters.scenario import Gpu, Scenario, default_scenario, read_scenario
from agent.meters.sensors import ARCHITECTURES, Sensor
from agent.meters.simulated_card import Card, SimulatedHost
from agent.meters.simulated_driver import SimulatedLibrary
from agent.meters.simulated_proc import ProcessTree
from agent.meters.workload import Timeline, Truth

if TYPE_CHECKING:
    from agent.meters.clock import Clock


class SimulatedNode:
    """A node that exists in this process only; its time is ``clock``'s.

    Parameters
    ----------
    clock : Clock
    root : Path
        An empty folder for the process tree and the mapping folder.
    script : str or Scenario
        A TOML file (docs/metering.md), a scenario, or empty: the default node.

    Attributes
    ----------
    library : SimulatedLibrary
        To be handed to :class:`agent.meters.nvml.Nvml`.
    truth : Truth
        The joules that really flow.
    proc_root, mapping_dir : Path
        What stands for /proc, and for the folder that a prolog writes.
    cards : list of Card
    begun_us : int, us
        When the simulation began: the origin of the faults' times.

    Raises
    ------
    InputError
        The script cannot be used.
    """

    def __init__(self, clock: Clock, root: Path, script: str | Scenario = "") -> None:
        if isinstance(script, str):
            script = read_scenario(Path(script)) if script else default_scenario()
        self.begun_us = clock.now_us()
        lines = _timelines(script, self.begun_us - script.begin_us)
        tree = ProcessTree(root, lines)
        shifted = [
            replace(f, start_us=self.begun_us + f.start_us, end_us=self.begun_us + f.end_us) for f in script.faults
        ]
        host = SimulatedHost(clock, FaultPlan(shifted), tree)
        host.cards += [_card(host, line, gpu) for line, gpu in zip(lines, script.gpus, strict=True)]
        tree.running(self.begun_us)
        host.show()
        self.cards = host.cards
        self.truth = Truth(lines)
        self.proc_root, self.mapping_dir = tree.proc, tree.mapping
        self.library = SimulatedLibrary(host, script.missing)


def _timelines(about: Scenario, origin_us: int) -> tuple[Timeline, ...]:
    lines = []
    for index, gpu in enumerate(about.gpus):
        kind = ARCHITECTURES[gpu.architecture]
        idle_mw = round(gpu.idle_w * 1000) or kind.idle_mw
        scale_permille = 1000 - 7 * (index % 4)  # no two cards draw alike
        lines.append(
            Timeline(
                index,
                about.jobs,
                about.cycle_us,
                origin_us,
                idle_mw,
                scale_permille=scale_permille,
                limit_mw=kind.limit_mw,
            )
        )
    return tuple(lines)


def _card(host: SimulatedHost, line: Timeline, gpu: Gpu) -> Card:
    kind = ARCHITECTURES[gpu.architecture]
    kind = replace(
        kind,
        energy=kind.energy and gpu.counter,
        average=kind.average and gpu.average,
        instant=kind.instant and gpu.instant,
    )
    sensor = Sensor(
        line,
        kind,
        gain_ppm=round(gpu.gain * 1e6),
        phase_us=7_300 * (line.gpu + 1) % kind.period_us,
        counter_period_us=round(gpu.counter_period_s * 1e6),
        shift_mj=8_640_000_000 + 1_234_567 * line.gpu,  # a driver that has been loaded for months
    )
    name = f"GPU-51a7ed00-{kind.number:04x}-4000-8000-{line.gpu:012x}"
    return Card(host, line.gpu, name, kind, sensor, line, line.gpu, gpu.accounting, list(gpu.mig))
