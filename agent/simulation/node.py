"""A simulated node: boards, jobs, processes and a driver library, ready to be put below the real binding."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.clock import VirtualClock
from wattshed.agent.simulation.beside import BesideTruth, DomainFlow
from wattshed.agent.simulation.card import Card, SimulatedHost
from wattshed.agent.simulation.cgroup_times import CgroupTimes
from wattshed.agent.simulation.device_nodes import DeviceNodes
from wattshed.agent.simulation.driver import SimulatedLibrary
from wattshed.agent.simulation.dropped import DroppedReadings
from wattshed.agent.simulation.faults import FaultPlan
from wattshed.agent.simulation.host_sensor import HostSensor
from wattshed.agent.simulation.lives import begin_life
from wattshed.agent.simulation.others import NODES, ORDERS, Orders
from wattshed.agent.simulation.proc import ProcessTree
from wattshed.agent.simulation.scenario import Gpu, NodeScenario, default_scenario, read_scenario
from wattshed.agent.simulation.sensors import ARCHITECTURES, Sensor
from wattshed.agent.simulation.sysfs import SimulatedSys, place_on_bus
from wattshed.agent.simulation.workload import Timeline, Truth

if TYPE_CHECKING:
    from wattshed.agent.clock import Clock


LONGEST_S = 0.1


class SimulatedNode:
    """A node that exists in this process only; its time is ``clock``'s.

    Jobs come and go, prolog and epilog write, and GPUs appear in time, whatever the agent waits for: under a
    :class:`VirtualClock` whenever it moves, in real time once :meth:`keep_time` was called, else when a call is made.

    Parameters
    ----------
    clock : Clock
    root : Path
        An empty folder for the process tree and the mapping folder.
    script : str or Scenario
        A TOML file (docs/metering.md), a scenario, or empty: the default node.
    kept : Path, optional
        The folder in which its totals outlive it: Slurm ids go on after those of its earlier lives there.

    Attributes
    ----------
    library : SimulatedLibrary
        To be handed to :class:`agent.meters.nvml.Nvml`.
    truth : Truth
        The joules that really flow.
    root : Path
        As given: where another program finds the node.
    proc_root, dev_root, mapping_dir : Path
        What stands for /proc and /dev, and for the folder that a prolog writes.
    cards : list of Card
        On the host now.
    tree : ProcessTree
    beside : BesideTruth
        The joules that really flow beside the GPUs.
    sys : SimulatedSys
        What stands for /sys, as far as meters of the host are concerned.
    cgroups : CgroupTimes or None
        What stands for /sys as far as the CPU time of jobs is concerned; None where jobs are this machine's processes.
    sys_root : Path
        What stands for /sys, as far as the places of GPUs on the bus are concerned.
    drop_dir : Path
        What stands for the folder in which root's readers leave readings; absent without such a meter.
    begun_us : int, us
        When the simulation began: the origin of the faults' times.

    Raises
    ------
    InputError
        The script cannot be used.
    """

    def __init__(self, clock: Clock, root: Path, script: str | NodeScenario = "", *, kept: Path | None = None) -> None:
        if isinstance(script, str):
            script = read_scenario(Path(script)) if script else default_scenario()
        self.begun_us = clock.now_us()
        origin_us = self.begun_us - script.begin_us
        if kept is not None:
            earlier = begin_life(kept, origin_us, script.cycle_us, self.begun_us)
            script = replace(script, jobs=tuple(replace(job, earlier=earlier) for job in script.jobs))
        lines = _timelines(script, origin_us, self.begun_us)
        self.tree = ProcessTree(root, lines)
        shifted = [
            replace(f, start_us=self.begun_us + f.start_us, end_us=self.begun_us + f.end_us) for f in script.faults
        ]
        self._clock, self._stop, self._thread = clock, threading.Event(), threading.Thread(target=self._live)
        nodes = DeviceNodes(root / NODES)
        self._host = host = SimulatedHost(clock, FaultPlan(shifted), self.tree, nodes)
        self.beside = _beside(script, lines)
        boards = [_card(host, line, gpu) for line, gpu in zip(lines, script.gpus, strict=True)]
        _put_on_modules(boards, script, self.beside)
        for card, gpu in zip(boards, script.gpus, strict=True):
            _place(host, card, gpu, self.begun_us)
        host.show()
        self.root, self.dev_root = root, nodes.folder
        host.obey = Orders(host, root / ORDERS).obey
        self.cards = host.cards
        self.truth = Truth(lines)
        self.proc_root = Path("/proc") if self.tree.of_this_machine else self.tree.proc
        self.mapping_dir = self.tree.mapping
        self.library = SimulatedLibrary(host, script.missing, script.driver)
        sensors = [HostSensor(one, self.beside, clock, host.plan, self.begun_us) for one in script.meters]
        addresses = [(card.pci_bus_id, its) for card, its in zip(boards, self.beside.packages, strict=True)]
        self.sys = SimulatedSys(sensors, clock)
        self.cgroups = None if self.tree.of_this_machine else CgroupTimes(self.beside, self.tree, clock)
        self.sys_root, self.drop_dir = root / "sys", root / "meters"
        place_on_bus(self.sys_root, addresses)
        boot_id = (self.proc_root / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        self._dropped = DroppedReadings(self.drop_dir, sensors, clock, boot_id)
        if isinstance(clock, VirtualClock):
            for time_us in host.changes_us:
                clock.call_at(time_us, host.show)
            clock.call_at(self.tree.next_us, partial(self._turn, clock))
            self._drop(clock)

    def _drop(self, clock: VirtualClock) -> None:
        self._dropped.write()
        if (due_us := self._dropped.next_us) is not None:
            clock.call_at(due_us, partial(self._drop, clock))

    def _turn(self, clock: VirtualClock) -> None:
        self.tree.running(clock.now_us())
        clock.call_at(self.tree.next_us, partial(self._turn, clock))

    def keep_time(self) -> None:
        """Let the node move on in real time, in a thread of its own, until :meth:`close`."""
        self._thread.name, self._thread.daemon = "simulated-node", True
        self._thread.start()

    def _live(self) -> None:
        while not self._stop.wait(min(LONGEST_S, max(0.0, (self.tree.next_us - self._clock.now_us()) / 1e6))):
            self.tree.running(self._clock.now_us())
            self._host.obey()
            self._host.show()
            self._dropped.write()

    def obey(self) -> None:
        """Do what other programs ask for now, where time is virtual: else it is done before the next session."""
        self._host.obey()

    def close(self) -> None:
        """Stop that thread: the folders may go."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()


