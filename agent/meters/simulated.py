"""A simulated node: boards, jobs, processes and a driver library, ready to be put below the real binding."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.meters.faults import FaultPlan
from agent.meters.scenario import Scenario, default_scenario
from agent.meters.sensors import ARCHITECTURES, Sensor
from agent.meters.simulated_card import Card, SimulatedHost
from agent.meters.simulated_driver import SimulatedLibrary
from agent.meters.simulated_proc import ProcessTree
from agent.meters.workload import Timeline, Truth

if TYPE_CHECKING:
    from agent.meters.clock import Clock

_NAMESPACE = uuid.UUID("77a77bed-0000-4000-8000-000000000999")


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """A node that exists in this process only.

    Attributes
    ----------
    library : SimulatedLibrary
        To be handed to :class:`agent.meters.nvml.Nvml`.
    truth : Truth
        The joules that really flowed.
    proc_root, mapping_dir : Path
        What stands for /proc, and for the folder that a prolog writes.
    cards : list of Card
    """

    library: SimulatedLibrary
    truth: Truth
    proc_root: Path
    mapping_dir: Path
    cards: list[Card]
    _root: Path

    def remove(self) -> None:
        """Delete the folders."""
        shutil.rmtree(self._root, ignore_errors=True)


def simulated_node(clock: Clock, scenario: Scenario | None = None, root: Path | None = None) -> SimulatedNode:
    """Build a node whose time is ``clock``'s.

    Parameters
    ----------
    clock : Clock
    scenario : Scenario, optional
        Default: :func:`agent.meters.scenario.default_scenario`.
    root : Path, optional
        An empty folder for the process tree; default: a new temporary one (:meth:`SimulatedNode.remove` deletes it).
    """
    about = scenario or default_scenario()
    begun_us = clock.now_us()
    origin_us = begun_us - about.begin_us
    timelines = []
    for index, gpu in enumerate(about.gpus):
        kind = ARCHITECTURES[gpu.architecture]
        timelines.append(
            Timeline(
                index,
                about.jobs,
                about.cycle_us,
                origin_us,
                round(gpu.idle_w * 1000) or kind.idle_mw,
                scale_permille=1000 - 7 * (index % 4),
                limit_mw=kind.limit_mw,
            )
        )
    lines = tuple(timelines)
    folder = root or Path(tempfile.mkdtemp(prefix="wattshed-simulated-"))
    tree = ProcessTree(folder, lines)
    faults = [replace(f, start_us=begun_us + f.start_us, end_us=begun_us + f.end_us) for f in about.faults]
    host = SimulatedHost(clock, FaultPlan(faults), tree)
    for index, gpu in enumerate(about.gpus):
        kind = ARCHITECTURES[gpu.architecture]
        kind = replace(
            kind,
            energy=kind.energy and gpu.counter,
            average=kind.average and gpu.average,
            instant=kind.instant and gpu.instant,
        )
        sensor = Sensor(
            lines[index],
            kind,
            gain_ppm=round(gpu.gain * 1e6),
            phase_us=7_300 * (index + 1) % kind.period_us,
            counter_period_us=round(gpu.counter_period_s * 1e6),
            shift_mj=8_640_000_000 + 1_234_567 * index,
        )
        name = f"GPU-{uuid.uuid5(_NAMESPACE, f'{gpu.architecture}/{index}')}"
        card = Card(host, index, name, kind, sensor, lines[index], index, gpu.accounting, list(gpu.mig))
        host.cards.append(card)
    tree.running(begun_us)
    return SimulatedNode(
        SimulatedLibrary(host, about.missing), Truth(lines), tree.proc, tree.mapping, host.cards, folder
    )