def _timelines(about: NodeScenario, origin_us: int, begun_us: int = 0) -> tuple[Timeline, ...]:
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
                context_mw=round(gpu.context_w * 1000),
                linger_us=round(gpu.linger_s * 1e6),
                since_us=begun_us + gpu.late_us if gpu.late_us else 0,
            )
        )
    return tuple(lines)


def _beside(about: NodeScenario, lines: tuple[Timeline, ...]) -> BesideTruth:
    packages = about.modules or tuple(n * about.host.packages // len(lines) for n in range(len(lines)))
    kinds = [ARCHITECTURES[gpu.architecture] for gpu in about.gpus]
    hbm_mw = tuple(kind.memory_mw if kind.grace else 0 for kind in kinds)
    return BesideTruth(about.host, lines, packages, hbm_mw)


def _put_on_modules(cards: list[Card], about: NodeScenario, beside: BesideTruth) -> None:
    """Give the GPUs of a superchip the meter of its module: one for all of them."""
    shared: dict[int, Sensor] = {}
    for card, module in zip(cards, about.modules, strict=bool(about.modules)):
        if card.architecture.grace:
            own = replace(card.sensor, timeline=DomainFlow(beside, f"module-{module}"))
            card.module = shared.setdefault(module, own)


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
    return Card(
        host=host,
        index=line.gpu,
        uuid=name,
        architecture=kind,
        sensor=sensor,
        timeline=line,
        minor=line.gpu,
        slot=line.gpu,
        accounting=gpu.accounting,
        persistence=gpu.persistence,
        rows=gpu.rows or kind.rows,
        scopes=gpu.scopes or ((0, 1, 2) if kind.grace else (0, 2)),
        named_after_us=round(gpu.named_after_s * 1e6),
        forgotten_before_us=round(gpu.forgotten_before_s * 1e6),
        power_smoothing=gpu.power_smoothing,
        power_profiles=gpu.power_profiles,
    )


def _place(host: SimulatedHost, card: Card, gpu: Gpu, begun_us: int) -> None:
    """Put a board on the host, and plan what changes about it."""

    def account() -> None:
        card.accounting = True

    instances = list(gpu.mig)
    if gpu.mig and not gpu.mig_at_us:
        card.instances = instances
    if gpu.mig_at_us:
        host.plan_change(begun_us + gpu.mig_at_us, partial(host.partition, card, instances))
    if gpu.mig_off_at_us:
        host.plan_change(begun_us + gpu.mig_off_at_us, partial(host.partition, card, []))
    if gpu.accounting_at_us:
        host.plan_change(begun_us + gpu.accounting_at_us, account)
    for after_us, action in gpu.recovery:
        host.plan_change(begun_us + after_us, partial(host.advise, card, action))
    for fault in host.plan.of("unbind"):
        if fault.gpu in {-1, card.index}:
            host.plan_change(fault.start_us, partial(host.binding.unbind, card))
            host.plan_change(fault.end_us, partial(host.binding.bind, card))
    if gpu.late_us:
        host.plan_change(begun_us + gpu.late_us, partial(host.add, card))
    else:
        host.add(card)
